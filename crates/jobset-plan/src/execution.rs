//! Executes a plan: the order of its requests, and what their results mean for status, events and requeue.
//!
//! ```text
//! other actions ──► actions that start pods ──► optional actions ──► the status ──► its events, and the requeue
//!        │                       │
//!        └── a request failed ───┴──► only the counts ──► a retry
//! ```

use crate::{
    gang_scheduling::{self, GroupFailure},
    plan::{Action, Event, Plan},
    status_timing::{StatusTiming, differs, only_counts},
};
use jobset_api::JobSetStatus;
use std::{collections::VecDeque, time::Duration};

/// A plan in execution. The caller performs each [`Execution::next`] step and reports its result, until
/// [`Step::Finish`].
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts about the steps so far")]
pub struct Execution {
    actions: VecDeque<Vec<Action>>,
    status: Option<JobSetStatus>,
    status_is_urgent: bool,
    events: Vec<Event>,
    requeue_after: Option<Duration>,
    wrote: bool,
    failed: bool,
    /// Whether the last step sent optional actions.
    sent_optional: bool,
    /// Whether an optional action failed.
    incomplete: bool,
    group_failure: Option<GroupFailure>,
}

/// One step of an execution.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Send these requests concurrently. Call [`Execution::failed`] if any of them fails.
    Execute(Vec<Action>),
    /// Store this status with the resource version of the snapshot, then call [`Execution::stored`] or
    /// [`Execution::failed`].
    StoreStatus(Box<JobSetStatus>),
    /// Send these events. The execution ends.
    Finish(Vec<Event>, Requeue),
}

/// When to reconcile the JobSet again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeue {
    /// Immediately, because the plan wrote an object. The index already contains the write, so the watch triggers no
    /// reconcile.
    Now,
    /// After this time.
    After(Duration),
    /// On the next change.
    OnChange,
    /// After a backoff, and after this time at the latest, because a request failed.
    Retry(Duration),
}

impl Execution {
    /// Starts the execution of a plan.
    pub fn new(plan: Plan) -> Self {
        let Plan { actions, status, status_is_urgent, events, requeue_after, .. } = plan;
        let (optional, required): (Vec<_>, Vec<_>) = actions.into_iter().partition(Action::is_optional);
        let (second, first): (Vec<_>, Vec<_>) = required.into_iter().partition(Action::starts_pods);
        let actions = [first, second, optional].into_iter().filter(|actions| !actions.is_empty()).collect();
        Self {
            actions,
            status,
            status_is_urgent,
            events,
            requeue_after,
            wrote: false,
            failed: false,
            sent_optional: false,
            incomplete: false,
            group_failure: None,
        }
    }

    /// The next step. `stored` is the status of the snapshot, `waiting` the number of other JobSets whose statuses wait.
    pub fn next(
        &mut self,
        stored: Option<&JobSetStatus>,
        timing: &mut StatusTiming,
        waiting: usize,
        now: Duration,
    ) -> Step {
        if self.failed {
            return self.after_failure(stored, timing, waiting, now);
        }
        self.wrote |= std::mem::take(&mut self.sent_optional);
        if let Some(actions) = self.actions.pop_front() {
            self.sent_optional = actions.iter().all(Action::is_optional);
            self.wrote |= !self.sent_optional;
            return Step::Execute(actions);
        }
        let mut again = self.requeue_after;
        if let Some(status) = self.status.take() {
            let wait = timing.wait(self.status_is_urgent, waiting, now);
            if wait.is_zero() {
                return Step::StoreStatus(Box::new(status));
            }
            again = Some(again.map_or(wait, |after| after.min(wait)));
        } else {
            timing.settled();
        }
        let next = if self.wrote {
            Requeue::Now
        } else if self.incomplete {
            Requeue::Retry(again.unwrap_or(Duration::MAX))
        } else {
            again.map_or(Requeue::OnChange, Requeue::After)
        };
        Step::Finish(std::mem::take(&mut self.events), next)
    }

    /// The step after a failed request. The counts are correct even then, and a condition says why groups are missing.
    fn after_failure(
        &mut self,
        stored: Option<&JobSetStatus>,
        timing: &mut StatusTiming,
        waiting: usize,
        now: Duration,
    ) -> Step {
        let mut within = self.requeue_after.unwrap_or(Duration::MAX);
        let counts = self.status.take().and_then(|new| only_counts(stored, &new));
        let mut status = counts.or_else(|| stored.cloned()).unwrap_or_default();
        let mut is_urgent = status.start_time.is_some() && stored.is_none_or(|it| it.start_time.is_none());
        if let Some(failure) = self.group_failure.take() {
            let event = failure.event();
            let is_new = gang_scheduling::creation_failed(&mut status, failure);
            self.events.extend(event.filter(|_| is_new));
            is_urgent |= is_new;
        }
        if differs(stored, &status) {
            let wait = timing.wait(is_urgent, waiting, now);
            if wait.is_zero() {
                return Step::StoreStatus(Box::new(status));
            }
            within = within.min(wait);
        }
        Step::Finish(std::mem::take(&mut self.events), Requeue::Retry(within))
    }

