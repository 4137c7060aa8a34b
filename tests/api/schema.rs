//! The schema of JobSet in the API server: default values, pruning, limits, and error messages.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use jobset_tests::objects;
use kube::api::{Patch, PatchParams, PostParams, ValidationDirective};
use serde_json::{Value, json};

use crate::Api;
use crate::crds::{jobset, refused};

const TEMPLATE: &str = "template: {spec: {template: {spec: {containers: [{name: c, image: i}]}}}}";

pub(crate) async fn defaults_come_from_the_crd(api: Arc<Api>) -> Result<()> {
    let jobset = jobset(
        "defaulted: {suspend: true, failurePolicy: {}, volumeClaimPolicies: [{retentionPolicy: {}, templates: [
        {metadata: {name: data}}]}], replicatedJobs: [{name: worker, template: {spec: {template: {spec: {
        containers: [{name: c, image: i, ports: [{containerPort: 80}], volumeMounts: [{name: data, mountPath: /data}],
        livenessProbe: {grpc: {port: 1}}}]}}}}}]}",
    )?;
    let created = objects::create(&api.client, "default", &jobset, true).await?;
    for (pointer, value) in [
        ("/failurePolicy/restartStrategy", json!("Recreate")),
        ("/volumeClaimPolicies/0/retentionPolicy/whenDeleted", json!("Delete")),
        ("/volumeClaimPolicies/0/templates/0/spec", json!({"resources": {}})),
        ("/volumeClaimPolicies/0/templates/0/status", json!({})),
        ("/replicatedJobs/0/replicas", json!(1)),
        ("/replicatedJobs/0/groupName", json!("default")),
        ("/replicatedJobs/0/template/spec/template/spec/containers/0/ports/0/protocol", json!("TCP")),
        ("/replicatedJobs/0/template/spec/template/spec/containers/0/livenessProbe/grpc/service", json!("")),
    ] {
        assert_eq!(
            created.data["spec"].pointer(pointer),
            Some(&value),
            "{pointer}: {}",
            created.data["spec"]
        );
    }
    // The JobSet has no values that the Job API defaults in each Job.
    let job = &created.data["spec"]["replicatedJobs"][0]["template"]["spec"];
    for absent in ["completions", "parallelism", "backoffLimit"] {
        assert_eq!(job.get(absent), None, "{absent}");
    }
    Ok(())
}

pub(crate) async fn unknown_fields_are_pruned(api: Arc<Api>) -> Result<()> {
    let mut unknown = jobset(&format!(
        "pruned: {{suspend: true, surprise: 1, network: {{surprise: 1}}, replicatedJobs: [{{name: worker, surprise: 1, {}}}]}}",
        TEMPLATE.replace("image: i", "image: i, surprise: 1").replacen("template: {", "template: {metadata: {
            uid: pruned, generateName: pruned, labels: {kept: yes}, annotations: {kept: yes}, name: kept}, surprise: 1, ", 1)
    ))?;
    unknown.metadata.namespace = Some("default".into());
    let jobsets = objects::api_of(&api.client, &unknown).await?;
    let lenient = PostParams { dry_run: true, ..PostParams::default() };
    let created = jobsets.create(&lenient, &unknown).await?;
    let spec = &created.data["spec"];
    assert!(!spec.to_string().contains("surprise"), "{spec}");
    assert_eq!(
        spec["replicatedJobs"][0]["template"]["metadata"],
        json!({"labels": {"kept": "yes"}, "annotations": {"kept": "yes"}, "name": "kept"})
    );

    // kubectl requests strict validation by default.
    let patch = Patch::Apply(&unknown);
    let strict = PatchParams {
        field_validation: Some(ValidationDirective::Strict),
        dry_run: true,
        ..PatchParams::apply("strict")
    };
    let refusal = objects::Refusal::from(
        jobsets.patch("pruned", &strict, &patch).await.err().context("the API server accepted it")?,
    );
    assert!(
        refusal.message.contains("field not declared in schema") || refusal.message.contains("unknown field"),
        "{refusal}"
    );
    Ok(())
}

