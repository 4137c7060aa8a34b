//! A cluster that the Go operator leaves: its objects, with the JobSetOperator as owner.

use super::*;
use jobset_operator::desired::crd_ownership::release;
use jobset_operator::desired::removal::known_keys;
use kube::ResourceExt;
use serde::Deserialize as _;

const GO_OPERATOR: &str = include_str!("../../../../tests/fixtures/go-operator.yaml");

/// Owner references of this kind.
fn owned_by(kind: &str) -> Value {
    json!([{"apiVersion": "operator.openshift.io/v1", "kind": kind, "name": "cluster", "uid": "uid-of-cluster"}])
}

/// An object that another field manager created.
fn created_by(manager: &str, mut object: DynamicObject) -> Live {
    object.metadata.managed_fields = Some(
        serde_json::from_value(json!([{
            "manager": manager, "operation": "Update", "fieldsV1": {"f:spec": {"f:group": {}}},
        }]))
        .unwrap(),
    );
    Live::new(object)
}

/// The objects of the Go operator without the CRD. `owners` are their owner references.
fn go_operator(spec: Value, owners: &Value) -> Observed {
    let mut observed = ready_to_install(spec);
    for document in serde_yaml::Deserializer::from_str(&GO_OPERATOR.replace("NAMESPACE", "ns-of-operand")) {
        let mut object = DynamicObject::deserialize(document).unwrap();
        object.labels_mut().insert(names::MANAGED_BY_LABEL.to_owned(), "kustomize".to_owned());
        object.metadata.owner_references = serde_json::from_value(owners.clone()).unwrap();
        observed.objects.insert(ObjectKey::of(&object), created_by("jobset-operator", object));
    }
    observed
}

/// A JobSet CRD with these owners, of this field manager.
fn crd(owners: &Value, manager: &str) -> (ObjectKey, Live) {
    let object: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": CRD,
        "metadata": {
            "name": names::JOBSET_CRD, "uid": "uid-of-crd", "resourceVersion": "7", "ownerReferences": owners,
        },
    }))
    .unwrap();
    (ObjectKey::of(&object), created_by(manager, object))
}

const STATES: [&str; 4] = ["Managed", "Force", "Unmanaged", "Removed"];

#[test]
fn the_crd_is_released_in_every_mode() {
    let mut observed = go_operator(json!({}), &owned_by("JobSetOperator"));
    let mut owners = owned_by("JobSetOperator");
    owners.as_array_mut().unwrap().push(owned_by("Other")[0].clone());
    observed.objects.extend([crd(&owners, "jobset-operator")]);
    let states = STATES.map(|state| Some(operator(json!({"managementState": state}))));
    let mut deleted = operator(json!({}));
    deleted.metadata.deletion_timestamp = Some(Time(now()));
    for operator in states.into_iter().chain([None, Some(deleted)]) {
        observed.operator = operator.map(Arc::new);
        let release = release(&observed).unwrap();
        let kinds: Vec<&str> = release.remaining.iter().map(|owner| owner.kind.as_str()).collect();
        assert_eq!(kinds, ["Other"]);
        assert_eq!(release.owner.uid, "uid-of-cluster");
        assert_eq!(release.crd.object.resource_version().unwrap(), "7");
    }
}

#[test]
fn only_a_crd_of_a_jobset_operator_is_released() {
    let is_released = |(key, live): (ObjectKey, Live)| {
        let mut observed = ready_to_install(json!({}));
        observed.objects.insert(key, live);
        release(&observed).is_some()
    };
    let another_group = json!([{"apiVersion": "operator.openshift.io.example/v1", "kind": "JobSetOperator", "name": "a", "uid": "u"}]);
    assert!(is_released(crd(&owned_by("JobSetOperator"), "jobset-operator")));
    assert!(!is_released(crd(&owned_by("Other"), "jobset-operator")));
    assert!(!is_released(crd(&another_group, "jobset-operator")));
    assert!(!is_released(crd(&json!([]), "jobset-operator")));
    let (key, mut live) = crd(&owned_by("JobSetOperator"), "jobset-operator");
    let mut object = (*live.object).clone();
    object.metadata.deletion_timestamp = Some(Time(now()));
    live.object = Arc::new(object);
    assert!(!is_released((key, live)), "no write can save it");
    assert_eq!(release(&ready_to_install(json!({}))), None);
}

#[test]
fn removed_deletes_every_object_of_the_go_operator() {
    let observed = go_operator(json!({"managementState": "Removed"}), &owned_by("JobSetOperator"));
    let mut deleted = delete_all(observed.clone());
    let kinds: Vec<&str> = deleted.iter().map(|key| key.kind.as_str()).collect();
    assert_eq!(kinds[..2], ["MutatingWebhookConfiguration", VALIDATING]);
    deleted.sort();
    assert_eq!(deleted, observed.objects.keys().cloned().collect::<Vec<_>>());
    assert_eq!(deleted.len(), 23);
}

