//! Restores a lost status from the Jobs of the JobSet.
//!
//! `status` is lost when a backup restores an older JobSet, or when a client overwrites it. Then `restarts` is lower
//! than the attempt of the running Jobs. Without a repair, the controller ignores those Jobs, and the JobSet never
//! finishes.
//!
//! # Which Jobs prove an attempt
//!
//! The controller stores an attempt in the status before it creates the first Job of that attempt. So a Job of a later
//! attempt than `status.restarts` proves that the status is lost, unless a user edited the label of the Job. The pod
//! template shows an edit: the controller writes the attempt into the labels of the Job and of its pod template, and
//! the API server rejects changes to that template. A Job proves its attempt if both labels agree. One such Job is
//! enough, so the rule also works for a JobSet with a single Job, and during a restart, when Jobs of two attempts
//! exist. A Job with an edited label proves nothing, regardless of other Jobs: [`crate::buckets`] reports it as
//! foreign. While a Job is suspended, the API server permits changes to the labels of its pod template, too. A suspended
//! Job therefore proves nothing while another Job proves a lower attempt.
//!
//! # What the controller restores
//!
//! * `restarts`: the highest attempt that a Job proves.
//! * `restartsCountTowardsMax`: raised as much as `restarts`, and not above it, if the failure policy has no rule that
//!   restarts the JobSet without counting. With such a rule the correct value is unknown, and the stored value stays.
//!   But if a Job of the proven attempt has failed, the JobSet may have failed, too. Then all restarts count, up to `maxRestarts`: to fail
//!   again changes nothing, and a restart would.
//! * `jobRestarts` and `jobRestartsCountTowardsMax` (gate RestartJob): the same for single Jobs. The name of the Job
//!   must match its index, because users can edit the index label, too.
//! * `startTime`: absent, because the start of the proven attempt is unknown. The next plan sets it.
//!
//! [`crate::execution_attempts`] restores `executionAttempts`.
//!
//! The next plan derives the counts and the conditions Completed, Failed, Suspended and those of the startup policy
//! from the Jobs. Two things stay lost. The first is the reason of the last restart (condition `RestartingJobSet`). The
//! second is a restart that was stored before any Job of its attempt was created: if the failed Job still exists, its
//! failure restarts the JobSet again, and `restarts` reaches the lost number.
//!
//! The controller stores the restored status before it sends any other request, so it creates or deletes no Job because
//! of the lost status. Restored counts only increase, so the controller restores a status once.

use crate::{
    child_job::job_name,
    draft::Draft,
    failure_policy,
    feature_gates::Gates,
    plan::EventKind,
    snapshot::{JobRecord, LabelValue, Outcome, Snapshot},
    status_entries::restarts_of,
};
use jobset_api::{
    JobSet, JobSetStatus, ReplicatedJobStatus, conditions::reasons, jobset::FailurePolicyAction,
};

/// Restores a lost status in the draft. Returns whether the status was lost.
pub(crate) fn restore(snapshot: &Snapshot<'_>, gates: &Gates, draft: &mut Draft<'_>) -> bool {
    let jobs: &[_] = if gates.restart_job { snapshot.jobs } else { &[] };
    let whole = |status: &mut JobSetStatus| restore_restarts(snapshot, gates, status);
    let single = |status: &mut JobSetStatus| -> Vec<String> {
        jobs.iter().filter_map(|job| restore_single(snapshot.jobset, job, gates, status)).collect()
    };
    // Restarts of unknown kind are the last, because they count as far as the others leave room.
    let status = &mut draft.status;
    let single_first = !all_count(snapshot.jobset, &FailurePolicyAction::RestartJobSetAndIgnoreMaxRestarts);
    let (whole, single) = if single_first {
        let single = single(status);
        (whole(status), single)
    } else {
        (whole(status), single(status))
    };
    let restored: Vec<String> = whole.into_iter().chain(single).collect();
    let Some(first) = restored.first() else { return false };
    let more = match restored.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more counts"),
    };
    draft.restores_status = true;
    let note = format!("the status was lost or overwritten and is restored from the Jobs: {first}{more}");
    draft.event(EventKind::Warning, reasons::STATUS_RESTORED, &note);
    true
}

/// Raises `restarts` to the highest attempt that a Job proves. Returns a description of the change.
fn restore_restarts(snapshot: &Snapshot<'_>, gates: &Gates, status: &mut JobSetStatus) -> Option<String> {
    let stored = status.restarts;
    let lowest = snapshot.jobs.iter().filter(|job| !job.deleting).filter_map(|job| self::attempt(job)).min();
    let proofs =
        snapshot.jobs.iter().filter_map(|job| Some((proven_attempt(job, lowest)?, job.name.as_str())));
    let (attempt, why) = match proofs.max_by_key(|(attempt, _)| *attempt) {
        Some((attempt, job)) => (attempt, format!("job {job} belongs to attempt {attempt}")),
        None => (0, "the first attempt is 0".to_owned()),
    };
    if attempt <= stored {
        return None;
    }
    status.restarts = attempt;
    status.start_time = None;
    let failed = snapshot.jobs.iter().any(|job| self::attempt(job) == Some(attempt) && has_failed(job));
    let left = left(snapshot.jobset, status, gates);
    let counted = &mut status.restarts_count_towards_max;
    if all_count(snapshot.jobset, &FailurePolicyAction::RestartJobSetAndIgnoreMaxRestarts) {
        raise_counted(counted, attempt - stored.max(0), attempt);
    } else if failed {
        raise_counted(counted, (attempt - stored.max(0)).min(left), attempt);
    }
    Some(format!("restarts changes from {stored} to {attempt}, because {why}"))
}

