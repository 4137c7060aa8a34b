//! Validation of a new JobSet, after defaulting.

use super::{
    FieldError, active_deadline, coordinator, failure_policy, names,
    replicated_job::{jobset_name, longest_job_name, longest_pod_name},
    scheduling,
    volume_claims::{self, ExistingClaims},
};
use crate::Gates;
use jobset_api::{
    JobSet,
    jobset::{FailurePolicy, ReplicatedJob, RestartStrategy},
};
use std::collections::BTreeSet;

/// Maximum length of `spec.managedBy`, in bytes.
const MANAGED_BY_MAX: usize = 63;

/// Returns all errors of a new JobSet. `claims` contains the claims that [`claims_to_read`](super::claims_to_read)
/// returns, as the caller read them.
pub fn validate_create(jobset: &JobSet, claims: &ExistingClaims, gates: &Gates) -> Vec<FieldError> {
    let spec = &jobset.spec;
    let name = jobset_name(jobset);
    let all: BTreeSet<&str> = spec.replicated_jobs.iter().map(|job| job.name.as_str()).collect();
    let in_place = spec.failure_policy.as_ref().is_some_and(restarts_in_place);
    let mut errors = Vec::new();

    if in_place && !gates.in_place_restart {
        errors.push(FieldError::plain(
            "InPlaceRestart restart strategy cannot be set when InPlaceRestart feature gate is disabled",
        ));
    }
    if spec.replicated_jobs.first().is_some_and(|first| first.depends_on.is_some()) {
        errors.push(FieldError::plain("DependsOn can't be set for the first ReplicatedJob"));
    }
    if let Some(subdomain) = spec.network.as_ref().and_then(|network| network.subdomain.as_deref())
        && !subdomain.is_empty()
    {
        validate_subdomain(subdomain, &mut errors);
    }
    if let Some(managed_by) = &spec.managed_by {
        errors.extend(names::domain_prefixed_path("spec.managedBy", managed_by));
        if managed_by.len() > MANAGED_BY_MAX {
            errors.push(FieldError::too_long("spec.managedBy", MANAGED_BY_MAX));
        }
    }
    let mut seen = BTreeSet::new();
    for (index, replicated_job) in spec.replicated_jobs.iter().enumerate() {
        let path = format!("spec.replicatedJobs[{index}]");
        validate_size(replicated_job, &mut errors);
        validate_names(replicated_job, &path, &name, &mut errors);
        // The ReplicatedJob itself counts as seen: the API accepts a dependency on itself, with a warning.
        seen.insert(replicated_job.name.as_str());
        for dependency in replicated_job.depends_on.iter().flatten() {
            if !seen.contains(dependency.name.as_str()) {
                errors.push(FieldError::plain(format!(
                    "replicatedJob: {} cannot depend on replicatedJob: {}",
                    replicated_job.name, dependency.name
                )));
            }
        }
        if in_place && gates.in_place_restart {
            validate_in_place_restart(replicated_job, &path, &mut errors);
        }
    }
    // Without a success policy all ReplicatedJobs count, so there is no name to check.
    for target in spec.success_policy.iter().flat_map(|policy| &policy.target_replicated_jobs) {
        if !all.contains(target.as_str()) {
            errors.push(FieldError::plain(format!(
                "invalid replicatedJob name '{target}' does not appear in .spec.ReplicatedJobs"
            )));
        }
    }
    if let Some(policy) = &spec.failure_policy {
        failure_policy::validate(policy, &spec.replicated_jobs, &all, gates, &mut errors);
    }
    if let Some(coordinator) = &spec.coordinator {
        errors.extend(coordinator::fault(coordinator, jobset).map(FieldError::plain));
        errors.extend(coordinator::label_fault(coordinator, jobset, &name).map(FieldError::plain));
    }
    volume_claims::validate(jobset, &name, claims, &mut errors);
    scheduling::validate_create(jobset, &name, gates, &mut errors);
    errors.extend(active_deadline::validate(None, spec.active_deadline_seconds, gates));
    errors
}

