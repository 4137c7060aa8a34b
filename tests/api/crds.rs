//! The CRDs on a real API server: the types as kubectl shows them, and the objects that the schemas reject.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use jobset_tests::objects::{self, Refusal};
use jobset_tests::wait::{TIMEOUT, wait_for};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api as KubeApi, Patch, PatchParams};
use serde_json::{Value, json};

use crate::Api;

pub(crate) async fn both_crds_are_established(api: Arc<Api>) -> Result<()> {
    let crds: KubeApi<CustomResourceDefinition> = KubeApi::all(api.client.clone());
    for name in ["jobsets.jobset.x-k8s.io", "jobsetoperators.operator.openshift.io"] {
        let crd = crds.get(name).await?;
        let conditions = crd.status.and_then(|status| status.conditions).unwrap_or_default();
        let status = |kind: &str| conditions.iter().find(|it| it.type_ == kind).map(|it| it.status.clone());
        assert_eq!(status("Established").as_deref(), Some("True"), "{name}: {conditions:?}");
        assert_eq!(status("NamesAccepted").as_deref(), Some("True"), "{name}: {conditions:?}");
        assert_eq!(status("NonStructuralSchema"), None, "{name}: {conditions:?}");
    }
    Ok(())
}

pub(crate) async fn kubectl_lists_and_explains_jobset(api: Arc<Api>) -> Result<()> {
    let kubectl = api.cluster.kubectl()?;
    let resources = kubectl.run(&["api-resources", "--api-group=jobset.x-k8s.io", "--no-headers"])?;
    assert_eq!(words(&resources), ["jobsets", "jobset.x-k8s.io/v1alpha2", "true", "JobSet"]);
    // The API server publishes the schema of a new CRD shortly after it starts to serve the CRD.
    let explain = || async {
        let path = "jobset.spec.replicatedJobs.template.spec.parallelism";
        Ok(kubectl.run(&["explain", path]).unwrap_or_else(|error| format!("{error:#}")))
    };
    wait_for("kubectl to explain a field", TIMEOUT, explain, |text| {
        text.contains("FIELD: parallelism <integer>")
    })
    .await?;
    Ok(())
}

pub(crate) async fn kubectl_prints_its_columns(api: Arc<Api>) -> Result<()> {
    let namespace = api.cluster.namespace(&api.client).await?;
    // Another manager, so that our controller does not write the status.
    let mut jobset = jobset("manager: {managedBy: example.com/other, suspend: true, replicatedJobs: []}")?;
    jobset.metadata.name = Some("printed".into());
    let created = objects::create(&api.client, &namespace, &jobset, false).await?;
    let kubectl = api.cluster.kubectl()?;
    let get = || kubectl.run(&["get", "jobset", "printed", "--namespace", &namespace]);

    let fresh = get()?;
    let mut lines = fresh.lines();
    assert_eq!(
        words(lines.next().unwrap_or_default()),
        ["NAME", "TERMINALSTATE", "RESTARTS", "COMPLETED", "SUSPENDED", "STARTTIME", "AGE"]
    );
    let row = words(lines.next().unwrap_or_default());
    assert_eq!(row[..2], ["printed", "true"], "columns of a JobSet without status: {fresh}");

    let status = json!({ "status": {
        "terminalState": "Completed", "restarts": 2,
        "conditions": [{
            "type": "Completed", "status": "True", "reason": "AllJobsCompleted", "message": "",
            "lastTransitionTime": "2026-01-28T11:13:43Z",
        }],
    }});
    objects::api_of(&api.client, &created)
        .await?
        .patch_status("printed", &PatchParams::default(), &Patch::Merge(&status))
        .await?;
    let finished = get()?;
    let row = words(finished.lines().nth(1).unwrap_or_default());
    assert_eq!(row[..5], ["printed", "Completed", "2", "True", "true"], "{finished}");
    Ok(())
}

