//! The server for the startup probe of a sidecar.
//!
//! Until the barrier is lifted, the port refuses connections, so probes of every kind fail.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Connections at the same time. kubelet has one.
const CONNECTIONS: usize = 16;
/// Time for one probe.
const PROBE: Duration = Duration::from_secs(10);

/// A reserved port that refuses connections.
#[derive(Debug)]
pub(crate) struct Port {
    socket: TcpSocket,
    number: u16,
}

/// The agent cannot use its port.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortUnavailable {
    /// Another process of the pod uses it.
    #[error(
        "port {0} is in use by another process in this pod, such as a second in-place-restart-agent: run one agent in a \
         pod, or set environment variable STARTUP_PROBE_PORT to a free port"
    )]
    InUse(u16),
    /// A port below 1024 of an unprivileged user.
    #[error(
        "port {0} requires privileges that the agent does not have: set environment variable STARTUP_PROBE_PORT to a port \
         above 1023"
    )]
    Privileged(u16),
    /// Another reason.
    #[error("cannot listen on port {number}: {source}")]
    Other { number: u16, source: io::Error },
}

fn unavailable(number: u16) -> impl Fn(io::Error) -> PortUnavailable {
    move |source| match source.kind() {
        io::ErrorKind::AddrInUse => PortUnavailable::InUse(number),
        io::ErrorKind::PermissionDenied => PortUnavailable::Privileged(number),
        _ => PortUnavailable::Other { number, source },
    }
}

impl Port {
    /// Reserves the port for IPv4 and IPv6. Finds a conflict at the start of the agent, not when the barrier is lifted.
    pub(crate) fn reserve(number: u16) -> Result<Self, PortUnavailable> {
        let no_ipv6 = |error: &io::Error| {
            let code = error.raw_os_error().map(Errno::from_raw);
            matches!(code, Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL | Errno::EPROTONOSUPPORT))
        };
        let bound = match bind(Domain::IPV6, (Ipv6Addr::UNSPECIFIED, number).into()) {
            Err(error) if no_ipv6(&error) => bind(Domain::IPV4, (Ipv4Addr::UNSPECIFIED, number).into()),
            bound => bound,
        };
        let socket = TcpSocket::from_std_stream(bound.map_err(unavailable(number))?.into());
        Ok(Self { socket, number })
    }

    /// Accepts connections.
    pub(crate) fn listen(self) -> Result<TcpListener, PortUnavailable> {
        self.socket.listen(128).map_err(unavailable(self.number))
    }
}

fn bind(domain: Domain, address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(false)?;
    }
    // Connections of a predecessor of this container may be in state TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Answers probes with 200 on the path, and 404 on others. It does not end.
pub(crate) async fn serve(listener: TcpListener, path: String) {
    let path: Arc<str> = path.into();
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // For example no free file descriptor.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let path = Arc::clone(&path);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let status =
                    if matches(&path, request.uri().path()) { StatusCode::OK } else { StatusCode::NOT_FOUND };
                let mut response = Response::new(Empty::<Bytes>::new());
                *response.status_mut() = status;
                std::future::ready(Ok::<_, Infallible>(response))
            });
            let server = hyper::server::conn::http1::Builder::new()
                .keep_alive(false)
                // The timeout for the whole connection replaces it.
                .header_read_timeout(None)
                .serve_connection(TokioIo::new(stream), service);
            drop(timeout(PROBE, server).await);
            drop(permit);
        });
    }
}

/// A path that ends with a slash includes the paths below it.
fn matches(path: &str, requested: &str) -> bool {
    requested == path || (path.ends_with('/') && requested.starts_with(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    fn free_port() -> u16 {
        let listener = std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
        listener.local_addr().unwrap().port()
    }

    #[test]
    fn only_a_final_slash_includes_other_paths() {
        assert!(matches("/a", "/a") && matches("/a/", "/a/b") && matches("/", "/a"));
        assert!(!matches("/a", "/a/") && !matches("/a", "/ab") && !matches("/a/", "/a"));
    }

    #[tokio::test]
    async fn the_port_refuses_connections_until_it_listens() {
        let number = free_port();
        let port = Port::reserve(number).unwrap();
        for address in [SocketAddr::from((Ipv4Addr::LOCALHOST, number)), (Ipv6Addr::LOCALHOST, number).into()]
        {
            let error = TcpStream::connect(address).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        }
        let listener = port.listen().unwrap();
        let error = Port::reserve(number).unwrap_err();
        assert!(error.to_string().contains("second in-place-restart-agent"), "{error}");
        tokio::spawn(serve(listener, "/go".into()));
        let get = |address: SocketAddr, path: &str| {
            let request = format!("GET {path} HTTP/1.1\r\nHost: pod\r\n\r\n");
            tokio::task::spawn_blocking(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(request.as_bytes()).unwrap();
                let mut response = String::new();
                stream.read_to_string(&mut response).unwrap();
                response.lines().next().unwrap().to_owned()
            })
        };
        for address in [SocketAddr::from((Ipv4Addr::LOCALHOST, number)), (Ipv6Addr::LOCALHOST, number).into()]
        {
            assert_eq!(get(address, "/go?x=1").await.unwrap(), "HTTP/1.1 200 OK");
            assert_eq!(get(address, "/other").await.unwrap(), "HTTP/1.1 404 Not Found");
        }
    }

    #[tokio::test]
    async fn two_agents_that_both_reserved_a_port_conflict_when_both_listen() {
        let number = free_port();
        let (one, other) = (Port::reserve(number).unwrap(), Port::reserve(number).unwrap());
        let _listener = one.listen().unwrap();
        assert!(matches!(other.listen(), Err(PortUnavailable::InUse(_))));
    }
}
