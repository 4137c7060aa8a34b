//! Stands before an API server and makes faults on purpose, which no real one makes when a test wants them.
//!
//! Whatever is asked goes on to the API server with the credentials that it came with. Watches are never disturbed:
//! they are answered for minutes, and how they end is the API server's business.

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

/// Largest request that goes through.
const LARGEST: usize = 4 << 20;

/// How many of a hundred requests meet which fault.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Refused with 429 and `Retry-After: 1`, as by the API server's own limits.
    pub too_many: u32,
    /// Refused with 500.
    pub internal: u32,
    /// Carried out, and answered with 504: nobody knows.
    pub lost: u32,
    /// Carried out, and answered some seconds later.
    pub slow: u32,
}

/// The proxy, until it is dropped.
pub struct FaultyProxy {
    /// Where it listens.
    pub address: SocketAddr,
    /// The CA of its certificate, PEM.
    pub authority: String,
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    client: Client,
    faults: Faults,
    asked: AtomicU32,
    spoilt: AtomicU32,
}

impl FaultyProxy {
    /// Starts it before the API server of this kubeconfig; its certificate is kept in `folder`.
    pub async fn start(kubeconfig: &Path, folder: &Path, faults: Faults) -> Result<Self> {
        let mut kubeconfig = Kubeconfig::read_from(kubeconfig)?;
        for user in &mut kubeconfig.auth_infos {
            user.auth_info = Some(AuthInfo::default());
        }
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        config.default_retry = false;
        let client = Client::try_from(config)?;
        let shared = Arc::new(Shared { client, faults, asked: AtomicU32::new(0), spoilt: AtomicU32::new(0) });

        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let authority = crate::controller::write_certificates(folder)?;
        let certificate = RustlsConfig::from_pem_file(folder.join("tls.crt"), folder.join("tls.key")).await?;
        let handle = axum_server::Handle::new();
        let router = Router::new().fallback(pass_on).with_state(Arc::clone(&shared));
        let server = axum_server::bind_rustls(SocketAddr::from(([127, 0, 0, 1], 0)), certificate)
            .handle(handle.clone())
            .serve(router.into_make_service());
        let task = tokio::spawn(server).abort_handle();
        let address = handle.listening().await.ok_or_else(|| anyhow!("the proxy cannot listen"))?;
        Ok(Self { address, authority, shared, task })
    }

    /// How many requests came, watches aside, and how many of them met a fault.
    pub fn counts(&self) -> (u32, u32) {
        (self.shared.asked.load(Ordering::Relaxed), self.shared.spoilt.load(Ordering::Relaxed))
    }
}

impl Drop for FaultyProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let is_watch = request.uri().query().is_some_and(|query| query.contains("watch="));
    let Faults { too_many, internal, lost, slow } = shared.faults;
    // Of a hundred: the first too_many meet the first fault, and so on.
    let lot = if is_watch { 100 } else { fastrand::u32(0..100) };
    let bounds =
        [too_many, too_many + internal, too_many + internal + lost, too_many + internal + lost + slow];
    let fault = bounds.iter().position(|bound| lot < *bound);
    if !is_watch {
        shared.asked.fetch_add(1, Ordering::Relaxed);
        shared.spoilt.fetch_add(u32::from(fault.is_some()), Ordering::Relaxed);
    }
    match fault {
        Some(0) => {
            let text = "Too many requests, please try again later.\n";
            return (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")], text).into_response();
        }
        Some(1) => return (StatusCode::INTERNAL_SERVER_ERROR, "made on purpose").into_response(),
        _ => {}
    }
    let answer = forward(&shared.client, request).await;
    match fault {
        Some(2) => (StatusCode::GATEWAY_TIMEOUT, "made on purpose").into_response(),
        Some(3) => {
            tokio::time::sleep(Duration::from_secs(3)).await;
            answer
        }
        _ => answer,
    }
}

async fn forward(client: &Client, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let forwarded = async {
        let body = to_bytes(body, LARGEST).await?;
        let mut request = http::Request::new(ClientBody::from(body));
        *request.method_mut() = head.method;
        *request.uri_mut() = head.uri.path_and_query().context("a request has a path")?.as_str().parse()?;
        *request.headers_mut() = head.headers;
        request.headers_mut().remove(header::HOST);
        Ok::<_, anyhow::Error>(client.send(request).await?)
    };
    match forwarded.await {
        Ok(answer) => answer.map(Body::new).into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response(),
    }
}