pub(crate) async fn jobset_schema_rejects_invalid_values(api: Arc<Api>) -> Result<()> {
    let template = "template: {spec: {template: {spec: {containers: [{name: c, image: i}]}}}}";
    let worker = format!("{{name: worker, {template}}}");
    for (spec, expected) in [
        (
            format!("operator: {{successPolicy: {{operator: Most}}, replicatedJobs: [{worker}]}}"),
            r#"spec.successPolicy.operator: Unsupported value: "Most": supported values: "All", "Any""#,
        ),
        (
            format!("action: {{failurePolicy: {{rules: [{{action: Pray}}]}}, replicatedJobs: [{worker}]}}"),
            r#"spec.failurePolicy.rules[0].action: Unsupported value: "Pray""#,
        ),
        (
            format!("replicas: {{replicatedJobs: [{{name: worker, replicas: -1, {template}}}]}}"),
            "spec.replicatedJobs[0].replicas: Invalid value: -1",
        ),
        (
            format!("text: {{replicatedJobs: [{{name: worker, replicas: three, {template}}}]}}"),
            r#"spec.replicatedJobs[0].replicas: Invalid value: "string""#,
        ),
        (
            format!("nameless: {{replicatedJobs: [{{{template}}}]}}"),
            "spec.replicatedJobs[0].name: Required value",
        ),
        ("templateless: {replicatedJobs: [{name: worker}]}".into(), "spec.replicatedJobs[0].template: Required value"),
        (
            "container: {replicatedJobs: [{name: worker, template: {spec: {template: {spec: {containers: [{image: i}]}}}}}]}".into(),
            "spec.replicatedJobs[0].template.spec.template.spec.containers[0].name: Required value",
        ),
        (
            format!("twice: {{replicatedJobs: [{worker}, {worker}]}}"),
            r#"spec.replicatedJobs[1]: Duplicate value: {"name":"worker"}"#,
        ),
        (
            format!("ttl: {{ttlSecondsAfterFinished: -5, replicatedJobs: [{worker}]}}"),
            "spec.ttlSecondsAfterFinished: Invalid value: -5",
        ),
        (
            format!(
                "order: {{startupPolicy: {{startupPolicyOrder: InOrder}}, replicatedJobs: [{worker}, {{name: late, dependsOn: [{{name: worker, status: Ready}}], {template}}}]}}"
            ),
            "StartupPolicy and DependsOn APIs are mutually exclusive",
        ),
        (
            format!(
                "claims: {{volumeClaimPolicies: [{{templates: [{{metadata: {{name: data, namespace: elsewhere}}, spec: {{}}}}]}}], replicatedJobs: [{worker}]}}"
            ),
            "namespace cannot be set for VolumeClaimPolicies templates",
        ),
    ] {
        let refusal = refused(&api, &jobset(&spec)?).await.with_context(|| spec.clone())?;
        assert_eq!(refusal.code, 422, "{spec}: {refusal}");
        assert!(refusal.message.contains(expected), "{spec}\n  expected: {expected}\n  refused with: {refusal}");
    }
    Ok(())
}

pub(crate) async fn jobset_policies_are_immutable(api: Arc<Api>) -> Result<()> {
    let namespace = api.cluster.namespace(&api.client).await?;
    let jobset = jobset(
        "fixed: {suspend: true, network: {subdomain: one}, successPolicy: {operator: All}, failurePolicy: {maxRestarts: 1},
        startupPolicy: {startupPolicyOrder: AnyOrder}, replicatedJobs: []}",
    )?;
    let created = objects::create(&api.client, &namespace, &jobset, false).await?;
    let jobsets = objects::api_of(&api.client, &created).await?;
    for change in [
        json!({ "network": { "subdomain": "two" } }),
        json!({ "successPolicy": { "operator": "Any" } }),
        json!({ "failurePolicy": { "maxRestarts": 2 } }),
        json!({ "startupPolicy": { "startupPolicyOrder": "InOrder" } }),
    ] {
        let field = change.as_object().and_then(|it| it.keys().next()).cloned().unwrap_or_default();
        let patch = Patch::Merge(json!({ "spec": change }));
        let response = jobsets.patch("fixed", &PatchParams::default(), &patch).await;
        let refusal = Refusal::from(response.err().with_context(|| format!("{change} was accepted"))?);
        assert_eq!(refusal.code, 422, "{change}: {refusal}");
        let expected = format!("spec.{field}: Invalid value");
        assert!(
            refusal.message.contains(&expected) && refusal.message.contains("Value is immutable"),
            "{change}: {refusal}"
        );
    }
    Ok(())
}

