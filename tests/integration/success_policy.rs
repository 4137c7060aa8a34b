//! `spec.successPolicy`: the Jobs that must succeed.

use std::sync::Arc;

use anyhow::Result;
use k8s_openapi::api::core::v1::Service;
use kube::api::Api;
use serde_json::json;

use crate::Integration;
use crate::jobset::{LiveJobSet, counts, each};

const COMPLETED: [&str; 4] = ["Completed", "True", "AllJobsCompleted", "jobset completed successfully"];

/// The listed Jobs succeed one after the other. The last one completes the JobSet, and the controller deletes the Jobs
/// that are still active.
pub(crate) async fn operator_and_targets_decide_completion(suite: Arc<Integration>) -> Result<()> {
    let cases: [(_, (_, &[&str])); 5] = [
        ("all", ("{operator: All}", &["leader-0", "w-0", "w-1"])),
        ("all-of-one", ("{operator: All, targetReplicatedJobs: [w]}", &["w-0", "w-1"])),
        ("all-of-two", ("{operator: All, targetReplicatedJobs: [w, leader]}", &["w-0", "leader-0", "w-1"])),
        ("any", ("{operator: Any}", &["w-1"])),
        ("any-of-one", ("{operator: Any, targetReplicatedJobs: [leader]}", &["w-0", "w-1", "leader-0"])),
    ];
    each(cases, |name, (policy, succeeding)| {
        let suite = Arc::clone(&suite);
        async move {
            let spec = format!(
                "{{successPolicy: {policy}, replicatedJobs: [{{name: leader}}, {{name: w, replicas: 2}}]}}"
            );
            let jobset = LiveJobSet::create(&suite, name, &spec).await?;
            jobset.jobs_become(&["leader-0@0", "w-0@0", "w-1@0"]).await?;
            for (before, job) in succeeding.iter().enumerate() {
                // The controller writes the count and the terminal state in the same update.
                let status = jobset
                    .status_when("the Jobs that succeeded to be counted", |status| {
                        let entries = status["replicatedJobsStatus"].as_array().into_iter().flatten();
                        entries.filter_map(|it| it["succeeded"].as_u64()).sum::<u64>() == before as u64
                    })
                    .await?;
                assert_eq!(status.get("terminalState"), None, "{name} before {job}: {status:#}");
                jobset.succeed(job).await?;
            }
            let status = jobset.conditions_become(&[COMPLETED]).await?;
            assert_eq!(status["terminalState"], "Completed", "{name}");
            let mut left: Vec<_> = succeeding.iter().map(|job| format!("{job}@0 complete")).collect();
            left.sort_unstable();
            jobset.jobs_stay(&left.iter().map(String::as_str).collect::<Vec<_>>()).await?;
            jobset.events_become(&["Normal AllJobsCompleted: jobset completed successfully"]).await?;
            Ok(())
        }
    })
    .await
}

/// The complete status after a restart and completion, as client libraries read it.
pub(crate) async fn jobset_completes_after_a_restart(suite: Arc<Integration>) -> Result<()> {
    let spec = "{failurePolicy: {maxRestarts: 1}, replicatedJobs: [{name: rj}, {name: w, replicas: 2}]}";
    let jobset = LiveJobSet::create(&suite, "js", spec).await?;
    jobset.jobs_become(&["rj-0@0", "w-0@0", "w-1@0"]).await?;
    jobset.fail("w-1").await?;
    jobset.conditions_become(&[["RestartingJobSet", "False", "JobsReady", "all jobs are ready"]]).await?;
    jobset.jobs_become(&["rj-0@1", "w-0@1", "w-1@1"]).await?;
    for job in ["rj-0", "w-0", "w-1"] {
        jobset.succeed(job).await?;
    }
    let last = [counts("w", [0, 2, 0, 0, 0]), counts("rj", [0, 1, 0, 0, 0])];
    let mut status = jobset.counts_become(&last).await?;
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        assert!(condition["lastTransitionTime"].take().is_string(), "{condition}");
    }
    assert_eq!(
        status,
        json!({
            "conditions": [
                {
                    "type": "RestartingJobSet", "status": "False", "reason": "JobSetCompleted",
                    "message": "jobset completed successfully", "lastTransitionTime": null,
                },
                {
                    "type": "Completed", "status": "True", "reason": "AllJobsCompleted",
                    "message": "jobset completed successfully", "lastTransitionTime": null,
                },
            ],
            "restarts": 1,
            "restartsCountTowardsMax": 1,
            "terminalState": "Completed",
            "replicatedJobsStatus": last,
        })
    );
    // The controller keeps finished Jobs and the Service, so that users can inspect them.
    jobset.jobs_stay(&["rj-0@1 complete", "w-0@1 complete", "w-1@1 complete"]).await?;
    let services: Api<Service> = Api::namespaced(suite.client.clone(), &jobset.namespace);
    assert!(services.get_opt("js").await?.is_some());
    let applied = "applying RestartJobSet failure policy action (first failed job: js-w-1)";
    jobset
        .events_become(&[
            &format!("Warning DefaultFailurePolicy: {applied}"),
            &format!("Warning RestartJobSetFailurePolicyAction: {applied}"),
            "Normal JobsReady: all jobs are ready",
            "Normal AllJobsCompleted: jobset completed successfully",
            "Normal JobSetCompleted: jobset completed successfully",
        ])
        .await?;
    Ok(())
}
