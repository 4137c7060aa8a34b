//! Validation of `spec.scheduling`. The CRD's schema has the rules that need no other field.
//!
//! | | |
//! |---|---|
//! | [`templates`] | what the templates of ReplicatedJobs cannot set beside it |
//! | [`targets`] | the entries of `replicatedJobs` and their targets |
//! | [`size`] | limits of numbers and names |
//! | [`one_scheduler`] | what all pods of a group must have in common |
//! | [`never_starts`] | gangs whose pods wait for each other |
//!
//! The rules of the JobSet API come first. The other rules deny JobSets that the API accepts, and whose pods Kubernetes
//! never starts. Each of them is a function that can be removed.

mod groups;
mod never_starts;
mod one_scheduler;
mod size;
mod targets;
mod templates;

use super::{FieldError, field_error::shown_list};
use crate::{conditions::is_true, defaulting, feature_gates::Gates};
use groups::groups;
use jobset_api::{JobSet, conditions as types, scheduling::Scheduling};

const FIELD: &str = "spec.scheduling";

/// Adds the errors of a new JobSet.
pub(super) fn validate_create(
    jobset: &JobSet,
    jobset_name: &str,
    gates: &Gates,
    errors: &mut Vec<FieldError>,
) {
    let Some(scheduling) = &jobset.spec.scheduling else { return };
    if !gates.workload_aware_scheduling {
        errors.push(FieldError::forbidden(
            FIELD,
            "cannot be set when JobSetWorkloadAwareSchedulingAPI feature gate is disabled",
        ));
        return;
    }
    if jobset.spec.replicated_jobs.is_empty() {
        errors.push(FieldError::invalid(
            "spec.replicatedJobs",
            &shown_list(&jobset.spec.replicated_jobs),
            "must contain at least one replicatedJob when scheduling is configured",
        ));
    }
    errors.extend(templates::own_scheduling(jobset));
    errors.extend(targets::untargeted(jobset, scheduling));
    errors.extend(targets::invalid(jobset, scheduling));
    let groups = groups(jobset, scheduling);
    errors.extend(size::min_count_above_parallelism(&groups));
    errors.extend(size::template_names(jobset, jobset_name, &groups));
    errors.extend(size::total_pods(&groups));
    errors.extend(one_scheduler::priority_within_group(&groups));

    // Rules of this project.
    errors.extend(size::min_count_above_completions(&groups));
    errors.extend(one_scheduler::priority_across_groups(&groups));
    errors.extend(one_scheduler::scheduler_name(&groups));
    errors.extend(one_scheduler::preemption_policy(&groups));
    errors.extend(never_starts::exclusive_placement(jobset, &groups));
    errors.extend(never_starts::startup_order(jobset, &groups));
}

/// Adds the errors of an update.
pub(super) fn validate_update(old: &JobSet, new: &JobSet, gates: &Gates, errors: &mut Vec<FieldError>) {
    let (before, after) = (defaulted(old), defaulted(new));
    match (&before, &after) {
        (Some(_), None) => errors.push(FieldError::forbidden(FIELD, "cannot be removed once set")),
        _ if before != after && !is_stopped(old, new) => {
            errors.push(FieldError::invalid_text(FIELD, "", "field is immutable"));
        }
        _ if before != after => {
            let name = new.metadata.name.as_deref().unwrap_or("");
            validate_create(new, name, gates, errors);
        }
        (_, Some(scheduling)) if gates.workload_aware_scheduling => {
            let before = errors_of_mutable_fields(old, scheduling, gates);
            let after = errors_of_mutable_fields(new, scheduling, gates).into_iter();
            errors.extend(after.filter(|error| !before.contains(error)));
        }
        _ => {}
    }
}

/// The errors of fields that can change while `spec.scheduling` does not.
fn errors_of_mutable_fields(jobset: &JobSet, scheduling: &Scheduling, gates: &Gates) -> Vec<FieldError> {
    let groups = groups(jobset, scheduling);
    let mut errors = Vec::new();
    if gates.elastic_jobset {
        errors.extend(size::min_count_above_parallelism(&groups));
    }
    errors.extend(never_starts::exclusive_placement(jobset, &groups));
    errors.extend(never_starts::startup_order(jobset, &groups));
    errors
}

fn defaulted(jobset: &JobSet) -> Option<Scheduling> {
    let mut scheduling = jobset.spec.scheduling.clone();
    scheduling.iter_mut().for_each(defaulting::fill_in_scheduling);
    scheduling
}

/// Whether the JobSet is suspended before and after the update, and the controller has observed it.
fn is_stopped(old: &JobSet, new: &JobSet) -> bool {
    let observed = old.status.as_ref().is_some_and(|status| is_true(&status.conditions, types::SUSPENDED));
    old.spec.is_suspended() && new.spec.is_suspended() && observed
}

/// The path of an entry of `replicatedJobs`.
fn entry_path(index: usize) -> String {
    format!("{FIELD}.replicatedJobs[{index}]")
}

/// The path of the pod spec of a ReplicatedJob.
fn pod_path(index: usize) -> String {
    format!("spec.replicatedJobs[{index}].template.spec.template.spec")
}
