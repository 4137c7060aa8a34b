//! Repair of changes by other clients, without unnecessary writes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use jobset_tests::objects;
use jobset_tests::operator::NAMESPACE;
use jobset_tests::wait::{TIMEOUT, holds_for, wait_for};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::{CONFIGURATION, DEPLOYMENT, PROMPT, SERVICE, Suite, address};

pub(crate) async fn settled_operator_writes_nothing(suite: Arc<Suite>) -> Result<()> {
    suite.install(json!({})).await?;
    let since = jiff::Timestamp::now();
    holds_for(
        "no write in a settled cluster",
        Duration::from_secs(10),
        || async { suite.writes_since(since) },
        Vec::is_empty,
    )
    .await
}

/// Deletes and then changes every managed object, one after the other. The restored object equals the original.
pub(crate) async fn deleted_and_changed_objects_are_restored(suite: Arc<Suite>) -> Result<()> {
    suite.apply(include_str!("fixtures/monitoring.yaml")).await?;
    suite.install(json!({"controller": {"replicas": 2}})).await?;
    let mut managed = suite.managed()?;
    // Last, because repairs of these objects cause a rollout.
    managed.sort_by_key(|object| ["ConfigMap", "Secret"].contains(&objects::kind(object)));
    let mut kinds: Vec<_> = managed.iter().map(objects::kind).collect();
    kinds.dedup();
    assert!(managed.len() >= 25, "{}: {kinds:?}", managed.len());
    let mut times = Vec::new();
    for object in &managed {
        times.push(
            repair_after_deletion(&suite, object)
                .await
                .with_context(|| format!("deleted {}", objects::title(object)))?,
        );
        times.push(
            repair_after_change(&suite, object)
                .await
                .with_context(|| format!("changed {}", objects::title(object)))?,
        );
    }
    times.sort();
    eprintln!(
        "figure: time of {} repairs: median {:?}, maximum {:?}",
        times.len(),
        times[times.len() / 2],
        times[times.len() - 1]
    );
    suite.install(json!({})).await
}

