//! A proxy for an API server that injects faults.
//!
//! It forwards requests with the credentials of the client. It injects no faults into watches, which stay open for
//! minutes and which the API server ends.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum_server::tls_rustls::RustlsConfig;
use kube::client::Body as ClientBody;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::task::AbortHandle;

/// Maximum size of a request body.
const MAX_BODY: usize = 4 << 20;

/// Percentage of requests with each fault.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Rejected with 429 and `Retry-After: 1`, as by the API server's limits.
    pub too_many: u32,
    /// Rejected with 500.
    pub internal: u32,
    /// Executed, but the response is 504, so the client does not know the result.
    pub lost: u32,
    /// Executed, with a response after three seconds.
    pub slow: u32,
}

/// The proxy. Dropping it stops it.
pub struct FaultyProxy {
    /// Address on which it listens.
    pub address: SocketAddr,
    /// The CA of its certificate, PEM.
    pub authority: String,
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    client: Client,
    faults: Faults,
    requests: AtomicU32,
    faulty: AtomicU32,
}

impl FaultyProxy {
    /// Starts a proxy for the API server of this kubeconfig. Writes its certificate to `folder`.
    pub async fn start(kubeconfig: &Path, folder: &Path, faults: Faults) -> Result<Self> {
        let mut kubeconfig = Kubeconfig::read_from(kubeconfig)?;
        for user in &mut kubeconfig.auth_infos {
            user.auth_info = Some(AuthInfo::default());
        }
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        config.default_retry = false;
        let client = Client::try_from(config)?;
        let shared =
            Arc::new(Shared { client, faults, requests: AtomicU32::new(0), faulty: AtomicU32::new(0) });

        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let authority = crate::controller::write_certificates(folder)?;
        let certificate = RustlsConfig::from_pem_file(folder.join("tls.crt"), folder.join("tls.key")).await?;
        let handle = axum_server::Handle::new();
        let router = Router::new().fallback(handle_request).with_state(Arc::clone(&shared));
        let server = axum_server::bind_rustls(SocketAddr::from(([127, 0, 0, 1], 0)), certificate)
            .handle(handle.clone())
            .serve(router.into_make_service());
        let task = tokio::spawn(server).abort_handle();
        let address =
            handle.listening().await.ok_or_else(|| anyhow!("the proxy cannot listen on 127.0.0.1"))?;
        Ok(Self { address, authority, shared, task })
    }

    /// Number of requests other than watches, and number of those with a fault.
    pub fn counts(&self) -> (u32, u32) {
        (self.shared.requests.load(Ordering::Relaxed), self.shared.faulty.load(Ordering::Relaxed))
    }
}

impl Drop for FaultyProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn handle_request(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let is_watch = request.uri().query().is_some_and(|query| query.contains("watch="));
    let Faults { too_many, internal, lost, slow } = shared.faults;
    // Numbers below the first bound select the first fault, and so on; 100 selects none.
    let number = if is_watch { 100 } else { fastrand::u32(0..100) };
    let bounds =
        [too_many, too_many + internal, too_many + internal + lost, too_many + internal + lost + slow];
    let fault = bounds.iter().position(|bound| number < *bound);
    if !is_watch {
        shared.requests.fetch_add(1, Ordering::Relaxed);
        shared.faulty.fetch_add(u32::from(fault.is_some()), Ordering::Relaxed);
    }
    match fault {
        Some(0) => {
            let text = "Too many requests, please try again later.\n";
            return (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")], text).into_response();
        }
        Some(1) => return (StatusCode::INTERNAL_SERVER_ERROR, "injected fault").into_response(),
        _ => {}
    }
    let response = forward(&shared.client, request).await;
    match fault {
        Some(2) => (StatusCode::GATEWAY_TIMEOUT, "injected fault").into_response(),
        Some(3) => {
            tokio::time::sleep(Duration::from_secs(3)).await;
            response
        }
        _ => response,
    }
}

async fn forward(client: &Client, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let forwarded = async {
        let body = to_bytes(body, MAX_BODY).await?;
        let mut request = http::Request::new(ClientBody::from(body));
        *request.method_mut() = head.method;
        *request.uri_mut() = head.uri.path_and_query().context("a request has a path")?.as_str().parse()?;
        *request.headers_mut() = head.headers;
        request.headers_mut().remove(header::HOST);
        Ok::<_, anyhow::Error>(client.send(request).await?)
    };
    match forwarded.await {
        Ok(response) => response.map(Body::new).into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response(),
    }
}
