//! `spec.successPolicy`.

use super::*;

#[test]
fn when_it_is_met() {
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
        // Without a policy (an update removed it), or with an unknown operator, as with All.
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
        // Of an earlier attempt, and suspended: the first does not count, the second makes no difference.
        (any, "driver-0, worker-0, worker-1 complete attempt=none", false),
        (
            "successPolicy: {operator: Any}\nsuspend: true",
            "driver-0 suspended, worker-0 complete, worker-1 suspended",
            true,
        ),
        // None of none have to complete, but one of any: a JobSet completes by a Job.
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
fn what_follows() {
    jobset("").jobs("driver-0 complete, worker-0 complete, worker-1 complete").expect(&[
        "Completed=True AllJobsCompleted: jobset completed successfully",
        "terminalState: Completed",
        "Normal AllJobsCompleted: jobset completed successfully",
    ]);
    // Nothing else happens in this pass: no Job is created, no Service, no other condition changes.
    let mut scene = jobset(
        "successPolicy: {operator: Any}\nnetwork: {enableDNSHostnames: true}\nstartupPolicy: {startupPolicyOrder: InOrder}",
    )
    .jobs("worker-0 complete, worker-1 pending")
    .condition("RestartingJobSet=True FailurePolicy_retry: of old");
    scene.service = None;
    scene.expect(&[
        "RestartingJobSet=False JobSetCompleted: jobset completed successfully",
        "Completed=True AllJobsCompleted: jobset completed successfully",
        "terminalState: Completed",
        "Normal AllJobsCompleted: jobset completed successfully",
        "Normal JobSetCompleted: jobset completed successfully",
    ]);
    // What still runs is deleted once the end is stored; the rest stays, the finished Jobs too.
    let completed = scene.stored();
    completed.expect(&["delete train-worker-1", &stopping(1)]);
    completed.jobs("worker-0 complete, worker-1 deleting").expect(&[&stopping(1)]);
}

/// A finished JobSet never fails, restarts, starts or suspends again.
#[test]
fn the_end_is_final() {
    let jobs = "driver-0 complete, worker-0 complete, worker-1 complete";
    let completed = jobset("failurePolicy: {maxRestarts: 4}").jobs(jobs).stored();
    for jobs in ["", "driver-0 failed@7", "worker-0 attempt=none", "driver-0 complete, worker-0 failed@7"] {
        for suspend in [false, true] {
            let lines = completed.clone().jobs(jobs).suspend(suspend).outcome_lines_without_foreign();
            assert_eq!(lines, Vec::<String>::new(), "{jobs}");
        }
    }
}
