//! What any manager process needs, and knows nothing of JobSets.
//!
//! | module | what it gives |
//! |---|---|
//! | [`certificates`] | certificates of our own making, for webhooks |
//! | [`client`] | the way to the API server |
//! | [`logging`] | one subscriber, whose level can change while the process runs |
//! | [`shutdown`] | a token that SIGTERM or SIGINT cancels; a second signal ends the process |
//! | [`probes`] | liveness and readiness over plain HTTP |
//! | [`metrics`] | what dashboards show, served over HTTPS to whom the API server lets in |
//! | [`server`] | HTTP and HTTPS within limits |
//! | [`tls`] | certificates that may change while they are served, TLS versions and cipher suites |
//! | [`leader`] | a Lease that one replica holds |
//! | [`queue`] | the keys that wait for a reconcile: each once, never two at a time, failures backed off |
//! | [`writer`] | requests to the API server, bounded in flight and in rate |
//! | `traces` | spans for an OpenTelemetry collector (cargo feature `opentelemetry`) |
//! | [`version`] | what this program is built from |
//! | [`events`] | Kubernetes events, sent beside the reconcile |

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

/// Chooses the TLS implementation of the whole process. Call it first in `main`.
pub fn install_crypto_provider() {
    // A second call finds a provider in place, which is the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Name of this host: in a pod, the pod's name. Empty when the system does not tell.
pub fn hostname() -> String {
    hostname::get().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
