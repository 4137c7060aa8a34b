//! How conditions change, and all conditions of section 4.17 of the specification.

use super::*;
use crate::conditions::set;

/// Every condition with its event, and a scene that causes it.
#[test]
fn each_condition_has_its_cause_and_event() {
    let policy = "failurePolicy: {maxRestarts: 1, rules: [{name: stop, action: FailJobSet, targetReplicatedJobs: [driver]}, \
                  {name: free, action: RestartJobSetAndIgnoreMaxRestarts, onJobFailureReasons: [PodFailurePolicy]}, \
                  {name: retry, action: RestartJobSet, onJobFailureReasons: [DeadlineExceeded]}]}";
    let in_order = "startupPolicy: {startupPolicyOrder: InOrder}";
    let restarting = "RestartingJobSet=True DefaultFailurePolicy: old";
    let all_ready = "driver-0 ready, worker-0 ready, worker-1 ready";
    let all_complete = "driver-0 complete, worker-0 complete, worker-1 complete";
    let first = "(first failed job: train-worker-0)";
    for (scene, kind, expected) in vec![
        (
            jobset("").jobs(all_complete),
            "Normal",
            "Completed=True AllJobsCompleted: jobset completed successfully".to_owned(),
        ),
        (
            jobset("").jobs("worker-0 failed@9"),
            "Warning",
            format!("Failed=True FailedJobs: jobset failed due to one or more job failures {first}"),
        ),
        (
            jobset(policy).restarted(1, 1).jobs("worker-0 attempt=1 failed@9"),
            "Warning",
            format!("Failed=True ReachedMaxRestarts: jobset failed due to reaching max number of restarts {first}"),
        ),
        (
            jobset(policy).jobs("driver-0 failed@9"),
            "Warning",
            "Failed=True FailJobSetFailurePolicyAction: applying FailJobSet failure policy action (first failed job: train-driver-0)".to_owned(),
        ),
        (
            jobset("suspend: true"),
            "Normal",
            "Suspended=True SuspendedJobs: jobset is suspended".to_owned(),
        ),
        (
            jobset("suspend: false").condition("Suspended=True SuspendedJobs: jobset is suspended"),
            "Normal",
            "Suspended=False ResumeJobs: jobset is resumed".to_owned(),
        ),
        (
            jobset(in_order),
            "Normal",
            "StartupPolicyInProgress=True InOrderStartupPolicyInProgress: in order startup policy is in progress".to_owned(),
        ),
        (
            jobset(in_order).jobs(all_ready),
            "Normal",
            "StartupPolicyCompleted=True InOrderStartupPolicyCompleted: in order startup policy has completed".to_owned(),
        ),
        (
            jobset(policy).jobs("worker-0 failed@9"),
            "Warning",
            format!("RestartingJobSet=True DefaultFailurePolicy: applying RestartJobSet failure policy action {first}"),
        ),
        (
            jobset(policy).jobs("worker-0 failed@9 reason=DeadlineExceeded"),
            "Warning",
            format!("RestartingJobSet=True FailurePolicy_retry: applying RestartJobSet failure policy action {first}"),
        ),
        (
            jobset(policy).jobs("worker-0 failed@9 reason=PodFailurePolicy"),
            "Warning",
            format!("RestartingJobSet=True FailurePolicy_free: applying RestartJobSetAndIgnoreMaxRestarts failure policy action {first}"),
        ),
        (
            jobset("").condition(restarting).jobs(all_ready),
            "Normal",
            "RestartingJobSet=False JobsReady: all jobs are ready".to_owned(),
        ),
        (
            jobset("").condition(restarting).jobs("worker-0 failed@9"),
            "Normal",
            "RestartingJobSet=False JobSetFailed: jobset failed".to_owned(),
        ),
        (
            jobset("successPolicy: {operator: Any}").condition(restarting).jobs("worker-0 complete"),
            "Normal",
            "RestartingJobSet=False JobSetCompleted: jobset completed successfully".to_owned(),
        ),
        (
            jobset("suspend: true").condition(restarting),
            "Normal",
            "RestartingJobSet=False JobSetSuspended: jobset is suspended".to_owned(),
        ),
    ] {
        let lines = scene.outcome_lines();
        let (_, event) = expected.split_once(' ').unwrap();
        let event = format!("{kind} {event}");
        assert!(lines.contains(&expected), "{expected} is not in {lines:#?}");
        assert_eq!(lines.iter().filter(|line| **line == event).count(), 1, "{event}: {lines:#?}");
        // A stored condition causes no further change or event.
        let again = scene.stored().outcome_lines();
        assert!(!again.contains(&expected) && !again.contains(&event), "{again:#?}");
    }
}

