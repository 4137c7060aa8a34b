//! A status that is lost while a JobSet runs, in a quiet world.

use crate::{
    pod_outcomes::PodOutcome,
    scenarios::{fails_after, train, workers},
    users::{Act, Deed},
    world::World,
};
use jobset_api::JobSetStatus;
use serde_json::{Value, json};

/// Two workers, of which the first fails in each of these attempts.
fn failing_in(attempts: &[i32], strategy: &str) -> World {
    let policy = json!({"maxRestarts": 9, "restartStrategy": strategy});
    let outcome = |attempt: &i32| ("train-worker-0".to_owned(), (*attempt, 0), fails_after(3_000));
    let given: Vec<(String, (i32, i32), PodOutcome)> = attempts.iter().map(outcome).collect();
    let mut world = train(&json!({"replicatedJobs": workers(), "failurePolicy": policy}), given);
    // A user is about to act.
    world.faults.acts = 1;
    world
}

fn act(world: &mut World, what: Deed) {
    world.user_acts(&Act { jobset: "train".into(), what });
}

fn status(world: &World) -> JobSetStatus {
    world.train().status.clone().unwrap_or_default()
}

/// UIDs of the Jobs by attempt.
fn uids(world: &World, attempt: i32) -> Vec<String> {
    world.server.jobs.values().filter(|job| job.attempts().0 == attempt).map(|job| job.uid.clone()).collect()
}

fn run_until_attempt_runs(world: &mut World, attempt: i32) {
    world.run_until("both workers of the attempt are ready", |world| {
        let ready = world.server.jobs.values().filter(|job| job.attempts().0 == attempt && job.is_ready());
        ready.count() == 2
    });
}

fn expect_completion(world: &mut World, restarts: i32) {
    world.run_to_the_end();
    let JobSetStatus { restarts: is, restarts_count_towards_max: counted, terminal_state, .. } =
        status(world);
    assert_eq!((terminal_state.as_str(), is, counted), ("Completed", restarts, restarts));
}

#[test]
fn a_wiped_status_is_restored_and_nothing_restarts() {
    for strategy in ["Recreate", "BlockingRecreate"] {
        let mut world = failing_in(&[0], strategy);
        run_until_attempt_runs(&mut world, 1);
        let running = uids(&world, 1);
        act(&mut world, Deed::LoseStatus);
        assert_eq!(world.train().status, None);
        world.run_until("the status is restored", |world| world.restarts() == 1);
        expect_completion(&mut world, 1);
        assert_eq!(uids(&world, 1), running, "the same Jobs ran to their end");
    }
}

/// A backup of the time before the first restart: the status looks like that of a JobSet that never restarted.
#[test]
fn a_status_from_a_backup_is_brought_up_to_date() {
    let mut world = failing_in(&[0, 1], "Recreate");
    run_until_attempt_runs(&mut world, 2);
    let running = uids(&world, 2);
    act(&mut world, Deed::RewindStatus { number: 0 });
    assert_eq!(world.restarts(), 0);
    assert!(!status(&world).replicated_jobs_status.is_empty());
    expect_completion(&mut world, 2);
    assert_eq!(uids(&world, 2), running);
}

#[test]
fn a_status_is_lost_in_the_middle_of_a_restart() {
    let mut world = failing_in(&[0], "Recreate");
    world.run_until("Jobs of two attempts exist", |world| {
        world.server.jobs.len() == 2 && uids(world, 0).len() == 1 && uids(world, 1).len() == 1
    });
    act(&mut world, Deed::LoseStatus);
    expect_completion(&mut world, 1);
}

/// No Job of the new attempt exists yet: its number is not proven, and the failure that is still there counts again.
#[test]
fn a_restart_without_any_job_is_decided_again() {
    let mut world = failing_in(&[0], "BlockingRecreate");
    world.run_until("the restart is stored", |world| world.restarts() == 1);
    assert_eq!(uids(&world, 1), [""; 0]);
    act(&mut world, Deed::LoseStatus);
    expect_completion(&mut world, 1);
}

#[test]
fn a_jobset_of_a_single_job() {
    let pod = json!({"spec": {"containers": [{"name": "main"}]}});
    let solo: Value = json!([{"name": "solo", "template": {"spec": {"template": pod}}}]);
    let spec = json!({"replicatedJobs": solo, "failurePolicy": {"maxRestarts": 1}});
    let mut world = train(&spec, vec![("train-solo-0".to_owned(), (0, 0), fails_after(3_000))]);
    world.faults.acts = 1;
    let runs = |world: &World| world.server.jobs.values().any(|job| job.attempts().0 == 1 && job.is_ready());
    world.run_until("the second attempt runs", runs);
    act(&mut world, Deed::LoseStatus);
    expect_completion(&mut world, 1);
}

/// A failed JobSet fails again, and no Job starts.
#[test]
fn a_finished_jobset_finishes_again() {
    let policy = json!({"maxRestarts": 1});
    let outcomes = [0, 1].map(|attempt| ("train-worker-0".to_owned(), (attempt, 0), fails_after(3_000)));
    let mut world = train(&json!({"replicatedJobs": workers(), "failurePolicy": policy}), outcomes.into());
    world.faults.acts = 1;
    world.run_until("it has failed", |world| status(world).terminal_state == "Failed");
    let before = status(&world);
    act(&mut world, Deed::LoseStatus);
    world.run_to_the_end();
    let after = status(&world);
    assert_eq!((after.restarts, after.terminal_state.as_str()), (1, "Failed"));
    assert_eq!(after.restarts_count_towards_max, before.restarts_count_towards_max);
}

/// One edited label restarts nothing, and its Job waits for a user.
#[test]
fn an_edited_label_is_not_believed() {
    for label in ["1", "9"] {
        let mut world = failing_in(&[], "Recreate");
        run_until_attempt_runs(&mut world, 0);
        let all: Vec<String> = world.server.jobs.values().map(|job| job.uid.clone()).collect();
        act(&mut world, Deed::SpoilLabel { number: 1, label });
        world.run_to_the_end();
        assert_eq!(status(&world).restarts, 0);
        let now: Vec<String> = world.server.jobs.values().map(|job| job.uid.clone()).collect();
        assert_eq!(now, all, "the same Jobs");
        assert_eq!(status(&world).replicated_jobs_status[0].succeeded, 1, "the other one");
        assert_eq!(status(&world).terminal_state, "");
    }
}
