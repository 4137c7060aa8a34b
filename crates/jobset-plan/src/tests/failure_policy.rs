//! `spec.failurePolicy`.

use super::*;

#[test]
fn without_a_policy_the_first_failure_fails_the_jobset() {
    for (jobs, first) in [
        ("driver-0, worker-0 failed@9, worker-1", "train-worker-0"),
        ("driver-0, worker-0 failed@9, worker-1 failed@8", "train-worker-1"),
        // If several failed at the same time: the first by name.
        ("driver-0 failed@9, worker-0 failed@8, worker-1 failed@8", "train-worker-0"),
        // Successful Jobs do not prevent it.
        ("driver-0 complete, worker-0 complete, worker-1 failed@9", "train-worker-1"),
        // Failed Jobs count even if they are being deleted or belong to no known ReplicatedJob.
        ("driver-0, worker-0, worker-1 failed@9 deleting", "train-worker-1"),
        ("driver-0, worker-0, worker-1 failed@9 of=none", "train-worker-1"),
    ] {
        let message = format!("jobset failed due to one or more job failures (first failed job: {first})");
        let expected = [
            &format!("Failed=True FailedJobs: {message}"),
            "terminalState: Failed",
            &format!("Warning FailedJobs: {message}"),
        ];
        assert_eq!(jobset("").jobs(jobs).outcome_lines_without_foreign(), expected, "{jobs}");
    }
}

/// A JobSet with these failure policy rules and three allowed restarts.
fn rules(rules: &str) -> Scene {
    jobset(&format!("failurePolicy: {{maxRestarts: 3, rules: [{rules}]}}"))
}

#[test]
fn each_action_has_its_effect() {
    let fail = "driver-0, worker-0, worker-1 failed@9";
    rules("{name: stop, action: FailJobSet}").jobs(fail).expect(&[
        "Failed=True FailJobSetFailurePolicyAction: applying FailJobSet failure policy action (first failed job: train-worker-1)",
        "terminalState: Failed",
        "Warning FailJobSetFailurePolicyAction: applying FailJobSet failure policy action (first failed job: train-worker-1)",
    ]);
    rules("{name: retry, action: RestartJobSet}").jobs(fail).expect(&[
        "restarts: 1",
        "restartsCountTowardsMax: 1",
        "RestartingJobSet=True FailurePolicy_retry: applying RestartJobSet failure policy action (first failed job: train-worker-1)",
        "Warning FailurePolicy_retry: applying RestartJobSet failure policy action (first failed job: train-worker-1)",
        "Warning RestartJobSetFailurePolicyAction: applying RestartJobSet failure policy action (first failed job: train-worker-1)",
    ]);
    rules("{name: free, action: RestartJobSetAndIgnoreMaxRestarts}").jobs(fail).expect(&[
        "restarts: 1",
        "RestartingJobSet=True FailurePolicy_free: applying RestartJobSetAndIgnoreMaxRestarts failure policy action (first failed job: train-worker-1)",
        "Warning FailurePolicy_free: applying RestartJobSetAndIgnoreMaxRestarts failure policy action (first failed job: train-worker-1)",
        "Warning RestartJobSetAndIgnoreMaxRestartsFailurePolicyAction: applying RestartJobSetAndIgnoreMaxRestarts failure policy action (first failed job: train-worker-1)",
    ]);
    rules("{name: one, action: RestartJob}").gates("RestartJob").jobs(fail).expect(&[
        "jobRestarts of worker: [0, 1]",
        "jobRestartsCountTowardsMax of worker: [0, 1]",
        "Warning RestartJobFailurePolicyAction: applying RestartJob failure policy action (first failed job: train-worker-1)",
    ]);
    rules("{name: one, action: RestartJobAndIgnoreMaxRestarts}").gates("RestartJob").jobs(fail).expect(&[
        "jobRestarts of worker: [0, 1]",
        "Warning RestartJobAndIgnoreMaxRestartsFailurePolicyAction: applying RestartJobAndIgnoreMaxRestarts failure policy action (first failed job: train-worker-1)",
    ]);
    // No rule, or none that matches.
    for rule in ["", "{name: other, action: FailJobSet, targetReplicatedJobs: [driver]}"] {
        rules(rule).jobs(fail).expect(&[
            "restarts: 1",
            "restartsCountTowardsMax: 1",
            "RestartingJobSet=True DefaultFailurePolicy: applying RestartJobSet failure policy action (first failed job: train-worker-1)",
            "Warning DefaultFailurePolicy: applying RestartJobSet failure policy action (first failed job: train-worker-1)",
            "Warning RestartJobSetFailurePolicyAction: applying RestartJobSet failure policy action (first failed job: train-worker-1)",
        ]);
    }
}

