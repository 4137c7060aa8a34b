//! Metrics in the Prometheus text format, with the names that dashboards for Kubernetes controllers use.
//!
//! | module | metrics |
//! |---|---|
//! | [`controller`] | `controller_runtime_reconcile_*`, `controller_runtime_*_workers` |
//! | [`work_queue`] | `workqueue_*` |
//! | [`webhook`] | `controller_runtime_webhook_*` |
//! | [`rest_client`] | `rest_client_requests_total` |
//! | [`process`] | `process_*` |
//! | this module | `leader_election_master_status`, `certwatcher_read_certificate_*`, `event_recorder_*`, `writer_*` |
//!
//! [`server`] serves them over HTTPS; [`access`] authenticates and authorizes each request.

pub mod access;
pub mod controller;
mod process;
pub mod rest_client;
pub mod server;
pub mod webhook;
pub mod work_queue;

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
    core::Collector,
};
use std::sync::{Arc, Mutex, PoisonError};

/// Buckets for durations between a microsecond and 1000 seconds: the powers of ten of Kubernetes' work queues, with
/// smaller steps where most values are.
pub(crate) const SECONDS: &[f64] = &[
    1e-6, 1e-5, 1e-4, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 100.0,
    1000.0,
];

/// A function that updates metrics before a scrape.
type Update = Box<dyn Fn() + Send + Sync>;

/// All metrics of a process. Clones share the metrics.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    before_scrape: Arc<Mutex<Vec<Update>>>,
    controllers: controller::Vectors,
    queues: work_queue::Vectors,
    webhooks: webhook::WebhookMetrics,
    requests: IntCounterVec,
    leads: IntGaugeVec,
    certificates: CertificateMetrics,
    events: EventMetrics,
    writer: WriterMetrics,
}

/// Reads of certificate files.
#[derive(Clone)]
pub struct CertificateMetrics {
    pub(crate) reads: IntCounter,
    pub(crate) errors: IntCounter,
}

/// Kubernetes events by result.
#[derive(Clone)]
pub struct EventMetrics {
    pub(crate) waiting: IntGauge,
    pub(crate) sent: IntCounter,
    pub(crate) refused: IntCounter,
    pub(crate) dropped: IntCounter,
}

/// Waiting time and retries of write requests.
#[derive(Clone)]
pub struct WriterMetrics {
    pub(crate) waited: Histogram,
    pub(crate) retries: IntCounter,
}

