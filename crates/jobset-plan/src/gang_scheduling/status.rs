//! Condition `GangScheduled`: whether the scheduler placed the pods of every group, and if not, why.

use super::{
    groups::{Group, Groups, TEMPLATES_MAX},
    job,
    min_count::Remaining,
};
use crate::{
    conditions,
    draft::{Draft, whole_seconds},
    plan::{Event, EventKind, Subject},
    snapshot::{JobRecord, PodGroupRecord, ScheduledCondition, SchedulingRecord},
};
use jiff::Timestamp;
use jobset_api::{
    JobSetStatus,
    conditions::{self as types, reasons},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use std::{sync::Arc, time::Duration};

/// How long a PodGroup without pods can be in deletion, and how long a scheduler can be silent about running pods, before
/// the controller reports it.
const LIMIT: Duration = Duration::from_mins(1);

const NOT_SERVED: &str = "the API server does not serve scheduling.k8s.io/v1beta1, so no Job starts; start \
                          kube-apiserver, kube-scheduler and kube-controller-manager with \
                          --feature-gates=GenericWorkload=true, and kube-apiserver with \
                          --runtime-config=scheduling.k8s.io/v1beta1=true";
const PENDING: &str = "the scheduler has not placed the pods of every PodGroup yet";
const SCHEDULED: &str = "the scheduler has placed the pods of every PodGroup once";
const SUSPENDED: &str = "the jobset is suspended and has no PodGroups";
const FINISHED: &str = "the jobset has finished and has no PodGroups";

/// What the condition of a running JobSet depends on.
pub(crate) struct View<'a> {
    pub(crate) groups: &'a Groups,
    /// One for each group.
    pub(crate) remaining: &'a [Remaining],
    pub(crate) record: &'a SchedulingRecord,
    pub(crate) jobs: &'a [Arc<JobRecord>],
    pub(crate) active: &'a [&'a JobRecord],
    /// Whether this plan deletes all objects, because the spec has changed.
    pub(crate) is_outdated: bool,
}

/// Sets the condition of a suspended JobSet. A JobSet without the condition does not get it.
pub(crate) fn suspended(draft: &mut Draft<'_>) {
    if current(draft).is_some() {
        set(draft, EventKind::Normal, false, reasons::POD_GROUPS_DELETED, SUSPENDED);
    }
}

/// Removes the condition of a JobSet whose `spec.scheduling` has no groups any more.
pub(crate) fn without_groups(draft: &mut Draft<'_>) {
    draft.status.conditions.retain(|condition| condition.type_ != types::GANG_SCHEDULED);
}

/// Sets the condition of a JobSet that this plan finishes: nothing waits any more. If it was True, it stays True. The
/// message keeps the last reason, which can be why the JobSet failed.
pub(crate) fn finished(draft: &mut Draft<'_>) {
    let Some(condition) = current(draft).filter(|condition| condition.status == "False") else { return };
    let message = format!("{FINISHED}; before: {}: {}", condition.reason, condition.message);
    set(draft, EventKind::Normal, false, reasons::POD_GROUPS_DELETED, &message);
}

/// Why the Workload or a PodGroup could not be created.
#[derive(Clone, Debug)]
pub struct GroupFailure {
    /// The reason of the condition.
    pub reason: &'static str,
    /// The error.
    pub message: String,
    /// When the request failed.
    pub at: Timestamp,
    /// Whether the failed request has its own event.
    pub has_event: bool,
}

impl GroupFailure {
    /// The event about a change of the condition.
    pub(crate) fn event(&self) -> Option<Event> {
        let event =
            || Event { kind: EventKind::Normal, reason: self.reason.to_owned(), note: self.message.clone() };
        (!self.has_event).then(event)
    }
}

