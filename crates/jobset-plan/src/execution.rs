//! How a plan is carried out: the order of its requests, and what follows from the responses.
//!
//! ```text
//! other actions ──► actions that start pods ──► the status ──► its events, and the requeue
//!        │                       │
//!        └── a request failed ───┴──► the counts alone ──► no event, and a retry
//! ```

use crate::{
    plan::{Action, Event, Plan},
    status_timing::{StatusTiming, only_counts},
};
use jobset_api::JobSetStatus;
use std::{collections::VecDeque, time::Duration};

/// A plan that is being carried out. The caller takes each [`Execution::next`] step until [`Step::Finish`], and reports
/// its result.
#[derive(Debug)]
pub struct Execution {
    actions: VecDeque<Vec<Action>>,
    status: Option<JobSetStatus>,
    status_is_urgent: bool,
    events: Vec<Event>,
    requeue_after: Option<Duration>,
    wrote: bool,
    failed: bool,
}

/// What to do next.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Carry these out concurrently. Call [`Execution::failed`] if any fails.
    Execute(Vec<Action>),
    /// Store this status with the resource version of the snapshot, then [`Execution::stored`] or [`Execution::failed`].
    StoreStatus(Box<JobSetStatus>),
    /// Send these events. The plan is carried out.
    Finish(Vec<Event>, Requeue),
}

/// When to reconcile the JobSet again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeue {
    /// At once: something was written. The index knows it already, so the watch brings no news.
    Now,
    /// After this time.
    After(Duration),
    /// On the next change.
    OnChange,
    /// Something failed: after a backoff, and after this time at the latest.
    Retry(Duration),
}

impl Execution {
    /// Starts a plan.
    pub fn new(plan: Plan) -> Self {
        let Plan { actions, status, status_is_urgent, events, requeue_after, .. } = plan;
        let (then, first): (Vec<_>, Vec<_>) = actions.into_iter().partition(Action::needs_surroundings);
        let actions = [first, then].into_iter().filter(|actions| !actions.is_empty()).collect();
        Self { actions, status, status_is_urgent, events, requeue_after, wrote: false, failed: false }
    }

    /// The next step. `stored` is the status of the snapshot.
    pub fn next(&mut self, stored: Option<&JobSetStatus>, timing: &mut StatusTiming, now: Duration) -> Step {
        if self.failed {
            return self.after_failure(stored, timing, now);
        }
        if let Some(actions) = self.actions.pop_front() {
            self.wrote = true;
            return Step::Execute(actions);
        }
        let mut again = self.requeue_after;
        if let Some(status) = self.status.take() {
            let wait = timing.wait(self.status_is_urgent, now);
            if wait.is_zero() {
                return Step::StoreStatus(Box::new(status));
            }
            again = Some(again.map_or(wait, |after| after.min(wait)));
        } else {
            timing.settled();
        }
        let next = if self.wrote { Requeue::Now } else { again.map_or(Requeue::OnChange, Requeue::After) };
        Step::Finish(std::mem::take(&mut self.events), next)
    }

    /// The actions failed. The counts hold all the same.
    fn after_failure(
        &mut self,
        stored: Option<&JobSetStatus>,
        timing: &mut StatusTiming,
        now: Duration,
    ) -> Step {
        let mut within = Duration::MAX;
        if let Some(counts) = self.status.take().and_then(|new| only_counts(stored, &new)) {
            within = timing.wait(false, now);
            if within.is_zero() {
                return Step::StoreStatus(Box::new(counts));
            }
        }
        Step::Finish(Vec::new(), Requeue::Retry(within))
    }

    /// The status of the last step is stored.
    pub fn stored(&mut self, timing: &mut StatusTiming, now: Duration) {
        timing.stored(now);
        self.wrote = true;
    }

