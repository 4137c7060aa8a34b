//! `replicatedJobs[].dependsOn`: the state that other ReplicatedJobs must reach before the controller creates or
//! resumes Jobs.

use crate::status_entries;
use jobset_api::{
    JobSet, JobSetStatus,
    jobset::{DependsOnStatus, ReplicatedJob},
};

/// Checks that every dependency of `replicated_job` is met. The error names the first unmet dependency.
pub(crate) fn is_met(
    jobset: &JobSet,
    replicated_job: &ReplicatedJob,
    status: &JobSetStatus,
) -> Result<(), String> {
    for dependency in replicated_job.depends_on.iter().flatten() {
        let name = &dependency.name;
        let wait = |why: String| {
            Err(format!("replicatedJob {} waits for replicatedJob {name}{why}", replicated_job.name))
        };
        let before = jobset.spec.replicated_jobs.iter().find(|rj| rj.name == *name);
        let counts = status_entries::find(&status.replicated_jobs_status, name);
        let (Some(before), Some(counts)) = (before, counts) else {
            return wait(", which does not exist".to_owned());
        };
        let replicas = before.replicas;
        let (known, reached) = match dependency.status {
            DependsOnStatus::Complete => (true, counts.succeeded),
            DependsOnStatus::Ready => (true, status_entries::started(counts)),
            DependsOnStatus::Unknown(_) => (false, 0),
        };
        if !known || reached != replicas {
            return wait(format!(" to be {}: {reached} of {replicas}", dependency.status));
        }
    }
    Ok(())
}
