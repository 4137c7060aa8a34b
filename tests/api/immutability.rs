//! Updates of a JobSet: the fields that the CRD's transition rules protect, and the ReplicatedJobs.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use jobset_tests::objects::{self, Refusal};
use kube::api::{Api as KubeApi, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::Api;
use crate::crds::jobset;

const TEMPLATE: &str = "template: {spec: {template: {spec: {containers: [
    {name: c, image: i, volumeMounts: [{name: data, mountPath: /data}]}]}}}}";

/// Creates a JobSet with this spec that no controller reconciles.
async fn create(api: &Api, name: &str, spec: &str) -> Result<KubeApi<DynamicObject>> {
    let namespace = api.cluster.namespace(&api.client).await?;
    let jobset = jobset(&format!(
        "{name}: {{managedBy: example.com/none, {spec} replicatedJobs: [{{name: driver, {TEMPLATE}}}, \
         {{name: worker, dependsOn: [{{name: driver, status: Ready}}], {TEMPLATE}}}]}}"
    ))?;
    let created = objects::create(&api.client, &namespace, &jobset, false).await?;
    objects::api_of(&api.client, &created).await
}

/// The API server's response to a change. The change is a dry run.
async fn try_patch(jobsets: &KubeApi<DynamicObject>, name: &str, change: &Value) -> Result<Value, Refusal> {
    let params = PatchParams { dry_run: true, ..PatchParams::default() };
    // A list is a JSON patch, and an object is a merge patch.
    let response = if change.is_array() {
        let patch = serde_json::from_value(change.clone())
            .map_err(|error| Refusal { code: 0, message: error.to_string() })?;
        jobsets.patch(name, &params, &Patch::Json::<()>(patch)).await
    } else {
        jobsets.patch(name, &params, &Patch::Merge(change)).await
    };
    response.map(|changed| changed.data["spec"].clone()).map_err(Refusal::from)
}

async fn refused(jobsets: &KubeApi<DynamicObject>, name: &str, change: &Value) -> Result<String> {
    let refusal = try_patch(jobsets, name, change)
        .await
        .err()
        .with_context(|| format!("the API server accepted {change}"))?;
    assert_eq!(refusal.code, 422, "{change}: {refusal}");
    Ok(refusal.message)
}

pub(crate) async fn policies_are_immutable_but_can_be_added_and_removed(api: Arc<Api>) -> Result<()> {
    // `network`, `successPolicy` and `startupPolicy` have default values. Removing a default value is not a change.
    let full = create(
        &api,
        "full",
        "failurePolicy: {maxRestarts: 1}, volumeClaimPolicies: [{templates: [{metadata: {name: data}, spec: {}}]}],",
    )
    .await?;
    for (field, changed) in [
        ("network", json!({"subdomain": "other"})),
        ("successPolicy", json!({"operator": "Any"})),
        ("startupPolicy", json!({"startupPolicyOrder": "InOrder"})),
        ("failurePolicy", json!({"maxRestarts": 2})),
        (
            "volumeClaimPolicies",
            json!([{"templates": [{"metadata": {"name": "data"}, "spec": {"volumeMode": "Block"}}]}]),
        ),
    ] {
        let message = refused(&full, "full", &json!({"spec": {field: changed}})).await?;
        let error = format!("spec.{field}: Invalid value: Value is immutable");
        // `startupPolicy` also violates a second rule, because the JobSet has `dependsOn`.
        let second = "spec: Invalid value: StartupPolicy and DependsOn APIs are mutually exclusive";
        let errors = if field == "startupPolicy" { format!("[{second}, {error}]") } else { error };
        assert_eq!(message, format!("JobSet.jobset.x-k8s.io \"full\" is invalid: {errors}"));
        let removed = try_patch(&full, "full", &json!({"spec": {field: null}})).await.context(field)?;
        let is_default = ["network", "successPolicy", "startupPolicy"].contains(&field);
        assert_eq!(removed.get(field).is_some(), is_default, "{field} after its removal");
    }

    // A removed field can be added again with another value.
    let bare = create(
        &api,
        "bare",
        "network: {subdomain: one}, successPolicy: {operator: Any, targetReplicatedJobs: [driver]},",
    )
    .await?;
    let remove = json!({"spec": {"network": null, "successPolicy": null}});
    let removed = bare.patch("bare", &PatchParams::default(), &Patch::Merge(&remove)).await?;
    assert_eq!(
        (removed.data["spec"].get("network"), removed.data["spec"].get("successPolicy")),
        (None, None)
    );
    for (field, value) in [
        ("network", json!({"subdomain": "other"})),
        ("successPolicy", json!({"operator": "Any"})),
        ("failurePolicy", json!({"maxRestarts": 2})),
        ("volumeClaimPolicies", json!([{"templates": [{"metadata": {"name": "data"}, "spec": {}}]}])),
    ] {
        let added = try_patch(&bare, "bare", &json!({"spec": {field: value}})).await.context(field)?;
        assert!(added.get(field).is_some(), "{field} was not added");
    }
    Ok(())
}

