//! A status that was lost, and what the Jobs of the JobSet prove of it.
//!
//! `status` is lost when a backup restores an older JobSet, or a client overwrites it. `restarts` is then lower than the
//! attempt of the Jobs that run. Without repair those Jobs count for nothing and the JobSet never ends.
//!
//! # Which Jobs are believed
//!
//! The controller stores an attempt in the status before it creates the first Job of that attempt. So a Job of a later
//! attempt than `status.restarts` proves that the status is lost, unless its label was edited. The pod template tells the
//! two apart: the controller writes the attempt into the labels of the Job and of its pod template, and the API server
//! does not change the template of a Job. A Job is believed if both agree. One such Job is enough, so the rule holds for
//! a JobSet of a single Job, and in the middle of a restart, when Jobs of two attempts exist. A Job with an edited label
//! is not believed, whatever the other Jobs say: [`crate::buckets`] reports it as foreign.
//!
//! # What is restored
//!
//! * `restarts`: the highest attempt that a Job proves.
//! * `restartsCountTowardsMax`: raised as much as `restarts`, if the failure policy has no rule that restarts the JobSet
//!   without counting. With such a rule it cannot be known, and keeps its value.
//! * `jobRestarts` and `jobRestartsCountTowardsMax` (gate RestartJob): the same for single Jobs. The Job must have the name
//!   of its index, as the labels that tell the index can be edited too.
//!
//! The conditions Completed, Failed, Suspended and those of the startup policy, and the counts, follow from the Jobs in the
//! next plan. The last reason for a restart (condition `RestartingJobSet`) stays lost, and so does a restart that was stored
//! without any Job of its attempt having been created: if its failed Job still exists, that failure restarts the JobSet
//! again, and ends at the number that was lost.
//!
//! The restored status is stored before anything else is done, so that no Job is created or deleted on the ground of the
//! lost one. It only rises, so a status is restored once.

use crate::{
    child_job::job_name,
    draft::Draft,
    feature_gates::Gates,
    plan::EventKind,
    snapshot::{JobRecord, LabelValue, Snapshot},
    status_entries::restarts_of,
};
use jobset_api::{
    JobSet, JobSetStatus, ReplicatedJobStatus, conditions::reasons, jobset::FailurePolicyAction,
};

/// Restores a lost status in the draft. Returns whether it was lost.
pub(crate) fn restore(snapshot: &Snapshot<'_>, gates: &Gates, draft: &mut Draft<'_>) -> bool {
    let whole = restore_restarts(snapshot, &mut draft.status);
    let jobs = snapshot.jobs.iter().filter(|_| gates.restart_job);
    let single = jobs.filter_map(|job| restore_single(snapshot.jobset, job, &mut draft.status));
    let restored: Vec<String> = whole.into_iter().chain(single).collect();
    let Some(first) = restored.first() else { return false };
    let more = match restored.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more counts"),
    };
    draft.restores_status = true;
    let note = format!("the status was lost or overwritten, and is restored from the jobs: {first}{more}");
    draft.event(EventKind::Warning, reasons::STATUS_RESTORED, &note);
    true
}

/// Raises `restarts` to the highest attempt that a Job proves. Returns what changed.
fn restore_restarts(snapshot: &Snapshot<'_>, status: &mut JobSetStatus) -> Option<String> {
    let stored = status.restarts;
    let proofs = snapshot.jobs.iter().filter_map(|job| Some((attempt(job)?, job.name.as_str())));
    let (attempt, why) = match proofs.max_by_key(|(attempt, _)| *attempt) {
        Some((attempt, job)) => (attempt, format!("job {job} is of attempt {attempt}")),
        None => (0, "there are no attempts below 0".to_owned()),
    };
    if attempt <= stored {
        return None;
    }
    status.restarts = attempt;
    if all_count(snapshot.jobset, &FailurePolicyAction::RestartJobSetAndIgnoreMaxRestarts) {
        let counted = &mut status.restarts_count_towards_max;
        *counted = counted.saturating_add(attempt - stored.max(0));
    }
    Some(format!("restarts was {stored} and is {attempt} again, as {why}"))
}

/// Raises the restarts of a single Job to those that the Job proves. Returns what changed.
fn restore_single(jobset: &JobSet, job: &JobRecord, status: &mut JobSetStatus) -> Option<String> {
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
    let entry = entry_of(&replicated_job.name, &mut status.replicated_jobs_status)?;
    let raise = |counters: &mut Vec<i32>, by: i32| {
        counters.resize(length, 0);
        if let Some(counter) = counters.get_mut(index) {
            *counter = counter.saturating_add(by);
        }
    };
    raise(&mut entry.job_restarts, attempt - stored);
    if all_count(jobset, &FailurePolicyAction::RestartJobAndIgnoreMaxRestarts) {
        raise(&mut entry.job_restarts_count_towards_max, attempt.saturating_sub(stored.max(0)));
    }
    let name = &job.name;
    Some(format!("jobRestarts of job {name} was {stored} and is {attempt} again, as its label says"))
}

/// The attempt that a Job proves.
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

/// Whether every restart counts towards `maxRestarts`: no rule has `ignoring` as its action. Without a policy nothing is
/// known of the policy that restarted the JobSet.
fn all_count(jobset: &JobSet, ignoring: &FailurePolicyAction) -> bool {
    let policy = jobset.spec.failure_policy.as_ref();
    policy.is_some_and(|policy| policy.rules.iter().all(|rule| rule.action != *ignoring))
}

/// The entry of a ReplicatedJob. A missing entry is added in its place, names descending.
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
