//! The pods of a previous installation in the operator's namespace, for example of OpenShift's Go operator.
//!
//! The first rollout replaces them. Until it is complete they answer admission requests, also if the image of the new
//! pods cannot be pulled. They keep the permissions that they need.

use super::operand_state::OperandState;
use crate::names;
use crate::observe::{Live, ObjectKey, Observed};
use crate::rbac::{OPERAND_CLUSTER_ROLES, OPERAND_ROLES, covers};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::api::DynamicObject;
use serde_json::json;
use std::collections::BTreeSet;

/// Whether pods of a previous installation may answer requests, for example those of OpenShift's Go operator. The first
/// rollout of this operator replaces them.
fn may_serve(observed: &Observed) -> bool {
    let live = observed.get("Deployment", names::OPERAND);
    match (live, OperandState::of(observed)) {
        (Some(live), Some(state)) if is_own(live) => {
            state.available > 0 && !(state.is_rolled_out() && observed.ending_pods == 0)
        }
        (_, Some(state)) => state.available > 0,
        // The operator deleted the Deployment to recreate it, and its pods continue to run.
        (_, None) => observed.running_pods > 0,
    }
}

/// The roles and bindings that the operator must not change or delete yet: another client wrote them, and the role
/// grants more than the desired one, if any. The pods of a previous installation need these permissions until they end.
/// The operator cannot grant them itself, because it does not have them, and Kubernetes then also rejects a change of
/// the binding.
pub(super) fn needed_roles(observed: &Observed, desired: &[DynamicObject]) -> BTreeSet<ObjectKey> {
    if !may_serve(observed) {
        return BTreeSet::new();
    }
    let grants_more = |role: &ObjectKey| {
        let live = observed.objects.get(role).filter(|live| !is_own(live));
        let desired = desired.iter().find(|object| ObjectKey::of(object) == *role);
        let rules = live.and_then(|live| rules(&live.object)).zip(desired.and_then(rules));
        rules.is_some_and(|(live, desired)| !covers(&desired, &live))
    };
    let with_role = |binding: &DynamicObject| {
        let reference = |field: &str| binding.data.get("roleRef")?.get(field)?.as_str();
        Some([ObjectKey::new(reference("kind")?, reference("name")?), ObjectKey::of(binding)])
    };
    let is_undesired = |(key, live): &(&ObjectKey, &Live)| {
        ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"].contains(&key.kind.as_str())
            && !is_own(live)
            && desired.iter().all(|object| ObjectKey::of(object) != **key)
    };
    let undesired = observed.objects.iter().filter(is_undesired).map(|(key, _)| key.clone());
    desired
        .iter()
        .filter_map(with_role)
        .filter(|[role, binding]| observed.objects.contains_key(binding) && grants_more(role))
        .flatten()
        .chain(undesired)
        .collect()
}

/// Keeps the rules of feature gates in the desired roles until the last pod that may have the gate has ended. The leader
/// needs them during the rollout that disables the gate.
pub(super) fn keep_rules_of_gates(observed: &Observed, desired: &mut [DynamicObject]) {
    let Some(state) = OperandState::of(observed) else { return };
    let deployment = ObjectKey::new("Deployment", names::OPERAND);
    let hash = desired.iter().find(|object| ObjectKey::of(object) == deployment).and_then(|object| {
        let annotations = object.data.pointer("/spec/template/metadata/annotations")?;
        annotations.get(names::CONFIG_HASH)?.as_str()
    });
    let is_current = state.annotations.get(names::CONFIG_HASH).map(String::as_str) == hash;
    if is_current && state.is_rolled_out() && observed.ending_pods == 0 {
        return;
    }
    for (kind, roles) in [("ClusterRole", OPERAND_CLUSTER_ROLES), ("Role", OPERAND_ROLES)] {
        for role in roles {
            let key = ObjectKey::new(kind, role.name);
            let live = observed.objects.get(&key).and_then(|live| rules(&live.object)).unwrap_or_default();
            let Some(object) = desired.iter_mut().find(|object| ObjectKey::of(object) == key) else {
                continue;
            };
            let wanted = rules(object).unwrap_or_default();
            let kept = role.rules.iter().filter(|rule| {
                let rule_alone = [PolicyRule::from(*rule)];
                covers(&wanted, &rule_alone) || rule.feature_gate.is_some() && covers(&live, &rule_alone)
            });
            let kept: Vec<PolicyRule> = kept.map(PolicyRule::from).collect();
            if kept.len() > wanted.len()
                && let Some(data) = object.data.as_object_mut()
            {
                data.insert("rules".to_owned(), json!(kept));
            }
        }
    }
}

fn rules(role: &DynamicObject) -> Option<Vec<PolicyRule>> {
    serde_json::from_value(role.data.get("rules")?.clone()).ok()
}

/// Whether this operator was the last of the installations that wrote the object. Each sets the label. The field
/// manager proves less: it stays when another installation takes the object over.
fn is_own(live: &Live) -> bool {
    live.has_operator_label()
}

/// Whether cert-manager would issue the certificate that the pods read again, from another issuer. The Go operator uses
/// a self-signed one.
pub(super) fn read_next_certificate(live: &Live, desired: &DynamicObject) -> bool {
    const ISSUER: &str = "/spec/issuerRef/name";
    let issuers = live.object.data.pointer(ISSUER).zip(desired.data.pointer(ISSUER));
    issuers.is_some_and(|(live, desired)| live != desired)
}