fn condition(type_: &str, status: &str, reason: &str, message: &str, second: i64) -> Condition {
    Condition {
        type_: type_.into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        last_transition_time: Time(Timestamp::from_second(second).unwrap()),
        observed_generation: None,
    }
}

/// Rows: the condition before, the new condition, the condition after, and whether it changed.
#[test]
fn a_condition_changes_by_the_rules_of_jobset() {
    let (on, off) = ("True", "False");
    for (what, before, new, after, changed) in [
        ("a False one is not made", None, (off, "A", "m"), None, false),
        ("a True one is", None, (on, "A", "m"), Some((on, "A", "m", 9)), true),
        ("the same again", Some((on, "A", "m", 1)), (on, "A", "m"), Some((on, "A", "m", 1)), false),
        ("another reason", Some((on, "A", "m", 1)), (on, "B", "m"), Some((on, "B", "m", 1)), true),
        ("another message", Some((off, "A", "m", 1)), (off, "A", "n"), Some((off, "A", "n", 1)), true),
        ("it becomes False", Some((on, "A", "m", 1)), (off, "A", "m"), Some((off, "A", "m", 9)), true),
        ("it becomes True", Some((off, "A", "m", 1)), (on, "B", "n"), Some((on, "B", "n", 9)), true),
    ] {
        let make =
            |(status, reason, message, second)| condition("Suspended", status, reason, message, second);
        let mut all: Vec<Condition> = before.map(make).into_iter().collect();
        let (status, reason, message) = new;
        assert_eq!(set(&mut all, make((status, reason, message, 9))), changed, "{what}");
        assert_eq!(all, after.map(make).into_iter().collect::<Vec<_>>(), "{what}");
    }
}

/// Conditions keep their order. A new condition is added at the end.
#[test]
fn conditions_keep_their_order() {
    let mut all = vec![condition("A", "True", "a", "", 1), condition("B", "True", "b", "", 1)];
    set(&mut all, condition("C", "True", "c", "", 9));
    set(&mut all, condition("A", "False", "a", "", 9));
    let types: Vec<_> = all.iter().map(|condition| condition.type_.as_str()).collect();
    assert_eq!(types, ["A", "B", "C"]);
}

/// When one condition of the startup policy becomes True, only the status of the other changes.
#[test]
fn only_one_condition_of_the_startup_policy_is_true() {
    for (one, other) in [
        ("StartupPolicyInProgress", "StartupPolicyCompleted"),
        ("StartupPolicyCompleted", "StartupPolicyInProgress"),
    ] {
        let mut all = vec![condition(other, "True", "o", "m", 1), condition("Suspended", "True", "s", "", 1)];
        assert!(set(&mut all, condition(one, "True", "r", "n", 9)));
        let expected = [
            condition(other, "False", "o", "m", 1),
            condition("Suspended", "True", "s", "", 1),
            condition(one, "True", "r", "n", 9),
        ];
        assert_eq!(all, expected);
        // A condition that is False does not change the other.
        assert!(set(&mut all, condition(other, "True", "o", "m", 12)));
        assert!(!set(&mut all, condition(one, "False", "r", "n", 15)));
        assert_eq!(all[0], condition(other, "True", "o", "m", 12));
    }
}

#[test]
fn condition_times_are_whole_seconds() {
    let scene = jobset("suspend: true");
    let at = scene.plan().status.unwrap().conditions[0].last_transition_time.0;
    assert_eq!((at.as_second(), at.subsec_nanosecond()), (NOW, 0));
}
