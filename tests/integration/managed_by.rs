//! `spec.managedBy`: who looks after a JobSet.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use jobset_tests::wait::holds_for;
use kube::api::ListParams;

use crate::Integration;
use crate::jobset::LiveJobSet;

pub(crate) async fn foreign_manager_is_left_alone(suite: Arc<Integration>) -> Result<()> {
    let spec = "{managedBy: example.com/other, suspend: true, replicatedJobs: [{name: w}]}";
    let jobset = LiveJobSet::create(&suite, "foreign", spec).await?;
    jobset.suspend(false).await?;
    let look = || async {
        let status = jobset.get().await?.map(|jobset| jobset.data["status"].clone());
        Ok((jobset.jobs.list(&ListParams::default()).await?.items.len(), status))
    };
    holds_for("leaving another manager's JobSet alone", Duration::from_secs(3), look, |(jobs, status)| {
        *jobs == 0 && status.as_ref().is_some_and(serde_json::Value::is_null)
    })
    .await
}

pub(crate) async fn own_name_is_ours(suite: Arc<Integration>) -> Result<()> {
    let spec = "{managedBy: jobset.sigs.k8s.io/jobset-controller, replicatedJobs: [{name: w}]}";
    let jobset = LiveJobSet::create(&suite, "ours", spec).await?;
    jobset.jobs_become(&["w-0@0"]).await?;
    Ok(())
}
