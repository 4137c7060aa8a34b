//! The counts of `replicatedJobsStatus`.

use super::*;

/// Counts as `<name> <ready> <succeeded> <failed> <active> <suspended>`.
fn counts(plan: &Plan) -> Vec<String> {
    let entries = &plan.status.as_ref().unwrap().replicated_jobs_status;
    let line = |s: &ReplicatedJobStatus| {
        format!("{} {} {} {} {} {}", s.name, s.ready, s.succeeded, s.failed, s.active, s.suspended)
    };
    entries.iter().map(line).collect()
}

#[test]
fn jobs_are_counted_by_state() {
    for (jobs, driver, worker) in [
        ("", "0 0 0 0 0", "0 0 0 0 0"),
        ("driver-0, worker-0 pending, worker-1", "0 0 0 1 0", "0 0 0 1 0"),
        ("driver-0 ready, worker-0 ready, worker-1", "1 0 0 1 0", "1 0 0 2 0"),
        ("driver-0 suspended, worker-0 suspended, worker-1", "0 0 0 0 1", "0 0 0 1 1"),
        // A suspended Job whose pods are still stopping.
        ("driver-0 suspended active=1", "0 0 0 1 1", "0 0 0 0 0"),
        ("driver-0 complete, worker-0 complete, worker-1 failed@7", "0 1 0 0 0", "0 1 1 0 0"),
        // Ready: the ready and succeeded pods reach parallelism, or completions if they are lower.
        ("driver-0 pods=4/8 ready=3, worker-0 pods=4/8 ready=4", "0 0 0 1 0", "1 0 0 1 0"),
        ("driver-0 pods=4/3 ready=3, worker-0 pods=4/ ready=3", "1 0 0 1 0", "0 0 0 1 0"),
        ("driver-0 pods=4/8 ready=1 succeeded=3, worker-0 pods=2/2 succeeded=1", "1 0 0 1 0", "0 0 0 1 0"),
        ("driver-0 pods=0/0 pending, worker-0 pods=0/0 suspended", "1 0 0 0 0", "1 0 0 0 1"),
        // Of another attempt, without a valid attempt, or of an unknown ReplicatedJob.
        (
            "driver-0 edited-attempt=1, worker-0 attempt=x ready, worker-1 attempt=none ready",
            "0 0 0 0 0",
            "0 0 0 0 0",
        ),
        ("driver-0 of=none ready, worker-0 of=other ready", "0 0 0 0 0", "0 0 0 0 0"),
        ("driver-0 deleting ready", "1 0 0 1 0", "0 0 0 0 0"),
    ] {
        let expected = [format!("worker {worker}"), format!("driver {driver}")];
        assert_eq!(counts(&jobset("").jobs(jobs).plan()), expected, "{jobs}");
    }
}

#[test]
fn jobs_of_an_earlier_attempt_are_not_counted() {
    let scene =
        jobset("").restarted(1, 1).jobs("driver-0 ready, worker-0 attempt=1 ready, worker-1 complete");
    assert_eq!(counts(&scene.plan()), ["worker 1 0 0 1 0", "driver 0 0 0 0 0"]);
}

#[test]
fn entries_are_sorted_by_name_descending() {
    let scene = jobset("replicatedJobs: [{name: b}, {name: c}, {name: a, replicas: 0}]");
    assert_eq!(counts(&scene.plan()), ["c 0 0 0 0 0", "b 0 0 0 0 0", "a 0 0 0 0 0"]);
}

#[test]
fn counts_are_updated_after_the_jobset_finished() {
    let ended = jobset("").jobs("driver-0 failed@7, worker-0, worker-1 complete").stored();
    let after = ended.jobs("driver-0 failed@7");
    assert_eq!(counts(&after.plan()), ["worker 0 0 0 0 0", "driver 0 0 1 0 0"]);
    after.expect(&[]);
}

#[test]
fn restarts_of_single_jobs_stay_while_their_gate_is_on() {
    let restarted = jobset("").jobs_restarted("worker", &[1, 2], &[1, 0]).jobs("driver-0 ready");
    let arrays = |scene: &Scene| {
        let entry = scene.plan().status.unwrap().replicated_jobs_status[0].clone();
        (entry.job_restarts, entry.job_restarts_count_towards_max)
    };
    assert_eq!(arrays(&restarted), (vec![], vec![]));
    assert_eq!(arrays(&restarted.gates("RestartJob")), (vec![1, 2], vec![1, 0]));
}
