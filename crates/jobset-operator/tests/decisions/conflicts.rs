//! Conflicts with another installation.

use super::*;
use kube::ResourceExt;

/// Webhooks from the manifests of the upstream project.
fn foreign_webhooks(namespace: &str) -> (ObjectKey, Live) {
    foreign(json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": VALIDATING,
        "metadata": {"name": names::VALIDATING_WEBHOOKS, "labels": {"app.kubernetes.io/managed-by": "kustomize"}},
        "webhooks": [{
            "name": "vjobset.kb.io",
            "clientConfig": {"service": {"name": "jobset-webhook-service", "namespace": namespace}},
        }],
    }))
}

/// The binding of the controller's cluster role to a ServiceAccount.
fn binding(namespace: &str) -> (ObjectKey, Live) {
    foreign(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "jobset-manager-rolebinding"},
        "roleRef": {"kind": "ClusterRole", "name": "jobset-manager-role"},
        "subjects": [
            {"kind": "User", "name": "jane"},
            {"kind": "ServiceAccount", "name": "jobset-controller-manager", "namespace": namespace},
        ],
    }))
}

fn foreign(object: Value) -> (ObjectKey, Live) {
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    (ObjectKey::of(&object), Live::new(object))
}

fn namespaces(names: &[&str]) -> std::collections::BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn assert_conflict(plan: &Plan, parts: &[&str]) {
    assert_eq!(reasons(plan), ["ConflictingInstallation"]);
    assert!(plan.apply.is_empty() && plan.delete.is_empty() && plan.issue.is_empty());
    for part in parts {
        assert!(plan.problems[0].message.contains(part), "{}", plan.problems[0].message);
    }
}

#[test]
fn webhooks_with_a_service_in_another_namespace_are_a_conflict() {
    let mut observed = ready_to_install(json!({}));
    observed.objects.extend([foreign_webhooks("jobset-system")]);
    observed.other_namespaces = namespaces(&["jobset-system"]);
    assert_conflict(
        &decide(&observed),
        &[
            "ValidatingWebhookConfiguration jobset-validating-webhook-configuration calls Service \
             jobset-system/jobset-webhook-service",
            "Deployment jobset-controller-manager exists in namespace jobset-system",
        ],
    );
}

#[test]
fn the_conflict_message_keeps_the_crd_and_has_a_command() {
    let mut observed = ready_to_install(json!({}));
    observed.objects.extend([foreign_webhooks("jobset-system")]);
    assert_conflict(
        &decide(&observed),
        &[
            "keep CustomResourceDefinition jobsets.jobset.x-k8s.io",
            "`kubectl delete --ignore-not-found mutatingwebhookconfiguration/jobset-mutating-webhook-configuration \
             validatingwebhookconfiguration/jobset-validating-webhook-configuration \
             clusterrolebinding/jobset-manager-rolebinding && kubectl delete --ignore-not-found --namespace \
             jobset-system deployment/jobset-controller-manager service/jobset-webhook-service`",
            "docs/migration.md",
        ],
    );
}

/// The names of the other objects contain that of the release. A controller without webhooks would be left undetected.
#[test]
fn the_command_uninstalls_a_release_of_helm() {
    let (key, live) = foreign_webhooks("their-namespace");
    let mut object = (*live.object).clone();
    for (annotation, value) in [("release-name", "red"), ("release-namespace", "their-namespace")] {
        object.annotations_mut().insert(format!("meta.helm.sh/{annotation}"), value.to_owned());
    }
    let mut observed = ready_to_install(json!({}));
    observed.objects.insert(key, Live::new(object));
    assert_conflict(
        &decide(&observed),
        &["clusterrolebinding/jobset-manager-rolebinding && helm uninstall red --namespace their-namespace`"],
    );
}

#[test]
fn webhooks_with_a_url_are_a_conflict() {
    let mut observed = ready_to_install(json!({}));
    let (key, live) = foreign_webhooks("jobset-system");
    let mut object = (*live.object).clone();
    object.data["webhooks"][0]["clientConfig"] = json!({"url": "https://jobset.example/validate"});
    observed.objects.insert(key, Live::new(object));
    assert_conflict(&decide(&observed), &["calls https://jobset.example/validate"]);
}

