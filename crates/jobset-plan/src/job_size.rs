//! The size of a Job.

use k8s_openapi::api::batch::v1::JobSpec;

/// The number of pods of a Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobSize {
    /// `spec.parallelism`.
    pub parallelism: i32,
    /// `spec.completions`.
    pub completions: i32,
}

/// The number of pods of a Job that run at the same time.
pub(crate) fn pods_at_once(parallelism: i32, completions: Option<i32>) -> i32 {
    completions.map_or(parallelism, |completions| completions.min(parallelism))
}

/// The number of pods of a new Job that run at the same time. Absent numbers have the defaults of Kubernetes.
pub(crate) fn pods_of_template(job: Option<&JobSpec>) -> i32 {
    let parallelism = job.and_then(|job| job.parallelism).unwrap_or(1);
    pods_at_once(parallelism, job.and_then(|job| job.completions))
}

/// Whether the pods of a Job have indices.
pub(crate) fn is_indexed(job: &JobSpec) -> bool {
    job.completion_mode.as_deref() == Some("Indexed")
}
