//! Creates the Kubernetes client, and sets the backoff of its watches.

use crate::{logging::in_one_line, metrics::Metrics, version};
use axum::{
    body::{Body, Bytes, HttpBody},
    http::{HeaderValue, Response, StatusCode, header},
};
use governor::Jitter;
use kube::{
    Client, Config,
    client::ClientBuilder,
    config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError},
    runtime::utils::Backoff,
};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use thiserror::Error;
use tower::{BoxError, util::MapResponseLayer};

/// Why no client can be created.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The kubeconfig file is unusable.
    #[error("--kubeconfig {0}")]
    Kubeconfig(PathBuf, #[source] KubeconfigError),
    /// No kubeconfig, and no service account of a pod.
    #[error("found no cluster: set --kubeconfig or KUBECONFIG, or run in a pod with a service account")]
    NoCluster(#[source] InferConfigError),
    /// The configuration is invalid.
    #[error("cannot create a client from the cluster configuration")]
    Client(#[source] kube::Error),
}

/// Creates a client from the kubeconfig file, or else from `$KUBECONFIG`, the service account of the pod, or
/// `~/.kube/config`. The client counts its requests. Its user agent is `program`, which the API server records as the
/// default field manager. The function sends no request.
///
/// The client does not retry requests. Callers that know how urgent a request is retry it: the
/// [`Writer`](crate::writer::Writer) and watches.
pub async fn connect(
    kubeconfig: Option<&Path>,
    metrics: &Metrics,
    program: &str,
) -> Result<Client, ConnectError> {
    let mut config = match kubeconfig.filter(|path| !path.as_os_str().is_empty()) {
        Some(path) => {
            let unusable = |error| ConnectError::Kubeconfig(path.to_owned(), error);
            let file = Kubeconfig::read_from(path).map_err(unusable)?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(unusable)?
        }
        None => infer().await?,
    };
    let name = HeaderValue::try_from(version::user_agent(program));
    config.headers.extend(name.map(|name| (header::USER_AGENT, name)));
    config.default_retry = false;
    let counted = metrics.requests(config.cluster_url.authority().map_or("", |host| host.as_str()));
    let builder = ClientBuilder::try_from(config).map_err(ConnectError::Client)?;
    Ok(builder.with_layer(&counted).with_layer(&MapResponseLayer::new(retry_after_to_status)).build())
}

/// The configuration without `--kubeconfig`. The service account of a pod takes precedence over `~/.kube/config`.
async fn infer() -> Result<Config, ConnectError> {
    if std::env::var_os("KUBECONFIG").is_none()
        && let Ok(config) = Config::incluster()
    {
        return Ok(config);
    }
    Config::infer().await.map_err(ConnectError::NoCluster)
}

/// The message of an error in one line. For a response of the API server, that is the server's own message.
pub fn api_message(error: &kube::Error) -> String {
    in_one_line(error)
}

/// Backoff of a watch that fails, half of each delay random. Short delays let watches resume seconds after the API
/// server returns. The backoff of the kube crate grows to half a minute.
#[derive(Clone, Debug)]
pub struct WatchBackoff {
    pause: Duration,
    last: Instant,
}

impl WatchBackoff {
    const SHORTEST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(3);
    /// A watch without a failure for this long starts again with the shortest delay.
    const STABLE: Duration = Duration::from_secs(30);
}

impl Default for WatchBackoff {
    fn default() -> Self {
        Self { pause: Self::SHORTEST, last: Instant::now() }
    }
}

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.last.elapsed() > Self::STABLE {
            self.pause = Self::SHORTEST;
        }
        self.last = Instant::now();
        let whole = self.pause;
        self.pause = (whole * 2).min(Self::LONGEST);
        Some(Jitter::new(whole / 2, whole / 2) + Duration::ZERO)
    }
}

impl Backoff for WatchBackoff {
    /// Does nothing. The kube crate calls it after every restart of a watch, even if the watch then fails.
    fn reset(&mut self) {}
}

/// Copies the header `Retry-After` into the status of an error response. API Priority and Fairness sends that header
/// without a status.
fn retry_after_to_status<B>(response: Response<B>) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let code = response.status();
    let seconds = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
    let is_status =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().ends_with(b"json"));
    let Some(seconds) = seconds.filter(|_| code.is_server_error() || code == StatusCode::TOO_MANY_REQUESTS)
    else {
        return response.map(Body::new);
    };
    if is_status {
        return response.map(Body::new);
    }
    let status = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code.as_u16(),
        "reason": if code == StatusCode::TOO_MANY_REQUESTS { "TooManyRequests" } else { "ServiceUnavailable" },
        "message": code.canonical_reason().unwrap_or("try again later"),
        "details": {"retryAfterSeconds": seconds},
    });
    let (mut head, _) = response.into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(head, Body::from(status.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use tower::{ServiceBuilder, service_fn};

    async fn error_of(response: Response<Body>) -> Box<kube::core::Status> {
        let response = std::sync::Arc::new(std::sync::Mutex::new(Some(response)));
        let service = service_fn(move |_: axum::http::Request<kube::client::Body>| {
            let response = response.lock().unwrap().take().unwrap();
            async move { Ok::<_, BoxError>(response) }.boxed()
        });
        let layered = ServiceBuilder::new().map_response(retry_after_to_status).service(service);
        match Client::new(layered, "default").apiserver_version().await {
            Err(kube::Error::Api(status)) => status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_delay_of_a_watch_is_limited() {
        let mut backoff = WatchBackoff::default();
        for whole in [200, 400, 800, 1600, 3000, 3000] {
            let pause = backoff.next().unwrap().as_millis();
            assert!((whole / 2..=whole).contains(&pause), "{pause}");
        }
        backoff.reset();
        assert!(backoff.next().unwrap() > WatchBackoff::SHORTEST);
        backoff.last -= WatchBackoff::STABLE * 2;
        assert!(backoff.next().unwrap() <= WatchBackoff::SHORTEST);
    }

    #[tokio::test]
    async fn the_error_contains_retry_after() {
        let bare =
            Response::builder().status(429).header("Retry-After", "7").header("Content-Type", "text/plain");
        let error =
            error_of(bare.body(Body::from("Too many requests, please try again later.\n")).unwrap()).await;
        assert_eq!((error.code, error.details.unwrap().retry_after_seconds), (429, 7));

        let status = json!({"kind": "Status", "code": 503, "message": "message of the server"}).to_string();
        let with_status = Response::builder().status(503).header("Retry-After", "7");
        let with_status =
            with_status.header("Content-Type", "application/json").body(Body::from(status)).unwrap();
        assert_eq!(error_of(with_status).await.message, "message of the server");

        let without = Response::builder().status(500).body(Body::from("oops")).unwrap();
        assert_eq!(error_of(without).await.details.map(|details| details.retry_after_seconds), None);
    }
}