pub(crate) async fn errors_name_the_violated_limit_or_enum(api: Arc<Api>) -> Result<()> {
    let worker = format!("{{name: worker, {TEMPLATE}}}");
    let many_jobs: Vec<_> = (0..7).map(|i| format!("{{name: w{i}, {TEMPLATE}}}")).collect();
    let many_dependencies: Vec<_> = (0..6).map(|i| format!("{{name: w{i}, status: Ready}}")).collect();
    let claim = "{metadata: {name: data}, spec: {}}";
    let supported = |values: &[&str]| {
        let quoted: Vec<_> = values.iter().map(|value| format!("{value:?}")).collect();
        format!("supported values: {}", quoted.join(", "))
    };
    for (spec, expected) in [
        (
            format!("replicas: {{replicatedJobs: [{{name: worker, replicas: -1, {TEMPLATE}}}]}}"),
            "spec.replicatedJobs[0].replicas: Invalid value: -1: spec.replicatedJobs[0].replicas in body should be greater than or equal to 0".to_owned(),
        ),
        (
            format!("ttl: {{ttlSecondsAfterFinished: -5, replicatedJobs: [{worker}]}}"),
            "spec.ttlSecondsAfterFinished: Invalid value: -5: spec.ttlSecondsAfterFinished in body should be greater than or equal to 0".into(),
        ),
        (
            format!("order: {{startupPolicy: {{startupPolicyOrder: Backwards}}, replicatedJobs: [{worker}]}}"),
            format!("spec.startupPolicy.startupPolicyOrder: Unsupported value: \"Backwards\": {}", supported(&["AnyOrder", "InOrder"])),
        ),
        (
            format!("operator: {{successPolicy: {{operator: Most}}, replicatedJobs: [{worker}]}}"),
            format!("spec.successPolicy.operator: Unsupported value: \"Most\": {}", supported(&["All", "Any"])),
        ),
        (
            format!("strategy: {{failurePolicy: {{restartStrategy: Twice}}, replicatedJobs: [{worker}]}}"),
            format!("spec.failurePolicy.restartStrategy: Unsupported value: \"Twice\": {}", supported(&["Recreate", "BlockingRecreate", "InPlaceRestart"])),
        ),
        (
            format!("action: {{failurePolicy: {{rules: [{{action: Pray}}]}}, replicatedJobs: [{worker}]}}"),
            format!("spec.failurePolicy.rules[0].action: Unsupported value: \"Pray\": {}", supported(&[
                "FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts", "RestartJob", "RestartJobAndIgnoreMaxRestarts",
            ])),
        ),
        (
            format!("status: {{replicatedJobs: [{worker}, {{name: late, dependsOn: [{{name: worker, status: Asleep}}], {TEMPLATE}}}]}}"),
            format!("spec.replicatedJobs[1].dependsOn[0].status: Unsupported value: \"Asleep\": {}", supported(&["Ready", "Complete"])),
        ),
        (
            format!("retention: {{volumeClaimPolicies: [{{retentionPolicy: {{whenDeleted: Keep}}, templates: []}}], replicatedJobs: [{worker}]}}"),
            format!("spec.volumeClaimPolicies[0].retentionPolicy.whenDeleted: Unsupported value: \"Keep\": {}", supported(&["Delete", "Retain"])),
        ),
        (
            format!("dependencies: {{replicatedJobs: [{}, {{name: late, dependsOn: [{}], {TEMPLATE}}}]}}", many_jobs.join(", "), many_dependencies.join(", ")),
            "spec.replicatedJobs[7].dependsOn: Too many: 6: must have at most 5 items".into(),
        ),
        (
            format!("policies: {{volumeClaimPolicies: [{}], replicatedJobs: [{worker}]}}", vec!["{templates: []}"; 51].join(", ")),
            "spec.volumeClaimPolicies: Too many: 51: must have at most 50 items".into(),
        ),
        (
            format!("claims: {{volumeClaimPolicies: [{{templates: [{}]}}], replicatedJobs: [{worker}]}}", vec![claim; 51].join(", ")),
            "spec.volumeClaimPolicies[0].templates: Too many: 51: must have at most 50 items".into(),
        ),
        (
            format!("again: {{replicatedJobs: [{worker}, {{name: late, dependsOn: [{{name: worker, status: Ready}}, {{name: worker, status: Complete}}], {TEMPLATE}}}]}}"),
            "spec.replicatedJobs[1].dependsOn[1]: Duplicate value: {\"name\":\"worker\"}".into(),
        ),
        (
            format!("operatorless: {{successPolicy: {{}}, replicatedJobs: [{worker}]}}"),
            "spec.successPolicy.operator: Required value".into(),
        ),
        (
            format!("orderless: {{startupPolicy: {{}}, replicatedJobs: [{worker}]}}"),
            "spec.startupPolicy.startupPolicyOrder: Required value".into(),
        ),
        (
            format!("actionless: {{failurePolicy: {{rules: [{{name: r}}]}}, replicatedJobs: [{worker}]}}"),
            "spec.failurePolicy.rules[0].action: Required value".into(),
        ),
        (
            format!("coordinatorless: {{coordinator: {{jobIndex: 0}}, replicatedJobs: [{worker}]}}"),
            "spec.coordinator.replicatedJob: Required value".into(),
        ),
        (
            format!("templateless: {{volumeClaimPolicies: [{{}}], replicatedJobs: [{worker}]}}"),
            "spec.volumeClaimPolicies[0].templates: Required value".into(),
        ),
    ] {
        let refusal = refused(&api, &jobset(&spec)?).await.with_context(|| spec.clone())?;
        let name = spec.split(':').next().unwrap_or_default();
        // The API server can also report that it skipped other validation rules.
        let skipped = "<nil>: Invalid value: null: some validation rules were not checked because the object was \
            invalid; correct the existing errors to complete validation";
        let texts = [expected.clone(), format!("[{expected}, {skipped}]")];
        let texts = texts.map(|text| format!("JobSet.jobset.x-k8s.io \"{name}\" is invalid: {text}"));
        assert!(texts.contains(&refusal.message), "expected: {}\n  actual: {refusal}", texts[0]);
        assert_eq!(refusal.code, 422);
    }
    Ok(())
}

