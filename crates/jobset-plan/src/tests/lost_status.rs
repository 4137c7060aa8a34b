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
    assert_eq!(plan.actions, [], "the plan contains no action");
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
        // During a restart.
        (0, "driver-0 attempt=1 deleting, worker-0 attempt=2, worker-1 attempt=1 deleting", Some(2)),
        (0, "driver-0 attempt=1 deleting, worker-0 attempt=1 failed@9 deleting", Some(1)),
        // Jobs of any outcome.
        (0, "driver-0 attempt=1 failed@9", Some(1)),
        (0, "driver-0 attempt=1 complete, worker-0 attempt=1 complete, worker-1 attempt=1 complete", Some(1)),
        // An invalid attempt.
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
        // The pod template of a suspended Job can be edited, too.
        (0, "driver-0 attempt=7 suspended, worker-0 suspended, worker-1 suspended", None),
        (0, "driver-0 attempt=1 suspended, worker-0 attempt=1 suspended", Some(1)),
        (0, "driver-0 deleting, worker-0 attempt=1 suspended", Some(1)),
    ] {
        let scene = jobset(COUNTING).restarted(stored, 0).jobs(jobs);
        assert_eq!(restored(&scene).map(|(restarts, _)| restarts), expected, "{stored}: {jobs}");
        let stored = scene.stored();
        assert_eq!(restored(&stored), None, "once: {jobs}");
    }
}

/// A Job without the label in its pod template proves nothing, and remains foreign.
#[test]
fn a_job_without_proof_is_foreign() {
    let mut scene = jobset("").jobs("driver-0 attempt=7, worker-0, worker-1");
    std::sync::Arc::make_mut(&mut scene.jobs[0]).template_restart_attempt = LabelValue::Missing;
    let note = format!(
        "job train-driver-0 is ignored because its label {} is 7, but status.restarts is 0; correct the label or \
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
        // Another policy restarted the JobSet before.
        (COUNTING, (2, 1), (3, 2)),
        (COUNTING, (-2, 0), (3, 3)),
        (IGNORING, (0, 0), (3, 0)),
        (IGNORING, (2, 1), (3, 1)),
        ("", (0, 0), (3, 0)),
        // Only a part of the status was overwritten: no restart counts twice.
        (COUNTING, (0, 3), (3, 3)),
        (COUNTING, (1, 3), (3, 3)),
        (COUNTING, (0, 9), (3, 9)),
    ] {
        let scene = jobset(spec).restarted(restarts, counted).jobs("driver-0 attempt=3, worker-0 attempt=2");
        assert_eq!(restored(&scene), Some(expected), "{spec} {restarts} {counted}");
    }
}

/// Nothing shows whether a JobSet with a failed Job had failed itself. Restarts of unknown kind count, because a JobSet
/// that failed must not restart.
#[test]
fn restarts_before_a_failure_count() {
    for spec in [COUNTING, IGNORING] {
        let scene = jobset(spec).jobs("driver-0 attempt=3 failed@9, worker-0 attempt=3");
        assert_eq!(restored(&scene), Some((3, 3)), "{spec}");
        let earlier = jobset(IGNORING).jobs("driver-0 attempt=2 failed@9 deleting, worker-0 attempt=3");
        assert_eq!(restored(&earlier), Some((3, 0)), "a failure of an earlier attempt");
    }
    let few = IGNORING.replace("maxRestarts: 9", "maxRestarts: 1");
    let scene = jobset(&few).jobs("driver-0 attempt=3 failed@9");
    assert_eq!(restored(&scene), Some((3, 1)), "not beyond maxRestarts");
}

#[test]
fn the_event_names_the_numbers_and_the_job() {
    let scene = jobset(COUNTING).jobs("worker-1 attempt=2");
    scene.expect(&[
        "restarts: 2",
        "restartsCountTowardsMax: 2",
        "Warning StatusRestored: the status was lost or overwritten and is restored from the Jobs: restarts changes \
         from 0 to 2, because job train-worker-1 belongs to attempt 2",
    ]);
}

/// A lost status neither restarts running Jobs nor counts a failure twice. The JobSet continues after the restore.
#[test]
fn a_lost_status_causes_no_restart() {
    let running = jobset(COUNTING).jobs("driver-0 attempt=1, worker-0 attempt=1 ready, worker-1 attempt=1");
    running.stored().expect(&[]);

    // The restart from attempt 0 is already counted. The old Jobs are deleted, and the missing Job is created.
    let restarting = jobset(COUNTING).jobs("driver-0 failed@9, worker-0 attempt=1");
    let restored = restarting.stored();
    restored.expect(&["delete train-driver-0", "create train-worker-1", &deleting(1)]);
    assert_eq!(created(&restored.plan())[0].metadata.labels.as_ref().unwrap()[labels::RESTART_ATTEMPT], "1");

    // A restart without any created Job happens again, once.
    let lost = jobset(COUNTING).jobs("driver-0 attempt=1 failed@9, worker-0 attempt=1 deleting").stored();
    assert_eq!(lost.jobset.status.as_ref().unwrap().restarts, 1);
    let again = lost.stored().jobset.status.unwrap();
    assert_eq!((again.restarts, again.restarts_count_towards_max), (2, 2));
}

/// The next plan restores the conditions that follow from the Jobs.
#[test]
fn the_next_plan_restores_conditions() {
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
fn restarts_of_single_jobs_rise_to_the_number_that_jobs_prove() {
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
        // Users can edit other labels, too. The name identifies the Job.
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
    // Only a part of the status is lost.
    let part = jobset(all)
        .gates("RestartJob")
        .jobs_restarted("worker", &[1, 1], &[0, 1])
        .jobs("worker-0 restart=1, worker-1 restart=3");
    let lines: Vec<_> = part.outcome_lines().into_iter().filter(|line| line.starts_with("job")).collect();
    assert_eq!(lines, line("[1, 3]", "[0, 3]"));
}
