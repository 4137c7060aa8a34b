//! Access to the entries of `status.replicatedJobsStatus`.

use jobset_api::{JobSet, ReplicatedJobStatus};

/// The entry of one ReplicatedJob.
pub(crate) fn find<'a>(entries: &'a [ReplicatedJobStatus], name: &str) -> Option<&'a ReplicatedJobStatus> {
    entries.iter().find(|entry| entry.name == name)
}

/// The number of Jobs that are ready or have ended.
pub(crate) fn started(entry: &ReplicatedJobStatus) -> i32 {
    entry.failed + entry.ready + entry.succeeded
}

/// The number of restarts of a single Job.
pub(crate) fn restarts_of(jobset: &JobSet, replicated_job: &str, index: i32) -> i32 {
    let entries = jobset.status.as_ref().map_or(&[][..], |status| &status.replicated_jobs_status);
    let restarts = find(entries, replicated_job).map(|entry| &entry.job_restarts);
    restarts.zip(usize::try_from(index).ok()).and_then(|(all, index)| all.get(index)).copied().unwrap_or(0)
}