/// Sets the condition of a JobSet whose Workload or PodGroups could not be created. Returns whether the condition has
/// another reason than before.
pub(crate) fn creation_failed(status: &mut JobSetStatus, failure: GroupFailure) -> bool {
    let GroupFailure { reason, message, at, .. } = failure;
    let mut conditions = status.conditions.iter();
    let is_new = !conditions.any(|it| it.type_ == types::GANG_SCHEDULED && it.reason == reason);
    let condition = Condition {
        type_: types::GANG_SCHEDULED.to_owned(),
        status: "False".to_owned(),
        reason: reason.to_owned(),
        message,
        last_transition_time: Time(whole_seconds(at)),
        observed_generation: None,
    };
    conditions::set(&mut status.conditions, condition);
    is_new
}

fn current<'a>(draft: &'a Draft<'_>) -> Option<&'a Condition> {
    draft.status.conditions.iter().find(|condition| condition.type_ == types::GANG_SCHEDULED)
}

/// Sets the condition of a JobSet in a cluster without the API.
pub(crate) fn not_served(draft: &mut Draft<'_>) {
    draft.waiting.push(NOT_SERVED.to_owned());
    set(draft, EventKind::Warning, false, reasons::SCHEDULING_API_NOT_SERVED, NOT_SERVED);
}

/// Sets the condition of a JobSet whose groups the controller may not see.
pub(crate) fn forbidden(message: &str, draft: &mut Draft<'_>) {
    let message = format!(
        "the controller may not list Workloads and PodGroups, so no Job starts: {message}; add the rules for \
         scheduling.k8s.io to its ClusterRole"
    );
    draft.waiting.push(message.clone());
    set(draft, EventKind::Warning, false, reasons::SCHEDULING_API_FORBIDDEN, &message);
}

/// Sets the condition of a JobSet with more groups than a Workload can have. The webhooks reject such a JobSet.
pub(crate) fn too_many_groups(draft: &mut Draft<'_>) {
    let message = format!(
        "spec.scheduling has more than {TEMPLATES_MAX} groups, and a Workload has at most {TEMPLATES_MAX} templates, so \
         no Job starts; delete the jobset, and create it with fewer replicas of the replicatedJobs whose entry has job, \
         or without job"
    );
    draft.waiting.push(message.clone());
    set(draft, EventKind::Warning, false, reasons::SCHEDULING_OBJECTS_FAILED, &message);
}

/// Sets the condition of a running JobSet. Returns whether Jobs can be created and resumed.
pub(crate) fn running(view: &View<'_>, draft: &mut Draft<'_>) -> bool {
    let deleting = deleting(view, draft);
    let may_start = deleting.is_none();
    report_dropped_fields(view, draft);
    let finding = deleting
        .or_else(|| outside(view))
        .or_else(|| unschedulable(view))
        .or_else(|| ignored(view, draft))
        .or_else(|| (!is_scheduled(view)).then(|| Finding::normal(reasons::POD_GROUPS_PENDING, PENDING)));
    if let Some(Finding { kind, reason, message }) = finding {
        draft.waiting.push(message.clone());
        set(draft, kind, false, &reason, &message);
    } else {
        set(draft, EventKind::Normal, true, reasons::POD_GROUPS_SCHEDULED, SCHEDULED);
    }
    may_start
}

/// Sets the condition. Another message with the same reason, such as another number of nodes, causes no event, and its
/// write can wait.
fn set(draft: &mut Draft<'_>, kind: EventKind, status: bool, reason: &str, message: &str) {
    let is_same = |condition: &&mut Condition| {
        condition.type_ == types::GANG_SCHEDULED
            && condition.reason == reason
            && (condition.status == "True") == status
    };
    match draft.status.conditions.iter_mut().find(is_same) {
        Some(condition) => message.clone_into(&mut condition.message),
        None => draft.set_condition(kind, types::GANG_SCHEDULED, status, reason, message),
    }
}

/// Why the groups are not scheduled.
struct Finding {
    kind: EventKind,
    reason: String,
    message: String,
}

impl Finding {
    fn normal(reason: &str, message: impl Into<String>) -> Self {
        Self { kind: EventKind::Normal, reason: reason.to_owned(), message: message.into() }
    }

