//! In-place restart of a JobSet, with feature gate `InPlaceRestart`: controller, admission, agents and kubelet together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use devcluster::node::images::busybox;
use devcluster::node::load;
use jobset_tests::objects;
use jobset_tests::wait::{TIMEOUT, wait_for};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, ListParams};
use oci_image::product;
use serde_json::{Value, json};

use crate::workloads::{delete, example};
use crate::{E2e, programs};

const ATTEMPT: &str = "jobset.sigs.k8s.io/in-place-restart-attempt";
/// Image of a worker that contains the agent.
const WORKER_IMAGE: &str = "localhost/worker-with-agent:jobset";
/// Number of pods of the example.
const PODS: usize = 4;

/// A JobSet whose workers run.
struct Running<'a> {
    e2e: &'a E2e,
    namespace: String,
    jobset: String,
}

impl<'a> Running<'a> {
    /// Creates the JobSet, with the permissions of docs/examples, and waits until its workers run.
    async fn create(e2e: &'a E2e, jobset: &DynamicObject) -> Result<Self> {
        let namespace = e2e.cluster.namespace(&e2e.client).await?;
        e2e.kubectl.run(&[
            "apply",
            "--namespace",
            &namespace,
            "-f",
            &example("in-place-restart-rbac.yaml"),
        ])?;
        objects::create(&e2e.client, &namespace, jobset, false).await?;
        let running = Self { e2e, namespace, jobset: jobset.name_any() };
        running.workers_run("the workers to run", |_| true).await?;
        Ok(running)
    }

    /// Waits until all workers run and each pod satisfies the condition. Returns the pods by name.
    async fn workers_run(&self, what: &str, condition: impl Fn(&Pod) -> bool) -> Result<Vec<Pod>> {
        let pods: Api<Pod> = Api::namespaced(self.e2e.client.clone(), &self.namespace);
        let selector =
            ListParams::default().labels(&format!("jobset.sigs.k8s.io/jobset-name={}", self.jobset));
        let read = || async { Ok(pods.list(&selector).await?.items) };
        let all = |pods: &Vec<Pod>| {
            pods.len() == PODS
                && pods.iter().all(|pod| {
                    pod.metadata.deletion_timestamp.is_none()
                        && worker(pod)["state"]["running"].is_object()
                        && condition(pod)
                })
        };
        wait_for(what, TIMEOUT, read, all).await
    }

    /// Makes one worker fail, and waits until all containers run again. Returns the pods and the time of the failure.
    async fn restart(&self, victim: &str, condition: impl Fn(&Pod) -> bool) -> Result<(Vec<Pod>, Instant)> {
        self.e2e.kubectl.run(&[
            "exec",
            victim,
            "--namespace",
            &self.namespace,
            "--container",
            "worker",
            "--",
            "touch",
            "/tmp/fail",
        ])?;
        let began = Instant::now();
        let pods = self.workers_run("all workers to run again", condition).await?;
        Ok((pods, began))
    }

    /// Checks the restart in place of all pods, after the failure of one. Returns the time of the restart.
    async fn restart_in_place(&self) -> Result<Duration> {
        let before = self.workers_run("the pods", |_| true).await?;
        let (after, began) = self
            .restart(&before[1].name_any(), |pod| {
                worker(pod)["restartCount"] == 1 && pod.annotations().get(ATTEMPT).is_some_and(|it| it == "1")
            })
            .await?;
        assert_eq!(uids(&before), uids(&after), "pods were created again");
        let workers = wait_for(
            "all workers to write their logs",
            TIMEOUT,
            || async { Ok(after.iter().filter_map(|pod| self.worker_started(pod)).collect::<Vec<_>>()) },
            |started| started.len() == PODS,
        )
        .await?;
        let time = began.elapsed();
        // The barrier: no worker starts before the last agent has started.
        let agents = after.iter().filter_map(|pod| started(&agent(pod))).max();
        let first = workers.into_iter().min();
        ensure!(
            agents.is_some() && agents <= first,
            "agents started until {agents:?}, workers from {first:?}"
        );
        let status = self.status()?;
        assert_eq!(
            ["previousInPlaceRestartAttempt", "currentInPlaceRestartAttempt"]
                .map(|field| status[field].as_i64()),
            [Some(0), Some(1)]
        );
        assert_eq!(status["restarts"].as_i64().unwrap_or(0), 0, "no Job was created again");
        Ok(time)
    }

