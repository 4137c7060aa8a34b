//! What comes out of a decision, and the draft in which it grows.

use crate::{
    buckets::Buckets, conditions, elastic::JobSize, snapshot::JobRecord, status_timing, suspend::JobResume,
};
use jiff::Timestamp;
use jobset_api::{JobSet, JobSetStatus};
use k8s_openapi::{
    api::{
        batch::v1::Job,
        core::v1::{PersistentVolumeClaim, Service},
    },
    apimachinery::pkg::apis::meta::v1::{Condition, OwnerReference, Time},
};
use std::time::Duration;

/// What to do next for one JobSet. Empty for a settled one.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// Requests to send. They do not wait for one another, but for [`Action::needs_surroundings`].
    pub actions: Vec<Action>,
    /// The whole new status, when it differs from the stored one. To be stored after the actions.
    pub status: Option<JobSetStatus>,
    /// Whether the new status must be stored now; else [`crate::StatusTiming`] tells when.
    pub status_is_urgent: bool,
    /// Events to send, in this order, after the status is stored.
    pub events: Vec<Event>,
    /// When to look again, if nothing happens before.
    pub requeue_after: Option<Duration>,
    /// What is wrong with Jobs, as long as it is: events to send once for each.
    pub problems: Vec<Problem>,
    /// Why nothing more happens now, for a person; empty when nothing is held up.
    pub waiting: Vec<String>,
}

/// An event about something that lasts. Whoever sends it remembers that it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Name of the Job that it is about.
    pub job: String,
    /// The Job's UID. There is one problem of a reason about a Job.
    pub uid: String,
    /// The event.
    pub event: Event,
}

/// A request to the API server.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Create a child Job.
    CreateJob(Box<Job>),
    /// Delete a child Job and, before it goes, its pods (propagation Foreground).
    DeleteJob {
        /// Its name.
        name: String,
        /// Its UID: a Job of the same name and another UID is another Job.
        uid: String,
    },
    /// Suspend a child Job.
    SuspendJob {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
    /// Resume a child Job, with what was meanwhile changed of its template.
    ResumeJob(Box<JobResume>),
    /// Run more or fewer pods of a child Job.
    ScaleJob {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
        /// What it becomes.
        size: JobSize,
    },
    /// Create a claim.
    CreateClaim(Box<PersistentVolumeClaim>),
    /// Delete the JobSet and, before it goes, its children (propagation Foreground).
    DeleteJobSet,
    /// Create the headless Service.
    CreateService(Box<Service>),
}

impl Action {
    /// Whether it starts pods: they need the Service and the claims of the same plan, so that nothing is started
    /// when one of those cannot be made.
    pub fn needs_surroundings(&self) -> bool {
        matches!(self, Self::CreateJob(_) | Self::ResumeJob(_))
    }
}

/// An event about the JobSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whether anybody needs to worry.
    pub kind: EventKind,
    /// Why, in one word.
    pub reason: String,
    /// Why, for a person.
    pub note: String,
}

/// Whether an event is something to worry about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// No.
    Normal,
    /// Yes.
    Warning,
}

/// A plan that is being made.
pub(crate) struct Draft<'a> {
    pub(crate) now: Timestamp,
    pub(crate) status: JobSetStatus,
    pub(crate) actions: Vec<Action>,
    pub(crate) events: Vec<Event>,
    pub(crate) requeue_after: Option<Duration>,
    pub(crate) waiting: Vec<String>,
    problems: Vec<Problem>,
    jobset: &'a JobSet,
    /// Jobs of the current attempt that have not ended.
    unfinished: usize,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(jobset: &'a JobSet, jobs: &Buckets<'_>, now: Timestamp) -> Self {
        Self {
            now,
            status: jobset.status.clone().unwrap_or_default(),
            actions: Vec::new(),
            events: Vec::new(),
            requeue_after: None,
            waiting: Vec::new(),
            problems: Vec::new(),
            jobset,
            unfinished: jobs.active.len(),
        }
    }

    pub(crate) fn delete_jobs(&mut self, jobs: &[&JobRecord]) {
        let doomed = jobs.iter().filter(|job| !job.deleting);
        self.actions
            .extend(doomed.map(|job| Action::DeleteJob { name: job.name.clone(), uid: job.uid.clone() }));
    }

    /// Whether this Job is about to be suspended or resumed.
    pub(crate) fn changes(&self, job: &JobRecord) -> bool {
        self.actions.iter().any(|action| match action {
            Action::SuspendJob { uid, .. } => *uid == job.uid,
            Action::ResumeJob(resume) => resume.uid == job.uid,
            _ => false,
        })
    }

    /// Sets a condition by the rules of [`conditions::set`]; a change is also an event.
    pub(crate) fn set_condition(
        &mut self,
        kind: EventKind,
        type_: &str,
        status: bool,
        reason: &str,
        message: &str,
    ) {
        let condition = Condition {
            type_: type_.to_owned(),
            status: if status { "True" } else { "False" }.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            last_transition_time: Time(whole_seconds(self.now)),
            observed_generation: None,
        };
        if conditions::set(&mut self.status.conditions, condition) {
            self.event(kind, reason, message);
        }
    }

    pub(crate) fn event(&mut self, kind: EventKind, reason: &str, note: &str) {
        self.events.push(Event { kind, reason: reason.to_owned(), note: note.to_owned() });
    }

    /// Warns of something about a Job that lasts until somebody mends it.
    pub(crate) fn report_problem(&mut self, job: &JobRecord, reason: &str, note: String) {
        let event = Event { kind: EventKind::Warning, reason: reason.to_owned(), note };
        self.problems.push(Problem { job: job.name.clone(), uid: job.uid.clone(), event });
    }

    pub(crate) fn finish(self) -> Plan {
        let stored = self.jobset.status.as_ref();
        // A status that was never stored is the empty one: nothing to say means nothing to write.
        let changed = stored.map_or(self.status != JobSetStatus::default(), |stored| *stored != self.status);
        // What changes beside counts comes with an event.
        let status_is_urgent = changed
            && (!self.events.is_empty()
                || status_timing::is_urgent(self.jobset, &self.status, self.unfinished));
        Plan {
            actions: self.actions,
            status: changed.then_some(self.status),
            status_is_urgent,
            events: self.events,
            requeue_after: self.requeue_after,
            problems: self.problems,
            waiting: self.waiting,
        }
    }
}

/// Kubernetes stores condition times in whole seconds; more would never compare equal.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// The owner reference by which children belong to this JobSet.
pub(crate) fn owner_reference(jobset: &JobSet) -> OwnerReference {
    OwnerReference {
        api_version: jobset_api::jobset::API_VERSION.to_owned(),
        kind: jobset_api::jobset::KIND.to_owned(),
        name: jobset.metadata.name.clone().unwrap_or_default(),
        uid: jobset.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
