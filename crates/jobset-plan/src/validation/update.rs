//! Validation of a change. What a JobSet runs is fixed once it exists, except for what a queueing system must
//! set before pods start, and for the size of Jobs that can grow and shrink.
//!
//! Old and new are compared with their defaults: a JobSet that was created while no webhook ran lacks them, and a
//! default that is written down is no change.

use super::{FieldError, field_error::shown_list, replicated_job::is_indexed, semantic_equality};
use crate::{Gates, conditions, defaulting};
use jobset_api::{JobSet, jobset::ReplicatedJob, labels};
use k8s_openapi::api::batch::v1::JobSpec;
use std::collections::BTreeMap;

/// Every error of a change from `old` to `new`. The other rules of immutability are transition rules of the
/// CRD, which the API server holds.
pub fn validate_update(old: &JobSet, new: &JobSet, gates: &Gates) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let before = Before::of(old);
    // What may change is set back to what it was; whatever differs then may not.
    let mut masked = defaulted(&new.spec.replicated_jobs);

    if gates.elastic_jobset {
        let finished = is_finished(old);
        for (index, job) in masked.iter_mut().enumerate() {
            let Some(before) = before.get(index, &job.name) else { continue };
            if is_indexed(job.template.spec.as_ref()) {
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
            }
        }
    }
    if !semantic_equality::replicated_jobs_are_equal(&masked, &defaulted(&old.spec.replicated_jobs)) {
        errors.push(immutable("spec.replicatedJobs", &shown_list(&masked)));
    }
    if manager(new) != manager(old) {
        errors.push(immutable("spec.managedBy", &new.spec.managed_by));
    }
    errors
}

fn defaulted(replicated_jobs: &[ReplicatedJob]) -> Vec<ReplicatedJob> {
    let mut replicated_jobs = replicated_jobs.to_vec();
    replicated_jobs.iter_mut().for_each(defaulting::fill_in);
    replicated_jobs
}

/// The controller that manages the JobSet. To name the built-in one means the same as to name none.
fn manager(jobset: &JobSet) -> &str {
    jobset.spec.managed_by.as_deref().unwrap_or(labels::MANAGED_BY_JOBSET_CONTROLLER)
}

/// The ReplicatedJobs before the change.
struct Before<'a> {
    list: &'a [ReplicatedJob],
    by_name: BTreeMap<&'a str, &'a ReplicatedJob>,
}

impl<'a> Before<'a> {
    fn of(old: &'a JobSet) -> Self {
        let list = &old.spec.replicated_jobs;
        Self { list, by_name: list.iter().map(|job| (job.name.as_str(), job)).collect() }
    }

    /// What a ReplicatedJob was. Names are unique where the CRD's schema holds; where one repeats all the same,
    /// the place in the list decides, so that an object never conflicts with itself.
    fn get(&self, index: usize, name: &str) -> Option<&'a ReplicatedJob> {
        let in_place = self.list.get(index).filter(|job| job.name == name);
        in_place.or_else(|| self.by_name.get(name).copied())
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

/// A Job may change its size while the JobSet runs; parallelism and completions go together.
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

/// What decides where the pods of a suspended JobSet will run: Kueue sets it when it admits the JobSet, and
/// sets it back when it evicts it.
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
