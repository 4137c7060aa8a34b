//! Tests of the operator as a process, with a real control plane and simulated nodes, on which the operand's pods
//! become ready without containers.
//!
//! A cluster has only one JobSetOperator, so the tests run one after the other. Each test starts with an available
//! operand, or installs it.
// A panic fails only its own test.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

mod certificates;
mod cluster_facts;
mod conflicts;
mod console;
mod installation;
mod olm;
mod rbac;
mod repair;
mod states;
mod takeover;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use devcluster::NodeKind;
use devcluster::kubectl::Kubectl;
use jobset_tests::cluster::SuiteCluster;
use jobset_tests::operator::{NAMESPACE, Operator};
use jobset_tests::wait::{TIMEOUT, wait_for};
use jobset_tests::{objects, suite, tests};
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

/// Timeout for reactions of the operator that need no rollout.
const PROMPT: Duration = Duration::from_secs(5);
/// Label of managed objects.
const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by=jobset-operator";

/// The shared value of the tests.
struct Suite {
    cluster: SuiteCluster,
    client: Client,
    kubectl: Kubectl,
    operator: Operator,
}

fn main() -> ExitCode {
    suite::run(
        "operator",
        NodeKind::Kwok(3),
        1,
        prepare,
        tests![
            installation::operator_writes_nothing_without_a_jobset_operator,
            installation::operand_becomes_available_without_other_operators,
            installation::kubectl_shows_status_and_events,
            installation::edit_and_view_roles_include_jobsets,
            installation::settings_reach_the_operand,
            installation::a_removed_setting_is_reverted,
            installation::condition_reports_rejected_pods,
            installation::log_levels_take_effect,
            repair::settled_operator_writes_nothing,
            repair::older_webhook_configuration_is_upgraded,
            repair::deleted_and_changed_objects_are_restored,
            repair::added_fields_are_removed,
            repair::objects_with_irreversible_changes_are_recreated,
            repair::pods_of_another_deployment_are_adopted,
            repair::changes_during_downtime_are_repaired,
            cluster_facts::monitors_follow_the_monitoring_api,
            cluster_facts::operand_follows_openshift_configuration,
            console::the_console_shows_jobsets,
            conflicts::a_deployment_in_another_namespace_stops_nothing,
            conflicts::another_installation_is_reported_and_not_changed,
            certificates::operator_waits_for_cert_manager,
            certificates::certificates_return_to_the_operator,
            certificates::deleted_certificate_is_reissued,
            olm::upgradeable_is_reported_to_olm,
            states::unmanaged_operand_is_not_changed,
            states::managed_restores_a_removed_operand,
            states::jobsets_outlive_a_deleted_jobset_operator,
            states::operand_is_deleted_while_the_operator_is_down,
            takeover::jobsets_survive_every_deletion_after_a_takeover,
            takeover::removed_deletes_what_the_go_operator_created,
            takeover::the_operator_takes_over_a_second_time,
            takeover::an_operand_of_another_owner_is_reported,
            takeover::the_api_stays_while_an_orphaned_operand_serves_it,
            takeover::only_a_created_api_is_deleted,
            // Checks the requests of all tests before.
            rbac::granted_rules_suffice_and_are_all_used,
            // Takes a right away from the operator.
            takeover::the_api_is_released_while_another_watch_fails,
        ],
    )
}

async fn prepare(cluster: SuiteCluster) -> Result<Suite> {
    let client = cluster.client().await?;
    let operator = Operator::install(&client, cluster.layout()).await?;
    operator.start()?;
    Ok(Suite { kubectl: cluster.kubectl()?, cluster, client, operator })
}

impl Suite {
    /// Applies the objects in this YAML stream.
    async fn apply(&self, yaml: &str) -> Result<()> {
        for object in objects::parse(yaml)? {
            objects::apply(&self.client, &object, "test").await?;
        }
        Ok(())
    }

    /// Sets the spec of the JobSetOperator, which it creates if there is none.
    async fn specify(&self, spec: Value) -> Result<()> {
        let operators = self.operators().await?;
        if operators.get_opt("cluster").await?.is_some() {
            let patch: Patch<()> = Patch::Json(serde_json::from_value(
                json!([{"op": "replace", "path": "/spec", "value": spec}]),
            )?);
            operators.patch("cluster", &PatchParams::default(), &patch).await?;
        } else {
            operators.create(&kube::api::PostParams::default(), &job_set_operator(spec)?).await?;
        }
        Ok(())
    }

    async fn operators(&self) -> Result<Api<DynamicObject>> {
        objects::api_of(&self.client, &job_set_operator(json!({}))?).await
    }

    /// Sets the spec, and waits until the operand is available and settled.
    async fn install(&self, spec: Value) -> Result<()> {
        self.specify(spec).await?;
        self.wait_for_conditions(&["Available=True", "Progressing=False", "Degraded=False"], TIMEOUT).await
    }

    /// Waits until the status is up to date with the spec and has these conditions, each as `type=status`.
    async fn wait_for_conditions(&self, wanted: &[&str], limit: Duration) -> Result<()> {
        let operators = self.operators().await?;
        wait_for(
            &format!("{wanted:?}"),
            limit,
            || async { Ok(operators.get("cluster").await?) },
            |operator| {
                operator.data["status"]["observedGeneration"] == json!(operator.metadata.generation)
                    && wanted.iter().all(|wanted| {
                        let (kind, status) = wanted.split_once('=').unwrap_or_default();
                        condition(operator, kind)["status"] == status
                    })
            },
        )
        .await
        .with_context(|| format!("the operator's log is {}", self.operator.log().display()))?;
        Ok(())
    }

