//! A plan under construction.

use crate::{
    conditions,
    plan::{Action, Event, EventKind, Plan, Problem, Subject},
    snapshot::JobRecord,
    status_timing,
};
use jiff::Timestamp;
use jobset_api::{JobSet, JobSetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use std::{collections::HashSet, time::Duration};

/// A plan under construction.
pub(crate) struct Draft<'a> {
    pub(crate) now: Timestamp,
    pub(crate) status: JobSetStatus,
    pub(crate) actions: Vec<Action>,
    pub(crate) events: Vec<Event>,
    pub(crate) requeue_after: Option<Duration>,
    pub(crate) waiting: Vec<String>,
    pub(crate) restores_status: bool,
    /// Jobs of the current attempt that have not ended.
    pub(crate) unfinished: usize,
    problems: Vec<Problem>,
    jobset: &'a JobSet,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(jobset: &'a JobSet, now: Timestamp) -> Self {
        Self {
            now,
            status: jobset.status.clone().unwrap_or_default(),
            actions: Vec::new(),
            events: Vec::new(),
            requeue_after: None,
            waiting: Vec::new(),
            restores_status: false,
            unfinished: 0,
            problems: Vec::new(),
            jobset,
        }
    }

    pub(crate) fn delete_jobs(&mut self, jobs: &[&JobRecord]) {
        let remaining = jobs.iter().filter(|job| !job.deleting);
        self.actions
            .extend(remaining.map(|job| Action::DeleteJob { name: job.name.clone(), uid: job.uid.clone() }));
    }

    /// Plans again after this time, or before.
    pub(crate) fn requeue_within(&mut self, delay: Duration) {
        self.requeue_after = Some(self.requeue_after.map_or(delay, |after| after.min(delay)));
    }

    /// UIDs of the Jobs that the plan suspends or resumes.
    pub(crate) fn changed_jobs(&self) -> HashSet<String> {
        let changed = self.actions.iter().filter_map(|action| match action {
            Action::SuspendJob { uid, .. } => Some(uid),
            Action::ResumeJob(resume) => Some(&resume.uid),
            _ => None,
        });
        changed.cloned().collect()
    }

    /// Sets a condition by the rules of [`conditions::set`]. A change also adds an event.
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

    /// Adds a Warning about a Job.
    pub(crate) fn report_job(&mut self, job: &JobRecord, reason: &str, note: String) {
        self.report(Subject::Job { name: job.name.clone(), uid: job.uid.clone() }, reason, note);
    }

    /// Adds a Warning about an object.
    pub(crate) fn report(&mut self, subject: Subject, reason: &str, note: String) {
        let event = Event { kind: EventKind::Warning, reason: reason.to_owned(), note };
        self.problems.push(Problem { subject, event });
    }

    pub(crate) fn finish(self) -> Plan {
        let stored = self.jobset.status.as_ref();
        let changed = status_timing::differs(stored, &self.status);
        // Every change except for counts has an event.
        let status_is_urgent = changed
            && (!self.events.is_empty()
                || status_timing::is_urgent(self.jobset, &self.status, self.unfinished));
        Plan {
            actions: self.actions,
            status: changed.then_some(self.status),
            status_is_urgent,
            restores_status: self.restores_status,
            events: self.events,
            requeue_after: self.requeue_after,
            problems: self.problems,
            waiting: self.waiting,
        }
    }
}

/// The API server stores condition times in whole seconds. A more precise time would never equal the stored time.
pub(crate) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
