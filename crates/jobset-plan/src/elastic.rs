//! Elastic JobSets (feature gate ElasticJobSet): `parallelism` and `completions` of running Jobs follow the template.

use crate::{draft::Draft, feature_gates::Gates, job_size::JobSize, plan::Action, snapshot::JobRecord};
use jobset_api::{JobSet, jobset::ReplicatedJob};

/// Scales Jobs to the size of their template. If the same plan resumes a Job, the resume sets the size. If the same
/// plan suspends a Job, a later plan sets the size. Two concurrent requests would conflict.
pub(crate) fn scale(jobset: &JobSet, active: &[&JobRecord], gates: &Gates, draft: &mut Draft<'_>) {
    if !gates.elastic_jobset {
        return;
    }
    let changed = draft.changed_jobs();
    let is_free = |job: &&&JobRecord| !job.leader_first && !job.deleting && !changed.contains(&job.uid);
    for job in active.iter().filter(is_free) {
        let template =
            jobset.spec.replicated_jobs.iter().find(|rj| Some(&rj.name) == job.replicated_job.as_ref());
        if let Some(size) = template.and_then(|template| new_size(template, job, gates)) {
            draft.actions.push(Action::ScaleJob { name: job.name.clone(), uid: job.uid.clone(), size });
        }
    }
}

/// The new size of a Job, if its template has another size. Absent numbers have the batch/v1 defaults of Kubernetes:
/// parallelism 1, and completions 1 if both are absent.
///
/// Some sizes cannot be reached: the template must not contain two different numbers, and the API server changes
/// completions only to the value of parallelism.
pub(crate) fn new_size(template: &ReplicatedJob, job: &JobRecord, gates: &Gates) -> Option<JobSize> {
    let spec = template.template.spec.as_ref().filter(|_| gates.elastic_jobset)?;
    let (parallelism, completions) = match (spec.parallelism, spec.completions) {
        (None, None) => (1, 1),
        (None, Some(completions)) => (1, completions),
        // The API server neither adds completions to a Job nor removes them.
        (Some(_), None) => return None,
        (Some(parallelism), Some(completions)) if parallelism != completions => return None,
        (Some(parallelism), Some(completions)) => (parallelism, completions),
    };
    let differs = (job.parallelism, job.completions) != (parallelism, Some(completions));
    let is_reachable = parallelism == completions || job.completions == Some(completions);
    (differs && is_reachable).then_some(JobSize { parallelism, completions })
}
