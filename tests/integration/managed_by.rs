//! `spec.managedBy`: which controller reconciles a JobSet.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use jobset_tests::wait::holds_for;
use kube::api::ListParams;

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