    fn warning(reason: &str, message: impl Into<String>) -> Self {
        Self { kind: EventKind::Warning, reason: reason.to_owned(), message: message.into() }
    }
}

/// Reports a PodGroup of a JobSet that does not run, if its deletion does not end.
pub(crate) fn report_unprotected(record: &SchedulingRecord, jobs: &[Arc<JobRecord>], draft: &mut Draft<'_>) {
    if let Some((pod_group, message)) = unprotected(record, jobs, draft) {
        let subject = Subject::PodGroup { name: pod_group.name.clone(), uid: pod_group.uid.clone() };
        draft.report(subject, reasons::POD_GROUP_PROTECTION_MISSING, message);
    }
}

/// A PodGroup that no Job uses and whose deletion does not end.
fn unprotected<'a>(
    record: &'a SchedulingRecord,
    jobs: &[Arc<JobRecord>],
    draft: &mut Draft<'_>,
) -> Option<(&'a PodGroupRecord, String)> {
    let mut in_deletion = record.pod_groups.iter().filter_map(|it| Some((it, it.deleting_since?)));
    let (pod_group, since) = in_deletion.find(|(it, _)| !is_in_use(it, jobs))?;
    let left = remaining_time(since, draft.now);
    if !left.is_zero() {
        draft.requeue_within(left);
        return None;
    }
    let message = format!(
        "PodGroup {} has been in deletion for over a minute, and no Job has pods in it; start \
         kube-controller-manager with --feature-gates=GenericWorkload=true",
        pod_group.name
    );
    Some((pod_group, message))
}

/// An object that is being deleted: its successor waits for its name.
fn deleting(view: &View<'_>, draft: &mut Draft<'_>) -> Option<Finding> {
    let View { record, jobs, is_outdated, .. } = view;
    if let Some((_, message)) = unprotected(record, jobs, draft) {
        return Some(Finding::warning(reasons::POD_GROUP_PROTECTION_MISSING, message));
    }
    let terminating = |kind: &str, name: &str| {
        let message = format!(
            "{kind} {name} is being deleted, which waits until its pods have stopped; Jobs start after that. To stop its \
             pods now, suspend and resume the jobset"
        );
        Finding::normal(reasons::POD_GROUPS_TERMINATING, message)
    };
    if let Some(pod_group) = record.pod_groups.iter().find(|it| it.deleting_since.is_some()) {
        return Some(terminating("PodGroup", &pod_group.name));
    }
    if let Some(workload) = record.workloads.iter().find(|workload| workload.deleting) {
        return Some(terminating("Workload", &workload.name));
    }
    is_outdated.then(|| {
        let message = "the Workload and the PodGroups differ from spec.scheduling, and the controller creates them \
                       again; Jobs start after that";
        Finding::normal(reasons::POD_GROUPS_TERMINATING, message)
    })
}

/// Whether a Job has pods in the PodGroup, as far as the controller knows.
fn is_in_use(pod_group: &PodGroupRecord, jobs: &[Arc<JobRecord>]) -> bool {
    jobs.iter().any(|job| {
        let has_pods = job.active > 0 || job.terminating > 0 || job.deleting;
        job.pod_group.as_ref() == Some(&pod_group.name) && has_pods
    })
}

fn remaining_time(since: Timestamp, now: Timestamp) -> Duration {
    let passed = Duration::try_from(now.duration_since(since)).unwrap_or(Duration::ZERO);
    LIMIT.saturating_sub(passed)
}

/// A Job whose pods run outside of their group.
fn outside(view: &View<'_>) -> Option<Finding> {
    let running = || view.active.iter().filter(|job| !job.suspended && !job.deleting);
    if let Some(job) = running().find(|job| job::lost_group(view.groups, job)) {
        return Some(Finding::warning(
            reasons::SCHEDULING_GROUP_DROPPED,
            format!(
                "the API server dropped schedulingGroup from the pod template of job {}, so its pods start one by one; \
                 start kube-apiserver with --feature-gates=GenericWorkload=true, then suspend and resume the jobset",
                job.name
            ),
        ));
    }
    let job = running().find(|job| !job::is_in_group(view.groups, job))?;
    let message = format!(
        "job {} started without its PodGroup; suspend and resume the jobset to start its pods together",
        job.name
    );
    Some(Finding::normal(reasons::JOB_OUTSIDE_POD_GROUP, message))
}