impl Metrics {
    /// Creates the metrics, all zero.
    ///
    /// # Errors
    /// When two metrics of this crate have the same name, which is a defect.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str| -> prometheus::Result<IntCounter> {
            registered(&registry, IntCounter::new(name, help)?)
        };
        let certificates = CertificateMetrics {
            reads: counter("certwatcher_read_certificate_total", "Total number of certificate reads")?,
            errors: counter(
                "certwatcher_read_certificate_errors_total",
                "Total number of certificate read errors",
            )?,
        };
        let recorded = IntCounterVec::new(
            Opts::new("event_recorder_events_total", "Total number of Kubernetes events by result"),
            &["result"],
        )?;
        let recorded = registered(&registry, recorded)?;
        let events = EventMetrics {
            waiting: registered(
                &registry,
                IntGauge::new(
                    "event_recorder_queue_length",
                    "Number of Kubernetes events that wait to be sent",
                )?,
            )?,
            sent: recorded.with_label_values(&["sent"]),
            refused: recorded.with_label_values(&["refused"]),
            dropped: recorded.with_label_values(&["dropped"]),
        };
        let waited = HistogramOpts::new(
            "writer_wait_seconds",
            "How long in seconds write requests waited in the fair queue and for client-side limits",
        );
        let writer = WriterMetrics {
            waited: registered(&registry, Histogram::with_opts(waited.buckets(SECONDS.to_vec()))?)?,
            retries: counter("writer_retries_total", "Total number of retries of write requests")?,
        };
        let leads = IntGaugeVec::new(
            Opts::new(
                "leader_election_master_status",
                "Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates \
                 master. 'name' is the string used to identify the lease. Please make sure to group by name.",
            ),
            &["name"],
        )?;
        let metrics = Self {
            controllers: controller::Vectors::new(&registry)?,
            queues: work_queue::Vectors::new(&registry)?,
            webhooks: webhook::WebhookMetrics::new(&registry)?,
            requests: rest_client::requests_total(&registry)?,
            leads: registered(&registry, leads)?,
            certificates,
            events,
            writer,
            registry,
            before_scrape: Arc::default(),
        };
        process::measure(&metrics)?;
        Ok(metrics)
    }

    /// Registers a metric of the program.
    ///
    /// # Errors
    /// When a metric with this name exists.
    pub fn register<C: Collector + Clone + 'static>(&self, collector: C) -> prometheus::Result<C> {
        registered(&self.registry, collector)
    }

    /// Calls `update` before each scrape. For values that are cheaper to read then than to keep current.
    pub fn before_scrape(&self, update: impl Fn() + Send + Sync + 'static) {
        self.before_scrape.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(update));
    }

    /// All metrics as text (Prometheus text format 0.0.4).
    ///
    /// # Errors
    /// When a metric has no value, which is a defect.
    pub fn text(&self) -> prometheus::Result<String> {
        for update in self.before_scrape.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            update();
        }
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    /// Records whether this replica holds the Lease `name`.
    pub fn leads(&self, name: &str, leads: bool) {
        self.leads.with_label_values(&[name]).set(i64::from(leads));
    }

    /// Metrics of certificate files.
    pub fn certificates(&self) -> &CertificateMetrics {
        &self.certificates
    }

    /// Metrics of Kubernetes events.
    pub fn events(&self) -> &EventMetrics {
        &self.events
    }

    /// Metrics of write requests.
    pub fn writer(&self) -> &WriterMetrics {
        &self.writer
    }

    /// Metrics of admission webhooks.
    pub fn webhooks(&self) -> &webhook::WebhookMetrics {
        &self.webhooks
    }

    /// Metrics of one controller.
    pub fn controller(&self, name: &str) -> controller::ControllerMetrics {
        self.controllers.of(name)
    }

    /// Metrics of the work queue of one controller.
    pub fn queue(&self, name: &str) -> work_queue::QueueMetrics {
        self.queues.of(name)
    }

    /// A layer that counts the requests to the API server at `host`.
    pub fn requests(&self, host: &str) -> rest_client::CountRequests {
        rest_client::CountRequests::new(self.requests.clone(), host)
    }
}

/// Registers a metric and returns it.
pub(crate) fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of one metric.
    fn lines(text: &str, name: &str) -> Vec<String> {
        text.lines().filter(|line| line.contains(name)).map(ToOwned::to_owned).collect()
    }

    #[test]
    fn help_and_type_precede_the_values() {
        let metrics = Metrics::new().unwrap();
        metrics.leads("lease", true);
        let text = metrics.text().unwrap();
        let found = lines(&text, "certwatcher_read_certificate_total");
        assert_eq!(
            found,
            [
                "# HELP certwatcher_read_certificate_total Total number of certificate reads",
                "# TYPE certwatcher_read_certificate_total counter",
                "certwatcher_read_certificate_total 0",
            ]
        );
        assert!(text.contains("\nleader_election_master_status{name=\"lease\"} 1\n"), "{text}");
    }

    #[test]
    fn updates_run_before_each_scrape() {
        let metrics = Metrics::new().unwrap();
        let gauge = metrics.register(IntGauge::new("things", "Things").unwrap()).unwrap();
        metrics.before_scrape(move || gauge.inc());
        assert!(metrics.text().unwrap().contains("\nthings 1\n"));
        assert!(metrics.text().unwrap().contains("\nthings 2\n"));
        assert!(metrics.register(IntGauge::new("things", "Again").unwrap()).is_err());
    }

    #[test]
    fn process_metrics_have_values() {
        let text = Metrics::new().unwrap().text().unwrap();
        for name in ["process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"] {
            let line = lines(&text, name).pop().unwrap();
            let value: f64 = line.split_whitespace().next_back().unwrap().parse().unwrap();
            assert!(value > 0.0, "{line}");
        }
    }
}
