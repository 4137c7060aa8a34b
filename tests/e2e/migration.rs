//! Migration: from the JobSet project's manifests to those of this repository, and from OpenShift's Go operator to this
//! one, with the commands of `docs/migration.md`. One JobSet runs all the time.
//!
//! The image of the previous controllers is also the one of this repository: it stands in for the Go program, with the
//! same flags, files and permissions.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use devcluster::node::{LoadImage, load_image};
use jobset_tests::cluster::SuiteCluster;
use jobset_tests::wait::{TIMEOUT, wait_for};
use jobset_tests::{bundle, go_operator, objects, upstream};
use kube::ResourceExt as _;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::load::{self, Load};
use crate::operator_lifecycle::settle;
use crate::{E2e, IMAGE, load_programs, programs};

const OPERAND: &str = "jobset-controller-manager";
/// The image in `manifests/`, which is not on the node at first.
const IMAGE_OF_MANIFESTS: &str = concat!("localhost/jobset-operator:v", env!("CARGO_PKG_VERSION"));
const MISSING_IMAGE: &str = "localhost/no-such-image:e2e";
const CRD: &str = "jobsets.jobset.x-k8s.io";
/// The JobSet that runs all the time.
pub(crate) const RUNNER: &str = "
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata: {name: runner}
spec:
  replicatedJobs:
  - name: worker
    replicas: 2
    template:
      spec:
        backoffLimit: 0
        template:
          spec:
            restartPolicy: Never
            terminationGracePeriodSeconds: 0
            containers: [{name: worker, image: busybox, command: [sleep, '3600']}]
";

/// A cluster without JobSet, with the image.
pub(crate) async fn prepare(cluster: SuiteCluster) -> Result<E2e> {
    let (client, kubectl) = (cluster.client().await?, cluster.kubectl()?);
    let installation = bundle::plan(&objects::repository().join("bundle"), Some(IMAGE))?;
    load_programs(&cluster)?;
    let operator = objects::read(&objects::repository().join("deploy/cluster.yaml"))?.remove(0);
    Ok(E2e { cluster, client, kubectl, installation, operator })
}

/// The image of the new controller cannot be pulled at first.
pub(crate) async fn manifests_replace_those_of_upstream(e2e: Arc<E2e>) -> Result<()> {
    install_api(&e2e).await?;
    upstream::install(&e2e.client, IMAGE).await?;
    wait_until_serving(&e2e).await?;
    objects::apply(&e2e.client, &in_default(RUNNER)?, "kubectl").await?;
    let pods = wait_for_pods(&e2e, "runner", 2).await?;
    let role = cluster_role(&e2e)?;
    let load = Load::start(&e2e.client).await?;

    documented(
        &e2e,
        "kubectl apply --server-side --force-conflicts -f manifests/controller/namespace.yaml -f manifests/controller/configuration.yaml -f manifests/controller/deployment.yaml",
    )?;
    wait_for_missing_image(&e2e, upstream::NAMESPACE).await?;
    ensure!(cluster_role(&e2e)? == role, "the previous controller lost permissions");
    objects::apply(&e2e.client, &in_default(&RUNNER.replace("runner", "meanwhile"))?, "kubectl").await?;
    wait_for_pods(&e2e, "meanwhile", 2).await?;

    load_image(
        e2e.cluster.cluster().context(),
        &LoadImage {
            archive: None,
            binaries: Some(programs()?),
            rootfs: None,
            tag: Some(IMAGE_OF_MANIFESTS.into()),
        },
    )?;
    let rollout = documented(
        &e2e,
        "kubectl rollout status deployment/jobset-controller-manager -n jobset-system --timeout=5m",
    );
    rollout.inspect_err(|_| keep_pods(&e2e, upstream::NAMESPACE))?;
    documented(&e2e, "kubectl apply --server-side --force-conflicts -k manifests")?;
    ensure!(cluster_role(&e2e)? != role, "the role is still that of upstream");
    load.end().await?;
    e2e.kubectl.run(&["delete", "jobset", "meanwhile"])?;
    ensure!(wait_for_pods(&e2e, "runner", 2).await? == pods, "the JobSet was disturbed");

    // The manifests of upstream can be applied again.
    let back = PatchParams { dry_run: true, ..PatchParams::apply("kubectl").force() };
    for object in upstream::objects(IMAGE)? {
        let api = objects::api_of(&e2e.client, &object).await?;
        api.patch(&object.name_any(), &back, &Patch::Apply(&object)).await?;
    }
    Ok(())
}

