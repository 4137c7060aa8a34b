//! A load balancer: one address for several servers, as a Service provides in a cluster.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// Forwards each connection to the next server that accepts it. Dropping the balancer stops it.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    servers: Arc<Mutex<Vec<SocketAddr>>>,
    task: AbortHandle,
}

impl Balancer {
    /// Listens on a free port of this machine.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let servers = Arc::<Mutex<Vec<SocketAddr>>>::default();
        let targets = Arc::clone(&servers);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, Arc::clone(&targets)));
            }
        });
        Ok(Self { address, servers, task: task.abort_handle() })
    }

    /// Address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the servers for new connections.
    pub fn set(&self, servers: Vec<SocketAddr>) {
        *self.servers.lock().unwrap_or_else(PoisonError::into_inner) = servers;
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(mut client: TcpStream, servers: Arc<Mutex<Vec<SocketAddr>>>) {
    let candidates = {
        let mut servers = servers.lock().unwrap_or_else(PoisonError::into_inner);
        if !servers.is_empty() {
            servers.rotate_left(1);
        }
        servers.clone()
    };
    for server in candidates {
        if let Ok(mut server) = TcpStream::connect(server).await {
            // The two ends handle a broken connection.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            return;
        }
    }
}
