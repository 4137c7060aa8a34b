//! A status that another client overwrites: the controller restores it from the Jobs.

use std::sync::Arc;

use anyhow::Result;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::Integration;
use crate::jobset::{LiveJobSet, counts};

async fn overwrite(jobset: &LiveJobSet, status: Value) -> Result<()> {
    let patch = Patch::Merge(json!({ "status": status }));
    jobset.api.patch_status(&jobset.name, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// `restarts` and `restartsCountTowardsMax`.
fn restarts(status: &Value) -> [&Value; 2] {
    ["restarts", "restartsCountTowardsMax"].map(|key| &status[key])
}

fn uids<'a>(jobs: impl IntoIterator<Item = &'a Job>) -> Vec<Option<String>> {
    jobs.into_iter().map(ResourceExt::uid).collect()
}

pub(crate) async fn lost_status_is_restored_from_the_jobs(suite: Arc<Integration>) -> Result<()> {
    let spec = "{failurePolicy: {maxRestarts: 2}, replicatedJobs: [{name: w, replicas: 2}]}";
    let jobset = LiveJobSet::create(&suite, "js", spec).await?;
    let ready = [counts("w", [2, 0, 0, 2, 0])];
    jobset.counts_become(&ready).await?;
    jobset.fail("w-0").await?;
    let running = jobset.jobs_become(&["w-0@1", "w-1@1"]).await?;
    jobset.counts_become(&ready).await?;

    // An empty status, and the status of a backup from before the restart.
    let backup = json!({"restarts": 0, "restartsCountTowardsMax": null, "conditions": null});
    for lost in [Value::Null, backup] {
        overwrite(&jobset, lost).await?;
        let status = jobset.status_when("restored restarts", |status| status["restarts"] == 1).await?;
        assert_eq!(restarts(&status), [1, 1]);
        jobset.counts_become(&ready).await?;
    }
    let event = jobset.event("StatusRestored", |_| true).await?;
    assert_eq!(
        event.note.as_deref(),
        Some(
            "the status was lost or overwritten and is restored from the Jobs: restarts changes from 0 to 1, because \
             job js-w-1 belongs to attempt 1"
        )
    );
    jobset.jobs_stay(&["w-0@1", "w-1@1"]).await?;
    assert_eq!(uids(jobset.jobs_become(&["w-0@1", "w-1@1"]).await?.values()), uids(running.values()));

    // The next failure counts once, in addition to the restored restart.
    jobset.fail("w-1").await?;
    jobset.jobs_become(&["w-0@2", "w-1@2"]).await?;
    let status = jobset.counts_become(&ready).await?;
    assert_eq!(restarts(&status), [2, 2]);
    for job in ["w-0", "w-1"] {
        jobset.succeed(job).await?;
    }
    jobset.status_when("completion", |status| status["terminalState"] == "Completed").await?;
    Ok(())
}

/// If a user edits the attempt label of a Job to a later attempt, the controller neither restores a status nor restarts
/// Jobs.
pub(crate) async fn edited_attempt_label_restores_nothing(suite: Arc<Integration>) -> Result<()> {
    let jobset = LiveJobSet::create(&suite, "js", "{replicatedJobs: [{name: w, replicas: 2}]}").await?;
    jobset.counts_become(&[counts("w", [2, 0, 0, 2, 0])]).await?;
    let patch = json!({ "metadata": { "labels": { "jobset.sigs.k8s.io/restart-attempt": "1" } } });
    jobset.jobs.patch("js-w-1", &PatchParams::default(), &Patch::Merge(patch)).await?;
    let status = jobset.counts_become(&[counts("w", [1, 0, 0, 1, 0])]).await?;
    assert_eq!(status["restarts"], 0);
    jobset
        .events_become(&[
            "Warning ForeignJob: job js-w-1 is ignored because its label jobset.sigs.k8s.io/restart-attempt is 1, but the value in the pod template is 0; correct the label or delete the Job",
        ])
        .await?;
    jobset.jobs_stay(&["w-0@0", "w-1@1"]).await?;
    Ok(())
}
