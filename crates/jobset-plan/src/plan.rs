//! The output of a decision: actions, the new status, events.

use crate::{
    job_resume::JobResume, job_size::JobSize, scheduling_action::SchedulingAction, service_ports::PortRecord,
};
use jobset_api::JobSetStatus;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{PersistentVolumeClaim, Service},
};
use std::time::Duration;

/// The next steps for one JobSet. The plan of a settled JobSet is empty.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// Requests to send. Their order does not matter, except for [`Action::starts_pods`] and
    /// [`Action::is_optional`].
    pub actions: Vec<Action>,
    /// The whole new status, if it differs from the stored status. The caller stores it after the actions.
    pub status: Option<JobSetStatus>,
    /// Whether the new status must be stored now. Otherwise [`crate::StatusTiming`] decides when.
    pub status_is_urgent: bool,
    /// Whether the new status only restores a lost status. Its higher counts are then not new restarts.
    pub restores_status: bool,
    /// Events to send, in this order, after the status is stored.
    pub events: Vec<Event>,
    /// The delay until the next plan, if no object changes before.
    pub requeue_after: Option<Duration>,
    /// Problems that exist now. The caller sends the event of a problem once for as long as the problem persists.
    pub problems: Vec<Problem>,
    /// What the JobSet waits for, as text for users. Empty if nothing blocks it.
    pub waiting: Vec<String>,
}

/// A problem with one object that persists until a user fixes it. An object has at most one problem per reason.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// The object.
    pub subject: Subject,
    /// The event that reports it.
    pub event: Event,
}

/// The object that has a problem, in the namespace of the JobSet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A child Job.
    Job {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
    /// A pod.
    Pod {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
    /// A service account of the pods, by name.
    ServiceAccount(String),
    /// The Service of the pods' subdomain.
    Service {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
    /// A node label key of exclusive placement.
    TopologyKey(String),
    /// A PodGroup.
    PodGroup {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
}

impl Problem {
    /// What identifies the problem: with another cause, it is a new problem. The note of a topology key contains the
    /// number of nodes, which changes for other reasons.
    pub fn cause(&self) -> (&Subject, &str, &str) {
        let note = if matches!(self.subject, Subject::TopologyKey(_)) { "" } else { &self.event.note };
        (&self.subject, &self.event.reason, note)
    }
}

/// A request to the API server.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Create a child Job.
    CreateJob(Box<Job>),
    /// Delete a child Job after its pods (propagation policy Foreground).
    DeleteJob {
        /// Its name.
        name: String,
        /// Its UID. A successor with the same name has another UID.
        uid: String,
    },
    /// Suspend a child Job.
    SuspendJob {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
    /// Resume a child Job, with the changes to its template since its creation.
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
    /// Add the followers to a child Job that started with its leader: change its number of pods, and remove the
    /// annotation.
    AddFollowers {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
        /// Its new size.
        size: JobSize,
    },
    /// Create a claim.
    CreateClaim(Box<PersistentVolumeClaim>),
    /// Delete the JobSet after its children (propagation policy Foreground).
    DeleteJobSet,
    /// Create the headless Service.
    CreateService(Box<Service>),
    /// Replace the ports of the headless Service.
    SetServicePorts {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
        /// All its ports.
        ports: Vec<PortRecord>,
    },
    /// Create, change or delete a Workload or a PodGroup.
    Scheduling(SchedulingAction),
}

impl Action {
    /// Whether the action starts pods. Pods need the Service, the claims and the PodGroups, with the right minCount. So the
    /// action waits until the other actions of the plan have succeeded.
    pub fn starts_pods(&self) -> bool {
        matches!(
            self,
            Self::CreateJob(_) | Self::ResumeJob(_) | Self::ScaleJob { .. } | Self::AddFollowers { .. }
        )
    }

    /// Whether the JobSet can run without the action. A failure of it delays nothing else.
    pub fn is_optional(&self) -> bool {
        use SchedulingAction::{DeletePodGroup, DeleteWorkload};
        matches!(
            self,
            Self::SetServicePorts { .. } | Self::Scheduling(DeletePodGroup { .. } | DeleteWorkload { .. })
        )
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
