//! The group of a child Job.

use super::groups::{Group, Groups};
use crate::{
    buckets::Buckets,
    draft::Draft,
    snapshot::{JobRecord, LabelValue},
};
use jobset_api::{JobSet, labels};
use k8s_openapi::api::{batch::v1::Job, core::v1::PodSchedulingGroup};

/// Adds the pods of a new Job to their group.
///
/// With the annotation alone, the Job controller would create a PodGroup of its own (Kubernetes: `WorkloadWithJob`).
pub(crate) fn add_to_group(groups: Option<&Groups>, replicated_job: &str, index: i32, job: &mut Job) {
    let Some(group) = groups.and_then(|groups| groups.of_job(replicated_job, index)) else { return };
    let annotations = job.metadata.annotations.get_or_insert_default();
    annotations.insert(labels::GROUP_TEMPLATE_NAME.to_owned(), group.template_name().to_owned());
    let pod = job.spec.get_or_insert_default().template.spec.get_or_insert_default();
    pod.scheduling_group = Some(PodSchedulingGroup { pod_group_name: Some(group.name.clone()) });
}

/// If the JobSet is resumed, deletes the suspended Jobs whose pods would start outside of their group, and removes them
/// from the active Jobs. The controller creates them again: `spec.scheduling` can change while the JobSet is suspended,
/// and the group of a pod template cannot. While the feature gate is off, pods of any group would wait for ever, because
/// nothing creates their PodGroup. Running Jobs stay.
pub(crate) fn delete_outdated(
    groups: Option<&Groups>,
    jobset: &JobSet,
    jobs: &mut Buckets<'_>,
    draft: &mut Draft<'_>,
) {
    if jobset.spec.is_suspended() || jobset.spec.scheduling.is_none() {
        return;
    }
    let fits = |job: &JobRecord| match groups {
        Some(groups) => is_in_group(groups, job),
        None => job.pod_group.is_none() || job.group_template.is_none(),
    };
    let is_outdated = |job: &mut &JobRecord| job.suspended && !fits(job);
    let outdated: Vec<_> = jobs.active.extract_if(.., is_outdated).collect();
    draft.delete_jobs(&outdated);
    if !outdated.is_empty() {
        draft.waiting.push(format!(
            "Jobs whose scheduling group changed occupy their names until they are deleted: {}",
            outdated.len()
        ));
    }
}

/// Whether the pods of the Job are in the group of the spec. A Job of no group is in it, too.
pub(crate) fn is_in_group(groups: &Groups, job: &JobRecord) -> bool {
    group_of(groups, job).is_none_or(|group| {
        job.pod_group.as_ref() == Some(&group.name)
            && job.group_template.as_deref() == Some(group.template_name())
    })
}

/// Whether the API server dropped the group of the pod template.
pub(crate) fn lost_group(groups: &Groups, job: &JobRecord) -> bool {
    job.pod_group.is_none()
        && group_of(groups, job)
            .is_some_and(|group| job.group_template.as_deref() == Some(group.template_name()))
}

fn group_of<'a>(groups: &'a Groups, job: &JobRecord) -> Option<&'a Group> {
    match (&job.replicated_job, &job.job_index) {
        (Some(name), LabelValue::Number(index)) => groups.of_job(name, *index),
        _ => None,
    }
}
