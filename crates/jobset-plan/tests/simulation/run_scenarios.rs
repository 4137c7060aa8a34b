//! Deadlines and resumes, in a world without other faults.

use crate::{
    pod_outcomes::PodOutcome,
    request::Request,
    scenarios::{fails_after, train, workers},
    users::{UserAction, UserRequest},
    world::{Millis, World},
};
use jobset_plan::LabelValue;
use serde_json::{Value, json};

fn runs_for(runs: Millis) -> PodOutcome {
    PodOutcome { fails: None, ..fails_after(runs) }
}

/// Two workers that run for an hour, with both gates.
fn long(spec: &Value) -> World {
    let outcomes = |job: usize| {
        let of = move |attempt: i32| (format!("train-worker-{job}"), (attempt, 0), runs_for(3_600_000));
        (0..3).map(of)
    };
    let mut world = train(spec, (0..2).flat_map(outcomes).collect());
    (world.gates.active_deadline_seconds, world.gates.execution_attempts_tracking) = (true, true);
    world.faults.user_actions = 1;
    world
}

fn suspend(world: &mut World, suspend: bool) {
    let action = UserAction::Suspend(suspend);
    world.apply_user_request(&UserRequest { jobset: "train".into(), action });
}

fn run_until_ready(world: &mut World) {
    world.run_until("both workers are ready", |world| {
        world.server.jobs.len() == 2 && world.server.jobs.values().all(|job| job.is_ready() && !job.suspend)
    });
}

fn run_until_stopped(world: &mut World) {
    world.run_until("no pod is left", |world| {
        let suspended = world.train().status.iter().flat_map(|status| &status.conditions);
        let stopped = world.server.jobs.values().all(|job| job.suspend && job.active == 0);
        stopped && suspended.clone().any(|it| it.type_ == "Suspended" && it.status == "True")
    });
}

fn number(world: &World) -> Option<i32> {
    world.train().status.as_ref().and_then(|status| status.execution_attempts)
}

/// The response to the status with the number of the resume is lost, so the controller plans the resume again. Before,
/// it must not have resumed a Job.
#[test]
fn a_resume_whose_response_was_lost_counts_once() {
    let mut world = long(&json!({"replicatedJobs": workers()}));
    run_until_ready(&mut world);
    for run in 1..=2 {
        suspend(&mut world, true);
        run_until_stopped(&mut world);
        assert_eq!(number(&world), Some(run - 1));
        world.lost = 0;
        world.loses = Some(|request, times| {
            matches!(request, Request::StoreStatus { status, .. } if status.start_time.is_some())
                && times == 0
        });
        suspend(&mut world, false);
        world.run_until("the number is stored", |world| number(world) == Some(run));
        assert!(world.server.jobs.values().all(|job| job.suspend), "no Job is resumed before");
        run_until_ready(&mut world);
        assert_eq!(number(&world), Some(run));
        let numbers: Vec<_> = world.server.jobs.values().map(|job| job.execution_attempt.clone()).collect();
        assert_eq!(numbers, [LabelValue::Number(run), LabelValue::Number(run)]);
    }
    world.loses = None;
    world.run_without_violation();
    assert_eq!(world.train().status.as_ref().unwrap().terminal_state, "Completed");
}

/// The deadline includes neither the first run nor the suspension.
#[test]
fn a_resumed_jobset_has_its_whole_deadline() {
    let mut world = long(&json!({"replicatedJobs": workers(), "activeDeadlineSeconds": 100}));
    run_until_ready(&mut world);
    world.run_until("it has run for a while", |world| world.now > 80_000 || world.train().status.is_none());
    suspend(&mut world, true);
    run_until_stopped(&mut world);
    let resumed = world.now + 60_000;
    world.at(
        resumed,
        crate::schedule::ScheduledEvent::User(UserRequest {
            jobset: "train".into(),
            action: UserAction::Suspend(false),
        }),
    );
    world.run_until("it has failed", |world| {
        world.train().status.as_ref().is_some_and(|status| !status.terminal_state.is_empty())
    });
    let since = world.now - resumed;
    assert!((99_000..110_000).contains(&since), "it fails {since} ms after the resume");
    world.run_without_violation();
    assert_eq!(world.server.jobs.len(), 0);
}
