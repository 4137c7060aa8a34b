//! Service accounts, roles and bindings, built from the table in [`crate::rbac`].

use crate::names;
use crate::rbac::{
    OPERAND_CLUSTER_ROLES, OPERAND_ROLES, OperandRole, PROMETHEUS_ROLE, Rule, USER_ROLES, UserRole,
};
use jobset_api::jobset_operator::PrometheusServer;
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::api::{ApiResource, DynamicObject};
use serde_json::{Value, json};

/// ServiceAccount, roles and bindings of the operand, and of the Prometheus servers that scrape it. Subjects without a
/// namespace get the operand's namespace. `is_enabled`: whether a feature gate of the operand is enabled.
pub(super) fn operand(
    internal_certificates: bool,
    is_enabled: impl Fn(&str) -> bool,
    prometheus: &[PrometheusServer],
) -> Vec<DynamicObject> {
    // Explicit, so that the operator repairs a change: without a token, no new pod of the operand starts.
    let account = service_account(names::OPERAND).data(json!({"automountServiceAccountToken": true}));
    let mut all = vec![account];
    let operand_subject = [json!({"kind": "ServiceAccount", "name": names::OPERAND})];
    let prometheus_subjects: Vec<Value> = prometheus
        .iter()
        .map(|server| {
            json!({"kind": "ServiceAccount", "name": server.service_account, "namespace": server.namespace})
        })
        .collect();
    let needed = |role: &OperandRole| {
        role.needed_rules(internal_certificates, &is_enabled).copied().collect::<Vec<_>>()
    };
    for (kind, roles) in [("ClusterRole", OPERAND_CLUSTER_ROLES), ("Role", OPERAND_ROLES)] {
        let roles: Vec<_> = roles.iter().filter(|role| !needed(role).is_empty()).collect();
        all.extend(roles.iter().map(|role| role_object(kind, role.name, &needed(role))));
        all.extend(roles.iter().map(|role| {
            let readers =
                if role.name == names::METRICS_READER_ROLE { prometheus_subjects.as_slice() } else { &[] };
            binding(kind, role.binding, role.name, &[&operand_subject, readers].concat())
        }));
    }
    if !prometheus_subjects.is_empty() {
        let role = PROMETHEUS_ROLE;
        all.push(role_object("Role", role.name, role.rules));
        all.push(binding("Role", role.binding, role.name, &prometheus_subjects));
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
pub(super) fn binding(role_kind: &str, name: &str, role: &str, subjects: &[Value]) -> DynamicObject {
    let kind = format!("{role_kind}Binding");
    DynamicObject::new(name, &resource("rbac.authorization.k8s.io", &kind)).data(json!({
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role},
        "subjects": subjects,
    }))
}

fn resource(group: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(group, "v1", kind))
}
