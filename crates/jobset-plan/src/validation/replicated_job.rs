//! What several rules ask of a ReplicatedJob: whether its pods are indexed, and how long names will be.

use super::names;
use jobset_api::{JobSet, jobset::ReplicatedJob};
use k8s_openapi::api::batch::v1::JobSpec;

/// Names of pods end in a dash and five random characters (Kubernetes).
const POD_SUFFIX: &str = "-abcde";

/// The JobSet's name, or one of the length that its generated name will have.
pub(super) fn jobset_name(jobset: &JobSet) -> String {
    names::name_or_generated(jobset.metadata.name.as_deref(), jobset.metadata.generate_name.as_deref())
}

/// Whether pods of the Job have an index.
pub(super) fn is_indexed(job: Option<&JobSpec>) -> bool {
    job.and_then(|job| job.completion_mode.as_deref()) == Some("Indexed")
}

/// The longest name that a Job of this ReplicatedJob gets: that of the last index.
pub(super) fn longest_job_name(jobset: &str, replicated_job: &ReplicatedJob) -> String {
    let last = i64::from(replicated_job.replicas) - 1;
    format!("{jobset}-{}-{last}", replicated_job.name)
}

/// The longest name that a pod of this ReplicatedJob gets, if its pods have an index and a number.
pub(super) fn longest_pod_name(jobset: &str, replicated_job: &ReplicatedJob) -> Option<String> {
    let job = replicated_job.template.spec.as_ref();
    let last = i64::from(job.filter(|job| is_indexed(Some(job)))?.completions?) - 1;
    Some(format!("{}-{last}{POD_SUFFIX}", longest_job_name(jobset, replicated_job)))
}
