//! `spec.volumeClaimPolicies`: claims that the controller creates for a JobSet, and their retention.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use jobset_tests::wait::{TIMEOUT, wait_for};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::json;

use crate::Integration;
use crate::jobset::LiveJobSet;

/// One claim that is retained and one that is deleted with the JobSet. `leader` mounts both, `w` mounts one in an init
/// container, `other` mounts none.
const SPEC: &str = "
volumeClaimPolicies:
- templates:
  - metadata: {name: kept, labels: {tier: gold}, annotations: {about: kept}}
    spec: &claim {accessModes: [ReadWriteOnce], storageClassName: none, resources: {requests: {storage: 1Gi}}}
  retentionPolicy: {whenDeleted: Retain}
- templates: [{metadata: {name: scratch}, spec: *claim}]
replicatedJobs:
- name: leader
  template: {spec: {template: {spec: {
    volumes: [{name: own, emptyDir: {}}],
    containers: [{name: c, image: i, volumeMounts: [{name: kept, mountPath: /a}, {name: scratch, mountPath: /b}, {name: own, mountPath: /c}]}]}}}}
- name: w
  template: {spec: {template: {spec: {initContainers: [{name: i, image: i, volumeMounts: [{name: kept, mountPath: /a}]}]}}}}
- name: other
";

pub(crate) async fn claims_are_created_and_mounted(suite: Arc<Integration>) -> Result<()> {
    let jobset = LiveJobSet::create(&suite, "js", SPEC).await?;
    let claims = claims(&suite, &jobset.namespace, &["kept-js", "scratch-js"]).await?;
    let [kept, scratch] = claims.as_slice() else { unreachable!("`claims` waits for two") };
    assert_eq!(json!(kept.labels()), json!({ "tier": "gold", "jobset.sigs.k8s.io/jobset-name": "js" }));
    assert_eq!(kept.annotations().get("about").map(String::as_str), Some("kept"));
    assert_eq!(kept.metadata.owner_references, None, "the retained claim has an owner");
    assert_eq!(json!(scratch.labels()), json!({ "jobset.sigs.k8s.io/jobset-name": "js" }));
    assert_eq!(
        json!(scratch.metadata.owner_references),
        json!([{
            "apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "name": "js", "uid": jobset.uid,
            "controller": true, "blockOwnerDeletion": true,
        }])
    );
    for claim in &claims {
        assert_eq!(
            json!(claim.spec),
            json!({
                "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem", "storageClassName": "none",
                "resources": { "requests": { "storage": "1Gi" } },
            })
        );
    }

    let of =
        |name: &str| json!({ "name": name, "persistentVolumeClaim": { "claimName": format!("{name}-js") } });
    let expected = [
        ("leader-0", json!([{ "name": "own", "emptyDir": {} }, of("kept"), of("scratch")])),
        ("w-0", json!([of("kept")])),
        ("other-0", json!(null)),
    ];
    let jobs = jobset.jobs_become(&["leader-0@0", "other-0@0", "w-0@0"]).await?;
    for (name, volumes) in expected {
        let pod =
            jobs[name].spec.as_ref().and_then(|spec| spec.template.spec.as_ref()).context("a pod spec")?;
        assert_eq!(json!(pod.volumes), volumes, "{name}");
    }
    Ok(())
}

/// A retained claim is not deleted with its JobSet, and the next JobSet of the same name uses it, although the API
/// server has set default values in it. The other claim is deleted and created again.
pub(crate) async fn retained_claim_is_reused_by_the_next_jobset(suite: Arc<Integration>) -> Result<()> {
    let first = LiveJobSet::create(&suite, "js", SPEC).await?;
    let created = claims(&suite, &first.namespace, &["kept-js", "scratch-js"]).await?;
    // No pod runs, because the storage class does not exist.
    first.jobs_become(&["leader-0@0", "other-0@0", "w-0@0"]).await?;
    first.delete().await?;
    let retained = claims(&suite, &first.namespace, &["kept-js"]).await?;
    assert_eq!(retained[0].uid(), created[0].uid());

    let second = LiveJobSet::create_in(&suite, &first.namespace, "js", SPEC).await?;
    second.jobs_become(&["leader-0@0", "other-0@0", "w-0@0"]).await?;
    let now = claims(&suite, &first.namespace, &["kept-js", "scratch-js"]).await?;
    assert_eq!(now[0].uid(), created[0].uid());
    assert_ne!(now[1].uid(), created[1].uid());
    Ok(())
}

/// Waits until the namespace contains exactly these claims. Returns them, sorted by name.
async fn claims(suite: &Integration, namespace: &str, names: &[&str]) -> Result<Vec<PersistentVolumeClaim>> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(suite.client.clone(), namespace);
    let read = || async {
        let mut claims = api.list(&ListParams::default()).await?.items;
        claims.sort_by_key(ResourceExt::name_any);
        Ok(claims)
    };
    wait_for(&format!("claims {names:?}"), TIMEOUT, read, |claims| {
        claims.iter().map(ResourceExt::name_any).eq(names.iter().map(ToString::to_string))
            && claims.iter().all(|claim| claim.metadata.deletion_timestamp.is_none())
    })
    .await
}
