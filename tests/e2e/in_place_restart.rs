//! The in-place-restart-agent in real pods. The tests write the status of the JobSet.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use devcluster::node::images::busybox;
use devcluster::node::load;
use jobset_tests::agent::Workload;
use jobset_tests::objects;
use jobset_tests::wait::{TIMEOUT, wait_for};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::Api;
use oci_image::product;
use serde_json::{Value, json};

use crate::workloads::example;
use crate::{E2e, IMAGE, programs};

const POD: &str = "in-place-restart";
/// Image of a worker that contains the agent.
const WORKER_IMAGE: &str = "localhost/worker-with-agent:e2e";

/// A namespace with the permissions of docs/examples, and the JobSet.
async fn workload(e2e: &E2e) -> Result<Workload> {
    let namespace = e2e.cluster.namespace(&e2e.client).await?;
    e2e.kubectl.run(&["apply", "--namespace", &namespace, "-f", &example("in-place-restart-rbac.yaml")])?;
    let workload = Workload::without_pod(&e2e.cluster, &e2e.client, namespace)?;
    workload.create_jobset().await?;
    Ok(workload)
}

async fn pod(e2e: &E2e, workload: &Workload) -> Result<Pod> {
    Ok(Api::namespaced(e2e.client.clone(), &workload.namespace).get(POD).await?)
}

/// Status of the pod's main container.
fn container(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()
}

/// Waits until the main container has been restarted this often and runs.
async fn wait_until_running(e2e: &E2e, workload: &Workload, restarts: i32) -> Result<Pod> {
    wait_for(
        &format!("the container to run after {restarts} restarts"),
        TIMEOUT,
        || pod(e2e, workload),
        |pod| {
            container(pod).is_some_and(|it| {
                it.restart_count == restarts && it.state.as_ref().is_some_and(|state| state.running.is_some())
            })
        },
    )
    .await
}

/// The pod of the example: kubelet starts the worker when the agent lifts the barrier, and restarts all containers of
/// the pod when the agent exits.
pub(crate) async fn sidecar_holds_and_restarts_the_worker(e2e: Arc<E2e>) -> Result<()> {
    let workload = workload(&e2e).await?;
    let jobset = objects::read(example("in-place-restart.yaml").as_ref())?.remove(0);
    let mut spec = jobset.data["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"].clone();
    spec["initContainers"][0]["image"] = json!(IMAGE);
    workload.create_pod(&spec).await?;
    workload.wait_for_annotation("0").await?;
    let before = pod(&e2e, &workload).await?;
    ensure!(container(&before).is_none_or(|it| it.started == Some(false)), "the worker does not wait");
    workload.set_status(None, Some(0)).await?;
    wait_until_running(&e2e, &workload, 0).await?;

    let start = Instant::now();
    workload.set_status(Some(0), Some(0)).await?;
    workload.wait_for_annotation("1").await?;
    let held = pod(&e2e, &workload).await?;
    let runs = container(&held).and_then(|it| it.state.as_ref()).is_some_and(|it| it.running.is_some());
    ensure!(!runs, "the worker runs before the barrier is lifted");
    workload.set_status(Some(0), Some(1)).await?;
    let after = wait_until_running(&e2e, &workload, 1).await?;
    println!("sidecar: all containers of the pod restarted in place after {:?}", start.elapsed());
    assert_eq!(after.metadata.uid, before.metadata.uid);
    Ok(())
}

/// The agent is process 1 of the worker's container.
pub(crate) async fn main_container_runs_and_restarts_the_worker(e2e: Arc<E2e>) -> Result<()> {
    let mut image = product::image(&programs()?, WORKER_IMAGE, std::env::consts::ARCH, None)?;
    image.entries.extend(busybox(["sh", "sleep", "cat"]).entries);
    load(e2e.cluster.cluster().context(), &image)?;
    let workload = workload(&e2e).await?;
    let field =
        |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let container_spec = json!({
        "name": "worker", "image": WORKER_IMAGE, "command": ["/in-place-restart-agent"],
        "env": [
            field("JOBSET_NAME", "metadata.annotations['jobset.sigs.k8s.io/jobset-name']"),
            field("POD_NAME", "metadata.name"),
            // The first sleep becomes an orphan.
            {"name": "WORKER_COMMAND", "value": "(sleep 1 &); echo worker starts; sleep 3600"},
            {"name": "SHELL", "value": "/bin/sh"},
        ],
    });
    let spec =
        json!({"serviceAccountName": POD, "restartPolicy": "OnFailure", "containers": [container_spec]});
    workload.create_pod(&spec).await?;
    workload.wait_for_annotation("0").await?;
    let kubectl = |args: &[&str]| e2e.kubectl.run(&[&["--namespace", &workload.namespace], args].concat());
    ensure!(!kubectl(&["logs", POD])?.contains("worker starts"), "the worker does not wait");
    workload.set_status(None, Some(0)).await?;
    let log = || async { kubectl(&["logs", POD]) };
    wait_for("the worker to start", TIMEOUT, log, |log| log.contains("worker starts\n")).await?;
    let sleeping = || async {
        let stat = kubectl(&["exec", POD, "--", "sh", "-c", "cat /proc/[0-9]*/stat"])?;
        Ok(stat.lines().filter(|line| line.contains("(sleep)")).map(str::to_owned).collect::<Vec<_>>())
    };
    wait_for("the orphan to be reaped", TIMEOUT, sleeping, |lines| lines.len() == 1).await?;
    let status = kubectl(&["exec", POD, "--", "cat", "/proc/1/status"])?;
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).context("no memory")?;
    println!("main container: memory of a debug build: {peak}");
    let before = pod(&e2e, &workload).await?;

    let start = Instant::now();
    workload.set_status(Some(0), Some(0)).await?;
    workload.wait_for_annotation("1").await?;
    workload.set_status(Some(0), Some(1)).await?;
    wait_for("the worker to start again", TIMEOUT, log, |log| log.contains("worker starts\n")).await?;
    println!("main container: restarted in place after {:?}", start.elapsed());
    let after = wait_until_running(&e2e, &workload, 1).await?;
    assert_eq!(after.metadata.uid, before.metadata.uid);
    let ended = container(&after)
        .and_then(|it| it.last_state.as_ref()?.terminated.as_ref())
        .context("no last state")?;
    assert_eq!(ended.exit_code, 1);

    // Deletion: the worker receives SIGTERM through the agent, so kubelet need not wait for the grace period.
    let follow = kubectl(&["delete", "pod", POD, "--grace-period=600", "--timeout=120s"])?;
    ensure!(follow.contains("deleted"), "{follow}");
    Ok(())
}

/// A pod with the default service account: its log names the missing rule.
pub(crate) async fn missing_permission_is_in_the_log_of_the_pod(e2e: Arc<E2e>) -> Result<()> {
    let workload = workload(&e2e).await?;
    let jobset = objects::read(example("in-place-restart.yaml").as_ref())?.remove(0);
    let mut spec = jobset.data["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"].clone();
    spec["initContainers"][0]["image"] = json!(IMAGE);
    spec["serviceAccountName"] = Value::from("default");
    workload.create_pod(&spec).await?;
    let args = ["logs", POD, "--container", "in-place-restart-agent", "--namespace", &workload.namespace];
    // There is no log before the container starts.
    let log = || async { Ok(e2e.kubectl.run(&args).unwrap_or_default()) };
    wait_for("the log to name the rule", TIMEOUT, log, |log| {
        log.contains("service account \"default\" lacks a permission")
            && log.contains("resources: [\"jobsets\"]")
    })
    .await?;
    Ok(())
}
