//! Liveness and readiness over plain HTTP, for the kubelet.

use axum::{Router, http::StatusCode, routing::get};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// What the readiness probe answers from: a set of named conditions, each not met until it is.
#[derive(Clone)]
pub struct Readiness(Arc<Mutex<Vec<Condition>>>);

struct Condition {
    name: &'static str,
    missing: Option<String>,
}

impl Readiness {
    /// Waits for each of `conditions`, given as its name and what is missing while it is not met.
    pub fn new(conditions: impl IntoIterator<Item = (&'static str, &'static str)>) -> Self {
        let conditions = conditions.into_iter();
        let unmet = conditions.map(|(name, why)| Condition { name, missing: Some(why.to_owned()) });
        Self(Arc::new(Mutex::new(unmet.collect())))
    }

    /// The condition `name` is met.
    pub fn met(&self, name: &str) {
        self.set(name, None);
    }

    /// The condition `name` is not met, because of `why`.
    pub fn missing(&self, name: &str, why: impl Into<String>) {
        self.set(name, Some(why.into()));
    }

    fn set(&self, name: &str, missing: Option<String>) {
        if let Some(condition) = self.conditions().iter_mut().find(|condition| condition.name == name) {
            condition.missing = missing;
        }
    }

    /// What is missing, if anything.
    pub fn check(&self) -> Result<(), String> {
        let conditions = self.conditions();
        let missing: Vec<&str> = conditions.iter().filter_map(|c| c.missing.as_deref()).collect();
        if missing.is_empty() { Ok(()) } else { Err(missing.join("; ")) }
    }

    fn conditions(&self) -> MutexGuard<'_, Vec<Condition>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers `live_path` with 200 while the process runs and `ready_path` by `readiness`, until `shutdown`.
/// Under `<path>/<name>` (`/readyz/readyz`) the same checks answer.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(
    address: SocketAddr,
    live_path: &str,
    ready_path: &str,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let live = || async { "ok" };
    let ready = move || async move {
        match readiness.check() {
            Ok(()) => (StatusCode::OK, "ok".to_owned()),
            Err(missing) => {
                debug!(missing, "not ready");
                let text = format!("[-]readyz failed: {missing}\nhealthz check failed\n");
                (StatusCode::INTERNAL_SERVER_ERROR, text)
            }
        }
    };
    let router = Router::new()
        .route(live_path, get(live))
        .route(&format!("{}/healthz", live_path.trim_end_matches('/')), get(live))
        .route(ready_path, get(ready.clone()))
        .route(&format!("{}/readyz", ready_path.trim_end_matches('/')), get(ready));
    let listener = TcpListener::bind(address).await?;
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

/// Reads a bind address as Kubernetes programs write it: `:8081` means all addresses, `0` or an empty text
/// means that the server is switched off.
///
/// # Errors
/// When it is neither, with the value and an example.
pub fn bind_address(text: &str) -> Result<Option<SocketAddr>, String> {
    match text {
        "" | "0" => Ok(None),
        _ => {
            let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
            let full = full.replace("localhost", "127.0.0.1");
            full.parse().map(Some).map_err(|_| {
                format!("{text:?} is not an address and port such as \":8081\" or \"127.0.0.1:8081\"")
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_names_what_is_missing() {
        let ready = Readiness::new([
            ("certificates", "certificates are not ready"),
            ("caches", "caches are filling"),
        ]);
        assert_eq!(ready.check(), Err("certificates are not ready; caches are filling".into()));
        ready.met("certificates");
        assert_eq!(ready.check(), Err("caches are filling".into()));
        ready.met("caches");
        assert_eq!(ready.check(), Ok(()));
        ready.missing("certificates", "expired");
        assert_eq!(ready.check(), Err("expired".into()));
    }

    #[test]
    fn bind_addresses() {
        assert_eq!(bind_address("0"), Ok(None));
        assert_eq!(bind_address(":8081").unwrap().unwrap().to_string(), "0.0.0.0:8081");
        assert_eq!(bind_address("127.0.0.1:9").unwrap().unwrap().to_string(), "127.0.0.1:9");
        assert!(bind_address("8081").unwrap_err().contains("8081"));
    }
}
