//! What the operator decides, and what it says about it: no server needed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::needless_pass_by_value)]

mod api_deletion;
mod plan_of_changes;
mod status_told;

use jobset_api::JobSetOperator;
use jobset_api::jobset_operator::JobSetOperatorStatus;
use jobset_operator::desired::plan::{Mode, Plan, Settings, plan};
use jobset_operator::desired::status::{Failure, status};
use jobset_operator::names;
use jobset_operator::observe::{CertificateSecret, Live, ObjectKey, Observed, kinds};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use std::sync::Arc;

fn settings() -> Settings {
    Settings {
        namespace: "ns-of-operand".into(),
        operand_image: Some("registry.example/operand:v2".into()),
        version: "9.8.7",
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

/// A cluster with cert-manager, whose certificates are issued, and with nothing of the operand.
fn ready_to_install(spec: Value) -> Observed {
    let mut observed = Observed { operator: Some(Arc::new(operator(spec))), ..Observed::default() };
    observed.apis.extend([kinds::ISSUER_CRD, kinds::CERTIFICATE_CRD].map(str::to_owned));
    for (secret, hash) in [(names::WEBHOOK_SECRET, "hash-1"), (names::METRICS_SECRET, "hash-2")] {
        observed.secrets.insert(secret.into(), CertificateSecret { hash: Some(hash.into()) });
    }
    observed
}

/// The same cluster with everything that its plan applies.
fn installed(spec: Value) -> Observed {
    let mut observed = ready_to_install(spec);
    for step in plan(&settings(), &observed).unwrap().apply {
        observed.objects.insert(step.key, applied(step.object));
    }
    observed
}

fn applied(mut object: DynamicObject) -> Live {
    object.metadata.managed_fields =
        Some(serde_json::from_value(json!([{"manager": "jobset-operator", "operation": "Apply"}])).unwrap());
    Live::new(object)
}

fn decide(observed: &Observed) -> Plan {
    plan(&settings(), observed).unwrap()
}

fn applies(plan: &Plan, kind: &str) -> bool {
    plan.apply.iter().any(|step| step.key.kind == kind)
}

fn reasons(plan: &Plan) -> Vec<&str> {
    plan.problems.iter().map(|problem| problem.reason).collect()
}

const CRD: &str = "CustomResourceDefinition";
const VALIDATING: &str = "ValidatingWebhookConfiguration";
