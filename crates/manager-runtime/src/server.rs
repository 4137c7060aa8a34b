//! HTTP and HTTPS servers with limits, so that slow clients, large requests and many connections cannot block them.
//!
//! They support HTTP/1.1 only. The API server and Prometheus support it, and attacks on HTTP/2 are impossible.

mod connection_limit;
mod drain;

use crate::tls::{Certificate, TlsOptions};
use axum::{
    Router,
    extract::Request,
    http::{StatusCode, header::CONNECTION},
    middleware::{Next, from_fn},
    response::IntoResponse,
};
use axum_server::{
    Handle,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use connection_limit::ConnectionLimit;
pub use drain::Drain;
use drain::LastRequest;
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use thiserror::Error;
use tokio::{
    net::TcpListener,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

/// How long open connections may take to finish during shutdown.
const GRACE: Duration = Duration::from_secs(10);
/// Connections that wait to be accepted (net.core.somaxconn may lower the number).
const BACKLOG: i32 = 1024;

/// Why a server cannot start.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The server cannot bind the address.
    #[error("cannot serve on {0}: {1}")]
    Bind(SocketAddr, #[source] io::Error),
    /// The TLS options leave nothing to serve.
    #[error("cannot serve TLS: {0}")]
    Options(#[from] rustls::Error),
}

/// Limits for clients. The defaults suit API servers, which keep connections open for 90 seconds and wait at most 30
/// seconds for a webhook.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections. The server closes further ones at once.
    pub connections: usize,
    /// Time for the TLS handshake or, without TLS, for the headers of the first request.
    pub first_request: Duration,
    /// Time between two requests, including the headers of the later one. After a TLS handshake, also the time for the
    /// first request: the API server opens connections in reserve, and a request on one that the server closes is lost.
    pub idle: Duration,
    /// Time for the body of a request and its response.
    pub request: Duration,
    /// Time for the client to acknowledge data.
    pub unread: Duration,
    /// Size of the headers of a request, in bytes.
    pub headers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            first_request: Duration::from_secs(10),
            idle: Duration::from_mins(2),
            request: Duration::from_secs(30),
            unread: Duration::from_secs(30),
            headers: 64 << 10,
        }
    }
}

/// Listens on the address. An IPv6 socket also accepts IPv4, whatever the default of the system is.
fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A restarted server need not wait until connections of the previous process time out.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Whether the kernel has no IPv6, or IPv6 is disabled.
fn no_ipv6(error: &io::Error) -> bool {
    // Linux: EAFNOSUPPORT
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(97)
}

/// A server that already listens.
pub struct Server {
    address: SocketAddr,
    listener: TcpListener,
    limits: Limits,
    drain: Drain,
    last_request: LastRequest,
}

