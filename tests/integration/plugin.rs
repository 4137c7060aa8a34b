//! `kubectl jobset`: the plugin as a process, with the rights of its user.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use jobset_tests::controller::kubeconfig_with_token;
use jobset_tests::plugin;
use jobset_tests::wait::{TIMEOUT, wait_for};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{ResourceQuota, ServiceAccount};
use kube::api::{Api, ListParams, PostParams};
use serde_json::{Value, json};

use crate::Integration;
use crate::jobset::{LiveJobSet, counts};

fn output(suite: &Integration, args: &[&str]) -> Result<String> {
    plugin::output(&suite.cluster.layout().kubeconfig(), args)
}

/// The output until it contains these words: the scheduler and the controller need a moment.
async fn becomes(suite: &Integration, args: &[&str], words: &[&str]) -> Result<String> {
    let read = || async { output(suite, args) };
    let found = |text: &String| words.iter().all(|word| text.contains(word));
    wait_for(&format!("{words:?}"), TIMEOUT, read, found).await
}

/// An explanation has the words of the scheduler, and the order of the JobSet in those of the planner.
pub(crate) async fn waiting_jobset_is_explained(suite: Arc<Integration>) -> Result<()> {
    let spec = "
startupPolicy: {startupPolicyOrder: InOrder}
replicatedJobs:
- name: leader
  template: {spec: {template: {spec: {nodeSelector: {no: node}, restartPolicy: Never, containers: [{name: c, image: i}]}}}}
- name: w
  replicas: 2
";
    let jobset = LiveJobSet::create(&suite, "train", spec).await?;
    let in_namespace = ["-n", &jobset.namespace];
    let explain = [&["explain", "train"], &in_namespace[..]].concat();
    let text = becomes(&suite, &explain, &["waits for a node: 0/"]).await?;
    for words in [
        "train: Starting",
        "0 of 3 pods are ready, 1 of 3 Jobs exist.",
        "The startup policy waits for replicatedJob leader to be ready: 0 of 1.",
    ] {
        ensure!(text.contains(words), "{words} is not in:\n{text}");
    }
    let explanation: Value =
        serde_json::from_str(&output(&suite, &[&explain[..], &["-o", "json"]].concat())?)?;
    ensure!(explanation["state"] == "Starting" && explanation["waiting"].is_array(), "{explanation}");
    let tree = output(&suite, &[&["tree", "train"], &in_namespace[..]].concat())?;
    ensure!(tree.contains("└─ Job train-leader-0") && tree.contains("Pending"), "{tree}");
    let list = output(&suite, &[&["list"], &in_namespace[..]].concat())?;
    ensure!(list.contains("train   Starting   0/3"), "{list}");
    Ok(())
}

/// A quota that refuses pods has one sentence for all Jobs.
pub(crate) async fn quota_is_explained(suite: Arc<Integration>) -> Result<()> {
    let namespace = suite.cluster.namespace(&suite.client).await?;
    let quotas: Api<ResourceQuota> = Api::namespaced(suite.client.clone(), &namespace);
    let quota = json!({"metadata": {"name": "full"}, "spec": {"hard": {"pods": "0"}}});
    quotas.create(&PostParams::default(), &serde_json::from_value(quota)?).await?;
    wait_for(
        "the quota to take effect",
        TIMEOUT,
        || async { Ok(quotas.get("full").await?) },
        |quota| quota.status.as_ref().is_some_and(|status| status.hard.is_some()),
    )
    .await?;
    LiveJobSet::create_in(&suite, &namespace, "train", "{replicatedJobs: [{name: w, replicas: 2}]}").await?;
    let words = ["refuses pods of Job train-w-0 and 1 other Job: pods is forbidden: exceeded quota: full"];
    becomes(&suite, &["explain", "train", "-n", &namespace], &words).await?;
    Ok(())
}

/// A failed JobSet names its first failure, and the restarts that it used.
pub(crate) async fn failed_jobset_is_explained(suite: Arc<Integration>) -> Result<()> {
    let spec = "{failurePolicy: {maxRestarts: 0}, replicatedJobs: [{name: w, replicas: 2}]}";
    let jobset = LiveJobSet::create(&suite, "train", spec).await?;
    jobset.counts_become(&[counts("w", [2, 0, 0, 2, 0])]).await?;
    jobset.fail("w-1").await?;
    let words =
        ["train: Failed", "Job train-w-1", "0 of 0 restarts used, 0 left", "stays until a user deletes it"];
    becomes(&suite, &["explain", "train", "-n", &jobset.namespace], &words).await?;
    Ok(())
}

