//! A fair queue: callers take the lock round-robin, however often each of them asks for it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

/// A lock for which callers wait in a circle; see [`FairQueue::take`].
#[derive(Default)]
pub(super) struct FairQueue(Mutex<Circle>);

#[derive(Default)]
struct Circle {
    taken: bool,
    /// Callers with somebody waiting, each once, in the order of their turns.
    order: VecDeque<String>,
    waiting: HashMap<String, VecDeque<oneshot::Sender<()>>>,
}

impl Circle {
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

/// The turn of one caller; dropping it ends it.
pub(super) struct Permit<'a>(&'a FairQueue);

impl FairQueue {
    /// Waits for the turn of `caller`: after at most one of each other caller, and after what it asked for before.
    pub(super) async fn take(&self, caller: &str) -> Permit<'_> {
        let granted = {
            let mut circle = self.circle();
            if !circle.taken {
                circle.taken = true;
                return Permit(self);
            }
            let (grant, granted) = oneshot::channel();
            let queue = circle.waiting.entry(caller.to_owned()).or_default();
            queue.push_back(grant);
            if queue.len() == 1 {
                circle.order.push_back(caller.to_owned());
            }
            granted
        };
        let mut waiting = Waiting { fair_queue: self, granted };
        // The sender is only dropped with the circle itself.
        let _ = (&mut waiting.granted).await;
        Permit(self)
    }

    fn pass_on(&self) {
        let mut circle = self.circle();
        while let Some(next) = circle.next() {
            // Whoever gave up waiting is passed over.
            if next.send(()).is_ok() {
                return;
            }
        }
        circle.taken = false;
    }

    fn circle(&self) -> MutexGuard<'_, Circle> {
        // Nothing panics while it holds the lock; were it so, the circle would still be whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}

/// Somebody who waits. When he is dropped just as his turn was granted, it goes on to the next.
struct Waiting<'a> {
    fair_queue: &'a FairQueue,
    granted: oneshot::Receiver<()>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.granted.close();
        if self.granted.try_recv().is_ok() {
            self.fair_queue.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, future::join_all};
    use std::cell::RefCell;

    #[tokio::test]
    async fn callers_alternate_however_much_each_has() {
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
    async fn whoever_gives_up_does_not_hold_up_the_others() {
        let queue = FairQueue::default();
        let first = queue.take("a").await;
        let (mut granted, mut waiting, mut last) =
            (Box::pin(queue.take("b")), Box::pin(queue.take("b")), Box::pin(queue.take("c")));
        assert!((&mut granted).now_or_never().is_none() && (&mut waiting).now_or_never().is_none());
        assert!((&mut last).now_or_never().is_none());
        // One leaves while it waits, one after its turn was granted.
        drop(waiting);
        drop(first);
        drop(granted);
        assert!(last.now_or_never().is_some());
        assert!(queue.take("d").now_or_never().is_some());
    }
}
