//! Elastic JobSets (feature gate ElasticJobSet): `parallelism` and `completions` of running Jobs follow the
//! template, together.

use crate::{
    plan::{Action, Draft},
    snapshot::{Gates, JobRecord},
};
use jobset_api::JobSet;

/// Brings running Jobs to the size of their template, where it gives both numbers and they are equal.
pub(crate) fn scale(jobset: &JobSet, active: &[&JobRecord], gates: &Gates, draft: &mut Draft<'_>) {
    if !gates.elastic_jobset {
        return;
    }
    for job in active.iter().filter(|job| !job.deleting) {
        let template =
            jobset.spec.replicated_jobs.iter().find(|rj| Some(&rj.name) == job.replicated_job.as_ref());
        let spec = template.and_then(|rj| rj.template.spec.as_ref());
        let (Some(parallelism), Some(completions)) =
            (spec.and_then(|spec| spec.parallelism), spec.and_then(|spec| spec.completions))
        else {
            continue;
        };
        if parallelism == completions
            && (job.parallelism != parallelism || job.completions != Some(completions))
        {
            draft.actions.push(Action::ScaleJob { name: job.name.clone(), parallelism, completions });
        }
    }
}
