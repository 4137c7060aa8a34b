//! Elastic JobSets (feature gate ElasticJobSet): `parallelism` and `completions` of running Jobs follow the
//! template, together.

use crate::{
    Gates,
    plan::{Action, Draft},
    snapshot::JobRecord,
};
use jobset_api::{JobSet, jobset::ReplicatedJob};

/// How many pods a Job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobSize {
    /// `spec.parallelism`.
    pub parallelism: i32,
    /// `spec.completions`.
    pub completions: i32,
}

/// Brings Jobs to the size of their template. A Job that is resumed gets it with that; one that is suspended gets it
/// afterwards: two requests at once would find each other's change.
pub(crate) fn scale(jobset: &JobSet, active: &[&JobRecord], gates: &Gates, draft: &mut Draft<'_>) {
    for job in active.iter().filter(|job| !job.deleting) {
        let template =
            jobset.spec.replicated_jobs.iter().find(|rj| Some(&rj.name) == job.replicated_job.as_ref());
        if let Some(size) = template.and_then(|template| new_size(template, job, gates))
            && !draft.changes(job)
        {
            draft.actions.push(Action::ScaleJob { name: job.name.clone(), uid: job.uid.clone(), size });
        }
    }
}

/// The size that a Job should have and does not, where its template gives both numbers and they are equal.
pub(crate) fn new_size(template: &ReplicatedJob, job: &JobRecord, gates: &Gates) -> Option<JobSize> {
    let spec = template.template.spec.as_ref().filter(|_| gates.elastic_jobset)?;
    let size = JobSize { parallelism: spec.parallelism?, completions: spec.completions? };
    let has = (job.parallelism, job.completions);
    let differs = has != (size.parallelism, Some(size.completions));
    (size.parallelism == size.completions && differs).then_some(size)
}
