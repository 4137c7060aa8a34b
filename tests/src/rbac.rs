//! Compares the permissions of a program with the requests that it sent.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use devcluster::AuditLog;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, Subject};
use kube::Client;
use kube::api::{Api, ListParams};

/// A verb and the resource, as `group/resource` or `group/resource/subresource`.
pub type Grant = (String, String);

/// The verbs and resources of all requests of a user, and the requests that RBAC denied.
pub fn requests(log: &AuditLog, user: &str) -> Result<(BTreeSet<Grant>, Vec<String>)> {
    let mut denied = Vec::new();
    let mut sent = BTreeSet::new();
    log.for_each(|entry| {
        if entry.user.username != user {
            return;
        }
        if entry.is_forbidden() {
            denied.push(format!("{} {}", entry.verb, entry.request_uri));
        }
        if let Some(object) = entry.object_ref {
            let slash = if object.subresource.is_empty() { "" } else { "/" };
            let resource = format!("{}/{}{slash}{}", object.api_group, object.resource, object.subresource);
            sent.insert((entry.verb, resource));
        }
    })?;
    ensure!(!sent.is_empty(), "the audit log contains no request of {user}");
    Ok((sent, denied))
}

/// The grants of all roles that are bound to a user.
pub async fn granted(client: &Client, user: &str) -> Result<BTreeSet<Grant>> {
    let is_bound = |subjects: Option<Vec<Subject>>| {
        let names = subjects.into_iter().flatten().map(|subject| {
            format!("system:serviceaccount:{}:{}", subject.namespace.unwrap_or_default(), subject.name)
        });
        names.into_iter().any(|name| name == user)
    };
    let all = ListParams::default();
    let cluster_roles: Api<ClusterRole> = Api::all(client.clone());
    let mut rules = Vec::new();
    for binding in Api::<ClusterRoleBinding>::all(client.clone()).list(&all).await? {
        if is_bound(binding.subjects) {
            rules.extend(cluster_roles.get(&binding.role_ref.name).await?.rules.into_iter().flatten());
        }
    }
    for binding in Api::<RoleBinding>::all(client.clone()).list(&all).await? {
        let namespace = binding.metadata.namespace.unwrap_or_default();
        if is_bound(binding.subjects) {
            let in_namespace: Api<Role> = Api::namespaced(client.clone(), &namespace);
            rules.extend(in_namespace.get(&binding.role_ref.name).await?.rules.into_iter().flatten());
        }
    }
    ensure!(!rules.is_empty(), "no role is bound to {user}");
    Ok(grants(rules))
}

/// The grants of these rules.
pub fn grants(rules: impl IntoIterator<Item = PolicyRule>) -> BTreeSet<Grant> {
    let grants_of = |rule: PolicyRule| {
        let groups = rule.api_groups.into_iter().flatten();
        let resources: Vec<_> = rule.resources.into_iter().flatten().collect();
        let kinds: Vec<_> = groups
            .flat_map(|group| resources.iter().map(move |resource| format!("{group}/{resource}")))
            .collect();
        rule.verbs
            .into_iter()
            .flat_map(move |verb| kinds.clone().into_iter().map(move |kind| (verb.clone(), kind)))
    };
    rules.into_iter().flat_map(grants_of).collect()
}

/// The grants that no request used, except for the known ones: a verb, a resource, or `verb resource`.
pub fn unused(granted: &BTreeSet<Grant>, used: &BTreeSet<Grant>, known: &[(&str, &str)]) -> Vec<String> {
    granted
        .difference(used)
        .map(|(verb, kind)| [format!("{verb} {kind}"), verb.clone(), kind.clone()])
        .filter(|names| !known.iter().any(|(known, _)| names.iter().any(|name| name == known)))
        .map(|[grant, _, _]| grant)
        .collect()
}
