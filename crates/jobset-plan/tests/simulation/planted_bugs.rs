//! Defects that somebody could make, each in a wrapper around the real planner or the loop around it. A simulator
//! that finds none of them would prove nothing by finding nothing in the real code.

use crate::{api_server::Change, observe::ObservedJobSet, operation::Request, seeds::run, world::World};
use jobset_api::{JobSet, jobset::RestartStrategy};
use jobset_plan::{Action, LabelValue, Plan};
use std::{collections::BTreeMap, sync::Arc};

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// The status is stored whatever version the JobSet has.
    StatusWithoutLock,
    /// A restart counts twice.
    RestartCountsTwice,
    /// Jobs are matched by the name of their JobSet instead of its UID.
    NameInsteadOfUid,
    /// Answers to own writes do not go into the index.
    AnswersForgotten,
    /// The status is stored before the actions are carried out.
    StatusFirst,
    /// Actions that fail are taken for done.
    FailuresSwallowed,
    /// A status that cannot be stored is taken for stored (upstream #1193).
    StatusFailureSwallowed,
    /// Jobs are deleted by name alone.
    DeleteByName,
    /// A JobSet whose time is up is deleted whatever was changed of it since.
    DeleteOutdated,
    /// The planner does not know that the JobSet has finished.
    EndForgotten,
    /// Everything starts at once.
    OrderIgnored,
    /// Suspended Jobs are not resumed.
    ResumeForgotten,
    /// Jobs of earlier attempts are not deleted.
    PreviousKept,
    /// One restart too many.
    MaxRestartsOffByOne,
    /// Jobs do not wait for the Service and the claims of their plan.
    SurroundingsIgnored,
    /// BlockingRecreate is Recreate.
    BlockingIgnored,
    /// A Job that failed is looked at, whatever attempt it is of.
    PreviousFailuresCount,
    /// A lost status is not restored from the Jobs.
    StatusStaysLost,
    /// A label that a user edited is believed.
    EditedLabelBelieved,
}

impl Bug {
    const ALL: [Self; 19] = [
        Self::StatusWithoutLock,
        Self::RestartCountsTwice,
        Self::NameInsteadOfUid,
        Self::AnswersForgotten,
        Self::StatusFirst,
        Self::FailuresSwallowed,
        Self::StatusFailureSwallowed,
        Self::DeleteByName,
        Self::DeleteOutdated,
        Self::EndForgotten,
        Self::OrderIgnored,
        Self::ResumeForgotten,
        Self::PreviousKept,
        Self::MaxRestartsOffByOne,
        Self::SurroundingsIgnored,
        Self::BlockingIgnored,
        Self::PreviousFailuresCount,
        Self::StatusStaysLost,
        Self::EditedLabelBelieved,
    ];
}

impl World {
    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// See [`Bug::AnswersForgotten`].
    pub(crate) fn answers_are_forgotten(&self) -> bool {
        self.has(Bug::AnswersForgotten)
    }

    /// See [`Bug::StatusFirst`].
    pub(crate) fn status_goes_first(&self) -> bool {
        self.has(Bug::StatusFirst)
    }

    /// See [`Bug::FailuresSwallowed`].
    pub(crate) fn failures_are_swallowed(&self) -> bool {
        self.has(Bug::FailuresSwallowed)
    }

    /// See [`Bug::StatusFailureSwallowed`].
    pub(crate) fn status_failures_are_swallowed(&self) -> bool {
        self.has(Bug::StatusFailureSwallowed)
    }

    /// What a process remembers besides its index, for [`Bug::NameInsteadOfUid`].
    pub(crate) fn planted_bug_sees(&mut self, process: usize, change: &Change) {
        if !self.has(Bug::NameInsteadOfUid) {
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
            Change::JobSet(_) | Change::Named(_) => {}
        }
    }

    /// Bugs in what the planner is shown.
    pub(crate) fn planted_bug_changes_view(&mut self, process: usize, observed: &mut ObservedJobSet) {
        let jobset = Arc::make_mut(&mut observed.jobset);
        match self.bug {
            Some(Bug::NameInsteadOfUid) => {
                let name = jobset.metadata.name.clone().unwrap_or_default();
                let seen = self.seen_by_name.range((process, String::new())..(process + 1, String::new()));
                let mut jobs: BTreeMap<_, _> = seen
                    .filter(|(_, (owner, _))| *owner == name)
                    .map(|(_, (_, job))| (job.name.clone(), Arc::new(job.clone())))
                    .collect();
                jobs.extend(observed.jobs.iter().map(|job| (job.name.clone(), job.clone())));
                observed.jobs = Arc::new(jobs.into_values().collect());
            }
            Some(Bug::EndForgotten) => {
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
            Some(Bug::StatusStaysLost) => {
                for job in Arc::make_mut(&mut observed.jobs).iter_mut().map(Arc::make_mut) {
                    job.template_restart_attempt = LabelValue::Missing;
                    job.template_job_restart_attempt = LabelValue::Missing;
                }
            }
            Some(Bug::EditedLabelBelieved) => {
                for job in Arc::make_mut(&mut observed.jobs).iter_mut().map(Arc::make_mut) {
                    job.template_restart_attempt = job.restart_attempt.clone();
                }
            }
            _ => {}
        }
    }

    /// Bugs in what comes out of the planner.
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
            Some(Bug::ResumeForgotten) => {
                plan.actions.retain(|action| !matches!(action, Action::ResumeJob(_)));
            }
            Some(Bug::PreviousKept) => {
                plan.actions.retain(|action| !matches!(action, Action::DeleteJob { .. }));
            }
            _ => {}
        }
    }

    /// See [`Bug::SurroundingsIgnored`]: the actions that should wait for others of the plan.
    pub(crate) fn planted_bug_holds_back(&self, plan: &mut Plan) -> Vec<Action> {
        let others = plan.actions.iter().any(|action| !action.needs_surroundings());
        if !self.has(Bug::SurroundingsIgnored) || !others {
            return Vec::new();
        }
        plan.actions.extract_if(.., |action| action.needs_surroundings()).collect()
    }

    /// Bugs in what is sent.
    pub(crate) fn planted_bug_changes_request(&self, mut request: Request) -> Request {
        match (&mut request, self.bug) {
            (Request::StoreStatus { version, .. }, Some(Bug::StatusWithoutLock))
            | (Request::DeleteJobSet { version, .. }, Some(Bug::DeleteOutdated)) => *version = None,
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
