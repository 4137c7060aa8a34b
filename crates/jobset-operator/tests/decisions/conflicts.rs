//! Conflicts with another installation.

use super::*;

/// Webhooks from the manifests of the upstream project.
fn foreign_webhooks(namespace: &str) -> (ObjectKey, Live) {
    let object: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": VALIDATING,
        "metadata": {"name": names::VALIDATING_WEBHOOKS, "labels": {"app.kubernetes.io/managed-by": "kustomize"}},
        "webhooks": [{
            "name": "vjobset.kb.io",
            "clientConfig": {"service": {"name": "jobset-webhook-service", "namespace": namespace}},
        }],
    }))
    .unwrap();
    (ObjectKey::of(&object), Live::new(object))
}

fn assert_conflict(plan: &Plan, names: &[&str]) {
    assert_eq!(reasons(plan), ["ConflictingInstallation"]);
    assert!(plan.apply.is_empty() && plan.delete.is_empty() && plan.issue.is_empty() && !plan.disown_api);
    for name in names {
        assert!(plan.problems[0].message.contains(name), "{}", plan.problems[0].message);
    }
}

#[test]
fn webhooks_with_a_service_in_another_namespace_are_a_conflict() {
    let mut observed = ready_to_install(json!({}));
    observed.objects.extend([foreign_webhooks("jobset-system")]);
    assert_conflict(
        &decide(&observed),
        &[names::VALIDATING_WEBHOOKS, "jobset-system/jobset-webhook-service"],
    );
}

#[test]
fn a_controller_in_another_namespace_is_a_conflict() {
    let mut observed = installed(json!({}));
    observed.other_namespaces = ["jobset-system".to_owned(), "ns-of-operand".to_owned()].into();
    assert_conflict(
        &decide(&observed),
        &["Deployment jobset-controller-manager runs in namespace jobset-system", "then install it again"],
    );
    let mut before = ready_to_install(json!({}));
    before.other_namespaces = ["jobset-system".to_owned()].into();
    assert!(
        decide(&before).problems[0].message.ends_with("to keep it"),
        "the operator has installed nothing yet"
    );
    observed.other_namespaces = ["ns-of-operand".to_owned()].into();
    assert_eq!(reasons(&decide(&observed)), [""; 0], "the operator's own Deployment");
}

#[test]
fn webhooks_of_the_go_operator_in_the_same_namespace_are_adopted() {
    let mut observed = ready_to_install(json!({}));
    observed.objects.extend([foreign_webhooks("ns-of-operand")]);
    let plan = decide(&observed);
    assert_eq!(reasons(&plan), [""; 0]);
    assert!(applies(&plan, VALIDATING));
}

#[test]
fn a_changed_service_of_managed_webhooks_is_drift() {
    let mut observed = installed(json!({}));
    let (key, foreign) = foreign_webhooks("jobset-system");
    let live = observed.objects.get_mut(&key).unwrap();
    live.object = foreign.object;
    assert!(live.applied_by_us);
    let plan = decide(&observed);
    assert_eq!(reasons(&plan), [""; 0]);
    assert!(applies(&plan, VALIDATING));
}

#[test]
fn the_crd_stays_for_another_installation() {
    let mut observed = installed(json!({}));
    observed.objects.retain(|key, _| key.kind == CRD);
    observed.operator = None;
    assert!(decide(&observed).delete_unused_api);
    observed.other_namespaces = ["jobset-system".to_owned()].into();
    assert!(!decide(&observed).delete_unused_api);
}
