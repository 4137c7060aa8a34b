//! Feature gate `RestartOnFailureTarget`: a Job counts as failed while its pods still stop.

use super::*;

const FAILS: &str = "driver-0, worker-0, worker-1 failing@9 reason=PodFailurePolicy message=exit-3";
const FAILED: &str = "driver-0, worker-0, worker-1 failed@11 reason=PodFailurePolicy message=exit-3";

/// Specs with what a failed Job does to them.
fn policies() -> Vec<Scene> {
    let rules = |rules: &str| jobset(&format!("failurePolicy: {{maxRestarts: 3, rules: [{rules}]}}"));
    vec![
        jobset(""),
        rules(""),
        rules("{name: a, action: FailJobSet, onJobFailureReasons: [PodFailurePolicy]}"),
        rules("{name: a, action: FailJobSet, onJobFailureMessagePatterns: ['^exit-3$']}"),
        rules("{name: a, action: FailJobSet, onJobFailureReasons: [DeadlineExceeded]}"),
        rules("{name: a, action: RestartJobSetAndIgnoreMaxRestarts, targetReplicatedJobs: [worker]}"),
        rules("{name: a, action: RestartJob}").gates("RestartJob"),
        jobset("failurePolicy: {maxRestarts: 0}"),
    ]
}

#[test]
fn it_counts_as_failed_at_once() {
    for scene in policies() {
        let failed = scene.clone().jobs(FAILED);
        let fails = scene.clone().jobs(FAILS).gates("RestartOnFailureTarget");
        assert_eq!(fails.plan(), failed.plan());
        assert!(failed.plan().status.unwrap().replicated_jobs_status[0].failed == 1);
    }
}

#[test]
fn without_the_gate_it_runs() {
    for scene in policies() {
        assert_eq!(scene.clone().jobs(FAILS).plan(), scene.jobs("driver-0, worker-0, worker-1").plan());
    }
}

/// The failure that was counted is of an earlier attempt when the Job has failed, and when it is gone.
#[test]
fn one_failure_is_one_restart() {
    let gates = "RestartOnFailureTarget RestartJob";
    let whole = jobset("failurePolicy: {maxRestarts: 3}").gates(gates).jobs(FAILS).stored();
    assert_eq!(whole.jobset.status.as_ref().unwrap().restarts, 1);
    whole.clone().expect(&[
        "delete train-driver-0",
        "delete train-worker-0",
        "delete train-worker-1",
        &deleting(3),
    ]);
    // The others are gone; the pods of this one still stop, then no more, then it is gone, too.
    let created = "driver-0 attempt=1, worker-0 attempt=1";
    for state in ["failing@9 deleting", "failed@11 deleting", "failed@11"] {
        let scene = whole.clone().jobs(&format!("{created}, worker-1 {state}"));
        let plan = scene.plan();
        assert_eq!(plan.status.map(|status| status.restarts), Some(1), "{state}");
        let delete = (!state.contains("deleting")).then(|| "delete train-worker-1".to_owned());
        assert_eq!(actions(&scene.plan()), Vec::from_iter(delete), "{state}");
    }
    assert_eq!(actions(&whole.jobs(created).plan()), ["create train-worker-1"]);

    let rules = "failurePolicy: {maxRestarts: 3, rules: [{name: a, action: RestartJob}]}";
    let single = jobset(rules).gates(gates).jobs(FAILS).stored();
    single.clone().expect(&["delete train-worker-1", &deleting(1)]);
    for state in ["failing@9 deleting", "failed@11 deleting"] {
        let scene = single.clone().jobs(&format!("driver-0, worker-0, worker-1 {state}"));
        let restarts = scene.plan().status.unwrap().replicated_jobs_status[0].job_restarts.clone();
        assert_eq!((restarts, actions(&scene.plan())), (vec![0, 1], vec![]), "{state}");
    }
}

/// What fails by itself is left to do so: it stays as evidence.
#[test]
fn a_failed_jobset_lets_it_end() {
    let failed = jobset("").gates("RestartOnFailureTarget").jobs(FAILS).stored();
    assert_eq!(failed.jobset.status.as_ref().unwrap().terminal_state, "Failed");
    assert_eq!(actions(&failed.plan()), ["delete train-driver-0", "delete train-worker-0"]);
    for state in ["failing@9", "failed@11"] {
        assert_eq!(failed.clone().jobs(&format!("worker-1 {state}")).plan().actions, []);
    }
}

#[test]
fn the_first_is_the_one_that_was_known_to_fail_first() {
    let scene =
        jobset("").gates("RestartOnFailureTarget").jobs("driver-0 failed@9, worker-0 failing@8, worker-1");
    let plan = scene.plan();
    assert!(plan.events[0].note.contains("first failed job: train-worker-0"), "{plan:?}");
}
