//! A status that was lost, overwritten, or restored from a backup.

use super::*;

const COUNTING: &str = "failurePolicy: {maxRestarts: 9}";
const IGNORING: &str =
    "failurePolicy: {maxRestarts: 9, rules: [{name: a, action: RestartJobSetAndIgnoreMaxRestarts}]}";

/// `restarts` and `restartsCountTowardsMax` that a plan stores, if it restores a lost status.
fn restored(scene: &Scene) -> Option<(i32, i32)> {
    let plan = scene.plan();
    if !plan.restores_status {
        return None;
    }
    assert_eq!(plan.actions, [], "nothing else happens");
    assert!(plan.status_is_urgent);
    assert_eq!(plan.problems, []);
    let reasons: Vec<_> = plan.events.iter().map(|event| event.reason.as_str()).collect();
    assert_eq!(reasons, ["StatusRestored"]);
    let status = plan.status.unwrap();
    Some((status.restarts, status.restarts_count_towards_max))
}

#[test]
fn restarts_rise_to_the_attempt_that_jobs_prove() {
    for (stored, jobs, expected) in [
        (0, "driver-0 attempt=1, worker-0 attempt=1, worker-1 attempt=1", Some(1)),
        (0, "worker-1 attempt=3", Some(3)),
        (1, "driver-0 attempt=3, worker-0 attempt=3", Some(3)),
        // In the middle of a restart.
        (0, "driver-0 attempt=1 deleting, worker-0 attempt=2, worker-1 attempt=1 deleting", Some(2)),
        (0, "driver-0 attempt=1 deleting, worker-0 attempt=1 failed@9 deleting", Some(1)),
        // Whatever became of the Jobs.
        (0, "driver-0 attempt=1 failed@9", Some(1)),
        (0, "driver-0 attempt=1 complete, worker-0 attempt=1 complete, worker-1 attempt=1 complete", Some(1)),
        // A number that is no attempt.
        (-3, "driver-0", Some(0)),
        (-3, "", Some(0)),
        // Nothing is lost.
        (0, "", None),
        (0, RUNNING, None),
        (2, "driver-0 attempt=2", None),
        (3, "driver-0 attempt=2 deleting", None),
        // A label that a user edited proves nothing.
        (0, "driver-0 edited-attempt=1", None),
        (0, "driver-0 edited-attempt=1, worker-0 edited-attempt=1, worker-1 edited-attempt=1", None),
        (0, "driver-0 attempt=2 edited-attempt=1", None),
        (0, "driver-0 attempt=2 edited-attempt=x", None),
        (0, "driver-0 attempt=2 edited-attempt=none", None),
        (0, "driver-0 edited-attempt=7, worker-0 attempt=1, worker-1 attempt=1", Some(1)),
    ] {
        let scene = jobset(COUNTING).restarted(stored, 0).jobs(jobs);
        assert_eq!(restored(&scene).map(|(restarts, _)| restarts), expected, "{stored}: {jobs}");
        let stored = scene.stored();
        assert_eq!(restored(&stored), None, "once: {jobs}");
    }
}

/// A Job that lost the label of its pod template, or never had it, proves nothing, and is foreign as before.
#[test]
fn a_job_without_proof_is_foreign() {
    let mut scene = jobset("").jobs("driver-0 attempt=7, worker-0, worker-1");
    std::sync::Arc::make_mut(&mut scene.jobs[0]).template_restart_attempt = LabelValue::Missing;
    let note = format!(
        "job train-driver-0 counts for nothing, as its label {} is 7, while status.restarts is 0; correct the label, or \
         delete the Job",
        labels::RESTART_ATTEMPT
    );
    scene.expect(&[&format!("of uid-of-driver-0: ForeignJob {note}"), &format!("waiting: {note}")]);
}

#[test]
fn restarts_that_count_rise_if_every_restart_counts() {
    for (spec, (restarts, counted), expected) in [
        (COUNTING, (0, 0), (3, 3)),
        (COUNTING, (2, 2), (3, 3)),
        // The policy was another one before.
        (COUNTING, (2, 1), (3, 2)),
        (COUNTING, (-2, 0), (3, 3)),
        (IGNORING, (0, 0), (3, 0)),
        (IGNORING, (2, 1), (3, 1)),
        ("", (0, 0), (3, 0)),
    ] {
        let scene = jobset(spec).restarted(restarts, counted).jobs("driver-0 attempt=3, worker-0 attempt=2");
        assert_eq!(restored(&scene), Some(expected), "{spec} {restarts} {counted}");
    }
}

#[test]
fn the_event_names_the_numbers_and_the_job() {
    let scene = jobset(COUNTING).jobs("worker-1 attempt=2");
    scene.expect(&[
        "restarts: 2",
        "restartsCountTowardsMax: 2",
        "Warning StatusRestored: the status was lost or overwritten, and is restored from the jobs: restarts was 0 and is 2 \
         again, as job train-worker-1 is of attempt 2",
    ]);
}

