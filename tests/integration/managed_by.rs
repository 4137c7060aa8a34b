//! `spec.managedBy`: which controller reconciles a JobSet.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use jobset_tests::wait::{TIMEOUT, holds_for, wait_for};
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::Integration;
use crate::jobset::LiveJobSet;

pub(crate) async fn jobset_of_another_manager_is_ignored(suite: Arc<Integration>) -> Result<()> {
    let spec = "{managedBy: example.com/other, suspend: true, replicatedJobs: [{name: w}]}";
    let jobset = LiveJobSet::create(&suite, "foreign", spec).await?;
    jobset.suspend(false).await?;
    let read = || async {
        let status = jobset.get().await?.map(|jobset| jobset.data["status"].clone());
        Ok((jobset.jobs.list(&ListParams::default()).await?.items.len(), status))
    };
    holds_for("no Jobs and no status", Duration::from_secs(3), read, |(jobs, status)| {
        *jobs == 0 && status.as_ref().is_some_and(serde_json::Value::is_null)
    })
    .await
}

pub(crate) async fn jobset_managed_by_this_controller_is_reconciled(suite: Arc<Integration>) -> Result<()> {
    let spec = "{managedBy: jobset.sigs.k8s.io/jobset-controller, replicatedJobs: [{name: w}]}";
    let jobset = LiveJobSet::create(&suite, "ours", spec).await?;
    jobset.jobs_become(&["w-0@0"]).await?;
    Ok(())
}

/// A manager such as `MultiKueue` sets the terminal condition. The controller only deletes the JobSet after its TTL.
pub(crate) async fn finished_jobset_of_another_manager_is_deleted(suite: Arc<Integration>) -> Result<()> {
    let spec = "{managedBy: example.com/other, replicatedJobs: [{name: w}], ttlSecondsAfterFinished: ";
    let deleted = LiveJobSet::create(&suite, "deleted", &format!("{spec} 1}}")).await?;
    let kept = LiveJobSet::create(&suite, "kept", &format!("{spec} 3600}}")).await?;
    let status = json!({ "restarts": 7, "terminalState": "Completed", "conditions": [{
        "type": "Completed", "status": "True", "reason": "AllJobsCompleted", "message": "elsewhere",
        "lastTransitionTime": Timestamp::from_second(Timestamp::now().as_second())?,
    }] });
    let patch = Patch::Merge(json!({ "status": status }));
    for jobset in [&deleted, &kept] {
        jobset.api.patch_status(&jobset.name, &PatchParams::default(), &patch).await?;
    }
    wait_for("the JobSet to be deleted", TIMEOUT, || deleted.get(), Option::is_none).await?;
    let now = kept.status_when("the status of its manager", |status| !status.is_null()).await?;
    assert_eq!(now, status);
    kept.jobs_stay(&[]).await?;
    kept.events_become(&[]).await
}