/// The lines of a failure of driver-0 to which the failure policy cannot be applied.
fn not_applied(why: &str, remedy: &str) -> [String; 2] {
    [format!("of uid-of-driver-0: FailurePolicyNotApplied {why}; {remedy}"), format!("waiting: {why}")]
}

/// Without their feature gate, the actions for single Jobs do nothing, and the plan reports it.
#[test]
fn single_jobs_restart_only_with_the_gate() {
    for action in ["RestartJob", "RestartJobAndIgnoreMaxRestarts"] {
        // The number of remaining restarts does not matter.
        for restarts in [0, 3] {
            rules(&format!("{{name: one, action: {action}}}"))
                .restarted(restarts, restarts)
                .jobs(&format!("driver-0 attempt={restarts} failed@9"))
                .expect(&not_applied(
                    &format!(
                        "{action} failure policy action cannot be used when the feature gate RestartJob is disabled \
                         (failed job: train-driver-0)"
                    ),
                    "enable the feature gate, or delete the Job so that the controller creates it again",
                ).each_ref().map(String::as_str));
        }
    }
    rules("{name: one, action: Sideways}").jobs("driver-0 failed@9").expect(
        &not_applied(
            "failure policy action \"Sideways\" is unknown to this version (failed job: train-driver-0)",
            "delete the Job so that the controller creates it again",
        )
        .each_ref()
        .map(String::as_str),
    );
}