    /// When the worker started, from the log of its container. None if it has not started.
    fn worker_started(&self, pod: &Pod) -> Option<String> {
        let args = [
            "logs",
            &pod.name_any(),
            "--namespace",
            &self.namespace,
            "--container",
            "worker",
            "--timestamps",
        ];
        let log = self.e2e.kubectl.run(&args).ok()?;
        seconds(log.lines().find_map(|line| line.strip_suffix(" worker starts"))?)
    }

    fn status(&self) -> Result<Value> {
        let path = "jsonpath={.status}";
        let status = self.e2e.kubectl.run(&[
            "get",
            "jobset",
            &self.jobset,
            "--namespace",
            &self.namespace,
            "--output",
            path,
        ])?;
        Ok(serde_json::from_str(&status)?)
    }

    async fn delete(&self) -> Result<()> {
        delete(self.e2e, &self.namespace, &self.jobset).await
    }
}

/// Status of the worker's container.
fn worker(pod: &Pod) -> Value {
    let status = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref()?.first());
    json!(status)
}

/// Status of the agent's container: a sidecar, or the worker's container itself.
fn agent(pod: &Pod) -> Value {
    let sidecar = pod.status.as_ref().and_then(|status| status.init_container_statuses.as_ref()?.first());
    sidecar.map_or_else(|| worker(pod), |sidecar| json!(sidecar))
}

/// When the container started.
fn started(container: &Value) -> Option<String> {
    seconds(container["state"]["running"]["startedAt"].as_str()?)
}

/// A time without fractions of a second, which sorts by time.
fn seconds(time: &str) -> Option<String> {
    time.get(..19).map(str::to_owned)
}

fn uids(pods: &[Pod]) -> BTreeMap<String, Option<String>> {
    pods.iter().map(|pod| (pod.name_any(), pod.uid())).collect()
}

fn injected_example() -> Result<DynamicObject> {
    Ok(objects::read(example("in-place-restart-injected.yaml").as_ref())?.remove(0))
}

/// A worker fails: the containers of all pods restart. For comparison, the strategy `Recreate` with the same workers.
pub(crate) async fn injected_agents_restart_all_pods_in_place(e2e: Arc<E2e>) -> Result<()> {
    let running = Running::create(&e2e, &injected_example()?).await?;
    let in_place = running.restart_in_place().await?;
    running.delete().await?;

    let mut jobset = injected_example()?;
    jobset.metadata.annotations = None;
    jobset.data["spec"]["failurePolicy"]["restartStrategy"] = json!("Recreate");
    jobset.data["spec"]["replicatedJobs"][0]["template"]["spec"]["backoffLimit"] = json!(0);
    let running = Running::create(&e2e, &jobset).await?;
    let before = running.workers_run("the pods", |_| true).await?;
    let old = uids(&before);
    let (after, began) =
        running.restart(&before[1].name_any(), |pod| !old.contains_key(&pod.name_any())).await?;
    let recreate = began.elapsed();
    ensure!(uids(&after).keys().all(|name| !old.contains_key(name)), "{after:?}");
    running.delete().await?;
    println!(
        "time from the failure of a worker until all {PODS} run again: {in_place:?} with InPlaceRestart (sidecar), \
         {recreate:?} with Recreate"
    );
    Ok(())
}

/// The agent is the command of the worker's container.
pub(crate) async fn agents_in_main_containers_restart_all_pods_in_place(e2e: Arc<E2e>) -> Result<()> {
    let mut image = product::image(&programs()?, WORKER_IMAGE, std::env::consts::ARCH, None)?;
    image.entries.extend(busybox(["sh", "sleep", "touch"]).entries);
    load(e2e.cluster.cluster().context(), &image)?;
    let mut jobset = injected_example()?;
    jobset.metadata.annotations = None;
    let job = &mut jobset.data["spec"]["replicatedJobs"][0]["template"]["spec"];
    let pod = &mut job["template"]["spec"];
    pod["restartPolicy"] = json!("OnFailure");
    let container = &mut pod["containers"][0];
    let command = container["command"][2].take();
    container["image"] = json!(WORKER_IMAGE);
    container["command"] = json!(["/in-place-restart-agent"]);
    let field =
        |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    container["env"] = json!([
        field("JOBSET_NAME", "metadata.annotations['jobset.sigs.k8s.io/jobset-name']"),
        field("POD_NAME", "metadata.name"),
        {"name": "WORKER_COMMAND", "value": command},
        {"name": "SHELL", "value": "/bin/sh"},
    ]);
    let running = Running::create(&e2e, &jobset).await?;
    let in_place = running.restart_in_place().await?;
    running.delete().await?;
    println!(
        "time from the failure of a worker until all {PODS} run again: {in_place:?} with InPlaceRestart (main container)"
    );
    Ok(())
}
