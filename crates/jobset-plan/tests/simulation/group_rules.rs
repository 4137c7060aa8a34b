//! Rules about the groups of `spec.scheduling`.

use crate::{
    job::Job,
    observe::{ObservedJobSet, ObservedScheduling},
    request::Request,
    requests::Sent,
    world::World,
};
use jobset_api::{JobSet, JobSetStatus, jobset::ReplicatedJob};
use jobset_plan::{Action, JobRecord, LabelValue, Outcome, Plan, SchedulingAction};
use k8s_openapi::{
    api::scheduling::v1beta1::PodGroupSchedulingPolicy, apimachinery::pkg::apis::meta::v1::Condition,
};
use std::{collections::BTreeSet, sync::Arc};

const GROUP_FIRST: &str = "no pod before its group";
const MIN_COUNT: &str = "minCount is never above the pods that exist or will";
const GATE_OFF: &str = "a gate switched off changes nothing";

impl World {
    /// Checks a plan. `groups` are the objects that the process observed.
    pub(crate) fn check_groups(
        &mut self,
        observed: &ObservedJobSet,
        groups: &ObservedScheduling,
        plan: &Plan,
    ) {
        let mut exist: BTreeSet<&str> = BTreeSet::new();
        let mut terminating = false;
        let mut observed_min_counts: BTreeSet<i32> = BTreeSet::new();
        if let ObservedScheduling::Served(record) = groups {
            exist.extend(record.pod_groups.iter().map(|it| it.name.as_str()));
            let policies = record.pod_groups.iter().map(|it| &it.spec.scheduling_policy);
            observed_min_counts
                .extend(policies.filter_map(|policy| policy.gang.as_ref()).map(|gang| gang.min_count));
            terminating = record.pod_groups.iter().any(|it| it.deleting_since.is_some())
                || record.workloads.iter().any(|it| it.deleting);
        }
        let mut broken: Vec<(&'static str, String)> = Vec::new();
        for action in &plan.actions {
            if let Action::Scheduling(SchedulingAction::CreatePodGroup(pod_group)) = action {
                exist.extend(pod_group.metadata.name.as_deref());
            }
            for (group, min_count) in min_counts(action) {
                let pods = most_pods(observed, plan, &group).max(1);
                // minCount of a PodGroup may stay too high while all its pods run. The Workload gets the same number.
                let is_copy = matches!(
                    action,
                    Action::Scheduling(
                        SchedulingAction::ScaleWorkload { .. } | SchedulingAction::CreateWorkload(_)
                    )
                ) && observed_min_counts.contains(&min_count);
                if i64::from(min_count) > pods && !is_copy {
                    broken.push((MIN_COUNT, format!("{group} has at most {pods} pods: {action:?}")));
                }
            }
        }
        let is_suspended = observed.jobset.spec.suspend == Some(true);
        let group_of = |uid: &str| observed.jobs.iter().find(|job| job.uid == uid)?.pod_group.clone();
        for action in &plan.actions {
            let group = match action {
                Action::CreateJob(job)
                    if job.spec.as_ref().is_some_and(|spec| spec.suspend != Some(true)) =>
                {
                    Job::sent(job).pod_group().map(str::to_owned)
                }
                Action::ResumeJob(resume) => group_of(&resume.uid),
                Action::ScaleJob { uid, .. } | Action::AddFollowers { uid, .. } if !is_suspended => {
                    group_of(uid)
                }
                _ => None,
            };
            if let Some(group) = group.filter(|group| terminating || !exist.contains(group.as_str()))
                && self.gates.workload_aware_scheduling
            {
                broken.push((GROUP_FIRST, format!("pods of {group} start, and {exist:?} exist")));
            }
        }
        for (rule, how) in broken {
            self.violated(rule, how);
        }
    }

    /// Checks that a request does not use groups while the gate is off.
    pub(crate) fn check_gate_of_groups(&mut self, sent: &Sent) {
        let uses_groups = match &sent.request {
            Request::Scheduling(_) => true,
            Request::CreateJob(job) => Job::sent(job).pod_group().is_some(),
            Request::StoreStatus { name, status, .. } => {
                let stored = self.server.jobsets.get(name).and_then(|jobset| jobset.status.as_ref());
                condition(Some(status)) != condition(stored)
            }
            _ => false,
        };
        if uses_groups && !self.gates.workload_aware_scheduling {
            self.violated(GATE_OFF, format!("{:?}", sent.request));
        }
    }

    /// The PodGroup of a new Job that does not exist.
    pub(crate) fn missing_group(&self, job: &Job) -> Option<String> {
        let group = job.pod_group().filter(|_| !job.suspend)?;
        (!self.server.pod_groups.contains_key(group)).then(|| group.to_owned())
    }

    /// A Workload or PodGroup of a JobSet that is suspended or has finished.
    pub(crate) fn group_without_use(
        &self,
        uid: &str,
        is_suspended: bool,
        status: &JobSetStatus,
    ) -> Option<String> {
        if !is_suspended && status.terminal_state.is_empty() {
            return None;
        }
        let mut all = self.server.scheduling_metadata().into_iter().map(|(_, metadata)| metadata);
        let of_jobset =
            all.find(|metadata| metadata.owner_references.iter().flatten().any(|owner| owner.uid == uid));
        of_jobset.and_then(|metadata| metadata.name)
    }
}

fn condition(status: Option<&JobSetStatus>) -> Option<&Condition> {
    status?.conditions.iter().find(|condition| condition.type_ == "GangScheduled")
}

/// Each minCount that an action sets, with the name of its group or template.
fn min_counts(action: &Action) -> Vec<(String, i32)> {
    let of = |name: &str, policy: &PodGroupSchedulingPolicy| {
        policy.gang.as_ref().map(|gang| (name.to_owned(), gang.min_count))
    };
    let Action::Scheduling(action) = action else { return Vec::new() };
    match action {
        SchedulingAction::CreatePodGroup(pod_group) => {
            let name = pod_group.metadata.name.as_deref().unwrap_or_default();
            of(name, &pod_group.spec.scheduling_policy).into_iter().collect()
        }
        SchedulingAction::ScalePodGroup { name, min_count, .. } => vec![(name.clone(), *min_count)],
        SchedulingAction::CreateWorkload(workload) => {
            let templates = workload.spec.pod_group_templates.iter().flatten();
            templates.filter_map(|it| of(&it.name, &it.scheduling_policy)).collect()
        }
        SchedulingAction::ScaleWorkload { templates, .. } => {
            templates.iter().map(|it| (it.name.clone(), it.min_count)).collect()
        }
        SchedulingAction::DeleteWorkload { .. } | SchedulingAction::DeletePodGroup { .. } => Vec::new(),
    }
}

/// The number of pods of a group that have not ended: of existing Jobs, and of those that the controller will create. The
/// name of the group or of its template begins with the name of its ReplicatedJob, if its entry has only one.
fn most_pods(observed: &ObservedJobSet, plan: &Plan, group: &str) -> i64 {
    let JobSet { metadata, spec, .. } = &observed.jobset;
    let jobset = format!("{}-", metadata.name.as_deref().unwrap_or_default());
    let template = group.strip_prefix(&jobset).unwrap_or(group);
    let entry = spec.scheduling.iter().flat_map(|scheduling| &scheduling.replicated_jobs).find(|entry| {
        let [target] = &entry.target_replicated_jobs[..] else { return false };
        template.starts_with(&format!("{target}-"))
    });
    let is_member = |name: &String| entry.is_none_or(|entry| entry.target_replicated_jobs.contains(name));
    let members = spec.replicated_jobs.iter().filter(|it| is_member(&it.name));
    let of_jobs = members
        .flat_map(|member| (0..member.replicas).map(|index| pods_of(observed, plan, group, member, index)));
    if entry.is_some_and(|entry| entry.job.is_some()) {
        of_jobs.max().unwrap_or_default()
    } else {
        of_jobs.sum()
    }
}

/// The number of pods of one Job that have not ended.
fn pods_of(
    observed: &ObservedJobSet,
    plan: &Plan,
    group: &str,
    replicated_job: &ReplicatedJob,
    index: i32,
) -> i64 {
    let restarts = observed.jobset.status.as_ref().map_or(0, |status| status.restarts);
    let of_template = replicated_job.template.spec.as_ref().and_then(|spec| spec.parallelism).unwrap_or(1);
    let index = LabelValue::Number(index);
    let is_it = |job: &&Arc<JobRecord>| {
        job.replicated_job.as_ref() == Some(&replicated_job.name) && job.job_index == index
    };
    let Some(job) = observed.jobs.iter().find(is_it) else { return of_template.into() };
    let is_deleted = |action: &Action| matches!(action, Action::DeleteJob { uid, .. } if *uid == job.uid);
    // A suspended Job of another group is created again after the groups.
    let of_group = job.pod_group.as_ref().is_some_and(|name| name.ends_with(group));
    let stays = (of_group || !job.suspended) && !job.deleting && !plan.actions.iter().any(is_deleted);
    let is_current = stays && job.restart_attempt == LabelValue::Number(restarts);
    let most = job.parallelism.max(of_template);
    match &job.verdict {
        Some(verdict) if is_current && verdict.outcome == Outcome::Complete => 0,
        None if is_current && job.completions.is_some_and(|all| all <= most) => (most - job.succeeded).into(),
        _ => most.into(),
    }
}
