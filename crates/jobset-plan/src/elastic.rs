//! Elastic JobSets (feature gate ElasticJobSet): `parallelism` and `completions` of running Jobs follow the template.

use crate::{draft::Draft, feature_gates::Gates, job_size::JobSize, plan::Action, snapshot::JobRecord};
use jobset_api::{JobSet, jobset::ReplicatedJob};

/// Scales Jobs to the size of their template. A Job that the same plan resumes gets its size with the resume, and a Job
/// that the same plan suspends gets it later: two requests at once would conflict.
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

/// The new size of a Job, if its template asks for another one. An absent number means what it means when a Job is
/// created (Kubernetes, batch/v1 defaults): parallelism 1, and completions 1 if both are absent.
///
/// Not every size can be reached: the template must not give two different numbers, and the API server changes
/// completions only to the value of parallelism.
pub(crate) fn new_size(template: &ReplicatedJob, job: &JobRecord, gates: &Gates) -> Option<JobSize> {
    let spec = template.template.spec.as_ref().filter(|_| gates.elastic_jobset)?;
    let (parallelism, completions) = match (spec.parallelism, spec.completions) {
        (None, None) => (1, 1),
        (None, Some(completions)) => (1, completions),
        // A Job without completions cannot become one with them, nor lose them.
        (Some(_), None) => return None,
        (Some(parallelism), Some(completions)) if parallelism != completions => return None,
        (Some(parallelism), Some(completions)) => (parallelism, completions),
    };
    let differs = (job.parallelism, job.completions) != (parallelism, Some(completions));
    let is_reachable = parallelism == completions || job.completions == Some(completions);
    (differs && is_reachable).then_some(JobSize { parallelism, completions })
}
