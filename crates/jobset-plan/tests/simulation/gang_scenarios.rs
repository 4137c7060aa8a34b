//! Gang scheduling: JobSets that compete for nodes, a feature gate that changes, and a cluster without the API.

use crate::{
    api_server::Watched,
    observe::SchedulingKind,
    pod_outcomes::{PodOutcome, PodOutcomes},
    scenarios::{fails_after, train, workers},
    schedule::ScheduledEvent,
    users::{UserAction, UserRequest},
    world::World,
};
use jobset_api::JobSet;
use serde_json::{Value, json};

/// A world with the gate. Pods of `train` end as in `given`.
fn gang(spec: &Value, given: Vec<(String, (i32, i32), PodOutcome)>) -> World {
    let mut world = train(spec, given);
    world.gates.workload_aware_scheduling = true;
    world
}

/// Two workers in one gang, and these other fields.
fn together(mut other: Value) -> Value {
    other["replicatedJobs"] = workers();
    other["scheduling"] = json!({"schedulingPolicy": {"gang": {}}});
    other
}

/// The workers of a JobSet whose pods are active, and those that are ready.
fn active_and_ready(world: &World, jobset: &str) -> (usize, usize) {
    let jobs = || world.server.jobs.values().filter(|job| job.name.starts_with(jobset));
    (jobs().filter(|job| job.active > 0).count(), jobs().filter(|job| job.is_ready()).count())
}

fn condition(world: &World) -> String {
    let status = world.train().status.clone().unwrap_or_default();
    let gang = status.conditions.into_iter().find(|condition| condition.type_ == "GangScheduled");
    gang.map(|gang| gang.reason).unwrap_or_default()
}

fn terminal_state(world: &World, jobset: &str) -> String {
    world.server.jobsets[jobset].status.as_ref().map(|it| it.terminal_state.clone()).unwrap_or_default()
}

impl World {
    /// A user sends a request.
    fn request(&mut self, jobset: &str, action: UserAction) {
        self.after(1, ScheduledEvent::User(UserRequest { jobset: jobset.to_owned(), action }));
    }

    /// Another process becomes the leader, with the gate on or off.
    fn restart_with_gate(&mut self, is_on: bool) {
        self.gates.workload_aware_scheduling = is_on;
        self.die(self.processes.len() - 1);
    }
}

#[test]
fn of_two_gangs_one_runs_and_the_other_waits_with_no_pod_placed() {
    let runs = || PodOutcome { fails: None, ..fails_after(20_000) };
    let jobs = ["train-worker-0", "train-worker-1", "tune-worker-0", "tune-worker-1"];
    let outcomes = jobs.map(|job| (job.to_owned(), (0, 0), runs()));
    let mut world = gang(&together(json!({})), outcomes.into());
    // Each gang needs two of three nodes.
    world.scheduler = crate::scheduler::Scheduler::new(3);
    world.faults.user_actions = 1;
    let mut tune: JobSet = world.train().clone();
    (tune.metadata.name, tune.metadata.uid) = (Some("tune".into()), None);
    world.request("tune", UserAction::Create(Box::new(tune)));
    world.run_until("one gang is ready", |world| {
        let (train, tune) = (active_and_ready(world, "train"), active_and_ready(world, "tune"));
        let half_placed = |group: &&String| world.scheduler.bound_of(group) == 1;
        assert_eq!(world.server.pod_groups.keys().find(half_placed), None, "a half placed gang");
        (train, tune) == ((2, 2), (2, 0)) || (train, tune) == ((2, 0), (2, 2))
    });
    world.run_without_violation();
    assert_eq!(world.checker.tally["gang placed"], 2);
    assert!(world.checker.tally["gang does not fit"] >= 1);
    for jobset in ["train", "tune"] {
        assert_eq!(terminal_state(&world, jobset), "Completed", "{jobset}");
    }
}

