//! Server-side apply by several field managers: lists merge by name, and no manager overwrites the fields of another.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use jobset_tests::objects::{self, Refusal};
use kube::api::{Api as KubeApi, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::Api;
use crate::crds::jobset;

const WORKER: &str = "/spec/replicatedJobs/1/template/spec/template/spec";

/// A suspended JobSet that field manager `owner` applied, and that no controller reconciles.
async fn applied(api: &Api, name: &str) -> Result<(KubeApi<DynamicObject>, DynamicObject)> {
    let template =
        "template: {spec: {template: {spec: {containers: [{name: c, image: i}, {name: d, image: i}]}}}}";
    let mut jobset = jobset(&format!(
        "{name}: {{suspend: true, managedBy: example.com/none, replicatedJobs: [{{name: driver, {template}}},
        {{name: worker, replicas: 2, {template}}}]}}"
    ))?;
    jobset.metadata.namespace = Some(api.cluster.namespace(&api.client).await?);
    let created = objects::apply(&api.client, &jobset, "owner").await?;
    Ok((objects::api_of(&api.client, &created).await?, created))
}

/// Applies only this pod spec of ReplicatedJob `worker`, as field manager `manager`.
async fn apply_pod_spec(
    jobsets: &KubeApi<DynamicObject>,
    name: &str,
    manager: &str,
    pod_spec: Value,
) -> Result<DynamicObject, Refusal> {
    let patch = Patch::Apply(json!({
        "apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "metadata": {"name": name},
        "spec": {"replicatedJobs": [{"name": "worker", "template": {"spec": {"template": {"spec": pod_spec}}}}]},
    }));
    jobsets.patch(name, &PatchParams::apply(manager), &patch).await.map_err(Refusal::from)
}

pub(crate) async fn second_manager_adds_fields(api: Arc<Api>) -> Result<()> {
    let (jobsets, before) = applied(&api, "shared").await?;
    let placement = json!({"nodeSelector": {"zone": "a"}});
    let after = apply_pod_spec(&jobsets, "shared", "scheduler", placement).await?;
    let mut expected = before.data["spec"].clone();
    expected["replicatedJobs"][1]["template"]["spec"]["template"]["spec"]["nodeSelector"] =
        json!({"zone": "a"});
    assert_eq!(after.data["spec"], expected, "an apply changed fields that it does not contain");

    // The API server removes a field that its only manager no longer applies.
    let without = apply_pod_spec(&jobsets, "shared", "scheduler", json!({})).await?;
    assert_eq!(without.data["spec"], before.data["spec"]);
    Ok(())
}

pub(crate) async fn containers_merge_by_name(api: Arc<Api>) -> Result<()> {
    let (jobsets, before) = applied(&api, "merging").await?;
    let same = json!({"containers": [{"name": "d", "image": "i"}]});
    let after = apply_pod_spec(&jobsets, "merging", "second", same).await?;
    assert_eq!(after.data["spec"], before.data["spec"], "an apply with one container changed the list");
    let owners = |container: &str| {
        let pointer = format!(
            r#"/f:spec/f:replicatedJobs/k:{{"name":"worker"}}/f:template/f:spec/f:template/f:spec/f:containers/k:{{"name":"{container}"}}/f:image"#
        );
        let entries = after.metadata.managed_fields.iter().flatten();
        let mut owners: Vec<_> = entries
            .filter(|entry| {
                entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer(&pointer).is_some())
            })
            .filter_map(|entry| entry.manager.as_deref())
            .collect();
        owners.sort_unstable();
        owners
    };
    assert_eq!((owners("c"), owners("d")), (vec!["owner"], vec!["owner", "second"]));

    // A new container is merged into the list. The webhook denies the update, because the merged list is different.
    let more = json!({"containers": [{"name": "proxy", "image": "p"}]});
    let refusal = apply_pod_spec(&jobsets, "merging", "second", more)
        .await
        .err()
        .context("the API server accepted it")?;
    let value = refusal.message.split("spec.replicatedJobs: Invalid value: ").nth(1).unwrap_or_default();
    let value = value.strip_suffix(": field is immutable").with_context(|| refusal.to_string())?;
    let merged: Value = serde_json::from_str(value)?;
    let names: Vec<_> = merged
        .pointer("/1/template/spec/template/spec/containers")
        .into_iter()
        .filter_map(Value::as_array)
        .flatten()
        .map(|container| container["name"].clone())
        .collect();
    assert_eq!(names, ["c", "d", "proxy"]);
    Ok(())
}