#[test]
fn objects_that_another_client_owns_are_not_removed() {
    let observed = go_operator(json!({"managementState": "Removed"}), &owned_by("Other"));
    let plan = decide(&observed);
    assert_eq!(plan.delete, []);
    let message = plan.foreign_operand.unwrap();
    assert!(message.contains("this one belongs to Other cluster"), "{message}");
    assert!(
        message.contains(
            "`kubectl delete mutatingwebhookconfiguration/jobset-mutating-webhook-configuration && kubectl delete \
             validatingwebhookconfiguration/jobset-validating-webhook-configuration && kubectl delete \
             deployment/jobset-controller-manager --namespace ns-of-operand`"
        ),
        "{message}"
    );
    // The garbage collector removes the owner references after `kubectl delete --cascade=orphan`.
    let orphaned = decide(&go_operator(json!({"managementState": "Removed"}), &json!([])));
    assert_eq!(orphaned.delete, []);
    let message = orphaned.foreign_operand.unwrap();
    assert!(
        message.contains("this one has no owner, and its label app.kubernetes.io/managed-by is kustomize"),
        "{message}"
    );
}

#[test]
fn own_objects_without_owner_are_removed() {
    let mut observed = installed(json!({}));
    for live in observed.objects.values_mut() {
        let mut object = (*live.object).clone();
        object.metadata.owner_references = None;
        live.object = Arc::new(object);
    }
    observed.operator = Some(Arc::new(operator(json!({"managementState": "Removed"}))));
    assert_eq!(delete_all(observed.clone()).len() + 1, observed.objects.len(), "all objects except the CRD");
    assert_eq!(decide(&observed).foreign_operand, None);
}

#[test]
fn a_managed_operand_prunes_what_only_the_go_operator_needs() {
    // Without the API of ServiceMonitors, no Prometheus needs rights.
    let observed = go_operator(json!({}), &owned_by("JobSetOperator"));
    let plan = decide(&observed);
    assert!(plan.delete.contains(&ObjectKey::new("Role", names::PROMETHEUS_ROLE)));
    assert!(plan.delete.iter().all(|key| key.kind != "Deployment" && key.kind != VALIDATING));
    assert_eq!(reasons(&plan), [""; 0]);
}

#[test]
fn every_desired_object_is_known() {
    let known = known_keys().unwrap();
    for spec in [
        json!({}),
        json!({"controller": {"replicas": 3}}),
        json!({"certificates": {"provider": "BuiltIn"}}),
        json!({"controller": {"replicas": 2}, "certificates": {"provider": "CertManager"}}),
    ] {
        for apis in [&[][..], &[kinds::SERVICE_MONITOR_CRD], &[kinds::PROMETHEUS_RULE_CRD]] {
            let mut observed = ready_to_install(spec.clone());
            observed.apis.extend(apis.iter().map(|&crd| crd.to_owned()));
            let plan = decide(&observed);
            assert!(!plan.apply.is_empty());
            for step in plan.apply.iter().filter(|step| step.key.kind != CRD) {
                assert!(known.contains(&step.key), "{}", step.key);
                // The watches select by these labels.
                let labels = step.object.labels();
                assert_eq!(labels["app.kubernetes.io/name"], "jobset", "{}", step.key);
                assert_eq!(labels["app.kubernetes.io/instance"], "jobset", "{}", step.key);
            }
            for issue in &plan.issue {
                assert!(known.contains(&ObjectKey::new("Secret", &issue.desired.secret)));
            }
        }
    }
}

#[test]
fn every_object_of_the_go_operator_is_known() {
    for key in go_operator(json!({}), &json!([])).objects.keys() {
        assert!(known_keys().unwrap().contains(key), "{key}");
    }
}

#[test]
fn the_crd_of_the_go_operator_is_adopted_with_its_mark() {
    let mut observed = go_operator(json!({}), &owned_by("JobSetOperator"));
    let (key, mut live) = crd(&json!([]), "jobset-operator");
    observed.objects.insert(key.clone(), live.clone());
    let annotation = |observed: &Observed| {
        let plan = decide(observed);
        step(&plan, CRD, names::JOBSET_CRD).unwrap().annotations().get(names::CREATED_BY).cloned()
    };
    assert_eq!(annotation(&observed), None, "another client may have created it");
    let mut object = (*live.object).clone();
    object.annotations_mut().insert(names::CREATED_BY.to_owned(), names::OPERATOR.to_owned());
    live.object = Arc::new(object);
    observed.objects.insert(key, live);
    assert_eq!(annotation(&observed).as_deref(), Some("jobset-operator"), "the release set it");
}

/// The Go operator deletes nothing, so that alerts about this operator fire after its return.
#[test]
fn monitoring_that_the_go_operator_does_not_know_is_documented() {
    let mut observed = ready_to_install(json!({}));
    observed.apis.extend([kinds::SERVICE_MONITOR_CRD, kinds::PROMETHEUS_RULE_CRD].map(str::to_owned));
    let known = go_operator(json!({}), &json!([])).objects;
    let plan = decide(&observed);
    let unknown: Vec<String> = plan
        .apply
        .iter()
        .filter(|step| ["PrometheusRule", "ServiceMonitor"].contains(&step.key.kind.as_str()))
        .filter(|step| !known.contains_key(&step.key))
        .map(|step| format!("{}/{}", step.key.kind.to_lowercase(), step.key.name))
        .collect();
    assert_eq!(unknown.len(), 2);
    let page = include_str!("../../../../docs/migration.md");
    let (_, section) = page.split_once("## Back to OpenShift's Go operator").unwrap();
    for object in unknown {
        assert!(section.contains(&object), "{object}");
    }
}
