//! Admission by the controller's webhooks: the defaults that they set, and the objects that they deny.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use jobset_tests::objects::{self, Refusal};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::Api;
use crate::crds::{jobset, refused};

const TEMPLATE: &str = "template: {spec: {template: {spec: {containers: [{name: c, image: i}]}}}}";

pub(crate) async fn missing_fields_are_defaulted(api: Arc<Api>) -> Result<()> {
    let jobset = jobset(&format!(
        "bare: {{failurePolicy: {{rules: [{{action: FailJobSet}}, {{name: mine, action: RestartJobSet}}]}},
        volumeClaimPolicies: [{{templates: [{{metadata: {{name: data}}, spec: {{}}}}]}}],
        replicatedJobs: [{{name: worker, {}}}]}}",
        TEMPLATE.replace("image: i", "image: i, volumeMounts: [{name: data, mountPath: /data}]"),
    ))?;
    let created = objects::create(&api.client, "default", &jobset, true).await?;
    assert_eq!(
        created.data["spec"],
        json!({
            "network": { "enableDNSHostnames": true, "publishNotReadyAddresses": true },
            "successPolicy": { "operator": "All" },
            "startupPolicy": { "startupPolicyOrder": "AnyOrder" },
            "failurePolicy": {
                "restartStrategy": "Recreate",
                "rules": [
                    { "name": "failurePolicyRule0", "action": "FailJobSet" },
                    { "name": "mine", "action": "RestartJobSet" },
                ],
            },
            "volumeClaimPolicies": [{
                "retentionPolicy": { "whenDeleted": "Delete" },
                "templates": [{ "metadata": { "name": "data" }, "spec": { "resources": {} }, "status": {} }],
            }],
            "replicatedJobs": [{
                "name": "worker",
                "groupName": "default",
                "replicas": 1,
                "template": { "spec": {
                    "completionMode": "Indexed",
                    "template": { "spec": {
                        "restartPolicy": "OnFailure",
                        "containers": [{
                            "name": "c", "image": "i",
                            "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
                        }],
                    }},
                }},
            }],
        })
    );
    Ok(())
}

pub(crate) async fn explicit_values_are_kept(api: Arc<Api>) -> Result<()> {
    let spec = json!({
        "network": { "enableDNSHostnames": false, "publishNotReadyAddresses": false, "subdomain": "own" },
        "successPolicy": { "operator": "Any", "targetReplicatedJobs": ["worker"] },
        "startupPolicy": { "startupPolicyOrder": "InOrder" },
        "replicatedJobs": [{
            "name": "worker",
            "groupName": "crew",
            "replicas": 2,
            "template": { "spec": {
                "completionMode": "NonIndexed",
                "template": { "spec": {
                    "restartPolicy": "Never",
                    "containers": [{ "name": "c", "image": "i" }],
                }},
            }},
        }],
    });
    let jobset = jobset(&format!("explicit: {spec}"))?;
    let created = objects::create(&api.client, "default", &jobset, true).await?;
    assert_eq!(created.data["spec"], spec);
    Ok(())
}

pub(crate) async fn examples_are_admitted(api: Arc<Api>) -> Result<()> {
    for example in objects::examples()? {
        objects::create(&api.client, "default", &example, true)
            .await
            .with_context(|| format!("example {}", objects::title(&example)))?;
    }
    Ok(())
}

