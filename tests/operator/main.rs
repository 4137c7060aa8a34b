//! The operator as a process beside a real control plane with simulated nodes, on which the operand's pods are ready
//! without running: what it installs, repairs, follows, refuses and takes away.
//!
//! There is one JobSetOperator in a cluster, so that the tests run one after the other. Each leaves an operand behind
//! that is available, or begins by asking for one.
// A panic fails the test that it happens in, and no other.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

mod certificates;
mod cluster_facts;
mod conflicts;
mod installation;
mod repair;
mod states;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use devcluster::NodeKind;
use devcluster::kubectl::Kubectl;
use jobset_tests::cluster::SuiteCluster;
use jobset_tests::operator::{NAMESPACE, Operator};
use jobset_tests::wait::{PATIENCE, wait_for};
use jobset_tests::{objects, suite, tests};
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

/// How soon the operator acts on what it sees.
const PROMPT: Duration = Duration::from_secs(5);
/// The label of what the operator manages.
const OURS: &str = "app.kubernetes.io/managed-by=jobset-operator";

/// What the tests share.
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
            installation::waits_quietly_for_a_jobset_operator,
            installation::operand_is_available_without_anything_else_installed,
            installation::it_is_shown_in_columns,
            installation::users_of_a_project_may_run_jobsets,
            installation::settings_reach_the_operand,
            installation::a_setting_alone_is_taken_back,
            installation::pods_that_are_refused_are_told,
            installation::log_levels_take_effect,
            repair::untouched_cluster_costs_no_write,
            repair::older_webhook_configuration_is_upgraded,
            repair::what_is_deleted_or_changed_is_restored,
            repair::what_is_added_is_taken_away,
            repair::what_cannot_be_changed_back_is_made_anew,
            repair::what_was_changed_while_it_was_away_is_repaired,
            cluster_facts::monitoring_comes_and_goes,
            cluster_facts::openshift_is_followed,
            conflicts::a_controller_elsewhere_is_named_and_left_alone,
            conflicts::foreign_webhooks_are_named_and_left_alone,
            certificates::cert_manager_is_asked_for_and_comes,
            certificates::certificates_move_back,
            certificates::lost_certificate_is_issued_anew,
            states::unmanaged_touches_nothing,
            states::removed_takes_everything_and_managed_brings_it_back,
            states::jobsets_outlive_a_deleted_jobset_operator,
            states::operand_goes_while_the_operator_is_away,
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
    /// Applies the objects of this YAML text.
    async fn apply(&self, yaml: &str) -> Result<()> {
        for object in objects::parse(yaml)? {
            objects::apply(&self.client, &object, "test").await?;
        }
        Ok(())
    }

    /// Makes this the whole spec of the JobSetOperator, creating it where there is none.
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

    /// Makes this the spec, and waits until the operand is there and everything is settled.
    async fn install(&self, spec: Value) -> Result<()> {
        self.specify(spec).await?;
        self.wait_for_conditions(&["Available=True", "Progressing=False", "Degraded=False"], PATIENCE).await
    }

    /// Waits until the status is about the present spec and has these conditions, each as `type=status`.
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

    /// One condition of the JobSetOperator.
    async fn condition(&self, kind: &str) -> Result<Value> {
        Ok(condition(&self.operators().await?.get("cluster").await?, kind).clone())
    }

    /// An object by kind and name; none where there is none.
    async fn get(&self, api_version: &str, kind: &str, name: &str) -> Result<Option<DynamicObject>> {
        let object = reference(api_version, kind, name)?;
        let Ok(api) = objects::api_of(&self.client, &object).await else { return Ok(None) };
        Ok(api.get_opt(name).await?)
    }

    /// Waits until an object satisfies a condition.
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

    /// Everything with the operator's label that it manages.
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
        let text =
            self.kubectl.run(&["get", &kinds, "--all-namespaces", "--selector", OURS, "--output", "json"])?;
        let list: Value = serde_json::from_str(&text)?;
        Ok(serde_json::from_value(list["items"].clone())?)
    }

    /// The operator's writes since a time, other than of its Lease, of events and of its own status.
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

/// An object as far as its address goes; the namespace counts where its kind has any.
fn reference(api_version: &str, kind: &str, name: &str) -> Result<DynamicObject> {
    Ok(serde_json::from_value(json!({
        "apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE},
    }))?)
}

fn condition<'a>(operator: &'a DynamicObject, kind: &str) -> &'a Value {
    let conditions = operator.data["status"]["conditions"].as_array();
    conditions.into_iter().flatten().find(|condition| condition["type"] == kind).unwrap_or(&Value::Null)
}

/// Kind, name and API version of an object.
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