/// The documented way to uninstall the controller.
pub(crate) async fn jobsets_outlive_the_controller_of_manifests(e2e: Arc<E2e>) -> Result<()> {
    let pods = wait_for_pods(&e2e, "runner", 2).await?;
    let load = Load::start(&e2e.client).await?;
    documented(&e2e, "kubectl delete -f manifests/controller/webhooks.yaml")?;
    documented(&e2e, "kubectl delete -k manifests/controller --ignore-not-found")?;
    load.end().await?;
    ensure_api_stays(&e2e)?;
    ensure!(wait_for_pods(&e2e, "runner", 2).await? == pods, "the JobSet was disturbed");
    Ok(())
}

/// A new version of the bundle replaces the Go operator, whose JobSetOperator stays. The image of the new operand
/// cannot be pulled at first.
pub(crate) async fn operator_replaces_the_go_operator(e2e: Arc<E2e>) -> Result<()> {
    let namespace = e2e.installation.namespace.clone();
    install_api(&e2e).await?;
    install_go_operator(&e2e, &namespace).await?;
    wait_until_serving(&e2e).await.inspect_err(|_| keep_pods(&e2e, &namespace))?;
    objects::apply(&e2e.client, &in_default(RUNNER)?, "kubectl").await?;
    let pods = wait_for_pods(&e2e, "runner", 2).await?;
    let (role, before) = (cluster_role(&e2e)?, deployment(&e2e).await?);
    let load = Load::start(&e2e.client).await?;

    let (operator, broken) = operator_deployments(&e2e)?;
    objects::apply(&e2e.client, &broken, bundle::FIELD_MANAGER).await?;
    wait_for_missing_image(&e2e, &namespace).await.inspect_err(|_| e2e.keep_program_logs())?;
    ensure!(cluster_role(&e2e)? == role, "the previous controller lost permissions");
    objects::apply(&e2e.client, &in_default(&RUNNER.replace("runner", "meanwhile"))?, "kubectl").await?;
    wait_for_pods(&e2e, "meanwhile", 2).await?;

    objects::apply(&e2e.client, &operator, bundle::FIELD_MANAGER).await?;
    settle(&e2e, json!({"managementState": "Managed"})).await?;
    let narrowed = wait_for(
        "the role to be that of the new controller",
        TIMEOUT,
        || async { cluster_role(&e2e) },
        |now| *now != role,
    );
    narrowed.await.inspect_err(|_| e2e.keep_program_logs())?;
    ensure!(deployment(&e2e).await?.uid() == before.uid(), "the Deployment was recreated");
    load.end().await?;
    e2e.kubectl.run(&["delete", "jobset", "meanwhile"])?;
    ensure!(wait_for_pods(&e2e, "runner", 2).await? == pods, "the JobSet was disturbed");
    Ok(())
}

/// The Go operator never recreates an object. It replaces the spec of the Deployment, whose selector cannot change.
pub(crate) async fn go_operator_can_take_over_again(e2e: Arc<E2e>) -> Result<()> {
    let live = deployment(&e2e).await?;
    let of_go = go_operator::objects(&e2e.operator, &e2e.installation.namespace, IMAGE)?
        .into_iter()
        .find(|object| objects::kind(object) == "Deployment")
        .context("the fixture contains no Deployment")?;
    let api = objects::api_of(&e2e.client, &live).await?;
    let replaced = DynamicObject { data: of_go.data, ..live };
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    api.replace(OPERAND, &dry_run, &replaced).await?;
    Ok(())
}

