//! Why a request or an action failed.

use crate::observe::SchedulingKind;
use jiff::Timestamp;
use jobset_api::conditions::reasons;
use std::{fmt, time::Duration};
use thiserror::Error;

/// Longest wait for the Jobs, Workloads and PodGroups of a deleted JobSet with the same name. They are not children, so
/// no watch event requeues.
pub(super) const PREDECESSOR_RETRY: Duration = Duration::from_secs(3);
/// Longest wait for an object that another owner controls.
pub(super) const FOREIGN_OBJECT_RETRY: Duration = Duration::from_secs(15);
/// How long the deletion of a PodGroup is expected to take.
const DELETION_LIMIT: Duration = Duration::from_mins(1);

/// Errors that an operation handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    NotFound,
    AlreadyExists,
    Conflict,
    /// Invalid or forbidden.
    Rejected,
}

/// The error of a request.
pub(crate) trait RequestError {
    /// The refusal, or None for an error that is not about the object.
    fn refusal(&self) -> Option<Refusal>;
    /// The message for logs and events.
    fn message(&self) -> String;
}

/// What an action does with a Workload or a PodGroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SchedulingVerb {
    Create,
    Change,
    Delete,
}

impl fmt::Display for SchedulingVerb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "creating",
            Self::Change => "changing",
            Self::Delete => "deleting",
        })
    }
}

/// Why an action failed.
#[derive(Clone, Debug, Error)]
pub(crate) enum ActError<E: RequestError> {
    /// A child Job could not be created.
    #[error("job {name:?} creation failed with error: {}", error.message())]
    CreateJob { name: String, error: E },
    /// A Job with the desired name exists, and another owner controls it.
    #[error(
        "job {name:?} creation failed with error: a Job of this name exists that this JobSet does not control; delete it, or rename the JobSet"
    )]
    ForeignJob { name: String },
    /// A Workload or PodGroup could not be created, changed or deleted.
    #[error("{verb} {kind} {name:?}: {}", error.message())]
    SchedulingObject { verb: SchedulingVerb, kind: SchedulingKind, name: String, error: E },
    /// A Workload or PodGroup with the desired name exists, and another owner controls it.
    #[error(
        "{kind} {namespace}/{name} already exists and is not controlled by JobSet {namespace}/{jobset}; delete it, or rename the JobSet"
    )]
    ForeignSchedulingObject { kind: SchedulingKind, namespace: String, name: String, jobset: String },
    /// A Workload or PodGroup with the desired name is being deleted. This is expected.
    #[error("{kind} {name:?} cannot be created yet: its predecessor is still being deleted")]
    SchedulingNameHeld {
        kind: SchedulingKind,
        name: String,
        /// When the deletion began.
        since: Option<Timestamp>,
    },
    /// The predecessor of a PodGroup is being deleted for longer than pods usually need to stop.
    #[error(
        "PodGroup {name:?} cannot be created: its predecessor has been in deletion for over a minute; if none of its pods is still stopping, start kube-controller-manager with --feature-gates=GenericWorkload=true"
    )]
    PodGroupHeld { name: String },
    /// A Job with the desired name is being deleted. This is expected.
    #[error("job {name:?} cannot be created yet: its predecessor is still being deleted")]
    NameHeld { name: String },
    /// A child Job could not be deleted.
    #[error("deleting job {name:?}: {}", error.message())]
    DeleteJob { name: String, error: E },
    /// A child Job could not be changed.
    #[error("changing job {name:?}: {}", error.message())]
    ChangeJob { name: String, error: E },
    /// The API server rejected the resume of a Job with other requests or limits.
    #[error(
        "Failed to propagate mutated resources to child Job {name}: {}. Ensure MutablePodResourcesForSuspendedJobs is enabled on the API server.",
        error.message()
    )]
    PropagateResources { name: String, error: E },
    /// The controller could not read a Job that a list does not contain.
    #[error("verifying that job {name:?} exists: {}", error.message())]
    VerifyJob { name: String, error: E },
    /// A claim could not be created.
    #[error("{}", error.message())]
    CreateClaim { name: String, error: E },
    /// The JobSet could not be deleted.
    #[error("deleting the JobSet, whose ttlSecondsAfterFinished has passed: {}", .0.message())]
    DeleteJobSet(E),
    /// The headless Service could not be created.
    #[error("{}", .0.message())]
    CreateService(E),
    /// The ports of the headless Service could not be changed.
    #[error("changing the ports of Service {name:?}: {}", error.message())]
    SetServicePorts { name: String, error: E },
    /// The headless Service has other ports than the request that changed them.
    #[error(
        "changing the ports of Service {name:?}: the API server stored other ports than the containers declare, because an admission webhook changed them; exempt the Services of JobSets from that webhook"
    )]
    OtherServicePorts { name: String },
    /// The status could not be stored.
    #[error("storing the status: {}", .0.message())]
    Status(E),
}

