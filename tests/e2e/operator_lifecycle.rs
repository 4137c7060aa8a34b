//! The operator with a real operand: rollouts, certificates and crashes, under admission load.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use devcluster::node::network;
use jobset_tests::freeze::freeze;
use jobset_tests::objects;
use jobset_tests::wait::{TIMEOUT, holds_for, wait_for};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::load::{self, Load};
use crate::{E2e, status_of};

const OPERAND: &str = "jobset-controller-manager";

/// A changed log level causes a rollout.
pub(crate) async fn log_level_change_rejects_no_request(e2e: Arc<E2e>) -> Result<()> {
    let load = Load::start(&e2e.client).await?;
    settle(&e2e, json!({"managementState": "Managed", "logLevel": "Debug"})).await?;
    let arguments = deployment(&e2e).await?.data["spec"]["template"]["spec"]["containers"][0]["args"].clone();
    ensure!(arguments[1] == "--zap-log-level=debug", "{arguments}");
    settle(&e2e, json!({"managementState": "Managed"})).await?;
    load.end().await
}

/// The test requests a renewal as `cmctl renew` does.
pub(crate) async fn certificate_renewal_rejects_no_request(e2e: Arc<E2e>) -> Result<()> {
    let load = Load::start(&e2e.client).await?;
    let served = annotation(&e2e, "operator.openshift.io/webhook-server-cert-hash").await?;
    let certificate = object(&e2e, "cert-manager.io/v1", "Certificate", "jobset-serving-cert")?;
    let api = objects::api_of(&e2e.client, &certificate).await?;
    let mut conditions = api.get("jobset-serving-cert").await?.data["status"]["conditions"].clone();
    conditions.as_array_mut().unwrap().push(json!({
        "type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "message": "requested by a test",
        "lastTransitionTime": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    }));
    let patch = Patch::Merge(json!({"status": {"conditions": conditions}}));
    api.patch_status("jobset-serving-cert", &PatchParams::default(), &patch).await?;
    wait_for(
        "the pod template to have the hash of the new certificate",
        TIMEOUT,
        || async { annotation(&e2e, "operator.openshift.io/webhook-server-cert-hash").await },
        |now| *now != served,
    )
    .await?;
    settle(&e2e, json!({"managementState": "Managed"})).await?;
    load.end().await
}

/// The provider changes to the operator and back to cert-manager.
pub(crate) async fn certificate_provider_change_rejects_no_request(e2e: Arc<E2e>) -> Result<()> {
    let load = Load::start(&e2e.client).await?;
    for (provider, secret) in
        [("BuiltIn", "jobset-builtin-webhook-server-cert"), ("CertManager", "webhook-server-cert")]
    {
        settle(&e2e, json!({"managementState": "Managed", "certificates": {"provider": provider}})).await?;
        let volumes = deployment(&e2e).await?.data["spec"]["template"]["spec"]["volumes"].clone();
        let mounted =
            volumes.as_array().unwrap().iter().any(|volume| volume["secret"]["secretName"] == secret);
        ensure!(mounted, "{provider}: {volumes}");
    }
    settle(&e2e, json!({"managementState": "Managed"})).await?;
    load.end().await
}

pub(crate) async fn killed_operand_recovers(e2e: Arc<E2e>) -> Result<()> {
    kill_pods(&e2e, "control-plane=controller-manager").await?;
    settle(&e2e, json!({"managementState": "Managed"})).await?;
    wait_for_webhooks(&e2e).await
}

/// The operator is killed during a rollout.
pub(crate) async fn restarted_operator_completes_a_rollout(e2e: Arc<E2e>) -> Result<()> {
    let load = Load::start(&e2e.client).await?;
    specify(&e2e, json!({"managementState": "Managed", "logLevel": "Debug", "controller": {"replicas": 2}}))
        .await?;
    kill_pods(&e2e, "name=jobset-operator").await?;
    settle(&e2e, json!({"managementState": "Managed", "logLevel": "Debug", "controller": {"replicas": 2}}))
        .await?;
    ensure!(deployment(&e2e).await?.data["status"]["availableReplicas"] == 2);
    settle(&e2e, json!({"managementState": "Managed"})).await?;
    load.end().await
}

