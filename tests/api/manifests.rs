//! A client that sends an unchanged manifest again changes nothing, with any kubectl command and in any state of the
//! JobSet.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use jobset_tests::objects;
use jobset_tests::wait::{TIMEOUT, wait_for};
use kube::api::{Api as KubeApi, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::Api;
use crate::kubectl::{kubectl, text};

const POD: &str = "template: {spec: {containers: [{name: c, image: i, ports: [{containerPort: 80}],
    volumeMounts: [{name: data, mountPath: /data}]}]}}";

/// A manifest without the fields that have default values.
fn sparse(name: &str) -> String {
    format!(
        "{{apiVersion: jobset.x-k8s.io/v1alpha2, kind: JobSet, metadata: {{name: {name}}}, spec: {{
        managedBy: example.com/none, network: {{subdomain: {name}-net}},
        failurePolicy: {{maxRestarts: 3, rules: [{{action: FailJobSet, onJobFailureReasons: [PodFailurePolicy]}}, {{action: RestartJobSet}}]}},
        volumeClaimPolicies: [{{templates: [{{metadata: {{name: data}}, spec: {{accessModes: [ReadWriteOnce]}}}}]}}],
        replicatedJobs: [{{name: driver, template: {{spec: {{{POD}}}}}}},
          {{name: worker, dependsOn: [{{name: driver, status: Ready}}], template: {{spec: {{completions: 2, {POD}}}}}}}]}}}}"
    )
}

/// The same manifest with every default value.
fn explicit(name: &str) -> String {
    sparse(name)
        .replace("network: {", "successPolicy: {operator: All}, startupPolicy: {startupPolicyOrder: AnyOrder}, network: {enableDNSHostnames: true, publishNotReadyAddresses: true, ")
        .replace("maxRestarts: 3", "maxRestarts: 3, restartStrategy: Recreate")
        .replace("{action: FailJobSet", "{name: failurePolicyRule0, action: FailJobSet")
        .replace("{action: RestartJobSet", "{name: failurePolicyRule1, action: RestartJobSet")
        .replace("[{templates: ", "[{retentionPolicy: {whenDeleted: Delete}, templates: ")
        .replace("template: {spec: {completions", "replicas: 1, groupName: default, template: {spec: {completionMode: Indexed, completions")
        .replace("{containers: ", "{restartPolicy: OnFailure, containers: ")
        .replace("containerPort: 80", "containerPort: 80, protocol: TCP")
}

/// Writes this state into a JobSet, as the controller or a user does.
async fn set_state(jobsets: &KubeApi<DynamicObject>, name: &str, state: &str) -> Result<()> {
    let params = PatchParams::default();
    let condition = |kind: &str| {
        json!({"type": kind, "status": "True", "reason": "R", "message": "",
            "lastTransitionTime": "2026-01-28T11:13:43Z"})
    };
    let status = match state {
        "running" => json!({"restarts": 1}),
        "suspended" => {
            jobsets.patch(name, &params, &Patch::Merge(json!({"spec": {"suspend": true}}))).await?;
            json!({"restarts": 0, "conditions": [condition("Suspended")]})
        }
        _ => json!({"restarts": 0, "terminalState": "Completed", "conditions": [condition("Completed")]}),
    };
    jobsets.patch_status(name, &params, &Patch::Merge(json!({"status": status}))).await?;
    Ok(())
}

/// Generation, resource version and spec of a JobSet. An unchanged manifest must not change them.
async fn version(
    jobsets: &KubeApi<DynamicObject>,
    name: &str,
) -> Result<(Option<i64>, Option<String>, Value)> {
    let live = jobsets.get(name).await?;
    Ok((live.metadata.generation, live.metadata.resource_version, live.data["spec"].clone()))
}