impl<E: RequestError> ActError<E> {
    /// The reason of the event about the error, or None if it needs no event.
    pub(crate) fn event_reason(&self) -> Option<&'static str> {
        match self {
            Self::CreateJob { .. } | Self::ForeignJob { .. } => Some(reasons::JOB_CREATION_FAILED),
            Self::CreateService(_) => Some(reasons::SERVICE_CREATION_FAILED),
            Self::SetServicePorts { .. } | Self::OtherServicePorts { .. } => {
                Some(reasons::SERVICE_UPDATE_FAILED)
            }
            Self::CreateClaim { .. } => Some(reasons::PVC_CREATION_FAILED),
            Self::PropagateResources { .. } => Some(reasons::FAILED_RESOURCE_PROPAGATION),
            Self::SchedulingObject { .. } | Self::ForeignSchedulingObject { .. } => {
                Some(reasons::SCHEDULING_OBJECTS_FAILED)
            }
            Self::PodGroupHeld { .. } => Some(reasons::POD_GROUP_PROTECTION_MISSING),
            Self::NameHeld { .. }
            | Self::SchedulingNameHeld { .. }
            | Self::DeleteJob { .. }
            | Self::ChangeJob { .. }
            | Self::VerifyJob { .. }
            | Self::DeleteJobSet(_)
            | Self::Status(_) => None,
        }
    }

    /// The reason of condition `GangScheduled`, if the Workload or a PodGroup could not be created.
    pub(crate) fn group_failure(&self) -> Option<&'static str> {
        match self {
            Self::SchedulingNameHeld { .. } => Some(reasons::POD_GROUPS_TERMINATING),
            Self::SchedulingObject { verb: SchedulingVerb::Create, .. }
            | Self::ForeignSchedulingObject { .. }
            | Self::PodGroupHeld { .. } => self.event_reason(),
            _ => None,
        }
    }

    /// The error at this time: an object that is being deleted for too long is no longer expected.
    pub(crate) fn at(self, now: Timestamp) -> Self {
        match self {
            Self::SchedulingNameHeld { kind: SchedulingKind::PodGroups, name, since: Some(since) }
                if since.checked_add(DELETION_LIMIT).is_ok_and(|limit| limit < now) =>
            {
                Self::PodGroupHeld { name }
            }
            other => other,
        }
    }

    /// Longest delay until the next reconcile.
    pub(crate) fn longest_wait(&self) -> Duration {
        match self {
            Self::NameHeld { .. } | Self::SchedulingNameHeld { .. } => PREDECESSOR_RETRY,
            Self::ForeignJob { .. } | Self::ForeignSchedulingObject { .. } | Self::PodGroupHeld { .. } => {
                FOREIGN_OBJECT_RETRY
            }
            _ => Duration::MAX,
        }
    }

    /// Whether the error is expected: an object still exists, or it changed or was deleted after the snapshot, and the
    /// watch delivers that.
    pub(crate) fn is_expected(&self) -> bool {
        match self {
            Self::NameHeld { .. } | Self::SchedulingNameHeld { .. } => true,
            Self::Status(error) | Self::SetServicePorts { error, .. } => {
                matches!(error.refusal(), Some(Refusal::Conflict | Refusal::NotFound))
            }
            Self::DeleteJobSet(error)
            | Self::ChangeJob { error, .. }
            | Self::SchedulingObject { verb: SchedulingVerb::Change, error, .. } => {
                error.refusal() == Some(Refusal::Conflict)
            }
            _ => false,
        }
    }
}
