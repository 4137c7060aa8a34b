//! HTTP and HTTPS servers that slow, large and many clients cannot hold up.
//!
//! They speak HTTP/1.1 only: the API server and Prometheus do as well, and what is not spoken cannot be abused.

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
    accept::Accept,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use futures::future::BoxFuture;
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::Service;
use tracing::{debug, warn};

/// How long open connections may take to finish at the end.
const GRACE: Duration = Duration::from_secs(10);
/// Connections that wait to be accepted (Linux: net.core.somaxconn may lower it).
const BACKLOG: i32 = 1024;
/// How often it is told that connections are turned away.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// Why a server cannot be started.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot serve on {0}: {1}")]
    Bind(SocketAddr, #[source] io::Error),
    /// The options leave nothing to serve.
    #[error("cannot serve TLS: {0}")]
    Options(#[from] rustls::Error),
}

/// What a client may take. The defaults are meant for API servers, which keep connections for 90 seconds, and wait
/// for a webhook at most 30.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time; one more is closed at once.
    pub connections: usize,
    /// For the TLS handshake, and from then to the end of the first request's headers.
    pub first_request: Duration,
    /// Between two requests, and for the headers of the second and later ones.
    pub idle: Duration,
    /// For the body of a request and the answer to it.
    pub request: Duration,
    /// For data that was sent to be taken by the client.
    pub unread: Duration,
    /// Size of a request's headers.
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

/// Listens, on IPv6 for both families, whatever the system's default is.
fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A server that starts again need not wait until its former connections are forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Whether the kernel has no IPv6, or was told not to use it.
fn no_ipv6(error: &io::Error) -> bool {
    // Linux: EAFNOSUPPORT
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(97)
}

/// A server that listens already.
pub struct Server {
    address: SocketAddr,
    listener: TcpListener,
    limits: Limits,
    farewell: Duration,
}

impl Server {
    /// Listens; on `[::]` for IPv4 as well, and for it alone where there is no IPv6. Clients that come before it
    /// serves wait.
    ///
    /// # Errors
    /// When the address cannot be listened on.
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
        Ok(Self { address, listener, limits: Limits::default(), farewell: Duration::ZERO })
    }

    /// With these limits instead of the default ones.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Serves on for this long when it is asked to end, and has each client that it answers come back on another
    /// connection. Whoever is led here by a Service learns a moment late that it ends; and a connection that is
    /// closed while a request is on its way loses that request.
    #[must_use]
    pub fn with_farewell(self, farewell: Duration) -> Self {
        Self { farewell, ..self }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves over HTTP until `shutdown`, then lets open requests finish.
    ///
    /// # Errors
    /// When the listening socket fails.
    pub async fn serve(self, router: Router, shutdown: CancellationToken) -> Result<(), ServeError> {
        let (address, acceptor) = (self.address, Bounded::new(&self.limits));
        let router = self.within_limits(router, shutdown.clone()).into_make_service();
        let served = self.http(shutdown).acceptor(acceptor).serve(router).await;
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
            .acceptor(Bounded::new(&self.limits));
        let router = self.within_limits(router, shutdown.clone()).into_make_service();
        let served = self.http(shutdown).acceptor(acceptor).serve(router).await;
        served.map_err(|error| ServeError::Bind(address, error))
    }

    fn within_limits(&self, router: Router, shutdown: CancellationToken) -> Router {
        let longest = self.limits.request;
        router.layer(from_fn(move |request: Request, next: Next| {
            let shutdown = shutdown.clone();
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

    fn http(self, shutdown: CancellationToken) -> axum_server::Server<SocketAddr> {
        let handle: Handle<SocketAddr> = Handle::new();
        let stop = handle.clone();
        tokio::spawn(async move {
            shutdown.cancelled().await;
            sleep(self.farewell).await;
            stop.graceful_shutdown(Some(GRACE));
        });
        let mut server = axum_server::Server::from_listener(self.listener)
            .http1_only()
            .first_request_timeout(self.limits.first_request)
            .accept_error_handler(|client, error| debug!(?client, %error, "connection not accepted"))
            .handle(handle);
        server.http_builder().http1().header_read_timeout(self.limits.idle).max_buf_size(self.limits.headers);
        server
    }
}

/// Accepts so many connections at a time, and closes the others: a client that is told at once can go elsewhere.
#[derive(Clone)]
struct Bounded {
    places: Arc<Semaphore>,
    limits: Limits,
    told: Arc<Mutex<Option<Instant>>>,
}

impl Bounded {
    fn new(limits: &Limits) -> Self {
        Self { places: Arc::new(Semaphore::new(limits.connections)), limits: *limits, told: Arc::default() }
    }

    fn tell(&self) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|at| at.elapsed() > TELL_EVERY) {
            *told = Some(Instant::now());
            warn!(connections = self.limits.connections, "too many connections, closing new ones");
        }
    }
}

impl<S: Send + 'static> Accept<TcpStream, S> for Bounded {
    type Stream = TcpStream;
    type Service = Placed<S>;
    type Future = BoxFuture<'static, io::Result<(TcpStream, Placed<S>)>>;

    fn accept(&self, stream: TcpStream, inner: S) -> Self::Future {
        let bounded = self.clone();
        Box::pin(async move {
            let Ok(place) = bounded.places.clone().try_acquire_owned() else {
                bounded.tell();
                return Err(io::Error::other("too many connections"));
            };
            stream.set_nodelay(true)?;
            socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(bounded.limits.unread))?;
            Ok((stream, Placed { inner, _place: Arc::new(place) }))
        })
    }
}

/// What serves one connection, and so lives as long as that.
#[derive(Clone)]
struct Placed<S> {
    inner: S,
    _place: Arc<OwnedSemaphorePermit>,
}

impl<R, S: Service<R>> Service<R> for Placed<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.inner.call(request)
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

    /// All that comes until the server closes, which it must within ten seconds; and how long that took.
    async fn until_closed(stream: &mut TcpStream) -> (String, Duration) {
        let since = Instant::now();
        let mut text = Vec::new();
        // A connection that is reset is closed as well.
        let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut text)).await.expect("closed");
        (String::from_utf8(text).unwrap(), since.elapsed())
    }

    async fn ask(stream: &mut TcpStream) -> String {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut answer = [0; 512];
        let length = stream.read(&mut answer).await.unwrap();
        String::from_utf8(answer[..length].to_vec()).unwrap()
    }

    #[tokio::test]
    async fn who_is_answered_at_the_end_comes_back_on_another_connection() {
        let farewell = Duration::from_secs(1);
        let server = Server::bind(([127, 0, 0, 1], 0).into()).await.unwrap().with_farewell(farewell);
        let (address, stop) = (server.address(), CancellationToken::new());
        let router = Router::new().route("/", get(|| async { "hello" }));
        let task = tokio::spawn(server.serve(router, stop.clone()));
        let mut open = TcpStream::connect(address).await.unwrap();
        assert!(!ask(&mut open).await.contains("connection: close"));
        stop.cancel();
        let told = ask(&mut open).await;
        assert!(told.contains("200 OK") && told.contains("connection: close"), "{told}");
        assert_eq!(until_closed(&mut open).await.0, "");
        let mut late = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut late).await.contains("200 OK"), "new connections are taken still");
        timeout(Duration::from_secs(5), task).await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn all_addresses_are_those_of_both_families() {
        let server = Server::bind((Ipv6Addr::UNSPECIFIED, 0).into()).await.unwrap();
        let port = server.address().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        // Where the machine has IPv6.
        if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.unwrap();
        }
    }

    #[tokio::test]
    async fn slow_headers_end_the_connection() {
        let served = served().await;
        let mut stream = served.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").await.unwrap();
        let (text, after) = until_closed(&mut stream).await;
        assert!(text.is_empty(), "{text}");
        assert!(after >= LIMITS.first_request.mul_f32(0.9) && after < LIMITS.idle, "{after:?}");
    }

    #[tokio::test]
    async fn a_connection_may_be_kept_for_a_while() {
        let served = served().await;
        let mut stream = served.connect().await;
        assert!(ask(&mut stream).await.ends_with("hello"));
        tokio::time::sleep(LIMITS.first_request).await;
        assert!(ask(&mut stream).await.ends_with("hello"), "longer than the first request may take");
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
    async fn a_body_that_does_not_come_is_not_waited_for() {
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
    async fn a_body_that_is_too_large_is_not_read() {
        let served = served().await;
        let mut stream = served.connect().await;
        let head = "POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&[b'x'; 2000]).await.unwrap();
        let (text, _) = until_closed(&mut stream).await;
        assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
    }

    #[tokio::test]
    async fn one_connection_too_many_is_closed_and_leaves_room_when_others_go() {
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
        there_is_a_place(&served).await;
    }

    #[tokio::test]
    async fn who_does_not_read_does_not_keep_the_place() {
        let served = served().await;
        let mut open = Vec::new();
        for _ in 0..LIMITS.connections {
            let mut stream = served.connect().await;
            stream.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            // The answer has begun; it is more than the buffers on the way hold.
            stream.readable().await.unwrap();
            open.push(stream);
        }
        there_is_a_place(&served).await;
    }

    /// Connects again and again until it is served.
    async fn there_is_a_place(served: &Served) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let mut stream = served.connect().await;
            if stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.is_ok()
                && until_closed(&mut stream).await.0.ends_with("hello")
            {
                return;
            }
            assert!(Instant::now() < deadline, "the places stay taken");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn it_ends_when_asked_to() {
        let served = served().await;
        let mut stream = served.connect().await;
        assert!(ask(&mut stream).await.ends_with("hello"));
        served.stop.cancel();
        timeout(Duration::from_secs(2), served.task).await.unwrap().unwrap().unwrap();
        assert!(TcpStream::connect(served.address).await.is_err());
    }
}