pub(crate) async fn errors_contain_the_message_of_the_violated_rule(api: Arc<Api>) -> Result<()> {
    let worker = format!("{{name: worker, {TEMPLATE}}}");
    let exclusive = "spec: Invalid value: StartupPolicy and DependsOn APIs are mutually exclusive";
    for (spec, expected) in [
        (
            format!("exclusive: {{startupPolicy: {{startupPolicyOrder: InOrder}}, replicatedJobs: [{worker},
                {{name: late, dependsOn: [{{name: worker, status: Ready}}], {TEMPLATE}}}]}}"),
            exclusive.to_owned(),
        ),
        (
            format!("also-empty: {{startupPolicy: {{startupPolicyOrder: InOrder}}, replicatedJobs: [{worker},
                {{name: late, dependsOn: [], {TEMPLATE}}}]}}"),
            exclusive.into(),
        ),
        (
            format!("elsewhere: {{volumeClaimPolicies: [{{templates: [{{metadata: {{name: data, namespace: elsewhere}}, spec: {{}}}}]}}],
                replicatedJobs: [{worker}]}}"),
            "spec.volumeClaimPolicies[0]: Invalid value: namespace cannot be set for VolumeClaimPolicies templates".into(),
        ),
    ] {
        let refusal = refused(&api, &jobset(&spec)?).await.with_context(|| spec.clone())?;
        assert_eq!(refusal.code, 422, "{spec}: {refusal}");
        assert!(refusal.message.ends_with(&expected), "expected: {expected}\n  actual: {refusal}");
    }
    // The rule does not fail if a template has no metadata. The webhook then reports the missing name.
    for template in ["{spec: {}}", "{metadata: {}, spec: {}}"] {
        let spec = format!(
            "nameless: {{volumeClaimPolicies: [{{templates: [{template}]}}], replicatedJobs: [{worker}]}}"
        );
        let refusal = refused(&api, &jobset(&spec)?).await.with_context(|| spec.clone())?;
        let expected = "spec.volumeClaimPolicies[0].template[0].name: Invalid value: \"\": a lowercase RFC 1123 subdomain";
        assert!(refusal.code == 422 && refusal.message.contains(expected), "{spec}: {refusal}");
        assert!(!refusal.message.contains("no such key"), "{refusal}");
    }
    objects::create(
        &api.client,
        "default",
        &jobset("jobless: {startupPolicy: {startupPolicyOrder: InOrder}}")?,
        true,
    )
    .await
    .context("jobless")?;
    let accepted = format!(
        "any-order: {{startupPolicy: {{startupPolicyOrder: AnyOrder}}, volumeClaimPolicies: [{{templates: []}}], replicatedJobs: [{worker},
        {{name: late, dependsOn: [{{name: worker, status: Ready}}], {TEMPLATE}}}]}}"
    );
    objects::create(&api.client, "default", &jobset(&accepted)?, true).await.context(accepted)?;
    Ok(())
}

