//! Tests of the operator's plans and status, without a server.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::needless_pass_by_value)]

mod api_deletion;
mod applied_settings;
mod certificate_providers;
mod conflicts;
mod console;
mod planned_changes;
mod previous_pods;
mod reported_status;
mod takeover;

use jobset_api::JobSetOperator;
use jobset_api::jobset_operator::JobSetOperatorStatus;
use jobset_operator::desired::plan::{Plan, plan};
use jobset_operator::desired::problem::Problem;
use jobset_operator::desired::settings::{Mode, Settings};
use jobset_operator::desired::status::{Failure, Report, status, unsynced_status};
use jobset_operator::names;
use jobset_operator::observe::facts::ProxySettings;
use jobset_operator::observe::{CertificateSecret, Live, ObjectKey, Observed, PodTrouble, kinds};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::DynamicObject;
use manager_runtime::certificates::issue;
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

fn settings() -> Settings {
    Settings {
        namespace: "ns-of-operand".into(),
        operand_image: Some("registry.example/operand:v2".into()),
        version: "9.8.7",
        runbooks: "https://runbooks.example/jobset".into(),
        proxy: ProxySettings::default(),
        tls_profile: None,
        operator_condition: None,
    }
}

fn operator(spec: Value) -> JobSetOperator {
    serde_json::from_value(json!({
        "apiVersion": "operator.openshift.io/v1", "kind": "JobSetOperator",
        "metadata": {"name": "cluster", "uid": "uid-of-cluster", "generation": 4, "resourceVersion": "1"},
        "spec": spec,
    }))
    .unwrap()
}

/// The time of all tests.
fn now() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

/// Certificates of two CAs, as PEM.
static AUTHORITIES: LazyLock<[String; 2]> = LazyLock::new(|| {
    ["red", "blue"].map(|name| {
        issue::authority(name, "test", now(), SignedDuration::from_hours(9999)).unwrap().certificate
    })
});

/// A complete Secret with this hash.
fn complete(hash: &str, authority: &str) -> CertificateSecret {
    CertificateSecret {
        hash: hash.into(),
        certificate: "certificate".into(),
        has_key: true,
        ca: authority.into(),
    }
}

/// A cluster with cert-manager and issued certificates, and without the operand.
fn ready_to_install(spec: Value) -> Observed {
    let mut observed = Observed { operator: Some(Arc::new(operator(spec))), ..Observed::default() };
    observed.apis.extend([kinds::ISSUER_CRD, kinds::CERTIFICATE_CRD].map(str::to_owned));
    for (secret, hash) in [(names::WEBHOOK_SECRET, "hash-1"), (names::METRICS_SECRET, "hash-2")] {
        observed.secrets.insert(secret.into(), complete(hash, &AUTHORITIES[0]));
    }
    observed
}

/// The same cluster with the operand installed.
fn installed(spec: Value) -> Observed {
    let mut observed = ready_to_install(spec);
    execute(&mut observed);
    // The second plan contains the steps that need webhooks with the CA.
    execute(&mut observed);
    observed
}

/// Executes the plan, without issuing certificates.
fn execute(observed: &mut Observed) {
    let plan = decide(observed);
    for key in plan.delete {
        observed.objects.remove(&key);
    }
    for step in plan.apply {
        let mut live = applied(step.object);
        // An apply keeps fields that it does not name, such as the status.
        if let Some(before) = observed.objects.get(&step.key) {
            let mut object = (*live.object).clone();
            if let (Some(status), Some(data)) =
                (before.object.data.get("status"), object.data.as_object_mut())
            {
                data.insert("status".into(), status.clone());
            }
            object.metadata.generation = before.object.metadata.generation;
            live.object = Arc::new(object);
        }
        observed.objects.insert(step.key, live);
    }
}

/// Executes plans until nothing is left to delete. Returns the deleted objects in their order.
fn delete_all(mut observed: Observed) -> Vec<ObjectKey> {
    let mut deleted = Vec::new();
    loop {
        let next = decide(&observed).delete;
        if next.is_empty() {
            return deleted;
        }
        deleted.extend(next);
        execute(&mut observed);
    }
}

/// The Deployment's status after a complete rollout.
fn rolled_out() -> Value {
    json!({
        "observedGeneration": 7, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1
    })
}

/// Sets the status of the Deployment.
fn with_deployment(mut observed: Observed, status: Value) -> Observed {
    let live = observed.objects.get_mut(&ObjectKey::new("Deployment", names::OPERAND)).unwrap();
    let mut object = (*live.object).clone();
    object.metadata.generation = Some(7);
    object.data["status"] = status;
    live.object = Arc::new(object);
    observed
}

fn step<'a>(plan: &'a Plan, kind: &str, name: &str) -> Option<&'a DynamicObject> {
    plan.apply.iter().find(|step| step.key == ObjectKey::new(kind, name)).map(|step| &step.object)
}

fn applied(mut object: DynamicObject) -> Live {
    object.metadata.managed_fields =
        Some(serde_json::from_value(json!([{"manager": "jobset-operator", "operation": "Apply"}])).unwrap());
    Live::new(object)
}

fn decide(observed: &Observed) -> Plan {
    plan(&settings(), observed, now()).unwrap()
}

fn applies(plan: &Plan, kind: &str) -> bool {
    plan.apply.iter().any(|step| step.key.kind == kind)
}

fn reasons(plan: &Plan) -> Vec<&str> {
    plan.problems.iter().map(|problem| problem.reason).collect()
}

const CRD: &str = "CustomResourceDefinition";
const VALIDATING: &str = "ValidatingWebhookConfiguration";