/// Rows: rules, the action of the rule that applies, and the Job that it names.
#[test]
fn the_first_matching_rule_names_the_job_that_failed_first() {
    let (stop, free) = ("action: FailJobSet", "action: RestartJobSetAndIgnoreMaxRestarts");
    let jobs = "driver-0 failed@9 reason=PodFailurePolicy message=exit-3-on-node-a, \
                worker-0 failed@8 reason=BackoffLimitExceeded message=too-many, \
                worker-1 failed@7 reason=DeadlineExceeded message=too-late";
    for (of, action, job) in [
        // The first matching rule applies, not the rule whose Job failed first.
        (
            format!("{{name: a, {stop}, targetReplicatedJobs: [driver]}}, {{name: b, {free}}}"),
            stop,
            "driver-0",
        ),
        (
            format!("{{name: b, {free}}}, {{name: a, {stop}, targetReplicatedJobs: [driver]}}"),
            free,
            "worker-1",
        ),
        (
            format!("{{name: a, {stop}, targetReplicatedJobs: [absent]}}, {{name: b, {free}}}"),
            free,
            "worker-1",
        ),
        // The rule names the Job that failed first among those that it matches.
        (format!("{{name: a, {stop}, targetReplicatedJobs: [worker]}}"), stop, "worker-1"),
        (format!("{{name: a, {stop}, targetReplicatedJobs: [driver, worker]}}"), stop, "worker-1"),
        // Any of the reasons matches. No reason matches all.
        (format!("{{name: a, {stop}, onJobFailureReasons: [PodFailurePolicy]}}"), stop, "driver-0"),
        (
            format!("{{name: a, {stop}, onJobFailureReasons: [PodFailurePolicy, BackoffLimitExceeded]}}"),
            stop,
            "worker-0",
        ),
        (
            format!("{{name: a, {stop}, onJobFailureReasons: [podfailurepolicy]}}, {{name: b, {free}}}"),
            free,
            "worker-1",
        ),
        // Any of the patterns matches, anywhere in the message. Invalid patterns are ignored.
        (format!("{{name: a, {stop}, onJobFailureMessagePatterns: ['exit-\\d']}}"), stop, "driver-0"),
        (
            format!("{{name: a, {stop}, onJobFailureMessagePatterns: ['^on-node']}}, {{name: b, {free}}}"),
            free,
            "worker-1",
        ),
        (
            format!("{{name: a, {stop}, onJobFailureMessagePatterns: [never, '^too-many$']}}"),
            stop,
            "worker-0",
        ),
        (
            format!("{{name: a, {stop}, onJobFailureMessagePatterns: ['(']}}, {{name: b, {free}}}"),
            free,
            "worker-1",
        ),
        (format!("{{name: a, {stop}, onJobFailureMessagePatterns: ['(', many]}}"), stop, "worker-0"),
        (format!("{{name: a, {stop}, onJobFailureMessagePatterns: ['^too-']}}"), stop, "worker-1"),
        // All three criteria.
        (
            format!(
                "{{name: a, {stop}, targetReplicatedJobs: [worker], onJobFailureReasons: [DeadlineExceeded], \
                 onJobFailureMessagePatterns: [many]}}, {{name: b, {free}}}"
            ),
            free,
            "worker-1",
        ),
        (
            format!(
                "{{name: a, {stop}, targetReplicatedJobs: [worker], onJobFailureReasons: [DeadlineExceeded], \
                 onJobFailureMessagePatterns: [too]}}, {{name: b, {free}}}"
            ),
            stop,
            "worker-1",
        ),
    ] {
        let plan = rules(&of).jobs(jobs).plan();
        let action = action.trim_start_matches("action: ");
        let expected = format!("applying {action} failure policy action (first failed job: train-{job})");
        assert_eq!(plan.events.last().unwrap().note, expected, "{of}");
        let rule = if action == "FailJobSet" { "FailJobSetFailurePolicyAction" } else { "FailurePolicy_b" };
        assert_eq!(plan.events[0].reason, rule, "{of}");
    }
    // No rule matches a Job without the label of its ReplicatedJob, but the default policy does.
    let plan = rules(&format!("{{name: a, {stop}}}")).jobs("driver-0 failed@9 of=none").plan();
    assert_eq!(plan.events[0].reason, "DefaultFailurePolicy");
}

/// Rows: `maxRestarts`, counted restarts of the JobSet and of single Jobs, gates, and whether another restart is
/// allowed.
#[test]
fn max_restarts_limits_counted_restarts() {
    for (max, of_jobset, of_jobs, gates, allowed) in [
        (0, 0, [0, 0], "", false),
        (1, 0, [0, 0], "", true),
        (1, 1, [0, 0], "", false),
        (3, 2, [0, 0], "", true),
        (3, 4, [0, 0], "", false),
        (-1, 0, [0, 0], "", false),
        (i32::MIN, 0, [0, 0], "", false),
        (i32::MAX, 7, [0, 0], "", true),
        (3, 1, [1, 0], "RestartJob", true),
        (3, 1, [1, 1], "RestartJob", false),
        (3, 0, [0, 3], "RestartJob", false),
        // Without the gate, restarts of single Jobs do not count.
        (3, 2, [1, 1], "", true),
    ] {
        let actions: &[&str] =
            if gates.is_empty() { &["RestartJobSet"] } else { &["RestartJobSet", "RestartJob"] };
        for action in actions {
            let scene = jobset(&format!(
                "failurePolicy: {{maxRestarts: {max}, rules: [{{name: r, action: {action}}}]}}"
            ))
            .restarted(of_jobset, of_jobset)
            .jobs_restarted("worker", &[5, 5], &of_jobs)
            .gates(gates)
            .jobs(&format!("driver-0 attempt={of_jobset} failed@9"));
            let plan = scene.plan();
            let status = plan.status.unwrap();
            if allowed {
                assert_eq!(status.terminal_state, "", "{max} {of_jobset} {of_jobs:?} {action}");
                let reason = format!("{action}FailurePolicyAction");
                assert_eq!(plan.events.last().unwrap().reason, reason);
            } else {
                let message =
                    "jobset failed due to reaching max number of restarts (first failed job: train-driver-0)";
                assert_eq!(status.terminal_state, "Failed", "{max} {of_jobset} {of_jobs:?} {action}");
                let event = Event {
                    kind: EventKind::Warning,
                    reason: "ReachedMaxRestarts".into(),
                    note: message.into(),
                };
                assert_eq!(plan.events, [event]);
                let failed = status.conditions.last().unwrap();
                assert_eq!((failed.type_.as_str(), failed.status.as_str()), ("Failed", "True"));
                assert_eq!(
                    (failed.reason.as_str(), failed.message.as_str()),
                    ("ReachedMaxRestarts", message)
                );
                assert_eq!((status.restarts, status.restarts_count_towards_max), (of_jobset, of_jobset));
            }
        }
    }
}

