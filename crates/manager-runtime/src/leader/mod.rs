//! Leader election: of several replicas, the one that holds the Lease acts.
//!
//! It reads and writes the Lease as client-go does, so that replicas of either kind understand each other:
//!
//! * Replicas do not compare clocks. A follower measures with its own how long the Lease has not changed, and takes it
//!   over after the duration that stands in it.
//! * The holder renews every `retry_period`, over two connections; see `renewal`. A [`Fence`] limits what it may still
//!   send: it closes `renew_deadline` after the last renewal that succeeded was *sent*, which is before another replica
//!   may take over.
//! * Writes name the version of the Lease that they were decided on.
//!
//! Followers watch the Lease, so that one that is given back is taken at once.
//!
//! The existing crates (kube-lease-manager, kube-leader-election) report that a lease was lost when they notice, which
//! may be after the next holder begins.

mod candidate;
mod decide;
mod fence;
mod renewal;

pub use fence::{Closed, Fence};

pub(crate) use fence::Gate;

use candidate::Candidate;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType},
};
use std::time::Duration;
use thiserror::Error;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::info;
use uuid::Uuid;

/// Longest time that giving the Lease back may take at the end of a process.
const GIVE_BACK: Duration = Duration::from_secs(2);

/// Longest duration that a Lease can hold, in whole hours.
const LONGEST_LEASE: Duration = Duration::from_hours(596_523);

/// The Lease and its timings.
#[derive(Clone, Debug)]
pub struct LeaseSettings {
    /// Name of the Lease.
    pub name: String,
    /// Namespace of the Lease.
    pub namespace: String,
    /// This replica; see [`identity`].
    pub identity: String,
    /// The timings.
    pub timings: Timings,
}

/// The timings of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// How long a Lease that is not renewed keeps others out.
    pub lease_duration: Duration,
    /// How long the holder may go on after its last renewal.
    pub renew_deadline: Duration,
    /// Pause between renewals.
    pub retry_period: Duration,
}

/// Why timings make no election.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TimingsError {
    /// The Lease holds whole seconds.
    #[error("leaseDuration {0:?} must be at least 1s")]
    Short(Duration),
    /// The Lease holds seconds as an `i32`.
    #[error("leaseDuration {0:?} must be at most 596523h")]
    Long(Duration),
    /// Two replicas could lead at a time.
    #[error("leaseDuration {0:?} must be greater than renewDeadline {1:?}")]
    Deadline(Duration, Duration),
    /// One failed renewal would end it.
    #[error("renewDeadline {0:?} must be greater than 1.2 times retryPeriod {1:?}")]
    Retry(Duration, Duration),
    /// Renewing without a pause.
    #[error("retryPeriod must be greater than 0s")]
    NoPause,
}

impl Timings {
    /// Whether an election with these timings works, by the rules of client-go.
    ///
    /// # Errors
    /// When it does not, with the field and its value.
    pub fn check(&self) -> Result<(), TimingsError> {
        if self.lease_duration < Duration::from_secs(1) {
            Err(TimingsError::Short(self.lease_duration))
        } else if self.lease_duration > LONGEST_LEASE {
            Err(TimingsError::Long(self.lease_duration))
        } else if self.lease_duration <= self.renew_deadline {
            Err(TimingsError::Deadline(self.lease_duration, self.renew_deadline))
        } else if self.renew_deadline <= self.retry_period.mul_f64(1.2) {
            Err(TimingsError::Retry(self.renew_deadline, self.retry_period))
        } else if self.retry_period.is_zero() {
            Err(TimingsError::NoPause)
        } else {
            Ok(())
        }
    }
}

/// The name of this replica in elections: its host, and a part that no other process has.
pub fn identity() -> String {
    format!("{}_{}", crate::hostname(), Uuid::new_v4())
}

/// Takes part in an election. Dropping it ends that without giving the Lease back.
pub struct Leadership {
    identity: String,
    fence: Fence,
    give_back: CancellationToken,
    task: JoinHandle<()>,
}

impl Leadership {
    /// Begins to take part. The two clients have no connection in common, so that a connection that hangs does not hold
    /// up a renewal.
    ///
    /// # Errors
    /// When the timings make no election.
    pub fn run_for(clients: [Client; 2], settings: LeaseSettings) -> Result<Self, TimingsError> {
        settings.timings.check()?;
        let (gate, fence) = Gate::closed();
        let give_back = CancellationToken::new();
        let identity = settings.identity.clone();
        let candidate = Candidate::new(clients, settings, gate);
        let task = tokio::spawn(candidate.run(give_back.clone()));
        Ok(Self { identity, fence, give_back, task })
    }

    /// Waits until this replica leads.
    pub async fn elected(&mut self) {
        info!(identity = self.identity, "waiting for the lease");
        self.fence.opened().await;
        info!(identity = self.identity, "leading");
    }

    /// Waits until this replica, once elected, no longer leads. It never leads again.
    pub async fn lost(&self) {
        self.fence.closed().await;
    }

    /// Open while this replica leads.
    pub fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// Gives the Lease back, so that another replica need not wait for its end.
    pub async fn release(mut self) {
        self.give_back.cancel();
        let _ = tokio::time::timeout(GIVE_BACK, &mut self.task).await;
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The event that names the new leader, and the Lease that it is about.
pub fn became_leader(settings: &LeaseSettings) -> (Event, ObjectReference) {
    let event = Event {
        type_: EventType::Normal,
        reason: "LeaderElection".to_owned(),
        note: Some(format!("{} became leader", settings.identity)),
        action: "LeaderElection".to_owned(),
        secondary: None,
    };
    let lease = ObjectReference {
        api_version: Some("coordination.k8s.io/v1".to_owned()),
        kind: Some("Lease".to_owned()),
        namespace: Some(settings.namespace.clone()),
        name: Some(settings.name.clone()),
        ..ObjectReference::default()
    };
    (event, lease)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timings_that_make_no_election_are_refused() {
        let check = |lease: u64, renew: u64, retry: u64| {
            let [lease_duration, renew_deadline, retry_period] =
                [lease, renew, retry].map(Duration::from_millis);
            Timings { lease_duration, renew_deadline, retry_period }
                .check()
                .map_err(|error| error.to_string())
        };
        for (lease, renew, retry) in
            [(15000, 10000, 2000), (137_000, 107_000, 26000), (270_000, 240_000, 60000)]
        {
            assert_eq!(check(lease, renew, retry), Ok(()));
        }
        for (lease, renew, retry, text) in [
            (10000, 10000, 2000, "leaseDuration 10s must be greater than renewDeadline 10s"),
            (15000, 2400, 2000, "renewDeadline 2.4s must be greater than 1.2 times retryPeriod 2s"),
            (15000, 10000, 0, "retryPeriod must be greater than 0s"),
            (900, 500, 100, "leaseDuration 900ms must be at least 1s"),
            (u64::MAX, 500, 100, "leaseDuration 18446744073709551.615s must be at most 596523h"),
        ] {
            assert_eq!(check(lease, renew, retry), Err(text.to_owned()));
        }
    }

    #[test]
    fn no_two_processes_are_called_the_same() {
        let (one, other) = (identity(), identity());
        assert!(one.starts_with(&format!("{}_", crate::hostname())) && one != other, "{one} {other}");
    }
}
