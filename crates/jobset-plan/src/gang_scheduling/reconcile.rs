//! The requests about the Workload and the PodGroups.

use super::{
    drift,
    groups::{Group, Groups, TEMPLATES_MAX},
    min_count::{JobsByPlace, Remaining, remaining},
    objects, status,
};
use crate::{
    buckets::Buckets,
    conditions,
    draft::Draft,
    feature_gates::Gates,
    plan::Action,
    scheduling_action::{ScaledTemplate, SchedulingAction},
    snapshot::{PodGroupRecord, SchedulingApi, SchedulingRecord, Snapshot, WorkloadRecord},
};
use jobset_api::JobSet;
use k8s_openapi::api::scheduling::v1beta1::{PodGroupSchedulingPolicy, PodGroupTemplate};

/// Creates, scales or deletes the Workload and the PodGroups. Returns whether Jobs can be created and resumed.
pub(crate) fn reconcile(
    groups: Option<&Groups>,
    snapshot: &Snapshot<'_>,
    jobs: &Buckets<'_>,
    gates: &Gates,
    draft: &mut Draft<'_>,
) -> bool {
    let Some(groups) = groups else { return true };
    let jobset = snapshot.jobset;
    if groups.all.is_empty() {
        delete_existing(snapshot, draft);
        status::without_groups(draft);
        return true;
    }
    if jobset.spec.is_suspended() {
        delete_existing(snapshot, draft);
        status::suspended(draft);
        return true;
    }
    if groups.all.len() > TEMPLATES_MAX {
        status::too_many_groups(draft);
        return false;
    }
    let record = match snapshot.scheduling {
        SchedulingApi::Served(record) => record,
        SchedulingApi::NotServed => {
            status::not_served(draft);
            return false;
        }
        SchedulingApi::Forbidden(message) => {
            status::forbidden(message, draft);
            return false;
        }
        SchedulingApi::Unknown => {
            draft.waiting.push("the controller has not read the Workloads and the PodGroups yet".to_owned());
            return false;
        }
    };
    let jobs_by_place = JobsByPlace::of(jobs);
    let remaining: Vec<Remaining> =
        groups.all.iter().map(|group| remaining(group, jobset, &jobs_by_place, gates)).collect();
    let mut workloads = record.workloads.iter().filter(|workload| !workload.deleting);
    let mut pod_groups = record.pod_groups.iter().filter(|pod_group| pod_group.deleting_since.is_none());
    let is_outdated = workloads.any(|workload| drift::workload_differs(workload, jobset, groups))
        || pod_groups.any(|pod_group| drift::pod_group_differs(pod_group, groups));
    if is_outdated {
        delete_all(record, draft);
    } else {
        create_and_scale(jobset, groups, &remaining, record, draft);
    }
    let (active, jobs) = (&jobs.active[..], snapshot.jobs);
    let view = status::View { groups, remaining: &remaining, record, jobs, active, is_outdated };
    status::running(&view, draft)
}

/// Deletes the Workload and the PodGroups of a JobSet that has finished, or finishes with this plan.
pub(crate) fn delete_if_finished(snapshot: &Snapshot<'_>, gates: &Gates, draft: &mut Draft<'_>) {
    let is_used = gates.workload_aware_scheduling && snapshot.jobset.spec.scheduling.is_some();
    if is_used && conditions::finished(&draft.status.conditions).is_some() {
        draft.actions.retain(|action| !matches!(action, Action::Scheduling(_)));
        delete_existing(snapshot, draft);
        let stored = snapshot.jobset.status.as_ref().map_or(&[][..], |status| &status.conditions);
        if conditions::finished(stored).is_none() {
            status::finished(draft);
        }
    }
}

fn delete_existing(snapshot: &Snapshot<'_>, draft: &mut Draft<'_>) {
    if let SchedulingApi::Served(record) = snapshot.scheduling {
        delete_all(record, draft);
        status::report_unprotected(record, snapshot.jobs, draft);
    }
}

