//! Races that others ran into, each as it happened: numbers are those of kubernetes-sigs/jobset. Races about the
//! placement of pods are in `placement_scenarios.rs`.

use crate::{
    api_server::Refusal,
    faults::Faults,
    operation::Request,
    pod_outcomes::{PodOutcome, PodOutcomes},
    users::{Act, Deed},
    world::{Millis, Setting, World},
};
use jobset_api::JobSet;
use jobset_plan::Gates;
use serde_json::{Value, json};

/// A quiet world with one JobSet `train`, whose Jobs succeed except for those whose outcome is given.
pub(crate) fn train(spec: &Value, given: Vec<(String, (i32, i32), PodOutcome)>) -> World {
    let jobset: JobSet =
        serde_json::from_value(json!({"metadata": {"name": "train", "namespace": "team"}, "spec": spec}))
            .unwrap();
    let pod_outcomes = PodOutcomes { seed: 1, failing: 0, one_slot: false, slowest_stop: 2_000, given };
    let (gates, faults) = (Gates::default(), Faults::default());
    World::new(
        Setting { seed: 1, gates, faults, pod_outcomes, jobsets: vec![jobset], room: 10, bug: None },
        true,
    )
}

/// Two workers of one pod each.
pub(crate) fn workers() -> Value {
    let pod = json!({"spec": {"containers": [{"name": "main"}]}});
    json!([{"name": "worker", "replicas": 2, "template": {"spec": {"parallelism": 1, "completions": 1, "template": pod}}}])
}

pub(crate) fn fails_after(runs: Millis) -> PodOutcome {
    let fails = Some(("BackoffLimitExceeded", "it does not converge"));
    PodOutcome { until_ready: 500, runs, stops: 1_000, fails, never_ready: false, flaps: false }
}

impl World {
    /// Goes on until something is so.
    pub(crate) fn run_until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        while !is_so(self) {
            match self.step() {
                Ok(true) => {}
                Ok(false) => panic!("at rest, and still not so: {what}\n{}", self.history()),
                Err(violation) => {
                    panic!("the rule that {}: {}\n{}", violation.rule, violation.how, self.history())
                }
            }
        }
    }

    pub(crate) fn run_to_the_end(&mut self) {
        if let Err(violation) = self.run() {
            panic!("the rule that {}: {}\n{}", violation.rule, violation.how, self.history());
        }
    }

    pub(crate) fn train(&self) -> &JobSet {
        &self.server.jobsets["train"]
    }

    pub(crate) fn restarts(&self) -> i32 {
        self.train().status.as_ref().map_or(0, |status| status.restarts)
    }
}

/// #1165: a JobSet that was deleted and created again under its name took the Jobs of the old one for its own.
#[test]
fn jobs_of_a_deleted_jobset_of_the_same_name_are_not_adopted() {
    let mut world = train(&json!({"replicatedJobs": workers()}), Vec::new());
    // A user is about to act.
    world.faults.acts = 1;
    world.run_until("both old workers are ready", |world| {
        world.server.jobs.len() == 2 && world.server.jobs.values().all(|job| job.is_ready())
    });
    let old: Vec<String> = world.server.jobs.values().map(|job| job.uid.clone()).collect();
    let spec = world.train().clone();
    let again = JobSet { status: None, ..spec };
    for what in [Deed::Delete { foreground: false }, Deed::Create(Box::new(again))] {
        world.user_acts(&Act { jobset: "train".into(), what });
    }
    let new = world.train().metadata.uid.clone().unwrap();
    world.run_until("the new JobSet has Jobs of its own", |world| {
        let status = world.train().status.clone().unwrap_or_default();
        let own = world.server.jobs_of(&new).count();
        let counted: i32 =
            status.replicated_jobs_status.iter().map(|s| s.ready + s.active + s.succeeded).sum();
        assert!(usize::try_from(counted).unwrap() <= own, "it counts Jobs that are not its own: {status:?}");
        own == 2
    });
    assert!(world.server.jobs_of(&new).all(|job| !old.contains(&job.uid)));
    world.run_to_the_end();
    assert_eq!(world.train().status.as_ref().unwrap().terminal_state, "Completed");
}

/// #1193: a status that could not be stored was not tried again, and the restart it told of never came.
#[test]
fn a_status_that_could_not_be_stored_is_stored_later() {
    let policy = json!({"maxRestarts": 1});
    let outcome = ("train-worker-0".to_owned(), (0, 0), fails_after(3_000));
    let mut world = train(&json!({"replicatedJobs": workers(), "failurePolicy": policy}), vec![outcome]);
    world.refuses = Some(|request, times| {
        let restarts = matches!(request, Request::StoreStatus { status, .. } if status.restarts == 1);
        (restarts && times < 3).then_some(Refusal::Unavailable)
    });
    world.run_until("the restart is stored", |world| world.restarts() == 1);
    assert_eq!(world.refused, 3, "the first three times it was refused");
    world.refuses = None;
    world.run_to_the_end();
    let status = world.train().status.clone().unwrap();
    assert_eq!((status.terminal_state.as_str(), status.restarts_count_towards_max), ("Completed", 1));
}

/// #1193 again, for an answer that got lost: the status is stored, and nobody knows. It must not count twice.
#[test]
fn a_restart_whose_answer_was_lost_counts_once() {
    let policy = json!({"maxRestarts": 3});
    let outcome = ("train-worker-1".to_owned(), (0, 0), fails_after(3_000));
    let mut world = train(&json!({"replicatedJobs": workers(), "failurePolicy": policy}), vec![outcome]);
    world.loses = Some(|request, times| {
        matches!(request, Request::StoreStatus { status, .. } if status.restarts == 1) && times == 0
    });
    world.run_until("the restart is stored", |world| world.restarts() == 1);
    // Losing an answer loses the event that tells of the status: this world may.
    world.faults.loses = 1;
    world.faults_until = 0;
    world.run_to_the_end();
    assert_eq!(world.restarts(), 1);
}

/// #1276, the part about restarts: two Jobs fail at once, and use up one restart, not two.
#[test]
fn two_failures_of_one_attempt_are_one_restart() {
    let both = [0, 1].map(|index| (format!("train-worker-{index}"), (0, 0), fails_after(3_000)));
    let policy = json!({"maxRestarts": 1});
    let mut world = train(&json!({"replicatedJobs": workers(), "failurePolicy": policy}), both.into());
    world.run_to_the_end();
    let status = world.train().status.clone().unwrap();
    assert_eq!((status.terminal_state.as_str(), status.restarts), ("Completed", 1));
}
