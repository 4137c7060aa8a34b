//! Warnings about valid specs that cause problems. Clients print the warnings, and no request fails because of them.

use super::{coordinator, field_error::quote, in_place_warnings, names, replicated_job};
use crate::{
    job_size,
    message_patterns::{self, MAX_PATTERNS},
    placement,
};
use jobset_api::{JobSet, jobset::ReplicatedJob, labels};

/// Label that assigns a JobSet to a queue of Kueue.
const KUEUE_QUEUE_NAME: &str = "kueue.x-k8s.io/queue-name";
/// The maximum number of pod sets in a Workload of Kueue. Each ReplicatedJob becomes one pod set.
const KUEUE_POD_SETS_MAX: usize = 8;
/// The number of characters that names should leave free. Indices get longer if a JobSet grows, and names get longer in
/// copies of it.
const MIN_FREE_CHARACTERS: usize = 10;
/// The number of patterns that admission checks. The limit bounds the time that the client waits.
const MAX_CHECKED_PATTERNS: usize = 200;
/// Maximum length of a warning, in characters. The API server can truncate longer warnings.
const WARNING_MAX: usize = 256;

/// Warnings about a valid new or changed JobSet, after defaulting. Each names the field and a remedy.
pub fn warnings(jobset: &JobSet) -> Vec<String> {
    let mut warnings = Vec::new();
    let name = replicated_job::jobset_name(jobset);
    for (index, replicated_job) in jobset.spec.replicated_jobs.iter().enumerate() {
        let path = format!("spec.replicatedJobs[{index}]");
        warnings.extend(unschedulable_placement(jobset, replicated_job, &path));
        warnings.extend(self_dependency(replicated_job, &path));
        warnings.extend(ineffective_scheduling(jobset, replicated_job, &path));
        warnings.extend(names_near_the_limit(&name, replicated_job, &path));
        warnings.extend(in_place_warnings::of_template(jobset, replicated_job, &path));
    }
    warnings.extend(too_many_pod_sets(jobset));
    warnings.extend(invalid_patterns(jobset));
    warnings.extend(invalid_coordinator(jobset, &name));
    warnings.extend(in_place_warnings::of_order(jobset));
    warnings.into_iter().map(as_header).collect()
}

/// Makes a warning valid as an HTTP header.
pub(super) fn as_header(mut warning: String) -> String {
    warning.retain(|c| !c.is_control());
    if let Some((end, _)) = warning.char_indices().nth(WARNING_MAX) {
        warning.truncate(end);
    }
    warning
}

/// With exclusive placement, pods follow the pod of index 0. Without indices, there is no such pod.
fn unschedulable_placement(jobset: &JobSet, replicated_job: &ReplicatedJob, path: &str) -> Option<String> {
    let placement = placement::annotations(jobset, replicated_job);
    let is_indexed = replicated_job.template.spec.as_ref().is_some_and(job_size::is_indexed);
    if !placement::follows_leader(&placement) || is_indexed {
        return None;
    }
    let mode = replicated_job.template.spec.as_ref().and_then(|spec| spec.completion_mode.as_deref());
    Some(format!(
        "{path}.template.spec.completionMode: {}: with annotation {}, no pod of this Job is ever created; set \
         Indexed, or remove the annotation",
        shown(mode.unwrap_or("NonIndexed")),
        labels::EXCLUSIVE_TOPOLOGY
    ))
}

fn self_dependency(replicated_job: &ReplicatedJob, path: &str) -> Option<String> {
    let mut dependencies = replicated_job.depends_on.iter().flatten();
    let index = dependencies.position(|dependency| dependency.name == replicated_job.name)?;
    Some(format!(
        "{path}.dependsOn[{index}].name: {} waits for itself and will never start; name an earlier replicatedJob, \
         or remove the entry",
        shown(&replicated_job.name)
    ))
}

