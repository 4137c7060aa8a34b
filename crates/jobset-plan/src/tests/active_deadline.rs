//! `spec.activeDeadlineSeconds`, and `status.startTime`.

use super::*;

const GATE: &str = "JobSetActiveDeadlineSeconds";
const SUSPENDED: &str = "Suspended=True SuspendedJobs: jobset is suspended";
const EXCEEDED: [&str; 3] = [
    "Failed=True DeadlineExceeded: JobSet was active for longer than the specified deadline of 60 seconds",
    "terminalState: Failed",
    "Warning DeadlineExceeded: JobSet was active for longer than the specified deadline of 60 seconds",
];

fn with(spec: &str) -> Scene {
    jobset(spec).gates(GATE)
}

/// The start time after a plan, in seconds relative to [`NOW`].
fn start(scene: &Scene) -> Option<i64> {
    let status = scene.plan().status.or_else(|| scene.jobset.status.clone()).unwrap_or_default();
    status.start_time.map(|time| time.0.as_second() - NOW)
}

/// A whole second, as the API server stores it. It does not depend on `activeDeadlineSeconds`.
#[test]
fn a_running_jobset_has_a_start_time() {
    for (what, scene, expected) in vec![
        ("created", with(""), Some(0)),
        ("running before the gate", with("").jobs(RUNNING), Some(0)),
        ("running", with("").jobs(RUNNING).started(-9), Some(-9)),
        ("one Job restarts", with(RESTART_JOB).gates("RestartJob").jobs(FAILED).started(-9), Some(-9)),
        ("all Jobs restart", with("failurePolicy: {maxRestarts: 1}").jobs(FAILED).started(-9), Some(0)),
        ("created suspended", with("suspend: true"), None),
        ("suspended", with("suspend: true").jobs(RUNNING).started(-9), None),
        ("suspended, restarts", with(SUSPENDED_RESTARTS).jobs(FAILED).started(-9), None),
        ("resumed", with("").jobs("driver-0 suspended").condition(SUSPENDED), Some(0)),
        ("waits for a dependency", with(DEPENDS).jobs("a-0").started(-9), Some(-9)),
        // A JobSet that has finished keeps it.
        ("finished", with("").condition("Failed=True FailedJobs: x").started(-9), Some(-9)),
        ("gate off", jobset("").jobs(RUNNING), None),
        ("gate switched off", jobset("").jobs(RUNNING).started(-9), None),
    ] {
        assert_eq!(start(&scene), expected, "{what}");
        let stored = scene.stored();
        assert_eq!(start(&stored), expected, "settled: {what}");
    }
}

const FAILED: &str = "driver-0 failed@9, worker-0, worker-1";
const RESTART_JOB: &str = "failurePolicy: {maxRestarts: 9, rules: [{name: a, action: RestartJob}]}";
const SUSPENDED_RESTARTS: &str = "suspend: true\nfailurePolicy: {maxRestarts: 1}";
const DEPENDS: &str = "replicatedJobs: [{name: a}, {name: b, dependsOn: [{name: a, status: Complete}]}]\nactiveDeadlineSeconds: 60";

/// The controller decides from the stored start time, so it does not delay the write.
#[test]
fn a_changed_start_time_is_urgent() {
    for scene in [with(""), with("").jobs(RUNNING), jobset("").jobs(RUNNING).started(-9)] {
        assert!(scene.plan().status_is_urgent);
        assert!(!scene.stored().plan().status_is_urgent);
    }
    assert!(!jobset("").plan().status_is_urgent, "the gate is off");
}

/// Rows: deadline, start, whether the JobSet runs, milliseconds of the plan, and the result.
#[test]
fn a_jobset_fails_when_its_deadline_has_passed() {
    let exceeded = "exceeded";
    for (deadline, started, suspend, late, expected) in [
        (60, 0, false, 0, "again in 60s"),
        (60, -59, false, 1, "again in 999ms"),
        (60, -60, false, 0, exceeded),
        (60, -61, false, 900, exceeded),
        (60, -999_999, false, 0, exceeded),
        // The clock was set back.
        (60, 3600, false, 0, "again in 3660s"),
        // The deadline was shortened, extended or removed.
        (1, -59, false, 0, exceeded),
        (100, -60, false, 0, "again in 40s"),
        (0, -60, false, 0, ""),
        (60, -61, true, 0, ""),
        // The largest deadline, and one that never ends.
        (9_223_372_036, -60, false, 0, "again in 9223371976s"),
        (9_223_372_037, -60, false, 0, ""),
        (i64::MAX, -60, false, 0, ""),
    ] {
        let mut scene = with("").jobs(RUNNING).started(started).suspend(suspend);
        scene.jobset.spec.active_deadline_seconds = (deadline > 0).then_some(deadline);
        scene.late = late;
        let plan = scene.plan();
        let failed = plan.status.is_some_and(|status| status.terminal_state == "Failed");
        let again = plan.requeue_after.map(|after| format!("again in {after:?}")).unwrap_or_default();
        let is = if failed { exceeded } else { &again };
        assert_eq!(is, expected, "{deadline} {started} {suspend} {late}");
    }
}