/// kube-proxy learns changes of endpoints with a delay, here six seconds. A pod that ends serves meanwhile.
pub(crate) async fn rollout_with_a_slow_kube_proxy_rejects_no_request(e2e: Arc<E2e>) -> Result<()> {
    let load = Load::start(&e2e.client).await?;
    let kube_proxy = freeze(e2e.cluster.layout(), "kube-proxy")?;
    specify(&e2e, json!({"managementState": "Managed", "logLevel": "Debug"})).await?;
    let is_ending = |pods: &Vec<Pod>| pods.iter().any(|pod| pod.metadata.deletion_timestamp.is_some());
    wait_for("the old pod to end", TIMEOUT, || e2e.operand_pods(), is_ending).await?;
    tokio::time::sleep(Duration::from_secs(6)).await;
    drop(kube_proxy);
    settle(&e2e, json!({"managementState": "Managed", "logLevel": "Debug"})).await?;
    settle(&e2e, json!({"managementState": "Managed"})).await?;
    load.end().await
}

/// Without the operand, JobSets remain, and clients can create their pods.
pub(crate) async fn removed_operand_returns_when_managed(e2e: Arc<E2e>) -> Result<()> {
    let kept = e2e.create_suspended("kept-while-removed").await?;
    specify(&e2e, json!({"managementState": "Removed"})).await?;
    let operators = objects::api_of(&e2e.client, &e2e.operator).await?;
    wait_for(
        "the operand to be removed",
        TIMEOUT,
        || async { Ok(operators.get("cluster").await?.data["status"]["conditions"].clone()) },
        |conditions| {
            status_of(conditions, "Available") == "False" && status_of(conditions, "Progressing") == "False"
        },
    )
    .await?;
    let jobsets = objects::api_of(&e2e.client, &kept).await?;
    ensure!(jobsets.get("kept-while-removed").await?.metadata.deletion_timestamp.is_none());
    let pod = objects::one(
        "
apiVersion: v1
kind: Pod
metadata: {name: pod-of-a-jobset, labels: {jobset.sigs.k8s.io/jobset-name: kept-while-removed}}
spec: {containers: [{name: c, image: busybox}]}
",
    )?;
    objects::create(&e2e.client, "default", &pod, true).await?;
    let started = Instant::now();
    settle(&e2e, json!({"managementState": "Managed"})).await?;
    eprintln!("figure: from Managed to Available and settled, images present: {:?}", started.elapsed());
    wait_for_webhooks(&e2e).await?;
    objects::delete(&e2e.client, &kept).await
}

pub(crate) async fn settled_operator_writes_nothing(e2e: Arc<E2e>) -> Result<()> {
    settle(&e2e, json!({"managementState": "Managed"})).await?;
    let since = jiff::Timestamp::now();
    let user = format!("system:serviceaccount:{}:jobset-operator", e2e.installation.namespace);
    holds_for(
        "no write in a settled cluster",
        Duration::from_secs(10),
        || async {
            let audit = e2e.cluster.cluster().audit();
            let writes = audit.query().user(user.clone()).writes().since(since).entries()?;
            Ok(writes
                .iter()
                .filter_map(|entry| entry.object_ref.clone())
                .filter(|it| it.resource != "leases")
                .collect())
        },
        |writes: &Vec<_>| writes.is_empty(),
    )
    .await
}

async fn wait_for_webhooks(e2e: &E2e) -> Result<()> {
    wait_for(
        "the webhooks to respond",
        TIMEOUT,
        || async { Ok(load::request(&e2e.client).await.err()) },
        Option::is_none,
    )
    .await?;
    Ok(())
}

