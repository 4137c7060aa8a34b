//! Counts requests to the API server with the labels of client-go.

use super::registered;
use axum::http::{Request, Response};
use futures::future::BoxFuture;
use prometheus::{IntCounterVec, Opts, Registry};
use std::{
    sync::Arc,
    task::{Context, Poll},
};
use tower::{Layer, Service};

pub(super) fn requests_total(registry: &Registry) -> prometheus::Result<IntCounterVec> {
    let options = Opts::new(
        "rest_client_requests_total",
        "Number of HTTP requests, partitioned by status code, method, and host.",
    );
    registered(registry, IntCounterVec::new(options, &["code", "method", "host"])?)
}

/// A layer that counts the requests of a Kubernetes client.
#[derive(Clone)]
pub struct CountRequests {
    total: IntCounterVec,
    host: Arc<str>,
}

impl CountRequests {
    pub(super) fn new(total: IntCounterVec, host: &str) -> Self {
        Self { total, host: host.into() }
    }
}

impl<S> Layer<S> for CountRequests {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, counts: self.clone() }
    }
}

/// The service that counts requests.
#[derive(Clone)]
pub struct Counted<S> {
    inner: S,
    counts: CountRequests,
}

impl<S, Q, A> Service<Request<Q>> for Counted<S>
where
    S: Service<Request<Q>, Response = Response<A>>,
    S::Future: Send + 'static,
{
    type Response = Response<A>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<A>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let (method, counts) = (request.method().clone(), self.counts.clone());
        let response = self.inner.call(request);
        Box::pin(async move {
            let response = response.await;
            // client-go uses this code for requests without a response.
            let status = response.as_ref().ok().map(Response::status);
            let code = status.as_ref().map_or("<error>", |status| status.as_str());
            counts.total.with_label_values(&[code, method.as_str(), &counts.host]).inc();
            response
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use tower::{ServiceExt, service_fn};

    #[tokio::test]
    async fn responses_and_failures_are_counted() {
        let metrics = Metrics::new().unwrap();
        let server = service_fn(|request: Request<u16>| async move {
            match *request.body() {
                0 => Err("connection refused"),
                code => Ok(Response::builder().status(code).body(()).unwrap()),
            }
        });
        let client = metrics.requests("10.0.0.1:443").layer(server);
        for code in [200, 200, 409, 0] {
            let request = Request::builder().method("PUT").body(code).unwrap();
            assert_eq!(client.clone().oneshot(request).await.is_ok(), code != 0);
        }
        let text = metrics.text().unwrap();
        for (code, count) in [("200", 2), ("409", 1), ("<error>", 1)] {
            let line = format!(
                "rest_client_requests_total{{code=\"{code}\",host=\"10.0.0.1:443\",method=\"PUT\"}} {count}"
            );
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
    }
}
