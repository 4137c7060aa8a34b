//! Metrics of admission webhooks: requests by response code, in flight, and their duration.

use super::{SECONDS, registered};
use axum::{
    Router,
    extract::Request,
    http::StatusCode,
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use std::{panic::AssertUnwindSafe, time::Instant};
use tracing::error;

/// Metrics of all webhooks of the process.
#[derive(Clone)]
pub struct WebhookMetrics {
    seconds: HistogramVec,
    requests: IntCounterVec,
    in_flight: IntGaugeVec,
    panics: IntCounter,
}

impl WebhookMetrics {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let seconds = HistogramOpts::new(
            "controller_runtime_webhook_latency_seconds",
            "Histogram of the latency of processing admission requests",
        );
        let seconds = HistogramVec::new(seconds.buckets(SECONDS.to_vec()), &["webhook"])?;
        let requests = Opts::new(
            "controller_runtime_webhook_requests_total",
            "Total number of admission requests by HTTP status code.",
        );
        let in_flight = Opts::new(
            "controller_runtime_webhook_requests_in_flight",
            "Current number of admission requests being served.",
        );
        let panics =
            IntCounter::new("controller_runtime_webhook_panics_total", "Total number of webhook panics")?;
        Ok(Self {
            seconds: registered(registry, seconds)?,
            requests: registered(registry, IntCounterVec::new(requests, &["webhook", "code"])?)?,
            in_flight: registered(registry, IntGaugeVec::new(in_flight, &["webhook"])?)?,
            panics: registered(registry, panics)?,
        })
    }

    /// Measures the routes of `router`. The metrics for `paths` exist from the start. A panic becomes response 500.
    pub fn instrument<'a>(&self, router: Router, paths: impl IntoIterator<Item = &'a str>) -> Router {
        for path in paths {
            self.seconds.with_label_values(&[path]);
            self.in_flight.with_label_values(&[path]);
            for code in ["200", "500"] {
                self.requests.with_label_values(&[path, code]);
            }
        }
        let metrics = self.clone();
        router.route_layer(from_fn(move |request: Request, next: Next| {
            // A route layer sees only requests that match a route, so a client cannot create new labels.
            let (metrics, path) = (metrics.clone(), request.uri().path().to_owned());
            async move { metrics.count(&path, next.run(request)).await }
        }))
    }

    async fn count(&self, webhook: &str, response: impl Future<Output = Response>) -> Response {
        let _in_flight = InFlight::new(self.in_flight.with_label_values(&[webhook]));
        let since = Instant::now();
        let response = AssertUnwindSafe(response).catch_unwind().await.unwrap_or_else(|_| {
            self.panics.inc();
            error!(webhook, "webhook panicked, which is a defect: please report it");
            (StatusCode::INTERNAL_SERVER_ERROR, "internal error\n").into_response()
        });
        self.seconds.with_label_values(&[webhook]).observe(since.elapsed().as_secs_f64());
        self.requests.with_label_values(&[webhook, response.status().as_str()]).inc();
        response
    }
}

/// Counts a request until it is dropped: the future of a request is dropped when the client disconnects.
struct InFlight(IntGauge);

impl InFlight {
    fn new(gauge: IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use crate::metrics::Metrics;
    use axum::{Router, body::Body, http::Request, routing::post};
    use tower::ServiceExt;

    async fn defective() -> &'static str {
        panic!("intended panic of the test")
    }

    #[tokio::test]
    async fn requests_are_counted_by_path_and_code() {
        let metrics = Metrics::new().unwrap();
        let router = Router::new().route("/good", post(|| async { "yes" })).route("/bad", post(defective));
        let router = metrics.webhooks().instrument(router, ["/good", "/bad"]);
        for (path, status) in [("/good", 200), ("/bad", 500), ("/good", 200), ("/none", 404)] {
            let request = Request::post(path).body(Body::empty()).unwrap();
            assert_eq!(router.clone().oneshot(request).await.unwrap().status(), status);
        }
        let text = metrics.text().unwrap();
        for line in [
            "controller_runtime_webhook_requests_total{code=\"200\",webhook=\"/good\"} 2",
            "controller_runtime_webhook_requests_total{code=\"500\",webhook=\"/good\"} 0",
            "controller_runtime_webhook_requests_total{code=\"500\",webhook=\"/bad\"} 1",
            "controller_runtime_webhook_requests_in_flight{webhook=\"/bad\"} 0",
            "controller_runtime_webhook_latency_seconds_count{webhook=\"/good\"} 2",
            "controller_runtime_webhook_panics_total 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("/none"), "an unknown path creates no label");
    }
}