fn restarts_in_place(policy: &FailurePolicy) -> bool {
    policy.restart_strategy == RestartStrategy::InPlaceRestart
}

/// The subdomain is the name of a Service, so it must be an RFC 1035 label in addition to an RFC 1123 subdomain.
fn validate_subdomain(subdomain: &str, errors: &mut Vec<FieldError>) {
    let too_long = ".spec.network.subdomain is too long, must be less than 63 characters";
    let messages = names::dns_1123_subdomain(subdomain).into_iter();
    for message in messages.chain(names::dns_1035_label(subdomain, too_long)) {
        errors.push(FieldError::invalid_text("spec.network.subdomain", subdomain, message));
    }
}

/// Labels and counters of the JobSet have 32 bits.
fn validate_size(replicated_job: &ReplicatedJob, errors: &mut Vec<FieldError>) {
    let parallelism = replicated_job.template.spec.as_ref().and_then(|job| job.parallelism).unwrap_or(1);
    if i64::from(parallelism) * i64::from(replicated_job.replicas) > i64::from(i32::MAX) {
        errors.push(FieldError::plain(format!(
            "the product of replicas and parallelism must not exceed {} for replicatedJob '{}'",
            i32::MAX,
            replicated_job.name
        )));
    }
}

/// The group name must be a label, and the names of Jobs and pods must be valid as host names.
fn validate_names(
    replicated_job: &ReplicatedJob,
    path: &str,
    jobset_name: &str,
    errors: &mut Vec<FieldError>,
) {
    let group = &replicated_job.group_name;
    let too_long = ".spec.replicatedJob[].groupName is too long, must be less than 63 characters";
    for message in names::dns_1035_label(group, too_long) {
        errors.push(FieldError::invalid_text(format!("{path}.groupName"), group, message));
    }
    let job_name = longest_job_name(jobset_name, replicated_job);
    let too_long = "JobSet name is too long, job names generated for this JobSet will exceed 63 characters";
    for message in names::dns_1035_label(&job_name, too_long) {
        errors.push(FieldError::invalid_text(format!("{path}.name"), &job_name, message));
    }
    if let Some(pod_name) = longest_pod_name(jobset_name, replicated_job) {
        let too_long =
            "JobSet name is too long, pod names generated for this JobSet will exceed 63 characters";
        for message in names::dns_1035_label(&pod_name, too_long) {
            // The error shows the Job's name, because clients match it.
            errors.push(FieldError::invalid_text(format!("{path}.name"), &job_name, message));
        }
    }
}

/// A Job must never replace a pod that restarts in place, and never fail because of its restarts.
fn validate_in_place_restart(replicated_job: &ReplicatedJob, path: &str, errors: &mut Vec<FieldError>) {
    let name = &replicated_job.name;
    let job = replicated_job.template.spec.clone().unwrap_or_default();
    let path = format!("{path}.template.spec");
    if job.backoff_limit != Some(i32::MAX) {
        let detail = format!(
            "replicatedJob {name}: must be set to {} (MaxInt32) when in-place restart is enabled",
            i32::MAX
        );
        errors.push(FieldError::invalid(format!("{path}.backoffLimit"), &job.backoff_limit, detail));
    }
    if job.pod_replacement_policy.as_deref() != Some("Failed") {
        let detail = format!("replicatedJob {name}: must be set to Failed when in-place restart is enabled");
        let field = format!("{path}.podReplacementPolicy");
        errors.push(FieldError::invalid(field, &job.pod_replacement_policy, detail));
    }
    if job.completions.is_none() || job.completions != job.parallelism {
        let detail = format!(
            "replicatedJob {name}: completions and parallelism must be set and equal to each other when \
             in-place restart is enabled"
        );
        errors.push(FieldError::invalid(format!("{path}.completions"), &job.completions, detail));
    }
}
