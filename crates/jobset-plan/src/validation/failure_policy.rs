//! Validation of `spec.failurePolicy`.

use super::FieldError;
use crate::Gates;
use jobset_api::jobset::{FailurePolicy, FailurePolicyAction, FailurePolicyRule, ReplicatedJob};
use std::collections::{BTreeMap, BTreeSet};

/// Maximum length of a rule name, in bytes.
const RULE_NAME_MAX: usize = 128;
/// Maximum number of counters in `status.replicatedJobsStatus[].jobRestarts`, which has one counter per Job.
const RESTART_JOB_REPLICAS_MAX: i32 = 1024;
/// Reasons of the Job controller for a failed Job (Kubernetes: batch/v1).
const JOB_FAILURE_REASONS: [&str; 5] = [
    "BackoffLimitExceeded",
    "DeadlineExceeded",
    "FailedIndexes",
    "MaxFailedIndexesExceeded",
    "PodFailurePolicy",
];

/// Adds the errors of a failure policy. `names` contains the names of the ReplicatedJobs.
pub(super) fn validate(
    policy: &FailurePolicy,
    replicated_jobs: &[ReplicatedJob],
    names: &BTreeSet<&str>,
    gates: &Gates,
    errors: &mut Vec<FieldError>,
) {
    if policy.rules.iter().any(restarts_single_jobs) {
        if !gates.restart_job {
            errors.push(FieldError::plain(
                "RestartJob and RestartJobAndIgnoreMaxRestarts failure policy actions are not allowed when \
                 RestartJob feature gate is disabled",
            ));
            return;
        }
        if replicated_jobs.iter().any(|job| job.replicas > RESTART_JOB_REPLICAS_MAX) {
            errors.push(FieldError::plain(format!(
                "JobSet cannot have a failure policy rule with RestartJob or RestartJobAndIgnoreMaxRestarts \
                 action and a replicated job with replicas > {RESTART_JOB_REPLICAS_MAX}"
            )));
        }
    }
    for rule in &policy.rules {
        validate_rule(rule, names, errors);
    }
    validate_unique_names(&policy.rules, errors);
}

fn restarts_single_jobs(rule: &FailurePolicyRule) -> bool {
    matches!(
        rule.action,
        FailurePolicyAction::RestartJob | FailurePolicyAction::RestartJobAndIgnoreMaxRestarts
    )
}

fn validate_rule(rule: &FailurePolicyRule, names: &BTreeSet<&str>, errors: &mut Vec<FieldError>) {
    let name = &rule.name;
    if name.is_empty() || name.len() > RULE_NAME_MAX {
        errors.push(FieldError::plain(format!(
            "invalid failure policy rule name of length {}, the rule name must be at least 1 characters long and \
             at most {RULE_NAME_MAX} characters long",
            name.len()
        )));
    }
    if !is_rule_name(name) {
        errors.push(FieldError::plain(format!(
            "invalid failure policy rule name '{name}', a failure policy rule name must start with an alphabetic \
             character, optionally followed by a string of alphanumeric characters or '_,:', and must end with \
             an alphanumeric character or '_'"
        )));
    }
    for target in rule.target_replicated_jobs.iter().filter(|target| !names.contains(target.as_str())) {
        errors.push(FieldError::plain(format!(
            "invalid replicatedJob name '{target}' in failure policy does not appear in .spec.ReplicatedJobs"
        )));
    }
    for reason in &rule.on_job_failure_reasons {
        if !JOB_FAILURE_REASONS.contains(&reason.as_str()) {
            errors.push(FieldError::plain(format!(
                "invalid job failure reason '{reason}' in failure policy is not a recognized job failure reason"
            )));
        }
    }
}

/// `^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$`
fn is_rule_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(|last| last.is_ascii_alphanumeric() || *last == b'_')
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_,:".contains(byte))
}

/// Adds one error for each name that several rules share, sorted by name.
fn validate_unique_names(rules: &[FailurePolicyRule], errors: &mut Vec<FieldError>) {
    let mut indices: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (index, rule) in rules.iter().enumerate() {
        indices.entry(&rule.name).or_default().push(index.to_string());
    }
    for (name, indices) in indices.iter().filter(|(_, indices)| indices.len() > 1) {
        errors.push(FieldError::plain(format!(
            "rule names are not unique, rules with indices [{}] all have the same name '{name}'",
            indices.join(" ")
        )));
    }
}
