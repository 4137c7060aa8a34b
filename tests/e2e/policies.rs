//! The policies in the examples, with real pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use jobset_tests::wait::{TIMEOUT, wait_for};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, PersistentVolumeClaim, Pod};
use k8s_openapi::jiff::SignedDuration;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use crate::E2e;
use crate::workloads::{delete, example, wait_until_completed};

pub(crate) async fn failed_leader_fails_the_jobset(e2e: Arc<E2e>) -> Result<()> {
    let namespace = apply(&e2e, "failure-policy-leader.yaml").await?;
    let status =
        status_when(&e2e, &namespace, "leader-fails", |status| !status["terminalState"].is_null()).await?;
    let condition = &status["conditions"][0];
    assert_eq!(
        (&status["terminalState"], &status["restarts"], &condition["type"], &condition["reason"]),
        (&json!("Failed"), &json!(0), &json!("Failed"), &json!("FailJobSetFailurePolicyAction"))
    );
    let message = "applying FailJobSet failure policy action (first failed job: leader-fails-leader-0)";
    assert_eq!(condition["message"], message);
    // The controller deletes the active Jobs of the workers. The leader's failed pod remains, with its log.
    wait_for(
        "only the leader's pod to be left",
        TIMEOUT,
        || async { Ok(pods(&e2e, &namespace).await?.into_keys().collect::<Vec<_>>()) },
        |pods| pods == &["leader-fails-leader-0-0"],
    )
    .await?;
    let log = kubectl(&e2e, &namespace, &["logs", "job/leader-fails-leader-0"])?;
    assert_eq!(log, "leader fails\n");
    delete(&e2e, &namespace, "leader-fails").await
}

pub(crate) async fn failed_worker_restarts_the_jobset(e2e: Arc<E2e>) -> Result<()> {
    let namespace = apply(&e2e, "failure-policy-worker.yaml").await?;
    let status =
        status_when(&e2e, &namespace, "worker-fails", |status| !status["terminalState"].is_null()).await?;
    assert_eq!(
        (&status["terminalState"], &status["restarts"], &status["restartsCountTowardsMax"]),
        (&json!("Completed"), &json!(1), &json!(1))
    );
    // All pods belong to the second attempt. Their Jobs have the names of the first one.
    let pods = pods(&e2e, &namespace).await?;
    let names = ["worker-fails-leader-0-0", "worker-fails-worker-0-0", "worker-fails-worker-1-0"];
    assert_eq!(pods.keys().collect::<Vec<_>>(), names);
    for pod in pods.values() {
        let log = kubectl(&e2e, &namespace, &["logs", &pod.name_any()])?;
        assert_eq!(log, "attempt 1\n", "{}", pod.name_any());
    }
    let events = kubectl(
        &e2e,
        &namespace,
        &[
            "get",
            "events",
            "--field-selector",
            "reason=RestartJobSetFailurePolicyAction",
            "--output",
            "jsonpath={.items[*].message}",
        ],
    )?;
    let expected = "applying RestartJobSet failure policy action (first failed job: worker-fails-worker-1)";
    assert_eq!(events, expected);
    delete(&e2e, &namespace, "worker-fails").await
}

pub(crate) async fn retained_claim_keeps_its_data(e2e: Arc<E2e>) -> Result<()> {
    let namespace = e2e.cluster.namespace(&e2e.client).await?;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(e2e.client.clone(), &namespace);
    let mut seen = Vec::new();
    for (begin, end) in [(0, 3), (3, 6)] {
        kubectl(&e2e, &namespace, &["apply", "-f", &example("volume-claim.yaml")])?;
        wait_until_completed(&e2e, &namespace, "training").await?;
        let log = kubectl(&e2e, &namespace, &["logs", "job/training-trainer-0"])?;
        assert_eq!(log, format!("begins with step {begin}\nends with step {end}\n"));
        let log = kubectl(&e2e, &namespace, &["logs", "job/training-evaluator-0"])?;
        assert_eq!(log, format!("evaluates step {end}\n"));
        delete(&e2e, &namespace, "training").await?;
        let claim = claims.get("checkpoint-training").await?;
        assert_eq!(claim.metadata.deletion_timestamp, None);
        seen.push((claim.uid(), claim.spec.and_then(|spec| spec.volume_name)));
    }
    assert_eq!(seen[0], seen[1]);
    ensure!(seen[0].1.is_some(), "the claim has no volume");
    kubectl(&e2e, &namespace, &["delete", "pvc", "checkpoint-training"]).map(drop)
}

