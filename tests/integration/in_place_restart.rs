//! In-place restart with feature gate `InPlaceRestart`. The tests take the place of the agents: simulated pods have none.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use jobset_tests::controller::Controller;
use jobset_tests::objects;
use jobset_tests::wait::{TIMEOUT, holds_for, wait_for};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::Integration;
use crate::jobset::LiveJobSet;

const ATTEMPT: &str = "jobset.sigs.k8s.io/in-place-restart-attempt";
const INJECT: &str = "jobset.sigs.k8s.io/inject-in-place-restart-agent";

/// Five pods in three Jobs.
const SPEC: &str = "
failurePolicy: {maxRestarts: 2, restartStrategy: InPlaceRestart}
replicatedJobs:
- name: driver
  template: {spec: {parallelism: 1, completions: 1, backoffLimit: 2147483647, podReplacementPolicy: Failed}}
- name: w
  replicas: 2
  template: {spec: {parallelism: 2, completions: 2, backoffLimit: 2147483647, podReplacementPolicy: Failed}}
";
const JOBS: [&str; 3] = ["driver-0", "w-0", "w-1"];

/// Reports attempts as the agents of these pods do.
async fn report(pods: &Api<Pod>, names: &[String], attempt: &str) -> Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"annotations": {ATTEMPT: attempt}}}));
    for name in names {
        pods.patch(name, &PatchParams::default(), &patch).await?;
    }
    Ok(())
}

/// Waits for these attempts in the status: of pods that restart, and of pods that run.
async fn attempts_become(jobset: &LiveJobSet, previous: Option<i64>, current: Option<i64>) -> Result<()> {
    let what = format!("previous and current attempt {previous:?} and {current:?}");
    jobset.status_when(&what, |status| attempts(status) == [previous, current]).await.map(drop)
}

fn attempts(status: &Value) -> [Option<i64>; 2] {
    ["previousInPlaceRestartAttempt", "currentInPlaceRestartAttempt"].map(|field| status[field].as_i64())
}

async fn running(jobset: &LiveJobSet) -> Result<Vec<String>> {
    jobset.jobs_become(&["driver-0@0", "w-0@0", "w-1@0"]).await?;
    let mut all = Vec::new();
    for job in JOBS {
        all.extend(jobset.running_pods(job).await?);
    }
    Ok(all)
}

pub(crate) async fn attempts_follow_the_pods(suite: Arc<Integration>) -> Result<()> {
    let jobset = LiveJobSet::create(&suite, "js", SPEC).await?;
    let jobs = jobset.jobs_become(&["driver-0@0", "w-0@0", "w-1@0"]).await?;
    let all = running(&jobset).await?;
    let (last, others) = all.split_last().context("five pods")?;

    // The barrier holds until the last pod has reported.
    report(&jobset.pods, others, "0").await?;
    let status = || async { Ok(attempts(&jobset.get().await?.context("the JobSet")?.data["status"])) };
    holds_for("no attempt", std::time::Duration::from_secs(1), status, |now| *now == [None, None]).await?;
    report(&jobset.pods, std::slice::from_ref(last), "0").await?;
    attempts_become(&jobset, None, Some(0)).await?;

    // A worker fails. Its agent is at the next attempt, and the others follow.
    report(&jobset.pods, std::slice::from_ref(last), "1").await?;
    attempts_become(&jobset, Some(0), Some(0)).await?;
    report(&jobset.pods, others, "1").await?;
    attempts_become(&jobset, Some(0), Some(1)).await?;

    // A deleted pod gets a successor, whose agent begins with the next attempt.
    jobset.pods.delete(last, &DeleteParams::default().grace_period(0)).await?;
    let gone = || async { jobset.pods.get_opt(last).await.map_err(Into::into) };
    wait_for("the pod to be deleted", TIMEOUT, gone, Option::is_none).await?;
    let successor: Vec<_> =
        running(&jobset).await?.into_iter().filter(|name| !others.contains(name)).collect();
    ensure!(successor.len() == 1, "{successor:?}");
    report(&jobset.pods, &successor, "2").await?;
    attempts_become(&jobset, Some(1), Some(1)).await?;
    report(&jobset.pods, others, "2").await?;
    attempts_become(&jobset, Some(1), Some(2)).await?;
    let unchanged = jobset.jobs_become(&["driver-0@0", "w-0@0", "w-1@0"]).await?;
    for (name, job) in &jobs {
        ensure!(unchanged[name].uid() == job.uid(), "Job {name} was created again");
    }

    report(&jobset.pods, &successor, "many").await?;
    let event = jobset.event("InvalidInPlaceRestartAttempt", |_| true).await?;
    let note = event.note.unwrap_or_default();
    ensure!(note.contains(&successor[0]) && note.contains("\"many\""), "{note}");

    report(&jobset.pods, &successor, "3").await?;
    jobset.status_when("failure", |status| status["terminalState"] == "Failed").await?;
    let event = jobset.event("ReachedMaxRestarts", |_| true).await?;
    let note = event.note.unwrap_or_default();
    ensure!(note == "jobset failed due to reaching max number of restarts", "{note}");
    Ok(())
}

