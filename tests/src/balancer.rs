//! What a Service does in a cluster: one address in front of several servers.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// Forwards each connection to the next server that accepts it, until it is dropped.
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
        let known = Arc::clone(&servers);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, Arc::clone(&known)));
            }
        });
        Ok(Self { address, servers, task: task.abort_handle() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on forwards to these.
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
    let in_turn = {
        let mut servers = servers.lock().unwrap_or_else(PoisonError::into_inner);
        if !servers.is_empty() {
            servers.rotate_left(1);
        }
        servers.clone()
    };
    for server in in_turn {
        if let Ok(mut server) = TcpStream::connect(server).await {
            // A connection that breaks is the business of its two ends.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            return;
        }
    }
}
