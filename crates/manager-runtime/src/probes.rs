//! Liveness and readiness over plain HTTP, for the kubelet, with the paths and bodies of controller-runtime.
//!
//! | path | healthy | unhealthy |
//! |---|---|---|
//! | `/readyz` | `ok` | 500, each check, `reason withheld`, because the endpoint needs no authentication |
//! | `/readyz?verbose` | each check | the same |
//! | `/readyz?exclude=readyz` | `ok`, whatever the result of the check | |
//! | `/readyz/readyz` | `ok` | 500 and the reason |
//!
//! The process also logs the reason, once for each change.

use crate::server::{ServeError, Server};
use axum::{
    Router,
    extract::Query,
    http::{
        StatusCode, Uri,
        header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
    },
    response::{IntoResponse, Response},
};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Timeout of a TLS handshake with the process's own server.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the result of a handshake is cached.
const DIAL_TTL: Duration = Duration::from_secs(1);

/// The state of the readiness probe: a set of named conditions. Each is unmet at first.
#[derive(Clone)]
pub struct Readiness(Arc<Shared>);

struct Shared {
    conditions: Mutex<Vec<Condition>>,
    /// The result that was logged last.
    logged: Mutex<Result<(), String>>,
    dialled: tokio::sync::Mutex<Option<(Instant, Result<(), String>)>>,
}

struct Condition {
    name: &'static str,
    state: State,
}

#[derive(Clone)]
enum State {
    Met,
    Missing(String),
    /// Met if a TLS handshake at this address succeeds.
    Reachable(SocketAddr),
}

impl Readiness {
    /// Creates the conditions, all unmet. Each has a name, and a message for as long as it is unmet.
    pub fn new(conditions: impl IntoIterator<Item = (&'static str, &'static str)>) -> Self {
        let conditions = conditions.into_iter();
        let unmet = conditions.map(|(name, why)| Condition { name, state: State::Missing(why.to_owned()) });
        Self(Arc::new(Shared {
            conditions: Mutex::new(unmet.collect()),
            logged: Mutex::new(Err(String::new())),
            dialled: tokio::sync::Mutex::default(),
        }))
    }

    /// Sets the condition `name` to met.
    pub fn met(&self, name: &str) {
        self.set(name, State::Met);
    }

    /// Sets the condition `name` to unmet, because of `why`.
    pub fn missing(&self, name: &str, why: impl Into<String>) {
        self.set(name, State::Missing(why.into()));
    }

    /// Meets the condition `name` whenever the process's own server at `address` completes a TLS handshake.
    pub fn met_while_reachable(&self, name: &str, address: SocketAddr) {
        self.set(name, State::Reachable(address));
    }

    fn set(&self, name: &str, state: State) {
        if let Some(condition) = lock(&self.0.conditions).iter_mut().find(|condition| condition.name == name)
        {
            condition.state = state;
        }
    }

    /// Checks all conditions.
    ///
    /// # Errors
    /// When conditions are unmet, with their messages.
    pub async fn check(&self) -> Result<(), String> {
        let conditions: Vec<(&str, State)> =
            lock(&self.0.conditions).iter().map(|c| (c.name, c.state.clone())).collect();
        let mut missing = Vec::new();
        for (name, state) in conditions {
            match state {
                State::Met => {}
                State::Missing(why) => missing.push(why),
                State::Reachable(address) => {
                    if let Err(error) = self.dial(address).await {
                        missing.push(format!("{name} server is not reachable: {error}"));
                    }
                }
            }
        }
        let result = if missing.is_empty() { Ok(()) } else { Err(missing.join("; ")) };
        let mut logged = lock(&self.0.logged);
        if *logged != result {
            logged.clone_from(&result);
            match &result {
                Ok(()) => info!("ready"),
                Err(reason) => info!(reason, "not ready"),
            }
        }
        result
    }

    /// Tries a TLS handshake, at most one at a time.
    async fn dial(&self, address: SocketAddr) -> Result<(), String> {
        let mut dialled = self.0.dialled.lock().await;
        if let Some((_, result)) = dialled.as_ref().filter(|(at, _)| at.elapsed() < DIAL_TTL) {
            return result.clone();
        }
        let result = match timeout(DIAL_TIMEOUT, handshake(address)).await {
            Ok(answered) => answered.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no response within {DIAL_TIMEOUT:?}")),
        };
        *dialled = Some((Instant::now(), result.clone()));
        result
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn handshake(address: SocketAddr) -> std::io::Result<()> {
    // A server that listens on all addresses also listens on IPv4 loopback, which every pod has.
    let ip = if address.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { address.ip() };
    let stream = TcpStream::connect((ip, address.port())).await?;
    let provider = CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptAnyCertificate(provider)))
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config)).connect(ServerName::from(ip), stream).await.map(drop)
}

