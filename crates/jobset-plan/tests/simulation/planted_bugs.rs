//! Planted bugs: each is a plausible defect in a wrapper around the real planner or its loop. A simulation that does
//! not find them proves nothing about the real code.

use crate::{
    api_server::Change,
    observe::{ObservedJobSet, ObservedScheduling},
    request::Request,
    seeds::run,
    world::World,
};
use jobset_api::{JobSet, jobset::RestartStrategy};
use jobset_plan::{Action, Gates, LabelValue, Plan, SchedulingAction};
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// The status is stored without a resource version.
    StatusWithoutLock,
    /// A restart is counted twice.
    RestartCountsTwice,
    /// Jobs are matched by the name of their JobSet, not by its UID.
    JobsMatchedByName,
    /// Responses to the process's own writes do not update the index.
    ResponsesIgnored,
    /// The status is stored before the actions are executed.
    StatusBeforeActions,
    /// Failed actions are treated as successful.
    FailuresIgnored,
    /// A status that cannot be stored is treated as stored (upstream #1193).
    StatusFailuresIgnored,
    /// Jobs are deleted without their UID.
    DeleteByName,
    /// A JobSet whose `ttlSecondsAfterFinished` has passed is deleted without a resource version.
    DeleteWithoutLock,
    /// The planner ignores that the JobSet has finished.
    TerminalStateIgnored,
    /// All Jobs start at once, without startup order.
    OrderIgnored,
    /// Suspended Jobs are not resumed.
    ResumeOmitted,
    /// Jobs of earlier attempts are not deleted.
    PreviousJobsKept,
    /// The limit of restarts is one too high.
    MaxRestartsOffByOne,
    /// Jobs are created before the Service and the claims of their plan exist.
    PrerequisitesIgnored,
    /// BlockingRecreate behaves like Recreate.
    BlockingIgnored,
    /// Failed Jobs of earlier attempts count.
    PreviousFailuresCount,
    /// A lost status is not restored from the Jobs.
    LostStatusNotRestored,
    /// A label that a user edited is trusted.
    EditedLabelTrusted,
    /// Every leader counts as placed.
    FollowersAtOnce,
    /// Followers are never added.
    FollowersOmitted,
    /// The deadline is half as long.
    DeadlineTooEarly,
    /// The deadline is ignored.
    DeadlineIgnored,
    /// The start time stays when a JobSet is suspended or restarts.
    StartTimeKept,
    /// A resume is counted again in each plan until it has ended.
    ResumeCountsAgain,
    /// A Job is resumed with the number of its previous run.
    AttemptNotResumed,
    /// The number of a run is not stored.
    AttemptNotStored,
    /// A resume keeps the node selector of an earlier flavor.
    DirectivesKept,
    /// A resume keeps the requests and limits of a Job.
    ResourcesKept,
    /// The ports of the Service are not corrected.
    PortsKept,
    /// PodGroups are not created.
    GroupsForgotten,
    /// A PodGroup that is being deleted counts as existing.
    TerminatingGroupsUsed,
    /// Groups are never deleted.
    GroupsKept,
    /// minCount is one too high.
    MinCountOffByOne,
    /// minCount stays at the number of all pods.
    MinCountKept,
    /// The feature gate of groups is ignored.
    GateOfGroupsIgnored,
}

impl Bug {
    const ALL: [Self; 36] = [
        Self::StatusWithoutLock,
        Self::RestartCountsTwice,
        Self::JobsMatchedByName,
        Self::ResponsesIgnored,
        Self::StatusBeforeActions,
        Self::FailuresIgnored,
        Self::StatusFailuresIgnored,
        Self::DeleteByName,
        Self::DeleteWithoutLock,
        Self::TerminalStateIgnored,
        Self::OrderIgnored,
        Self::ResumeOmitted,
        Self::PreviousJobsKept,
        Self::MaxRestartsOffByOne,
        Self::PrerequisitesIgnored,
        Self::BlockingIgnored,
        Self::PreviousFailuresCount,
        Self::LostStatusNotRestored,
        Self::EditedLabelTrusted,
        Self::FollowersAtOnce,
        Self::FollowersOmitted,
        Self::DeadlineTooEarly,
        Self::DeadlineIgnored,
        Self::StartTimeKept,
        Self::ResumeCountsAgain,
        Self::AttemptNotResumed,
        Self::AttemptNotStored,
        Self::DirectivesKept,
        Self::ResourcesKept,
        Self::PortsKept,
        Self::GroupsForgotten,
        Self::TerminatingGroupsUsed,
        Self::GroupsKept,
        Self::MinCountOffByOne,
        Self::MinCountKept,
        Self::GateOfGroupsIgnored,
    ];
}

impl World {
    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// See [`Bug::ResponsesIgnored`].
    pub(crate) fn responses_are_ignored(&self) -> bool {
        self.has(Bug::ResponsesIgnored)
    }

