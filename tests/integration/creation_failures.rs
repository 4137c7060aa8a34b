//! What cannot be created is told in events, and made as soon as it can be.

use std::sync::Arc;

use anyhow::Result;
use jobset_tests::wait::{PATIENCE, wait_for};
use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::Integration;
use crate::jobset::LiveJobSet;

/// A quota leaves no room: first for the Service and the claim, then for the Jobs that need them.
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
    for (reason, note) in
        [("HeadlessServiceCreationFailed", "services \"js\""), ("PVCCreationFailed", "data-js")]
    {
        let event = jobset.event(reason, |event| event.series.is_some()).await?;
        let text = told(&event);
        assert!(text.contains(note) && text.contains("exceeded quota: full"), "{reason}: {text}");
    }
    let room = json!({ "spec": { "hard": { "count/services": "1", "persistentvolumeclaims": "1" } } });
    quotas.patch("full", &PatchParams::default(), &Patch::Merge(room)).await?;
    // Forty errors are more than an event takes.
    let event = jobset.event("JobCreationFailed", |_| true).await?;
    let text = told(&event);
    assert!(text.starts_with("job \"js-w-") && text.contains("\" creation failed with error: "), "{text}");
    assert!((1000..=1024).contains(&text.len()), "{} bytes: {text}", text.len());

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

/// The note of an event that has everything else that it should have.
fn told(event: &Event) -> &str {
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