    /// A request of the last step failed.
    pub fn failed(&mut self) {
        self.failed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventKind;
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

    fn status(restarts: i32, ready: i32) -> JobSetStatus {
        let counts = ReplicatedJobStatus { name: "w".into(), ready, ..Default::default() };
        JobSetStatus { restarts, replicated_jobs_status: vec![counts], ..Default::default() }
    }

    fn event() -> Event {
        Event { kind: EventKind::Normal, reason: "Reason".into(), note: String::new() }
    }

    /// All steps of a plan when those whose numbers are in `failing` fail. The snapshot has the status `(0, 0)`.
    fn steps(plan: Plan, failing: &[usize]) -> Vec<Step> {
        let (mut execution, mut timing, stored) =
            (Execution::new(plan), StatusTiming::default(), status(0, 0));
        // A status that is not urgent has differed for long enough.
        timing.wait(false, Duration::ZERO);
        let mut steps = Vec::new();
        loop {
            let step = execution.next(Some(&stored), &mut timing, NOW);
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
    fn steps_follow_one_another() {
        let surroundings = || Step::Execute(vec![delete("a"), create_service()]);
        let pods = || Step::Execute(vec![Action::CreateJob(Box::<Job>::default())]);
        let retry = || Step::Finish(vec![], Requeue::Retry(Duration::MAX));
        let nine = Duration::from_secs(9);
        let only_time = || Plan { requeue_after: Some(nine), ..Plan::default() };
        let only_status = || Plan { status: Some(status(1, 0)), status_is_urgent: true, ..Plan::default() };
        let no_counts = || Plan { status: Some(status(1, 0)), ..full() };
        let cases: [(&str, Plan, &[usize], Vec<Step>); 9] = [
            ("nothing to do", Plan::default(), &[], vec![Step::Finish(vec![], Requeue::OnChange)]),
            ("nothing to do yet", only_time(), &[], vec![Step::Finish(vec![], Requeue::After(nine))]),
            (
                "pods come after what they need, the status after them, events at the end",
                full(),
                &[],
                vec![surroundings(), pods(), store(1, 2), Step::Finish(vec![event()], Requeue::Now)],
            ),
            ("no pods without what they need", full(), &[0], vec![surroundings(), store(0, 2), retry()]),
            (
                "only counts of what could not be done",
                full(),
                &[1],
                vec![surroundings(), pods(), store(0, 2), retry()],
            ),
            ("no count is new", no_counts(), &[0], vec![surroundings(), retry()]),
            ("counts refused, too", full(), &[0, 1], vec![surroundings(), store(0, 2), retry()]),
            ("no event about a status that is refused", full(), &[2], {
                vec![surroundings(), pods(), store(1, 2), retry()]
            }),
            ("a status alone", only_status(), &[], vec![store(1, 0), Step::Finish(vec![], Requeue::Now)]),
        ];
        for (name, plan, failing, expected) in cases {
            assert_eq!(steps(plan, failing), expected, "{name}");
        }
    }

    #[test]
    fn counts_wait_until_they_are_worth_a_write() {
        let swarm = Duration::from_secs(1);
        let counting = |requeue_after| Plan { status: Some(status(0, 2)), requeue_after, ..Plan::default() };
        let half = swarm / 2;
        for (requeue_after, again) in [(None, swarm), (Some(half), half), (Some(swarm * 2), swarm)] {
            let (mut execution, mut timing) =
                (Execution::new(counting(requeue_after)), StatusTiming::default());
            let step = execution.next(None, &mut timing, NOW);
            assert_eq!(step, Step::Finish(vec![], Requeue::After(again)), "{requeue_after:?}");
        }
        let (mut execution, mut timing) = (Execution::new(full()), StatusTiming::default());
        assert!(matches!(execution.next(None, &mut timing, NOW), Step::Execute(_)));
        execution.failed();
        let step = execution.next(None, &mut timing, NOW);
        assert_eq!(
            step,
            Step::Finish(vec![], Requeue::Retry(swarm)),
            "they are stored soon though requests fail"
        );
    }
}