pub(crate) async fn status_is_a_subresource(api: Arc<Api>) -> Result<()> {
    let namespace = api.cluster.namespace(&api.client).await?;
    let mut jobset = jobset(&format!(
        "reported: {{managedBy: example.com/none, replicatedJobs: [{{name: worker, {TEMPLATE}}}]}}"
    ))?;
    jobset.data["status"] = json!({"restarts": 7});
    let created = objects::create(&api.client, &namespace, &jobset, false).await?;
    assert_eq!(created.data.get("status"), None, "the API server stored the status of a new object");
    let jobsets = objects::api_of(&api.client, &created).await?;
    let params = PatchParams::default();
    let merge = |value: Value| Patch::Merge(value);

    let both = json!({"spec": {"suspend": true}, "status": {"restarts": 0, "replicatedJobsStatus": [
        {"name": "worker", "ready": 0, "succeeded": 0, "failed": 0, "active": 0, "suspended": 0}]}});
    let reported = jobsets.patch_status("reported", &params, &merge(both.clone())).await?;
    assert_eq!(reported.data["status"], both["status"], "status after its update");
    assert_eq!(reported.data["spec"].get("suspend"), None, "an update of the status changed the spec");
    assert_eq!(reported.metadata.generation, Some(1));
    let changed = jobsets
        .patch("reported", &params, &merge(json!({"spec": {"suspend": true}, "status": {"restarts": 9}})))
        .await?;
    assert_eq!(changed.data["status"], both["status"], "an update of the spec changed the status");
    assert_eq!((&changed.data["spec"]["suspend"], changed.metadata.generation), (&json!(true), Some(2)));

    let entry =
        json!({"name": "worker", "ready": 0, "succeeded": 0, "failed": 0, "active": 0, "suspended": 0});
    for (status, expected) in [
        (
            json!({"replicatedJobsStatus": [{"name": "worker"}]}),
            "status.replicatedJobsStatus[0].active: Required value",
        ),
        (
            json!({"replicatedJobsStatus": [entry, entry]}),
            "status.replicatedJobsStatus[1]: Duplicate value: {\"name\":\"worker\"}",
        ),
        (
            json!({"conditions": [{"type": "Completed", "status": "Perhaps", "reason": "R", "message": "", "lastTransitionTime": "2026-01-28T11:13:43Z"}]}),
            "status.conditions[0].status: Unsupported value: \"Perhaps\"",
        ),
        (
            json!({"conditions": [{"type": "Completed", "status": "True", "reason": "no reason", "message": "", "lastTransitionTime": "2026-01-28T11:13:43Z"}]}),
            "status.conditions[0].reason: Invalid value: \"no reason\"",
        ),
        (
            json!({"previousInPlaceRestartAttempt": -1}),
            "status.previousInPlaceRestartAttempt: Invalid value: -1",
        ),
        (json!({"restarts": "two"}), "status.restarts: Invalid value: \"string\""),
    ] {
        let response = jobsets.patch_status("reported", &params, &merge(json!({"status": status}))).await;
        let refusal = objects::Refusal::from(
            response.err().with_context(|| format!("the API server accepted {status}"))?,
        );
        assert!(refusal.code == 422 && refusal.message.contains(expected), "{status}: {refusal}");
    }
    Ok(())
}