/// A JobSet without success policy has operator All. Later updates must still be possible.
pub(crate) async fn jobset_can_change_after_its_success_policy_is_removed(api: Arc<Api>) -> Result<()> {
    let jobsets = create(&api, "policyless", "successPolicy: {operator: Any},").await?;
    let remove = json!([{"op": "remove", "path": "/spec/successPolicy"}]);
    let patch = Patch::Json::<()>(serde_json::from_value(remove)?);
    jobsets.patch("policyless", &PatchParams::default(), &patch).await?;
    let suspended = try_patch(&jobsets, "policyless", &json!({"spec": {"suspend": true}})).await?;
    assert_eq!((&suspended["suspend"], suspended.get("successPolicy")), (&json!(true), None));
    api.controller.check()
}

pub(crate) async fn dependencies_are_immutable(api: Arc<Api>) -> Result<()> {
    let jobsets = create(&api, "ordered", "").await?;
    let path = "/spec/replicatedJobs/1/dependsOn";
    let change = json!([{"op": "replace", "path": format!("{path}/0/status"), "value": "Complete"}]);
    assert_eq!(
        refused(&jobsets, "ordered", &change).await?,
        "JobSet.jobset.x-k8s.io \"ordered\" is invalid: \
         spec.replicatedJobs[1].dependsOn: Invalid value: Value is immutable"
    );
    let remove_all = json!([{"op": "remove", "path": "/spec/replicatedJobs"}]);
    assert_eq!(
        refused(&jobsets, "ordered", &remove_all).await?,
        "admission webhook \"vjobset.kb.io\" denied the request: JobSet.jobset.x-k8s.io \"ordered\" is invalid: \
         spec.replicatedJobs: Invalid value: null: field is immutable"
    );
    // The API server does not evaluate a transition rule if the old or the new value is missing. The webhook still
    // denies the change, because the list is immutable.
    let remove = json!([{"op": "remove", "path": path}]);
    let message = refused(&jobsets, "ordered", &remove).await?;
    assert!(message.ends_with(": field is immutable"), "{message}");
    Ok(())
}

pub(crate) async fn managed_by_is_immutable(api: Arc<Api>) -> Result<()> {
    let jobsets = create(&api, "managed", "").await?;
    let head = "admission webhook \"vjobset.kb.io\" denied the request: \
        JobSet.jobset.x-k8s.io \"managed\" is invalid: spec.managedBy: Invalid value: ";
    for (value, shown) in [(json!("example.com/other"), "\"example.com/other\""), (Value::Null, "null")] {
        let message = refused(&jobsets, "managed", &json!({"spec": {"managedBy": value}})).await?;
        assert_eq!(message, format!("{head}{shown}: field is immutable"));
    }
    Ok(())
}

/// Kueue writes these five fields while a JobSet is suspended, and when it resumes or suspends it.
pub(crate) async fn placement_can_change_while_suspended(api: Arc<Api>) -> Result<()> {
    let suspended = create(&api, "suspended", "suspend: true,").await?;
    let running = create(&api, "running", "").await?;
    let pod = "/spec/replicatedJobs/1/template/spec/template";
    let add = |path: String, value: Value| json!({"op": "add", "path": path, "value": value});
    let metadata = add(format!("{pod}/metadata"), json!({}));
    let set_suspend = |to: bool| add("/spec/suspend".into(), json!(to));
    for placement in [
        vec![metadata.clone(), add(format!("{pod}/metadata/labels"), json!({"queue": "q"}))],
        vec![metadata.clone(), add(format!("{pod}/metadata/annotations"), json!({"note": "n"}))],
        vec![add(format!("{pod}/spec/nodeSelector"), json!({"zone": "a"}))],
        vec![add(format!("{pod}/spec/tolerations"), json!([{"key": "gpu", "operator": "Exists"}]))],
        vec![add(format!("{pod}/spec/schedulingGates"), json!([{"name": "example.com/gate"}]))],
    ] {
        let alone = Value::Array(placement.clone());
        let with = |operation: Value| Value::Array([vec![operation], placement.clone()].concat());
        try_patch(&suspended, "suspended", &alone).await.with_context(|| alone.to_string())?;
        try_patch(&suspended, "suspended", &with(set_suspend(false)))
            .await
            .with_context(|| alone.to_string())?;
        try_patch(&running, "running", &with(set_suspend(true))).await.with_context(|| alone.to_string())?;
        let message = refused(&running, "running", &alone).await?;
        assert!(message.ends_with(": field is immutable"), "change of a running JobSet: {message}");
    }
    for other in [
        add("/spec/replicatedJobs/1/template/metadata".into(), json!({"labels": {"queue": "q"}})),
        add(
            format!("{pod}/spec/affinity"),
            json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 1, "preference": {"matchExpressions": [{"key": "zone", "operator": "Exists"}]}}]}}),
        ),
        add(format!("{pod}/spec/priorityClassName"), json!("high")),
        add(format!("{pod}/spec/containers/0/resources"), json!({"requests": {"cpu": "1"}})),
        add("/spec/replicatedJobs/1/template/spec/parallelism".into(), json!(2)),
        add("/spec/replicatedJobs/1/groupName".into(), json!("crew")),
        json!({"op": "move", "from": "/spec/replicatedJobs/0", "path": "/spec/replicatedJobs/1"}),
    ] {
        let message = refused(&suspended, "suspended", &json!([other])).await?;
        assert!(message.ends_with(": field is immutable"), "{other}: {message}");
    }
    Ok(())
}

