//! `spec.successPolicy`.

use super::*;

#[test]
fn a_jobset_completes_when_its_policy_is_met() {
    let all = "successPolicy: {operator: All}";
    let any = "successPolicy: {operator: Any}";
    let all_workers = "successPolicy: {operator: All, targetReplicatedJobs: [worker]}";
    let any_worker = "successPolicy: {operator: Any, targetReplicatedJobs: [worker]}";
    let all_of_none = "replicatedJobs: [{name: none, replicas: 0}, {name: driver}]\n\
                       successPolicy: {operator: All, targetReplicatedJobs: [none]}";
    for (policy, jobs, met) in [
        (all, RUNNING, false),
        (all, "driver-0 complete, worker-0 complete, worker-1", false),
        (all, "driver-0 complete, worker-0 complete", false),
        (all, "driver-0 complete, worker-0 complete, worker-1 complete", true),
        // A missing policy (removed by an update) and an unknown operator mean All.
        ("", "driver-0 complete, worker-0 complete, worker-1", false),
        ("", "driver-0 complete, worker-0 complete, worker-1 complete", true),
        ("successPolicy: {operator: Most}", "driver-0 complete, worker-0 complete, worker-1", false),
        ("successPolicy: {operator: Most}", "driver-0 complete, worker-0 complete, worker-1 complete", true),
        (any, RUNNING, false),
        (any, "driver-0, worker-0, worker-1 complete", true),
        (all_workers, "driver-0 complete, worker-0 complete, worker-1", false),
        (all_workers, "driver-0, worker-0 complete, worker-1 complete", true),
        (any_worker, "driver-0 complete, worker-0, worker-1", false),
        (any_worker, "driver-0, worker-0 complete, worker-1", true),
        // Jobs of an earlier attempt do not count. Suspended Jobs do not matter.
        (any, "driver-0, worker-0, worker-1 complete attempt=none", false),
        (
            "successPolicy: {operator: Any}\nsuspend: true",
            "driver-0 suspended, worker-0 complete, worker-1 suspended",
            true,
        ),
        // Without target Jobs, at least one Job must complete.
        (all_of_none, "driver-0", false),
        (all_of_none, "driver-0 complete", true),
    ] {
        let state = jobset(policy).jobs(jobs).plan().status.unwrap().terminal_state;
        assert_eq!(state, if met { "Completed" } else { "" }, "{policy} {jobs}");
    }
    let waiting =
        "replicatedJobs: [{name: driver}, {name: worker, dependsOn: [{name: driver, status: Complete}]}]";
    jobset(waiting).jobs("driver-0 complete").expect(&["create train-worker-0"]);
}

#[test]
fn a_completed_jobset_deletes_running_jobs_and_changes_nothing_else() {
    jobset("").jobs("driver-0 complete, worker-0 complete, worker-1 complete").expect(&[
        "Completed=True AllJobsCompleted: jobset completed successfully",
        "terminalState: Completed",
        "Normal AllJobsCompleted: jobset completed successfully",
    ]);
    // The same plan creates no Job and no Service, and changes no other condition.
    let mut scene = jobset(
        "successPolicy: {operator: Any}\nnetwork: {enableDNSHostnames: true}\nstartupPolicy: {startupPolicyOrder: InOrder}",
    )
    .jobs("worker-0 complete, worker-1 pending")
    .condition("RestartingJobSet=True FailurePolicy_retry: old");
    scene.service = None;
    scene.expect(&[
        "RestartingJobSet=False JobSetCompleted: jobset completed successfully",
        "Completed=True AllJobsCompleted: jobset completed successfully",
        "terminalState: Completed",
        "Normal AllJobsCompleted: jobset completed successfully",
        "Normal JobSetCompleted: jobset completed successfully",
    ]);
    // Running Jobs are deleted after the condition is stored. Finished Jobs and other children stay.
    let completed = scene.stored();
    completed.expect(&["delete train-worker-1", &stopping(1)]);
    completed.jobs("worker-0 complete, worker-1 deleting").expect(&[&stopping(1)]);
}

/// A finished JobSet never fails, restarts, starts or suspends again.
#[test]
fn a_finished_jobset_stays_finished() {
    let jobs = "driver-0 complete, worker-0 complete, worker-1 complete";
    let completed = jobset("failurePolicy: {maxRestarts: 4}").jobs(jobs).stored();
    for jobs in ["", "driver-0 failed@7", "worker-0 attempt=none", "driver-0 complete, worker-0 failed@7"] {
        for suspend in [false, true] {
            let lines = completed.clone().jobs(jobs).suspend(suspend).outcome_lines_without_foreign();
            assert_eq!(lines, Vec::<String>::new(), "{jobs}");
        }
    }
}
