//! Requests to the API server.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::jobset::Status;
use crate::service_account::{NoServiceAccount, ServiceAccount};

/// The longest response that the agent reads. etcd stores objects of at most 1.5 MiB by default.
pub(crate) const LONGEST: usize = 4 << 20;

/// How long the agent waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// For a connection, and for a response.
    pub(crate) response: Duration,
    /// For the next bytes of a watch. The API server sends a bookmark about once a minute.
    pub(crate) idle: Duration,
    /// How long the API server keeps a watch open, at least. The longest time is twice that.
    pub(crate) watch: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { response: seconds(15), idle: seconds(150), watch: seconds(300) }
    }
}

/// A failed request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    ServiceAccount(#[from] NoServiceAccount),
    #[error("{path} contains no valid certificate: {reason}")]
    Ca { path: String, reason: String },
    #[error("cannot connect to the API server at {address}: {source}")]
    Connect { address: String, source: io::Error },
    #[error("KUBERNETES_SERVICE_HOST: {0}")]
    Host(#[from] InvalidDnsNameError),
    #[error("the API server sent no {what} within {} seconds", .after.as_secs_f32())]
    Timeout { what: &'static str, after: Duration },
    #[error("the connection to the API server failed: {0}")]
    Http(#[from] hyper::Error),
    #[error("the connection to the API server ended within a response")]
    Cut,
    #[error("the request is invalid: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("the token contains characters that are invalid in an HTTP header: {0}")]
    Token(#[from] hyper::header::InvalidHeaderValue),
    #[error("the response of the API server is longer than {} MiB: reduce the size of the JobSet", LONGEST >> 20)]
    TooLong,
    #[error("the response of the API server is not the expected JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("{message} (HTTP status {code})")]
    Response { code: u16, message: String, retry_after: Option<Duration> },
}

impl Failure {
    /// An error that the API server sent in a watch.
    pub(crate) fn of_status(status: Status) -> Self {
        Self::Response { code: status.code, message: status.message, retry_after: None }
    }

    /// HTTP status code; 0 if there was no response.
    pub(crate) fn code(&self) -> u16 {
        if let Self::Response { code, .. } = self { *code } else { 0 }
    }

    /// The delay that the API server requested.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        if let Self::Response { retry_after, .. } = self { *retry_after } else { None }
    }
}

/// The API server, as the pod's service account.
#[derive(Debug)]
pub(crate) struct Api {
    /// Files and address.
    pub(crate) account: ServiceAccount,
    /// How long requests take at most.
    pub(crate) timeouts: Timeouts,
    /// The TLS configuration, with sessions to resume, for the CA's certificates.
    tls: Mutex<Option<(Vec<u8>, Arc<ClientConfig>)>>,
}

impl Api {
    pub(crate) fn new(account: ServiceAccount, timeouts: Timeouts) -> Self {
        Self { account, timeouts, tls: Mutex::default() }
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self) -> Result<Connection, Failure> {
        let (address, after) = (self.account.authority(), self.timeouts.response);
        let opening = async {
            let connector = TlsConnector::from(self.tls()?);
            let name = ServerName::try_from(self.account.host.clone())?;
            let failed = |source| Failure::Connect { address: address.clone(), source };
            let stream = self.connect_tcp().await.map_err(failed)?;
            let stream = connector.connect(name, stream).await.map_err(failed)?;
            Ok::<_, Failure>(http1::handshake(TokioIo::new(stream)).await?)
        };
        let (sender, driver) = timeout(after, opening)
            .await
            .map_err(|_| Failure::Timeout { what: "TLS handshake", after })??;
        let driver = tokio::spawn(async move {
            // Requests and bodies return its errors.
            drop(driver.await);
        });
        Ok(Connection { sender, driver })
    }

    async fn connect_tcp(&self) -> io::Result<TcpStream> {
        let stream = match self.account.host.parse() {
            // Without a thread for name resolution.
            Ok(ip) => TcpStream::connect(SocketAddr::new(ip, self.account.port)).await?,
            Err(_) => TcpStream::connect((self.account.host.as_str(), self.account.port)).await?,
        };
        stream.set_nodelay(true)?;
        // The kernel finds a peer that vanished without closing the connection, long before the idle timeout.
        let (idle, interval) = (Duration::from_secs(15), Duration::from_secs(5));
        let socket = SockRef::from(&stream);
        socket.set_tcp_keepalive(
            &TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(3),
        )?;
        socket.set_tcp_user_timeout(Some(Duration::from_secs(30)))?;
        Ok(stream)
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, Failure> {
        let pem = self.account.ca()?;
        let mut cached = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, config)) = cached.as_ref().filter(|(of, _)| *of == pem) {
            return Ok(Arc::clone(config));
        }
        let invalid =
            |reason: String| Failure::Ca { path: self.account.ca_path().display().to_string(), reason };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| invalid(error.to_string()))?;
            roots.add(certificate).map_err(|error| invalid(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(invalid("the file contains no PEM block CERTIFICATE".into()));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let config = Arc::new(config);
        *cached = Some((pem, Arc::clone(&config)));
        Ok(config)
    }

    /// A request. Paths are relative to the API server.
    pub(crate) fn request(&self, method: Method, path: &str) -> Result<Request<Full<Bytes>>, Failure> {
        let mut token = HeaderValue::try_from(format!("Bearer {}", self.account.token()?))?;
        token.set_sensitive(true);
        Ok(Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.account.authority())
            .header(AUTHORIZATION, token)
            .header(USER_AGENT, concat!("in-place-restart-agent/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "application/json")
            .body(Full::default())?)
    }

    /// A patch with server-side apply. The response contains only the metadata of the object.
    pub(crate) fn apply(&self, path: &str, body: String) -> Result<Request<Full<Bytes>>, Failure> {
        let mut request = self.request(Method::PATCH, path)?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/apply-patch+yaml"));
        let metadata = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        headers.insert(ACCEPT, HeaderValue::from_static(metadata));
        *request.body_mut() = Full::from(body);
        Ok(request)
    }

    /// Sends a request, and returns the response if it is a success.
    pub(crate) async fn send(
        &self,
        connection: &mut Connection,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Failure> {
        let after = self.timeouts.response;
        let exchange = async {
            connection.sender.ready().await?;
            connection.sender.send_request(request).await
        };
        let response =
            timeout(after, exchange).await.map_err(|_| Failure::Timeout { what: "response", after })??;
        if response.status().is_success() {
            return Ok(response);
        }
        let code = response.status().as_u16();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let body = self.read(response.into_body()).await.unwrap_or_default();
        let message = match serde_json::from_slice::<Status>(&body) {
            Ok(status) if !status.message.is_empty() => status.message,
            // For example a proxy's page.
            _ => String::from_utf8_lossy(&body).chars().take(200).collect::<String>().trim().to_owned(),
        };
        let message = if message.is_empty() { "the API server sent no message".into() } else { message };
        Err(Failure::Response { code, message, retry_after })
    }

    /// Reads a response to its end.
    pub(crate) async fn read(
        &self,
        body: impl Body<Data = Bytes, Error = hyper::Error>,
    ) -> Result<Bytes, Failure> {
        let after = self.timeouts.response;
        let reading = timeout(after, Limited::new(body, LONGEST).collect());
        match reading.await.map_err(|_| Failure::Timeout { what: "end of a response", after })? {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) => Err(match error.downcast::<hyper::Error>() {
                Ok(error) => broken(*error),
                Err(_) => Failure::TooLong,
            }),
        }
    }
}

/// The failure for an error within a body.
pub(crate) fn broken(error: hyper::Error) -> Failure {
    if error.is_incomplete_message() || error.is_closed() { Failure::Cut } else { Failure::Http(error) }
}

/// A connection. Dropping it closes it, also if the peer does not respond.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