    /// Reports that the status of the last step is stored.
    pub fn stored(&mut self, timing: &mut StatusTiming, now: Duration) {
        timing.stored(now);
        self.wrote = true;
    }

    /// Reports why the Workload or a PodGroup could not be created, in addition to [`Execution::failed`].
    pub fn group_creation_failed(&mut self, failure: GroupFailure) {
        self.group_failure = Some(failure);
    }

    /// Reports that a request of the last step failed. If the step sent optional actions, the execution continues.
    pub fn failed(&mut self) {
        if std::mem::take(&mut self.sent_optional) {
            self.incomplete = true;
        } else {
            self.failed = true;
            // They tell of a status that is not stored.
            self.events.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventKind;
    use jiff::Timestamp;
    use jobset_api::ReplicatedJobStatus;
    use k8s_openapi::api::{batch::v1::Job, core::v1::Service};

    const NOW: Duration = Duration::from_secs(100);

    fn delete(name: &str) -> Action {
        Action::DeleteJob { name: name.to_owned(), uid: String::new() }
    }

    fn create_job() -> Action {
        Action::CreateJob(Box::default())
    }

    fn create_service() -> Action {
        Action::CreateService(Box::<Service>::default())
    }

    fn set_ports() -> Action {
        Action::SetServicePorts { name: "net".into(), uid: String::new(), ports: Vec::new() }
    }

    fn status(restarts: i32, ready: i32) -> JobSetStatus {
        let counts = ReplicatedJobStatus { name: "w".into(), ready, ..Default::default() };
        JobSetStatus { restarts, replicated_jobs_status: vec![counts], ..Default::default() }
    }

    fn event() -> Event {
        Event { kind: EventKind::Normal, reason: "Reason".into(), note: String::new() }
    }

    /// All steps of a plan, where the steps with the numbers in `failing` fail. The snapshot has the status `(0, 0)`.
    fn steps(plan: Plan, failing: &[usize]) -> Vec<Step> {
        let (mut execution, mut timing, stored) =
            (Execution::new(plan), StatusTiming::default(), status(0, 0));
        // A status that is not urgent has differed for long enough.
        timing.wait(false, 0, Duration::ZERO);
        let mut steps = Vec::new();
        loop {
            let step = execution.next(Some(&stored), &mut timing, 0, NOW);
            match step {
                Step::Finish(..) => {
                    steps.push(step);
                    return steps;
                }
                _ if failing.contains(&steps.len()) => execution.failed(),
                Step::StoreStatus(_) => execution.stored(&mut timing, NOW),
                Step::Execute(_) => {}
            }
            steps.push(step);
        }
    }

    fn full() -> Plan {
        Plan {
            actions: vec![create_job(), delete("a"), create_service()],
            status: Some(status(1, 2)),
            status_is_urgent: true,
            events: vec![event()],
            requeue_after: Some(Duration::from_secs(9)),
            ..Plan::default()
        }
    }

    fn store(restarts: i32, ready: i32) -> Step {
        Step::StoreStatus(Box::new(status(restarts, ready)))
    }

    #[test]
    fn steps_follow_in_order_and_depend_on_results() {
        let first = || Step::Execute(vec![delete("a"), create_service()]);
        let pods = || Step::Execute(vec![Action::CreateJob(Box::<Job>::default())]);
        let nine = Duration::from_secs(9);
        // What is due at a time is not delayed by a backoff.
        let retry = || Step::Finish(vec![], Requeue::Retry(nine));
        let retry_any_time = || Step::Finish(vec![], Requeue::Retry(Duration::MAX));
        let only_time = || Plan { requeue_after: Some(nine), ..Plan::default() };
        let only_status = || Plan { status: Some(status(1, 0)), status_is_urgent: true, ..Plan::default() };
        let no_counts = || Plan { status: Some(status(1, 0)), ..full() };
        let no_time = || Plan { requeue_after: None, ..no_counts() };
        let ports = || Step::Execute(vec![set_ports()]);
        let only_ports =
            |requeue_after| Plan { actions: vec![set_ports()], requeue_after, ..Plan::default() };
        let with_ports = || {
            let mut plan = full();
            plan.actions.insert(0, set_ports());
            plan
        };
        let all = |end| vec![first(), pods(), ports(), store(1, 2), end];
        let cases: [(&str, Plan, &[usize], Vec<Step>); 15] = [
            ("nothing to do", Plan::default(), &[], vec![Step::Finish(vec![], Requeue::OnChange)]),
            ("nothing to do yet", only_time(), &[], vec![Step::Finish(vec![], Requeue::After(nine))]),
            (
                "pods start after the Service, then the status, then events",
                full(),
                &[],
                vec![first(), pods(), store(1, 2), Step::Finish(vec![event()], Requeue::Now)],
            ),
            ("no pod starts without the Service", full(), &[0], vec![first(), store(0, 2), retry()]),
            (
                "only counts are stored if pods cannot be created",
                full(),
                &[1],
                vec![first(), pods(), store(0, 2), retry()],
            ),
            ("counts are unchanged", no_counts(), &[0], vec![first(), retry()]),
            ("nothing is due at a time", no_time(), &[0], vec![first(), retry_any_time()]),
            ("counts are refused, too", full(), &[0, 1], vec![first(), store(0, 2), retry()]),
            ("no event if the status is refused", full(), &[2], {
                vec![first(), pods(), store(1, 2), retry()]
            }),
            ("only a status", only_status(), &[], vec![store(1, 0), Step::Finish(vec![], Requeue::Now)]),
            ("optional actions are last", with_ports(), &[], all(Step::Finish(vec![event()], Requeue::Now))),
            (
                "a failed optional action delays nothing",
                with_ports(),
                &[2],
                all(Step::Finish(vec![event()], Requeue::Now)),
            ),
            (
                "only an optional action",
                only_ports(None),
                &[],
                vec![ports(), Step::Finish(vec![], Requeue::Now)],
            ),
            ("a failed optional action is retried", only_ports(None), &[0], vec![ports(), retry_any_time()]),
            (
                "a failed optional action is retried in time",
                only_ports(Some(nine)),
                &[0],
                vec![ports(), Step::Finish(vec![], Requeue::Retry(nine))],
            ),
        ];
        for (name, plan, failing, expected) in cases {
            assert_eq!(steps(plan, failing), expected, "{name}");
        }
    }

    #[test]
    fn a_condition_says_why_groups_are_missing() {
        let failure = |reason, message: &str| GroupFailure {
            reason,
            message: message.to_owned(),
            at: Timestamp::UNIX_EPOCH,
            has_event: reason == "Failed",
        };
        // The steps after the failure of the first actions, as the stored conditions.
        let after = |stored: &JobSetStatus, failure, differs: bool| {
            let (mut execution, mut timing) = (Execution::new(full()), StatusTiming::default());
            if differs {
                timing.wait(false, 0, Duration::ZERO);
            }
            execution.next(Some(stored), &mut timing, 0, NOW);
            execution.failed();
            execution.group_creation_failed(failure);
            execution.next(Some(stored), &mut timing, 0, NOW)
        };
        let first = after(&status(0, 2), failure("Failed", "foreign"), false);
        let Step::StoreStatus(stored) = first else { panic!("a new reason is urgent: {first:?}") };
        let conditions: Vec<_> = stored
            .conditions
            .iter()
            .map(|it| format!("{} {} {}", it.status, it.reason, it.message))
            .collect();
        assert_eq!((conditions, stored.restarts), (vec!["False Failed foreign".to_owned()], 0));
        let same = after(&stored, failure("Failed", "foreign"), false);
        assert_eq!(same, Step::Finish(vec![], Requeue::Retry(Duration::from_secs(9))), "nothing to store");
        let other_text = after(&stored, failure("Failed", "quota"), false);
        assert_eq!(other_text, Step::Finish(vec![], Requeue::Retry(Duration::from_secs(1))), "it can wait");
        let other_text = after(&stored, failure("Failed", "quota"), true);
        assert!(matches!(other_text, Step::StoreStatus(_)), "{other_text:?}");
        let other = after(&stored, failure("PodGroupsTerminating", "held"), false);
        assert!(matches!(other, Step::StoreStatus(_)), "{other:?}");

        // An expected failure has no event of its own.
        for (is_stored, reason, expected) in
            [(true, "Held", vec!["Held held"]), (false, "Held", vec![]), (true, "Failed", vec![])]
        {
            let (mut execution, mut timing) = (Execution::new(full()), StatusTiming::default());
            execution.next(None, &mut timing, 0, NOW);
            execution.failed();
            execution.group_creation_failed(failure(reason, "held"));
            execution.next(None, &mut timing, 0, NOW);
            if is_stored {
                execution.stored(&mut timing, NOW);
            } else {
                execution.failed();
            }
            let Step::Finish(events, _) = execution.next(None, &mut timing, 0, NOW) else {
                panic!("{reason}")
            };
            let events: Vec<_> = events.iter().map(|it| format!("{} {}", it.reason, it.note)).collect();
            assert_eq!(events, expected, "{reason} {is_stored}");
        }
    }

    #[test]
    fn changed_counts_wait_before_they_are_stored() {
        let window = Duration::from_secs(1);
        let counting = |requeue_after| Plan { status: Some(status(0, 2)), requeue_after, ..Plan::default() };
        let half = window / 2;
        for (requeue_after, again) in [(None, window), (Some(half), half), (Some(window * 2), window)] {
            let (mut execution, mut timing) =
                (Execution::new(counting(requeue_after)), StatusTiming::default());
            let step = execution.next(None, &mut timing, 0, NOW);
            assert_eq!(step, Step::Finish(vec![], Requeue::After(again)), "{requeue_after:?}");
        }
        let (mut execution, mut timing) = (Execution::new(full()), StatusTiming::default());
        assert!(matches!(execution.next(None, &mut timing, 0, NOW), Step::Execute(_)));
        execution.failed();
        let step = execution.next(None, &mut timing, 0, NOW);
        assert_eq!(
            step,
            Step::Finish(vec![], Requeue::Retry(window)),
            "counts are stored even if requests fail"
        );
    }
}
