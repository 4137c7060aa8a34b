//! Requeues JobSets and repairs of exclusive placement after watch events.

use jobset_plan::PodGroup;
use manager_runtime::queue::WorkQueue;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Adds JobSets and Jobs to the work queues while this replica leads. A standby has no workers, and a new leader
/// reconciles every JobSet and checks the placement of every Job.
#[derive(Clone)]
pub(crate) struct Requeue {
    queue: Arc<WorkQueue<String>>,
    repairs: Arc<WorkQueue<Arc<PodGroup>>>,
    leads: Arc<AtomicBool>,
}

impl Requeue {
    pub(crate) fn new(queue: Arc<WorkQueue<String>>, repairs: Arc<WorkQueue<Arc<PodGroup>>>) -> Self {
        Self { queue, repairs, leads: Arc::default() }
    }

    /// Starts to requeue: this replica leads.
    pub(crate) fn start(&self) {
        self.leads.store(true, Ordering::SeqCst);
    }

    /// Whether this replica leads.
    pub(crate) fn leads(&self) -> bool {
        self.leads.load(Ordering::SeqCst)
    }

    /// Adds a Job whose exclusive placement must be checked.
    pub(crate) fn repair(&self, job: Arc<PodGroup>) {
        if self.leads() {
            self.repairs.add(job);
        }
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
        let requeue = Requeue::new(queue.clone(), Arc::default());
        requeue.add(["before".to_owned()]);
        assert_eq!(queue.next().now_or_never(), None);
        requeue.start();
        requeue.add(["after".to_owned()]);
        assert_eq!(queue.next().now_or_never(), Some("after".to_owned()));
    }
}