async fn specify(e2e: &E2e, spec: Value) -> Result<()> {
    let operators = objects::api_of(&e2e.client, &e2e.operator).await?;
    let patch: Patch<()> =
        Patch::Json(serde_json::from_value(json!([{"op": "replace", "path": "/spec", "value": spec}]))?);
    operators.patch("cluster", &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Sets the spec and waits until the status reports for it that the operand is available and settled.
pub(crate) async fn settle(e2e: &E2e, spec: Value) -> Result<()> {
    specify(e2e, spec).await?;
    let operators = objects::api_of(&e2e.client, &e2e.operator).await?;
    let settled = wait_for(
        "the operand to settle",
        TIMEOUT,
        || async { Ok(operators.get("cluster").await?) },
        |operator| {
            let status = &operator.data["status"];
            status["observedGeneration"] == json!(operator.metadata.generation)
                && status_of(&status["conditions"], "Available") == "True"
                && status_of(&status["conditions"], "Progressing") == "False"
                && status_of(&status["conditions"], "Degraded") == "False"
        },
    );
    settled.await.inspect_err(|_| e2e.keep_program_logs())?;
    Ok(())
}

/// Kills pods, and waits until new ones serve instead. Until kube-proxy forgets a killed pod, connections to it are
/// refused. Until it knows a new pod, too: a response proves nothing, because a killed pod serves open connections for a
/// moment.
async fn kill_pods(e2e: &E2e, selector: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(e2e.client.clone(), &e2e.installation.namespace);
    let found = pods.list(&ListParams::default().labels(selector)).await?;
    ensure!(!found.items.is_empty(), "no pod matches {selector}");
    let namespace = e2e.cluster.cluster().context().netns().context("the cluster has a network namespace")?;
    let served = forwarded_addresses(namespace)?;
    let (mut killed, mut addresses) = (Vec::new(), Vec::new());
    for pod in found {
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        match pods.delete(&pod.name_any(), &at_once).await {
            // The list also has pods of an earlier rollout that end by themselves.
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            answer => drop(answer?),
        }
        killed.push(pod.name_any());
        addresses.extend(pod.status.and_then(|status| status.pod_ip));
    }
    let new = wait_for(
        "new pods to be ready",
        TIMEOUT,
        || async { Ok(pods.list(&ListParams::default().labels(selector)).await?.items) },
        |pods| !pods.is_empty() && pods.iter().all(|pod| is_ready(pod) && !killed.contains(&pod.name_any())),
    )
    .await?;
    let new: Vec<String> = new.into_iter().filter_map(|pod| pod.status?.pod_ip).collect();
    let has_service = addresses.iter().any(|address| served.contains(address));
    wait_for(
        "kube-proxy to forget the killed pods, and to know the new ones",
        TIMEOUT,
        || async { forwarded_addresses(namespace) },
        |forwarded| {
            addresses.iter().all(|address| !forwarded.contains(address))
                && (!has_service || new.iter().all(|address| forwarded.contains(address)))
        },
    )
    .await?;
    Ok(())
}

/// The addresses in the rules of kube-proxy.
fn forwarded_addresses(namespace: &str) -> Result<HashSet<String>> {
    let is_address = |character: char| character.is_ascii_digit() || character == '.';
    let rules = network::rules(namespace)?;
    Ok(rules.split(|character| !is_address(character)).map(str::to_owned).collect())
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

async fn deployment(e2e: &E2e) -> Result<DynamicObject> {
    let deployment = object(e2e, "apps/v1", "Deployment", OPERAND)?;
    Ok(objects::api_of(&e2e.client, &deployment).await?.get(OPERAND).await?)
}

async fn annotation(e2e: &E2e, name: &str) -> Result<Value> {
    Ok(deployment(e2e).await?.data["spec"]["template"]["metadata"]["annotations"][name].clone())
}

fn object(e2e: &E2e, api_version: &str, kind: &str, name: &str) -> Result<DynamicObject> {
    let metadata = json!({"name": name, "namespace": e2e.installation.namespace});
    Ok(serde_json::from_value(json!({"apiVersion": api_version, "kind": kind, "metadata": metadata}))?)
}
