//! `spec.failurePolicy`: the actions that a failed Job causes.

use std::sync::Arc;

use anyhow::Result;
use serde_json::{Value, json};

use crate::Integration;
use crate::jobset::{LiveJobSet, counts, each};

/// Without a policy, one failed Job fails the JobSet. The controller deletes active Jobs and keeps the failed Job.
pub(crate) async fn first_failed_job_fails_a_jobset_without_policy(suite: Arc<Integration>) -> Result<()> {
    let spec = "{replicatedJobs: [{name: good, replicas: 2}, {name: bad}]}";
    let jobset = LiveJobSet::create(&suite, "failing", spec).await?;
    jobset.jobs_become(&["bad-0@0", "good-0@0", "good-1@0"]).await?;
    jobset.fail("bad-0").await?;
    let message = "jobset failed due to one or more job failures (first failed job: failing-bad-0)";
    let status = jobset.conditions_become(&[["Failed", "True", "FailedJobs", message]]).await?;
    assert_eq!((&status["terminalState"], &status["restarts"]), (&json!("Failed"), &json!(0)));
    jobset.jobs_stay(&["bad-0@0 failed"]).await?;
    jobset.counts_become(&[counts("good", [0; 5]), counts("bad", [0, 0, 1, 0, 0])]).await?;
    jobset.events_become(&[&format!("Warning FailedJobs: {message}")]).await
}

/// Expected result of a case.
enum Expected {
    /// The JobSet fails with this reason and message.
    Fails(&'static str, &'static str),
    /// All Jobs restart: reason of the condition, action, and whether the restart counts towards the maximum.
    Restarts(&'static str, &'static str, bool),
}
use Expected::{Fails, Restarts};

const RESTART: &str = "RestartJobSet";
const UNCOUNTED_RESTART: &str = "RestartJobSetAndIgnoreMaxRestarts";

