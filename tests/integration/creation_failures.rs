//! What cannot be created is told in events, and made as soon as it can be.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use jobset_tests::wait::wait_for;
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::json;

use crate::Integration;
use crate::jobset::{LiveJobSet, PATIENCE};

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
        let event = jobset.event(reason, |event| event.series.is_some()).await?;
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
