//! Leader election: only the replica that holds the Lease reconciles.
//!
//! Replicas read and write the Lease as client-go does, so they are compatible with Go replicas:
//!
//! * Replicas do not compare clocks. A follower measures with its own clock how long the Lease has not changed, and
//!   acquires the Lease after the duration in it.
//! * The holder renews every `retry_period`, over two connections; see `renewal`. A [`Fence`] limits when it may send
//!   requests. The fence closes `renew_deadline` after the last successful renewal was *sent*, which is before another
//!   replica may acquire the Lease.
//! * Each write contains the resource version of the Lease on which the decision is based.
//!
//! Followers watch the Lease, so that they acquire a released Lease at once.
//!
//! The existing crates (kube-lease-manager, kube-leader-election) report the loss of a Lease when they detect it. This
//! may be after the next holder acquired it.

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
use tracing::{info, warn};
use uuid::Uuid;

/// The timeout for the release of the Lease at the end of the process.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest duration that fits into a Lease, in whole hours.
const LONGEST_LEASE: Duration = Duration::from_hours(596_523);

/// The Lease and its timings.
#[derive(Clone, Debug)]
pub struct LeaseSettings {
    /// Name of the Lease.
    pub name: String,
    /// Namespace of the Lease.
    pub namespace: String,
    /// The identity of this replica; see [`identity`].
    pub identity: String,
    /// The timings.
    pub timings: Timings,
}

/// The timings of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// How long other replicas wait for a Lease that its holder does not renew.
    pub lease_duration: Duration,
    /// How long the holder leads after its last renewal.
    pub renew_deadline: Duration,
    /// The interval between renewals.
    pub retry_period: Duration,
}

/// Why timings are invalid.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TimingsError {
    /// A Lease contains whole seconds.
    #[error("leaseDuration {0:?} must be at least 1s")]
    Short(Duration),
    /// A Lease contains the seconds as an `i32`.
    #[error("leaseDuration {0:?} must be at most 596523h")]
    Long(Duration),
    /// Two replicas could lead at the same time.
    #[error("leaseDuration {0:?} must be greater than renewDeadline {1:?}")]
    Deadline(Duration, Duration),
    /// One failed renewal would lose the Lease.
    #[error("renewDeadline {0:?} must be greater than 1.2 times retryPeriod {1:?}")]
    Retry(Duration, Duration),
    /// The holder would renew without a pause.
    #[error("retryPeriod must be greater than 0s")]
    NoPause,
}

impl Timings {
    /// Validates the timings by the rules of client-go.
    ///
    /// # Errors
    /// When a timing is invalid. The error contains the field and its value.
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

/// The identity of this replica: its host name and a unique suffix.
pub fn identity() -> String {
    format!("{}_{}", crate::hostname(), Uuid::new_v4())
}

/// The participation in an election. Dropping it ends the participation without a release of the Lease.
pub struct Leadership {
    identity: String,
    fence: Fence,
    release: CancellationToken,
    task: JoinHandle<()>,
}

impl Leadership {
    /// Joins the election. The two clients share no connection, so that a hanging connection does not delay a renewal.
    ///
    /// # Errors
    /// When the timings are invalid.
    pub fn run_for(clients: [Client; 2], settings: LeaseSettings) -> Result<Self, TimingsError> {
        settings.timings.check()?;
        let (gate, fence) = Gate::closed();
        let release = CancellationToken::new();
        let identity = settings.identity.clone();
        let candidate = Candidate::new(clients, settings, gate);
        let task = tokio::spawn(candidate.run(release.clone()));
        Ok(Self { identity, fence, release, task })
    }

    /// Waits until this replica leads.
    pub async fn elected(&mut self) {
        info!(identity = self.identity, "waiting for the lease");
        self.fence.opened().await;
        info!(identity = self.identity, "leading");
    }

    /// Waits until this replica no longer leads. It never leads again.
    pub async fn lost(&self) {
        self.fence.closed().await;
    }

    /// The fence, which is open while this replica leads.
    pub fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// Releases the Lease, so that another replica does not wait until it expires.
    pub async fn release(mut self) {
        self.release.cancel();
        if tokio::time::timeout(RELEASE_TIMEOUT, &mut self.task).await.is_err() {
            warn!(
                "cannot release the lease within {RELEASE_TIMEOUT:?}: other replicas wait until it expires"
            );
        }
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reasons of events about a Lease. `docs/troubleshooting.md` has a row for each.
mod reasons {
    /// A replica became the leader. As with client-go, it is also the action of the event.
    pub(super) const LEADER_ELECTION: &str = "LeaderElection";
}

/// The event that reports the new leader, and a reference to the Lease.
pub fn became_leader(settings: &LeaseSettings) -> (Event, ObjectReference) {
    let event = Event {
        type_: EventType::Normal,
        reason: reasons::LEADER_ELECTION.to_owned(),
        note: Some(format!("{} became leader", settings.identity)),
        action: reasons::LEADER_ELECTION.to_owned(),
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
    fn invalid_timings_are_rejected() {
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
    fn identities_are_unique() {
        let (one, other) = (identity(), identity());
        assert!(one.starts_with(&format!("{}_", crate::hostname())) && one != other, "{one} {other}");
    }
}
