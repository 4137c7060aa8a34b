//! `failurePolicy.restartStrategy`: when the controller creates the Jobs of a new attempt.

use std::sync::Arc;

use anyhow::{Result, bail};
use jobset_tests::wait::{TIMEOUT, wait_for};
use k8s_openapi::api::batch::v1::Job;
use kube::api::DeleteParams;
use serde_json::json;

use crate::Integration;
use crate::jobset::{LiveJobSet, counts};

const RESTARTING: &str = "applying RestartJobSet failure policy action (first failed job: js-w-2)";

/// A JobSet with four Jobs. `w-2` fails, and the deletion of `w-0` waits for a finalizer.
async fn restart_with_finalizer(suite: &Arc<Integration>, strategy: &str) -> Result<LiveJobSet> {
    let spec = format!(
        "{{failurePolicy: {{maxRestarts: 1, restartStrategy: {strategy}}}, replicatedJobs: [{{name: w, replicas: 4}}]}}"
    );
    let jobset = LiveJobSet::create(suite, "js", &spec).await?;
    jobset.counts_become(&[counts("w", [4, 0, 0, 4, 0])]).await?;
    jobset.add_finalizer("w-0").await?;
    jobset.fail("w-2").await?;
    Ok(jobset)
}

async fn expect_restart(jobset: &LiveJobSet) -> Result<()> {
    jobset.conditions_become(&[["RestartingJobSet", "True", "DefaultFailurePolicy", RESTARTING]]).await?;
    jobset.remove_finalizer("w-0").await?;
    jobset.jobs_become(&["w-0@1", "w-1@1", "w-2@1", "w-3@1"]).await?;
    jobset.conditions_become(&[["RestartingJobSet", "False", "JobsReady", "all jobs are ready"]]).await?;
    let status = jobset.counts_become(&[counts("w", [4, 0, 0, 4, 0])]).await?;
    assert_eq!((&status["restarts"], &status["restartsCountTowardsMax"]), (&json!(1), &json!(1)));
    Ok(())
}

pub(crate) async fn recreate_replaces_each_job_independently(suite: Arc<Integration>) -> Result<()> {
    let jobset = restart_with_finalizer(&suite, "Recreate").await?;
    jobset.jobs_stay(&["w-0@0 deleting", "w-1@1", "w-2@1", "w-3@1"]).await?;
    // The controller does not count Jobs of an earlier attempt.
    jobset.counts_become(&[counts("w", [3, 0, 0, 3, 0])]).await?;
    expect_restart(&jobset).await
}

pub(crate) async fn blocking_recreate_waits_for_all_jobs(suite: Arc<Integration>) -> Result<()> {
    let jobset = restart_with_finalizer(&suite, "BlockingRecreate").await?;
    jobset.jobs_stay(&["w-0@0 deleting"]).await?;
    jobset.counts_become(&[counts("w", [0; 5])]).await?;
    expect_restart(&jobset).await
}

/// The controller recreates a Job that a user deletes. That is not a restart.
pub(crate) async fn deleted_job_is_recreated(suite: Arc<Integration>) -> Result<()> {
    let jobset = LiveJobSet::create(&suite, "js", "{replicatedJobs: [{name: w, replicas: 2}]}").await?;
    // The test waits for the pods: Kubernetes' Job controller loses a Job that is recreated while it creates the first
    // pods.
    jobset.counts_become(&[counts("w", [2, 0, 0, 2, 0])]).await?;
    let before = jobset.jobs_become(&["w-0@0", "w-1@0"]).await?;
    jobset.jobs.delete("js-w-1", &DeleteParams::background()).await?;
    wait_for(
        "a new Job with the same name",
        TIMEOUT,
        || async { Ok(jobset.jobs.get_opt("js-w-1").await?.and_then(|job| job.metadata.uid)) },
        |uid| uid.is_some() && *uid != before["w-1"].metadata.uid,
    )
    .await?;
    let status = jobset.counts_become(&[counts("w", [2, 0, 0, 2, 0])]).await?;
    assert_eq!((&status["restarts"], status.get("conditions")), (&json!(0), None));
    let jobs = jobset.jobs_become(&["w-0@0", "w-1@0"]).await?;
    assert_eq!(jobs["w-0"].metadata.uid, before["w-0"].metadata.uid);
    Ok(())
}

/// Job `w-0` has condition `FailureTarget`: one of its two pods has failed, and the other terminates slowly. Returns the
/// name of the slow pod.
async fn failing_job(suite: &Arc<Integration>) -> Result<(LiveJobSet, String)> {
    let spec = "
failurePolicy: {maxRestarts: 1, rules: [{name: r, action: RestartJobSet, onJobFailureReasons: [BackoffLimitExceeded]}]}
replicatedJobs:
- {name: leader}
- {name: w, template: {spec: {parallelism: 2, completions: 2}}}
";
    let jobset = LiveJobSet::create(suite, "js", spec).await?;
    jobset.jobs_become(&["leader-0@0", "w-0@0"]).await?;
    let pods = jobset.running_pods("w-0").await?;
    let [slow, failing] = pods.as_slice() else { bail!("expected two pods: {pods:?}") };
    jobset.annotate_pod(slow, &json!({ "terminate-after": "1h" })).await?;
    jobset.annotate_pod(failing, &json!({ "outcome": "fail" })).await?;
    let is_failing = |job: &Job| {
        let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.map(|it| it.type_.as_str()).eq(["FailureTarget"])
    };
    let read = || async { Ok(jobset.jobs.get("js-w-0").await?) };
    wait_for("condition FailureTarget of the Job", TIMEOUT, read, is_failing).await?;
    Ok((jobset, slow.clone()))
}

async fn expect_restart_after_termination(jobset: &LiveJobSet, slow: &str) -> Result<()> {
    jobset.annotate_pod(slow, &json!({ "terminate-after": "0s" })).await?;
    jobset.jobs_become(&["leader-0@1", "w-0@1"]).await?;
    jobset.conditions_become(&[["RestartingJobSet", "False", "JobsReady", "all jobs are ready"]]).await?;
    let status =
        jobset.counts_become(&[counts("w", [1, 0, 0, 1, 0]), counts("leader", [1, 0, 0, 1, 0])]).await?;
    assert_eq!((&status["restarts"], &status["restartsCountTowardsMax"]), (&json!(1), &json!(1)));
    Ok(())
}

pub(crate) async fn failure_target_causes_no_restart_by_default(suite: Arc<Integration>) -> Result<()> {
    let (jobset, slow) = failing_job(&suite).await?;
    jobset.jobs_stay(&["leader-0@0", "w-0@0"]).await?;
    expect_restart_after_termination(&jobset, &slow).await
}

/// With feature gate `RestartOnFailureTarget`, the other Jobs restart before the slow pod has terminated.
pub(crate) async fn failure_target_causes_a_restart_behind_its_gate(suite: Arc<Integration>) -> Result<()> {
    let (jobset, slow) = failing_job(&suite).await?;
    jobset.jobs_stay(&["leader-0@1", "w-0@0 deleting"]).await?;
    expect_restart_after_termination(&jobset, &slow).await
}
