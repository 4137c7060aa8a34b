//! Restarts of the whole JobSet, step by step, with each strategy.

use super::*;

const MESSAGE: &str = "applying RestartJobSet failure policy action (first failed job: train-worker-0)";

#[test]
fn recreate_creates_each_job_when_its_predecessor_is_gone() {
    let scene = jobset("failurePolicy: {maxRestarts: 1}").jobs("driver-0, worker-0 failed@9, worker-1");
    let restarted = scene.stored();
    assert_eq!(restarted.jobset.status.as_ref().unwrap().restarts, 1);
    restarted.expect(&[
        "delete train-driver-0",
        "delete train-worker-0",
        "delete train-worker-1",
        &deleting(3),
    ]);
    // A Job occupies its name until it is gone.
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

/// The same applies after the restart of a single Job.
#[test]
fn blocking_recreate_creates_no_job_until_all_predecessors_are_gone() {
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

#[test]
fn in_place_restart_recreates_failed_jobs() {
    let policy = "failurePolicy: {maxRestarts: 1, restartStrategy: InPlaceRestart}";
    let restarted = jobset(policy).jobs("driver-0, worker-0 failed@9, worker-1").stored();
    restarted.clone().jobs("worker-1 deleting").expect(&[
        "create train-driver-0",
        "create train-worker-0",
        &deleting(1),
    ]);
}

#[test]
fn a_restart_ends_when_all_jobs_are_ready_or_complete() {
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
    // A failed Job is not ready.
    let failed = "driver-0 attempt=1 ready, worker-0 attempt=1 ready, worker-1 attempt=1 failed@9";
    let lines = restarting("failurePolicy: {maxRestarts: 9}").jobs(failed).outcome_lines();
    assert!(!lines.iter().any(|line| line.contains("JobsReady")), "{lines:?}");
    // The condition is not created when there was no restart, and does not change while the JobSet is suspended.
    let ready = "driver-0 ready, worker-0 ready, worker-1 ready";
    jobset("").jobs(ready).expect(&[]);
    let suspended = restarting("suspend: true").jobs("driver-0 attempt=1 pods=0/0 suspended");
    assert!(!suspended.plan().events.iter().any(|event| event.reason == "JobsReady"));
}

#[test]
fn jobs_of_an_earlier_attempt_are_deleted_even_if_the_current_attempt_fails() {
    let scene = jobset("failurePolicy: {maxRestarts: 2}").restarted(1, 1);
    let scene = scene.jobs("driver-0, worker-0 attempt=1 failed@9, worker-1 failed@3");
    let plan = scene.plan();
    assert_eq!(actions(&plan), ["delete train-driver-0", "delete train-worker-1"]);
    let status = plan.status.unwrap();
    assert_eq!((status.restarts, status.restarts_count_towards_max), (2, 2));
    assert_eq!(status.conditions[0].message, MESSAGE);
}

/// A restart of the JobSet does not change the counts of single Jobs.
#[test]
fn a_restart_adds_to_earlier_counts() {
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

#[test]
fn a_failure_counts_once_over_several_reconciles() {
    let mut scene = jobset("failurePolicy: {maxRestarts: 9}").jobs("driver-0 failed@9, worker-0 failed@8");
    for _ in 0..5 {
        scene = scene.stored();
    }
    assert_eq!(scene.jobset.status.unwrap().restarts, 1);
}