/// Clients that apply different containers or different ReplicatedJobs must not overwrite each other's fields.
pub(crate) async fn jobset_lists_merge_by_name(api: Arc<Api>) -> Result<()> {
    let namespace = api.cluster.namespace(&api.client).await?;
    let mut jobset = jobset(
        "merged: {suspend: true, replicatedJobs: [{name: worker, template: {spec: {template: {spec: {containers: [{name: c, image: i}]}}}}}]}",
    )?;
    jobset.metadata.namespace = Some(namespace);
    let applied = objects::apply(&api.client, &jobset, "first-manager").await?;
    let fields = applied
        .metadata
        .managed_fields
        .iter()
        .flatten()
        .find(|entry| entry.manager.as_deref() == Some("first-manager"))
        .and_then(|entry| entry.fields_v1.clone())
        .context("managedFields has no entry of the manager")?
        .0;
    let pointer = r#"/f:spec/f:replicatedJobs/k:{"name":"worker"}/f:template/f:spec/f:template/f:spec/f:containers/k:{"name":"c"}/f:image"#;
    assert!(fields.pointer(pointer).is_some(), "{fields:#}");
    Ok(())
}

pub(crate) async fn jobset_operator_is_a_singleton(api: Arc<Api>) -> Result<()> {
    let refusal =
        refused(&api, &jobset_operator("default", json!({ "managementState": "Managed" }))?).await?;
    assert_eq!(refusal.code, 422);
    assert!(
        refusal.message.contains("JobSetOperator is a singleton, .metadata.name must be 'cluster'"),
        "{refusal}"
    );
    let accepted = jobset_operator("cluster", json!({ "managementState": "Managed" }))?;
    objects::create(&api.client, "", &accepted, true).await?;
    Ok(())
}

pub(crate) async fn jobset_operator_schema_rejects_invalid_values(api: Arc<Api>) -> Result<()> {
    for (spec, expected) in [
        (Value::Null, "spec: Required value"),
        (json!({ "managementState": "Sometimes" }), r#"spec.managementState: Invalid value: "Sometimes""#),
        (json!({ "logLevel": "Loud" }), r#"spec.logLevel: Unsupported value: "Loud""#),
        (json!({ "operatorLogLevel": "Quiet" }), r#"spec.operatorLogLevel: Unsupported value: "Quiet""#),
    ] {
        let refusal = refused(&api, &jobset_operator("cluster", spec.clone())?)
            .await
            .with_context(|| spec.to_string())?;
        assert!(refusal.message.contains(expected), "{spec}: {refusal}");
    }
    let defaulted = objects::create(&api.client, "", &jobset_operator("cluster", json!({}))?, true).await?;
    assert_eq!(defaulted.data["spec"], json!({ "logLevel": "Normal", "operatorLogLevel": "Normal" }));
    Ok(())
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// A JobSet from `name: spec`.
pub(crate) fn jobset(name_and_spec: &str) -> Result<kube::api::DynamicObject> {
    let parsed: std::collections::BTreeMap<String, Value> = serde_yaml::from_str(name_and_spec)?;
    let (name, spec) = parsed.into_iter().next().context("expected a name and a spec")?;
    Ok(serde_json::from_value(json!({
        "apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "metadata": { "name": name }, "spec": spec,
    }))?)
}

fn jobset_operator(name: &str, spec: Value) -> Result<kube::api::DynamicObject> {
    let mut object = json!({
        "apiVersion": "operator.openshift.io/v1", "kind": "JobSetOperator", "metadata": { "name": name },
    });
    if !spec.is_null() {
        object["spec"] = spec;
    }
    Ok(serde_json::from_value(object)?)
}

/// The API server's error for an object that it must reject.
pub(crate) async fn refused(api: &Api, object: &kube::api::DynamicObject) -> Result<Refusal> {
    api.controller.check()?;
    match objects::create(&api.client, "default", object, true).await {
        Ok(_) => bail!("the API server accepted {}", objects::title(object)),
        Err(refusal) => Ok(refusal),
    }
}