/// The operator is uninstalled before its JobSetOperator.
pub(crate) async fn jobsets_outlive_the_operator(e2e: Arc<E2e>) -> Result<()> {
    let pods = wait_for_pods(&e2e, "runner", 2).await?;
    for object in e2e.installation.objects.iter().rev() {
        objects::delete(&e2e.client, object).await?;
    }
    wait_for(
        "the webhooks to be deleted",
        TIMEOUT,
        || async {
            let kinds = "mutatingwebhookconfigurations,validatingwebhookconfigurations,clusterroles";
            Ok(e2e.kubectl.run(&["get", kinds, "--output", "name"])?.contains("/jobset-"))
        },
        |exist| !exist,
    )
    .await?;
    ensure_api_stays(&e2e)?;
    load::request(&e2e.client).await.map_err(anyhow::Error::msg)?;
    ensure!(wait_for_pods(&e2e, "runner", 2).await? == pods, "the JobSet was disturbed");
    Ok(())
}

/// Installs the JobSet CRD, unless it is installed.
async fn install_api(e2e: &E2e) -> Result<()> {
    let crds = objects::read(&objects::repository().join("manifests/crds/jobset.x-k8s.io_jobsets.yaml"))?;
    for crd in &crds {
        objects::apply(&e2e.client, crd, "kubectl").await?;
    }
    Ok(())
}

/// Installs what the Go operator leaves: the operator's permissions, the JobSetOperator, and the operand.
async fn install_go_operator(e2e: &E2e, namespace: &str) -> Result<()> {
    for object in e2e.installation.objects.iter().filter(|object| objects::kind(object) != "Deployment") {
        objects::apply(&e2e.client, object, bundle::FIELD_MANAGER).await?;
    }
    let operator = wait_for(
        "the API of JobSetOperator",
        TIMEOUT,
        || async { Ok(objects::apply(&e2e.client, &e2e.operator, "kubectl").await.ok()) },
        Option::is_some,
    )
    .await?
    .context("no JobSetOperator")?;
    let mut crd = go_operator::jobset_crd(&operator, namespace)?;
    let api = objects::api_of(&e2e.client, &crd).await?;
    crd.metadata.resource_version = api.get(CRD).await?.resource_version();
    let manager = PostParams { field_manager: Some("jobset-operator".to_owned()), ..PostParams::default() };
    api.replace(CRD, &manager, &crd).await?;
    go_operator::create(&e2e.client, &go_operator::objects(&operator, namespace, IMAGE)?).await
}

/// The operator's Deployment, and the same with an image of the operand that does not exist.
fn operator_deployments(e2e: &E2e) -> Result<(DynamicObject, DynamicObject)> {
    let is_deployment = |object: &&DynamicObject| objects::kind(object) == "Deployment";
    let found = e2e.installation.objects.iter().find(is_deployment);
    let operator = found.context("the bundle contains no Deployment")?.clone();
    let mut broken = operator.clone();
    let variables = &mut broken.data["spec"]["template"]["spec"]["containers"][0]["env"];
    let image = variables.as_array_mut().into_iter().flatten().find(|it| it["name"] == "OPERAND_IMAGE");
    image.context("the operator has no OPERAND_IMAGE")?["value"] = json!(MISSING_IMAGE);
    Ok((operator, broken))
}

/// Runs a documented command in the root of the repository.
fn documented(e2e: &E2e, command: &str) -> Result<()> {
    documented_in(e2e, &objects::repository(), command)
}

/// Runs a command of one of these documents in this folder, such as that of another release.
pub(crate) fn documented_in(e2e: &E2e, folder: &Path, command: &str) -> Result<()> {
    let root = objects::repository();
    let line = format!("$ {command}");
    let has_line = |file: &&str| -> bool {
        std::fs::read_to_string(root.join(file)).is_ok_and(|text| text.lines().any(|it| it.trim() == line))
    };
    ensure!(
        ["docs/migration.md", "docs/installation.md", "docs/upgrading.md"].iter().any(has_line),
        "no document contains the command: {command}"
    );
    let arguments = command.strip_prefix("kubectl ").context("not a kubectl command")?;
    run_in(e2e, folder, &arguments.split(' ').collect::<Vec<_>>())
}

