//! A server that slow, large and many clients cannot hold up.

use super::{Certificate, TlsOptions};
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
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tower::Service;
use tracing::{debug, warn};

/// How long open connections may take to finish at the end.
const GRACE: Duration = Duration::from_secs(10);
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

/// An HTTPS server that listens already.
pub struct Server {
    address: SocketAddr,
    listener: TcpListener,
    options: TlsOptions,
    limits: Limits,
}

impl Server {
    /// Listens. Clients that come before [`Self::serve`] wait.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn bind(address: SocketAddr, options: &TlsOptions) -> Result<Self, ServeError> {
        let unusable = |error| ServeError::Bind(address, error);
        let listener = TcpListener::bind(address).await.map_err(unusable)?;
        let address = listener.local_addr().map_err(unusable)?;
        Ok(Self { address, listener, options: options.clone(), limits: Limits::default() })
    }

    /// With these limits instead of the default ones.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, then lets open requests finish.
    ///
    /// # Errors
    /// When the options leave nothing to serve, or the listening socket fails.
    pub async fn serve(
        self,
        certificate: Certificate,
        router: Router,
        shutdown: CancellationToken,
    ) -> Result<(), ServeError> {
        let Self { address, listener, options, limits } = self;
        let config = RustlsConfig::from_config(Arc::new(options.server_config(certificate)?));
        let acceptor = RustlsAcceptor::new(config)
            .handshake_timeout(limits.first_request)
            .acceptor(Bounded::new(&limits));
        let handle: Handle<SocketAddr> = Handle::new();
        let stop = handle.clone();
        tokio::spawn(async move {
            shutdown.cancelled().await;
            stop.graceful_shutdown(Some(GRACE));
        });
        let mut server = axum_server::Server::from_listener(listener)
            .http1_only()
            .acceptor(acceptor)
            .first_request_timeout(limits.first_request)
            .accept_error_handler(|client, error| debug!(?client, %error, "connection not accepted"))
            .handle(handle);
        server.http_builder().http1().header_read_timeout(limits.idle).max_buf_size(limits.headers);
        let router = router.layer(from_fn(move |request: Request, next: Next| async move {
            match timeout(limits.request, next.run(request)).await {
                Ok(response) => response,
                Err(_) => (StatusCode::REQUEST_TIMEOUT, [(CONNECTION, "close")]).into_response(),
            }
        }));
        server.serve(router.into_make_service()).await.map_err(|error| ServeError::Bind(address, error))
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
