//! The controller's RBAC rules are minimal: the API server denied no request of this suite, and every rule was used.

use std::sync::Arc;

use anyhow::{Result, ensure};
use jobset_tests::rbac::{self, Grant};

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
    ("scheduling.k8s.io/podgroups", "for gang scheduling, which this control plane does not serve"),
    ("scheduling.k8s.io/workloads", "for gang scheduling, which this control plane does not serve"),
    ("update jobset.x-k8s.io/jobsets/finalizers", "for blockOwnerDeletion, which only OpenShift checks"),
    ("get /services", "only after the response to a creation was lost"),
    ("patch batch/jobs/status", "only if the Job controller suspends a Job slowly"),
];

pub(crate) async fn granted_rules_suffice_and_are_all_used(suite: Arc<Integration>) -> Result<()> {
    check(&suite, |_| true, NOT_USED_HERE).await
}

/// The same for the rules of Workloads and PodGroups, on a cluster with gang scheduling.
pub(crate) async fn gang_scheduling_rules_suffice_and_are_all_used(suite: Arc<Integration>) -> Result<()> {
    check(&suite, |(_, kind)| kind.starts_with("scheduling.k8s.io/"), &[]).await
}

/// Checks the requests that RBAC denied, and the rules of a selection of resources.
async fn check(
    suite: &Integration,
    is_selected: impl Fn(&Grant) -> bool,
    not_used: &[(&str, &str)],
) -> Result<()> {
    let user = suite.controller.user();
    let (requests, denied) = rbac::requests(&suite.cluster.cluster().audit(), user)?;
    ensure!(denied.is_empty(), "requests that RBAC denied:\n{}", denied.join("\n"));
    // A selection of tests uses only few rules.
    if std::env::args().len() > 1 {
        return Ok(());
    }
    let mut granted = rbac::granted(&suite.client, user).await?;
    granted.retain(is_selected);
    ensure!(!granted.is_empty(), "no rule is for these resources");
    let unused = rbac::unused(&granted, &requests, not_used);
    ensure!(unused.is_empty(), "rules that no request used:\n{}", unused.join("\n"));
    Ok(())
}