/// Accepts every certificate. The probe checks only that the server responds.
#[derive(Debug)]
struct AcceptAnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// One probe: a path with one check.
struct Probe {
    /// Without a trailing slash.
    path: String,
    check: &'static str,
    /// None: the check always succeeds.
    readiness: Option<Readiness>,
}

impl Probe {
    async fn result(&self) -> Result<(), String> {
        match &self.readiness {
            Some(readiness) => readiness.check().await,
            None => Ok(()),
        }
    }

    /// The response for the path of the check.
    async fn check_response(&self) -> Response {
        match self.result().await {
            Ok(()) => text(StatusCode::OK, "ok"),
            Err(why) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("internal server error: {why}\n")),
        }
    }

    /// The response for the path of the probe.
    async fn response(&self, query: &[(String, String)]) -> Response {
        let excluded = |check: &str| query.iter().any(|(key, value)| key == "exclude" && value == check);
        let unknown: Vec<String> = query
            .iter()
            .filter(|(key, value)| key == "exclude" && value != self.check)
            .map(|(_, value)| format!("{value:?}"))
            .collect();
        let (line, healthy) = if excluded(self.check) {
            (format!("[+]{} excluded: ok", self.check), true)
        } else if self.result().await.is_ok() {
            (format!("[+]{} ok", self.check), true)
        } else {
            (format!("[-]{} failed: reason withheld", self.check), false)
        };
        if healthy && !query.iter().any(|(key, _)| key == "verbose") {
            return text(StatusCode::OK, "ok");
        }
        let warning = if unknown.is_empty() {
            String::new()
        } else {
            format!("warn: some health checks cannot be excluded: no matches for {}\n", unknown.join(","))
        };
        let (code, verdict) =
            if healthy { (StatusCode::OK, "passed") } else { (StatusCode::INTERNAL_SERVER_ERROR, "failed") };
        text(code, format!("{line}\n{warning}healthz check {verdict}\n"))
    }
}

fn text(code: StatusCode, body: impl Into<String>) -> Response {
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (code, headers, body.into()).into_response()
}

/// The paths come from the configuration and may contain routing syntax, so the handler compares them as text.
fn router(live_path: &str, ready_path: &str, readiness: Readiness) -> Router {
    let probe = |path: &str, check, readiness| Probe {
        path: path.trim_end_matches('/').to_owned(),
        check,
        readiness,
    };
    let probes = [probe(live_path, "healthz", None), probe(ready_path, "readyz", Some(readiness))];
    let probes = Arc::new(probes);
    Router::new().fallback(async move |uri: Uri, Query(query): Query<Vec<(String, String)>>| {
        let path = uri.path().trim_end_matches('/');
        if let Some(probe) = probes.iter().find(|probe| probe.path == path) {
            return probe.response(&query).await;
        }
        let is_check = |probe: &&Probe| path.strip_prefix(&probe.path) == Some(&format!("/{}", probe.check));
        match probes.iter().find(is_check) {
            Some(probe) => probe.check_response().await,
            None => text(StatusCode::NOT_FOUND, "404 page not found\n"),
        }
    })
}

/// Serves the liveness probe at `live_path` and the readiness probe at `ready_path` until `shutdown`.
///
/// # Errors
/// When the server cannot bind the address.
pub async fn serve(
    address: SocketAddr,
    live_path: &str,
    ready_path: &str,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    Server::bind(address).await?.serve(router(live_path, ready_path, readiness), shutdown).await
}

