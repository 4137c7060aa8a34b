//! `/metrics` over HTTPS, and `/debug/flags/v`, where the log level is changed while the process runs.

use super::{
    Metrics,
    access::{Access, require},
};
use crate::{
    logging::{Level, LogHandle},
    server::{ServeError, Server},
    tls::{Certificate, TlsError, TlsOptions},
};
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::{any, put},
};
use kube::Client;
use std::{net::SocketAddr, path::PathBuf};
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

/// Where, how and until when metrics are served.
#[derive(Clone, Debug)]
pub struct MetricsServer {
    /// Address and port.
    pub address: SocketAddr,
    /// Folder of `tls.crt` and `tls.key`, followed. While they are not there, a certificate is served that the
    /// process made for itself.
    pub certificates: PathBuf,
    /// TLS versions and cipher suites.
    pub options: TlsOptions,
}

/// Why metrics cannot be served.
#[derive(Debug, Error)]
pub enum MetricsServerError {
    /// There is no certificate.
    #[error(transparent)]
    Certificate(#[from] TlsError),
    /// There is no server.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

impl MetricsServer {
    /// Serves until `shutdown`. `client` asks the API server who may read, and who may change the level of `log`.
    ///
    /// # Errors
    /// When the address cannot be listened on, or TLS cannot be as the options want it.
    pub async fn serve(
        self,
        metrics: Metrics,
        client: Client,
        log: LogHandle,
        shutdown: CancellationToken,
    ) -> Result<(), MetricsServerError> {
        let server = Server::bind(self.address).await?;
        info!(address = %server.address(), "serving metrics");
        let certificate = Certificate::self_signed(&["localhost", "127.0.0.1"])?.follow_when_there(
            &self.certificates,
            metrics.certificates(),
            &shutdown,
        );
        let router = router(metrics, log, Access::new(client));
        Ok(server.serve_tls(&self.options, certificate, router, shutdown).await?)
    }
}

/// Serves whom `access` lets in.
fn router(metrics: Metrics, log: LogHandle, access: Access) -> Router {
    Router::new()
        .route("/metrics", any(scrape))
        .with_state(metrics)
        // Kubernetes: where its programs take a number for --v; here also the words of --zap-log-level.
        .merge(Router::new().route("/debug/flags/v", put(set_level)).with_state(log))
        .route_layer(from_fn_with_state(access, require))
}

async fn set_level(State(log): State<LogHandle>, text: String) -> Response {
    match Level::from_zap(text.trim()) {
        Ok(level) => {
            log.set(level);
            info!(to = ?level, "log level changed");
            format!("log level is now {level:?}\n").into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

async fn scrape(State(metrics): State<Metrics>) -> Response {
    match metrics.text() {
        Ok(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => {
            error!(%error, "the metrics cannot be written");
            (StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written\n").into_response()
        }
    }
}
