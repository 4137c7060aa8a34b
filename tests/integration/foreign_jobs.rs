//! Jobs with a name or label of a JobSet that the controller does not own or cannot count.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use jobset_tests::objects;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::Integration;
use crate::jobset::{LiveJobSet, counts};

/// A Job of another owner blocks the creation of the Job with the same name, and of no other Job.
pub(crate) async fn foreign_job_of_the_same_name_is_reported(suite: Arc<Integration>) -> Result<()> {
    let namespace = suite.cluster.namespace(&suite.client).await?;
    let foreign = objects::one(
        "{apiVersion: batch/v1, kind: Job, metadata: {name: js-w-0}, spec: {suspend: true, template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}",
    )?;
    let foreign = objects::create(&suite.client, &namespace, &foreign, false).await?;
    let spec = "{replicatedJobs: [{name: w, replicas: 2}]}";
    let jobset = LiveJobSet::create_in(&suite, &namespace, "js", spec).await?;
    let event = jobset.event("JobCreationFailed", |_| true).await?;
    let note = event.note.unwrap_or_default();
    assert!(note.starts_with("job \"js-w-0\" creation failed with error: "), "{note}");
    jobset.jobs_become(&["w-1@0"]).await?;
    // The controller counts existing Jobs, although it cannot create all Jobs.
    jobset.counts_become(&[counts("w", [1, 0, 0, 1, 0])]).await?;
    // The first status update triggers a reconcile. It must not cause a second event.
    let is_counted = |event: &Event| event.series.as_ref().is_some_and(|series| series.count >= 3);
    jobset.event("JobCreationFailed", is_counted).await?;
    assert_eq!(jobset.events_of("JobCreationFailed").await?.len(), 1);
    let untouched = jobset.jobs.get("js-w-0").await?;
    assert_eq!((untouched.uid(), untouched.metadata.generation), (foreign.uid(), Some(1)));

    objects::delete(&suite.client, &foreign).await?;
    jobset.jobs_become(&["w-0@0", "w-1@0"]).await?;
    jobset.counts_become(&[counts("w", [2, 0, 0, 2, 0])]).await?;
    Ok(())
}

/// The controller neither counts nor deletes a Job with the labels of a JobSet, if the JobSet does not own it.
pub(crate) async fn job_of_another_owner_is_ignored(suite: Arc<Integration>) -> Result<()> {
    let jobset = LiveJobSet::create(&suite, "js", "{replicatedJobs: [{name: w}]}").await?;
    let own = jobset.jobs_become(&["w-0@0"]).await?.remove("w-0").context("the Job is missing")?;
    let mut other: Job = serde_json::from_value(json!({
        "metadata": { "name": "js-w-1", "labels": own.labels() },
        "spec": { "suspend": true, "template": { "spec": { "restartPolicy": "Never", "containers": [{ "name": "c", "image": "i" }] } } },
    }))?;
    other.labels_mut().insert("jobset.sigs.k8s.io/job-index".into(), "1".into());
    let other = jobset.jobs.create(&PostParams::default(), &other).await?;
    jobset.jobs_stay(&["w-0@0", "w-1@0 suspended"]).await?;
    jobset.counts_become(&[counts("w", [1, 0, 0, 1, 0])]).await?;
    jobset.succeed("w-0").await?;
    jobset.status_when("completion", |status| status["terminalState"] == "Completed").await?;
    jobset.jobs_stay(&["w-0@0 complete", "w-1@0 suspended"]).await?;
    assert_eq!(jobset.jobs.get("js-w-1").await?.uid(), other.uid());
    Ok(())
}

/// The controller does not count a Job with an invalid label. It reports the label once, and blocks no other Job.
pub(crate) async fn invalid_label_is_reported(suite: Arc<Integration>) -> Result<()> {
    let spec = "{failurePolicy: {maxRestarts: 1}, replicatedJobs: [{name: w, replicas: 3}]}";
    let jobset = LiveJobSet::create(&suite, "js", spec).await?;
    jobset.counts_become(&[counts("w", [3, 0, 0, 3, 0])]).await?;
    let patch = json!({ "metadata": { "labels": { "jobset.sigs.k8s.io/restart-attempt": "soon" } } });
    jobset.jobs.patch("js-w-1", &PatchParams::default(), &Patch::Merge(patch)).await?;
    jobset.counts_become(&[counts("w", [2, 0, 0, 2, 0])]).await?;
    jobset
        .events_become(&[
            "Warning ForeignJob: job js-w-1 is ignored because its label jobset.sigs.k8s.io/restart-attempt is \"soon\", which is not a non-negative integer; correct the label or delete the Job",
        ])
        .await?;

    jobset.fail("w-0").await?;
    jobset.jobs_become(&["w-0@1", "w-1@soon", "w-2@1"]).await?;
    jobset.jobs.delete("js-w-1", &DeleteParams::background()).await?;
    jobset.jobs_become(&["w-0@1", "w-1@1", "w-2@1"]).await?;
    for job in ["w-0", "w-1", "w-2"] {
        jobset.succeed(job).await?;
    }
    jobset.status_when("completion", |status| status["terminalState"] == "Completed").await?;
    Ok(())
}
