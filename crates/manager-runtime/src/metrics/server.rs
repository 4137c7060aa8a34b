//! Serves `/metrics` over HTTPS, and `/debug/flags/v`, which changes the log level at run time.

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

/// Configuration of the metrics server.
#[derive(Clone, Debug)]
pub struct MetricsServer {
    /// Address and port.
    pub address: SocketAddr,
    /// Folder of `tls.crt` and `tls.key`. The server reloads them. While they do not exist, it serves a self-signed
    /// certificate.
    pub certificates: PathBuf,
    /// TLS versions and cipher suites.
    pub options: TlsOptions,
}

/// Why the metrics server cannot run.
#[derive(Debug, Error)]
pub enum MetricsServerError {
    /// The self-signed certificate cannot be created.
    #[error(transparent)]
    Certificate(#[from] TlsError),
    /// The server cannot start.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

impl MetricsServer {
    /// Serves until `shutdown`. The API server, through `client`, authorizes reads and changes to the level of `log`.
    ///
    /// # Errors
    /// When the server cannot bind the address, or the TLS options leave nothing to serve.
    pub async fn serve(
        self,
        metrics: Metrics,
        client: Client,
        log: LogHandle,
        shutdown: CancellationToken,
    ) -> Result<(), MetricsServerError> {
        let server = Server::bind(self.address).await?;
        info!(address = %server.address(), "serving metrics");
        let certificate = Certificate::self_signed(&["localhost", "127.0.0.1"])?.replace_from(
            &self.certificates,
            metrics.certificates(),
            &shutdown,
        );
        let router = router(metrics, log, Access::new(client));
        Ok(server.serve_tls(&self.options, certificate, router, shutdown).await?)
    }
}

/// The routes, all protected by `access`.
fn router(metrics: Metrics, log: LogHandle, access: Access) -> Router {
    Router::new()
        .route("/metrics", any(scrape))
        .with_state(metrics)
        // Kubernetes components accept a number for --v at this path. This one also accepts values of --zap-log-level.
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
            error!(%error, "cannot encode the metrics");
            (StatusCode::INTERNAL_SERVER_ERROR, "cannot encode the metrics\n").into_response()
        }
    }
}