pub(crate) async fn invalid_specs_are_denied(api: Arc<Api>) -> Result<()> {
    let worker = format!("{{name: worker, {TEMPLATE}}}");
    let indexed = "{name: worker, template: {spec: {completionMode: Indexed, completions: 2, parallelism: 2, template: {spec: {containers: [{name: c, image: i}]}}}}}";
    let long = "a-name-that-is-fifty-two-characters-long-and-no-more";
    for (spec, expected) in [
        (
            format!("success: {{successPolicy: {{operator: All, targetReplicatedJobs: [ghost]}}, replicatedJobs: [{worker}]}}"),
            "invalid replicatedJob name 'ghost' does not appear in .spec.ReplicatedJobs".to_owned(),
        ),
        (
            format!("first: {{replicatedJobs: [{{name: worker, dependsOn: [{{name: worker, status: Ready}}], {TEMPLATE}}}]}}"),
            "DependsOn can't be set for the first ReplicatedJob".into(),
        ),
        (
            format!("ghostly: {{replicatedJobs: [{worker}, {{name: late, dependsOn: [{{name: ghost, status: Ready}}], {TEMPLATE}}}]}}"),
            "replicatedJob: late cannot depend on replicatedJob: ghost".into(),
        ),
        (
            format!("subdomain: {{network: {{subdomain: Upper_Case}}, replicatedJobs: [{worker}]}}"),
            r#"spec.network.subdomain: Invalid value: "Upper_Case""#.into(),
        ),
        (
            format!("group: {{replicatedJobs: [{{name: worker, groupName: 9lives, {TEMPLATE}}}]}}"),
            r#"spec.replicatedJobs[0].groupName: Invalid value: "9lives""#.into(),
        ),
        (
            format!("manager: {{managedBy: kueue, replicatedJobs: [{worker}]}}"),
            "spec.managedBy: Invalid value".into(),
        ),
        (
            format!("{long}: {{replicatedJobs: [{{name: worker-pool, {TEMPLATE}}}]}}"),
            "JobSet name is too long, job names generated for this JobSet will exceed 63 characters".into(),
        ),
        (
            format!("{long}: {{replicatedJobs: [{indexed}]}}"),
            "JobSet name is too long, pod names generated for this JobSet will exceed 63 characters".into(),
        ),
        (
            "huge: {replicatedJobs: [{name: worker, replicas: 2147483647, template: {spec: {parallelism: 2, template: {spec: {containers: [{name: c, image: i}]}}}}}]}".into(),
            "the product of replicas and parallelism must not exceed 2147483647 for replicatedJob 'worker'".into(),
        ),
        (
            format!("coordinator: {{coordinator: {{replicatedJob: ghost}}, replicatedJobs: [{indexed}]}}"),
            "coordinator replicatedJob ghost does not exist".into(),
        ),
        (
            format!("job-index: {{coordinator: {{replicatedJob: worker, jobIndex: 1}}, replicatedJobs: [{indexed}]}}"),
            "coordinator job index 1 is invalid for replicatedJob worker".into(),
        ),
        (
            format!("pod-index: {{coordinator: {{replicatedJob: worker, podIndex: 2}}, replicatedJobs: [{indexed}]}}"),
            "coordinator pod index 2 is invalid for replicatedJob worker job index 0".into(),
        ),
        (
            format!("rule: {{failurePolicy: {{rules: [{{name: 1st, action: FailJobSet}}]}}, replicatedJobs: [{worker}]}}"),
            "invalid failure policy rule name '1st'".into(),
        ),
        (
            format!("target: {{failurePolicy: {{rules: [{{action: FailJobSet, targetReplicatedJobs: [ghost]}}]}}, replicatedJobs: [{worker}]}}"),
            "invalid replicatedJob name 'ghost' in failure policy does not appear in .spec.ReplicatedJobs".into(),
        ),
        (
            format!("reason: {{failurePolicy: {{rules: [{{action: FailJobSet, onJobFailureReasons: [Boredom]}}]}}, replicatedJobs: [{worker}]}}"),
            "invalid job failure reason 'Boredom' in failure policy is not a recognized job failure reason".into(),
        ),
        (
            format!("mount: {{volumeClaimPolicies: [{{templates: [{{metadata: {{name: data}}, spec: {{}}}}]}}], replicatedJobs: [{worker}]}}"),
            "replicatedJob containers don't have a matching volumeMount: data from VolumeClaimPolicies".into(),
        ),
    ] {
        let object = jobset(&spec)?;
        let refusal = refused(&api, &object).await.with_context(|| spec.clone())?;
        assert_eq!(refusal.code, 422, "{spec}: {refusal}");
        let name = object.metadata.name.unwrap_or_default();
        let start = format!(
            "admission webhook \"vjobset.kb.io\" denied the request: JobSet.jobset.x-k8s.io \"{name}\" is invalid: "
        );
        assert!(
            refusal.message.starts_with(&start) && refusal.message.contains(&expected),
            "{spec}\n  expected: {start}… {expected}\n  refused with: {refusal}"
        );
    }
    Ok(())
}

