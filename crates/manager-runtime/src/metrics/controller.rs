//! Metrics of controllers: reconciles by result, their duration, and workers.

use super::registered;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use std::time::Instant;

/// Buckets of controller-runtime's `controller_runtime_reconcile_time_seconds`.
const SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25,
    1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0,
    50.0, 60.0,
];

/// The result of a reconcile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is left to do.
    Success,
    /// The key is requeued at once.
    Requeue,
    /// The key is requeued after a delay.
    RequeueAfter,
    /// It failed, and is retried.
    Error,
    /// It failed, and a retry cannot succeed.
    TerminalError,
    /// It exceeded its deadline.
    Timeout,
    /// It panicked.
    Panic,
}

#[derive(Clone)]
pub(super) struct Vectors {
    results: IntCounterVec,
    errors: IntCounterVec,
    terminal_errors: IntCounterVec,
    timeouts: IntCounterVec,
    panics: IntCounterVec,
    seconds: HistogramVec,
    workers: IntGaugeVec,
    active: IntGaugeVec,
}

impl Vectors {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            registered(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let gauges = |name: &str, help: &str| {
            registered(registry, IntGaugeVec::new(Opts::new(name, help), &["controller"])?)
        };
        let seconds = HistogramOpts::new(
            "controller_runtime_reconcile_time_seconds",
            "Length of time per reconciliation per controller",
        );
        let seconds = HistogramVec::new(seconds.buckets(SECONDS.to_vec()), &["controller"])?;
        Ok(Self {
            results: counters(
                "controller_runtime_reconcile_total",
                "Total number of reconciliations per controller",
                &["controller", "result"],
            )?,
            errors: counters(
                "controller_runtime_reconcile_errors_total",
                "Total number of reconciliation errors per controller",
                &["controller"],
            )?,
            terminal_errors: counters(
                "controller_runtime_terminal_reconcile_errors_total",
                "Total number of terminal reconciliation errors per controller",
                &["controller"],
            )?,
            timeouts: counters(
                "controller_runtime_reconcile_timeouts_total",
                "Total number of reconciliation timeouts per controller",
                &["controller"],
            )?,
            panics: counters(
                "controller_runtime_reconcile_panics_total",
                "Total number of reconciliation panics per controller",
                &["controller"],
            )?,
            seconds: registered(registry, seconds)?,
            workers: gauges(
                "controller_runtime_max_concurrent_reconciles",
                "Maximum number of concurrent reconciles per controller",
            )?,
            active: gauges(
                "controller_runtime_active_workers",
                "Number of currently used workers per controller",
            )?,
        })
    }

    pub(super) fn of(&self, controller: &str) -> ControllerMetrics {
        let result = |result: &str| self.results.with_label_values(&[controller, result]);
        let own = &[controller];
        ControllerMetrics {
            success: result("success"),
            requeue: result("requeue"),
            requeue_after: result("requeue_after"),
            error: result("error"),
            errors: self.errors.with_label_values(own),
            terminal_errors: self.terminal_errors.with_label_values(own),
            timeouts: self.timeouts.with_label_values(own),
            panics: self.panics.with_label_values(own),
            seconds: self.seconds.with_label_values(own),
            workers: self.workers.with_label_values(own),
            active: self.active.with_label_values(own),
        }
    }
}

/// Metrics of one controller.
#[derive(Clone)]
pub struct ControllerMetrics {
    success: IntCounter,
    requeue: IntCounter,
    requeue_after: IntCounter,
    error: IntCounter,
    errors: IntCounter,
    terminal_errors: IntCounter,
    timeouts: IntCounter,
    panics: IntCounter,
    seconds: Histogram,
    workers: IntGauge,
    active: IntGauge,
}

impl ControllerMetrics {
    /// Sets the number of reconciles that may run concurrently.
    pub fn workers(&self, count: usize) {
        self.workers.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Starts to measure a reconcile.
    #[must_use]
    pub fn begin(&self) -> Running {
        self.active.inc();
        Running { metrics: self.clone(), since: Instant::now() }
    }

    fn count(&self, outcome: Outcome) {
        match outcome {
            Outcome::Success => self.success.inc(),
            Outcome::Requeue => self.requeue.inc(),
            Outcome::RequeueAfter => self.requeue_after.inc(),
            Outcome::Error | Outcome::TerminalError | Outcome::Timeout | Outcome::Panic => {
                self.error.inc();
                self.errors.inc();
            }
        }
        match outcome {
            Outcome::TerminalError => self.terminal_errors.inc(),
            Outcome::Timeout => self.timeouts.inc(),
            Outcome::Panic => self.panics.inc(),
            _ => {}
        }
    }
}

/// A running reconcile. Dropping the value ends the measurement.
pub struct Running {
    metrics: ControllerMetrics,
    since: Instant,
}

impl Running {
    /// Records the result of the reconcile.
    pub fn end(self, outcome: Outcome) {
        self.metrics.count(outcome);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.metrics.active.dec();
        self.metrics.seconds.observe(self.since.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn reconciles_are_counted_by_result() {
        let metrics = Metrics::new().unwrap();
        let controller = metrics.controller("frobber");
        controller.workers(3);
        for outcome in [Outcome::Success, Outcome::Success, Outcome::RequeueAfter, Outcome::Panic] {
            controller.begin().end(outcome);
        }
        let running = controller.begin();
        let text = metrics.text().unwrap();
        for line in [
            "controller_runtime_reconcile_total{controller=\"frobber\",result=\"success\"} 2",
            "controller_runtime_reconcile_total{controller=\"frobber\",result=\"requeue\"} 0",
            "controller_runtime_reconcile_total{controller=\"frobber\",result=\"requeue_after\"} 1",
            "controller_runtime_reconcile_total{controller=\"frobber\",result=\"error\"} 1",
            "controller_runtime_reconcile_errors_total{controller=\"frobber\"} 1",
            "controller_runtime_reconcile_panics_total{controller=\"frobber\"} 1",
            "controller_runtime_terminal_reconcile_errors_total{controller=\"frobber\"} 0",
            "controller_runtime_reconcile_timeouts_total{controller=\"frobber\"} 0",
            "controller_runtime_reconcile_time_seconds_count{controller=\"frobber\"} 4",
            "controller_runtime_max_concurrent_reconciles{controller=\"frobber\"} 3",
            "controller_runtime_active_workers{controller=\"frobber\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        drop(running);
        assert!(
            metrics.text().unwrap().contains("controller_runtime_active_workers{controller=\"frobber\"} 0")
        );
    }
}
