//! `replicatedJobs[].dependsOn`: the ReplicatedJobs that must be Ready or Complete before another one starts.

use std::sync::Arc;

use anyhow::Result;

use crate::Integration;
use crate::jobset::{LiveJobSet, UNREADY};

fn spec(more: &str) -> String {
    format!(
        "
{more}
replicatedJobs:
- {{name: data, replicas: 2}}
- {{name: driver, template: {UNREADY}, dependsOn: [{{name: data, status: Complete}}]}}
- {{name: side, template: {UNREADY}}}
- {{name: w, dependsOn: [{{name: driver, status: Ready}}, {{name: side, status: Ready}}]}}
"
    )
}

pub(crate) async fn replicated_job_waits_for_each_dependency(suite: Arc<Integration>) -> Result<()> {
    let jobset = LiveJobSet::create(&suite, "js", &spec("failurePolicy: {maxRestarts: 1}")).await?;
    // The Jobs of `data` are ready, but not complete.
    jobset.jobs_stay(&["data-0@0", "data-1@0", "side-0@0"]).await?;
    jobset.succeed("data-1").await?;
    jobset.jobs_stay(&["data-0@0", "data-1@0 complete", "side-0@0"]).await?;
    jobset.succeed("data-0").await?;
    jobset.jobs_stay(&["data-0@0 complete", "data-1@0 complete", "driver-0@0", "side-0@0"]).await?;
    // Only one of the two dependencies is ready.
    jobset.make_ready("driver-0").await?;
    jobset.jobs_stay(&["data-0@0 complete", "data-1@0 complete", "driver-0@0", "side-0@0"]).await?;
    jobset.make_ready("side-0").await?;
    let running = ["data-0@0 complete", "data-1@0 complete", "driver-0@0", "side-0@0", "w-0@0"];
    let status = {
        jobset.jobs_become(&running).await?;
        jobset.status_when("w to be ready", |status| status["replicatedJobsStatus"][0]["ready"] == 1).await?
    };
    assert_eq!(status.get("conditions"), None, "dependencies caused a condition");

    // A dependency that was ready may complete later.
    jobset.succeed("driver-0").await?;
    jobset
        .jobs_stay(&["data-0@0 complete", "data-1@0 complete", "driver-0@0 complete", "side-0@0", "w-0@0"])
        .await?;

    // A restart begins with the first ReplicatedJob, and also restarts Jobs that succeeded.
    jobset.fail("w-0").await?;
    jobset.jobs_stay(&["data-0@1", "data-1@1", "side-0@1"]).await
}

/// The controller creates the other Jobs of a suspended JobSet, but not Jobs with dependencies.
pub(crate) async fn dependents_are_not_created_while_suspended(suite: Arc<Integration>) -> Result<()> {
    let jobset = LiveJobSet::create(&suite, "js", &spec("suspend: true")).await?;
    jobset.jobs_stay(&["data-0@0 suspended", "data-1@0 suspended", "side-0@0 suspended"]).await?;
    jobset.conditions_become(&[["Suspended", "True", "SuspendedJobs", "jobset is suspended"]]).await?;
    jobset.suspend(false).await?;
    jobset.jobs_become(&["data-0@0", "data-1@0", "side-0@0"]).await?;
    jobset.conditions_become(&[["Suspended", "False", "ResumeJobs", "jobset is resumed"]]).await?;
    jobset.succeed("data-0").await?;
    jobset.succeed("data-1").await?;
    jobset.jobs_become(&["data-0@0 complete", "data-1@0 complete", "driver-0@0", "side-0@0"]).await?;
    Ok(())
}
