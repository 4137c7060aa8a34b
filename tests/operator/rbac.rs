//! The operator's RBAC rules are minimal: the API server denied no request of this suite, and every rule was used that is
//! not only there to be granted to others.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Result, ensure};
use jobset_tests::objects::{kind, read_folder, repository};
use jobset_tests::rbac;
use k8s_openapi::api::rbac::v1::PolicyRule;

use crate::Suite;

/// Rules that this suite does not use, by verb, by resource, or by both, and why the operator needs them.
const NOT_USED_HERE: &[(&str, &str)] = &[
    ("create", "server-side apply sends the verb patch, and the API server requires create for a new object"),
    ("get", "only before the operator recreates an object"),
    ("delete monitoring.coreos.com/prometheusrules", "only with managementState Removed"),
    ("delete monitoring.coreos.com/servicemonitors", "only with managementState Removed"),
];

pub(crate) async fn granted_rules_suffice_and_are_all_used(suite: Arc<Suite>) -> Result<()> {
    let user = suite.operator.user();
    let (requests, denied) = rbac::requests(&suite.cluster.cluster().audit(), &user)?;
    ensure!(denied.is_empty(), "requests that RBAC denied:\n{}", denied.join("\n"));
    // A selection of tests uses only few rules.
    if std::env::args().len() > 1 {
        return Ok(());
    }
    let granted = rbac::granted(&suite.client, &user).await?;
    let own: BTreeSet<_> = granted.difference(&to_grant()?).cloned().collect();
    let unused = rbac::unused(&own, &requests, NOT_USED_HERE);
    ensure!(unused.is_empty(), "rules that no request used:\n{}", unused.join("\n"));
    Ok(())
}

/// The permissions that the operator needs only to grant them: those of the operand, of Prometheus, and of users.
fn to_grant() -> Result<BTreeSet<rbac::Grant>> {
    let mut rules = vec![PolicyRule {
        api_groups: Some(vec![String::new(), "discovery.k8s.io".into()]),
        resources: Some(["services", "endpoints", "pods", "endpointslices"].map(str::to_owned).into()),
        verbs: ["get", "list", "watch"].map(str::to_owned).into(),
        ..PolicyRule::default()
    }];
    for object in read_folder(&repository().join("manifests/controller"))? {
        if ["ClusterRole", "Role"].contains(&kind(&object)) {
            rules.extend(serde_json::from_value::<Vec<PolicyRule>>(object.data["rules"].clone())?);
        }
    }
    Ok(rbac::grants(rules))
}