pub(crate) async fn unchanged_manifests_change_nothing(api: Arc<Api>) -> Result<()> {
    let namespace = api.cluster.namespace(&api.client).await?;
    for state in ["running", "suspended", "finished"] {
        for first in ["apply", "create"] {
            let name = format!("{state}-{first}");
            let mut manifest = sparse(&name);
            if state == "suspended" {
                manifest = manifest.replace("spec: {\n", "spec: {suspend: true,\n");
            }
            let run = async |args: &[&str], input: &str| -> Result<String> {
                let args = [&["--namespace", &namespace], args].concat();
                let output = kubectl(&api, &args, input).await?;
                let printed = text(&output.stdout) + &text(&output.stderr);
                ensure!(output.status.success(), "{state}: kubectl {args:?}: {printed}");
                Ok(printed)
            };
            run(&[first, "-f", "-"], &manifest).await?;
            let created = objects::parse(&manifest)?;
            let mut created = created.into_iter().next().context("the manifest contains no object")?;
            created.metadata.namespace = Some(namespace.clone());
            let jobsets = objects::api_of(&api.client, &created).await?;
            set_state(&jobsets, &name, state).await?;
            let before = version(&jobsets, &name).await?;

            let again: &[&[&str]] = if first == "apply" {
                &[&["apply", "-f", "-"], &["apply", "-f", "-"]]
            } else {
                &[&["replace", "-f", "-"], &["replace", "-f", "-"]]
            };
            let mut before = before;
            for (time, args) in again.iter().enumerate() {
                run(args, &manifest).await?;
                let after = version(&jobsets, &name).await?;
                if first == "create" && time == 0 {
                    // `kubectl replace` is another field manager, which the API server records once.
                    before.1.clone_from(&after.1);
                }
                assert_eq!(after, before, "{state}: {args:?}, time {time}");
            }
            run(&["patch", "jobset", &name, "--type=merge", "--patch", "{}"], "").await?;
            run(&["edit", "jobset", &name], "").await?;
            assert_eq!(version(&jobsets, &name).await?, before, "{state}: patch and edit");

            // A manifest with every default value, and one without them.
            let explicit = explicit(&name);
            let explicit = if state == "suspended" {
                explicit.replace("spec: {\n", "spec: {suspend: true,\n")
            } else {
                explicit
            };
            let (verb, generation) = (again[0], before.0);
            for manifest in [&explicit, &manifest] {
                run(verb, manifest).await?;
                let after = version(&jobsets, &name).await?;
                assert_eq!((after.0, after.2), (generation, before.2.clone()), "{state}: {verb:?}");
            }

            // Server-side apply adds a field manager the first time. The second time, nothing changes.
            let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
            run(&apply, &manifest).await?;
            let first = version(&jobsets, &name).await?;
            assert_eq!((first.0, &first.2), (before.0, &before.2), "{state}: server-side");
            run(&apply, &manifest).await?;
            assert_eq!(version(&jobsets, &name).await?, first, "{state}: server-side, again");
        }
    }
    Ok(())
}

/// A changed field is rejected, although missing fields are not changes.
pub(crate) async fn changed_manifests_are_rejected(api: Arc<Api>) -> Result<()> {
    let namespace = api.cluster.namespace(&api.client).await?;
    let args = ["--namespace", &namespace, "apply", "-f", "-"];
    let manifest = sparse("changed");
    assert!(kubectl(&api, &args, &manifest).await?.status.success());
    for (from, to, error) in [
        ("completions: 2", "completions: 3", "spec.replicatedJobs: Invalid value: [{"),
        (
            "template: {spec: {completions",
            "template: {spec: {completionMode: NonIndexed, completions",
            "spec.replicatedJobs: Invalid value: [{",
        ),
        ("changed-net", "other-net", "spec.network: Invalid value: Value is immutable"),
        (
            "[{action: FailJobSet",
            "[{name: mine, action: FailJobSet",
            "spec.failurePolicy: Invalid value: Value is immutable",
        ),
        (
            "example.com/none",
            "example.com/other",
            "spec.managedBy: Invalid value: \"example.com/other\": field is immutable",
        ),
    ] {
        let output = kubectl(&api, &args, &manifest.replace(from, to)).await?;
        let stderr = text(&output.stderr);
        // kubectl prints a cause of an Invalid error without its quotes or brackets.
        assert!(!output.status.success() && stderr.contains(error), "{to}: {stderr}");
    }
    Ok(())
}