pub(crate) async fn changes_to_replicated_jobs_are_denied(api: Arc<Api>) -> Result<()> {
    for change in [
        json!([{ "op": "replace", "path": "/spec/replicatedJobs/0/replicas", "value": 5 }]),
        json!([{ "op": "replace", "path": "/spec/replicatedJobs/0/template/spec/template/spec/containers/0/image", "value": "other" }]),
        json!([{ "op": "remove", "path": "/spec/replicatedJobs/0" }]),
    ] {
        let refusal = try_patch(&api, "fixed", &change)
            .await?
            .err()
            .with_context(|| format!("{change} was accepted"))?;
        assert!(
            refusal.code == 422
                && refusal.message.contains("spec.replicatedJobs: Invalid value")
                && refusal.message.ends_with("field is immutable"),
            "{change}: {refusal}"
        );
    }
    let change = json!([{ "op": "add", "path": "/spec/managedBy", "value": "example.com/other" }]);
    let refusal =
        try_patch(&api, "managed", &change).await?.err().context("a change of managedBy was accepted")?;
    assert!(refusal.message.contains("spec.managedBy: Invalid value"), "{refusal}");
    Ok(())
}

pub(crate) async fn changes_to_mutable_fields_are_allowed(api: Arc<Api>) -> Result<()> {
    for change in [
        json!([{ "op": "replace", "path": "/spec/suspend", "value": false }]),
        json!([{ "op": "add", "path": "/spec/ttlSecondsAfterFinished", "value": 60 }]),
        json!([{ "op": "add", "path": "/metadata/labels", "value": { "team": "red" } }]),
        // Kueue writes these fields while the JobSet is suspended, and in the update that resumes it.
        json!([
            { "op": "replace", "path": "/spec/suspend", "value": false },
            { "op": "add", "path": "/spec/replicatedJobs/0/template/spec/template/spec/nodeSelector", "value": { "zone": "a" } },
            { "op": "add", "path": "/spec/replicatedJobs/0/template/spec/template/metadata", "value": { "labels": { "queue": "q" } } },
        ]),
        // Clients whose types always serialize these fields write them. That is not a change.
        json!([
            { "op": "add", "path": "/spec/replicatedJobs/0/template/metadata", "value": {} },
            { "op": "add", "path": "/spec/replicatedJobs/0/template/spec/template/spec/containers/0/resources", "value": {} },
        ]),
    ] {
        try_patch(&api, "mutable", &change).await?.with_context(|| change.to_string())?;
    }
    Ok(())
}

/// The API server's response to a change of a suspended JobSet. The change is a dry run.
async fn try_patch(api: &Api, name: &str, change: &Value) -> Result<Result<(), Refusal>> {
    let namespace = api.cluster.namespace(&api.client).await?;
    let jobset =
        jobset(&format!("{name}: {{suspend: true, replicatedJobs: [{{name: worker, {TEMPLATE}}}]}}"))?;
    let created = objects::create(&api.client, &namespace, &jobset, false).await?;
    let patch = Patch::Json::<()>(serde_json::from_value(change.clone())?);
    let params = PatchParams { dry_run: true, ..PatchParams::default() };
    let response = objects::api_of(&api.client, &created).await?.patch(name, &params, &patch).await;
    Ok(response.map(drop).map_err(Refusal::from))
}
