//! `spec.failurePolicy`: the action after a Job failed.
//!
//! One failed Job determines the action: the Job that failed first among those that the first matching rule matches.
//! After a restart, the other failed Jobs belong to an earlier attempt and no longer count.

use crate::{
    draft::Draft,
    feature_gates::Gates,
    message_patterns::{MAX_PATTERNS, Patterns},
    plan::EventKind,
    restart,
    snapshot::{JobRecord, LabelValue},
};
use jobset_api::{
    JobSet, JobSetStatus,
    conditions::{self as types, reasons},
    jobset::{FailurePolicy, FailurePolicyAction, FailurePolicyRule},
};

/// Applies the failure policy. There is at least one failed Job.
pub(crate) fn apply(jobset: &JobSet, failed: &[&JobRecord], gates: &Gates, draft: &mut Draft<'_>) {
    let Some(first) = first_failed(failed.iter().copied()) else { return };
    let Some(policy) = &jobset.spec.failure_policy else {
        let message = because("jobset failed due to one or more job failures", first);
        return fail(draft, reasons::FAILED_JOBS, &message);
    };
    match decide(policy, failed, draft) {
        Some((rule, job)) => act(jobset, policy, Some(rule), &rule.action, job, gates, draft),
        None => act(jobset, policy, None, &FailurePolicyAction::RestartJobSet, first, gates, draft),
    }
}

/// The first rule that matches a failed Job, and the Job that failed first among those that it matches.
fn decide<'a>(
    policy: &'a FailurePolicy,
    failed: &[&'a JobRecord],
    draft: &mut Draft<'_>,
) -> Option<(&'a FailurePolicyRule, &'a JobRecord)> {
    let mut patterns_left = MAX_PATTERNS;
    policy.rules.iter().find_map(|rule| {
        let patterns = &rule.on_job_failure_message_patterns;
        let used = patterns.len().min(patterns_left);
        patterns_left -= used;
        let mut matching = failed.iter().copied().filter(|job| matches(rule, job)).peekable();
        let some = *matching.peek()?;
        if patterns.is_empty() {
            return first_failed(matching).map(|job| (rule, job));
        }
        let patterns = Patterns::of(patterns.iter().take(used));
        if let Some(first) = patterns.too_large.first() {
            let note = format!(
                "rule {:?} of the failure policy has message patterns that are too large and never match (count {}, \
                 first {first:?}); create the JobSet with smaller patterns",
                rule.name,
                patterns.too_large.len()
            );
            draft.report_job(some, reasons::MESSAGE_PATTERN_TOO_LARGE, note);
        }
        let has_pattern = |job: &&JobRecord| {
            job.verdict.as_ref().is_some_and(|verdict| patterns.found_in(&verdict.message))
        };
        first_failed(matching.filter(has_pattern)).map(|job| (rule, job))
    })
}

/// Whether a rule matches a failed Job by target and reason. This ignores the message.
fn matches(rule: &FailurePolicyRule, job: &JobRecord) -> bool {
    let (Some(verdict), Some(replicated_job)) = (&job.verdict, &job.replicated_job) else { return false };
    let any = |list: &[String], value: &String| list.is_empty() || list.contains(value);
    any(&rule.target_replicated_jobs, replicated_job) && any(&rule.on_job_failure_reasons, &verdict.reason)
}

/// The Job that failed first. If several failed at the same time, the first in the list.
fn first_failed<'a>(failed: impl Iterator<Item = &'a JobRecord>) -> Option<&'a JobRecord> {
    failed.min_by_key(|job| job.verdict.as_ref().map(|verdict| verdict.at))
}

fn act(
    jobset: &JobSet,
    policy: &FailurePolicy,
    rule: Option<&FailurePolicyRule>,
    action: &FailurePolicyAction,
    job: &JobRecord,
    gates: &Gates,
    draft: &mut Draft<'_>,
) {
    let message = because(&format!("applying {action} failure policy action"), job);
    let counts = matches!(action, FailurePolicyAction::RestartJobSet | FailurePolicyAction::RestartJob);
    let used_up = counts && used_up(&draft.status, gates) >= i64::from(policy.max_restarts);
    // After the largest number there is no later attempt, so the failed Job would always belong to the current attempt.
    let restarts_all = matches!(
        action,
        FailurePolicyAction::RestartJobSet | FailurePolicyAction::RestartJobSetAndIgnoreMaxRestarts
    );
    let is_last = restarts_all && draft.status.restarts == i32::MAX;
    if is_last || (used_up && is_allowed(action, gates)) {
        let message = because("jobset failed due to reaching max number of restarts", job);
        return fail(draft, reasons::REACHED_MAX_RESTARTS, &message);
    }
    match action {
        FailurePolicyAction::FailJobSet => return fail(draft, reasons::FAIL_JOB_SET_ACTION, &message),
        FailurePolicyAction::RestartJobSet | FailurePolicyAction::RestartJobSetAndIgnoreMaxRestarts => {
            let reason = rule.map_or_else(
                || reasons::DEFAULT_FAILURE_POLICY.to_owned(),
                |rule| format!("{}{}", reasons::FAILURE_POLICY_RULE, rule.name),
            );
            restart::restart(draft, counts, gates, &reason, &message);
        }
        FailurePolicyAction::RestartJob | FailurePolicyAction::RestartJobAndIgnoreMaxRestarts => {
            if !is_allowed(action, gates) {
                let why = format!(
                    "{action} failure policy action cannot be used when the feature gate RestartJob is disabled \
                     (failed job: {})",
                    job.name
                );
                return report_not_applied(
                    job,
                    why,
                    "enable the feature gate, or delete the Job so that the controller creates it again",
                    draft,
                );
            }
            if let Err(why) = restart_job(jobset, job, counts, &mut draft.status) {
                return report_not_applied(job, why, "delete the Job", draft);
            }
        }
        FailurePolicyAction::Unknown(name) => {
            let why = format!(
                "failure policy action {name:?} is unknown to this version (failed job: {})",
                job.name
            );
            return report_not_applied(
                job,
                why,
                "delete the Job so that the controller creates it again",
                draft,
            );
        }
    }
    draft.event(EventKind::Warning, &format!("{action}{}", reasons::FAILURE_POLICY_ACTION), &message);
}