/// Any user may create such a Deployment in a project.
#[test]
fn a_deployment_in_another_namespace_is_only_a_warning() {
    for mut observed in [installed(json!({})), ready_to_install(json!({}))] {
        observed.other_namespaces = namespaces(&["jobset-system", "ns-of-operand"]);
        let plan = decide(&observed);
        assert_eq!(reasons(&plan), [""; 0]);
        assert!(applies(&plan, "Deployment"));
        assert_eq!(plan.warnings.len(), 1);
        assert!(plan.warnings[0].contains("exists in namespace jobset-system. "), "{}", plan.warnings[0]);
    }
    let mut own = installed(json!({}));
    own.other_namespaces = namespaces(&["ns-of-operand"]);
    assert!(decide(&own).warnings.is_empty(), "the operator's own Deployment");
}

#[test]
fn the_warning_changes_no_condition_and_names_few_namespaces() {
    let mut observed = with_deployment(installed(json!({})), rolled_out());
    let names: Vec<String> = (0..1000).map(|number| format!("project-{number:04}")).collect();
    observed.other_namespaces = names.into_iter().collect();
    let operator = observed.operator.clone().unwrap();
    let status = status(&settings(), &observed, &decide(&observed), &[], &operator, &Time(now())).status;
    for (kind, expected) in [("Available", "True"), ("Progressing", "False"), ("Degraded", "False")] {
        let condition = status.conditions.iter().find(|condition| condition.type_ == kind).unwrap();
        assert_eq!(condition.status, expected, "{kind}");
        if kind == "Degraded" {
            let message = condition.message.as_deref().unwrap();
            assert!(message.contains("project-0000, project-0001, project-0002 and 997 more"), "{message}");
            assert!(message.len() < 400, "{message}");
        }
    }
}

#[test]
fn a_controller_with_the_cluster_role_is_a_conflict() {
    let mut observed = ready_to_install(json!({}));
    observed.objects.extend([binding("jobset-system")]);
    assert_eq!(reasons(&decide(&observed)), [""; 0], "a binding without a controller is a remainder");
    observed.other_namespaces = namespaces(&["jobset-system"]);
    assert_conflict(
        &decide(&observed),
        &[
            "ClusterRoleBinding jobset-manager-rolebinding gives rights to the controller in namespace jobset-system",
            "--namespace jobset-system deployment/jobset-controller-manager",
        ],
    );
    observed.other_namespaces = namespaces(&["another-project"]);
    assert_eq!(reasons(&decide(&observed)), [""; 0]);
    // The Go operator, or an operand in the operator's namespace.
    let mut same = ready_to_install(json!({}));
    same.objects.extend([binding("ns-of-operand")]);
    same.other_namespaces = namespaces(&["ns-of-operand"]);
    assert_eq!(reasons(&decide(&same)), [""; 0]);
}

#[test]
fn changed_subjects_of_the_operators_binding_are_drift() {
    let mut observed = installed(json!({}));
    change_contents(&mut observed, binding("jobset-system"));
    observed.other_namespaces = namespaces(&["jobset-system"]);
    let plan = decide(&observed);
    assert_eq!(reasons(&plan), [""; 0]);
    assert!(applies(&plan, "ClusterRoleBinding"));
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
    change_contents(&mut observed, foreign_webhooks("jobset-system"));
    let plan = decide(&observed);
    assert_eq!(reasons(&plan), [""; 0]);
    assert!(applies(&plan, VALIDATING));
}

/// Gives an object of the operator the contents of another one.
fn change_contents(observed: &mut Observed, (key, other): (ObjectKey, Live)) {
    let live = observed.objects.get_mut(&key).unwrap();
    let mut object = (*live.object).clone();
    object.data = other.object.data.clone();
    live.object = Arc::new(object);
}

/// After `kubectl delete jobsetoperator cluster --cascade=orphan`, the JobSet project's manifests replace webhooks and
/// bindings, with their labels. The field manager of the operator stays.
#[test]
fn another_installation_that_took_over_an_orphaned_operand_is_a_conflict() {
    for (key, other) in [foreign_webhooks("jobset-system"), binding("jobset-system")] {
        let mut observed = installed(json!({}));
        observed.other_namespaces = namespaces(&["jobset-system"]);
        observed.objects.insert(key, applied((*other.object).clone()));
        assert_conflict(&decide(&observed), &["namespace jobset-system"]);
    }
}
