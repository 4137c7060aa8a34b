//! Rules about the runs of a JobSet: `status.startTime` with `spec.activeDeadlineSeconds`, and
//! `status.executionAttempts`. They do not apply after a status was lost, because some of it cannot be restored.

use crate::{
    job::Job,
    world::{World, timestamp},
};
use jiff::SignedDuration;
use jobset_api::{
    JobSet, JobSetStatus,
    conditions::{self as types, reasons},
    labels,
};
use jobset_plan::LabelValue;
use serde_json::Value;
use std::sync::Arc;

const START: &str = "startTime is the start of the run";
const DEADLINE: &str = "a JobSet fails at its deadline";
const ATTEMPTS: &str = "each run has a number of its own";
const ANNOTATION: &str = "a Job has the number of its run, which is stored before a resume";

/// Without faults, no step of the controller takes longer.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(5);
/// With faults, a request arrives within this time.
const IN_TRANSIT: SignedDuration = SignedDuration::from_secs(60);

/// The number and the restarts of a JobSet when a user suspended it.
pub(crate) type Suspension = Option<(i32, i32)>;

fn is(status: &JobSetStatus, type_: &str) -> bool {
    status.conditions.iter().any(|condition| condition.type_ == type_ && condition.status == "True")
}

pub(crate) fn exceeded_deadline(status: &JobSetStatus) -> bool {
    let mut conditions = status.conditions.iter();
    conditions.any(|it| it.type_ == types::FAILED && it.reason == reasons::DEADLINE_EXCEEDED)
}

fn is_suspended(jobset: &JobSet) -> bool {
    jobset.spec.suspend.unwrap_or(false)
}

impl World {
    /// Checks a status before the API server stores it.
    pub(crate) fn check_run(&mut self, jobset: &JobSet, uid: &str, after: &JobSetStatus) {
        let nothing = JobSetStatus::default();
        let before = jobset.status.as_ref().unwrap_or(&nothing);
        if self.checker.ledgers.get(uid).is_none_or(|ledger| ledger.proofs.losses > 0) {
            return;
        }
        let broken = [
            self.wrong_start(jobset, before, after).map(|how| (START, how)),
            self.wrong_deadline(jobset, uid, before, after).map(|how| (DEADLINE, how)),
            self.wrong_number(jobset, before, after).map(|how| (ATTEMPTS, how)),
            self.wrong_count_of_resumes(uid, after).map(|how| (ATTEMPTS, how)),
        ];
        for (rule, how) in broken.into_iter().flatten() {
            self.violated(rule, format!("JobSet {uid}: {how}"));
        }
    }

    fn wrong_start(&self, jobset: &JobSet, before: &JobSetStatus, after: &JobSetStatus) -> Option<String> {
        let runs = self.gates.active_deadline_seconds && !is_suspended(jobset);
        let restarts = after.restarts > before.restarts;
        let now = timestamp(self.now);
        let how = match (&before.start_time, &after.start_time) {
            (_, Some(_)) if !self.gates.active_deadline_seconds => "it is set without the gate",
            (None, Some(_)) if !runs => "it is set while the JobSet is suspended",
            (Some(_), None) if runs => "it is cleared while the JobSet runs",
            (Some(was), Some(is)) if is != was && !restarts => "it changes without a restart",
            (_, Some(is)) if restarts && runs && now.duration_since(is.0) > IN_TRANSIT => {
                "a restart does not change it"
            }
            // Only the counts are stored if a Job could not be suspended.
            (Some(_), Some(_)) if !runs && is(after, types::SUSPENDED) && !is(before, types::SUSPENDED) => {
                "it stays while the JobSet is suspended"
            }
            _ => return None,
        };
        Some(format!("{how}: {:?}, then {:?}", before.start_time, after.start_time))
    }

    fn wrong_deadline(
        &self,
        jobset: &JobSet,
        uid: &str,
        before: &JobSetStatus,
        after: &JobSetStatus,
    ) -> Option<String> {
        let armed = self.gates.active_deadline_seconds && !is_suspended(jobset);
        let start = after.start_time.as_ref().filter(|_| armed);
        let seconds = jobset.spec.active_deadline_seconds;
        let late = start.zip(seconds).map(|(start, seconds)| {
            timestamp(self.now).duration_since(start.0) - SignedDuration::from_secs(seconds)
        });
        if !exceeded_deadline(after) || exceeded_deadline(before) {
            let overlooked = late.is_some_and(|late| late > TOLERANCE) && after.terminal_state.is_empty();
            return (self.faults.are_none() && overlooked).then(|| format!("it runs on, {late:?} late"));
        }
        let Some(late) = late else { return Some("it has no deadline".to_owned()) };
        if late < SignedDuration::ZERO || self.faults.are_none() && late > TOLERANCE {
            return Some(format!("it fails {late:?} after its deadline"));
        }
        let current = LabelValue::Number(before.restarts);
        let runs = |job: &&Arc<Job>| {
            let own = job.restart_attempt == current && !job.is_edited();
            own && job.unfinished() && job.failure_target.is_none() && !job.deleting
        };
        let running = self.server.jobs_of(uid).find(runs).filter(|_| !self.faults.may_lose_events())?;
        Some(format!("Job {} is not deleted", running.name))
    }

