//! End-to-end tests on a real node: installation from `bundle/`, real pods, DNS and logs, and uninstallation.

// A panic fails only its own test.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

mod helm;
mod in_place_jobset;
mod in_place_restart;
mod installation;
mod load;
mod migration;
mod must_gather;
mod operator_lifecycle;
mod operator_uninstallation;
mod plugin;
mod policies;
mod release;
mod uninstallation;
mod upgrade;
mod workloads;

use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::{Context as _, Result, anyhow};
use devcluster::NodeKind;
use devcluster::kubectl::Kubectl;
use devcluster::node::{LoadImage, load_image};
use jobset_tests::bundle::{self, Installation};
use jobset_tests::cluster::SuiteCluster;
use jobset_tests::suite::{self, Part};
use jobset_tests::wait::{TIMEOUT, wait_for};
use jobset_tests::{objects, tests};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams};
use serde_json::Value;

/// Name of the image, which is loaded into the node.
const IMAGE: &str = "localhost/jobset-operator:e2e";

/// The shared value of the tests: a cluster with an installed operator and operand.
struct E2e {
    cluster: SuiteCluster,
    client: Client,
    kubectl: Kubectl,
    installation: Installation,
    /// The JobSetOperator `cluster`.
    operator: DynamicObject,
}

fn main() -> ExitCode {
    let installation = tests![
        installation::both_pods_run,
        installation::operator_reports_its_conditions,
        installation::controller_answers_webhooks,
        installation::pods_are_restricted,
        must_gather::must_gather_collects_logs_and_metrics,
    ];
    let workloads = tests![
        workloads::workers_reach_their_coordinator,
        workloads::demo_jobset_completes_as_documented,
        policies::failed_leader_fails_the_jobset,
        policies::failed_worker_restarts_the_jobset,
        policies::retained_claim_keeps_its_data,
        policies::containers_start_in_order,
        policies::finished_jobset_is_deleted_after_its_ttl,
        plugin::failed_container_is_explained_with_its_log,
        plugin::missing_image_is_explained,
        plugin::logs_are_followed_across_a_restart,
        in_place_restart::sidecar_holds_and_restarts_the_worker,
        in_place_restart::main_container_runs_and_restarts_the_worker,
        in_place_restart::missing_permission_is_in_the_log_of_the_pod,
    ];
    let in_place_restart = tests![
        in_place_jobset::injected_agents_restart_all_pods_in_place,
        in_place_jobset::agents_in_main_containers_restart_all_pods_in_place,
    ];
    let operator = tests![
        operator_lifecycle::settled_operator_writes_nothing,
        operator_lifecycle::log_level_change_rejects_no_request,
        operator_lifecycle::certificate_renewal_rejects_no_request,
        operator_lifecycle::certificate_provider_change_rejects_no_request,
        operator_lifecycle::killed_operand_recovers,
        operator_lifecycle::restarted_operator_completes_a_rollout,
        operator_lifecycle::rollout_with_a_slow_kube_proxy_rejects_no_request,
        operator_lifecycle::removed_operand_returns_when_managed,
    ];
    // The order matters.
    let uninstallation = tests![
        uninstallation::jobsets_outlive_the_operand,
        uninstallation::new_jobset_operator_reinstalls_the_operand,
        uninstallation::nothing_is_left,
    ];
    let migration = tests![
        migration::manifests_replace_those_of_upstream,
        migration::jobsets_outlive_the_controller_of_manifests,
        migration::operator_replaces_the_go_operator,
        migration::go_operator_can_take_over_again,
        migration::jobsets_outlive_the_operator,
    ];
    let helm = tests![
        helm::chart_installs_the_controller,
        helm::upgrade_disturbs_no_jobset,
        helm::uninstallation_keeps_jobsets_and_their_api,
    ];
    let upgrade = tests![
        upgrade::controller_with_one_replica_rejects_no_request,
        upgrade::controller_with_two_replicas_rejects_no_request,
        upgrade::operator_with_one_replica_rejects_no_request,
        upgrade::operator_with_two_replicas_rejects_no_request,
        upgrade::jobsets_continue_after_upgrades,
        upgrade::fields_that_a_downgrade_loses_are_documented,
    ];
    let parts = vec![
        Part::new(1, prepare, installation),
        Part::new(4, prepare, workloads),
        Part::new(2, prepare_in_place_restart, in_place_restart),
        Part::new(1, prepare, operator),
        Part::new(1, prepare, uninstallation),
        Part::new(
            1,
            prepare,
            tests![operator_uninstallation::uninstalling_the_operator_first_blocks_nothing],
        ),
        Part::new(1, migration::prepare, migration),
        Part::new(1, migration::prepare, helm),
        Part::new(1, upgrade::prepare, upgrade).skipped_because(release::missing_history()),
    ];
    suite::run_parts("e2e", NodeKind::Real, parts)
}