/// The Job controller creates no PodGroup for a Job of a JobSet (Kubernetes 1.37).
fn ineffective_scheduling(jobset: &JobSet, replicated_job: &ReplicatedJob, path: &str) -> Option<String> {
    let is_set = replicated_job.template.spec.as_ref().is_some_and(|job| job.scheduling.is_some());
    (is_set && jobset.spec.scheduling.is_none()).then(|| {
        format!(
            "{path}.template.spec.scheduling: Kubernetes ignores this field in a Job of a JobSet; set spec.scheduling of \
             the JobSet, which needs the feature gate JobSetWorkloadAwareSchedulingAPI, or remove the field"
        )
    })
}

/// Names of pods and Jobs are host names of at most 63 characters. They cannot change later.
fn names_near_the_limit(jobset_name: &str, replicated_job: &ReplicatedJob, path: &str) -> Option<String> {
    let (what, name) = match replicated_job::longest_pod_name(jobset_name, replicated_job) {
        Some(name) => ("pods", name),
        None => ("Jobs", replicated_job::longest_job_name(jobset_name, replicated_job)),
    };
    let free = names::LABEL_MAX.checked_sub(name.len()).filter(|free| *free < MIN_FREE_CHARACTERS)?;
    Some(format!(
        "{path}.name: names of its {what} leave {free} of {} characters for growth; shorten metadata.name or \
         {path}.name to leave {MIN_FREE_CHARACTERS}",
        names::LABEL_MAX
    ))
}

fn too_many_pod_sets(jobset: &JobSet) -> Option<String> {
    let count = jobset.spec.replicated_jobs.len();
    let queued = jobset.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(KUEUE_QUEUE_NAME));
    (queued && count > KUEUE_POD_SETS_MAX).then(|| {
        format!(
            "spec.replicatedJobs: Kueue admits at most {KUEUE_POD_SETS_MAX} replicatedJobs and this JobSet has \
             {count}; merge some, or remove the label {KUEUE_QUEUE_NAME}"
        )
    })
}

fn invalid_patterns(jobset: &JobSet) -> Vec<String> {
    let rules = jobset.spec.failure_policy.iter().flat_map(|policy| &policy.rules).enumerate();
    let all = rules.flat_map(|(rule, spec)| {
        spec.on_job_failure_message_patterns
            .iter()
            .enumerate()
            .map(move |(index, pattern)| (rule, index, pattern))
    });
    let field =
        |rule, index| format!("spec.failurePolicy.rules[{rule}].onJobFailureMessagePatterns[{index}]");
    let invalid =
        all.clone().take(MAX_CHECKED_PATTERNS).filter(|(.., pattern)| !message_patterns::is_valid(pattern));
    let invalid = invalid.map(|(rule, index, pattern)| {
        format!(
            "{}: {} is not a regular expression and will never match; correct it (RE2 syntax) or remove \
             it",
            field(rule, index),
            shown(pattern)
        )
    });
    let beyond = all.clone().nth(MAX_PATTERNS).map(|(rule, index, _)| {
        format!(
            "{}: only the first {MAX_PATTERNS} patterns of a JobSet are used; this one and those after it \
             never match; merge some with |",
            field(rule, index)
        )
    });
    invalid.chain(beyond).collect()
}

/// An update can remove the pod that the coordinator names. Creation rejects such a JobSet.
fn invalid_coordinator(jobset: &JobSet, name: &str) -> Option<String> {
    let coordinator = jobset.spec.coordinator.as_ref()?;
    let fault = coordinator::fault(coordinator, jobset)
        .or_else(|| coordinator::label_fault(coordinator, jobset, name))?;
    Some(format!("spec.coordinator: name a pod that exists, or remove it: {fault}"))
}

/// A value in quotes, truncated if it is long.
pub(super) fn shown(text: &str) -> String {
    let end = text.char_indices().nth(40).map_or(text.len(), |(end, _)| end);
    let quoted = quote(text.get(..end).unwrap_or(text));
    if end < text.len() { format!("{quoted}...") } else { quoted }
}
