//! `spec.ttlSecondsAfterFinished`: the controller deletes a finished JobSet.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use jobset_tests::wait::{TIMEOUT, wait_for};

use crate::Integration;
use crate::jobset::LiveJobSet;

/// The controller deletes a completed and a failed JobSet with their Jobs when the TTL expires, and not before.
pub(crate) async fn finished_jobset_is_deleted_after_its_ttl(suite: Arc<Integration>) -> Result<()> {
    let spec = "{ttlSecondsAfterFinished: 5, replicatedJobs: [{name: w, replicas: 2}]}";
    let completed = LiveJobSet::create(&suite, "completed", spec).await?;
    let failed = LiveJobSet::create(&suite, "failed", spec).await?;
    for jobset in [&completed, &failed] {
        jobset.jobs_become(&["w-0@0", "w-1@0"]).await?;
    }
    completed.succeed("w-0").await?;
    completed.succeed("w-1").await?;
    failed.fail("w-0").await?;
    let finish = async |jobset: &LiveJobSet| -> Result<Timestamp> {
        let status =
            jobset.status_when("a terminal state", |status| !status["terminalState"].is_null()).await?;
        Ok(status["conditions"][0]["lastTransitionTime"].as_str().unwrap_or("").parse()?)
    };
    let (completed_at, failed_at) = tokio::try_join!(finish(&completed), finish(&failed))?;
    for (jobset, finished) in [(&completed, completed_at), (&failed, failed_at)] {
        wait_for("the JobSet to be deleted", TIMEOUT, || jobset.get(), Option::is_none).await?;
        jobset.jobs_become(&[]).await?;
        // The API server writes the audit log with a short delay.
        let deletion = || async {
            let audit = suite.cluster.cluster().audit();
            let deletions = audit.query().user(suite.controller.user()).verb("delete").resource("jobsets");
            Ok(deletions.namespace(&jobset.namespace).name(&jobset.name).entries()?.pop())
        };
        let deletion = wait_for("the deletion in the audit log", TIMEOUT, deletion, Option::is_some).await?;
        let deleted = deletion.map(|entry| entry.request_received_timestamp);
        assert!(
            deleted >= Some(finished + Duration::from_secs(5)),
            "finished {finished}, deleted {deleted:?}"
        );
    }
    Ok(())
}

/// A user can set or change the TTL of a finished JobSet.
pub(crate) async fn ttl_can_be_set_after_the_end(suite: Arc<Integration>) -> Result<()> {
    let spec = "{ttlSecondsAfterFinished: 3600, replicatedJobs: [{name: w}]}";
    let changed = LiveJobSet::create(&suite, "changed", spec).await?;
    let added = LiveJobSet::create(&suite, "added", "{replicatedJobs: [{name: w}]}").await?;
    for jobset in [&changed, &added] {
        jobset.jobs_become(&["w-0@0"]).await?;
        jobset.succeed("w-0").await?;
        jobset.status_when("completion", |status| status["terminalState"] == "Completed").await?;
        jobset.edit(|spec| spec["ttlSecondsAfterFinished"] = 0.into()).await?;
    }
    for jobset in [&changed, &added] {
        wait_for("the JobSet to be deleted", TIMEOUT, || jobset.get(), Option::is_none).await?;
    }
    Ok(())
}

/// The controller does not delete a running JobSet, whatever its TTL.
pub(crate) async fn running_jobset_is_not_deleted(suite: Arc<Integration>) -> Result<()> {
    let spec = "{ttlSecondsAfterFinished: 0, replicatedJobs: [{name: w, replicas: 2}]}";
    let jobset = LiveJobSet::create(&suite, "js", spec).await?;
    jobset.jobs_become(&["w-0@0", "w-1@0"]).await?;
    jobset.succeed("w-0").await?;
    jobset.jobs_stay(&["w-0@0 complete", "w-1@0"]).await
}