/// An older operator registered the defaulting webhook for creation only.
pub(crate) async fn older_webhook_configuration_is_upgraded(suite: Arc<Suite>) -> Result<()> {
    suite.install(json!({})).await?;
    let managed = suite.managed()?;
    let is_mutating = |object: &&DynamicObject| objects::kind(object) == "MutatingWebhookConfiguration";
    let webhooks = managed.iter().find(is_mutating).context("no mutating webhooks")?;
    assert_eq!(
        webhooks.data.pointer("/webhooks/0/rules/0/operations"),
        Some(&json!(["CREATE", "UPDATE"])),
        "{:?}",
        webhooks.data
    );
    let api = objects::api_of(&suite.client, webhooks).await?;
    let older = json!([{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE"]}]);
    let patch = Patch::Json::<()>(serde_json::from_value(older)?);
    let started = Instant::now();
    let after = api.patch(&webhooks.name_any(), &PatchParams::default(), &patch).await?;
    wait_until_restored(&suite, webhooks, started, |live| live.resource_version() != after.resource_version())
        .await
        .map(drop)
}

async fn repair_after_deletion(suite: &Suite, object: &DynamicObject) -> Result<Duration> {
    let api = objects::api_of(&suite.client, object).await?;
    let name = object.name_any();
    let (since, started) = (jiff::Timestamp::now(), Instant::now());
    api.delete(&name, &DeleteParams::background()).await?;
    let restored = wait_until_restored(suite, object, started, |live| live.uid() != object.uid()).await?;
    nothing_else_written(suite, object, since)?;
    Ok(restored)
}

async fn repair_after_change(suite: &Suite, object: &DynamicObject) -> Result<Duration> {
    let api = objects::api_of(&suite.client, object).await?;
    let name = object.name_any();
    // The restored object has another uid.
    let object = &api.get(&name).await?;
    let mut patch = vec![json!({
        "op": "add", "path": "/metadata/labels/app.kubernetes.io~1part-of", "value": "another-project",
    })];
    patch.extend(harmful_change(object));
    let patch: Patch<()> = Patch::Json(serde_json::from_value(patch.into())?);
    let (since, started) = (jiff::Timestamp::now(), Instant::now());
    let after = api.patch(&name, &PatchParams::default(), &patch).await?;
    assert_ne!(after.resource_version(), object.resource_version(), "the patch must change the object");
    let restored = wait_until_restored(suite, object, started, |live| {
        live.resource_version() != after.resource_version()
    })
    .await?;
    nothing_else_written(suite, object, since)?;
    Ok(restored)
}

/// A harmful change for each kind with content.
fn harmful_change(object: &DynamicObject) -> Option<Value> {
    let replace = |path: &str, value: Value| json!({"op": "replace", "path": path, "value": value});
    Some(match objects::kind(object) {
        "Deployment" => replace("/spec/replicas", json!(0)),
        "Service" => replace("/spec/ports/0/port", json!(444)),
        "ConfigMap" => replace("/data/controller_manager_config.yaml", json!("nonsense")),
        "Role" | "ClusterRole" => replace("/rules", json!([])),
        "RoleBinding" | "ClusterRoleBinding" => replace("/subjects", json!([])),
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
            replace("/webhooks/0/failurePolicy", json!("Ignore"))
        }
        "CustomResourceDefinition" => json!({"op": "add", "path": "/spec/names/shortNames", "value": ["js"]}),
        "NetworkPolicy" => replace("/spec/ingress", json!([{}])),
        "PodDisruptionBudget" => replace("/spec/maxUnavailable", json!(0)),
        "ServiceMonitor" => replace("/spec/endpoints", json!([])),
        "PrometheusRule" => replace("/spec/groups", json!([])),
        "Secret" => replace("/data/tls.key", json!("")),
        "ServiceAccount" => replace("/automountServiceAccountToken", json!(false)),
        _ => return None,
    })
}

/// Waits until the object equals `before`, and `is_another` distinguishes it from the deleted or changed one. Returns
/// the time since `started`.
async fn wait_until_restored(
    suite: &Suite,
    before: &DynamicObject,
    started: Instant,
    is_another: impl Fn(&DynamicObject) -> bool,
) -> Result<Duration> {
    let (api_version, kind, name) = address(before);
    loop {
        let live = suite.get(&api_version, &kind, &name).await?;
        let equals = live.as_ref().is_some_and(|live| is_another(live) && content(live) == content(before));
        if equals {
            return Ok(started.elapsed());
        }
        // The API server needs seconds to process a schema of this size.
        let limit = if kind == "CustomResourceDefinition" { 3 * PROMPT } else { PROMPT };
        if started.elapsed() > limit {
            bail!(
                "not restored after {limit:?}: found {:#?}, expected {:#?}; see {}",
                live.as_ref().map(content),
                content(before),
                suite.operator.log().display()
            );
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The part of an object that the operator manages.
fn content(object: &DynamicObject) -> Value {
    let mut data = object.data.clone();
    if let Some(fields) = data.as_object_mut() {
        fields.remove("status");
        // The API server chooses addresses, and the operator issues new keys and certificates.
        if let Some(spec) = fields.get_mut("spec").and_then(Value::as_object_mut) {
            spec.remove("clusterIP");
            spec.remove("clusterIPs");
        }
        if objects::kind(object) == "Secret" {
            let keys = fields
                .get("data")
                .and_then(Value::as_object)
                .map(|data| json!(data.keys().collect::<Vec<_>>()));
            fields.insert("data".into(), keys.unwrap_or_default());
        }
        for webhook in fields.get_mut("webhooks").and_then(Value::as_array_mut).into_iter().flatten() {
            // The operator may be about to add a new CA.
            webhook["clientConfig"]["caBundle"] = json!(webhook["clientConfig"]["caBundle"].is_string());
        }
        if let Some(annotations) =
            fields.get_mut("spec").and_then(|spec| spec.pointer_mut("/template/metadata/annotations"))
        {
            *annotations = json!(annotations.as_object().map(|all| all.keys().collect::<Vec<_>>()));
        }
    }
    json!({"labels": object.labels(), "data": data, "owners": object.owner_references().len()})
}

fn nothing_else_written(suite: &Suite, object: &DynamicObject, since: jiff::Timestamp) -> Result<()> {
    // Changes of certificates and configuration cause a rollout.
    if ["Secret", "ConfigMap"].contains(&objects::kind(object)) {
        return Ok(());
    }
    let own = format!("/{}", object.name_any());
    let others: Vec<_> =
        suite.writes_since(since)?.into_iter().filter(|write| !write.ends_with(&own)).collect();
    assert!(others.is_empty(), "{others:?}");
    Ok(())
}

/// Server-side apply keeps fields of other field managers. The operator removes them.
pub(crate) async fn added_fields_are_removed(suite: Arc<Suite>) -> Result<()> {
    suite.install(json!({})).await?;
    let pod = "/spec/template/spec";
    for (target, patch, pointer) in [
        (
            DEPLOYMENT,
            json!({"spec": {"template": {"spec": {"hostNetwork": true}}}}),
            format!("{pod}/hostNetwork"),
        ),
        (
            DEPLOYMENT,
            json!({"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}}),
            format!("{pod}/nodeSelector"),
        ),
        (CONFIGURATION, json!({"data": {"more": "data"}}), "/data/more".to_owned()),
        (CONFIGURATION, json!({"binaryData": {"more": "bW9yZQ=="}}), "/binaryData".to_owned()),
    ] {
        suite.patch(target, patch).await?;
        let is_absent = |data: &Value| data.pointer(&pointer).is_none();
        suite.wait_for_object(&format!("{pointer} to be removed"), target, PROMPT, is_absent).await?;
    }
    let environment = json!([{"op": "add", "path": "/spec/template/spec/containers/0/env", "value": [
        {"name": "MORE", "value": "added"},
    ]}]);
    let api =
        objects::api_of(&suite.client, &crate::reference(DEPLOYMENT.0, DEPLOYMENT.1, DEPLOYMENT.2)?).await?;
    let patch: Patch<()> = Patch::Json(serde_json::from_value(environment)?);
    api.patch(DEPLOYMENT.2, &PatchParams::default(), &patch).await?;
    suite
        .wait_for_object("the variable to be removed", DEPLOYMENT, PROMPT, |data| {
            data.pointer("/spec/template/spec/containers/0/env").is_none()
        })
        .await?;
    // The operator keeps labels of other clients, and does not write because of them.
    suite.patch(DEPLOYMENT, json!({"metadata": {"labels": {"team": "red"}}})).await?;
    suite.install(json!({})).await?;
    settled_operator_writes_nothing(Arc::clone(&suite)).await?;
    let deployment = suite.get(DEPLOYMENT.0, DEPLOYMENT.1, DEPLOYMENT.2).await?.unwrap();
    assert_eq!(deployment.labels().get("team").map(String::as_str), Some("red"));
    Ok(())
}

/// The API server does not let the operator revert some changes. The operator then recreates the object.
pub(crate) async fn objects_with_irreversible_changes_are_recreated(suite: Arc<Suite>) -> Result<()> {
    const ROLE: (&str, &str, &str) = ("rbac.authorization.k8s.io/v1", "ClusterRole", "jobset-manager-role");
    const SECRET: (&str, &str, &str) = ("v1", "Secret", "jobset-builtin-metrics-server-cert");
    suite.install(json!({})).await?;
    // With this rule, a controller of Kubernetes removes all rules from the role.
    let no_roles = json!({"clusterRoleSelectors": [{"matchLabels": {"no": "role"}}]});
    for (target, patch, pointer) in [
        (ROLE, json!({"aggregationRule": no_roles}), "/aggregationRule"),
        (CONFIGURATION, json!({"immutable": true}), "/immutable"),
        (SECRET, json!({"immutable": true}), "/immutable"),
    ] {
        suite.patch(target, patch).await?;
        let is_absent = |data: &Value| data.pointer(pointer).is_none();
        suite
            .wait_for_object(&format!("{pointer} of {} to be removed", target.2), target, PROMPT, is_absent)
            .await?;
    }
    let role = suite.get(ROLE.0, ROLE.1, ROLE.2).await?.context("no role")?;
    assert_ne!(role.data["rules"], json!([]));

    // A headless Service, created while the operator is down: the API server cannot call webhooks through it.
    suite.operator.stop()?;
    let mut service = suite.get(SERVICE.0, SERVICE.1, SERVICE.2).await?.context("no Service")?;
    suite.delete(SERVICE).await?;
    service.metadata.resource_version = None;
    service.metadata.uid = None;
    service.metadata.managed_fields = None;
    service.data["spec"]["clusterIP"] = json!("None");
    service.data["spec"]["clusterIPs"] = json!(["None"]);
    objects::create(&suite.client, NAMESPACE, &service, false).await?;
    suite.operator.start()?;
    let has_address =
        |data: &Value| data["spec"]["clusterIP"].as_str().is_some_and(|address| address != "None");
    suite.wait_for_object("the Service to have an address", SERVICE, 2 * PROMPT, has_address).await?;
    suite.install(json!({})).await
}

pub(crate) async fn changes_during_downtime_are_repaired(suite: Arc<Suite>) -> Result<()> {
    suite.install(json!({})).await?;
    let before = suite.managed()?;
    suite.operator.stop()?;
    for object in &before {
        let api = objects::api_of(&suite.client, object).await?;
        if ["Service", "ClusterRole"].contains(&objects::kind(object)) {
            api.delete(&object.name_any(), &DeleteParams::background()).await?;
        } else if let Some(change) = harmful_change(object) {
            let patch: Patch<()> = Patch::Json(serde_json::from_value(json!([change]))?);
            api.patch(&object.name_any(), &PatchParams::default(), &patch).await?;
        }
    }
    let started = Instant::now();
    suite.operator.start()?;
    for object in &before {
        wait_until_restored(&suite, object, Instant::now(), |_| true)
            .await
            .with_context(|| objects::title(object))?;
    }
    eprintln!("figure: time from start until all objects are repaired: {:?}", started.elapsed());
    suite.install(json!({})).await?;
    // A restart causes no writes.
    let versions = |suite: &Suite| -> Result<Vec<_>> {
        let managed = suite.managed()?;
        Ok(managed.iter().map(|object| (address(object), object.resource_version())).collect())
    };
    settled_operator_writes_nothing(Arc::clone(&suite)).await?;
    let settled = versions(&suite)?;
    suite.operator.stop()?;
    suite.operator.start()?;
    settled_operator_writes_nothing(Arc::clone(&suite)).await?;
    assert_eq!(versions(&suite)?, settled);
    Ok(())
}

/// Another Deployment has the operand's name, and a selector that the operand's pods cannot match. The operator deletes
/// it without its pods, and the new Deployment adopts them.
pub(crate) async fn pods_of_another_deployment_are_adopted(suite: Arc<Suite>) -> Result<()> {
    suite.install(json!({})).await?;
    suite.operator.stop()?;
    let own = suite.get(DEPLOYMENT.0, DEPLOYMENT.1, DEPLOYMENT.2).await?.context("no Deployment")?;
    suite.delete(DEPLOYMENT).await?;
    let mut other = own.clone();
    other.metadata.resource_version = None;
    other.metadata.uid = None;
    other.metadata.managed_fields = None;
    other.data["spec"]["selector"]["matchExpressions"] = json!([{"key": "team", "operator": "Exists"}]);
    other.data["spec"]["template"]["metadata"]["labels"]["team"] = json!("red");
    objects::create(&suite.client, NAMESPACE, &other, false).await?;
    let is_available = |data: &Value| data["status"]["availableReplicas"] == 1;
    suite.wait_for_object("the other Deployment", DEPLOYMENT, TIMEOUT, is_available).await?;
    let replica_sets = || async {
        let found =
            suite.kubectl.json(&["get", "replicasets", "--namespace", NAMESPACE, "-l", "team=red"])?;
        Ok(found["items"][0]["metadata"].clone())
    };
    let before: Value = replica_sets().await?;
    assert!(before["uid"].is_string(), "{before}");

    suite.operator.start()?;
    let is_own = |data: &Value| data["spec"]["selector"] == own.data["spec"]["selector"];
    suite.wait_for_object("the operand's selector", DEPLOYMENT, TIMEOUT, is_own).await?;
    let new = suite.get(DEPLOYMENT.0, DEPLOYMENT.1, DEPLOYMENT.2).await?.context("no Deployment")?;
    let owned = |metadata: &Value| metadata["ownerReferences"][0]["uid"] == json!(new.uid());
    let after = wait_for("the ReplicaSet to be adopted", TIMEOUT, replica_sets, owned).await?;
    assert_eq!(after["uid"], before["uid"]);
    suite.install(json!({})).await
}
