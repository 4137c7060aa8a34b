//! Children that the API server rejects: the controller reports them in events, and retries until it creates them.

use std::sync::Arc;

use anyhow::Result;
use jobset_tests::wait::{TIMEOUT, wait_for};
use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::Integration;
use crate::jobset::LiveJobSet;

/// A quota prevents the creation of the Service and the claim, and then of the Jobs that need them.
pub(crate) async fn failed_creations_are_reported_and_retried(suite: Arc<Integration>) -> Result<()> {
    let namespace = suite.cluster.namespace(&suite.client).await?;
    let quotas: Api<ResourceQuota> = Api::namespaced(suite.client.clone(), &namespace);
    let quota = serde_json::from_value(json!({
        "metadata": { "name": "full" },
        "spec": { "hard": { "count/jobs.batch": "0", "count/services": "0", "persistentvolumeclaims": "0" } },
    }))?;
    quotas.create(&PostParams::default(), &quota).await?;
    wait_for(
        "the quota to take effect",
        TIMEOUT,
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
    for (reason, note) in
        [("HeadlessServiceCreationFailed", "services \"js\""), ("PVCCreationFailed", "data-js")]
    {
        let event = jobset.event(reason, |event| event.series.is_some()).await?;
        let text = note_of(&event);
        assert!(text.contains(note) && text.contains("exceeded quota: full"), "{reason}: {text}");
    }
    let relaxed = json!({ "spec": { "hard": { "count/services": "1", "persistentvolumeclaims": "1" } } });
    quotas.patch("full", &PatchParams::default(), &Patch::Merge(relaxed)).await?;
    // The note of an event is too short for 40 errors.
    let event = jobset.event("JobCreationFailed", |_| true).await?;
    let text = note_of(&event);
    assert!(text.starts_with("job \"js-w-") && text.contains("\" creation failed with error: "), "{text}");
    assert!((1000..=1024).contains(&text.len()), "{} bytes: {text}", text.len());

    quotas.delete("full", &DeleteParams::default()).await?;
    wait_for(
        "all Jobs",
        TIMEOUT,
        || async { Ok(jobset.jobs.list(&ListParams::default()).await?.items.len()) },
        |jobs| *jobs == 40,
    )
    .await?;
    Ok(())
}

/// While a quota rejects Jobs, the controller reports one event and one warning, however often it retries, and although
/// the numbers in the message change. If the quota rejects Jobs again later, it reports a second one.
pub(crate) async fn persistent_failure_is_reported_once(suite: Arc<Integration>) -> Result<()> {
    let namespace = suite.cluster.namespace(&suite.client).await?;
    let quotas: Api<ResourceQuota> = Api::namespaced(suite.client.clone(), &namespace);
    limit_jobs(&quotas, "2").await?;
    let jobset =
        LiveJobSet::create_in(&suite, &namespace, "js", "{replicatedJobs: [{name: w, replicas: 6}]}").await?;
    let job_count = || async { Ok(jobset.jobs.list(&ListParams::default()).await?.items.len()) };
    let reported = || async {
        let counts = jobset.events_of("JobCreationFailed").await?.into_iter();
        Ok(counts.map(|event| event.series.map_or(1, |series| series.count)).collect::<Vec<_>>())
    };
    let warnings = || {
        let log = std::fs::read_to_string(suite.controller.log())?;
        let is_warning = |line: &&str| line.contains(&jobset.uid) && line.contains("WARN");
        anyhow::Ok(log.lines().filter(is_warning).map(str::to_owned).collect::<Vec<_>>())
    };
    wait_for("repeats", TIMEOUT, reported, |counts| counts.iter().sum::<i32>() >= 3).await?;
    // One more Job fits, so that the numbers "used" and "limited" in the message change.
    limit_jobs(&quotas, "3").await?;
    wait_for("a third Job", TIMEOUT, job_count, |jobs| *jobs == 3).await?;
    let before = reported().await?.iter().sum::<i32>();
    wait_for("more repeats", TIMEOUT, reported, |counts| counts.iter().sum::<i32>() >= before + 3).await?;
    let counts = reported().await?;
    assert_eq!(counts.len(), 1, "one event, counted: {counts:?}");
    let lines = warnings()?;
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines.iter().all(|line| line.contains("exceeded quota: jobs")), "{lines:#?}");

    // It ends, and begins again: the first reconcile without a failure ends it.
    quotas.delete("jobs", &DeleteParams::default()).await?;
    wait_for("all Jobs", TIMEOUT, job_count, |jobs| *jobs == 6).await?;
    limit_jobs(&quotas, "1").await?;
    jobset.jobs.delete("js-w-0", &DeleteParams::background()).await?;
    wait_for("a second event", TIMEOUT, reported, |counts| counts.len() == 2 && counts[1] >= 2).await?;
    let lines = warnings()?;
    assert_eq!(lines.len(), 2, "{lines:#?}");
    Ok(())
}

/// Sets the quota `jobs` to so many Jobs, and waits until it holds.
async fn limit_jobs(quotas: &Api<ResourceQuota>, jobs: &str) -> Result<()> {
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "jobs" },
        "spec": { "hard": { "count/jobs.batch": jobs } },
    });
    quotas.patch("jobs", &PatchParams::apply("test").force(), &Patch::Apply(quota)).await?;
    let read = || async { Ok(quotas.get("jobs").await?.status.and_then(|status| status.hard)) };
    wait_for("the quota to hold", TIMEOUT, read, |hard| {
        hard.as_ref().and_then(|hard| hard.get("count/jobs.batch")).is_some_and(|limit| limit.0 == jobs)
    })
    .await
    .map(drop)
}

/// Checks the other fields of an event and returns its note.
fn note_of(event: &Event) -> &str {
    let reason = event.reason.as_deref().unwrap_or_default();
    assert_eq!(event.type_.as_deref(), Some("Warning"), "{reason}");
    assert_eq!(event.reporting_controller.as_deref(), Some("jobset"), "{reason}");
    assert_eq!(event.action.as_deref(), Some("Reconciling"), "{reason}");
    let instance = event.reporting_instance.as_deref().unwrap_or_default();
    assert!(instance.starts_with("jobset-") && instance.len() > 7, "{reason}: {instance}");
    let regarding = event.regarding.as_ref().unwrap();
    assert_eq!(
        (regarding.kind.as_deref(), regarding.api_version.as_deref(), regarding.name.as_deref()),
        (Some("JobSet"), Some("jobset.x-k8s.io/v1alpha2"), Some("js")),
        "{reason}"
    );
    event.note.as_deref().unwrap_or_default()
}
