//! What cannot be created is told in events, and made as soon as it can be.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use jobset_tests::objects;
use jobset_tests::wait::wait_for;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::json;

use crate::Integration;
use crate::jobset::{LiveJobSet, PATIENCE, counts};

/// A quota that leaves no room, and another time for each kind.
pub(crate) async fn refusals_are_told_and_overcome(suite: Arc<Integration>) -> Result<()> {
    let namespace = suite.cluster.namespace(&suite.client).await?;
    let quotas: Api<ResourceQuota> = Api::namespaced(suite.client.clone(), &namespace);
    let quota = serde_json::from_value(json!({
        "metadata": { "name": "full" },
        "spec": { "hard": { "count/jobs.batch": "0", "count/services": "0", "persistentvolumeclaims": "0" } },
    }))?;
    quotas.create(&PostParams::default(), &quota).await?;
    wait_for(
        "the quota to hold",
        PATIENCE,
        || async { Ok(quotas.get("full").await?) },
        |quota| quota.status.as_ref().and_then(|it| it.hard.as_ref()).is_some_and(|hard| hard.len() == 3),
    )
    .await?;
    let spec = "
volumeClaimPolicies:
- templates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
replicatedJobs:
- name: w
  replicas: 40
  template: {spec: {template: {spec: {containers: [{name: c, image: i, volumeMounts: [{name: data, mountPath: /a}]}]}}}}
";
    let jobset = LiveJobSet::create_in(&suite, &namespace, "js", spec).await?;
    for (reason, note, is_long) in [
        ("JobCreationFailed", "job \"js-w-", true),
        ("HeadlessServiceCreationFailed", "services \"js\" is forbidden: exceeded quota: full", false),
        ("PVCCreationFailed", "data-js", false),
    ] {
        let event = event(&suite, &jobset, reason, |event| event.series.is_some()).await?;
        let text = event.note.as_deref().unwrap_or_default();
        assert!(text.contains(note) && text.contains("exceeded quota: full"), "{reason}: {text}");
        // Forty errors are more than an event takes.
        assert_eq!(text.len() > 1000, is_long, "{reason}: {text}");
        assert!(text.len() <= 1024, "{reason}: {} bytes", text.len());
        assert_eq!(event.type_.as_deref(), Some("Warning"), "{reason}");
        assert_eq!(event.reporting_controller.as_deref(), Some("jobset"), "{reason}");
        assert_eq!(event.action.as_deref(), Some("Reconciling"), "{reason}");
        let instance = event.reporting_instance.unwrap_or_default();
        assert!(instance.starts_with("jobset-") && instance.len() > 7, "{reason}: {instance}");
        let regarding = event.regarding.context("an event is about something")?;
        assert_eq!(
            (regarding.kind.as_deref(), regarding.api_version.as_deref(), regarding.name.as_deref()),
            (Some("JobSet"), Some("jobset.x-k8s.io/v1alpha2"), Some("js")),
            "{reason}"
        );
    }
    quotas.delete("full", &DeleteParams::default()).await?;
    wait_for(
        "all Jobs",
        PATIENCE,
        || async { Ok(jobset.jobs.list(&ListParams::default()).await?.items.len()) },
        |jobs| *jobs == 40,
    )
    .await?;
    Ok(())
}

/// A Job that somebody else made holds its name, and nothing else up.
pub(crate) async fn foreign_job_of_the_same_name_is_told(suite: Arc<Integration>) -> Result<()> {
    let namespace = suite.cluster.namespace(&suite.client).await?;
    let foreign = objects::one(
        "{apiVersion: batch/v1, kind: Job, metadata: {name: js-w-0}, spec: {suspend: true, template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}",
    )?;
    let foreign = objects::create(&suite.client, &namespace, &foreign, false).await?;
    let spec = "{replicatedJobs: [{name: w, replicas: 2}]}";
    let jobset = LiveJobSet::create_in(&suite, &namespace, "js", spec).await?;
    let told = event(&suite, &jobset, "JobCreationFailed", |_| true).await?;
    let note = told.note.unwrap_or_default();
    assert!(note.starts_with("job \"js-w-0\" creation failed with error: "), "{note}");
    jobset.jobs_become(&["w-1@0"]).await?;
    let untouched = jobset.jobs.get("js-w-0").await?;
    assert_eq!((untouched.uid(), untouched.metadata.generation), (foreign.uid(), Some(1)));

    objects::delete(&suite.client, &foreign).await?;
    jobset.jobs_become(&["w-0@0", "w-1@0"]).await?;
    jobset.counts_become(&[counts("w", [2, 0, 0, 2, 0])]).await?;
    Ok(())
}

/// A Job with an owner of the same name, but another UID, is another's: it is neither counted nor deleted.
pub(crate) async fn job_of_another_jobset_is_left_alone(suite: Arc<Integration>) -> Result<()> {
    let jobset = LiveJobSet::create(&suite, "js", "{replicatedJobs: [{name: w}]}").await?;
    let own = jobset.jobs_become(&["w-0@0"]).await?.remove("w-0").context("it was just seen")?;
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

/// The event of this reason about the JobSet, as soon as there is one.
async fn event(
    suite: &Integration,
    jobset: &LiveJobSet,
    reason: &str,
    condition: impl Fn(&Event) -> bool,
) -> Result<Event> {
    let api: Api<Event> = Api::namespaced(suite.client.clone(), &jobset.namespace);
    let look = || async {
        let events = api.list(&ListParams::default()).await?.items;
        Ok(events.into_iter().find(|event| {
            event.reason.as_deref() == Some(reason)
                && event.regarding.as_ref().is_some_and(|it| it.uid.as_ref() == Some(&jobset.uid))
        }))
    };
    let is_told = |event: &Option<Event>| event.as_ref().is_some_and(&condition);
    wait_for(&format!("an event {reason}"), PATIENCE, look, is_told).await?.context("it was just seen")
}