/// The scheduler does not count finished pods, so minCount must follow (trap 6).
#[test]
fn one_job_restarts_beside_a_completed_job() {
    let rules = json!([{"name": "again", "action": "RestartJob"}]);
    let policy = json!({"maxRestarts": 1, "rules": rules});
    let fails = ("train-worker-1".to_owned(), (0, 0), fails_after(40_000));
    let quick = PodOutcome { fails: None, ..fails_after(2_000) };
    let completes = ("train-worker-0".to_owned(), (0, 0), quick);
    let mut world = gang(&together(json!({"failurePolicy": policy})), vec![fails, completes]);
    world.gates.restart_job = true;
    world.run_without_violation();
    assert_eq!(terminal_state(&world, "train"), "Completed");
}

/// Existing groups and running Jobs stay when the gate changes, and new Jobs follow the gate.
#[test]
fn the_gate_is_switched_off_and_on() {
    let outcomes = (0..2).map(|index| (format!("train-worker-{index}"), (0, 0), fails_after(60_000)));
    let mut world = gang(&together(json!({"failurePolicy": {"maxRestarts": 1}})), outcomes.collect());
    // A process that dies can lose events.
    world.faults.crashes = 1;
    world.run_until("the gang is scheduled", |world| condition(world) == "PodGroupsScheduled");
    world.restart_with_gate(false);
    world.run_until("the workers of the next attempt are ready", |world| {
        world.restarts() == 1 && active_and_ready(world, "train").1 == 2
    });
    assert!(world.server.jobs.values().all(|job| job.pod_group().is_none()));
    assert_eq!((world.server.workloads.len(), world.server.pod_groups.len()), (1, 1), "the objects stay");
    let uids: Vec<_> = world.server.jobs.values().map(|job| job.uid.clone()).collect();
    world.restart_with_gate(true);
    world.run_until("the controller reports it", |world| condition(world) == "JobOutsidePodGroup");
    world.run_without_violation();
    assert!(world.server.jobs.values().all(|job| uids.contains(&job.uid)), "no Job was created again");
    assert_eq!(terminal_state(&world, "train"), "Completed");
}

#[test]
fn jobs_wait_until_the_api_is_served() {
    let mut world = gang(&together(json!({})), Vec::new());
    world.run_until("the process runs", |world| !world.processes.is_empty());
    world.processes[0].index.scheduling(|objects| objects.set_served(false));
    world.run_until("the controller reports it", |world| condition(world) == "SchedulingAPINotServed");
    assert!(world.server.jobs.is_empty());
    world.processes[0].index.scheduling(|objects| objects.set_served(true));
    for kind in [SchedulingKind::Workloads, SchedulingKind::PodGroups] {
        let kind = Watched::Scheduling(kind);
        world.after(1, ScheduledEvent::ListRequested { process: 0, kind });
    }
    world.run_without_violation();
    assert_eq!(terminal_state(&world, "train"), "Completed");
}

/// A resume at once after a suspend waits for the old PodGroup, and then runs.
#[test]
fn a_resume_at_once_waits_for_the_old_group() {
    let mut world = gang(&together(json!({})), Vec::new());
    world.faults.user_actions = 1;
    world.pod_outcomes = PodOutcomes { slowest_stop: 30_000, ..world.pod_outcomes };
    world.run_until("the gang is scheduled", |world| condition(world) == "PodGroupsScheduled");
    let old: Vec<_> = world.server.pod_groups.values().map(|it| it.metadata.uid.clone()).collect();
    world.request("train", UserAction::Suspend(true));
    world.run_until("the groups are being deleted", |world| condition(world) == "PodGroupsDeleted");
    world.request("train", UserAction::Suspend(false));
    world.run_until("the new gang is scheduled", |world| condition(world) == "PodGroupsScheduled");
    assert!(world.server.pod_groups.values().all(|it| !old.contains(&it.metadata.uid)));
    world.run_without_violation();
    assert_eq!(terminal_state(&world, "train"), "Completed");
}
