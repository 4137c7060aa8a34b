//! `status.executionAttempts` (feature gate ExecutionAttemptsTracking): a number for each run of the Jobs, which
//! increases with each restart of all Jobs and with each resume. Jobs and pods have it as an annotation, so that logs of
//! different runs have different numbers.
//!
//! ```text
//! created suspended     none
//! first run             0
//! resume                +1, stored before a Job is resumed
//! restart of all Jobs   +1, together with `restarts`
//! ```

use crate::{
    buckets::Buckets,
    draft::Draft,
    feature_gates::Gates,
    snapshot::{JobRecord, LabelValue, Snapshot},
};
use jiff::Timestamp;
use jobset_api::{JobSet, JobSetStatus, conditions as types, labels};
use std::sync::Arc;

/// Raises the number to that of a Job. A Job has a higher number if the status was lost or is not stored yet. Its pod
/// template, which cannot change while it runs, must have the same number, because a user can edit the annotation.
pub(crate) fn recover(snapshot: &Snapshot<'_>, gates: &Gates, draft: &mut Draft<'_>) {
    if gates.execution_attempts_tracking {
        let is_proven = |job: &&Arc<JobRecord>| job.template_execution_attempt == job.execution_attempt;
        let highest = snapshot.jobs.iter().filter(is_proven).filter_map(|job| number(job)).max();
        draft.status.execution_attempts = draft.status.execution_attempts.max(highest);
    }
}

/// Counts the first run or a resume of a JobSet. Returns whether Jobs must wait until the number of a resume is stored:
/// a run whose number is lost would have the number of another run.
pub(crate) fn count_run(jobset: &JobSet, jobs: &Buckets<'_>, gates: &Gates, draft: &mut Draft<'_>) -> bool {
    if !gates.execution_attempts_tracking || jobset.spec.is_suspended() {
        return false;
    }
    let JobSetStatus { restarts, execution_attempts: before, .. } = draft.status;
    let suspended_at = suspended_at(&draft.status);
    let now = match (before, suspended_at) {
        (None, Some(_)) if restarts > 0 => restarts.saturating_add(1),
        (None, _) => restarts,
        (Some(count), Some(at)) if !is_counted(count, at, jobs) => count.saturating_add(1),
        (Some(count), _) => count,
    };
    draft.status.execution_attempts = Some(now);
    suspended_at.is_some() && before != Some(now)
}

/// Counts a restart of all Jobs, after `restarts` has increased.
pub(crate) fn count_restart(gates: &Gates, status: &mut JobSetStatus) {
    if gates.execution_attempts_tracking {
        let count = status.execution_attempts.map_or(status.restarts, |count| count.saturating_add(1));
        status.execution_attempts = Some(count);
    }
}

/// The annotation of a Job that is created or resumed now.
pub(crate) fn annotation(gates: &Gates, status: &JobSetStatus) -> Option<(String, String)> {
    let count = status.execution_attempts.filter(|_| gates.execution_attempts_tracking)?;
    Some((labels::EXECUTION_ATTEMPT.to_owned(), count.to_string()))
}

/// Whether the Jobs show that the resume is already counted: one of them is resumed, or has a lower number. If no Job
/// is left to resume, the finished Jobs show it: one of them has a lower number, or finished after the suspension,
/// because the condition can stay True until the startup policy has resumed all Jobs.
fn is_counted(count: i32, suspended_at: Timestamp, jobs: &Buckets<'_>) -> bool {
    let is_lower = |job: &JobRecord| number(job).is_none_or(|of| of < count);
    if jobs.active.is_empty() {
        let has_run = |job: &JobRecord| job.verdict.as_ref().is_some_and(|verdict| verdict.at > suspended_at);
        let mut finished = jobs.successful.iter().chain(&jobs.failed).peekable();
        return finished.peek().is_none() || finished.any(|job| is_lower(job) || has_run(job));
    }
    jobs.active.iter().any(|job| !job.suspended || is_lower(job))
}

/// When the JobSet was suspended, if it still is.
fn suspended_at(status: &JobSetStatus) -> Option<Timestamp> {
    let mut conditions = status.conditions.iter();
    let suspended =
        conditions.find(|condition| condition.type_ == types::SUSPENDED && condition.status == "True");
    suspended.map(|condition| condition.last_transition_time.0)
}

/// The number in the annotation of a Job.
fn number(job: &JobRecord) -> Option<i32> {
    match job.execution_attempt {
        LabelValue::Number(number) => Some(number),
        LabelValue::Missing | LabelValue::Malformed(_) => None,
    }
}
