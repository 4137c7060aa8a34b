//! The number of connections of a server.

use super::Limits;
use axum_server::accept::Accept;
use futures::future::BoxFuture;
use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tower::Service;
use tracing::warn;

/// The shortest time between two warnings about rejected connections.
const WARN_INTERVAL: Duration = Duration::from_mins(1);

/// Limits the number of connections, and closes further ones at once, so that their clients can try another replica.
#[derive(Clone)]
pub(super) struct ConnectionLimit {
    permits: Arc<Semaphore>,
    limits: Limits,
    last_warning: Arc<Mutex<Option<Instant>>>,
}

impl ConnectionLimit {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(limits.connections)),
            limits: *limits,
            last_warning: Arc::default(),
        }
    }

    fn warn(&self) {
        let mut last = self.last_warning.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|at| at.elapsed() > WARN_INTERVAL) {
            *last = Some(Instant::now());
            warn!(connections = self.limits.connections, "connection limit reached, closing new connections");
        }
    }
}

impl<S: Send + 'static> Accept<TcpStream, S> for ConnectionLimit {
    type Stream = TcpStream;
    type Service = Permitted<S>;
    type Future = BoxFuture<'static, io::Result<(TcpStream, Permitted<S>)>>;

    fn accept(&self, stream: TcpStream, inner: S) -> Self::Future {
        let limit = self.clone();
        Box::pin(async move {
            let Ok(permit) = limit.permits.clone().try_acquire_owned() else {
                limit.warn();
                return Err(io::Error::other("too many connections"));
            };
            stream.set_nodelay(true)?;
            socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(limit.limits.unread))?;
            Ok((stream, Permitted { inner, _permit: Arc::new(permit) }))
        })
    }
}

/// The service of one connection. It keeps the permit as long as the connection is open.
#[derive(Clone)]
pub(super) struct Permitted<S> {
    inner: S,
    _permit: Arc<OwnedSemaphorePermit>,
}

impl<R, S: Service<R>> Service<R> for Permitted<S> {
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
