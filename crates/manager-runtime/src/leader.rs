//! Leader election: of several replicas, the one that holds the Lease acts.

use kube::Client;
use kube_lease_manager::{LeaseManagerBuilder, LeaseParams};
use std::time::Duration;
use thiserror::Error;
use tokio::{sync::watch, task::JoinHandle};
use tracing::info;

/// The Lease and its timings.
#[derive(Clone, Debug)]
pub struct LeaseSettings {
    /// Name of the Lease.
    pub name: String,
    /// Namespace of the Lease.
    pub namespace: String,
    /// This replica.
    pub identity: String,
    /// How long a Lease that is not renewed keeps others out.
    pub lease_duration: Duration,
    /// How long before its end the holder must have renewed it.
    pub renew_deadline: Duration,
}

/// Why there can be no election.
#[derive(Debug, Error)]
pub enum ElectionError {
    /// The timings contradict one another.
    #[error(
        "leaderElection: leaseDuration {lease:?} must be at least one second longer than renewDeadline {renew:?}"
    )]
    Timings {
        /// `leaseDuration`
        lease: Duration,
        /// `renewDeadline`
        renew: Duration,
    },
    /// The Lease cannot be read or made.
    #[error("cannot use Lease {0}: {1}")]
    Lease(String, #[source] kube_lease_manager::LeaseManagerError),
}

/// Takes part in an election. Dropping it, or [`Leadership::release`], gives the Lease back.
pub struct Leadership {
    state: watch::Receiver<bool>,
    task: JoinHandle<kube_lease_manager::Result<kube_lease_manager::LeaseManager>>,
}

impl Leadership {
    /// Begins to take part.
    ///
    /// # Errors
    /// When the timings make no sense or the Lease cannot be made.
    pub async fn run_for(client: Client, settings: &LeaseSettings) -> Result<Self, ElectionError> {
        let (lease, renew) = (settings.lease_duration.as_secs(), settings.renew_deadline.as_secs());
        if renew == 0 || lease <= renew {
            return Err(ElectionError::Timings {
                lease: settings.lease_duration,
                renew: settings.renew_deadline,
            });
        }
        let manager = LeaseManagerBuilder::new(client, &settings.name)
            .with_namespace(&settings.namespace)
            .with_parameters(LeaseParams::new(&settings.identity, lease, lease - renew))
            .build()
            .await
            .map_err(|e| ElectionError::Lease(format!("{}/{}", settings.namespace, settings.name), e))?;
        let (state, task) = manager.watch().await;
        Ok(Self { state, task })
    }

    /// Waits until this replica leads.
    pub async fn elected(&mut self) {
        info!("waiting for the lease");
        // An error means that the election's task ended; then this replica never leads.
        if self.state.wait_for(|leads| *leads).await.is_err() {
            std::future::pending::<()>().await;
        }
        info!("leading");
    }

    /// Waits until this replica, once elected, no longer leads.
    pub async fn lost(&mut self) {
        let _ = self.state.wait_for(|leads| !*leads).await;
    }

    /// Gives the Lease back, so that another replica need not wait for its end.
    pub async fn release(self) {
        drop(self.state);
        let _ = tokio::time::timeout(Duration::from_secs(5), self.task).await;
    }
}