/// In each case, the given Job fails with exit code 1.
pub(crate) async fn first_matching_rule_decides(suite: Arc<Integration>) -> Result<()> {
    let because_leader_failed = |action| match action {
        RESTART => "jobset failed due to reaching max number of restarts (first failed job: js-leader-0)",
        _ => "applying FailJobSet failure policy action (first failed job: js-leader-0)",
    };
    let fails_by_rule = || Fails("FailJobSetFailurePolicyAction", because_leader_failed("FailJobSet"));
    let at_maximum = || Fails("ReachedMaxRestarts", because_leader_failed(RESTART));
    let cases = [
        // No rule matches: the JobSet restarts until it reaches maxRestarts.
        ("empty policy", ("{}", "leader-0", at_maximum())),
        ("no rules", ("{maxRestarts: 1}", "leader-0", Restarts("DefaultFailurePolicy", RESTART, true))),
        ("negative maximum", ("{maxRestarts: -1}", "leader-0", at_maximum())),
        // One rule that matches every failure.
        ("fail", ("{maxRestarts: 3, rules: [{name: r, action: FailJobSet}]}", "leader-0", fails_by_rule())),
        (
            "restart",
            (
                "{maxRestarts: 3, rules: [{name: r, action: RestartJobSet}]}",
                "leader-0",
                Restarts("FailurePolicy_r", RESTART, true),
            ),
        ),
        ("restart at maximum", ("{rules: [{name: r, action: RestartJobSet}]}", "leader-0", at_maximum())),
        (
            "restart that is not counted",
            (
                "{rules: [{name: r, action: RestartJobSetAndIgnoreMaxRestarts}]}",
                "leader-0",
                Restarts("FailurePolicy_r", UNCOUNTED_RESTART, false),
            ),
        ),
        (
            "unnamed rules",
            (
                "{rules: [{action: FailJobSet, targetReplicatedJobs: [w]}, {action: RestartJobSetAndIgnoreMaxRestarts}]}",
                "leader-0",
                Restarts("FailurePolicy_failurePolicyRule1", UNCOUNTED_RESTART, false),
            ),
        ),
        // The first rule that matches decides.
        (
            "first rule",
            (
                "{maxRestarts: 1, rules: [{name: one, action: RestartJobSet}, {name: two, action: FailJobSet}]}",
                "leader-0",
                Restarts("FailurePolicy_one", RESTART, true),
            ),
        ),
        (
            "first rule, reversed order",
            (
                "{maxRestarts: 1, rules: [{name: two, action: FailJobSet}, {name: one, action: RestartJobSet}]}",
                "leader-0",
                fails_by_rule(),
            ),
        ),
        // Rules that match by ReplicatedJob.
        (
            "matching target",
            (
                "{maxRestarts: 1, rules: [{name: r, action: FailJobSet, targetReplicatedJobs: [leader]}]}",
                "leader-0",
                fails_by_rule(),
            ),
        ),
        (
            "other target",
            (
                "{maxRestarts: 1, rules: [{name: r, action: FailJobSet, targetReplicatedJobs: [leader]}]}",
                "w-1",
                Restarts("DefaultFailurePolicy", RESTART, true),
            ),
        ),
        (
            "second target",
            (
                "{rules: [{name: r, action: FailJobSet, targetReplicatedJobs: [leader]}, {name: s, action: RestartJobSetAndIgnoreMaxRestarts, targetReplicatedJobs: [leader, w]}]}",
                "w-1",
                Restarts("FailurePolicy_s", UNCOUNTED_RESTART, false),
            ),
        ),
        // Rules that match by the reason of the failure. Leaders have a pod failure policy, workers have none.
        (
            "reason of a pod failure policy",
            (
                "{maxRestarts: 1, rules: [{name: r, action: FailJobSet, onJobFailureReasons: [PodFailurePolicy]}]}",
                "leader-0",
                fails_by_rule(),
            ),
        ),
        (
            "reason of the backoff limit",
            (
                "{maxRestarts: 1, rules: [{name: r, action: FailJobSet, onJobFailureReasons: [PodFailurePolicy, DeadlineExceeded]}, {name: s, action: RestartJobSet, onJobFailureReasons: [BackoffLimitExceeded]}]}",
                "w-1",
                Restarts("FailurePolicy_s", RESTART, true),
            ),
        ),
        (
            "other reason",
            (
                "{maxRestarts: 1, rules: [{name: r, action: FailJobSet, onJobFailureReasons: [BackoffLimitExceeded]}]}",
                "leader-0",
                Restarts("DefaultFailurePolicy", RESTART, true),
            ),
        ),
        // Rules that match by the message, which is
        // "Container c for pod NAMESPACE/NAME failed with exit code 1 matching FailJob rule at index 0".
        (
            "pattern in the message",
            (
                "{maxRestarts: 1, rules: [{name: r, action: FailJobSet, onJobFailureMessagePatterns: ['exit code \\d matching']}]}",
                "leader-0",
                fails_by_rule(),
            ),
        ),
        (
            "pattern that does not match",
            (
                "{maxRestarts: 1, rules: [{name: r, action: FailJobSet, onJobFailureMessagePatterns: ['^exit', 'code 2']}]}",
                "leader-0",
                Restarts("DefaultFailurePolicy", RESTART, true),
            ),
        ),
        (
            "invalid pattern",
            (
                "{maxRestarts: 1, rules: [{name: r, action: FailJobSet, onJobFailureMessagePatterns: ['(', 'Container c .* FailJob']}]}",
                "leader-0",
                fails_by_rule(),
            ),
        ),
        // Rules with several criteria, which must all match.
        (
            "reason, but other target",
            (
                "{maxRestarts: 1, rules: [{name: r, action: FailJobSet, onJobFailureReasons: [PodFailurePolicy], targetReplicatedJobs: [w]}]}",
                "leader-0",
                Restarts("DefaultFailurePolicy", RESTART, true),
            ),
        ),
        (
            "reason, but other pattern",
            (
                "{maxRestarts: 1, rules: [{name: r, action: FailJobSet, onJobFailureReasons: [PodFailurePolicy], onJobFailureMessagePatterns: [deadline]}]}",
                "leader-0",
                Restarts("DefaultFailurePolicy", RESTART, true),
            ),
        ),
        (
            "all criteria",
            (
                "{rules: [{name: r, action: FailJobSet, onJobFailureReasons: [PodFailurePolicy], onJobFailureMessagePatterns: [FailJob], targetReplicatedJobs: [leader]}]}",
                "leader-0",
                fails_by_rule(),
            ),
        ),
    ];
    each(cases, |_, (policy, job, expected)| one_failure(&suite, policy, job, expected)).await
}

