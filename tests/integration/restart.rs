//! `failurePolicy.restartStrategy`: when the Jobs of a new attempt are created.

use std::sync::Arc;

use anyhow::{Result, bail};
use jobset_tests::wait::{TIMEOUT, wait_for};
use k8s_openapi::api::batch::v1::Job;
use kube::api::DeleteParams;
use serde_json::json;

use crate::Integration;
use crate::jobset::{LiveJobSet, counts};

const RESTARTING: &str = "applying RestartJobSet failure policy action (first failed job: js-w-2)";

/// Four Jobs, of which `w-0` does not go away at once; `w-2` fails.
async fn restart_with_one_held(suite: &Arc<Integration>, strategy: &str) -> Result<LiveJobSet> {
    let spec = format!(
        "{{failurePolicy: {{maxRestarts: 1, restartStrategy: {strategy}}}, replicatedJobs: [{{name: w, replicas: 4}}]}}"
    );
    let jobset = LiveJobSet::create(suite, "js", &spec).await?;
    jobset.counts_become(&[counts("w", [4, 0, 0, 4, 0])]).await?;
    jobset.hold("w-0").await?;
    jobset.fail("w-2").await?;
    Ok(jobset)
}

async fn is_restarted(jobset: &LiveJobSet) -> Result<()> {
    jobset.conditions_become(&[["RestartingJobSet", "True", "DefaultFailurePolicy", RESTARTING]]).await?;
    jobset.release("w-0").await?;
    jobset.jobs_become(&["w-0@1", "w-1@1", "w-2@1", "w-3@1"]).await?;
    jobset.conditions_become(&[["RestartingJobSet", "False", "JobsReady", "all jobs are ready"]]).await?;
    let status = jobset.counts_become(&[counts("w", [4, 0, 0, 4, 0])]).await?;
    assert_eq!((&status["restarts"], &status["restartsCountTowardsMax"]), (&json!(1), &json!(1)));
    Ok(())
}

pub(crate) async fn recreate_waits_for_each_job_alone(suite: Arc<Integration>) -> Result<()> {
    let jobset = restart_with_one_held(&suite, "Recreate").await?;
    jobset.jobs_stay(&["w-0@0 deleting", "w-1@1", "w-2@1", "w-3@1"]).await?;
    // A Job of the earlier attempt counts nowhere.
    jobset.counts_become(&[counts("w", [3, 0, 0, 3, 0])]).await?;
    is_restarted(&jobset).await
}

pub(crate) async fn blocking_recreate_waits_for_all_jobs(suite: Arc<Integration>) -> Result<()> {
    let jobset = restart_with_one_held(&suite, "BlockingRecreate").await?;
    jobset.jobs_stay(&["w-0@0 deleting"]).await?;
    jobset.counts_become(&[counts("w", [0; 5])]).await?;
    is_restarted(&jobset).await
}

/// A Job that somebody deletes comes back, and that is no restart.
pub(crate) async fn deleted_job_comes_back(suite: Arc<Integration>) -> Result<()> {
    let jobset = LiveJobSet::create(&suite, "js", "{replicatedJobs: [{name: w, replicas: 2}]}").await?;
    // Kubernetes' Job controller loses a Job that is deleted and made again while it creates the first pods.
    jobset.counts_become(&[counts("w", [2, 0, 0, 2, 0])]).await?;
    let before = jobset.jobs_become(&["w-0@0", "w-1@0"]).await?;
    jobset.jobs.delete("js-w-1", &DeleteParams::background()).await?;
    wait_for(
        "a new Job of the old name",
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

/// Job `w-0` is about to fail: of its two pods, one has failed, and one takes its time to stop. Returns that one.
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
    let [slow, failing] = pods.as_slice() else { bail!("{pods:?} are not two") };
    jobset.annotate_pod(slow, &json!({ "terminate-after": "1h" })).await?;
    jobset.annotate_pod(failing, &json!({ "outcome": "fail" })).await?;
    let is_failing = |job: &Job| {
        let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.map(|it| it.type_.as_str()).eq(["FailureTarget"])
    };
    let look = || async { Ok(jobset.jobs.get("js-w-0").await?) };
    wait_for("the Job to be about to fail", TIMEOUT, look, is_failing).await?;
    Ok((jobset, slow.clone()))
}

async fn is_restarted_when_stopped(jobset: &LiveJobSet, slow: &str) -> Result<()> {
    jobset.annotate_pod(slow, &json!({ "terminate-after": "0s" })).await?;
    jobset.jobs_become(&["leader-0@1", "w-0@1"]).await?;
    jobset.conditions_become(&[["RestartingJobSet", "False", "JobsReady", "all jobs are ready"]]).await?;
    let status =
        jobset.counts_become(&[counts("w", [1, 0, 0, 1, 0]), counts("leader", [1, 0, 0, 1, 0])]).await?;
    assert_eq!((&status["restarts"], &status["restartsCountTowardsMax"]), (&json!(1), &json!(1)));
    Ok(())
}

pub(crate) async fn failing_job_has_not_failed_yet(suite: Arc<Integration>) -> Result<()> {
    let (jobset, slow) = failing_job(&suite).await?;
    jobset.jobs_stay(&["leader-0@0", "w-0@0"]).await?;
    is_restarted_when_stopped(&jobset, &slow).await
}

/// The same behind feature gate `RestartOnFailureTarget`: the others need not wait for the slow pod.
pub(crate) async fn failing_job_begins_the_restart(suite: Arc<Integration>) -> Result<()> {
    let (jobset, slow) = failing_job(&suite).await?;
    jobset.jobs_stay(&["leader-0@1", "w-0@0 deleting"]).await?;
    is_restarted_when_stopped(&jobset, &slow).await
}