    /// See [`Bug::StatusBeforeActions`].
    pub(crate) fn status_is_sent_first(&self) -> bool {
        self.has(Bug::StatusBeforeActions)
    }

    /// See [`Bug::FailuresIgnored`].
    pub(crate) fn failures_are_ignored(&self) -> bool {
        self.has(Bug::FailuresIgnored)
    }

    /// See [`Bug::StatusFailuresIgnored`].
    pub(crate) fn status_failures_are_ignored(&self) -> bool {
        self.has(Bug::StatusFailuresIgnored)
    }

    /// Records Jobs by name, for [`Bug::JobsMatchedByName`].
    pub(crate) fn planted_bug_observes(&mut self, process: usize, change: &Change) {
        if !self.has(Bug::JobsMatchedByName) {
            return;
        }
        match change {
            Change::Job(job) => {
                let owner =
                    job.owners.iter().flatten().next().map(|owner| owner.name.clone()).unwrap_or_default();
                self.seen_by_name.insert((process, job.uid.clone()), (owner, job.record()));
            }
            Change::Gone(uid) => {
                self.seen_by_name.remove(&(process, uid.clone()));
            }
            Change::JobSet(_) | Change::Named(_) | Change::Workload(_) | Change::PodGroup(_) => {}
        }
    }

    /// Applies bugs that change the input of the planner.
    pub(crate) fn planted_bug_changes_view(&mut self, process: usize, observed: &mut ObservedJobSet) {
        let jobset = &mut observed.jobset;
        match self.bug {
            Some(Bug::JobsMatchedByName) => {
                let name = jobset.metadata.name.clone().unwrap_or_default();
                let seen = self.seen_by_name.range((process, String::new())..(process + 1, String::new()));
                let mut jobs: BTreeMap<_, _> = seen
                    .filter(|(_, (owner, _))| *owner == name)
                    .map(|(_, (_, job))| (job.name.clone(), Arc::new(job.clone())))
                    .collect();
                jobs.extend(observed.jobs.iter().map(|job| (job.name.clone(), job.clone())));
                observed.jobs = Arc::new(jobs.into_values().collect());
            }
            Some(Bug::TerminalStateIgnored) => {
                if let Some(status) = &mut jobset.status {
                    status
                        .conditions
                        .retain(|condition| !["Completed", "Failed"].contains(&condition.type_.as_str()));
                    status.terminal_state.clear();
                }
            }
            Some(Bug::OrderIgnored) => {
                jobset.spec.startup_policy = None;
                jobset.spec.replicated_jobs.iter_mut().for_each(|rj| rj.depends_on = None);
            }
            Some(Bug::MaxRestartsOffByOne) => {
                jobset.spec.failure_policy.iter_mut().for_each(|policy| policy.max_restarts += 1);
            }
            Some(Bug::DeadlineTooEarly) => {
                jobset.spec.active_deadline_seconds = jobset.spec.active_deadline_seconds.map(|all| all / 2);
            }
            Some(Bug::DeadlineIgnored) => jobset.spec.active_deadline_seconds = None,
            Some(Bug::ResumeCountsAgain) => {
                // The resumed Jobs look as before the resume.
                let stored = jobset.status.as_ref().and_then(|status| status.execution_attempts);
                for job in Arc::make_mut(&mut observed.jobs).iter_mut().filter(|job| job.suspended) {
                    Arc::make_mut(job).execution_attempt =
                        stored.map_or(LabelValue::Missing, LabelValue::Number);
                }
            }
            Some(Bug::BlockingIgnored) => {
                let policy = jobset.spec.failure_policy.iter_mut();
                policy.for_each(|policy| policy.restart_strategy = RestartStrategy::Recreate);
            }
            Some(Bug::PreviousFailuresCount) => {
                let restarts = jobset.status.as_ref().map_or(0, |status| status.restarts);
                for job in Arc::make_mut(&mut observed.jobs).iter_mut().filter(|job| job.verdict.is_some()) {
                    let job = Arc::make_mut(job);
                    job.restart_attempt = LabelValue::Number(restarts);
                    job.template_restart_attempt = LabelValue::Number(restarts);
                }
            }
            Some(Bug::LostStatusNotRestored) => {
                for job in Arc::make_mut(&mut observed.jobs).iter_mut().map(Arc::make_mut) {
                    job.template_restart_attempt = LabelValue::Missing;
                    job.template_job_restart_attempt = LabelValue::Missing;
                }
            }
            Some(Bug::TerminatingGroupsUsed) => {
                if let ObservedScheduling::Served(record) = &mut observed.scheduling {
                    record.pod_groups.iter_mut().for_each(|it| it.deleting_since = None);
                }
            }
            Some(Bug::EditedLabelTrusted) => {
                for job in Arc::make_mut(&mut observed.jobs).iter_mut().map(Arc::make_mut) {
                    job.template_restart_attempt = job.restart_attempt.clone();
                }
            }
            _ => {}
        }
    }