/// Deletes every object that is not being deleted.
fn delete_all(record: &SchedulingRecord, draft: &mut Draft<'_>) {
    let SchedulingRecord { workloads, pod_groups } = record;
    let pod_groups = pod_groups.iter().filter(|pod_group| pod_group.deleting_since.is_none());
    let pod_groups = pod_groups.map(|PodGroupRecord { name, uid, .. }| SchedulingAction::DeletePodGroup {
        name: name.clone(),
        uid: uid.clone(),
    });
    let workloads = workloads.iter().filter(|workload| !workload.deleting);
    let workloads = workloads.map(|WorkloadRecord { name, uid, .. }| SchedulingAction::DeleteWorkload {
        name: name.clone(),
        uid: uid.clone(),
    });
    draft.actions.extend(pod_groups.chain(workloads).map(Action::Scheduling));
}

/// Creates missing objects, and changes minCount of existing ones.
fn create_and_scale(
    jobset: &JobSet,
    groups: &Groups,
    remaining: &[Remaining],
    record: &SchedulingRecord,
    draft: &mut Draft<'_>,
) {
    let mut templates = Vec::new();
    let mut of_pod_groups = Vec::new();
    for (group, remaining) in groups.all.iter().zip(remaining) {
        let existing = record.pod_groups.iter().find(|pod_group| pod_group.name == group.name);
        let current = existing.and_then(|pod_group| min_count_of(&pod_group.spec.scheduling_policy));
        let min_count = remaining.min_count(group, current);
        let template = group.template(min_count);
        of_pod_groups.extend(pod_group_action(jobset, groups, group, existing, &template));
        templates.push(template);
    }
    draft.actions.extend(workload_action(jobset, groups, record, templates).map(Action::Scheduling));
    draft.actions.extend(of_pod_groups.into_iter().map(Action::Scheduling));
}

fn workload_action(
    jobset: &JobSet,
    groups: &Groups,
    record: &SchedulingRecord,
    templates: Vec<PodGroupTemplate>,
) -> Option<SchedulingAction> {
    let existing = record.workloads.iter().find(|workload| workload.name == groups.workload);
    let Some(WorkloadRecord { name, uid, spec, deleting }) = existing else {
        let workload = objects::workload(jobset, groups, templates);
        return Some(SchedulingAction::CreateWorkload(Box::new(workload)));
    };
    let scaled = |(index, template): (usize, &PodGroupTemplate)| {
        let wanted = templates.iter().find(|wanted| wanted.name == template.name)?;
        let min_count = min_count_of(&wanted.scheduling_policy)?;
        let current = min_count_of(&template.scheduling_policy)?;
        (current != min_count).then(|| ScaledTemplate { index, name: template.name.clone(), min_count })
    };
    let scaled: Vec<_> = spec.pod_group_templates.iter().flatten().enumerate().filter_map(scaled).collect();
    (!deleting && !scaled.is_empty()).then(|| SchedulingAction::ScaleWorkload {
        name: name.clone(),
        uid: uid.clone(),
        templates: scaled,
    })
}

fn pod_group_action(
    jobset: &JobSet,
    groups: &Groups,
    group: &Group,
    existing: Option<&PodGroupRecord>,
    template: &PodGroupTemplate,
) -> Option<SchedulingAction> {
    let Some(PodGroupRecord { name, uid, spec, deleting_since, .. }) = existing else {
        let pod_group = objects::pod_group(jobset, groups, group.name.clone(), template.clone());
        return Some(SchedulingAction::CreatePodGroup(Box::new(pod_group)));
    };
    let min_count = min_count_of(&template.scheduling_policy)?;
    let is_right = min_count_of(&spec.scheduling_policy) == Some(min_count);
    (deleting_since.is_none() && !is_right).then(|| SchedulingAction::ScalePodGroup {
        name: name.clone(),
        uid: uid.clone(),
        min_count,
    })
}

fn min_count_of(policy: &PodGroupSchedulingPolicy) -> Option<i32> {
    policy.gang.as_ref().map(|gang| gang.min_count)
}
