//! Stops the requests of a process that may have lost its Lease.

use std::{future::Future, pin::pin, task::Poll};
use thiserror::Error;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// A fence is open while this process leads, and always without leader election. Clones share the state.
#[derive(Clone, Debug)]
pub struct Fence(Option<watch::Receiver<Option<Instant>>>);

/// The lease may have been lost.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not sent: this replica may no longer lead")]
pub struct Closed;

impl Fence {
    /// A fence that is always open.
    pub fn none() -> Self {
        Self(None)
    }

    /// Whether the process may send a request now.
    pub fn is_open(&self) -> bool {
        self.0.as_ref().is_none_or(|until| until.borrow().is_some_and(|until| Instant::now() < until))
    }

    /// Receives each change of the end.
    #[cfg(test)]
    pub(super) fn ends(&self) -> watch::Receiver<Option<Instant>> {
        self.0.clone().unwrap()
    }

    /// Waits until the fence is open.
    pub async fn opened(&self) {
        let Some(until) = &self.0 else { return };
        // An error means that the election has ended. The fence never opens again.
        if until.clone().wait_for(|until| until.is_some_and(|until| Instant::now() < until)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the fence is closed.
    pub async fn closed(&self) {
        let Some(until) = &self.0 else { return std::future::pending().await };
        let mut until = until.clone();
        loop {
            let Some(end) = *until.borrow_and_update() else { return };
            if Instant::now() >= end {
                return;
            }
            tokio::select! {
                () = sleep_until(end) => {}
                changed = until.changed() => if changed.is_err() { sleep_until(end).await },
            }
        }
    }

    /// Runs `work` while the fence is open, and drops it when the fence closes.
    ///
    /// Every poll of `work` compares the time, so the guard does not depend on a timer: a process that was paused sends
    /// no request when it continues.
    ///
    /// # Errors
    /// When the fence closes before `work` completes.
    pub async fn guard<T>(&self, work: impl Future<Output = T>) -> Result<T, Closed> {
        let (mut work, mut closed) = (pin!(work), pin!(self.closed()));
        std::future::poll_fn(|context| {
            if !self.is_open() || closed.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(Closed));
            }
            work.as_mut().poll(context).map(Ok)
        })
        .await
    }
}

/// Opens and closes a [`Fence`].
pub(crate) struct Gate(watch::Sender<Option<Instant>>);

impl Gate {
    /// Creates a closed fence and its gate.
    pub(crate) fn closed() -> (Self, Fence) {
        let (sender, receiver) = watch::channel(None);
        (Self(sender), Fence(Some(receiver)))
    }

    /// Opens the fence until `end`.
    pub(crate) fn open_until(&self, end: Instant) {
        self.0.send_replace(Some(end));
    }

    /// Closes the fence at once.
    pub(super) fn close(&self) {
        self.0.send_replace(None);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        time::Duration,
    };
    use tokio::time::sleep;

    #[tokio::test(start_paused = true)]
    async fn a_fence_closes_at_its_end_and_cancels_work() {
        let (gate, fence) = Gate::closed();
        assert!(!fence.is_open());
        assert_eq!(fence.guard(async { 1 }).await, Err(Closed));
        let end = Instant::now() + Duration::from_millis(100);
        gate.open_until(end);
        assert_eq!(fence.guard(async { 1 }).await, Ok(1));
        let steps = AtomicU32::new(0);
        let work = async {
            loop {
                sleep(Duration::from_millis(10)).await;
                steps.fetch_add(1, Ordering::Relaxed);
            }
        };
        assert_eq!(fence.guard::<()>(work).await, Err(Closed));
        assert_eq!(Instant::now(), end);
        assert!(!fence.is_open());
        assert_eq!(steps.into_inner(), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_keeps_the_fence_open() {
        let (gate, fence) = Gate::closed();
        gate.open_until(Instant::now() + Duration::from_millis(100));
        let renewed = async {
            gate.open_until(Instant::now() + Duration::from_mins(1));
            std::future::pending::<()>().await;
        };
        let work = fence.guard(sleep(Duration::from_millis(150)));
        tokio::select! { () = renewed => {}, done = work => assert_eq!(done, Ok(())) }
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_the_gate_closes_the_fence_at_once() {
        let (gate, fence) = Gate::closed();
        gate.open_until(Instant::now() + Duration::from_secs(10));
        fence.opened().await;
        drop(gate);
        fence.closed().await;
        assert!(!fence.is_open());
        assert_eq!(Fence::none().guard(async { 2 }).await, Ok(2));
    }
}
