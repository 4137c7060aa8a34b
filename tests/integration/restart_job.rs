//! Restarts of single Jobs with feature gate `RestartJob`.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use jobset_tests::wait::{TIMEOUT, wait_for};
use k8s_openapi::api::batch::v1::Job;
use serde_json::{Value, json};

use crate::Integration;
use crate::jobset::{LiveJobSet, counts};

const ATTEMPT: &str = "jobset.sigs.k8s.io/job-restart-attempt";

fn spec(more: &str) -> String {
    format!(
        "
failurePolicy:
  {more}
  rules:
  - {{name: all, action: RestartJobSet, targetReplicatedJobs: [leader]}}
  - {{name: free, action: RestartJobAndIgnoreMaxRestarts, onJobFailureReasons: [PodFailurePolicy]}}
  - {{name: one, action: RestartJob}}
replicatedJobs:
- {{name: leader}}
- {{name: w, replicas: 3, template: {{spec: {{podFailurePolicy: {{rules: [{{action: FailJob, onExitCodes: {{operator: In, values: [42]}}}}]}}}}}}}}
"
    )
}

fn ready() -> [Value; 2] {
    [counts("w", [3, 0, 0, 3, 0]), counts("leader", [1, 0, 0, 1, 0])]
}

/// `jobRestarts` and `jobRestartsCountTowardsMax` of `w`.
fn restarts(status: &Value) -> (Value, Value) {
    let workers = &status["replicatedJobsStatus"][0];
    (workers["jobRestarts"].clone(), workers["jobRestartsCountTowardsMax"].clone())
}

/// Waits until these Jobs, and no others, are replaced.
async fn replaced(
    jobset: &LiveJobSet,
    before: &BTreeMap<String, Job>,
    expected: &[&str],
) -> Result<BTreeMap<String, Job>> {
    let names: Vec<_> = before.keys().map(|name| format!("{name}@0")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let read = || jobset.jobs_become(&names);
    wait_for(&format!("{expected:?} to be replaced"), TIMEOUT, read, |now| {
        now.iter()
            .filter(|(name, job)| job.metadata.uid != before[*name].metadata.uid)
            .map(|(name, _)| name.as_str())
            .eq(expected.iter().copied())
    })
    .await
}

pub(crate) async fn failed_job_restarts_alone(suite: Arc<Integration>) -> Result<()> {
    let jobset = LiveJobSet::create(&suite, "js", &spec("maxRestarts: 2")).await?;
    jobset.status_when("all to be ready", |status| status["replicatedJobsStatus"] == json!(ready())).await?;
    let first = jobset.jobs_become(&["leader-0@0", "w-0@0", "w-1@0", "w-2@0"]).await?;
    for (name, job) in &first {
        assert_eq!(attempts(job), [Some("0"); 4], "{name}");
    }

    // A restart that counts toward the maximum.
    jobset.fail("w-1").await?;
    let second = replaced(&jobset, &first, &["w-1"]).await?;
    assert_eq!(attempts(&second["w-1"]), [Some("1"); 4]);
    let all_ready = |status: &Value| status["replicatedJobsStatus"][0]["ready"] == 3;
    let status = jobset.status_when("w to be ready", all_ready).await?;
    assert_eq!(restarts(&status), (json!([0, 1, 0]), json!([0, 1, 0])));

    // A restart that does not count.
    jobset.annotate_pods("w-2", &json!({ "outcome": "fail", "exit-code": "42" })).await?;
    let third = replaced(&jobset, &second, &["w-2"]).await?;
    let status = jobset
        .status_when("w to be ready", |status| {
            all_ready(status) && restarts(status) == (json!([0, 1, 1]), json!([0, 1, 0]))
        })
        .await?;
    assert_eq!((&status["restarts"], status.get("conditions")), (&json!(0), None));
    let one = "applying RestartJob failure policy action (first failed job: js-w-1)";
    let free = "applying RestartJobAndIgnoreMaxRestarts failure policy action (first failed job: js-w-2)";
    jobset
        .events_become(&[
            &format!("Warning RestartJobFailurePolicyAction: {one}"),
            &format!("Warning RestartJobAndIgnoreMaxRestartsFailurePolicyAction: {free}"),
        ])
        .await?;

    // A restart of all Jobs, the second of two that count. The status keeps the restarts of single Jobs.
    drop(third);
    jobset.fail("leader-0").await?;
    let jobs = jobset.jobs_become(&["leader-0@1", "w-0@1", "w-1@1", "w-2@1"]).await?;
    let of_each = jobs.iter().map(|(name, job)| (name.as_str(), attempts(job)[0].unwrap_or("none")));
    assert_eq!(of_each.collect::<Vec<_>>(), [("leader-0", "0"), ("w-0", "0"), ("w-1", "1"), ("w-2", "1")]);
    let status = jobset.status_when("w to be ready", all_ready).await?;
    assert_eq!(restarts(&status), (json!([0, 1, 1]), json!([0, 1, 0])));
    assert_eq!((&status["restarts"], &status["restartsCountTowardsMax"]), (&json!(1), &json!(1)));

    // The restart of `w-1` and the restart of all Jobs reached the maximum.
    jobset.fail("w-0").await?;
    let message = "jobset failed due to reaching max number of restarts (first failed job: js-w-0)";
    let status = jobset
        .conditions_become(&[
            ["RestartingJobSet", "False", "JobSetFailed", "jobset failed"],
            ["Failed", "True", "ReachedMaxRestarts", message],
        ])
        .await?;
    assert_eq!(status["terminalState"], "Failed");
    Ok(())
}

/// With strategy BlockingRecreate, the controller creates no Job while a Job is being deleted.
pub(crate) async fn blocking_recreate_waits_for_each_restarting_job(suite: Arc<Integration>) -> Result<()> {
    let spec = spec("restartStrategy: BlockingRecreate\n  maxRestarts: 2");
    let jobset = LiveJobSet::create(&suite, "js", &spec).await?;
    jobset.status_when("all to be ready", |status| status["replicatedJobsStatus"] == json!(ready())).await?;
    jobset.add_finalizer("w-0").await?;
    jobset.fail("w-0").await?;
    jobset.jobs_become(&["leader-0@0", "w-0@0 deleting", "w-1@0", "w-2@0"]).await?;
    jobset.fail("w-1").await?;
    jobset.jobs_stay(&["leader-0@0", "w-0@0 deleting", "w-2@0"]).await?;
    jobset.remove_finalizer("w-0").await?;
    let jobs = jobset.jobs_become(&["leader-0@0", "w-0@0", "w-1@0", "w-2@0"]).await?;
    assert_eq!((attempts(&jobs["w-0"]), attempts(&jobs["w-1"])), ([Some("1"); 4], [Some("1"); 4]));
    Ok(())
}

/// The attempt in the labels and annotations of the Job and of its pod template.
fn attempts(job: &Job) -> [Option<&str>; 4] {
    let template = job.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
    [
        job.metadata.labels.as_ref(),
        job.metadata.annotations.as_ref(),
        template.and_then(|template| template.labels.as_ref()),
        template.and_then(|template| template.annotations.as_ref()),
    ]
    .map(|map| map.and_then(|map| map.get(ATTEMPT)).map(String::as_str))
}
