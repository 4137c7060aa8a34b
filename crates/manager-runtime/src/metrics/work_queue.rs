//! Metrics of work queues: depth, waiting time, and work in progress.

use super::{SECONDS, registered};
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

/// A queue has the name of its controller.
const LABELS: &[&str] = &["name", "controller"];

#[derive(Clone)]
pub(super) struct Vectors {
    depth: IntGaugeVec,
    adds: IntCounterVec,
    waited: HistogramVec,
    worked: HistogramVec,
    unfinished: GaugeVec,
    longest: GaugeVec,
    retries: IntCounterVec,
}

impl Vectors {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counters =
            |name: &str, help: &str| registered(registry, IntCounterVec::new(Opts::new(name, help), LABELS)?);
        let gauges =
            |name: &str, help: &str| registered(registry, GaugeVec::new(Opts::new(name, help), LABELS)?);
        let histograms = |name: &str, help: &str| {
            let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
            registered(registry, HistogramVec::new(options, LABELS)?)
        };
        let depth = Opts::new("workqueue_depth", "Current depth of workqueue by workqueue");
        Ok(Self {
            depth: registered(registry, IntGaugeVec::new(depth, LABELS)?)?,
            adds: counters("workqueue_adds_total", "Total number of adds handled by workqueue")?,
            waited: histograms(
                "workqueue_queue_duration_seconds",
                "How long in seconds an item stays in workqueue before being requested",
            )?,
            worked: histograms(
                "workqueue_work_duration_seconds",
                "How long in seconds processing an item from workqueue takes.",
            )?,
            unfinished: gauges(
                "workqueue_unfinished_work_seconds",
                "Seconds since the start of all reconciles in progress, added up. If it keeps growing, one is stuck.",
            )?,
            longest: gauges(
                "workqueue_longest_running_processor_seconds",
                "How many seconds has the longest running processor for workqueue been running.",
            )?,
            retries: counters(
                "workqueue_retries_total",
                "Total number of items added to the workqueue with a delay",
            )?,
        })
    }

    pub(super) fn of(&self, name: &str) -> QueueMetrics {
        let labels = &[name, name];
        QueueMetrics {
            depth: self.depth.with_label_values(labels),
            adds: self.adds.with_label_values(labels),
            waited: self.waited.with_label_values(labels),
            worked: self.worked.with_label_values(labels),
            unfinished: self.unfinished.with_label_values(labels),
            longest: self.longest.with_label_values(labels),
            retries: self.retries.with_label_values(labels),
        }
    }
}

/// Metrics of one queue.
#[derive(Clone)]
pub struct QueueMetrics {
    pub(crate) depth: IntGauge,
    pub(crate) adds: IntCounter,
    pub(crate) waited: Histogram,
    pub(crate) worked: Histogram,
    pub(crate) unfinished: Gauge,
    pub(crate) longest: Gauge,
    pub(crate) retries: IntCounter,
}