pub(crate) async fn disagreeing_managers_get_a_conflict(api: Arc<Api>) -> Result<()> {
    let (jobsets, _) = applied(&api, "disputed").await?;
    let zone = |zone: &str| json!({"nodeSelector": {"zone": zone}});
    apply_pod_spec(&jobsets, "disputed", "first", zone("a")).await?;
    let refusal = apply_pod_spec(&jobsets, "disputed", "second", zone("b"))
        .await
        .err()
        .context("the API server reported no conflict")?;
    assert_eq!(refusal.code, 409);
    // In Kubernetes, a node selector is atomic: one manager owns the whole map.
    assert_eq!(
        refusal.message,
        "Apply failed with 1 conflict: conflict with \"first\": \
         .spec.replicatedJobs[name=\"worker\"].template.spec.template.spec.nodeSelector"
    );
    let tolerations = json!({"tolerations": [{"key": "gpu", "operator": "Exists"}]});
    let both = apply_pod_spec(&jobsets, "disputed", "second", tolerations).await?;
    let pod_spec = both.data.pointer(WORKER).context("no pod spec")?;
    assert_eq!(pod_spec["nodeSelector"], json!({"zone": "a"}));
    assert_eq!(pod_spec["tolerations"], json!([{"key": "gpu", "operator": "Exists"}]));
    Ok(())
}

/// Claim policies are an atomic, immutable list. A manager that applies them again without their default values must
/// not change them, so the webhook sets the default values again.
pub(crate) async fn claims_can_be_applied_again(api: Arc<Api>) -> Result<()> {
    let mut jobset = jobset(
        "claimant: {suspend: true, managedBy: example.com/none,
        volumeClaimPolicies: [{templates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce]}}]}],
        replicatedJobs: [{name: worker, template: {spec: {template: {spec: {containers: [
            {name: c, image: i, volumeMounts: [{name: data, mountPath: /data}]}]}}}}}]}",
    )?;
    jobset.metadata.namespace = Some(api.cluster.namespace(&api.client).await?);
    let first = objects::apply(&api.client, &jobset, "owner").await?;
    assert_eq!(
        first.data["spec"]["volumeClaimPolicies"][0]["retentionPolicy"],
        json!({"whenDeleted": "Delete"})
    );
    let second = objects::apply(&api.client, &jobset, "owner").await?;
    assert_eq!(second.metadata.generation, first.metadata.generation);
    Ok(())
}

pub(crate) async fn conditions_merge_by_type(api: Arc<Api>) -> Result<()> {
    let (jobsets, _) = applied(&api, "observed").await?;
    let apply = |manager: &'static str, condition: &'static str| {
        let patch = Patch::Apply(json!({
            "apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "metadata": {"name": "observed"},
            "status": {"restarts": 0, "conditions": [{
                "type": condition, "status": "True", "reason": "Seen", "message": "",
                "lastTransitionTime": "2026-01-28T11:13:43Z",
            }]},
        }));
        let jobsets = jobsets.clone();
        async move { jobsets.patch_status("observed", &PatchParams::apply(manager), &patch).await }
    };
    apply("first", "Suspended").await?;
    let after = apply("second", "example.com/Checked").await?;
    let types: Vec<_> = after
        .data
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|condition| condition["type"].clone())
        .collect();
    assert_eq!(types, ["Suspended", "example.com/Checked"]);
    Ok(())
}
