//! The metrics of repairs of exclusive placement.

use manager_runtime::metrics::{
    Metrics,
    controller::{ControllerMetrics, Running},
};
use prometheus::IntCounter;

/// The metrics of repairs of exclusive placement.
pub(crate) struct RepairMetrics {
    controller: ControllerMetrics,
    evicted: IntCounter,
    failed_requests: IntCounter,
}

impl RepairMetrics {
    pub(super) fn new(metrics: &Metrics, failed_requests: IntCounter) -> prometheus::Result<Self> {
        let evicted = IntCounter::new(
            "jobset_evicted_pods_total",
            "The total number of pods that were deleted because they violated exclusive placement",
        )?;
        let evicted = metrics.register(evicted)?;
        Ok(Self { controller: metrics.controller("pod"), evicted, failed_requests })
    }

    /// Sets the number of concurrent repairs.
    pub(crate) fn workers(&self, count: usize) {
        self.controller.workers(count);
    }

    /// Records the start of a repair.
    pub(crate) fn begin(&self) -> Running {
        self.controller.begin()
    }

    /// Counts an evicted pod.
    pub(crate) fn evicted(&self) {
        self.evicted.inc();
    }

    /// Counts a failed request.
    pub(crate) fn request_failed(&self) {
        self.failed_requests.inc();
    }
}
