//! Validation of `spec.coordinator`. A problem is an error at creation and a warning after an update.

use super::{field_error::quote, names};
use crate::job_size::is_indexed;
use jobset_api::{JobSet, jobset::Coordinator, labels};

/// The first reason why the coordinator does not name a pod of the JobSet.
pub(super) fn fault(coordinator: &Coordinator, jobset: &JobSet) -> Option<String> {
    let Coordinator { replicated_job: name, job_index, pod_index } = coordinator;
    let Some(replicated_job) = jobset.spec.replicated_jobs.iter().find(|job| job.name == *name) else {
        return Some(format!("coordinator replicatedJob {name} does not exist"));
    };
    if !(0..i64::from(replicated_job.replicas)).contains(job_index) {
        return Some(format!("coordinator job index {job_index} is invalid for replicatedJob {name}"));
    }
    let job = replicated_job.template.spec.as_ref();
    let Some(completions) = job.filter(|job| is_indexed(job)).and_then(|job| job.completions) else {
        return Some(
            "job for coordinator pod must be indexed completion mode, and completions number must be set"
                .to_owned(),
        );
    };
    if !(0..i64::from(completions)).contains(pod_index) {
        return Some(format!(
            "coordinator pod index {pod_index} is invalid for replicatedJob {name} job index {job_index}"
        ));
    }
    None
}

/// Why the coordinator's host name is not a valid label value. Every Job and pod has it as a label.
pub(super) fn label_fault(coordinator: &Coordinator, jobset: &JobSet, jobset_name: &str) -> Option<String> {
    let subdomain = jobset.spec.network.as_ref().and_then(|network| network.subdomain.as_deref());
    let subdomain = subdomain.filter(|name| !name.is_empty()).unwrap_or(jobset_name);
    let Coordinator { replicated_job, job_index, pod_index } = coordinator;
    let value = format!("{jobset_name}-{replicated_job}-{job_index}-{pod_index}.{subdomain}");
    let messages = names::label_value(&value);
    (!messages.is_empty()).then(|| {
        format!(
            "spec will lead to invalid label value {} for coordinator label {} (long JobSet / ReplicatedJob / \
             SubDomain name?): {}",
            quote(&value),
            quote(labels::COORDINATOR),
            messages.join(", ")
        )
    })
}
