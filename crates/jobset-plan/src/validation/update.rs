//! Validation of an update. The Jobs of a JobSet are immutable, except for the fields that a queueing system must set
//! before pods start, and for the size of elastic Jobs.
//!
//! Validation compares old and new with their defaults. A JobSet that was created while no webhook ran lacks them, and
//! an explicit default is no change.

use super::{FieldError, active_deadline, field_error::shown_list, scheduling, semantic_equality};
use crate::job_size::is_indexed;
use crate::{Gates, PodResources, conditions, defaulting};
use jobset_api::{JobSet, jobset::ReplicatedJob};
use k8s_openapi::api::batch::v1::JobSpec;
use std::collections::BTreeMap;

/// Returns all errors of an update from `old` to `new`. The other immutability rules are transition rules of the CRD,
/// which the API server enforces.
pub fn validate_update(old: &JobSet, new: &JobSet, gates: &Gates) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let before = Before::of(old);
    // Mutable fields get their old value. Any remaining difference is an error.
    let mut masked = defaulted(&new.spec.replicated_jobs);

    if gates.elastic_jobset {
        let finished = is_finished(old);
        for (index, job) in masked.iter_mut().enumerate() {
            let Some(before) = before.get(index, &job.name) else { continue };
            if job.template.spec.as_ref().is_some_and(is_indexed) {
                let path = format!("spec.replicatedJobs[{index}].template.spec");
                validate_size(before, job, finished, &path, &mut errors);
                mask_size(job, before);
            }
        }
    }
    if old.spec.is_suspended() || new.spec.is_suspended() {
        for (index, job) in masked.iter_mut().enumerate() {
            if let Some(before) = before.get(index, &job.name) {
                mask_scheduling(job, before);
                if gates.mutable_pod_resources {
                    mask_resources(job, before);
                }
            }
        }
    }
    if !semantic_equality::replicated_jobs_are_equal(&masked, &defaulted(&old.spec.replicated_jobs)) {
        errors.push(immutable("spec.replicatedJobs", &shown_list(&masked)));
    }
    if new.spec.managed_by != old.spec.managed_by {
        errors.push(immutable("spec.managedBy", &new.spec.managed_by));
    }
    scheduling::validate_update(old, new, gates, &mut errors);
    let deadline = (old.spec.active_deadline_seconds, new.spec.active_deadline_seconds);
    errors.extend(active_deadline::validate(deadline.0, deadline.1, gates));
    errors
}

fn defaulted(replicated_jobs: &[ReplicatedJob]) -> Vec<ReplicatedJob> {
    let mut replicated_jobs = replicated_jobs.to_vec();
    replicated_jobs.iter_mut().for_each(defaulting::fill_in);
    replicated_jobs
}

/// The ReplicatedJobs before the update.
struct Before<'a> {
    list: &'a [ReplicatedJob],
    by_name: BTreeMap<&'a str, &'a ReplicatedJob>,
}

impl<'a> Before<'a> {
    fn of(old: &'a JobSet) -> Self {
        let list = &old.spec.replicated_jobs;
        Self { list, by_name: list.iter().map(|job| (job.name.as_str(), job)).collect() }
    }

    /// A ReplicatedJob before the update. The CRD's schema makes names unique. If a name repeats anyway, the index in
    /// the list decides, so that an object never conflicts with itself.
    fn get(&self, index: usize, name: &str) -> Option<&'a ReplicatedJob> {
        let same_index = self.list.get(index).filter(|job| job.name == name);
        same_index.or_else(|| self.by_name.get(name).copied())
    }
}

fn immutable<T: serde::Serialize + ?Sized>(field: &str, value: &T) -> FieldError {
    FieldError::invalid(field, value, "field is immutable")
}

fn is_finished(jobset: &JobSet) -> bool {
    jobset.status.as_ref().is_some_and(|status| conditions::finished(&status.conditions).is_some())
}

/// Parallelism and completions.
fn size(job: &ReplicatedJob) -> (Option<i32>, Option<i32>) {
    job.template.spec.as_ref().map_or((None, None), |job| (job.parallelism, job.completions))
}

/// The size of a Job can change while the JobSet runs. Parallelism and completions must be equal.
fn validate_size(
    before: &ReplicatedJob,
    job: &ReplicatedJob,
    finished: bool,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let (parallelism, completions) = size(job);
    let (parallelism_before, completions_before) = size(before);
    if (parallelism, completions) == (parallelism_before, completions_before) {
        return;
    }
    if finished {
        errors.push(FieldError::forbidden(
            path,
            "Cannot mutate parallelism or completions when JobSet is in a terminal state (Completed or Failed)",
        ));
        return;
    }
    let changed_to = |now: Option<i32>, before: Option<i32>| now.filter(|_| now != before);
    if let Some(value) = changed_to(parallelism, parallelism_before).filter(|value| *value < 1) {
        errors.push(FieldError::invalid(format!("{path}.parallelism"), &value, "parallelism must be >= 1"));
    }
    let field = format!("{path}.completions");
    if let Some(value) = changed_to(completions, completions_before).filter(|value| *value < 1) {
        errors.push(FieldError::invalid(&field, &value, "completions must be >= 1"));
    }
    if let (Some(parallelism), Some(completions)) = (parallelism, completions)
        && parallelism != completions
    {
        let detail = "completions must be equal to parallelism for Elastic Indexed Jobs";
        errors.push(FieldError::invalid(field, &completions, detail));
    }
}

fn mask_size(job: &mut ReplicatedJob, before: &ReplicatedJob) {
    let (parallelism, completions) = size(before);
    let job = job.template.spec.get_or_insert_default();
    job.parallelism = parallelism;
    job.completions = completions;
}

/// Masks the fields that determine where the pods of a suspended JobSet run. Kueue sets them when it admits the JobSet,
/// and resets them when it evicts the JobSet.
fn mask_scheduling(job: &mut ReplicatedJob, before: &ReplicatedJob) {
    let none = JobSpec::default();
    let before = &before.template.spec.as_ref().unwrap_or(&none).template;
    let pod = &mut job.template.spec.get_or_insert_default().template;

    let metadata = pod.metadata.get_or_insert_default();
    metadata.annotations = before.metadata.as_ref().and_then(|metadata| metadata.annotations.clone());
    metadata.labels = before.metadata.as_ref().and_then(|metadata| metadata.labels.clone());

    let spec = pod.spec.get_or_insert_default();
    spec.node_selector = before.spec.as_ref().and_then(|spec| spec.node_selector.clone());
    spec.tolerations = before.spec.as_ref().and_then(|spec| spec.tolerations.clone());
    spec.scheduling_gates = before.spec.as_ref().and_then(|spec| spec.scheduling_gates.clone());
}

/// Masks the requests and limits of containers. A queueing system can change them before it admits the JobSet.
fn mask_resources(job: &mut ReplicatedJob, before: &ReplicatedJob) {
    let before = before.template.spec.as_ref().and_then(|job| job.template.spec.as_ref());
    let pod = job.template.spec.as_mut().and_then(|job| job.template.spec.as_mut());
    if let (Some(before), Some(pod)) = (before, pod) {
        PodResources::of(before).set_in(pod);
    }
}