    fn wrong_number(&self, jobset: &JobSet, before: &JobSetStatus, after: &JobSetStatus) -> Option<String> {
        let resumes = is(before, types::SUSPENDED) && !is_suspended(jobset);
        let restarts = after.restarts - before.restarts;
        let may_be = match (before.execution_attempts, after.execution_attempts) {
            (was, is) if !self.gates.execution_attempts_tracking => was == is,
            (None, None) => true,
            (Some(_), None) => false,
            (None, Some(is)) if resumes => (after.restarts..=after.restarts + 1).contains(&is),
            (None, Some(is)) => is == after.restarts,
            (Some(was), Some(is)) if restarts > 0 => is == was + restarts,
            (Some(was), Some(is)) => is == was || resumes && is == was + 1,
        };
        (!may_be).then(|| {
            let (was, is) = (before.execution_attempts, after.execution_attempts);
            format!("{was:?}, then {is:?}, with {restarts} restarts, resumes: {resumes}")
        })
    }

    fn wrong_count_of_resumes(&self, uid: &str, after: &JobSetStatus) -> Option<String> {
        let suspension = self.checker.ledgers.get(uid)?.suspension;
        let ((was, restarts), is) = suspension.zip(after.execution_attempts)?;
        let resumes = is - was - (after.restarts - restarts);
        (resumes > 1).then(|| format!("one resume counts {resumes} times"))
    }

    /// Records that a user suspended a JobSet.
    pub(crate) fn jobset_was_suspended(&mut self, jobset: &JobSet) {
        let ledger = jobset.metadata.uid.as_ref().and_then(|uid| self.checker.ledgers.get_mut(uid));
        let status = jobset.status.as_ref();
        if let Some(ledger) = ledger {
            ledger.suspension = status.and_then(|status| Some((status.execution_attempts?, status.restarts)));
        }
    }

    /// Checks the number of a new Job. The JobSet is the one that the Job was planned for.
    pub(crate) fn check_number_of_new_job(&mut self, jobset: &JobSet, job: &Job) {
        let status = jobset.status.clone().unwrap_or_default();
        let first = LabelValue::Number(status.restarts);
        let expected = match status.execution_attempts.filter(|_| self.gates.execution_attempts_tracking) {
            Some(number) => vec![LabelValue::Number(number)],
            None if !self.gates.execution_attempts_tracking => vec![LabelValue::Missing],
            // The Jobs of a run whose number is not stored yet have it already.
            None if is_suspended(jobset) => vec![LabelValue::Missing, first],
            None => vec![first],
        };
        if !expected.contains(&job.execution_attempt)
            || job.template_execution_attempt() != job.execution_attempt
        {
            let how = format!(
                "Job {} has {:?} and {:?} instead of {expected:?}",
                job.name,
                job.execution_attempt,
                job.template_execution_attempt()
            );
            self.violated(ANNOTATION, how);
        }
    }

    /// Checks the number of a Job that is resumed.
    pub(crate) fn check_number_of_resumed_job(&mut self, job: &Job, patch: &Value) {
        let Some(ledger) = job.owner().and_then(|owner| self.checker.ledgers.get(owner)) else { return };
        if ledger.proofs.losses > 0 {
            return;
        }
        let status = ledger.jobset.status.clone().unwrap_or_default();
        let number = |path: &str| {
            let annotations = patch.pointer(path)?;
            annotations.get(labels::EXECUTION_ATTEMPT)?.as_str()?.parse::<i32>().ok()
        };
        let numbers = ["/metadata/annotations", "/spec/template/metadata/annotations"].map(number);
        let stored = status.execution_attempts.unwrap_or(status.restarts);
        let is_right = |number: &Option<i32>| match number {
            Some(number) => self.gates.execution_attempts_tracking && *number <= stored,
            None => !self.gates.execution_attempts_tracking,
        };
        if !numbers.iter().all(is_right) || numbers[0] != numbers[1] {
            let how = format!("Job {} is resumed with {numbers:?}, and {stored} is stored", job.name);
            self.violated(ANNOTATION, how);
        }
    }
}
