//! How the statuses of Jobs determine the status of their JobSet.
//!
//! Kubernetes' Job controller ignores Jobs with `managedBy`. These tests set it, so that they can write statuses that
//! simulated pods do not cause.

use std::sync::Arc;

use anyhow::Result;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::Integration;
use crate::jobset::{LiveJobSet, counts};

const SPEC: &str = "
failurePolicy:
  maxRestarts: 1
  rules:
  - {name: indexes, action: FailJobSet, onJobFailureReasons: [FailedIndexes], onJobFailureMessagePatterns: ['2 of 3 indexes$']}
replicatedJobs:
- {name: w, replicas: 5, template: {spec: {managedBy: example.com/test, parallelism: 3, completions: 2}}}
";

async fn write(jobset: &LiveJobSet, job: &str, mut status: Value) -> Result<()> {
    status["startTime"] = json!("2026-01-01T00:00:00Z");
    let patch = Patch::Merge(json!({ "status": status }));
    jobset.jobs.patch_status(&jobset.full_name(job), &PatchParams::default(), &patch).await?;
    Ok(())
}

fn conditions(types: [&str; 2], reason: &str, message: &str) -> Value {
    let now = "2026-01-01T00:01:00Z";
    json!(types.map(|kind| json!({
        "type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now,
    })))
}

/// A Job is ready when the number of pods that are Ready or have succeeded reaches the lower of `parallelism` and
/// `completions`.
pub(crate) async fn jobs_are_counted_by_their_status(suite: Arc<Integration>) -> Result<()> {
    let jobset = LiveJobSet::create(&suite, "js", SPEC).await?;
    jobset.jobs_become(&["w-0@0", "w-1@0", "w-2@0", "w-3@0", "w-4@0"]).await?;
    write(&jobset, "w-0", json!({ "active": 2, "ready": 2 })).await?;
    write(&jobset, "w-1", json!({ "active": 1, "ready": 1, "succeeded": 1, "completedIndexes": "0" }))
        .await?;
    write(&jobset, "w-2", json!({ "active": 2, "ready": 1 })).await?;
    let complete = json!({
        "succeeded": 2, "completedIndexes": "0,1", "completionTime": "2026-01-01T00:01:00Z",
        "conditions": conditions(["SuccessCriteriaMet", "Complete"], "CompletionsReached", "all completed"),
    });
    write(&jobset, "w-3", complete).await?;
    jobset.counts_become(&[counts("w", [2, 1, 0, 3, 0])]).await?;

    let message = "failed 2 of 3 indexes";
    let failed = json!({ "failed": 2, "conditions": conditions(["FailureTarget", "Failed"], "FailedIndexes", message) });
    write(&jobset, "w-4", failed).await?;
    let message = "applying FailJobSet failure policy action (first failed job: js-w-4)";
    jobset.conditions_become(&[["Failed", "True", "FailJobSetFailurePolicyAction", message]]).await?;
    jobset.jobs_become(&["w-3@0 complete", "w-4@0 failed"]).await?;
    jobset.counts_become(&[counts("w", [0, 1, 1, 0, 0])]).await?;
    Ok(())
}

/// The failure of a Job counts also while its JobSet is suspended, and the controller recreates the Jobs.
pub(crate) async fn failures_count_while_suspended(suite: Arc<Integration>) -> Result<()> {
    let spec = format!("suspend: true{}", SPEC.replace("replicas: 5", "replicas: 2"));
    let jobset = LiveJobSet::create(&suite, "js", &spec).await?;
    jobset.jobs_become(&["w-0@0 suspended", "w-1@0 suspended"]).await?;
    let failed = json!({ "failed": 1, "conditions": conditions(["FailureTarget", "Failed"], "DeadlineExceeded", "late") });
    write(&jobset, "w-1", failed).await?;
    jobset.jobs_become(&["w-0@1 suspended", "w-1@1 suspended"]).await?;
    let status = jobset.counts_become(&[counts("w", [0, 0, 0, 0, 2])]).await?;
    assert_eq!((&status["restarts"], &status["restartsCountTowardsMax"]), (&json!(1), &json!(1)));
    jobset
        .conditions_become(&[
            ["Suspended", "True", "SuspendedJobs", "jobset is suspended"],
            ["RestartingJobSet", "False", "JobSetSuspended", "jobset is suspended"],
        ])
        .await?;
    Ok(())
}