/// The plan of a file has the Jobs, the Service and the host names of the cluster.
pub(crate) async fn plan_is_what_the_controller_creates(suite: Arc<Integration>) -> Result<()> {
    let spec = "{replicatedJobs: [{name: leader}, {name: w, replicas: 3}]}";
    let jobset = LiveJobSet::create(&suite, "train", spec).await?;
    jobset.counts_become(&[counts("w", [3, 0, 0, 3, 0]), counts("leader", [1, 0, 0, 1, 0])]).await?;
    let stored = jobset.api.get("train").await?;
    let object = json!({"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet",
        "metadata": {"name": "train"}, "spec": stored.data["spec"]});
    let file = tempfile::NamedTempFile::new()?;
    serde_json::to_writer(&file, &object)?;
    let path = file.path().to_str().context("the path is not UTF-8")?;
    let planned: Value = serde_json::from_str(&output(&suite, &["plan", "-f", path, "-o", "json"])?)?;
    let objects = planned.pointer("/stages/0/objects").and_then(Value::as_array).context("no objects")?;
    let jobs = objects.iter().filter(|object| object["kind"] == "Job");
    let names = jobs.filter_map(|job| job.pointer("/metadata/name")?.as_str());
    let jobs: BTreeSet<_> = names.map(str::to_owned).collect();
    let live = jobset.jobs.list(&ListParams::default()).await?.items;
    let live: BTreeSet<_> = live.iter().map(kube::ResourceExt::name_any).collect();
    ensure!(jobs == live, "planned {jobs:?}, created {live:?}");
    let text = output(&suite, &["plan", "-f", path])?;
    for words in ["admission accepts it", "Service train: headless", "train-w-0-0.train … train-w-2-0.train"]
    {
        ensure!(text.contains(words), "{words} is not in:\n{text}");
    }
    Ok(())
}

/// Errors name what is missing: the right, the JobSet, the cluster.
pub(crate) async fn errors_of_the_plugin_say_what_is_missing(suite: Arc<Integration>) -> Result<()> {
    let jobset = LiveJobSet::create(&suite, "train", "{suspend: true, replicatedJobs: [{name: w}]}").await?;
    let namespace = &jobset.namespace;
    let error = |kubeconfig: &Path, args: &[&str]| {
        let Output { status, stderr, .. } = plugin::run(kubeconfig, args)?;
        ensure!(status.code() == Some(1), "kubectl jobset {}: {status}", args.join(" "));
        Ok(String::from_utf8_lossy(&stderr).into_owned())
    };
    let administrator = suite.cluster.layout().kubeconfig();
    let text = error(&administrator, &["explain", "trian", "-n", namespace])?;
    ensure!(
        text.contains(&format!("JobSet trian does not exist in namespace {namespace}: did you mean train?")),
        "{text}"
    );
    let text = error(Path::new("/does/not/exist"), &["list"])?;
    ensure!(text.contains("found no cluster"), "{text}");

    let accounts: Api<ServiceAccount> = Api::namespaced(suite.client.clone(), namespace);
    let account = serde_json::from_value(json!({"metadata": {"name": "nobody"}}))?;
    accounts.create(&PostParams::default(), &account).await?;
    let request = TokenRequest::default();
    let token = accounts.create_token_request("nobody", &PostParams::default(), &request).await?;
    let token = token.status.and_then(|status| status.token).context("no token")?;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), kubeconfig_with_token(&administrator, &token)?)?;
    let text = error(file.path(), &["explain", "train", "-n", namespace])?;
    ensure!(
        text.contains("cannot read JobSets") && text.contains("cannot get resource \"jobsets\""),
        "{text}"
    );
    Ok(())
}

/// A JobSet can be suspended and resumed, and waited for. Exit codes say how a wait ended.
pub(crate) async fn suspension_and_waiting_follow_the_jobset(suite: Arc<Integration>) -> Result<()> {
    let jobset = LiveJobSet::create(&suite, "train", "{replicatedJobs: [{name: w, replicas: 2}]}").await?;
    let namespace = &jobset.namespace;
    let kubeconfig = suite.cluster.layout().kubeconfig();
    let with_code = |line: &str| {
        let args: Vec<_> = line.split(' ').chain(["-n", namespace]).collect();
        let Output { status, stdout, .. } = plugin::run(&kubeconfig, &args)?;
        anyhow::Ok((status.code(), String::from_utf8_lossy(&stdout).trim_end().to_owned()))
    };
    let (code, text) = with_code("wait train --for=running --timeout=1m")?;
    ensure!((code, text.as_str()) == (Some(0), "jobset/train is Running"), "{code:?}: {text}");
    ensure!(with_code("wait train --timeout=1s")?.0 == Some(5), "the JobSet has not ended");
    ensure!(with_code("suspend train")? == (Some(0), "jobset/train suspended".to_owned()), "not suspended");
    let (_, text) = with_code("suspend train")?;
    ensure!(text == "jobset/train unchanged: it is suspended already", "{text}");
    jobset.counts_become(&[counts("w", [0, 0, 0, 0, 2])]).await?;
    ensure!(with_code("resume train")?.1 == "jobset/train resumed", "not resumed");
    jobset.counts_become(&[counts("w", [2, 0, 0, 2, 0])]).await?;
    let events = ["SuspendedJobs", "ResumeJobs", "SuccessfulCreate", "job/train-w-1"];
    becomes(&suite, &["events", "train", "-n", namespace], &events).await?;
    jobset.fail("w-1").await?;
    ensure!(with_code("wait train --for=Completed --timeout=1m")?.0 == Some(4), "it cannot complete");
    ensure!(
        with_code("wait train --timeout=1m")? == (Some(0), "jobset/train is Failed".to_owned()),
        "not ended"
    );
    ensure!(with_code("suspend train")?.0 == Some(1), "a failed JobSet can be suspended");
    Ok(())
}