/// Actions that ignore `maxRestarts` restart even if no restarts remain, and do not count.
#[test]
fn actions_that_ignore_max_restarts_do_not_count() {
    let used_up = rules("{name: free, action: RestartJobSetAndIgnoreMaxRestarts}").restarted(9, 3);
    let status = used_up.jobs("driver-0 attempt=9 failed@9").plan().status.unwrap();
    assert_eq!((status.restarts, status.restarts_count_towards_max), (10, 3));

    let used_up = rules("{name: free, action: RestartJobAndIgnoreMaxRestarts}").gates("RestartJob");
    let scene = used_up.restarted(3, 3).jobs_restarted("worker", &[1, 4], &[1, 0]);
    let failed = scene.jobs("worker-1 attempt=3 restart=4 failed@9, worker-0 attempt=3 restart=1");
    assert_eq!(failed.outcome_lines()[0], "jobRestarts of worker: [1, 5]");
    let entry = failed.plan().status.unwrap().replicated_jobs_status[0].clone();
    assert_eq!(entry.job_restarts_count_towards_max, [1, 0]);
}

/// After the largest number there is no later attempt, so the failure of the Job would count on every reconcile.
#[test]
fn the_largest_attempt_never_restarts() {
    for action in ["RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"] {
        let scene = rules(&format!("{{name: again, action: {action}}}")).restarted(i32::MAX, 0);
        let lines = scene.jobs(&format!("driver-0 attempt={} failed@9", i32::MAX)).outcome_lines();
        assert!(lines[0].starts_with("Failed=True ReachedMaxRestarts:"), "{lines:?}");
    }
    let scene = rules("{name: free, action: RestartJobAndIgnoreMaxRestarts}").gates("RestartJob");
    let scene = scene.jobs_restarted("driver", &[i32::MAX], &[0]);
    let failed = scene.jobs(&format!("driver-0 restart={} failed@9", i32::MAX));
    let why = "failed job train-driver-0 has reached the largest number of restarts";
    assert_eq!(failed.outcome_lines(), not_applied(why, "delete the Job"));
}