/// A group that does not fit, in the scheduler's words.
fn unschedulable(view: &View<'_>) -> Option<Finding> {
    groups(view).find_map(|(group, _, scheduled)| {
        let ScheduledCondition { reason, message, .. } = scheduled.filter(|scheduled| !scheduled.status)?;
        Some(Finding::warning(reason, format!("PodGroup {}: {message}", group.name)))
    })
}

/// A group whose pods all run, although its scheduler never reported that it placed them: it places pods one by one.
fn ignored(view: &View<'_>, draft: &mut Draft<'_>) -> Option<Finding> {
    let is_ignored = |(_, remaining, scheduled): &(&Group, &Remaining, Option<&ScheduledCondition>)| {
        remaining.pods > 0 && remaining.all_run && scheduled.is_none()
    };
    let (group, ..) = groups(view).find(is_ignored)?;
    let pod_group = view.record.pod_groups.iter().find(|it| it.name == group.name)?;
    let left = remaining_time(pod_group.created_at?, draft.now);
    if !left.is_zero() {
        draft.requeue_within(left);
        return None;
    }
    Some(Finding::warning(
        reasons::POD_GROUPS_IGNORED,
        format!(
            "all pods of PodGroup {} run, but no scheduler reported that it placed them together; start kube-scheduler \
             with --feature-gates=GenericWorkload=true, and use no schedulerName of a scheduler without gang scheduling",
            group.name
        ),
    ))
}

/// Reports fields of PodGroups that the API server dropped, because a feature gate is off.
fn report_dropped_fields(view: &View<'_>, draft: &mut Draft<'_>) {
    for group in &view.groups.all {
        let Some(existing) = view.record.pod_groups.iter().find(|it| it.name == group.name) else { continue };
        let PodGroupRecord { name, uid, spec, .. } = existing;
        let wanted = group.template(1);
        let topology = wanted.scheduling_constraints.is_some() && spec.scheduling_constraints.is_none();
        let claims = wanted.resource_claims.is_some() && spec.resource_claims.is_none();
        let (fields, gates) = match (topology, claims) {
            (false, false) => continue,
            (true, false) => ("schedulingConstraints", "TopologyAwareWorkloadScheduling=true"),
            (false, true) => ("resourceClaims", "DRAWorkloadResourceClaims=true"),
            (true, true) => (
                "schedulingConstraints and resourceClaims",
                "TopologyAwareWorkloadScheduling=true,DRAWorkloadResourceClaims=true",
            ),
        };
        let note = format!(
            "the API server dropped {fields} of PodGroup {name}, so they have no effect; start kube-apiserver, \
             kube-scheduler and kube-controller-manager with --feature-gates={gates}, then suspend and resume the jobset"
        );
        let subject = Subject::PodGroup { name: name.clone(), uid: uid.clone() };
        draft.report(subject, reasons::POD_GROUP_FIELD_DROPPED, note);
    }
}

/// Whether every group with pods was scheduled.
fn is_scheduled(view: &View<'_>) -> bool {
    groups(view).all(|(_, remaining, scheduled)| {
        remaining.pods == 0 || scheduled.is_some_and(|scheduled| scheduled.status)
    })
}

fn groups<'a>(
    view: &View<'a>,
) -> impl Iterator<Item = (&'a Group, &'a Remaining, Option<&'a ScheduledCondition>)> {
    let record = view.record;
    view.groups.all.iter().zip(view.remaining).map(move |(group, remaining)| {
        let pod_group = record.pod_groups.iter().find(|it| it.name == group.name);
        (group, remaining, pod_group.and_then(|pod_group| pod_group.scheduled.as_ref()))
    })
}