/// Reports that the failure policy cannot be applied. The JobSet waits until a user acts.
fn report_not_applied(job: &JobRecord, why: String, remedy: &str, draft: &mut Draft<'_>) {
    draft.report_job(job, reasons::FAILURE_POLICY_NOT_APPLIED, format!("{why}; {remedy}"));
    draft.waiting.push(why);
}

/// Whether the feature gates allow the action.
fn is_allowed(action: &FailurePolicyAction, gates: &Gates) -> bool {
    gates.restart_job
        || !matches!(
            action,
            FailurePolicyAction::RestartJob | FailurePolicyAction::RestartJobAndIgnoreMaxRestarts
        )
}

/// The number of restarts that count towards `maxRestarts`, of the JobSet and of single Jobs.
pub(crate) fn used_up(status: &JobSetStatus, gates: &Gates) -> i64 {
    let single =
        status.replicated_jobs_status.iter().flat_map(|status| &status.job_restarts_count_towards_max);
    let single: i64 = if gates.restart_job { single.map(|count| i64::from(*count)).sum() } else { 0 };
    i64::from(status.restarts_count_towards_max) + single
}

/// Restarts only this Job: increases its own attempt, so that the next reconcile deletes it as a Job of an earlier
/// attempt.
fn restart_job(
    jobset: &JobSet,
    job: &JobRecord,
    counts: bool,
    status: &mut JobSetStatus,
) -> Result<(), String> {
    let name = job.replicated_job.as_deref().unwrap_or("");
    let LabelValue::Number(index) = job.job_index else {
        return Err(format!("failed job {} has no valid {} label", job.name, jobset_api::labels::JOB_INDEX));
    };
    let replicas = jobset.spec.replicated_jobs.iter().find(|rj| rj.name == name).map_or(0, |rj| rj.replicas);
    let out_of_bounds = || {
        format!(
            "failed job {} has index {index} out of bounds for replicated job {name} (replicas: {replicas})",
            job.name
        )
    };
    let length = usize::try_from(replicas).map_err(|_| out_of_bounds())?;
    let place = usize::try_from(index).ok().filter(|place| *place < length).ok_or_else(out_of_bounds)?;
    let mut entries = status.replicated_jobs_status.iter_mut();
    let entry = entries.find(|entry| entry.name == name).ok_or_else(out_of_bounds)?;
    if entry.job_restarts.get(place) == Some(&i32::MAX) {
        return Err(format!("failed job {} has reached the largest number of restarts", job.name));
    }
    let raise = |counters: &mut Vec<i32>, from: i32| {
        counters.resize(length, 0);
        if let Some(count) = counters.get_mut(place) {
            *count = from.max(*count).saturating_add(1);
        }
    };
    // The attempt in the Job's label can be higher than in the status if the feature gate was off in between. Even
    // then, the new attempt must be higher than that of the Job, or this failure would count again.
    raise(
        &mut entry.job_restarts,
        if let LabelValue::Number(own) = job.job_restart_attempt { own } else { 0 },
    );
    if counts {
        raise(&mut entry.job_restarts_count_towards_max, 0);
    }
    Ok(())
}

fn because(what: &str, job: &JobRecord) -> String {
    format!("{what} (first failed job: {})", job.name)
}

/// Fails the JobSet.
pub(crate) fn fail(draft: &mut Draft<'_>, reason: &str, message: &str) {
    draft.set_condition(EventKind::Warning, types::FAILED, true, reason, message);
    draft.set_condition(
        EventKind::Normal,
        types::RESTARTING,
        false,
        reasons::JOB_SET_FAILED,
        "jobset failed",
    );
    types::FAILED.clone_into(&mut draft.status.terminal_state);
}
