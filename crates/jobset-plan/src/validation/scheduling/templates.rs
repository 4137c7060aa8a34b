//! What the templates of ReplicatedJobs cannot set beside `spec.scheduling`.

use super::{FieldError, pod_path};
use jobset_api::JobSet;

/// The scheduling fields of Jobs and pods. The controller sets them.
pub(super) fn own_scheduling(jobset: &JobSet) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, replicated_job) in jobset.spec.replicated_jobs.iter().enumerate() {
        let Some(job) = &replicated_job.template.spec else { continue };
        if job.scheduling.is_some() {
            errors.push(FieldError::forbidden(
                format!("spec.replicatedJobs[{index}].template.spec.scheduling"),
                "cannot be set when spec.scheduling is configured; use spec.scheduling instead",
            ));
        }
        if job.template.spec.as_ref().is_some_and(|pod| pod.scheduling_group.is_some()) {
            errors.push(FieldError::forbidden(
                format!("{}.schedulingGroup", pod_path(index)),
                "cannot be set directly when spec.scheduling is configured; the JobSet controller manages this field",
            ));
        }
    }
    errors
}
