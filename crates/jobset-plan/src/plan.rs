//! What a decision consists of: actions, the new status, events.

use crate::{job_resume::JobResume, job_size::JobSize};
use jobset_api::JobSetStatus;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{PersistentVolumeClaim, Service},
};
use std::time::Duration;

/// What to do next for one JobSet. Empty for a settled one.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// Requests to send. Their order does not matter, except for [`Action::needs_surroundings`].
    pub actions: Vec<Action>,
    /// The whole new status, if it differs from the stored status. The caller stores it after the actions.
    pub status: Option<JobSetStatus>,
    /// Whether the new status must be stored now. Otherwise [`crate::StatusTiming`] decides when.
    pub status_is_urgent: bool,
    /// Whether the new status only restores what a lost status said: its higher counts are no new restarts.
    pub restores_status: bool,
    /// Events to send, in this order, after the status is stored.
    pub events: Vec<Event>,
    /// When to plan again, if nothing changes before.
    pub requeue_after: Option<Duration>,
    /// What is wrong now. The caller sends the event of each problem once for as long as the problem lasts.
    pub problems: Vec<Problem>,
    /// Why nothing more happens now, for users. Empty if nothing is held up.
    pub waiting: Vec<String>,
}

/// A lasting problem with one object. There is at most one problem of a reason about an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// The object.
    pub subject: Subject,
    /// The event that reports it.
    pub event: Event,
}

/// The object that a problem is about, in the namespace of the JobSet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A child Job.
    Job {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
    /// The Service of the pods' subdomain.
    Service {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
}

/// A request to the API server.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Create a child Job.
    CreateJob(Box<Job>),
    /// Delete a child Job, after its pods (propagation Foreground).
    DeleteJob {
        /// Its name.
        name: String,
        /// Its UID, which distinguishes it from a successor of the same name.
        uid: String,
    },
    /// Suspend a child Job.
    SuspendJob {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
    /// Resume a child Job, with the changes that its template saw in the meantime.
    ResumeJob(Box<JobResume>),
    /// Change the number of pods of a child Job.
    ScaleJob {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
        /// Its new size.
        size: JobSize,
    },
    /// Create a claim.
    CreateClaim(Box<PersistentVolumeClaim>),
    /// Delete the JobSet, after its children (propagation Foreground).
    DeleteJobSet,
    /// Create the headless Service.
    CreateService(Box<Service>),
}

impl Action {
    /// Whether the action starts pods. Pods need the Service and the claims, so such an action waits until the plan's
    /// other actions have succeeded.
    pub fn needs_surroundings(&self) -> bool {
        matches!(self, Self::CreateJob(_) | Self::ResumeJob(_))
    }
}

/// An event about the JobSet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// Normal or Warning.
    pub kind: EventKind,
    /// The reason, in CamelCase.
    pub reason: String,
    /// The message.
    pub note: String,
}

/// Type of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// Nothing is wrong.
    Normal,
    /// Something needs attention.
    Warning,
}
