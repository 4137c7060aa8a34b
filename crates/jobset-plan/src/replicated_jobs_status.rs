//! `status.replicatedJobsStatus`: counts of Jobs for each ReplicatedJob.

use crate::{buckets::Buckets, snapshot::JobRecord};
use jobset_api::{JobSet, ReplicatedJobStatus};
use std::collections::BTreeMap;

/// Counts the Jobs of the current attempt, one entry per ReplicatedJob, names descending.
pub(crate) fn count(jobset: &JobSet, jobs: &Buckets<'_>) -> Vec<ReplicatedJobStatus> {
    let mut counts: BTreeMap<&str, ReplicatedJobStatus> = jobset
        .spec
        .replicated_jobs
        .iter()
        .map(|rj| (rj.name.as_str(), ReplicatedJobStatus { name: rj.name.clone(), ..Default::default() }))
        .collect();
    // Jobs of no known ReplicatedJob count nowhere.
    let mut count = |jobs: &[&JobRecord], add: fn(&mut ReplicatedJobStatus, &JobRecord)| {
        for job in jobs {
            if let Some(status) = job.replicated_job.as_deref().and_then(|name| counts.get_mut(name)) {
                add(status, job);
            }
        }
    };
    count(&jobs.successful, |status, _| status.succeeded += 1);
    count(&jobs.failed, |status, _| status.failed += 1);
    count(&jobs.active, |status, job| {
        status.ready += i32::from(is_ready(job));
        status.active += i32::from(job.active > 0);
        status.suspended += i32::from(job.suspended);
    });
    counts.into_values().rev().collect()
}

/// A Job is ready when as many pods are ready, or have succeeded, as it wants to run at once.
fn is_ready(job: &JobRecord) -> bool {
    let wanted = job.completions.map_or(job.parallelism, |completions| completions.min(job.parallelism));
    job.succeeded.saturating_add(job.ready) >= wanted
}