/// A pod of a deleted JobSet of the same name, with later attempts, does not count.
pub(crate) async fn pods_of_a_predecessor_do_not_count(suite: Arc<Integration>) -> Result<()> {
    let jobset = LiveJobSet::create(&suite, "js", SPEC).await?;
    let all = running(&jobset).await?;
    let old = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "js-w-0-0-old",
            "labels": {"jobset.sigs.k8s.io/jobset-name": "js", "jobset.sigs.k8s.io/jobset-uid": "old"},
            "annotations": {ATTEMPT: "7"},
        },
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]},
    });
    objects::create(&suite.client, &jobset.namespace, &serde_json::from_value(old)?, false).await?;
    report(&jobset.pods, &all, "0").await?;
    attempts_become(&jobset, None, Some(0)).await
}

pub(crate) async fn agent_is_injected_and_its_permissions_are_checked(suite: Arc<Integration>) -> Result<()> {
    let namespace = suite.cluster.namespace(&suite.client).await?;
    for object in objects::parse(
        "
{apiVersion: v1, kind: ServiceAccount, metadata: {name: trainer}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: agent}
rules:
- {apiGroups: [jobset.x-k8s.io], resources: [jobsets], verbs: [get, list, watch]}
- {apiGroups: [''], resources: [pods], verbs: [patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: agent}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: agent}
subjects: [{kind: ServiceAccount, name: trainer}]
",
    )? {
        objects::create(&suite.client, &namespace, &object, false).await?;
    }
    let job = |name: &str, account: &str| {
        format!(
            "{{name: {name}, template: {{spec: {{parallelism: 2, completions: 2, backoffLimit: 2147483647, podReplacementPolicy: Failed, template: {{spec: {{{account} \
             restartPolicy: Never, containers: [{{name: worker, image: i}}]}}}}}}}}}}"
        )
    };
    let object = objects::one(&format!(
        "{{apiVersion: jobset.x-k8s.io/v1alpha2, kind: JobSet, metadata: {{name: js, annotations: {{{INJECT}: 'true'}}}},
          spec: {{failurePolicy: {{maxRestarts: 1, restartStrategy: InPlaceRestart}}, replicatedJobs: [{}, {}]}}}}",
        job("a", "serviceAccountName: trainer,"),
        job("b", "")
    ))?;
    let created = objects::create(&suite.client, &namespace, &object, false).await?;
    let pods: Api<Pod> = Api::namespaced(suite.client.clone(), &namespace);
    let read = || async { Ok(pods.list(&ListParams::default()).await?.items) };
    let all = wait_for("the pods", TIMEOUT, read, |pods| pods.len() == 4).await?;
    for pod in &all {
        let spec = json!(pod.spec);
        ensure!(spec["initContainers"][0]["name"] == "in-place-restart-agent", "{spec}");
        ensure!(spec["initContainers"][0]["image"] == jobset_tests::controller::AGENT_IMAGE, "{spec}");
        let rules = |container: &Value| container["restartPolicyRules"][0]["action"].clone();
        for container in [&spec["initContainers"][0], &spec["containers"][0]] {
            ensure!(rules(container) == "RestartAllContainers", "{container}");
            // The built-in admission of service accounts has seen the added container.
            ensure!(container["volumeMounts"].to_string().contains("serviceaccount"), "{container}");
        }
    }
    let events: Api<k8s_openapi::api::events::v1::Event> = Api::namespaced(suite.client.clone(), &namespace);
    let read = || async {
        let mut events = events.list(&ListParams::default()).await?.items;
        events.retain(|event| event.reason.as_deref() == Some("InPlaceRestartPermissionMissing"));
        Ok(events)
    };
    let found = wait_for("an event about permissions", TIMEOUT, read, |events| !events.is_empty()).await?;
    let [event] = &found[..] else { anyhow::bail!("{found:?}") };
    let note = event.note.clone().unwrap_or_default();
    ensure!(
        note.starts_with(&format!("service account {namespace}/default of the pods has no permission")),
        "{note}"
    );
    ensure!(event.regarding.as_ref().and_then(|it| it.uid.clone()) == created.uid(), "{event:?}");

    // The commands of the event work.
    let (_, commands) = note.split_once("cannot work: ").context("the event has commands")?;
    let kubectl = suite.cluster.kubectl()?;
    for command in commands.split("; ") {
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        kubectl.run(&words)?;
    }
    let can = |verb: &str, resource: &str| {
        let account = format!("--as=system:serviceaccount:{namespace}:default");
        kubectl.run(&["auth", "can-i", verb, resource, "--namespace", &namespace, &account])
    };
    for (verb, resource) in [("patch", "pods"), ("watch", "jobsets.jobset.x-k8s.io")] {
        ensure!(can(verb, resource)?.trim() == "yes", "{verb} {resource}");
    }
    Ok(())
}

