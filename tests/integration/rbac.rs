//! The controller's RBAC rules are minimal: the API server denied no request of this suite, and every rule was used.

use std::sync::Arc;

use anyhow::{Result, ensure};
use jobset_tests::rbac;

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
    let user = suite.controller.user();
    let (requests, denied) = rbac::requests(&suite.cluster.cluster().audit(), user)?;
    ensure!(denied.is_empty(), "requests that RBAC denied:\n{}", denied.join("\n"));
    // A selection of tests uses only few rules.
    if std::env::args().len() > 1 {
        return Ok(());
    }
    let unused = rbac::unused(&rbac::granted(&suite.client, user).await?, &requests, NOT_USED_HERE);
    ensure!(unused.is_empty(), "rules that no request used:\n{}", unused.join("\n"));
    Ok(())
}