#[test]
fn without_the_gate_a_deadline_has_no_effect() {
    let scene = jobset("activeDeadlineSeconds: 60").jobs(RUNNING).started(-61);
    scene.expect(&["startTime: none"]);
    scene.stored().expect(&[]);
}

#[test]
fn other_managers_enforce_their_deadlines() {
    let spec = "activeDeadlineSeconds: 60\nmanagedBy: example.com/other";
    assert_eq!(with(spec).jobs(RUNNING).started(-61).plan(), Plan::default());
    assert_eq!(with(spec).plan(), Plan::default());
}

#[test]
fn an_expired_jobset_fails_and_its_jobs_are_deleted() {
    let expired = with("activeDeadlineSeconds: 60")
        .restarted(1, 0)
        .condition("RestartingJobSet=True DefaultFailurePolicy: x")
        .jobs("driver-0 attempt=1 complete, worker-0 attempt=1, worker-1 attempt=1 deleting, worker-2")
        .started(-61);
    expired.expect(&[
        "delete train-worker-2",
        "delete train-worker-0",
        "RestartingJobSet=False JobSetFailed: jobset failed",
        EXCEEDED[0],
        EXCEEDED[1],
        EXCEEDED[2],
        "Normal JobSetFailed: jobset failed",
    ]);
    let ended = expired.stored().jobs("driver-0 attempt=1 complete");
    ended.expect(&[]);
}

/// The failure policy does not decide, because a restart would begin a new time.
#[test]
fn an_expired_jobset_does_not_restart() {
    for policy in ["failurePolicy: {maxRestarts: 9}", RESTART_JOB, ""] {
        let scene = with(&format!("activeDeadlineSeconds: 60\n{policy}")).gates("RestartJob").started(-60);
        scene.jobs(FAILED).expect(&[
            "delete train-worker-0",
            "delete train-worker-1",
            EXCEEDED[0],
            EXCEEDED[1],
            EXCEEDED[2],
        ]);
    }
    // Before the deadline, the failure policy decides first.
    let early = with("activeDeadlineSeconds: 60").jobs("driver-0 complete, worker-0 failed@9").started(-59);
    assert!(early.outcome_lines().contains(&"Warning FailedJobs: jobset failed due to one or more job failures (first failed job: train-worker-0)".to_owned()));
}

/// A JobSet that has met its success policy completes, even if another Job has failed.
#[test]
fn an_expired_jobset_that_succeeded_completes() {
    let any = "activeDeadlineSeconds: 60\nsuccessPolicy: {operator: Any}";
    let completes = [
        "Completed=True AllJobsCompleted: jobset completed successfully",
        "terminalState: Completed",
        "Normal AllJobsCompleted: jobset completed successfully",
    ];
    let scene = with(any).started(-60);
    scene.clone().jobs("driver-0 complete, worker-0 failed@9, worker-1").expect(&completes);
    scene.jobs("driver-0, worker-0 failed@9, worker-1").expect(&[
        "delete train-driver-0",
        "delete train-worker-1",
        EXCEEDED[0],
        EXCEEDED[1],
        EXCEEDED[2],
    ]);
    let all = with("activeDeadlineSeconds: 60").started(-60);
    all.clone().jobs("driver-0 complete, worker-0 complete, worker-1 complete").expect(&completes);
    all.jobs("driver-0 complete, worker-0 complete, worker-1").expect(&[
        "delete train-worker-1",
        EXCEEDED[0],
        EXCEEDED[1],
        EXCEEDED[2],
    ]);
}

/// No path may lose the deadline: the JobSet may change nothing until then.
#[test]
fn every_running_jobset_is_planned_at_its_deadline() {
    for (what, scene) in [
        ("running", with("").jobs(RUNNING)),
        ("creates Jobs", with("")),
        ("waits for a dependency", with(DEPENDS).jobs("a-0")),
        ("waits in order", with("startupPolicy: {startupPolicyOrder: InOrder}").jobs("driver-0")),
        ("the failure policy cannot be applied", with(RESTART_JOB).jobs(FAILED)),
        ("restarts", with("failurePolicy: {maxRestarts: 9}").jobs(FAILED)),
        ("waits for earlier Jobs", with("").restarted(1, 1).jobs("driver-0 deleting")),
        ("resumes", with("").condition(SUSPENDED).jobs("driver-0 suspended active=3")),
        ("counts a resume", with("").gates("ExecutionAttemptsTracking").condition(SUSPENDED)),
    ] {
        let mut scene = scene.started(-9);
        scene.late = 0;
        scene.jobset.spec.active_deadline_seconds = Some(60);
        assert_eq!(scene.plan().requeue_after, Some(std::time::Duration::from_secs(51)), "{what}");
    }
}

/// The restored attempt began at an unknown time, later than the stored start.
#[test]
fn a_restored_jobset_has_a_new_start_time() {
    let lost = with("activeDeadlineSeconds: 60").jobs("driver-0 attempt=1").started(-61).stored();
    let status = lost.jobset.status.clone().unwrap();
    assert_eq!((status.restarts, status.start_time), (1, None));
    assert_eq!(start(&lost), Some(0));
}
