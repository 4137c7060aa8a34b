//! What the controller may do is what it does: no request of the whole suite was refused, and no right is left over.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Result, ensure};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, Subject};
use kube::api::{Api, ListParams};

use crate::Integration;

/// Rights that this suite cannot show to be needed, by verb and kind or by kind alone, and why they are.
const NOT_USED_HERE: &[(&str, &str)] = &[
    ("coordination.k8s.io/leases", "one controller needs no election: suite failover"),
    ("/secrets", "the controller is given certificates here: suite failover"),
    ("admissionregistration.k8s.io/mutatingwebhookconfigurations", "the same"),
    ("admissionregistration.k8s.io/validatingwebhookconfigurations", "the same"),
    ("update jobset.x-k8s.io/jobsets/finalizers", "only OpenShift asks for it"),
    ("get /services", "only when the answer to a creation was lost"),
    ("patch batch/jobs/status", "only when the Job controller is slow to suspend"),
];

pub(crate) async fn suffice_and_are_all_used(suite: Arc<Integration>) -> Result<()> {
    let audit = suite.cluster.cluster().audit();
    let mut refused = Vec::new();
    let mut used = BTreeSet::new();
    audit.for_each(|entry| {
        if entry.user.username != suite.controller.user() {
            return;
        }
        if entry.is_forbidden() {
            refused.push(format!("{} {}", entry.verb, entry.request_uri));
        }
        if let Some(object) = entry.object_ref {
            let slash = if object.subresource.is_empty() { "" } else { "/" };
            used.insert((
                entry.verb,
                format!("{}/{}{slash}{}", object.api_group, object.resource, object.subresource),
            ));
        }
    })?;
    ensure!(!used.is_empty(), "the audit log knows of no request of {}", suite.controller.user());
    ensure!(refused.is_empty(), "refused for want of a right:\n{}", refused.join("\n"));

    // A single test needs few of them.
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
    let left_over: BTreeSet<_> = grants
        .filter(|grant| !used.contains(grant))
        .map(|(verb, kind)| (format!("{verb} {kind}"), kind))
        .filter(|(grant, kind)| !NOT_USED_HERE.iter().any(|(known, _)| known == grant || known == kind))
        .map(|(grant, _)| grant)
        .collect();
    ensure!(left_over.is_empty(), "rights that nothing needs:\n{}", Vec::from_iter(left_over).join("\n"));
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