/// The gate is enabled, then disabled, and enabled again.
pub(crate) async fn gate_can_be_disabled_and_enabled_again(suite: Arc<Integration>) -> Result<()> {
    let jobset = LiveJobSet::create(&suite, "js", SPEC).await?;
    let all = running(&jobset).await?;
    report(&jobset.pods, &all, "0").await?;
    attempts_become(&jobset, None, Some(0)).await?;

    let with = |on: bool| {
        let gates: &[(&str, bool)] = if on { &[("InPlaceRestart", true)] } else { &[] };
        Controller::start_with(&suite.client, suite.cluster.layout(), gates)
    };
    let status = || async { Ok(attempts(&jobset.api.get(&jobset.name).await?.data["status"])) };
    let without_gate = with(false).await?;
    report(&jobset.pods, &all, "1").await?;
    holds_for("the attempts", std::time::Duration::from_secs(1), status, |now| *now == [None, Some(0)])
        .await?;
    without_gate.check()?;
    // The controller still reconciles the JobSet.
    jobset
        .api
        .patch(&jobset.name, &PatchParams::default(), &Patch::Merge(json!({"spec": {"suspend": true}})))
        .await?;
    let suspended =
        || async { Ok(jobset.api.get(&jobset.name).await?.data["status"]["conditions"].to_string()) };
    wait_for("the suspension", TIMEOUT, suspended, |conditions| conditions.contains("Suspended")).await?;
    jobset
        .api
        .patch(&jobset.name, &PatchParams::default(), &Patch::Merge(json!({"spec": {"suspend": false}})))
        .await?;
    let active = || async {
        let pods = jobset.pods.list(&ListParams::default()).await?.items;
        let running = pods.iter().filter(|pod| crate::jobset::phase(pod) == "Running");
        let active = running.filter(|pod| pod.metadata.deletion_timestamp.is_none());
        Ok(active.map(Pod::name_any).collect::<Vec<_>>())
    };
    let new = wait_for("the pods to run", TIMEOUT, active, |pods| pods.len() == 5).await?;

    let with_gate = with(true).await?;
    report(&jobset.pods, &new, "1").await?;
    wait_for("the attempts", TIMEOUT, status, |now| now[1] == Some(1)).await?;
    with_gate.check()
}
