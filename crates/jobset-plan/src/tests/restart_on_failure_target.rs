//! Feature gate `RestartOnFailureTarget`: a Job counts as failed while its pods are still stopping.

use super::*;

const FAILS: &str = "driver-0, worker-0, worker-1 failing@9 reason=PodFailurePolicy message=exit-3";
const FAILED: &str = "driver-0, worker-0, worker-1 failed@11 reason=PodFailurePolicy message=exit-3";

/// JobSets with different reactions to a failed Job.
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
fn a_failing_job_counts_as_failed() {
    for scene in policies() {
        let failed = scene.clone().jobs(FAILED);
        let fails = scene.clone().jobs(FAILS).gates("RestartOnFailureTarget");
        assert_eq!(fails.plan(), failed.plan());
        assert!(failed.plan().status.unwrap().replicated_jobs_status[0].failed == 1);
    }
}

#[test]
fn without_the_gate_a_failing_job_counts_as_running() {
    for scene in policies() {
        assert_eq!(scene.clone().jobs(FAILS).plan(), scene.jobs("driver-0, worker-0, worker-1").plan());
    }
}

/// The counted failure belongs to an earlier attempt when the Job has failed, and when it is gone.
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
    // The other Jobs are gone. The pods of this Job stop, then it is failed, then it is gone, too.
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

/// The failed Job stays for diagnosis.
#[test]
fn a_failed_jobset_does_not_delete_the_failing_job() {
    let failed = jobset("").gates("RestartOnFailureTarget").jobs(FAILS).stored();
    assert_eq!(failed.jobset.status.as_ref().unwrap().terminal_state, "Failed");
    assert_eq!(actions(&failed.plan()), ["delete train-driver-0", "delete train-worker-0"]);
    for state in ["failing@9", "failed@11"] {
        assert_eq!(failed.clone().jobs(&format!("worker-1 {state}")).plan().actions, []);
    }
}

#[test]
fn the_first_failed_job_is_the_first_with_failure_target() {
    let scene =
        jobset("").gates("RestartOnFailureTarget").jobs("driver-0 failed@9, worker-0 failing@8, worker-1");
    let plan = scene.plan();
    assert!(plan.events[0].note.contains("first failed job: train-worker-0"), "{plan:?}");
}