impl Server {
    /// Listens on the address. `[::]` includes IPv4, and means IPv4 alone on a host without IPv6. Clients that connect
    /// before the server serves wait.
    ///
    /// # Errors
    /// When the server cannot bind the address.
    pub async fn bind(address: SocketAddr) -> Result<Self, ServeError> {
        let unusable = |error| ServeError::Bind(address, error);
        let listener = match listen(address) {
            Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && no_ipv6(&error) => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
            }
            listening => listening.and_then(TcpListener::from_std),
        };
        let listener = listener.map_err(unusable)?;
        let address = listener.local_addr().map_err(unusable)?;
        Ok(Self {
            address,
            listener,
            limits: Limits::default(),
            drain: Drain::default(),
            last_request: LastRequest::default(),
        })
    }

    /// Replaces the default limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Keeps serving after `shutdown`, and sends `Connection: close` with each response. A request on a connection that
    /// the server closes is lost.
    #[must_use]
    pub fn with_drain(self, drain: Drain) -> Self {
        Self { drain, ..self }
    }

    /// The address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves over HTTP until `shutdown`, then lets open requests finish.
    ///
    /// # Errors
    /// When the listening socket fails.
    pub async fn serve(self, router: Router, shutdown: CancellationToken) -> Result<(), ServeError> {
        let (address, acceptor) = (self.address, ConnectionLimit::new(&self.limits));
        let router = self.within_limits(router, shutdown.clone()).into_make_service();
        let first_request = self.limits.first_request;
        let served = self.http(first_request, shutdown).acceptor(acceptor).serve(router).await;
        served.map_err(|error| ServeError::Bind(address, error))
    }

    /// Serves over HTTPS until `shutdown`, then lets open requests finish.
    ///
    /// # Errors
    /// When the options leave nothing to serve, or the listening socket fails.
    pub async fn serve_tls(
        self,
        options: &TlsOptions,
        certificate: Certificate,
        router: Router,
        shutdown: CancellationToken,
    ) -> Result<(), ServeError> {
        let config = RustlsConfig::from_config(Arc::new(options.server_config(certificate)?));
        let address = self.address;
        let acceptor = RustlsAcceptor::new(config)
            .handshake_timeout(self.limits.first_request)
            .acceptor(ConnectionLimit::new(&self.limits));
        let router = self.within_limits(router, shutdown.clone()).into_make_service();
        let first_request = self.limits.idle;
        let served = self.http(first_request, shutdown).acceptor(acceptor).serve(router).await;
        served.map_err(|error| ServeError::Bind(address, error))
    }

    fn within_limits(&self, router: Router, shutdown: CancellationToken) -> Router {
        let (longest, last_request) = (self.limits.request, self.last_request.clone());
        router.layer(from_fn(move |request: Request, next: Next| {
            let shutdown = shutdown.clone();
            last_request.set();
            async move {
                match timeout(longest, next.run(request)).await {
                    Ok(response) if shutdown.is_cancelled() => {
                        ([(CONNECTION, "close")], response).into_response()
                    }
                    Ok(response) => response,
                    Err(_) => (StatusCode::REQUEST_TIMEOUT, [(CONNECTION, "close")]).into_response(),
                }
            }
        }))
    }

    fn http(self, first_request: Duration, shutdown: CancellationToken) -> axum_server::Server<SocketAddr> {
        let handle: Handle<SocketAddr> = Handle::new();
        let stop = handle.clone();
        tokio::spawn(async move {
            shutdown.cancelled().await;
            let began = Instant::now();
            loop {
                let end = self.drain.end(began, self.last_request.get());
                if end <= Instant::now() {
                    break;
                }
                sleep_until(end).await;
            }
            let last_request = self.last_request.get().and_then(|last| last.checked_duration_since(began));
            info!(after = ?began.elapsed(), ?last_request, "no longer accepting connections");
            stop.graceful_shutdown(Some(GRACE));
        });
        let mut server = axum_server::Server::from_listener(self.listener)
            .http1_only()
            .first_request_timeout(first_request)
            .accept_error_handler(|client, error| debug!(?client, %error, "connection not accepted"))
            .handle(handle);
        server.http_builder().http1().header_read_timeout(self.limits.idle).max_buf_size(self.limits.headers);
        server
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{
        body::to_bytes,
        routing::{get, post},
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        task::JoinHandle,
    };
    use tokio_util::sync::DropGuard;

    const LIMITS: Limits = Limits {
        connections: 3,
        first_request: Duration::from_secs(1),
        idle: Duration::from_secs(3),
        request: Duration::from_millis(500),
        unread: Duration::from_millis(500),
        headers: 8 << 10,
    };

    struct Served {
        address: SocketAddr,
        stop: CancellationToken,
        task: JoinHandle<Result<(), ServeError>>,
        _guard: DropGuard,
    }

    async fn served() -> Served {
        let large = get(|| async { "x".repeat(32 << 20) });
        let router = Router::new().route("/", get(|| async { "hello" })).route("/large", large).route(
            "/count",
            post(|request: Request| async {
                match to_bytes(request.into_body(), 1000).await {
                    Ok(body) => body.len().to_string().into_response(),
                    Err(_) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
                }
            }),
        );
        let server = Server::bind(([127, 0, 0, 1], 0).into()).await.unwrap().with_limits(LIMITS);
        let (address, stop) = (server.address(), CancellationToken::new());
        let task = tokio::spawn(server.serve(router, stop.clone()));
        Served { address, _guard: stop.clone().drop_guard(), stop, task }
    }

    impl Served {
        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.unwrap()
        }
    }

    /// Reads until the server closes the connection, within ten seconds. Returns the text and the elapsed time.
    async fn until_closed(stream: &mut TcpStream) -> (String, Duration) {
        let since = Instant::now();
        let mut text = Vec::new();
        // A reset also closes the connection.
        let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut text)).await.expect("closed");
        (String::from_utf8(text).unwrap(), since.elapsed())
    }

    async fn ask(stream: &mut TcpStream) -> String {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut response = [0; 512];
        let length = stream.read(&mut response).await.unwrap();
        String::from_utf8(response[..length].to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_server_drains_connections_during_shutdown() {
        let second = Duration::from_secs(1);
        let drain = Drain { shortest: second / 10, quiet: 60 * second, longest: 5 * second };
        let server = Server::bind(([127, 0, 0, 1], 0).into()).await.unwrap().with_drain(drain);
        let (address, stop) = (server.address(), CancellationToken::new());
        let router = Router::new().route("/", get(|| async { "hello" }));
        let task = tokio::spawn(server.serve(router, stop.clone()));
        let mut open = TcpStream::connect(address).await.unwrap();
        assert!(!ask(&mut open).await.contains("connection: close"));
        stop.cancel();
        let response = ask(&mut open).await;
        assert!(response.contains("200 OK") && response.contains("connection: close"), "{response}");
        assert_eq!(until_closed(&mut open).await.0, "");
        tokio::time::sleep(2 * drain.shortest).await;
        let mut late = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut late).await.contains("200 OK"), "the server still accepts new connections");
        timeout(3 * drain.longest, task).await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn the_unspecified_address_includes_ipv4_and_ipv6() {
        let server = Server::bind((Ipv6Addr::UNSPECIFIED, 0).into()).await.unwrap();
        let port = server.address().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        // Only on a machine with IPv6.
        if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.unwrap();
        }
    }

    #[tokio::test]
    async fn slow_headers_close_the_connection() {
        let served = served().await;
        let mut stream = served.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").await.unwrap();
        let (text, after) = until_closed(&mut stream).await;
        assert!(text.is_empty(), "{text}");
        assert!(after >= LIMITS.first_request.mul_f32(0.9) && after < LIMITS.idle, "{after:?}");
    }

    #[tokio::test]
    async fn an_idle_connection_stays_open_until_the_limit() {
        let served = served().await;
        let mut stream = served.connect().await;
        assert!(ask(&mut stream).await.ends_with("hello"));
        tokio::time::sleep(LIMITS.first_request).await;
        assert!(
            ask(&mut stream).await.ends_with("hello"),
            "the limit of the first request no longer applies"
        );
        let (text, after) = until_closed(&mut stream).await;
        assert!(text.is_empty(), "{text}");
        assert!(after >= LIMITS.idle.mul_f32(0.9), "{after:?}");
    }

    #[tokio::test]
    async fn large_headers_are_refused() {
        let served = served().await;
        let mut stream = served.connect().await;
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(LIMITS.headers));
        let _ = stream.write_all(request.as_bytes()).await;
        let (text, _) = until_closed(&mut stream).await;
        assert!(text.starts_with("HTTP/1.1 431 ") || text.is_empty(), "{text}");
        assert!(!text.contains("hello"));
    }

    #[tokio::test]
    async fn a_slow_body_times_out() {
        let served = served().await;
        let mut stream = served.connect().await;
        stream
            .write_all(b"POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\nbegin")
            .await
            .unwrap();
        let (text, after) = until_closed(&mut stream).await;
        assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
        assert!(after >= LIMITS.request.mul_f32(0.9), "{after:?}");
    }

    #[tokio::test]
    async fn a_large_body_is_refused() {
        let served = served().await;
        let mut stream = served.connect().await;
        let head = "POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&[b'x'; 2000]).await.unwrap();
        let (text, _) = until_closed(&mut stream).await;
        assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
    }

    #[tokio::test]
    async fn connections_over_the_limit_are_closed_until_another_one_ends() {
        let served = served().await;
        let mut open = Vec::new();
        for _ in 0..LIMITS.connections {
            let mut stream = served.connect().await;
            assert!(ask(&mut stream).await.ends_with("hello"));
            open.push(stream);
        }
        let (text, after) = until_closed(&mut served.connect().await).await;
        assert!(text.is_empty() && after < LIMITS.first_request, "{text} {after:?}");
        drop(open.pop());
        a_connection_is_served(&served).await;
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_disconnected() {
        let served = served().await;
        let mut open = Vec::new();
        for _ in 0..LIMITS.connections {
            let mut stream = served.connect().await;
            stream.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            // The response has begun. It is larger than the buffers between server and client.
            stream.readable().await.unwrap();
            open.push(stream);
        }
        a_connection_is_served(&served).await;
    }

    /// Connects until the server responds.
    async fn a_connection_is_served(served: &Served) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let mut stream = served.connect().await;
            if stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.is_ok()
                && until_closed(&mut stream).await.0.ends_with("hello")
            {
                return;
            }
            assert!(Instant::now() < deadline, "the server still rejects connections");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn a_server_ends_with_shutdown() {
        let served = served().await;
        let mut stream = served.connect().await;
        assert!(ask(&mut stream).await.ends_with("hello"));
        served.stop.cancel();
        timeout(Duration::from_secs(2), served.task).await.unwrap().unwrap().unwrap();
        assert!(TcpStream::connect(served.address).await.is_err());
    }
}
