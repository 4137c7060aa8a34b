//! `status.replicatedJobsStatus`: counts of Jobs for each ReplicatedJob.

use crate::{
    buckets::Buckets, feature_gates::Gates, job_size::pods_at_once, leader_first, snapshot::JobRecord,
    status_entries,
};
use jobset_api::{JobSet, ReplicatedJobStatus};
use std::collections::BTreeMap;

/// Counts the Jobs of the current attempt, one entry per ReplicatedJob, names descending. With the feature gate
/// RestartJob, the entries keep the restarts of single Jobs.
pub(crate) fn count(jobset: &JobSet, jobs: &Buckets<'_>, gates: &Gates) -> Vec<ReplicatedJobStatus> {
    let stored = jobset.status.as_ref().filter(|_| gates.restart_job);
    let fresh = |name: &str| {
        let stored = stored.and_then(|status| status_entries::find(&status.replicated_jobs_status, name));
        ReplicatedJobStatus {
            name: name.to_owned(),
            job_restarts: stored.map(|stored| stored.job_restarts.clone()).unwrap_or_default(),
            job_restarts_count_towards_max: stored
                .map(|stored| stored.job_restarts_count_towards_max.clone())
                .unwrap_or_default(),
            ..Default::default()
        }
    };
    let mut counts: BTreeMap<&str, ReplicatedJobStatus> =
        jobset.spec.replicated_jobs.iter().map(|rj| (rj.name.as_str(), fresh(&rj.name))).collect();
    // Jobs of an unknown ReplicatedJob are not counted.
    let mut count = |jobs: &[&JobRecord], add: &dyn Fn(&mut ReplicatedJobStatus, &JobRecord)| {
        for job in jobs {
            if let Some(status) = job.replicated_job.as_deref().and_then(|name| counts.get_mut(name)) {
                add(status, job);
            }
        }
    };
    count(&jobs.successful, &|status, _| status.succeeded += 1);
    count(&jobs.failed, &|status, _| status.failed += 1);
    count(&jobs.active, &|status, job| {
        status.ready += i32::from(is_ready(jobset, job));
        status.active += i32::from(job.active > 0);
        status.suspended += i32::from(job.suspended);
    });
    counts.into_values().rev().collect()
}

/// A Job is ready when the number of its ready and succeeded pods reaches its parallelism, or its completions if they
/// are lower.
fn is_ready(jobset: &JobSet, job: &JobRecord) -> bool {
    let wanted = pods_at_once(leader_first::full_parallelism(jobset, job), job.completions);
    job.succeeded.saturating_add(job.ready) >= wanted
}
