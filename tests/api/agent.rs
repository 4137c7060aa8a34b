//! The in-place-restart-agent as a process: one watch and one patch, with the permissions of docs/examples.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use jobset_tests::agent::{Workload, permissions, wait_until_gone};
use jobset_tests::objects;
use jobset_tests::wait::{TIMEOUT, wait_for};
use k8s_openapi::api::core::v1::Pod;
use kube::api;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::json;

use crate::Api;

pub(crate) async fn sidecar_follows_the_status_of_its_jobset(api: Arc<Api>) -> Result<()> {
    let workload = Workload::with_jobset(&api.cluster, &api.client).await?;
    let code = [("IN_PLACE_RESTART_EXIT_CODE", "77")];
    let mut agent = workload.start(&api.cluster, &code)?;
    workload.wait_for_annotation("0").await?;
    assert!(agent.probe().await.unwrap_err().contains("refused"), "before the barrier is lifted");
    workload.set_status(None, Some(0)).await?;
    agent.wait_until_lifted().await?;

    // Another pod restarts, and the controller orders a restart of all pods.
    workload.set_status(Some(0), Some(0)).await?;
    assert_eq!(agent.exit_code().await?, 77);

    let mut agent = workload.start(&api.cluster, &code)?;
    workload.wait_for_annotation("1").await?;
    assert!(agent.probe().await.unwrap_err().contains("refused"), "the barrier holds again");
    workload.set_status(Some(0), Some(1)).await?;
    agent.wait_until_lifted().await?;
    assert!(!agent.has_ended()?, "{}", agent.log()?);

    // Server-side apply owns the annotation only.
    let pod =
        api::Api::<Pod>::namespaced(api.client.clone(), &workload.namespace).get("in-place-restart").await?;
    assert_eq!(pod.metadata.annotations.context("annotations")?["mine"], "yes");
    let managers = pod.metadata.managed_fields.context("managed fields")?;
    let ours =
        managers.iter().find(|it| it.manager.as_deref() == Some("in-place-restart-agent")).context("ours")?;
    assert_eq!(ours.operation.as_deref(), Some("Apply"));
    let fields =
        json!({"f:metadata": {"f:annotations": {"f:jobset.sigs.k8s.io/in-place-restart-attempt": {}}}});
    assert_eq!(serde_json::to_value(&ours.fields_v1)?, fields);
    println!("memory of a debug build (now, peak) in KiB: {:?}", agent.memory()?);
    Ok(())
}

pub(crate) async fn main_container_runs_its_worker_in_a_process_group(api: Arc<Api>) -> Result<()> {
    let workload = Workload::with_jobset(&api.cluster, &api.client).await?;
    let worker =
        |command| [("WORKER_COMMAND", command), ("SHELL", "/bin/sh"), ("IN_PLACE_RESTART_EXIT_CODE", "9")];
    let mut agent = workload.start(&api.cluster, &worker("sleep 1000 & echo child=$!=; wait"))?;
    workload.wait_for_annotation("0").await?;
    assert!(!agent.log()?.contains("child="), "the barrier holds");
    workload.set_status(None, Some(0)).await?;
    let child = child_in(&agent.wait_for_log("=\n").await?)?;
    workload.set_status(Some(0), Some(0)).await?;
    assert_eq!(agent.exit_code().await?, 9);
    // The restart kills the worker and its descendants.
    wait_until_gone(child).await?;

    // The worker's code is that of the agent.
    for (command, code) in [("exit 0", 0), ("exit 42", 42), ("kill -KILL $$", 137), ("no-such-program", 127)]
    {
        workload
            .patch_jobset(
                &json!({"metadata": {"annotations": {"jobset.sigs.k8s.io/disable-in-place-restart": ""}}}),
            )
            .await?;
        assert_eq!(workload.start(&api.cluster, &worker(command))?.exit_code().await?, code, "{command}");
    }
    assert_eq!(
        workload.annotation().await?.as_deref(),
        Some("0"),
        "a disabled agent does not annotate its pod"
    );
    Ok(())
}

pub(crate) async fn worker_and_its_children_receive_signals(api: Arc<Api>) -> Result<()> {
    let workload = Workload::with_jobset(&api.cluster, &api.client).await?;
    workload.patch_jobset(&json!({"spec": {"failurePolicy": null}})).await?;
    let script = "trap 'echo got-term; exit 0' TERM; trap 'echo got-usr1' USR1; sleep 1000 & echo child=$!=; \
                  while :; do wait; done";
    let mut agent = workload.start(&api.cluster, &[("WORKER_COMMAND", script), ("SHELL", "sh")])?;
    let child = child_in(&agent.wait_for_log("=\n").await?)?;
    agent.signal(Signal::SIGUSR1)?;
    agent.wait_for_log("got-usr1\n").await?;
    agent.signal(Signal::SIGTERM)?;
    assert_eq!(agent.exit_code().await?, 143, "128 + SIGTERM, whatever the worker returns");
    agent.wait_for_log("got-term\n").await?;
    wait_until_gone(child).await
}

