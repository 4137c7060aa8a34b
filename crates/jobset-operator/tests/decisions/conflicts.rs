//! Installations of somebody else.

use super::*;

/// Webhooks of the upstream project, as its manifests make them.
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

fn is_left_alone(plan: &Plan, names: &[&str]) {
    assert_eq!(reasons(plan), ["ConflictingInstallation"]);
    assert!(plan.apply.is_empty() && plan.delete.is_empty() && plan.issue.is_empty() && !plan.disown_api);
    for name in names {
        assert!(plan.problems[0].message.contains(name), "{}", plan.problems[0].message);
    }
}

#[test]
fn webhooks_that_are_served_elsewhere_are_named_and_left_alone() {
    let mut observed = ready_to_install(json!({}));
    observed.objects.extend([foreign_webhooks("jobset-system")]);
    is_left_alone(&decide(&observed), &[names::VALIDATING_WEBHOOKS, "jobset-system/jobset-webhook-service"]);
}

#[test]
fn a_controller_in_another_namespace_is_named_and_left_alone() {
    let mut observed = installed(json!({}));
    observed.elsewhere = ["jobset-system".to_owned(), "ns-of-operand".to_owned()].into();
    is_left_alone(
        &decide(&observed),
        &["Deployment jobset-controller-manager runs in namespace jobset-system", "install it again then"],
    );
    let mut before = ready_to_install(json!({}));
    before.elsewhere = ["jobset-system".to_owned()].into();
    assert!(decide(&before).problems[0].message.ends_with("if it shall stay"), "nothing is ours yet");
    observed.elsewhere = ["ns-of-operand".to_owned()].into();
    assert_eq!(reasons(&decide(&observed)), [""; 0], "our own");
}

#[test]
fn what_the_go_operator_left_in_our_namespace_is_adopted() {
    let mut observed = ready_to_install(json!({}));
    observed.objects.extend([foreign_webhooks("ns-of-operand")]);
    let plan = decide(&observed);
    assert_eq!(reasons(&plan), [""; 0]);
    assert!(applies(&plan, VALIDATING));
}

#[test]
fn our_own_webhooks_that_somebody_turned_elsewhere_are_drift() {
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
fn a_foreign_installation_keeps_the_api() {
    let mut observed = installed(json!({}));
    observed.objects.retain(|key, _| key.kind == CRD);
    observed.operator = None;
    assert!(decide(&observed).delete_unused_api);
    observed.elsewhere = ["jobset-system".to_owned()].into();
    assert!(!decide(&observed).delete_unused_api);
}