/// The limit bounds the compile time of all patterns of a JobSet, in any of its rules.
#[test]
fn only_the_first_thousand_patterns_are_used() {
    // Rows: patterns of the previous rule, patterns before the matching pattern in its own rule.
    for (in_other, in_own, is_used) in
        [(0, 3, true), (0, 999, true), (0, 1000, false), (998, 1, true), (999, 1, false), (1000, 0, false)]
    {
        let rule = |name: &str, others: usize, last: &str| {
            let others = "x, ".repeat(others);
            format!("{{name: {name}, action: FailJobSet, onJobFailureMessagePatterns: [{others}{last}]}}")
        };
        let other = if in_other > 0 { rule("other", in_other, "") + ", " } else { String::new() };
        let scene = rules(&(other + &rule("stop", in_own, "failed")));
        let lines = scene.jobs("driver-0 failed@9 message=failed").outcome_lines();
        let expected = if is_used { "Failed=True FailJobSet" } else { "restarts: 1" };
        assert!(lines[0].starts_with(expected), "{in_other} and {in_own}: {}", lines[0]);
    }
}

/// The plan reports patterns that are too large, but not invalid patterns: admission warns about those.
#[test]
fn patterns_that_are_too_large_are_reported() {
    let rule = |pattern: &str| {
        format!("{{name: stop, action: FailJobSet, onJobFailureMessagePatterns: ['{pattern}', failed]}}")
    };
    let problems =
        |pattern: &str| rules(&rule(pattern)).jobs("driver-0 failed@9 message=failed").plan().problems;
    assert_eq!(problems("("), []);
    let lines = problems(r"\pL{1000}");
    assert_eq!(lines[0].event.reason, "MessagePatternTooLarge");
    assert!(lines[0].event.note.contains(r#"(count 1, first "\\pL{1000}")"#), "{}", lines[0].event.note);
}

/// The first restart of a single Job creates the arrays, with the length of its ReplicatedJob and only for it.
#[test]
fn the_first_restart_of_a_single_job_creates_the_arrays() {
    let scene = rules("{name: one, action: RestartJob}").gates("RestartJob").restarted(1, 1);
    let once = scene.jobs("driver-0 attempt=1, worker-0 attempt=1 failed@9, worker-1 attempt=1 failed@8");
    let names = |scene: &Scene| {
        let entries = scene.plan().status.unwrap().replicated_jobs_status;
        entries.into_iter().map(|entry| (entry.name, entry.job_restarts)).collect::<Vec<_>>()
    };
    assert_eq!(names(&once), [("worker".to_owned(), vec![0, 1]), ("driver".to_owned(), vec![])]);
    // Each reconcile restarts one Job. The next one restarts the other.
    let twice = once.stored();
    twice.expect(&[
        "delete train-worker-1",
        "jobRestarts of worker: [1, 1]",
        "jobRestartsCountTowardsMax of worker: [1, 1]",
        "Warning RestartJobFailurePolicyAction: applying RestartJob failure policy action (first failed job: train-worker-0)",
    ]);
    // Now both Jobs belong to an earlier attempt, and their successors are created when they are gone.
    let after = twice.stored();
    assert_eq!(actions(&after.plan()), ["delete train-worker-0", "delete train-worker-1"]);
    let gone = after.jobs("driver-0 attempt=1");
    assert_eq!(actions(&gone.plan()), ["create train-worker-0", "create train-worker-1"]);
    let plan = gone.plan();
    let labels = created(&plan)[1].metadata.labels.as_ref().unwrap();
    assert_eq!((&*labels[labels::RESTART_ATTEMPT], &*labels[labels::JOB_RESTART_ATTEMPT]), ("1", "1"));
}

/// The counts of other Jobs stay unchanged.
#[test]
fn each_restart_of_the_same_job_counts() {
    for (action, counted) in [("RestartJob", "[3, 5]"), ("RestartJobAndIgnoreMaxRestarts", "[2, 5]")] {
        let scene =
            jobset(&format!("failurePolicy: {{maxRestarts: 99, rules: [{{name: r, action: {action}}}]}}"))
                .gates("RestartJob")
                .jobs_restarted("worker", &[4, 7], &[2, 5])
                .jobs("worker-0 restart=4 failed@9");
        let entry = scene.plan().status.unwrap().replicated_jobs_status[0].clone();
        assert_eq!(format!("{:?}", entry.job_restarts), "[5, 7]");
        assert_eq!(format!("{:?}", entry.job_restarts_count_towards_max), counted, "{action}");
    }
}

/// Single Jobs with an index out of bounds are not restarted, and the plan reports the reason.
#[test]
fn single_jobs_out_of_bounds_are_not_restarted() {
    for (job, why) in [
        (
            "worker-2 failed@9",
            "failed job train-worker-2 has index 2 out of bounds for replicated job worker (replicas: 2)",
        ),
        (
            "other-0 failed@9",
            "failed job train-other-0 has index 0 out of bounds for replicated job other (replicas: 0)",
        ),
    ] {
        let scene = rules("{name: one, action: RestartJob}").gates("RestartJob").jobs(job);
        let uid = &scene.jobs[0].uid;
        let expected =
            [format!("of {uid}: FailurePolicyNotApplied {why}; delete the Job"), format!("waiting: {why}")];
        assert_eq!(scene.outcome_lines_without_foreign(), expected);
    }
}

/// A restart during a restart: an unchanged condition causes no event, a changed condition does.
#[test]
fn a_jobset_restarts_during_a_restart() {
    let message = "applying RestartJobSet failure policy action (first failed job: train-driver-0)";
    let scene = rules("").restarted(1, 1).jobs("driver-0 attempt=1 failed@9");
    let same = scene.clone().condition(&format!("RestartingJobSet=True DefaultFailurePolicy: {message}"));
    same.expect(&[
        "restarts: 2",
        "restartsCountTowardsMax: 2",
        &format!("Warning RestartJobSetFailurePolicyAction: {message}"),
    ]);
    let other = scene.condition(&format!("RestartingJobSet=True FailurePolicy_x: {message}"));
    other.expect(&[
        "restarts: 2",
        "restartsCountTowardsMax: 2",
        &format!("RestartingJobSet=True DefaultFailurePolicy: {message} (since 5)"),
        &format!("Warning DefaultFailurePolicy: {message}"),
        &format!("Warning RestartJobSetFailurePolicyAction: {message}"),
    ]);
}

/// A failure ends a restart. After it is stored, running Jobs are deleted. Nothing else happens in the same plan.
#[test]
fn a_failure_ends_a_restart_and_deletes_running_jobs() {
    let mut scene = jobset("network: {enableDNSHostnames: true}\nsuspend: true\nttlSecondsAfterFinished: 5")
        .restarted(2, 0)
        .condition("RestartingJobSet=True FailurePolicy_x: old")
        .jobs("driver-0 attempt=1, worker-0 attempt=2 failed@9, worker-1 attempt=2");
    scene.service = None;
    let message = "jobset failed due to one or more job failures (first failed job: train-worker-0)";
    scene.expect(&[
        "delete train-driver-0",
        "RestartingJobSet=False JobSetFailed: jobset failed",
        &format!("Failed=True FailedJobs: {message}"),
        "terminalState: Failed",
        &format!("Warning FailedJobs: {message}"),
        "Normal JobSetFailed: jobset failed",
    ]);
    scene.stored().expect(&[
        "delete train-worker-1",
        "again in 4.1s",
        &stopping(1),
        "waiting: ttlSecondsAfterFinished: the JobSet is deleted in 5s",
    ]);
}

/// The failure of a Job counts once, even if its own attempt is higher than the status and its pod template proves
/// nothing.
#[test]
fn the_failure_of_a_job_ahead_of_the_status_counts_once() {
    let scene = rules("{name: one, action: RestartJob}")
        .gates("RestartJob")
        .jobs("worker-0 edited-restart=2 failed@9");
    let message = "applying RestartJob failure policy action (first failed job: train-worker-0)";
    scene.expect(&[
        "jobRestarts of worker: [3, 0]",
        "jobRestartsCountTowardsMax of worker: [1, 0]",
        &format!("Warning RestartJobFailurePolicyAction: {message}"),
    ]);
    assert_eq!(actions(&scene.stored().plan())[0], "delete train-worker-0");
}