/// A lost status neither restarts what runs nor counts a failure twice: afterwards everything goes on.
#[test]
fn nothing_restarts_because_of_it() {
    let running = jobset(COUNTING).jobs("driver-0 attempt=1, worker-0 attempt=1 ready, worker-1 attempt=1");
    running.stored().expect(&[]);

    // The restart from attempt 0 is counted already; the old Jobs go, and the missing one is created.
    let restarting = jobset(COUNTING).jobs("driver-0 failed@9, worker-0 attempt=1");
    let restored = restarting.stored();
    restored.expect(&["delete train-driver-0", "create train-worker-1", &deleting(1)]);
    assert_eq!(created(&restored.plan())[0].metadata.labels.as_ref().unwrap()[labels::RESTART_ATTEMPT], "1");

    // A restart of which no Job was created yet is decided again, once.
    let lost = jobset(COUNTING).jobs("driver-0 attempt=1 failed@9, worker-0 attempt=1 deleting").stored();
    assert_eq!(lost.jobset.status.as_ref().unwrap().restarts, 1);
    let again = lost.stored().jobset.status.unwrap();
    assert_eq!((again.restarts, again.restarts_count_towards_max), (2, 2));
}

/// What follows from the Jobs comes back with the next plan.
#[test]
fn conditions_come_back() {
    for (spec, jobs, expected) in [
        (
            "",
            "driver-0 attempt=1 complete, worker-0 attempt=1 complete, worker-1 attempt=1 complete",
            "Completed",
        ),
        ("", "driver-0 attempt=1 failed@9", "Failed"),
        ("failurePolicy: {maxRestarts: 1}", "driver-0 attempt=1 failed@9", "Failed"),
        ("suspend: true", "driver-0 attempt=1 suspended", "Suspended"),
        ("startupPolicy: {startupPolicyOrder: InOrder}", "driver-0 attempt=1", "StartupPolicyInProgress"),
        (
            "startupPolicy: {startupPolicyOrder: InOrder}",
            "driver-0 attempt=1 ready, worker-0 attempt=1 ready, worker-1 attempt=1 ready",
            "StartupPolicyCompleted",
        ),
    ] {
        let status = jobset(spec).jobs(jobs).stored().stored().jobset.status.unwrap();
        let conditions: Vec<_> =
            status.conditions.iter().map(|it| format!("{}={}", it.type_, it.status)).collect();
        assert_eq!(conditions, [format!("{expected}=True")], "{spec} {jobs}");
    }
}

#[test]
fn restarts_of_single_jobs() {
    let all = "failurePolicy: {maxRestarts: 9, rules: [{name: a, action: RestartJob}]}";
    let some = "failurePolicy: {maxRestarts: 9, rules: [{name: a, action: RestartJobAndIgnoreMaxRestarts}]}";
    let line = |restarts: &str, counted: &str| {
        let mut lines = vec![format!("jobRestarts of worker: {restarts}")];
        lines.extend(
            (!counted.is_empty()).then(|| format!("jobRestartsCountTowardsMax of worker: {counted}")),
        );
        lines
    };
    let nothing = Vec::new();
    for (spec, jobs, expected) in [
        (all, "worker-1 restart=2", line("[0, 2]", "[0, 2]")),
        (some, "worker-1 restart=2", line("[0, 2]", "")),
        (all, "worker-0 restart=1, worker-1 restart=2", line("[1, 2]", "[1, 2]")),
        (all, "worker-1 restart=0", nothing.clone()),
        (all, "worker-1 edited-restart=2", nothing.clone()),
        (all, "worker-1 restart=1 edited-restart=2", nothing.clone()),
        (all, "worker-1 restart=2 edited-attempt=4", nothing.clone()),
        // Other labels can be edited too: the name says which Job it is.
        (all, "worker-0 restart=2 index=1", nothing.clone()),
        (all, "worker-0 restart=2 of=driver", nothing.clone()),
        (all, "worker-2 restart=2", nothing.clone()),
    ] {
        let scene = jobset(spec).jobs(jobs);
        assert!(!scene.plan().restores_status, "without the gate: {jobs}");
        let mut lines = scene.clone().gates("RestartJob").outcome_lines();
        let restores = scene.clone().gates("RestartJob").plan().restores_status;
        assert_eq!(restores, !expected.is_empty(), "{jobs}");
        lines.retain(|line| line.starts_with("jobRestarts"));
        assert_eq!(lines, expected, "{spec} {jobs}");
        assert!(!scene.gates("RestartJob").stored().plan().restores_status, "once: {jobs}");
    }
    // A status of which only a part is lost.
    let part = jobset(all)
        .gates("RestartJob")
        .jobs_restarted("worker", &[1, 1], &[0, 1])
        .jobs("worker-0 restart=1, worker-1 restart=3");
    let lines: Vec<_> = part.outcome_lines().into_iter().filter(|line| line.starts_with("job")).collect();
    assert_eq!(lines, line("[1, 3]", "[0, 3]"));
}