async fn one_failure(suite: &Arc<Integration>, policy: &str, job: &str, expected: Expected) -> Result<()> {
    let rule = "{action: FailJob, onExitCodes: {operator: In, values: [1]}}";
    let leader = format!("{{name: leader, template: {{spec: {{podFailurePolicy: {{rules: [{rule}]}}}}}}}}");
    let spec = format!("{{failurePolicy: {policy}, replicatedJobs: [{leader}, {{name: w, replicas: 2}}]}}");
    let jobset = LiveJobSet::create(suite, "js", &spec).await?;
    jobset.counts_become(&[counts("w", [2, 0, 0, 2, 0]), counts("leader", [1, 0, 0, 1, 0])]).await?;
    jobset.fail(job).await?;
    match expected {
        Fails(reason, message) => {
            let status = jobset.conditions_become(&[["Failed", "True", reason, message]]).await?;
            let seen = (&status["terminalState"], &status["restarts"], &status["restartsCountTowardsMax"]);
            assert_eq!(seen, (&json!("Failed"), &json!(0), &Value::Null));
            // The controller keeps the failed Job.
            jobset.jobs_become(&[&format!("{job}@0 failed")]).await?;
            jobset.events_become(&[&format!("Warning {reason}: {message}")]).await?;
        }
        Restarts(reason, action, counted) => {
            let message = format!("applying {action} failure policy action (first failed job: js-{job})");
            let jobs = jobset.jobs_become(&["leader-0@1", "w-0@1", "w-1@1"]).await?;
            for (name, job) in jobs {
                let template = job.spec.and_then(|spec| spec.template.metadata).unwrap_or_default();
                for map in [&job.metadata.annotations, &template.labels, &template.annotations] {
                    let attempt = map.as_ref().and_then(|map| map.get("jobset.sigs.k8s.io/restart-attempt"));
                    assert_eq!(attempt.map(String::as_str), Some("1"), "{name}");
                }
            }
            let status = jobset
                .conditions_become(&[["RestartingJobSet", "False", "JobsReady", "all jobs are ready"]])
                .await?;
            let seen = (&status["terminalState"], &status["restarts"], &status["restartsCountTowardsMax"]);
            assert_eq!(seen, (&Value::Null, &json!(1), &if counted { json!(1) } else { Value::Null }));
            jobset.counts_become(&[counts("w", [2, 0, 0, 2, 0]), counts("leader", [1, 0, 0, 1, 0])]).await?;
            jobset
                .events_become(&[
                    &format!("Warning {reason}: {message}"),
                    &format!("Warning {action}FailurePolicyAction: {message}"),
                    "Normal JobsReady: all jobs are ready",
                ])
                .await?;
        }
    }
    Ok(())
}

/// Only restarts that count toward the maximum are limited by it.
pub(crate) async fn jobset_fails_at_max_restarts(suite: Arc<Integration>) -> Result<()> {
    let spec = "
failurePolicy:
  maxRestarts: 2
  rules: [{name: free, action: RestartJobSetAndIgnoreMaxRestarts, targetReplicatedJobs: [leader]}]
replicatedJobs: [{name: leader}, {name: w, replicas: 2}]
";
    let jobset = LiveJobSet::create(&suite, "js", spec).await?;
    let ready = [counts("w", [2, 0, 0, 2, 0]), counts("leader", [1, 0, 0, 1, 0])];
    for (attempt, (job, counted)) in [("w-1", 0), ("leader-0", 1), ("w-1", 1)].into_iter().enumerate() {
        let jobs = ["leader-0", "w-0", "w-1"].map(|job| format!("{job}@{attempt}"));
        jobset.jobs_become(&jobs.each_ref().map(String::as_str)).await?;
        let status = jobset.counts_become(&ready).await?;
        let seen = (status["restarts"].as_u64(), status["restartsCountTowardsMax"].as_u64().unwrap_or(0));
        assert_eq!(seen, (Some(attempt as u64), counted), "before attempt {}", attempt + 1);
        jobset.fail(job).await?;
    }
    jobset.jobs_become(&["leader-0@3", "w-0@3", "w-1@3"]).await?;
    jobset.fail("w-1").await?;
    let message = "jobset failed due to reaching max number of restarts (first failed job: js-w-1)";
    let status = jobset
        .conditions_become(&[
            ["RestartingJobSet", "False", "JobSetFailed", "jobset failed"],
            ["Failed", "True", "ReachedMaxRestarts", message],
        ])
        .await?;
    let seen = (&status["terminalState"], &status["restarts"], &status["restartsCountTowardsMax"]);
    assert_eq!(seen, (&json!("Failed"), &json!(3), &json!(2)));
    jobset.jobs_stay(&["w-1@3 failed"]).await?;
    jobset.counts_become(&[counts("w", [0, 0, 1, 0, 0]), counts("leader", [0; 5])]).await?;
    Ok(())
}

/// Several Jobs that fail at the same time cause one restart.
pub(crate) async fn simultaneous_failures_cause_one_restart(suite: Arc<Integration>) -> Result<()> {
    let spec = "{failurePolicy: {maxRestarts: 5}, replicatedJobs: [{name: w, replicas: 6}]}";
    let jobset = LiveJobSet::create(&suite, "js", spec).await?;
    jobset.counts_become(&[counts("w", [6, 0, 0, 6, 0])]).await?;
    let jobs = ["w-0", "w-1", "w-2", "w-3", "w-4", "w-5"];
    futures::future::try_join_all(jobs.map(|job| jobset.fail(job))).await?;
    let jobs = jobs.map(|job| format!("{job}@1"));
    jobset.jobs_stay(&jobs.each_ref().map(String::as_str)).await?;
    let status = jobset.counts_become(&[counts("w", [6, 0, 0, 6, 0])]).await?;
    assert_eq!((&status["restarts"], &status["restartsCountTowardsMax"]), (&json!(1), &json!(1)));
    Ok(())
}
