//! Races from issues of kubernetes-sigs/jobset. Races about the placement of pods are in `placement_scenarios.rs`.

use crate::{
    api_server::Refusal,
    faults::Faults,
    pod_outcomes::{PodOutcome, PodOutcomes},
    request::Request,
    users::{UserAction, UserRequest},
    world::{Millis, World, WorldConfig},
};
use jobset_api::JobSet;
use jobset_plan::Gates;
use serde_json::{Value, json};

/// A world without faults that contains the JobSet `train`. Its Jobs succeed, except for those in `given`.
pub(crate) fn train(spec: &Value, given: Vec<(String, (i32, i32), PodOutcome)>) -> World {
    let jobset: JobSet =
        serde_json::from_value(json!({"metadata": {"name": "train", "namespace": "team"}, "spec": spec}))
            .unwrap();
    let pod_outcomes = PodOutcomes { seed: 1, failing: 0, one_slot: false, slowest_stop: 2_000, given };
    let (gates, faults) = (Gates::default(), Faults::default());
    World::new(
        WorldConfig { seed: 1, gates, faults, pod_outcomes, jobsets: vec![jobset], room: 10, bug: None },
        true,
    )
}

/// Two workers with one pod each.
pub(crate) fn workers() -> Value {
    let pod = json!({"spec": {"containers": [{"name": "main"}]}});
    json!([{"name": "worker", "replicas": 2, "template": {"spec": {"parallelism": 1, "completions": 1, "template": pod}}}])
}

pub(crate) fn fails_after(runs: Millis) -> PodOutcome {
    let fails = Some(("BackoffLimitExceeded", "it does not converge"));
    PodOutcome {
        until_ready: 500,
        runs,
        stops: 1_000,
        fails,
        never_ready: false,
        flaps: false,
        staggered: false,
    }
}

impl World {
    /// Handles events until the condition is true.
    pub(crate) fn run_until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        while !condition(self) {
            match self.step() {
                Ok(true) => {}
                Ok(false) => panic!("at rest, but the condition is false: {what}\n{}", self.history()),
                Err(violation) => {
                    panic!("broke the rule {:?}: {}\n{}", violation.rule, violation.how, self.history())
                }
            }
        }
    }

    pub(crate) fn run_without_violation(&mut self) {
        if let Err(violation) = self.run() {
            panic!("broke the rule {:?}: {}\n{}", violation.rule, violation.how, self.history());
        }
    }

    pub(crate) fn train(&self) -> &JobSet {
        &self.server.jobsets["train"]
    }

    pub(crate) fn restarts(&self) -> i32 {
        self.train().status.as_ref().map_or(0, |status| status.restarts)
    }
}

/// #1165: a JobSet that was deleted and created again with the same name adopted the Jobs of the old JobSet.
#[test]
fn jobs_of_a_deleted_jobset_of_the_same_name_are_not_adopted() {
    let mut world = train(&json!({"replicatedJobs": workers()}), Vec::new());
    // Allows user requests.
    world.faults.user_actions = 1;
    world.run_until("both old workers are ready", |world| {
        world.server.jobs.len() == 2 && world.server.jobs.values().all(|job| job.is_ready())
    });
    let old: Vec<String> = world.server.jobs.values().map(|job| job.uid.clone()).collect();
    let spec = world.train().clone();
    let again = JobSet { status: None, ..spec };
    for action in [UserAction::Delete { foreground: false }, UserAction::Create(Box::new(again))] {
        world.apply_user_request(&UserRequest { jobset: "train".into(), action });
    }
    let new = world.train().metadata.uid.clone().unwrap();
    world.run_until("the new JobSet has Jobs of its own", |world| {
        let status = world.train().status.clone().unwrap_or_default();
        let own = world.server.jobs_of(&new).count();
        let counted: i32 =
            status.replicated_jobs_status.iter().map(|s| s.ready + s.active + s.succeeded).sum();
        assert!(
            usize::try_from(counted).unwrap() <= own,
            "the JobSet counts Jobs of the old JobSet: {status:?}"
        );
        own == 2
    });
    assert!(world.server.jobs_of(&new).all(|job| !old.contains(&job.uid)));
    world.run_without_violation();
    assert_eq!(world.train().status.as_ref().unwrap().terminal_state, "Completed");
}

/// #1193: the controller did not retry a failed status update, and the restart in that status never happened.
#[test]
fn a_status_that_was_not_stored_is_retried() {
    let policy = json!({"maxRestarts": 1});
    let outcome = ("train-worker-0".to_owned(), (0, 0), fails_after(3_000));
    let mut world = train(&json!({"replicatedJobs": workers(), "failurePolicy": policy}), vec![outcome]);
    world.refuses = Some(|request, times| {
        let restarts = matches!(request, Request::StoreStatus { status, .. } if status.restarts == 1);
        (restarts && times < 3).then_some(Refusal::Unavailable)
    });
    world.run_until("the restart is stored", |world| world.restarts() == 1);
    assert_eq!(world.refused, 3, "the API server refused the first three updates");
    world.refuses = None;
    world.run_without_violation();
    let status = world.train().status.clone().unwrap();
    assert_eq!((status.terminal_state.as_str(), status.restarts_count_towards_max), ("Completed", 1));
}

/// #1193 with a lost response: the status is stored, but the controller does not know. The restart counts once.
#[test]
fn a_restart_whose_response_was_lost_counts_once() {
    let policy = json!({"maxRestarts": 3});
    let outcome = ("train-worker-1".to_owned(), (0, 0), fails_after(3_000));
    let mut world = train(&json!({"replicatedJobs": workers(), "failurePolicy": policy}), vec![outcome]);
    world.loses = Some(|request, times| {
        matches!(request, Request::StoreStatus { status, .. } if status.restarts == 1) && times == 0
    });
    world.run_until("the restart is stored", |world| world.restarts() == 1);
    // A lost response also loses the event about the status. The rules allow that only with this fault.
    world.faults.loses = 1;
    world.faults_until = 0;
    world.run_without_violation();
    assert_eq!(world.restarts(), 1);
}

/// #1276, restarts: two Jobs that fail at the same time cause one restart, not two.
#[test]
fn two_failures_in_one_attempt_cause_one_restart() {
    let both = [0, 1].map(|index| (format!("train-worker-{index}"), (0, 0), fails_after(3_000)));
    let policy = json!({"maxRestarts": 1});
    let mut world = train(&json!({"replicatedJobs": workers(), "failurePolicy": policy}), both.into());
    world.run_without_violation();
    let status = world.train().status.clone().unwrap();
    assert_eq!((status.terminal_state.as_str(), status.restarts), ("Completed", 1));
}