pub(crate) fn run_in(e2e: &E2e, folder: &Path, arguments: &[&str]) -> Result<()> {
    let output = e2e.kubectl.command().current_dir(folder).args(arguments).output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "kubectl {} failed: {stderr}", arguments.join(" "));
    Ok(())
}

pub(crate) fn in_default(yaml: &str) -> Result<DynamicObject> {
    let mut object = objects::one(yaml)?;
    object.metadata.namespace = Some("default".to_owned());
    Ok(object)
}

pub(crate) async fn wait_until_serving(e2e: &E2e) -> Result<()> {
    let admitted = || async { Ok(load::request(&e2e.client).await.err()) };
    wait_for("the webhooks to respond", TIMEOUT, admitted, Option::is_none).await.map(drop)
}

/// Waits until this number of the JobSet's pods run, and returns their uids and restarts.
pub(crate) async fn wait_for_pods(e2e: &E2e, jobset: &str, number: usize) -> Result<Vec<(Value, Value)>> {
    let selector = format!("jobset.sigs.k8s.io/jobset-name={jobset}");
    let list = || async {
        let pods = e2e.kubectl.json(&["get", "pods", "--namespace", "default", "--selector", &selector])?;
        let items = pods["items"].as_array().cloned().unwrap_or_default();
        let is_running = |pod: &&Value| pod["status"]["phase"] == "Running";
        Ok(items
            .iter()
            .filter(is_running)
            .map(|pod| {
                let restarts = pod["status"]["containerStatuses"][0]["restartCount"].clone();
                (pod["metadata"]["uid"].clone(), restarts)
            })
            .collect::<Vec<_>>())
    };
    let what = format!("{number} pods of {jobset} to run");
    wait_for(&what, TIMEOUT, list, |pods| pods.len() == number).await
}

/// Waits until a pod of the operand has no image.
async fn wait_for_missing_image(e2e: &E2e, namespace: &str) -> Result<()> {
    let reasons = "jsonpath={.items[*].status.containerStatuses[*].state.waiting.reason}";
    wait_for(
        "a pod without its image",
        TIMEOUT,
        || async {
            let selector = "control-plane=controller-manager";
            e2e.kubectl.run(&["get", "pods", "-n", namespace, "-l", selector, "-o", reasons])
        },
        |reasons| reasons.contains("ImagePull"),
    )
    .await
    .map(drop)
}

fn ensure_api_stays(e2e: &E2e) -> Result<()> {
    let crd = e2e.kubectl.json(&["get", "crd", CRD])?;
    ensure!(crd["metadata"]["deletionTimestamp"].is_null(), "the JobSet CRD is being deleted");
    Ok(())
}

fn cluster_role(e2e: &E2e) -> Result<Value> {
    Ok(e2e.kubectl.json(&["get", "clusterrole", "jobset-manager-role"])?["rules"].clone())
}

async fn deployment(e2e: &E2e) -> Result<DynamicObject> {
    let metadata = json!({"name": OPERAND, "namespace": e2e.installation.namespace});
    let object: DynamicObject =
        serde_json::from_value(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata}))?;
    Ok(objects::api_of(&e2e.client, &object).await?.get(OPERAND).await?)
}

pub(crate) fn keep_pods(e2e: &E2e, namespace: &str) {
    let pods = e2e.kubectl.run(&["describe", "pods", "--namespace", namespace]);
    let logs =
        e2e.kubectl.run(&["logs", "-n", namespace, "-l", "control-plane=controller-manager", "--tail=-1"]);
    for (name, text) in [("migration-pods", pods), ("migration-controller", logs)] {
        let text = text.unwrap_or_else(|error| format!("{error:#}"));
        drop(std::fs::write(e2e.cluster.layout().log(name), text));
    }
}
