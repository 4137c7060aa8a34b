//! The parts that every Kubernetes manager process needs. Nothing here depends on JobSets.
//!
//! | module | contents |
//! |---|---|
//! | [`certificates`] | issues and rotates the serving certificates of webhooks |
//! | [`client`] | connects to the API server |
//! | [`logging`] | the log subscriber, whose level can change at run time |
//! | [`shutdown`] | a token that SIGTERM or SIGINT cancels; a second signal ends the process |
//! | [`probes`] | liveness and readiness over plain HTTP |
//! | [`metrics`] | Prometheus metrics over HTTPS; the API server authenticates and authorizes each scrape |
//! | [`server`] | HTTP and HTTPS servers with limits for each client |
//! | [`tls`] | serving certificates that reload, TLS versions and cipher suites |
//! | [`leader`] | leader election with a Lease |
//! | [`queue`] | the work queue: each key once, never two reconciles of one key, backoff after failures |
//! | [`writer`] | write requests to the API server, limited in number and rate |
//! | `traces` | spans for an OpenTelemetry collector (cargo feature `opentelemetry`) |
//! | [`version`] | version and build of the program |
//! | [`events`] | Kubernetes events, sent in the background |

pub mod certificates;
pub mod client;
pub mod events;
pub mod leader;
pub mod logging;
pub mod metrics;
pub mod probes;
pub mod queue;
pub mod server;
pub mod shutdown;
pub mod tls;
#[cfg(feature = "opentelemetry")]
pub mod traces;
pub mod version;
pub mod writer;

/// Installs the TLS implementation of the process. Call it first in `main`.
pub fn install_crypto_provider() {
    // The only error is that a provider is installed, and that provider is the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// The name of this host, which in a pod is the pod's name. Empty when the system call fails.
pub fn hostname() -> String {
    hostname::get().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
