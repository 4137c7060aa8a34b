//! Properties of a ReplicatedJob that several rules use: the length of names.

use super::names;
use crate::job_size::is_indexed;
use jobset_api::{JobSet, jobset::ReplicatedJob};

/// Suffix of pod names: a dash and five random characters (Kubernetes).
const POD_SUFFIX: &str = "-abcde";

/// The JobSet's name, or a name with the length that the API server will generate.
pub(super) fn jobset_name(jobset: &JobSet) -> String {
    names::name_or_generated(jobset.metadata.name.as_deref(), jobset.metadata.generate_name.as_deref())
}

/// The longest Job name of this ReplicatedJob, which is the name of the last Job.
pub(super) fn longest_job_name(jobset: &str, replicated_job: &ReplicatedJob) -> String {
    let last = i64::from(replicated_job.replicas) - 1;
    format!("{jobset}-{}-{last}", replicated_job.name)
}

/// The longest pod name of this ReplicatedJob, if its pods are indexed and completions are set.
pub(super) fn longest_pod_name(jobset: &str, replicated_job: &ReplicatedJob) -> Option<String> {
    let job = replicated_job.template.spec.as_ref();
    let last = i64::from(job.filter(|job| is_indexed(job))?.completions?) - 1;
    Some(format!("{}-{last}{POD_SUFFIX}", longest_job_name(jobset, replicated_job)))
}
