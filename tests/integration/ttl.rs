//! `spec.ttlSecondsAfterFinished`: a finished JobSet goes by itself.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use jobset_tests::wait::{TIMEOUT, wait_for};

use crate::Integration;
use crate::jobset::LiveJobSet;

/// It goes when its time is up, with its Jobs, however it ended; and not before.
pub(crate) async fn finished_jobset_is_deleted(suite: Arc<Integration>) -> Result<()> {
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
        wait_for("the JobSet to be gone", TIMEOUT, || jobset.get(), Option::is_none).await?;
        jobset.jobs_become(&[]).await?;
        // The audit log is written a moment later.
        let deletion = || async {
            let audit = suite.cluster.cluster().audit();
            let by_us = audit.query().user(suite.controller.user()).verb("delete").resource("jobsets");
            Ok(by_us.namespace(&jobset.namespace).name(&jobset.name).entries()?.pop())
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

/// The time may be given, or changed, when the JobSet has finished already.
pub(crate) async fn time_is_given_after_the_end(suite: Arc<Integration>) -> Result<()> {
    let spec = "{ttlSecondsAfterFinished: 3600, replicatedJobs: [{name: w}]}";
    let changed = LiveJobSet::create(&suite, "changed", spec).await?;
    let given = LiveJobSet::create(&suite, "given", "{replicatedJobs: [{name: w}]}").await?;
    for jobset in [&changed, &given] {
        jobset.jobs_become(&["w-0@0"]).await?;
        jobset.succeed("w-0").await?;
        jobset.status_when("completion", |status| status["terminalState"] == "Completed").await?;
        jobset.edit(|spec| spec["ttlSecondsAfterFinished"] = 0.into()).await?;
    }
    for jobset in [&changed, &given] {
        wait_for("the JobSet to be gone", TIMEOUT, || jobset.get(), Option::is_none).await?;
    }
    Ok(())
}

/// One that runs is left alone, however short the time.
pub(crate) async fn running_jobset_stays(suite: Arc<Integration>) -> Result<()> {
    let spec = "{ttlSecondsAfterFinished: 0, replicatedJobs: [{name: w, replicas: 2}]}";
    let jobset = LiveJobSet::create(&suite, "js", spec).await?;
    jobset.jobs_become(&["w-0@0", "w-1@0"]).await?;
    jobset.succeed("w-0").await?;
    jobset.jobs_stay(&["w-0@0 complete", "w-1@0"]).await
}
