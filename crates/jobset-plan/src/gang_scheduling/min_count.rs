//! minCount of a gang: the number of its pods that have not ended.
//!
//! The scheduler does not count finished pods (Kubernetes 1.37). If minCount stayed at the number of all pods, a pod
//! that replaces a failed one after another pod has succeeded would wait for pods that never come. The same is true for
//! a resumed Job with completed indexes, and for a restarted Job beside completed Jobs.
//!
//! minCount matters only to pods that wait for a node. So it may stay too high while all pods of the group run: a Job
//! whose pods succeed one after another then causes no write.

use super::groups::Group;
use crate::{
    buckets::Buckets,
    elastic,
    feature_gates::Gates,
    job_size::{JobSize, pods_of_template},
    snapshot::{JobRecord, LabelValue},
};
use jobset_api::{JobSet, jobset::ReplicatedJob};
use std::collections::HashMap;

/// The pods of a group that have not ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Remaining {
    /// Their number: those that exist, and those that the Job controller will create.
    pub(crate) pods: i64,
    /// Whether all of them run.
    pub(crate) all_run: bool,
}

impl Remaining {
    /// The minCount for the group, whose PodGroup has the minCount `current`.
    pub(crate) fn min_count(&self, group: &Group, current: Option<i32>) -> i32 {
        let pods = i32::try_from(self.pods).unwrap_or(i32::MAX);
        let wanted = group.explicit.map_or(pods, |explicit| explicit.min(pods)).max(1);
        current.filter(|current| self.all_run && *current > wanted).unwrap_or(wanted)
    }
}

/// The Jobs of the current attempt, by the name of their ReplicatedJob and their index.
pub(crate) struct JobsByPlace<'a> {
    active: HashMap<(&'a str, i32), &'a JobRecord>,
    successful: HashMap<(&'a str, i32), &'a JobRecord>,
}

impl<'a> JobsByPlace<'a> {
    pub(crate) fn of(jobs: &Buckets<'a>) -> Self {
        let by_place = |jobs: &[&'a JobRecord]| {
            let of = |job: &&'a JobRecord| match (&job.replicated_job, &job.job_index) {
                (Some(name), LabelValue::Number(index)) => Some(((name.as_str(), *index), *job)),
                _ => None,
            };
            jobs.iter().filter_map(of).collect()
        };
        Self { active: by_place(&jobs.active), successful: by_place(&jobs.successful) }
    }
}

/// Counts the remaining pods of a group. A Job that runs outside of the group does not count.
pub(crate) fn remaining(group: &Group, jobset: &JobSet, jobs: &JobsByPlace<'_>, gates: &Gates) -> Remaining {
    let mut remaining = Remaining { pods: 0, all_run: true };
    for replicated_job in &jobset.spec.replicated_jobs {
        for index in group.indices(replicated_job) {
            let place = (replicated_job.name.as_str(), index);
            if jobs.successful.get(&place).is_some_and(|job| !job.deleting) {
                continue;
            }
            match jobs.active.get(&place).filter(|job| !job.deleting) {
                Some(job) if job.pod_group.as_ref() == Some(&group.name) => {
                    let pods = pods_of_job(replicated_job, job, gates);
                    remaining.pods += i64::from(pods);
                    remaining.all_run &= job.active == pods && job.ready >= pods;
                }
                Some(job) if !job.suspended => {}
                // The controller creates it when its name is free.
                Some(_) | None => {
                    remaining.pods +=
                        i64::from(pods_of_template(replicated_job.template.spec.as_ref()).max(0));
                    remaining.all_run = false;
                }
            }
        }
    }
    remaining
}

/// The pods of a Job that have not ended and run at the same time.
fn pods_of_job(replicated_job: &ReplicatedJob, job: &JobRecord, gates: &Gates) -> i32 {
    let scaled = elastic::new_size(replicated_job, job, gates).filter(|_| !job.leader_first);
    let (parallelism, completions) = match scaled {
        Some(JobSize { parallelism, completions }) => (parallelism, Some(completions)),
        None => (job.parallelism, job.completions),
    };
    match completions {
        Some(completions) => {
            let left = completions.saturating_sub(job.succeeded).saturating_sub(job.failed_indexes);
            parallelism.min(left).max(0)
        }
        // Without completions, the Job controller creates no pod after one has succeeded.
        None if job.succeeded > 0 => job.active,
        None => parallelism,
    }
}
