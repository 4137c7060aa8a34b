//! The way to the API server.

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

/// Why there is no way.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The file that was named cannot be used.
    #[error("--kubeconfig {0}")]
    Kubeconfig(PathBuf, #[source] KubeconfigError),
    /// No file was named, and nothing else tells of a cluster.
    #[error("found no cluster: give --kubeconfig, set KUBECONFIG, or run in a pod with a service account")]
    NoCluster(#[source] InferConfigError),
    /// What the configuration asks for cannot be done.
    #[error("cannot make a client of the cluster's configuration")]
    Client(#[source] kube::Error),
}

/// A client by the file that is named; without one by `$KUBECONFIG`, by the service account of the pod, or by
/// `~/.kube/config`. Its requests are counted, and name `program`: the API server notes it as the manager of the
/// fields that they write. Nothing is asked of the API server yet.
///
/// Requests are not tried again here, but where it is known how urgent they are: by the
/// [`Writer`](crate::writer::Writer) and by watches.
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
    Ok(builder.with_layer(&counted).with_layer(&MapResponseLayer::new(tell_when_to_retry)).build())
}

/// The configuration that is found where none is named. A pod's own comes before a file in a home folder.
async fn infer() -> Result<Config, ConnectError> {
    if std::env::var_os("KUBECONFIG").is_none()
        && let Ok(config) = Config::incluster()
    {
        return Ok(config);
    }
    Config::infer().await.map_err(ConnectError::NoCluster)
}

/// What an error says to a person: of a refusal, the API server's own sentence.
pub fn api_message(error: &kube::Error) -> String {
    in_one_line(error)
}

/// Pauses of a watch that is interrupted, half of each at random: short at first, and never long, so that an API
/// server that was away is followed again within seconds. What kube offers grows to half a minute, and stays there.
#[derive(Clone, Debug)]
pub struct WatchBackoff {
    pause: Duration,
    last: Instant,
}

impl WatchBackoff {
    const SHORTEST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(3);
    /// A watch that was not interrupted for so long is well.
    const WELL: Duration = Duration::from_secs(30);
}

impl Default for WatchBackoff {
    fn default() -> Self {
        Self { pause: Self::SHORTEST, last: Instant::now() }
    }
}

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.last.elapsed() > Self::WELL {
            self.pause = Self::SHORTEST;
        }
        self.last = Instant::now();
        let whole = self.pause;
        self.pause = (whole * 2).min(Self::LONGEST);
        Some(Jitter::new(whole / 2, whole / 2) + Duration::ZERO)
    }
}

impl Backoff for WatchBackoff {
    /// Does nothing: a watch that begins anew counts as a success, and every try is a beginning.
    fn reset(&mut self) {}
}

/// Puts the header `Retry-After` of a refusal into the status that errors are made of. The API server's own limits
/// answer with that header and no status.
fn tell_when_to_retry<B>(answer: Response<B>) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let code = answer.status();
    let seconds =
        answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
    let is_status =
        answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().ends_with(b"json"));
    let Some(seconds) = seconds.filter(|_| code.is_server_error() || code == StatusCode::TOO_MANY_REQUESTS)
    else {
        return answer.map(Body::new);
    };
    if is_status {
        return answer.map(Body::new);
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
    let (mut head, _) = answer.into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(head, Body::from(status.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use tower::{ServiceBuilder, service_fn};

    async fn error_of(answer: Response<Body>) -> Box<kube::core::Status> {
        let answer = std::sync::Arc::new(std::sync::Mutex::new(Some(answer)));
        let service = service_fn(move |_: axum::http::Request<kube::client::Body>| {
            let answer = answer.lock().unwrap().take().unwrap();
            async move { Ok::<_, BoxError>(answer) }.boxed()
        });
        let layered = ServiceBuilder::new().map_response(tell_when_to_retry).service(service);
        match Client::new(layered, "default").apiserver_version().await {
            Err(kube::Error::Api(status)) => status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_watch_never_waits_long() {
        let mut backoff = WatchBackoff::default();
        for whole in [200, 400, 800, 1600, 3000, 3000] {
            let pause = backoff.next().unwrap().as_millis();
            assert!((whole / 2..=whole).contains(&pause), "{pause}");
        }
        backoff.reset();
        assert!(backoff.next().unwrap() > WatchBackoff::SHORTEST);
        backoff.last -= WatchBackoff::WELL * 2;
        assert!(backoff.next().unwrap() <= WatchBackoff::SHORTEST);
    }

    #[tokio::test]
    async fn when_to_retry_stands_in_the_error() {
        let bare =
            Response::builder().status(429).header("Retry-After", "7").header("Content-Type", "text/plain");
        let error =
            error_of(bare.body(Body::from("Too many requests, please try again later.\n")).unwrap()).await;
        assert_eq!((error.code, error.details.unwrap().retry_after_seconds), (429, 7));

        let status = json!({"kind": "Status", "code": 503, "message": "in their own words"}).to_string();
        let worded = Response::builder().status(503).header("Retry-After", "7");
        let worded = worded.header("Content-Type", "application/json").body(Body::from(status)).unwrap();
        assert_eq!(error_of(worded).await.message, "in their own words");

        let silent = Response::builder().status(500).body(Body::from("oops")).unwrap();
        assert_eq!(error_of(silent).await.details.map(|details| details.retry_after_seconds), None);
    }
}