    /// See [`Bug::FollowersAtOnce`].
    pub(crate) fn planted_bug_places_leaders(&self, observed: &ObservedJobSet, placed: &mut HashSet<String>) {
        if self.has(Bug::FollowersAtOnce) {
            placed.extend(observed.jobs.iter().map(|job| job.uid.clone()));
        }
    }

    /// Applies bugs that change the output of the planner.
    pub(crate) fn planted_bug_changes_plan(&self, observed: &ObservedJobSet, plan: &mut Plan) {
        let before = |jobset: &JobSet| jobset.status.clone().unwrap_or_default();
        match self.bug {
            Some(Bug::RestartCountsTwice) => {
                if let Some(status) =
                    plan.status.as_mut().filter(|s| s.restarts > before(&observed.jobset).restarts)
                {
                    status.restarts += 1;
                }
            }
            Some(Bug::StartTimeKept) => {
                let start = before(&observed.jobset).start_time;
                if let Some(status) = plan.status.as_mut().filter(|_| start.is_some()) {
                    status.start_time = start;
                }
            }
            Some(Bug::AttemptNotResumed) => {
                for action in &mut plan.actions {
                    if let Action::ResumeJob(resume) = action {
                        resume.job_annotations.clear();
                    }
                }
            }
            Some(Bug::AttemptNotStored) => {
                if let Some(status) = &mut plan.status {
                    status.execution_attempts = before(&observed.jobset).execution_attempts;
                }
            }
            Some(Bug::ResumeOmitted) => {
                plan.actions.retain(|action| !matches!(action, Action::ResumeJob(_)));
            }
            Some(Bug::PortsKept) => plan.actions.retain(|action| !action.is_optional()),
            Some(Bug::DirectivesKept | Bug::ResourcesKept) => {
                for action in &mut plan.actions {
                    if let Action::ResumeJob(resume) = action {
                        resume.replaces_directives &= self.has(Bug::ResourcesKept);
                        resume.resources = resume.resources.take().filter(|_| self.has(Bug::DirectivesKept));
                    }
                }
            }
            Some(Bug::FollowersOmitted) => {
                plan.actions.retain(|action| !matches!(action, Action::AddFollowers { .. }));
            }
            Some(Bug::GroupsForgotten) => plan
                .actions
                .retain(|action| !matches!(action, Action::Scheduling(SchedulingAction::CreatePodGroup(_)))),
            Some(Bug::GroupsKept) => plan.actions.retain(|action| {
                !matches!(
                    action,
                    Action::Scheduling(
                        SchedulingAction::DeletePodGroup { .. } | SchedulingAction::DeleteWorkload { .. }
                    )
                )
            }),
            Some(Bug::MinCountKept) => plan.actions.retain(|action| {
                !matches!(
                    action,
                    Action::Scheduling(
                        SchedulingAction::ScalePodGroup { .. } | SchedulingAction::ScaleWorkload { .. }
                    )
                )
            }),
            Some(Bug::MinCountOffByOne) => {
                for action in &mut plan.actions {
                    if let Action::Scheduling(SchedulingAction::CreatePodGroup(pod_group)) = action
                        && let Some(gang) = &mut pod_group.spec.scheduling_policy.gang
                    {
                        gang.min_count += 1;
                    }
                }
            }
            Some(Bug::PreviousJobsKept) => {
                plan.actions.retain(|action| !matches!(action, Action::DeleteJob { .. }));
            }
            _ => {}
        }
    }

    /// See [`Bug::GateOfGroupsIgnored`].
    pub(crate) fn gates_of_planner(&self) -> Gates {
        let is_on = self.gates.workload_aware_scheduling || self.has(Bug::GateOfGroupsIgnored);
        Gates { workload_aware_scheduling: is_on, ..self.gates.clone() }
    }

    /// See [`Bug::PrerequisitesIgnored`]. Removes and returns the actions that depend on other actions of the plan.
    pub(crate) fn planted_bug_reorders(&self, plan: &mut Plan) -> Vec<Action> {
        let others = plan.actions.iter().any(|action| !action.starts_pods());
        if !self.has(Bug::PrerequisitesIgnored) || !others {
            return Vec::new();
        }
        plan.actions.extract_if(.., |action| action.starts_pods()).collect()
    }

    /// Applies bugs that change requests.
    pub(crate) fn planted_bug_changes_request(&self, mut request: Request) -> Request {
        match (&mut request, self.bug) {
            (Request::StoreStatus { version, .. }, Some(Bug::StatusWithoutLock))
            | (Request::DeleteJobSet { version, .. }, Some(Bug::DeleteWithoutLock)) => *version = None,
            (Request::DeleteJob { uid, .. }, Some(Bug::DeleteByName)) => *uid = None,
            _ => {}
        }
        request
    }
}

#[test]
fn planted_bugs_are_found() {
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        match run(0, 10_000, Some(bug)).failure {
            Some(failure) => println!("{bug:?}: found at seed {}: {}", failure.seed, failure.violation.rule),
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
