//! Service accounts, roles and bindings, built from the table in [`crate::rbac`].

use crate::names;
use crate::rbac::{OPERAND_CLUSTER_ROLES, OPERAND_ROLES, PROMETHEUS_ROLE, Rule, USER_ROLES, UserRole};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::api::{ApiResource, DynamicObject};
use serde_json::json;

/// ServiceAccount, roles and bindings of the operand and, with a monitoring namespace, of its Prometheus. Subjects
/// without a namespace get the operand's namespace.
pub(super) fn operand(monitoring_namespace: Option<&str>) -> Vec<DynamicObject> {
    // Explicit, so that the operator repairs a change: without a token, no new pod of the operand starts.
    let account = service_account(names::OPERAND).data(json!({"automountServiceAccountToken": true}));
    let mut all = vec![account];
    all.extend(OPERAND_CLUSTER_ROLES.iter().map(|role| role_object("ClusterRole", role.name, role.rules)));
    let subjects = || json!([{"kind": "ServiceAccount", "name": names::OPERAND}]);
    all.extend(
        OPERAND_CLUSTER_ROLES.iter().map(|role| binding("ClusterRole", role.binding, role.name, &subjects())),
    );
    all.extend(OPERAND_ROLES.iter().map(|role| role_object("Role", role.name, role.rules)));
    all.extend(OPERAND_ROLES.iter().map(|role| binding("Role", role.binding, role.name, &subjects())));
    if let Some(namespace) = monitoring_namespace {
        let prometheus = json!([
            {"kind": "ServiceAccount", "name": "prometheus-k8s", "namespace": namespace},
            {"kind": "ServiceAccount", "name": "prometheus-operator", "namespace": namespace},
        ]);
        let role = PROMETHEUS_ROLE;
        all.push(role_object("Role", role.name, role.rules));
        all.push(binding("Role", role.binding, role.name, &prometheus));
    }
    all.extend(USER_ROLES.iter().map(user_role));
    for object in &mut all {
        let labels = object.metadata.labels.get_or_insert_default();
        labels.insert("app.kubernetes.io/component".to_owned(), "rbac".to_owned());
    }
    all
}

/// A role for users. Kubernetes adds its rules to the roles that its labels name.
fn user_role(role: &UserRole) -> DynamicObject {
    let mut object = role_object("ClusterRole", role.name, role.rules);
    let labels = object.metadata.labels.get_or_insert_default();
    for aggregate_to in role.aggregate_to {
        labels.insert(format!("rbac.authorization.k8s.io/aggregate-to-{aggregate_to}"), "true".to_owned());
    }
    object
}

/// A ServiceAccount.
pub(super) fn service_account(name: &str) -> DynamicObject {
    DynamicObject::new(name, &resource("", "ServiceAccount"))
}

/// A Role or `ClusterRole`.
pub(super) fn role_object(kind: &str, name: &str, rules: &[Rule]) -> DynamicObject {
    let rules: Vec<PolicyRule> = rules.iter().map(PolicyRule::from).collect();
    DynamicObject::new(name, &resource("rbac.authorization.k8s.io", kind)).data(json!({ "rules": rules }))
}

/// The binding of a Role or `ClusterRole` to subjects.
pub(super) fn binding(
    role_kind: &str,
    name: &str,
    role: &str,
    subjects: &serde_json::Value,
) -> DynamicObject {
    let kind = format!("{role_kind}Binding");
    DynamicObject::new(name, &resource("rbac.authorization.k8s.io", &kind)).data(json!({
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role},
        "subjects": subjects,
    }))
}

fn resource(group: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(group, "v1", kind))
}