/// The pid that a worker printed.
fn child_in(log: &str) -> Result<Pid> {
    let pid = log.split("child=").nth(1).and_then(|it| it.split('=').next()).context("no pid in the log")?;
    Ok(Pid::from_raw(pid.parse()?))
}

pub(crate) async fn missing_permissions_are_named_and_awaited(api: Arc<Api>) -> Result<()> {
    let workload = Workload::new(&api.cluster, &api.client).await?;
    workload.create_jobset().await?;
    let namespace = &workload.namespace;
    let agent = workload.start(&api.cluster, &[])?;
    let log = agent.wait_for_log("lacks a permission").await?;
    let sentence = format!(
        "cannot watch the JobSet: service account \"in-place-restart\" lacks a permission in namespace \"{namespace}\": add the \
         rule {{apiGroups: [\"jobset.x-k8s.io\"], resources: [\"jobsets\"], verbs: [\"get\", \"list\", \"watch\"]}} to its Role"
    );
    assert!(log.contains(&sentence), "{log}");
    workload.grant("pods").await?;
    let log = agent.wait_for_log("cannot annotate the pod").await?;
    let sentence = format!(
        "cannot annotate the pod: service account \"in-place-restart\" lacks a permission in namespace \"{namespace}\": add \
         the rule {{apiGroups: [\"\"], resources: [\"pods\"], verbs: [\"patch\"]}} to its Role"
    );
    assert!(log.contains(&sentence), "{log}");
    workload.grant("").await?;
    workload.wait_for_annotation("0").await?;
    agent.wait_for_log("is annotated with in-place restart attempt 0").await?;
    assert_eq!(
        agent.log()?.matches("cannot annotate the pod").count(),
        1,
        "a repeated failure is logged once"
    );
    Ok(())
}

pub(crate) async fn new_token_is_used_when_the_old_one_is_rejected(api: Arc<Api>) -> Result<()> {
    let workload = Workload::with_jobset(&api.cluster, &api.client).await?;
    let token = workload.token().await?;
    workload.write_token("expired")?;
    let agent = workload.start(&api.cluster, &[])?;
    agent.wait_for_log("the API server rejects the token of the pod's service account").await?;
    workload.write_token(&token)?;
    workload.wait_for_annotation("0").await
}

pub(crate) async fn agent_waits_for_its_jobset(api: Arc<Api>) -> Result<()> {
    let workload = Workload::new(&api.cluster, &api.client).await?;
    workload.grant("").await?;
    let agent = workload.start(&api.cluster, &[])?;
    agent.wait_for_log("does not exist in namespace").await?;
    workload.create_jobset().await?;
    // The JobSet has no failure policy at first, so the barrier may be lifted at once.
    workload.wait_for_annotation("0").await
}

/// The policy of docs/examples allows what the agent does, and nothing else.
pub(crate) async fn admission_policy_limits_the_agent_to_its_annotation(api: Arc<Api>) -> Result<()> {
    for object in
        permissions()?.iter().filter(|it| objects::kind(it).starts_with("ValidatingAdmissionPolicy"))
    {
        objects::apply(&api.client, object, "kubectl").await?;
    }
    let workload = Workload::with_jobset(&api.cluster, &api.client).await?;
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    let denied = wait_for(
        "the policy to be effective",
        TIMEOUT,
        || workload.patch_as_agent("in-place-restart", &labels),
        |result| {
            result.as_ref().is_err_and(|it| it.contains("can change only the annotation jobset.sigs.k8s.io/"))
        },
    )
    .await?;
    drop(denied);
    let other = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "other"},
        "spec": {"containers": [{"name": "c", "image": "busybox"}]},
    });
    objects::create(&api.client, &workload.namespace, &serde_json::from_value(other)?, false).await?;
    let attempt = json!({"metadata": {"annotations": {"jobset.sigs.k8s.io/in-place-restart-attempt": "0"}}});
    let error = workload.patch_as_agent("other", &attempt).await?.unwrap_err();
    assert!(error.contains("can change only the Pod that runs with it"), "{error}");
    for patch in [
        json!({"metadata": {"annotations": {"mine": "no"}}}),
        json!({"metadata": {"annotations": {"mine": null}}}),
        json!({"metadata": {"annotations": {"another": "a"}}}),
        json!({"metadata": {"finalizers": ["example.com/a"]}}),
        json!({"spec": {"activeDeadlineSeconds": 60}}),
    ] {
        let error = workload.patch_as_agent("in-place-restart", &patch).await?.unwrap_err();
        assert!(error.contains("can change only the annotation"), "{patch}: {error}");
    }
    let _agent = workload.start(&api.cluster, &[])?;
    workload.wait_for_annotation("0").await
}