/// Parses a bind address in the syntax of Kubernetes programs: `:8081` means all IPv4 and IPv6 addresses, and `0` or
/// an empty text disables the server.
///
/// # Errors
/// When the text is invalid, with the value and an example.
pub fn bind_address(text: &str) -> Result<Option<SocketAddr>, String> {
    match text {
        "" | "0" => Ok(None),
        _ => {
            let full = if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() };
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
    use crate::tls::{Certificate, TlsOptions};
    use axum::{
        body::{Body, to_bytes},
        http::Request,
    };
    use tower::ServiceExt;

    #[tokio::test]
    async fn readiness_returns_the_messages_of_unmet_conditions() {
        let ready = Readiness::new([
            ("certificates", "certificates are not ready"),
            ("caches", "caches are filling"),
        ]);
        assert_eq!(ready.check().await, Err("certificates are not ready; caches are filling".into()));
        ready.met("certificates");
        assert_eq!(ready.check().await, Err("caches are filling".into()));
        ready.met("caches");
        assert_eq!(ready.check().await, Ok(()));
        ready.missing("certificates", "expired");
        assert_eq!(ready.check().await, Err("expired".into()));
    }

    #[tokio::test]
    async fn a_server_is_reachable_when_a_tls_handshake_succeeds() {
        let ready = || Readiness::new([("webhook", "webhook server has not been started yet")]);
        let server = Server::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = server.address();
        let unreachable = ready();
        assert_eq!(unreachable.check().await, Err("webhook server has not been started yet".into()));
        // This server listens, and does not use TLS.
        let plain = Server::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        unreachable.met_while_reachable("webhook", plain.address());
        let stop = CancellationToken::new();
        let _stop = stop.clone().drop_guard();
        tokio::spawn(plain.serve(Router::new(), stop.clone()));
        let error = unreachable.check().await.unwrap_err();
        assert!(error.starts_with("webhook server is not reachable: "), "{error}");

        let certificate = Certificate::self_signed(&["webhook.test"]).unwrap();
        tokio::spawn(async move {
            server.serve_tls(&TlsOptions::default(), certificate, Router::new(), stop).await
        });
        let reachable = ready();
        reachable.met_while_reachable("webhook", address);
        assert_eq!(reachable.check().await, Ok(()));
    }

    #[tokio::test]
    async fn bodies_are_those_of_controller_runtime() {
        let readiness = Readiness::new([("certificates", "certificates are not ready")]);
        let router = router("/healthz", "/readyz", readiness.clone());
        let ask = async |path: &str| {
            let response =
                router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
            let code = response.status().as_u16();
            let body = to_bytes(response.into_body(), 9999).await.unwrap();
            (code, String::from_utf8(body.to_vec()).unwrap())
        };
        let failed = (500, "[-]readyz failed: reason withheld\nhealthz check failed\n".to_owned());
        for path in ["/readyz", "/readyz/", "/readyz?verbose", "/readyz?verbose=true"] {
            assert_eq!(ask(path).await, failed, "{path}");
        }
        assert_eq!(
            ask("/readyz/readyz").await,
            (500, "internal server error: certificates are not ready\n".into())
        );
        assert_eq!(ask("/readyz?exclude=readyz").await, (200, "ok".into()));
        assert_eq!(
            ask("/readyz?exclude=readyz&verbose").await,
            (200, "[+]readyz excluded: ok\nhealthz check passed\n".into())
        );
        readiness.met("certificates");
        for path in ["/readyz", "/readyz/readyz", "/healthz", "/healthz/healthz"] {
            assert_eq!(ask(path).await, (200, "ok".into()), "{path}");
        }
        assert_eq!(ask("/healthz?verbose").await, (200, "[+]healthz ok\nhealthz check passed\n".into()));
        assert_eq!(
            ask("/readyz?verbose&exclude=moon").await,
            (
                200,
                "[+]readyz ok\nwarn: some health checks cannot be excluded: no matches for \"moon\"\nhealthz check \
                 passed\n"
                    .into()
            )
        );
        for path in ["/readyz/moon", "/readyz/healthz", "/", "/moon"] {
            assert_eq!(ask(path).await, (404, "404 page not found\n".into()), "{path}");
        }
    }

    #[tokio::test]
    async fn any_two_paths_are_valid() {
        for (live, ready) in
            [("/", "/healthz"), ("/healthz", "/healthz/healthz"), ("/{x}", "/*y"), ("/a/", "/")]
        {
            let readiness = Readiness::new([("caches", "caches are filling")]);
            let router = router(live, ready, readiness);
            for (path, code) in [(live, 200), (ready, 500)] {
                let uri = Uri::builder().path_and_query(path).build().unwrap();
                let request = Request::get(uri).body(Body::empty()).unwrap();
                let response = router.clone().oneshot(request).await.unwrap();
                assert_eq!(response.status().as_u16(), code, "{live} {ready} {path}");
            }
        }
    }

    #[test]
    fn bind_addresses() {
        assert_eq!(bind_address("0"), Ok(None));
        assert_eq!(bind_address(":8081").unwrap().unwrap().to_string(), "[::]:8081");
        assert_eq!(bind_address("0.0.0.0:8081").unwrap().unwrap().to_string(), "0.0.0.0:8081");
        assert_eq!(bind_address("127.0.0.1:9").unwrap().unwrap().to_string(), "127.0.0.1:9");
        assert!(bind_address("8081").unwrap_err().contains("8081"));
    }
}
