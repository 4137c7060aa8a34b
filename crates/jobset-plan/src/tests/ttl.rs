//! `spec.ttlSecondsAfterFinished`.

use super::*;

/// Rows: TTL, time of the end in seconds, milliseconds of the plan, and the result.
#[test]
fn a_jobset_is_deleted_when_its_ttl_has_passed() {
    for (ttl, finished, late, expected) in [
        ("ttlSecondsAfterFinished: 0", NOW, 0, "delete JobSet"),
        ("ttlSecondsAfterFinished: 0", NOW, 900, "delete JobSet"),
        ("ttlSecondsAfterFinished: 10", NOW, 0, "again in 10s"),
        ("ttlSecondsAfterFinished: 10", NOW, 900, "again in 9.1s"),
        ("ttlSecondsAfterFinished: 10", NOW - 9, 999, "again in 1ms"),
        ("ttlSecondsAfterFinished: 10", NOW - 10, 0, "delete JobSet"),
        ("ttlSecondsAfterFinished: 10", NOW - 10, 1, "delete JobSet"),
        // The clock was set back.
        ("ttlSecondsAfterFinished: 10", NOW + 5, 0, "again in 15s"),
        ("ttlSecondsAfterFinished: 2147483647", 0, 0, "again in 2146483647s"),
        ("", NOW - 10, 0, ""),
    ] {
        for condition in ["Completed=True AllJobsCompleted: x", "Failed=True FailedJobs: x"] {
            let mut scene = jobset(ttl).condition(condition);
            scene.late = late;
            scene.status().conditions[0].last_transition_time =
                Time(Timestamp::from_second(finished).unwrap());
            let mut lines = scene.outcome_lines();
            lines.retain(|line| !line.starts_with("waiting: "));
            assert_eq!(lines.join("\n"), expected);
        }
    }
}

/// The TTL starts at the transition of the first terminal condition that is True. The first plan after it is stored
/// applies it.
#[test]
fn the_ttl_starts_at_the_first_terminal_condition() {
    let spec = "ttlSecondsAfterFinished: 1000000";
    let mut scene = jobset(spec)
        .condition("Failed=False FailedJobs: x")
        .condition("Suspended=True SuspendedJobs: x")
        .condition("Completed=True AllJobsCompleted: x");
    let mut later = scene.status().conditions[2].clone();
    (later.type_, later.last_transition_time) = ("Failed".into(), Time(Timestamp::from_second(NOW).unwrap()));
    scene.status().conditions.push(later);
    scene.late = 0;
    scene.expect(&["again in 5s", "waiting: ttlSecondsAfterFinished: the JobSet is deleted in 5s"]);
    scene.late = 1;
    // The text has whole seconds, rounded up.
    scene.expect(&["again in 4.999s", "waiting: ttlSecondsAfterFinished: the JobSet is deleted in 5s"]);
    let jobs = "driver-0 complete, worker-0 complete, worker-1 complete";
    let ends = jobset("ttlSecondsAfterFinished: 0").jobs(jobs);
    assert_eq!(actions(&ends.plan()), Vec::<String>::new());
    ends.stored().expect(&["delete JobSet"]);
    // An unfinished JobSet has no TTL.
    jobset("ttlSecondsAfterFinished: 0").jobs(RUNNING).expect(&[]);
}

#[test]
fn running_jobs_are_deleted_together_with_the_jobset() {
    let scene = jobset("ttlSecondsAfterFinished: 60").condition("Failed=True FailedJobs: x").jobs(RUNNING);
    scene.expect(&[
        "delete train-driver-0",
        "delete train-worker-0",
        "delete train-worker-1",
        "delete JobSet",
        &stopping(3),
    ]);
}

/// The manager sets the terminal condition. The controller deletes the JobSet, and leaves status and Jobs to the manager.
#[test]
fn a_jobset_of_another_manager_is_deleted_after_its_ttl() {
    let completed = "Completed=True AllJobsCompleted: x";
    for (spec, condition, expected) in [
        ("ttlSecondsAfterFinished: 60", completed, vec!["delete JobSet"]),
        ("ttlSecondsAfterFinished: 60", "Failed=True Evicted: x", vec!["delete JobSet"]),
        (
            "ttlSecondsAfterFinished: 1000000",
            completed,
            vec!["again in 4.1s", "waiting: ttlSecondsAfterFinished: the JobSet is deleted in 5s"],
        ),
        ("ttlSecondsAfterFinished: 60", "Completed=False AllJobsCompleted: x", vec![]),
        ("ttlSecondsAfterFinished: 60", "Suspended=True SuspendedJobs: x", vec![]),
        ("suspend: true", completed, vec![]),
    ] {
        let scene = jobset(&format!("managedBy: kueue.x-k8s.io/multikueue\n{spec}")).condition(condition);
        let mut scene = scene.jobs("driver-0, worker-0 failed@7, worker-1 attempt=none");
        scene.service = None;
        scene.expect(&expected);
    }
}