/// A client with typed objects can write a value back in another spelling. That is not a change.
pub(crate) async fn equivalent_values_are_not_a_change(api: Arc<Api>) -> Result<()> {
    let namespace = api.cluster.namespace(&api.client).await?;
    let jobset = jobset(
        "spelled: {managedBy: example.com/none, replicatedJobs: [{name: worker, template: {spec: {template: {spec: {
        containers: [{name: c, image: i, resources: {requests: {cpu: 1000m, memory: 1Gi}}}]}}}}}]}",
    )?;
    let created = objects::create(&api.client, &namespace, &jobset, false).await?;
    let jobsets = objects::api_of(&api.client, &created).await?;
    let pod = "/spec/replicatedJobs/0/template/spec/template";
    for change in [
        json!([{"op": "replace", "path": format!("{pod}/spec/containers/0/resources/requests/cpu"), "value": "1"}]),
        json!([{"op": "replace", "path": format!("{pod}/spec/containers/0/resources/requests/memory"), "value": "1024Mi"}]),
        json!([{"op": "add", "path": format!("{pod}/spec/containers/0/env"), "value": []}]),
        json!([{"op": "add", "path": format!("{pod}/spec/nodeSelector"), "value": {}}]),
        json!([{"op": "add", "path": format!("{pod}/metadata"), "value": {}}]),
        json!([{"op": "add", "path": format!("{pod}/spec/hostNetwork"), "value": false}]),
    ] {
        try_patch(&jobsets, "spelled", &change).await.with_context(|| change.to_string())?;
    }
    let other = json!([{"op": "replace", "path": format!("{pod}/spec/containers/0/resources/requests/cpu"), "value": "2"}]);
    refused(&jobsets, "spelled", &other).await.map(drop)
}

/// A client with Go's types adds empty objects to claim templates when it writes a JobSet back. Claim templates are
/// immutable, so this must not be a change.
pub(crate) async fn empty_objects_in_claim_templates_are_not_a_change(api: Arc<Api>) -> Result<()> {
    let claims = "volumeClaimPolicies: [{templates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce]}}]}],";
    let jobsets = create(&api, "claimant", claims).await?;
    let template = "/spec/volumeClaimPolicies/0/templates/0";
    let add = |path: &str| json!({"op": "add", "path": format!("{template}/{path}"), "value": {}});
    let suspend = json!({"op": "add", "path": "/spec/suspend", "value": true});
    let time = json!({"op": "add", "path": format!("{template}/metadata/creationTimestamp"), "value": null});
    let suspended =
        try_patch(&jobsets, "claimant", &json!([add("spec/resources"), add("status"), time, suspend]))
            .await?;
    assert_eq!(suspended["suspend"], json!(true));
    Ok(())
}

/// A client can replace the object only with the current resource version.
pub(crate) async fn replace_requires_the_current_resource_version(api: Arc<Api>) -> Result<()> {
    let jobsets = create(&api, "replaced", "").await?;
    let read = jobsets.get("replaced").await?;
    let mut changed = read.clone();
    changed.metadata.labels.get_or_insert_default().insert("team".into(), "red".into());
    changed.data["spec"]["suspend"] = json!(true);
    changed.data["spec"]["ttlSecondsAfterFinished"] = json!(60);
    let stored = jobsets.replace("replaced", &PostParams::default(), &changed).await?;
    assert_eq!(stored.data["spec"], changed.data["spec"]);
    let stale = Refusal::from(
        jobsets
            .replace("replaced", &PostParams::default(), &read)
            .await
            .err()
            .context("the API server accepted the update")?,
    );
    assert_eq!(stale.code, 409, "{stale}");

    let mut forbidden = stored.clone();
    forbidden.data["spec"]["replicatedJobs"][0]["replicas"] = json!(2);
    let refusal = Refusal::from(
        jobsets
            .replace("replaced", &PostParams::default(), &forbidden)
            .await
            .err()
            .context("the API server accepted the update")?,
    );
    assert!(refusal.code == 422 && refusal.message.ends_with(": field is immutable"), "{refusal}");
    Ok(())
}
