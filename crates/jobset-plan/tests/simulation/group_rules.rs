//! Rules about the groups of `spec.scheduling`.

use crate::{
    job::Job,
    observe::{ObservedJobSet, ObservedScheduling},
    request::Request,
    requests::Sent,
    world::World,
};
use jobset_api::JobSetStatus;
use jobset_plan::{Action, JobRecord, LabelValue, Outcome, Plan, SchedulingAction};
use k8s_openapi::{
    api::scheduling::v1beta1::PodGroupSchedulingPolicy, apimachinery::pkg::apis::meta::v1::Condition,
};
use std::collections::BTreeSet;

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
        if let ObservedScheduling::Served(record) = groups {
            exist.extend(record.pod_groups.iter().map(|it| it.name.as_str()));
            terminating = record.pod_groups.iter().any(|it| it.deleting_since.is_some())
                || record.workloads.iter().any(|it| it.deleting);
        }
        let mut broken: Vec<(&'static str, String)> = Vec::new();
        for action in &plan.actions {
            if let Action::Scheduling(SchedulingAction::CreatePodGroup(pod_group)) = action {
                exist.extend(pod_group.metadata.name.as_deref());
            }
            if let Some(min_count) = min_count(action) {
                let pods = most_pods(observed).max(1);
                if i64::from(min_count) > pods {
                    broken.push((MIN_COUNT, format!("{action:?} with at most {pods} pods")));
                }
            }
        }
        for action in &plan.actions {
            let group = match action {
                Action::CreateJob(job)
                    if job.spec.as_ref().is_some_and(|spec| spec.suspend != Some(true)) =>
                {
                    Job::sent(job).pod_group().map(str::to_owned)
                }
                Action::ResumeJob(resume) => {
                    let job = observed.jobs.iter().find(|job| job.uid == resume.uid);
                    job.and_then(|job| job.pod_group.clone())
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

/// The minCount that an action sets.
fn min_count(action: &Action) -> Option<i32> {
    let of = |policy: &PodGroupSchedulingPolicy| policy.gang.as_ref().map(|gang| gang.min_count);
    match action {
        Action::Scheduling(SchedulingAction::CreatePodGroup(pod_group)) => {
            of(&pod_group.spec.scheduling_policy)
        }
        Action::Scheduling(SchedulingAction::ScalePodGroup { min_count, .. }) => Some(*min_count),
        _ => None,
    }
}

/// The number of pods of the whole JobSet that have not ended: of existing Jobs, and of those that the controller will
/// create.
fn most_pods(observed: &ObservedJobSet) -> i64 {
    let restarts = observed.jobset.status.as_ref().map_or(0, |status| status.restarts);
    let has_completed = |job: &JobRecord| {
        let verdict = job.verdict.as_ref().map(|verdict| verdict.outcome);
        verdict == Some(Outcome::Complete)
            && !job.deleting
            && job.restart_attempt == LabelValue::Number(restarts)
    };
    let mut pods = 0;
    for replicated_job in &observed.jobset.spec.replicated_jobs {
        let of_template =
            replicated_job.template.spec.as_ref().and_then(|spec| spec.parallelism).unwrap_or(1);
        for index in 0..replicated_job.replicas {
            let index = LabelValue::Number(index);
            let job = observed.jobs.iter().find(|job| {
                job.replicated_job.as_ref() == Some(&replicated_job.name) && job.job_index == index
            });
            pods += match job {
                Some(job) if has_completed(job) => 0,
                Some(job) => i64::from(job.parallelism.max(of_template)),
                None => i64::from(of_template),
            };
        }
    }
    pods
}
