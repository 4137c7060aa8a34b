//! The chart of the controller: Helm installs, upgrades and uninstalls it beside a JobSet that runs all the time.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use jobset_tests::helm::{self, Helm};
use jobset_tests::objects;
use jobset_tests::wait::{TIMEOUT, wait_for};
use serde_json::Value;

use crate::load::Load;
use crate::migration::{RUNNER, in_default, wait_for_pods, wait_until_serving};
use crate::{E2e, IMAGE};

const CHART: &str = "jobset";
const NAMESPACE: &str = "jobset-system";
const CRD: &str = "jobsets.jobset.x-k8s.io";
/// A field that the CRD of the previous release does not have.
const NEW_FIELD: &str =
    "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/ttlSecondsAfterFinished";

/// Installs a previous release, whose CRD lacks a field. Takes over a CRD that another installation left.
pub(crate) async fn chart_installs_the_controller(e2e: Arc<E2e>) -> Result<()> {
    let previous = tempfile::tempdir()?;
    copy(&helm::folder(CHART), previous.path())?;
    let crd = previous.path().join("objects/customresourcedefinition.yaml");
    let mut old: Value = serde_yaml::from_str(&fs::read_to_string(&crd)?)?;
    let (parent, field) = NEW_FIELD.rsplit_once('/').context("no field")?;
    let fields = old.pointer_mut(parent).and_then(Value::as_object_mut).context("the CRD has no schema")?;
    fields.remove(field).context("the CRD has no such field")?;
    fs::write(&crd, serde_yaml::to_string(&old)?)?;

    let options = ["--create-namespace", "--take-ownership", "--force-conflicts"];
    release(&e2e, "install", previous.path(), &options)?;
    ensure!(served(&e2e)?.pointer(NEW_FIELD).is_none(), "the CRD is not that of the release");
    wait_until_serving(&e2e).await?;
    objects::apply(&e2e.client, &in_default(RUNNER)?, "kubectl").await?;
    wait_for_pods(&e2e, "runner", 2).await?;
    Ok(())
}

/// The upgrade brings the new CRD and new pods. Another upgrade with the same values starts no rollout.
pub(crate) async fn upgrade_disturbs_no_jobset(e2e: Arc<E2e>) -> Result<()> {
    let pods = wait_for_pods(&e2e, "runner", 2).await?;
    let load = Load::start(&e2e.client).await?;
    let values = ["--set", "controller.replicas=2,controller.featureGates.RestartJob=true"];
    release(&e2e, "upgrade", &helm::folder(CHART), &values)?;
    load.end().await?;
    ensure!(served(&e2e)?.pointer(NEW_FIELD).is_some(), "the CRD was not upgraded");
    let deployment =
        || e2e.kubectl.json(&["get", "deployment", "jobset-controller-manager", "--namespace", NAMESPACE]);
    let upgraded = deployment()?;
    ensure!(upgraded["status"]["readyReplicas"] == 2, "{}", upgraded["status"]);
    release(&e2e, "upgrade", &helm::folder(CHART), &values)?;
    ensure!(deployment()?["metadata"]["generation"] == upgraded["metadata"]["generation"], "another rollout");
    ensure!(wait_for_pods(&e2e, "runner", 2).await? == pods, "the JobSet was disturbed");
    Ok(())
}

/// Only the CRD is left outside the namespace. The same release can be installed again.
pub(crate) async fn uninstallation_keeps_jobsets_and_their_api(e2e: Arc<E2e>) -> Result<()> {
    let pods = wait_for_pods(&e2e, "runner", 2).await?;
    let load = Load::start(&e2e.client).await?;
    uninstall(&e2e)?;
    load.end().await?;
    let left = || async {
        let kinds = "crds,clusterroles,clusterrolebindings,mutatingwebhookconfigurations,validatingwebhookconfigurations";
        let names = e2e.kubectl.run(&["get", kinds, "--output", "name"])?;
        Ok(names.lines().filter(|name| name.contains("jobset")).map(str::to_owned).collect::<Vec<_>>())
    };
    let only_crd = [format!("customresourcedefinition.apiextensions.k8s.io/{CRD}")];
    wait_for("only the CRD to be left", TIMEOUT, left, |left| *left == only_crd).await?;
    ensure!(wait_for_pods(&e2e, "runner", 2).await? == pods, "the JobSet was disturbed");

    release(&e2e, "install", &helm::folder(CHART), &[])?;
    wait_until_serving(&e2e).await?;
    ensure!(wait_for_pods(&e2e, "runner", 2).await? == pods, "the JobSet was disturbed");
    uninstall(&e2e)
}

/// Runs `helm install` or `helm upgrade`, and waits until the controller is ready.
fn release(e2e: &E2e, verb: &str, chart: &Path, more: &[&str]) -> Result<()> {
    let (repository, tag) = IMAGE.rsplit_once(':').context("the image has no tag")?;
    let image = format!("image.repository={repository},image.tag={tag}");
    let chart = chart.display().to_string();
    let args = [verb, CHART, &chart, "--namespace", NAMESPACE, "--wait", "--timeout=3m", "--set", &image];
    Helm::new(e2e.cluster.layout())?.run(&[&args, more].concat()).map(drop)
}

fn uninstall(e2e: &E2e) -> Result<()> {
    let args = ["uninstall", CHART, "--namespace", NAMESPACE, "--wait", "--timeout=3m"];
    Helm::new(e2e.cluster.layout())?.run(&args).map(drop)
}

/// The CRD that the API server serves.
fn served(e2e: &E2e) -> Result<Value> {
    e2e.kubectl.json(&["get", "crd", CRD])
}

/// Copies a folder.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().context("no name")?);
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}