    /// Returns a condition of the JobSetOperator.
    async fn condition(&self, kind: &str) -> Result<Value> {
        Ok(condition(&self.operators().await?.get("cluster").await?, kind).clone())
    }

    /// Returns an object by kind and name; `None` if the object or its kind does not exist.
    async fn get(&self, api_version: &str, kind: &str, name: &str) -> Result<Option<DynamicObject>> {
        let object = reference(api_version, kind, name)?;
        let Ok(api) = objects::api_of(&self.client, &object).await else { return Ok(None) };
        Ok(api.get_opt(name).await?)
    }

    /// Waits until an object exists and satisfies a condition.
    async fn wait_for_object(
        &self,
        what: &str,
        (api_version, kind, name): (&str, &str, &str),
        limit: Duration,
        satisfied: impl Fn(&Value) -> bool,
    ) -> Result<()> {
        wait_for(
            what,
            limit,
            || async { Ok(self.get(api_version, kind, name).await?.map(|object| object.data)) },
            |data| data.as_ref().is_some_and(&satisfied),
        )
        .await?;
        Ok(())
    }

    async fn patch(&self, (api_version, kind, name): (&str, &str, &str), patch: Value) -> Result<()> {
        let api = objects::api_of(&self.client, &reference(api_version, kind, name)?).await?;
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    async fn delete(&self, (api_version, kind, name): (&str, &str, &str)) -> Result<()> {
        objects::delete(&self.client, &reference(api_version, kind, name)?).await
    }

    /// Lists the objects with the operator's label.
    fn managed(&self) -> Result<Vec<DynamicObject>> {
        let mut kinds = "clusterroles,clusterrolebindings,roles,rolebindings,serviceaccounts,services,configmaps,\
                         deployments,poddisruptionbudgets,networkpolicies,secrets,mutatingwebhookconfigurations,\
                         validatingwebhookconfigurations,customresourcedefinitions"
            .to_owned();
        let served = self.kubectl.run(&["api-resources", "--output", "name"])?;
        for optional in ["servicemonitors.monitoring.coreos.com", "prometheusrules.monitoring.coreos.com"] {
            if served.lines().any(|name| name == optional) {
                kinds = format!("{kinds},{optional}");
            }
        }
        let text = self.kubectl.run(&[
            "get",
            &kinds,
            "--all-namespaces",
            "--selector",
            MANAGED_BY_LABEL,
            "--output",
            "json",
        ])?;
        let list: Value = serde_json::from_str(&text)?;
        Ok(serde_json::from_value(list["items"].clone())?)
    }

    /// Lists the operator's writes since a time, except for its Lease, events and its status.
    fn writes_since(&self, since: jiff::Timestamp) -> Result<Vec<String>> {
        let audit = self.cluster.cluster().audit();
        let entries = audit.query().user(self.operator.user()).writes().since(since).entries()?;
        Ok(entries
            .iter()
            .filter_map(|entry| {
                let object = entry.object_ref.as_ref()?;
                let counts = !["leases", "events", "jobsetoperators"].contains(&object.resource.as_str());
                counts.then(|| format!("{} {}/{}", entry.verb, object.resource, object.name))
            })
            .collect())
    }
}

#[allow(clippy::needless_pass_by_value)]
fn job_set_operator(spec: Value) -> Result<DynamicObject> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "operator.openshift.io/v1", "kind": "JobSetOperator", "metadata": {"name": "cluster"},
        "spec": spec,
    }))?)
}

/// A reference to an object. The namespace applies only if its kind is namespaced.
fn reference(api_version: &str, kind: &str, name: &str) -> Result<DynamicObject> {
    Ok(serde_json::from_value(json!({
        "apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE},
    }))?)
}

fn condition<'a>(operator: &'a DynamicObject, kind: &str) -> &'a Value {
    let conditions = operator.data["status"]["conditions"].as_array();
    conditions.into_iter().flatten().find(|condition| condition["type"] == kind).unwrap_or(&Value::Null)
}

/// API version, kind and name of an object.
fn address(object: &DynamicObject) -> (String, String, String) {
    let types = object.types.clone().unwrap_or_default();
    (types.api_version, types.kind, object.name_any())
}

const DEPLOYMENT: (&str, &str, &str) = ("apps/v1", "Deployment", "jobset-controller-manager");
const CONFIGURATION: (&str, &str, &str) = ("v1", "ConfigMap", "jobset-manager-config");
const SERVICE: (&str, &str, &str) = ("v1", "Service", "jobset-webhook-service");
const VALIDATING: (&str, &str, &str) = (
    "admissionregistration.k8s.io/v1",
    "ValidatingWebhookConfiguration",
    "jobset-validating-webhook-configuration",
);
const MUTATING: (&str, &str, &str) = (
    "admissionregistration.k8s.io/v1",
    "MutatingWebhookConfiguration",
    "jobset-mutating-webhook-configuration",
);
const JOBSET_API: (&str, &str, &str) =
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "jobsets.jobset.x-k8s.io");
