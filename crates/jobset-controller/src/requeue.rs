//! Requeues JobSets after watch events.

use manager_runtime::queue::WorkQueue;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Adds JobSets to the work queue while this replica leads. A standby has no workers, and a new leader reconciles every
/// JobSet.
#[derive(Clone)]
pub(crate) struct Requeue {
    queue: Arc<WorkQueue<String>>,
    leads: Arc<AtomicBool>,
}

impl Requeue {
    pub(crate) fn new(queue: Arc<WorkQueue<String>>) -> Self {
        Self { queue, leads: Arc::default() }
    }

    /// Starts to requeue: this replica leads.
    pub(crate) fn start(&self) {
        self.leads.store(true, Ordering::SeqCst);
    }

    /// Whether this replica leads.
    pub(crate) fn leads(&self) -> bool {
        self.leads.load(Ordering::SeqCst)
    }

    /// Adds JobSets by UID.
    pub(crate) fn add(&self, jobsets: impl IntoIterator<Item = String>) {
        if self.leads() {
            jobsets.into_iter().for_each(|uid| self.queue.add(uid));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn a_standby_requeues_nothing() {
        let queue = Arc::new(WorkQueue::default());
        let requeue = Requeue::new(queue.clone());
        requeue.add(["before".to_owned()]);
        assert_eq!(queue.next().now_or_never(), None);
        requeue.start();
        requeue.add(["after".to_owned()]);
        assert_eq!(queue.next().now_or_never(), Some("after".to_owned()));
    }
}
