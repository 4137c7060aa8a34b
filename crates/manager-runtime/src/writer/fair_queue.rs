//! A fair queue: callers take the lock round-robin, however often each of them asks for it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

/// A lock that grants callers access round-robin; see [`FairQueue::take`].
#[derive(Default)]
pub(super) struct FairQueue(Mutex<Waiters>);

#[derive(Default)]
struct Waiters {
    taken: bool,
    /// Callers that wait, each once, in round-robin order.
    order: VecDeque<String>,
    waiting: HashMap<String, VecDeque<oneshot::Sender<()>>>,
}

impl Waiters {
    fn next(&mut self) -> Option<oneshot::Sender<()>> {
        let caller = self.order.pop_front()?;
        let queue = self.waiting.get_mut(&caller)?;
        let first = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&caller);
        } else {
            self.order.push_back(caller);
        }
        first
    }
}

/// The lock. Dropping the permit releases it.
pub(super) struct Permit<'a>(&'a FairQueue);

impl FairQueue {
    /// Takes the lock for `caller`. It waits for at most one permit of each other caller, and for earlier calls of the
    /// same caller.
    pub(super) async fn take(&self, caller: &str) -> Permit<'_> {
        let granted = {
            let mut waiters = self.waiters();
            if !waiters.taken {
                waiters.taken = true;
                return Permit(self);
            }
            let (grant, granted) = oneshot::channel();
            let queue = waiters.waiting.entry(caller.to_owned()).or_default();
            queue.push_back(grant);
            if queue.len() == 1 {
                waiters.order.push_back(caller.to_owned());
            }
            granted
        };
        let mut waiting = Waiting { fair_queue: self, granted };
        // The queue keeps the sender until it grants the lock.
        let _ = (&mut waiting.granted).await;
        Permit(self)
    }

    fn grant_next(&self) {
        let mut waiters = self.waiters();
        while let Some(next) = waiters.next() {
            // Skip a call that was cancelled.
            if next.send(()).is_ok() {
                return;
            }
        }
        waiters.taken = false;
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        // No code panics with the lock. After a panic, the state would still be consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.grant_next();
    }
}

/// A call that waits. If it is dropped after the grant, the next call gets the lock.
struct Waiting<'a> {
    fair_queue: &'a FairQueue,
    granted: oneshot::Receiver<()>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.granted.close();
        if self.granted.try_recv().is_ok() {
            self.fair_queue.grant_next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, future::join_all};
    use std::cell::RefCell;

    #[tokio::test]
    async fn callers_alternate_however_often_each_asks() {
        let (queue, log) = (FairQueue::default(), RefCell::new(String::new()));
        let one = |caller: &'static str| {
            let (queue, log) = (&queue, &log);
            async move {
                let _permit = queue.take(caller).await;
                log.borrow_mut().push_str(caller);
                tokio::task::yield_now().await;
            }
        };
        join_all(["a", "a", "a", "a", "b", "a", "c", "b"].map(one)).await;
        assert_eq!(log.into_inner(), "aabcabaa");
    }

    #[tokio::test]
    async fn a_cancelled_call_does_not_block_the_others() {
        let queue = FairQueue::default();
        let first = queue.take("a").await;
        let (mut granted, mut waiting, mut last) =
            (Box::pin(queue.take("b")), Box::pin(queue.take("b")), Box::pin(queue.take("c")));
        assert!((&mut granted).now_or_never().is_none() && (&mut waiting).now_or_never().is_none());
        assert!((&mut last).now_or_never().is_none());
        // One call is cancelled while it waits, one after the grant.
        drop(waiting);
        drop(first);
        drop(granted);
        assert!(last.now_or_never().is_some());
        assert!(queue.take("d").now_or_never().is_some());
    }
}
