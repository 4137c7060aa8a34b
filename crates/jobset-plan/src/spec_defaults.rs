//! Applies the defaults of admission in memory. [`crate::plan()`] reads every JobSet as if admission had defaulted it.
//!
//! If a user creates a JobSet while no webhook is registered, for example between an uninstallation and the next
//! installation, the API server stores it without these defaults. The rules are those of [`crate::defaulting`]; a test
//! compares the two. The controller never writes the stored spec.

use crate::defaulting;
use jobset_api::{
    JobSet, JobSetSpec,
    jobset::{
        Operator, StartupPolicy, StartupPolicyOrder, SuccessPolicy, VolumeClaimPolicy,
        VolumeClaimRetentionPolicy,
    },
};
use k8s_openapi::api::core::v1::PodSpec;
use std::borrow::Cow;

/// The JobSet with its defaults. A JobSet that has all of them is not copied.
pub(crate) fn applied_to(jobset: &JobSet) -> Cow<'_, JobSet> {
    if is_complete(&jobset.spec) {
        return Cow::Borrowed(jobset);
    }
    let mut jobset = jobset.clone();
    complete(&mut jobset.spec);
    Cow::Owned(jobset)
}

fn is_complete(spec: &JobSetSpec) -> bool {
    let jobs = || spec.replicated_jobs.iter().filter_map(|rj| rj.template.spec.as_ref());
    spec.success_policy.is_some()
        && spec.startup_policy.is_some()
        && jobs().all(|job| job.completion_mode.is_some())
        && jobs().filter_map(|job| job.template.spec.as_ref()).all(has_restart_policy)
        && spec.network.as_ref().is_some_and(|network| {
            network.enable_dns_hostnames.is_some() && network.publish_not_ready_addresses.is_some()
        })
        && spec.failure_policy.iter().flat_map(|policy| &policy.rules).all(|rule| !rule.name.is_empty())
        && spec.volume_claim_policies.iter().all(|policy| policy.retention_policy.is_some())
}

fn has_restart_policy(pod: &PodSpec) -> bool {
    pod.restart_policy.as_ref().is_some_and(|policy| !policy.is_empty())
}

fn complete(spec: &mut JobSetSpec) {
    let all = || SuccessPolicy { operator: Operator::All, target_replicated_jobs: Vec::new() };
    spec.success_policy.get_or_insert_with(all);
    let any_order = || StartupPolicy { startup_policy_order: StartupPolicyOrder::AnyOrder };
    spec.startup_policy.get_or_insert_with(any_order);
    spec.replicated_jobs.iter_mut().for_each(defaulting::fill_in);
    let network = spec.network.get_or_insert_default();
    network.enable_dns_hostnames.get_or_insert(true);
    network.publish_not_ready_addresses.get_or_insert(true);
    let rules = spec.failure_policy.iter_mut().flat_map(|policy| &mut policy.rules).enumerate();
    for (index, rule) in rules.filter(|(_, rule)| rule.name.is_empty()) {
        rule.name = format!("failurePolicyRule{index}");
    }
    for VolumeClaimPolicy { retention_policy, .. } in &mut spec.volume_claim_policies {
        retention_policy.get_or_insert_with(VolumeClaimRetentionPolicy::default);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Gates;
    use serde_json::{Value, json};

    /// The JobSet as admission would store it.
    fn admitted(jobset: &Value) -> JobSet {
        let mut jobset = jobset.clone();
        for default in defaulting::defaults(&jobset, &Gates::default()) {
            let (parent, field) = default.path.rsplit_once('/').unwrap();
            jobset.pointer_mut(parent).unwrap()[field] = default.value;
        }
        serde_json::from_value(jobset).unwrap()
    }

    #[test]
    fn planner_and_admission_apply_the_same_defaults() {
        let pod = json!({"spec": {"containers": []}});
        let never = json!({"spec": {"containers": [], "restartPolicy": "Never"}});
        let empty = json!({"spec": {"containers": [], "restartPolicy": ""}});
        let jobs = |template: &Value| json!([{"name": "w", "template": template}]);
        let complete = json!({
            "successPolicy": {"operator": "Any"},
            "startupPolicy": {"startupPolicyOrder": "InOrder"},
            "network": {"enableDNSHostnames": false, "publishNotReadyAddresses": false},
            "replicatedJobs": jobs(&json!({"spec": {"completionMode": "NonIndexed", "template": never}})),
            "failurePolicy": {"rules": [{"name": "first", "action": "FailJobSet"}]},
            "volumeClaimPolicies": [{"templates": [], "retentionPolicy": {"whenDeleted": "Retain"}}],
        });
        let with = |field: &str, value: Value| {
            let mut spec = complete.clone();
            spec[field] = value;
            spec
        };
        for (spec, lacks) in [
            (json!({}), true),
            (complete.clone(), false),
            (with("successPolicy", json!(null)), true),
            (with("startupPolicy", json!(null)), true),
            (with("network", json!(null)), true),
            (with("network", json!({})), true),
            (with("network", json!({"enableDNSHostnames": true})), true),
            (with("network", json!({"publishNotReadyAddresses": true, "subdomain": "net"})), true),
            (with("replicatedJobs", json!([])), false),
            (with("replicatedJobs", jobs(&json!({}))), false),
            (with("replicatedJobs", jobs(&json!({"spec": {"template": never}}))), true),
            (
                with("replicatedJobs", jobs(&json!({"spec": {"completionMode": "Indexed", "template": {}}}))),
                false,
            ),
            (
                with(
                    "replicatedJobs",
                    jobs(&json!({"spec": {"completionMode": "Indexed", "template": pod}})),
                ),
                true,
            ),
            (
                with(
                    "replicatedJobs",
                    jobs(&json!({"spec": {"completionMode": "Indexed", "template": empty}})),
                ),
                true,
            ),
            (with("failurePolicy", json!({})), false),
            (
                with(
                    "failurePolicy",
                    json!({"rules": [{"name": "a"}, {"name": ""}, {"action": "FailJobSet"}]}),
                ),
                true,
            ),
            (with("volumeClaimPolicies", json!([{"templates": [{"spec": {}}]}])), true),
        ] {
            let stored = json!({"metadata": {"name": "train"}, "spec": spec});
            let jobset: JobSet = serde_json::from_value(stored.clone()).unwrap();
            let planned = applied_to(&jobset);
            assert_eq!(*planned, admitted(&stored), "{spec}");
            assert_eq!(matches!(planned, Cow::Owned(_)), lacks, "{spec}");
            assert!(matches!(applied_to(&planned), Cow::Borrowed(_)), "{spec}");
        }
    }
}