/// A JobSet that was created without webhooks has no default values. Clients can change it like any other JobSet.
pub(crate) async fn jobsets_without_defaults_can_be_changed(api: Arc<Api>) -> Result<()> {
    let namespace = api.cluster.namespace(&api.client).await?;
    let run = async |args: &[&str], input: &str| -> Result<String> {
        let args = [&["--namespace", &namespace], args].concat();
        let output = kubectl(&api, &args, input).await?;
        let printed = text(&output.stdout) + &text(&output.stderr);
        ensure!(output.status.success(), "kubectl {args:?}: {printed}");
        Ok(printed)
    };
    // The API server calls no webhook for namespaces with this label.
    let selector =
        r#"{"matchExpressions": [{"key": "example.com/no-webhooks", "operator": "DoesNotExist"}]}"#;
    let patch = format!(r#"[{{"op": "add", "path": "/webhooks/0/namespaceSelector", "value": {selector}}}]"#);
    for configuration in [
        "mutatingwebhookconfiguration/jobset-mutating-webhook-configuration",
        "validatingwebhookconfiguration/jobset-validating-webhook-configuration",
    ] {
        run(&["patch", configuration, "--type=json", "--patch", &patch], "").await?;
    }
    run(&["label", "namespace", &namespace, "example.com/no-webhooks=true"], "").await?;
    let manifest = sparse("bypassing")
        .replace("rules: [{action", "rules: [{name: '', action")
        .replace("{action: RestartJobSet", "{name: '', action: RestartJobSet");
    let create = ["create", "--save-config", "-o", "json", "-f", "-"];
    let dry = [&create[..], &["--dry-run=server"]].concat();
    let try_create = || async { Ok(run(&dry, &manifest).await.unwrap_or_else(|error| error.to_string())) };
    wait_for("the API server to skip the webhooks", TIMEOUT, try_create, |printed: &String| {
        printed.starts_with('{') && !printed.contains("Indexed")
    })
    .await?;
    let created: DynamicObject = serde_json::from_str(&run(&create, &manifest).await?)?;
    assert!(!created.data.to_string().contains("Indexed"), "the JobSet has default values: {}", created.data);
    run(&["label", "namespace", &namespace, "example.com/no-webhooks-"], "").await?;
    let name = "bypassing";
    let manager = [
        "patch",
        "jobset",
        name,
        "--type=merge",
        "--patch",
        r#"{"spec":{"managedBy":null}}"#,
        "--dry-run=server",
    ];
    let try_update =
        || async { Ok(run(&manager, "").await.err().map(|error| error.to_string()).unwrap_or_default()) };
    wait_for("the API server to call the webhooks", TIMEOUT, try_update, |error: &String| {
        error.contains("field is immutable")
    })
    .await?;

    let jobsets = objects::api_of(&api.client, &created).await?;
    let before = version(&jobsets, name).await?;
    run(&["patch", "jobset", name, "--type=merge", "--patch", "{}"], "").await?;
    run(&["edit", "jobset", name], "").await?;
    run(&["apply", "-f", "-"], &manifest).await?;
    assert_eq!(version(&jobsets, name).await?, before, "unchanged manifests changed the JobSet");
    for patch in [
        r#"{"metadata":{"labels":{"team":"red"},"finalizers":["example.com/hold"]}}"#,
        r#"{"metadata":{"finalizers":null}}"#,
        r#"{"spec":{"suspend":true}}"#,
        r#"{"spec":{"suspend":false,"ttlSecondsAfterFinished":60}}"#,
    ] {
        run(&["patch", "jobset", name, "--type=merge", "--patch", patch], "").await?;
    }
    for manifest in [&explicit(name), &sparse(name), &explicit(name)] {
        run(&["apply", "-f", "-"], manifest).await?;
    }
    run(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &explicit(name)).await?;
    let changed = sparse(name).replace("image: i", "image: other");
    let refusal =
        run(&["apply", "-f", "-"], &changed).await.err().context("the API server accepted a change")?;
    assert!(refusal.to_string().contains("field is immutable"), "{refusal}");
    Ok(())
}
