//! `replicatedJobs[].dependsOn`: what must be reached before Jobs are created or resumed.

use crate::replicated_jobs_status;
use jobset_api::{
    JobSet, JobSetStatus,
    jobset::{DependsOnStatus, ReplicatedJob},
};

/// Whether everything that `replicated_job` depends on is reached; if not, what is missing.
pub(crate) fn is_met(
    jobset: &JobSet,
    replicated_job: &ReplicatedJob,
    status: &JobSetStatus,
) -> Result<(), String> {
    for dependency in replicated_job.depends_on.iter().flatten() {
        let name = &dependency.name;
        let wait = |why: String| {
            Err(format!("replicatedJob {} waits for replicatedJob {name} {why}", replicated_job.name))
        };
        let before = jobset.spec.replicated_jobs.iter().find(|rj| rj.name == *name);
        let counts = replicated_jobs_status::find(&status.replicated_jobs_status, name);
        let (Some(before), Some(counts)) = (before, counts) else {
            return wait("which does not exist".to_owned());
        };
        let replicas = before.replicas;
        let (known, reached) = match dependency.status {
            DependsOnStatus::Complete => (true, counts.succeeded),
            DependsOnStatus::Ready => (true, replicated_jobs_status::started(counts)),
            DependsOnStatus::Unknown(_) => (false, 0),
        };
        if !known || reached != replicas {
            return wait(format!("to be {}: {reached} of {replicas}", dependency.status));
        }
    }
    Ok(())
}
