//! The status of a running JobSet is lost, in a world without other faults.

use crate::{
    pod_outcomes::PodOutcome,
    scenarios::{fails_after, train, workers},
    users::{UserAction, UserRequest},
    world::World,
};
use jobset_api::JobSetStatus;
use serde_json::{Value, json};

/// A JobSet with two workers. The first worker fails in each of these attempts, after the first counts are stored.
fn failing_in(attempts: &[i32], strategy: &str) -> World {
    let policy = json!({"maxRestarts": 9, "restartStrategy": strategy});
    let outcome = |attempt: &i32| ("train-worker-0".to_owned(), (*attempt, 0), fails_after(9_000));
    let given: Vec<(String, (i32, i32), PodOutcome)> = attempts.iter().map(outcome).collect();
    let mut world = train(&json!({"replicatedJobs": workers(), "failurePolicy": policy}), given);
    // Allows user requests.
    world.faults.user_actions = 1;
    world
}

fn apply(world: &mut World, action: UserAction) {
    world.apply_user_request(&UserRequest { jobset: "train".into(), action });
}

fn status(world: &World) -> JobSetStatus {
    world.train().status.clone().unwrap_or_default()
}

/// The UIDs of the Jobs of an attempt.
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
    world.run_without_violation();
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
        apply(&mut world, UserAction::LoseStatus);
        assert_eq!(world.train().status, None);
        world.run_until("the status is restored", |world| world.restarts() == 1);
        expect_completion(&mut world, 1);
        assert_eq!(uids(&world, 1), running, "the same Jobs complete");
    }
}

/// The backup is older than the first restart, so its status is that of a JobSet that never restarted.
#[test]
fn a_status_from_a_backup_is_corrected() {
    let mut world = failing_in(&[0, 1], "Recreate");
    run_until_attempt_runs(&mut world, 2);
    let running = uids(&world, 2);
    apply(&mut world, UserAction::RewindStatus { number: 0 });
    assert_eq!(world.restarts(), 0);
    assert!(!status(&world).replicated_jobs_status.is_empty());
    expect_completion(&mut world, 2);
    assert_eq!(uids(&world, 2), running);
}

#[test]
fn a_status_lost_during_a_restart_is_restored() {
    let mut world = failing_in(&[0], "Recreate");
    world.run_until("one Job of the new attempt exists", |world| {
        world.server.jobs.len() == 1 && uids(world, 1).len() == 1
    });
    apply(&mut world, UserAction::LoseStatus);
    expect_completion(&mut world, 1);
}

/// No Job of the new attempt exists yet, so no Job proves that attempt. The failed Job still exists and counts again.
#[test]
fn a_lost_restart_without_new_jobs_is_repeated() {
    let mut world = failing_in(&[0], "BlockingRecreate");
    world.run_until("the restart is stored", |world| world.restarts() == 1);
    assert_eq!(uids(&world, 1), [""; 0]);
    apply(&mut world, UserAction::LoseStatus);
    expect_completion(&mut world, 1);
}

#[test]
fn the_status_of_a_jobset_with_one_job_is_restored() {
    let pod = json!({"spec": {"containers": [{"name": "main"}]}});
    let solo: Value = json!([{"name": "solo", "template": {"spec": {"template": pod}}}]);
    let spec = json!({"replicatedJobs": solo, "failurePolicy": {"maxRestarts": 1}});
    let mut world = train(&spec, vec![("train-solo-0".to_owned(), (0, 0), fails_after(3_000))]);
    world.faults.user_actions = 1;
    let runs = |world: &World| world.server.jobs.values().any(|job| job.attempts().0 == 1 && job.is_ready());
    world.run_until("the second attempt runs", runs);
    apply(&mut world, UserAction::LoseStatus);
    expect_completion(&mut world, 1);
}

/// A failed JobSet fails again without starting a Job.
#[test]
fn a_finished_jobset_finishes_again() {
    let policy = json!({"maxRestarts": 1});
    let outcomes = [0, 1].map(|attempt| ("train-worker-0".to_owned(), (attempt, 0), fails_after(3_000)));
    let mut world = train(&json!({"replicatedJobs": workers(), "failurePolicy": policy}), outcomes.into());
    world.faults.user_actions = 1;
    world.run_until("it has failed", |world| status(world).terminal_state == "Failed");
    let before = status(&world);
    apply(&mut world, UserAction::LoseStatus);
    world.run_without_violation();
    let after = status(&world);
    assert_eq!((after.restarts, after.terminal_state.as_str()), (1, "Failed"));
    assert_eq!(after.restarts_count_towards_max, before.restarts_count_towards_max);
}

/// An edited label does not cause a restart. The JobSet waits until a user corrects the label.
#[test]
fn an_edited_label_is_not_trusted() {
    for label in ["1", "9"] {
        let mut world = failing_in(&[], "Recreate");
        run_until_attempt_runs(&mut world, 0);
        let all: Vec<String> = world.server.jobs.values().map(|job| job.uid.clone()).collect();
        apply(&mut world, UserAction::EditLabel { number: 1, label });
        world.run_without_violation();
        assert_eq!(status(&world).restarts, 0);
        let now: Vec<String> = world.server.jobs.values().map(|job| job.uid.clone()).collect();
        assert_eq!(now, all, "no Job is replaced");
        assert_eq!(
            status(&world).replicated_jobs_status[0].succeeded,
            1,
            "the worker with the unedited label completes"
        );
        assert_eq!(status(&world).terminal_state, "");
    }
}
