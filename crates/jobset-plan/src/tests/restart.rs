//! Restarts of the whole JobSet, step by step, by both strategies.

use super::*;

const MESSAGE: &str = "applying RestartJobSet failure policy action (first failed job: train-worker-0)";

/// Each Job is created as soon as its predecessor is gone.
#[test]
fn recreate() {
    let scene = jobset("failurePolicy: {maxRestarts: 1}").jobs("driver-0, worker-0 failed@9, worker-1");
    let restarted = scene.stored();
    assert_eq!(restarted.jobset.status.as_ref().unwrap().restarts, 1);
    restarted.expect(&[
        "delete train-driver-0",
        "delete train-worker-0",
        "delete train-worker-1",
        &deleting(3),
    ]);
    // The name is held until the Job is really gone.
    let one_gone = restarted.stored().jobs("driver-0 deleting, worker-1 deleting");
    one_gone.expect(&["create train-worker-0", &deleting(2)]);
    let next =
        one_gone.stored().jobs("driver-0 attempt=1 ready, worker-0 attempt=1 ready, worker-1 deleting");
    next.expect(&[&deleting(1)]);
    let last = next.stored().jobs("driver-0 attempt=1 ready, worker-0 attempt=1 ready");
    last.expect(&["create train-worker-1"]);
    let ready = last.jobs("driver-0 attempt=1 ready, worker-0 attempt=1 ready, worker-1 attempt=1 ready");
    ready.expect(&[
        "RestartingJobSet=False JobsReady: all jobs are ready",
        "Normal JobsReady: all jobs are ready",
    ]);
    assert_eq!(ready.stored().plan(), Plan::default());
}

/// Nothing is created before every predecessor is gone; also after the restart of a single Job.
#[test]
fn blocking_recreate() {
    let policy = "failurePolicy: {maxRestarts: 1, restartStrategy: BlockingRecreate}";
    let restarted = jobset(policy).jobs("driver-0, worker-0 failed@9, worker-1").stored();
    restarted.expect(&[
        "delete train-driver-0",
        "delete train-worker-0",
        "delete train-worker-1",
        &blocked(3),
    ]);
    restarted.clone().jobs("worker-1 deleting").expect(&[&blocked(1)]);
    restarted.jobs("").expect(&["create train-driver-0", "create train-worker-0", "create train-worker-1"]);

    let single = jobset(policy).gates("RestartJob").jobs_restarted("driver", &[1], &[1]);
    single.clone().jobs("driver-0 deleting, worker-0").expect(&[&blocked(1)]);
    single.jobs("driver-0 restart=1, worker-0").expect(&["create train-worker-1"]);
}

/// Of failed Jobs, in-place restart is Recreate.
#[test]
fn in_place_restart_of_failed_jobs() {
    let policy = "failurePolicy: {maxRestarts: 1, restartStrategy: InPlaceRestart}";
    let restarted = jobset(policy).jobs("driver-0, worker-0 failed@9, worker-1").stored();
    restarted.clone().jobs("worker-1 deleting").expect(&[
        "create train-driver-0",
        "create train-worker-0",
        &deleting(1),
    ]);
}

/// When a restart is over.
#[test]
fn the_end_of_a_restart() {
    let restarting = |spec: &str| {
        jobset(spec)
            .restarted(1, 1)
            .condition(&format!("RestartingJobSet=True DefaultFailurePolicy: {MESSAGE}"))
    };
    for (spec, jobs, over) in [
        ("", "driver-0 attempt=1 ready, worker-0 attempt=1 ready, worker-1 attempt=1 ready", true),
        ("", "driver-0 attempt=1 ready, worker-0 attempt=1 ready, worker-1 attempt=1 complete", true),
        ("", "driver-0 attempt=1 ready, worker-0 attempt=1 ready, worker-1 attempt=1", false),
        ("", "driver-0 attempt=1 ready, worker-0 attempt=1 ready", false),
        ("", "driver-0 attempt=1 ready, worker-0 ready deleting, worker-1 attempt=1 ready", false),
        ("replicatedJobs: [{name: driver}, {name: worker, replicas: 0}]", "driver-0 attempt=1 ready", true),
        ("replicatedJobs: []", "", true),
    ] {
        let plan = restarting(spec).jobs(jobs).plan();
        let reasons: Vec<_> = plan.events.iter().map(|event| event.reason.as_str()).collect();
        assert_eq!(reasons, if over { vec!["JobsReady"] } else { vec![] }, "{spec} {jobs}");
    }
    // A Job that failed is none of those that are ready.
    let failed = "driver-0 attempt=1 ready, worker-0 attempt=1 ready, worker-1 attempt=1 failed@9";
    let lines = restarting("failurePolicy: {maxRestarts: 9}").jobs(failed).outcome_lines();
    assert!(!lines.iter().any(|line| line.contains("JobsReady")), "{lines:?}");
    // The condition is not made by an end alone, and not while suspended.
    let ready = "driver-0 ready, worker-0 ready, worker-1 ready";
    jobset("").jobs(ready).expect(&[]);
    let suspended = restarting("suspend: true").jobs("driver-0 attempt=1 pods=0/0 suspended");
    assert!(!suspended.plan().events.iter().any(|event| event.reason == "JobsReady"));
}

/// An earlier attempt goes before anything is decided about this one.
#[test]
fn what_is_left_of_an_earlier_attempt_goes_also_when_this_one_fails() {
    let scene = jobset("failurePolicy: {maxRestarts: 2}").restarted(1, 1);
    let scene = scene.jobs("driver-0, worker-0 attempt=1 failed@9, worker-1 failed@3");
    let plan = scene.plan();
    assert_eq!(actions(&plan), ["delete train-driver-0", "delete train-worker-1"]);
    let status = plan.status.unwrap();
    assert_eq!((status.restarts, status.restarts_count_towards_max), (2, 2));
    assert_eq!(status.conditions[0].message, MESSAGE);
}

/// A restart adds to what was counted before: of the restarts, of those that count; of single Jobs nothing changes.
#[test]
fn counts_so_far_stay() {
    let scene = jobset("failurePolicy: {maxRestarts: 9}").gates("RestartJob").restarted(5, 2);
    let failed = scene
        .jobs_restarted("worker", &[1, 4], &[0, 3])
        .jobs("driver-0 attempt=5 failed@9, worker-0 attempt=5 restart=1, worker-1 attempt=5 restart=4");
    let status = failed.plan().status.unwrap();
    assert_eq!((status.restarts, status.restarts_count_towards_max), (6, 3));
    let worker = &status.replicated_jobs_status[0];
    assert_eq!(
        (&worker.job_restarts[..], &worker.job_restarts_count_towards_max[..]),
        (&[1, 4][..], &[0, 3][..])
    );
}

/// Every failure is counted once, however often the same Jobs are looked at.
#[test]
fn one_failure_counts_once() {
    let mut scene = jobset("failurePolicy: {maxRestarts: 9}").jobs("driver-0 failed@9, worker-0 failed@8");
    for _ in 0..5 {
        scene = scene.stored();
    }
    assert_eq!(scene.jobset.status.unwrap().restarts, 1);
}