pub(crate) async fn containers_start_in_order(e2e: Arc<E2e>) -> Result<()> {
    let namespace = apply(&e2e, "startup-order.yaml").await?;
    wait_until_completed(&e2e, &namespace, "in-order").await?;
    let pods = pods(&e2e, &namespace).await?;
    let started = |job: &str| {
        terminated_state(&pods[&format!("in-order-{job}-0")]).map(|state| state.started_at.map(|it| it.0))
    };
    let data_ended = terminated_state(&pods["in-order-data-0-0"])?.finished_at.map(|it| it.0);
    let leader = started("leader-0")?;
    ensure!(
        leader >= data_ended,
        "the leader started at {leader:?}, before the data Job ended at {data_ended:?}"
    );
    // The leader's readiness probe succeeds after three seconds.
    let leader_ready = leader.context("the container has not started")? + SignedDuration::from_secs(3);
    for worker in ["worker-0", "worker-1"] {
        let worker = started(worker)?.context("the container has not started")?;
        ensure!(
            worker >= leader_ready,
            "a worker started at {worker}, before the leader was ready at {leader_ready}"
        );
    }
    delete(&e2e, &namespace, "in-order").await
}

pub(crate) async fn finished_jobset_is_deleted_after_its_ttl(e2e: Arc<E2e>) -> Result<()> {
    let namespace = apply(&e2e, "ttl.yaml").await?;
    let status =
        status_when(&e2e, &namespace, "short-lived", |status| !status["terminalState"].is_null()).await?;
    let finished = status["conditions"][0]["lastTransitionTime"]
        .as_str()
        .context("the condition has no lastTransitionTime")?
        .parse()?;
    wait_for(
        "the JobSet and its children to be deleted",
        TIMEOUT,
        || async { kubectl(&e2e, &namespace, &["get", "jobsets,jobs,pods,services", "--output", "name"]) },
        String::is_empty,
    )
    .await?;
    let age = k8s_openapi::jiff::Timestamp::now().duration_since(finished);
    ensure!(age >= SignedDuration::from_secs(10), "deleted {age} after the end, before the TTL");
    Ok(())
}

/// Applies an example in a new namespace.
async fn apply(e2e: &E2e, file: &str) -> Result<String> {
    let namespace = e2e.cluster.namespace(&e2e.client).await?;
    kubectl(e2e, &namespace, &["apply", "-f", &example(file)])?;
    Ok(namespace)
}

fn kubectl(e2e: &E2e, namespace: &str, args: &[&str]) -> Result<String> {
    e2e.kubectl.run(&[args, &["--namespace", namespace]].concat())
}

/// Waits until the status of a JobSet satisfies `condition`, and returns the status.
async fn status_when(
    e2e: &E2e,
    namespace: &str,
    jobset: &str,
    condition: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let observe = || async {
        let text = kubectl(e2e, namespace, &["get", "jobset", jobset, "--output", "jsonpath={.status}"])?;
        Ok(if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? })
    };
    wait_for(&format!("the status of {jobset}"), TIMEOUT, observe, condition).await
}

/// The pods in a namespace, by their names without the random suffix.
async fn pods(e2e: &E2e, namespace: &str) -> Result<BTreeMap<String, Pod>> {
    let pods = Api::<Pod>::namespaced(e2e.client.clone(), namespace).list(&ListParams::default()).await?;
    let stem = |name: String| name.rsplit_once('-').map_or(name.clone(), |(stem, _)| stem.to_owned());
    Ok(pods.into_iter().map(|pod| (stem(pod.name_any()), pod)).collect())
}

/// The terminated state of a pod's only container, as the kubelet reports it.
fn terminated_state(pod: &Pod) -> Result<ContainerStateTerminated> {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref());
    let ended = statuses.and_then(|all| all.first()?.state.as_ref()?.terminated.clone());
    ended.with_context(|| format!("{} has not ended", pod.name_any()))
}