/// Like [`prepare`], with feature gate `InPlaceRestart`.
async fn prepare_in_place_restart(cluster: SuiteCluster) -> Result<E2e> {
    let mut e2e = prepare(cluster).await?;
    e2e.operator.data["spec"]["controller"]["featureGates"] = serde_json::json!({ "InPlaceRestart": true });
    e2e.install_operand().await.inspect_err(|_| e2e.keep_program_logs())?;
    e2e.wait_until_accepted("in-place-restart-injected.yaml").await?;
    let deployment = "deployment/jobset-controller-manager";
    e2e.kubectl.run(&["rollout", "status", deployment, "--namespace", &e2e.installation.namespace])?;
    // A pod that ends still admits pods, without the feature.
    let replaced = |pods: &Vec<Pod>| pods.len() == 1;
    wait_for("the pods without the feature to end", TIMEOUT, || e2e.operand_pods(), replaced).await?;
    Ok(e2e)
}

/// Installs the operator and its operand, unless they are installed.
async fn prepare(cluster: SuiteCluster) -> Result<E2e> {
    let (client, kubectl) = (cluster.client().await?, cluster.kubectl()?);
    let installation = bundle::plan(&objects::repository().join("bundle"), Some(IMAGE))?;
    let namespaces = kubectl.run(&["get", "namespaces", "--output", "name"])?;
    if !namespaces.lines().any(|it| it == format!("namespace/{}", installation.namespace)) {
        load_programs(&cluster)?;
        for object in &installation.objects {
            objects::apply(&client, object, bundle::FIELD_MANAGER).await?;
        }
    }
    let operator = objects::read(&objects::repository().join("deploy/cluster.yaml"))?.remove(0);
    let e2e = E2e { cluster, client, kubectl, installation, operator };
    e2e.install_operand().await.inspect_err(|_| e2e.keep_program_logs())?;
    Ok(e2e)
}

impl E2e {
    /// The pods of the operand, also those that are ending.
    async fn operand_pods(&self) -> Result<Vec<Pod>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.installation.namespace);
        let of_operand = ListParams::default().labels("control-plane=controller-manager");
        Ok(pods.list(&of_operand).await?.items)
    }

    /// Creates a suspended JobSet.
    async fn create_suspended(&self, name: &str) -> Result<DynamicObject> {
        let jobset = objects::suspended_jobset(name)?;
        Ok(objects::create(&self.client, "default", &jobset, false).await?)
    }

    /// Creates the JobSetOperator and waits until the operand is available.
    async fn install_operand(&self) -> Result<()> {
        let operator = objects::apply(&self.client, &self.operator, "kubectl").await?;
        let api = objects::api_of(&self.client, &operator).await?;
        wait_for(
            "the operand to be available",
            TIMEOUT,
            || async { Ok(api.get("cluster").await?.data["status"]["conditions"].clone()) },
            |conditions| status_of(conditions, "Available") == "True",
        )
        .await?;
        // kube-proxy updates its rules a moment after a pod becomes ready.
        self.wait_until_accepted("demo-jobset.yaml").await
    }

    /// Waits until the webhooks accept a file of docs/examples.
    async fn wait_until_accepted(&self, example: &str) -> Result<()> {
        let jobset = objects::read(&objects::repository().join("docs/examples").join(example))?.remove(0);
        wait_for(
            &format!("the webhooks to accept {example}"),
            TIMEOUT,
            || async { Ok(objects::create(&self.client, "default", &jobset, true).await.err()) },
            Option::is_none,
        )
        .await?;
        Ok(())
    }

    /// Writes the logs of operator and operand to the cluster's log folder.
    fn keep_program_logs(&self) {
        let namespace = &self.installation.namespace;
        for deployment in ["jobset-operator", "jobset-controller-manager"] {
            let log = self
                .kubectl
                .run(&["logs", "--namespace", namespace, &format!("deployment/{deployment}"), "--tail=-1"])
                .unwrap_or_else(|error| format!("{error:#}"));
            drop(std::fs::write(self.cluster.layout().log(deployment), log));
        }
        let pods = self
            .kubectl
            .run(&["describe", "pods", "--namespace", namespace])
            .unwrap_or_else(|error| format!("{error:#}"));
        drop(std::fs::write(self.cluster.layout().log("pods"), pods));
    }
}

/// Loads the image of the programs into the node, once.
fn load_programs(cluster: &SuiteCluster) -> Result<()> {
    static LOADED: Mutex<bool> = Mutex::new(false);
    let mut loaded = LOADED.lock().map_err(|_| anyhow!("loading the image panicked"))?;
    if !*loaded {
        load_image(
            cluster.cluster().context(),
            &LoadImage { archive: None, binaries: Some(programs()?), rootfs: None, tag: Some(IMAGE.into()) },
        )?;
        *loaded = true;
    }
    Ok(())
}

/// The folder of the programs that Cargo built with this one, such as `target/debug`.
fn programs() -> Result<std::path::PathBuf> {
    let this = std::env::current_exe().context("cannot find the path of this program")?;
    let folder = this.ancestors().nth(2).context("this program is not in a target folder")?;
    Ok(folder.to_owned())
}

/// Status of a condition; empty if it is not set.
fn status_of<'a>(conditions: &'a Value, kind: &str) -> &'a str {
    conditions
        .as_array()
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == kind)
        .and_then(|condition| condition["status"].as_str())
        .unwrap_or_default()
}