/// Raises the restarts of a single Job to the number that the Job proves. Returns a description of the change.
fn restore_single(
    jobset: &JobSet,
    job: &JobRecord,
    gates: &Gates,
    status: &mut JobSetStatus,
) -> Option<String> {
    attempt(job)?;
    let attempt = agreed(&job.job_restart_attempt, &job.template_job_restart_attempt)?;
    let LabelValue::Number(index) = job.job_index else { return None };
    let replicated_job =
        jobset.spec.replicated_jobs.iter().find(|rj| Some(&rj.name) == job.replicated_job.as_ref())?;
    let stored = restarts_of(jobset, &replicated_job.name, index);
    let is_of_index = index < replicated_job.replicas && job.name == job_name(jobset, replicated_job, index);
    if attempt <= stored || !is_of_index {
        return None;
    }
    let length = usize::try_from(replicated_job.replicas).ok()?;
    let index = usize::try_from(index).ok()?;
    let left = left(jobset, status, gates);
    let entry = entry_of(&replicated_job.name, &mut status.replicated_jobs_status)?;
    entry.job_restarts.resize(length, 0);
    *entry.job_restarts.get_mut(index)? = attempt;
    let counts = all_count(jobset, &FailurePolicyAction::RestartJobAndIgnoreMaxRestarts);
    if counts || has_failed(job) {
        entry.job_restarts_count_towards_max.resize(length, 0);
        let counted = entry.job_restarts_count_towards_max.get_mut(index)?;
        let more = attempt - stored.max(0);
        raise_counted(counted, if counts { more } else { more.min(left) }, attempt);
    }
    let name = &job.name;
    Some(format!("jobRestarts of job {name} changes from {stored} to {attempt}, the value of its label"))
}

/// The attempt that a Job proves. The API server permits changes to the pod template of a suspended Job. So a suspended
/// Job proves nothing while another Job proves a lower attempt, unless that one is being deleted, as in a restart.
///
/// `lowest` is the lowest attempt of the Jobs that are not being deleted.
fn proven_attempt(job: &JobRecord, lowest: Option<i32>) -> Option<i32> {
    let is_contradicted = |proven: &i32| job.suspended && lowest.is_some_and(|lowest| lowest < *proven);
    attempt(job).filter(|proven| !is_contradicted(proven))
}

/// How many more restarts can count towards `maxRestarts`. Restarts of unknown kind never count beyond it.
fn left(jobset: &JobSet, status: &JobSetStatus, gates: &Gates) -> i32 {
    let permitted = jobset.spec.failure_policy.as_ref().map_or(0, |policy| policy.max_restarts);
    let left = i64::from(permitted) - failure_policy::used_up(status, gates);
    i32::try_from(left.max(0)).unwrap_or(i32::MAX)
}

fn has_failed(job: &JobRecord) -> bool {
    job.verdict.as_ref().is_some_and(|verdict| verdict.outcome != Outcome::Complete)
}

/// Raises a count of restarts that count towards `maxRestarts`, to at most `limit`.
fn raise_counted(counted: &mut i32, by: i32, limit: i32) {
    *counted = (*counted).max(counted.saturating_add(by).min(limit));
}

/// The attempt on which the labels of a Job and of its pod template agree.
fn attempt(job: &JobRecord) -> Option<i32> {
    agreed(&job.restart_attempt, &job.template_restart_attempt)
}

/// The number on which a Job's label and its pod template agree.
fn agreed(label: &LabelValue, template: &LabelValue) -> Option<i32> {
    match (label, template) {
        (LabelValue::Number(label), LabelValue::Number(template)) if label == template => Some(*label),
        _ => None,
    }
}

/// Whether every restart counts towards `maxRestarts`: no rule has the action `ignoring`. Returns false without a
/// policy, because the policy that restarted the JobSet is unknown.
fn all_count(jobset: &JobSet, ignoring: &FailurePolicyAction) -> bool {
    let policy = jobset.spec.failure_policy.as_ref();
    policy.is_some_and(|policy| policy.rules.iter().all(|rule| rule.action != *ignoring))
}

/// The entry of a ReplicatedJob. Adds a missing entry at its position, names descending.
fn entry_of<'a>(
    name: &str,
    entries: &'a mut Vec<ReplicatedJobStatus>,
) -> Option<&'a mut ReplicatedJobStatus> {
    if !entries.iter().any(|entry| entry.name == name) {
        entries.push(ReplicatedJobStatus { name: name.to_owned(), ..Default::default() });
        entries.sort_by(|a, b| b.name.cmp(&a.name));
    }
    entries.iter_mut().find(|entry| entry.name == name)
}
