//! The controller's RBAC rules are minimal: the API server denied no request of this suite, and every rule was used.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Result, ensure};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, Subject};
use kube::api::{Api, ListParams};

use crate::Integration;

/// Rules that this suite does not use, by verb and resource or by resource alone, and why the controller needs them.
const NOT_USED_HERE: &[(&str, &str)] = &[
    ("coordination.k8s.io/leases", "for leader election, which suite failover tests"),
    ("/secrets", "for certificates, which suite failover tests"),
    (
        "admissionregistration.k8s.io/mutatingwebhookconfigurations",
        "for certificates, which suite failover tests",
    ),
    (
        "admissionregistration.k8s.io/validatingwebhookconfigurations",
        "for certificates, which suite failover tests",
    ),
    ("update jobset.x-k8s.io/jobsets/finalizers", "for blockOwnerDeletion, which only OpenShift checks"),
    ("get /services", "only after the response to a creation was lost"),
    ("patch batch/jobs/status", "only if the Job controller suspends a Job slowly"),
];

pub(crate) async fn granted_rules_suffice_and_are_all_used(suite: Arc<Integration>) -> Result<()> {
    let audit = suite.cluster.cluster().audit();
    let mut denied = Vec::new();
    let mut used = BTreeSet::new();
    audit.for_each(|entry| {
        if entry.user.username != suite.controller.user() {
            return;
        }
        if entry.is_forbidden() {
            denied.push(format!("{} {}", entry.verb, entry.request_uri));
        }
        if let Some(object) = entry.object_ref {
            let slash = if object.subresource.is_empty() { "" } else { "/" };
            used.insert((
                entry.verb,
                format!("{}/{}{slash}{}", object.api_group, object.resource, object.subresource),
            ));
        }
    })?;
    ensure!(!used.is_empty(), "the audit log contains no request of {}", suite.controller.user());
    ensure!(denied.is_empty(), "requests that RBAC denied:\n{}", denied.join("\n"));

    // A selection of tests uses only few rules.
    if std::env::args().len() > 1 {
        return Ok(());
    }
    let grants = granted(&suite).await?.into_iter().flat_map(|rule| {
        let groups = rule.api_groups.into_iter().flatten();
        let resources: Vec<_> = rule.resources.into_iter().flatten().collect();
        let kinds: Vec<_> = groups
            .flat_map(|group| resources.iter().map(move |resource| format!("{group}/{resource}")))
            .collect();
        rule.verbs
            .into_iter()
            .flat_map(move |verb| kinds.clone().into_iter().map(move |kind| (verb.clone(), kind)))
    });
    let unused: BTreeSet<_> = grants
        .filter(|grant| !used.contains(grant))
        .map(|(verb, kind)| (format!("{verb} {kind}"), kind))
        .filter(|(grant, kind)| !NOT_USED_HERE.iter().any(|(known, _)| known == grant || known == kind))
        .map(|(grant, _)| grant)
        .collect();
    ensure!(unused.is_empty(), "rules that no request used:\n{}", Vec::from_iter(unused).join("\n"));
    Ok(())
}

/// The rules of all roles that are bound to the controller's service account.
async fn granted(suite: &Integration) -> Result<Vec<PolicyRule>> {
    let user = suite.controller.user();
    let is_bound = |subjects: Option<Vec<Subject>>| {
        let names = subjects.into_iter().flatten().map(|subject| {
            format!("system:serviceaccount:{}:{}", subject.namespace.unwrap_or_default(), subject.name)
        });
        names.into_iter().any(|name| name == user)
    };
    let all = ListParams::default();
    let cluster_roles: Api<ClusterRole> = Api::all(suite.client.clone());
    let mut rules = Vec::new();
    for binding in Api::<ClusterRoleBinding>::all(suite.client.clone()).list(&all).await? {
        if is_bound(binding.subjects) {
            rules.extend(cluster_roles.get(&binding.role_ref.name).await?.rules.into_iter().flatten());
        }
    }
    for binding in Api::<RoleBinding>::all(suite.client.clone()).list(&all).await? {
        let namespace = binding.metadata.namespace.unwrap_or_default();
        if is_bound(binding.subjects) {
            let in_namespace: Api<Role> = Api::namespaced(suite.client.clone(), &namespace);
            rules.extend(in_namespace.get(&binding.role_ref.name).await?.rules.into_iter().flatten());
        }
    }
    ensure!(!rules.is_empty(), "no role is bound to {user}");
    Ok(rules)
}
