//! JobSet, `jobset.x-k8s.io/v1alpha2`: a group of Jobs that runs as one unit.

use crate::{JobSetStatus, metadata::without_managed_fields, open_enum, scheduling::Scheduling, schema};
use k8s_openapi::{
    api::{batch::v1::JobTemplateSpec, core::v1::PersistentVolumeClaim},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// API group of JobSet.
pub const GROUP: &str = "jobset.x-k8s.io";
/// The only version of JobSet.
pub const VERSION: &str = "v1alpha2";
/// `apiVersion` of JobSet objects.
pub const API_VERSION: &str = "jobset.x-k8s.io/v1alpha2";
/// Kind of JobSet objects.
pub const KIND: &str = "JobSet";
/// Resource name of JobSet objects.
pub const PLURAL: &str = "jobsets";

/// A group of Jobs that runs as one unit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobSet {
    /// Standard object metadata.
    #[serde(default, deserialize_with = "without_managed_fields")]
    pub metadata: ObjectMeta,
    /// What the user wants.
    #[serde(default)]
    pub spec: JobSetSpec,
    /// What the controller observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<JobSetStatus>,
}

impl kube::Resource for JobSet {
    type DynamicType = ();
    type Scope = kube::core::NamespaceResourceScope;
    fn kind((): &()) -> Cow<'_, str> {
        KIND.into()
    }
    fn group((): &()) -> Cow<'_, str> {
        GROUP.into()
    }
    fn version((): &()) -> Cow<'_, str> {
        VERSION.into()
    }
    fn plural((): &()) -> Cow<'_, str> {
        PLURAL.into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// What the user wants of a JobSet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!(has(self.startupPolicy) && self.startupPolicy.startupPolicyOrder == 'InOrder' \
                 && has(self.replicatedJobs) && self.replicatedJobs.exists(x, has(x.dependsOn)))",
        "message": "StartupPolicy and DependsOn APIs are mutually exclusive",
    },
    {
        "rule": "!has(self.scheduling) \
                 || (has(self.scheduling.replicatedJobs) && size(self.scheduling.replicatedJobs) > 0) \
                 || !((has(self.startupPolicy) && self.startupPolicy.startupPolicyOrder == 'InOrder') \
                 || (has(self.replicatedJobs) \
                 && self.replicatedJobs.exists(x, has(x.dependsOn) && size(x.dependsOn) > 0)))",
        "message": "scheduling without replicatedJobs places all pods together, and cannot be set with DependsOn or \
                    InOrder startup: set scheduling.replicatedJobs",
        "fieldPath": ".scheduling",
    },
]))]
pub struct JobSetSpec {
    /// Templates of the Jobs in the JobSet. The controller creates `replicas` Jobs from each, with the names
    /// `<jobset>-<replicatedJob>-<index>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub replicated_jobs: Vec<ReplicatedJob>,
    /// Stable host names of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = schema::immutable()))]
    pub network: Option<Network>,
    /// When the JobSet is complete. By default, when every Job has completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = schema::immutable()))]
    pub success_policy: Option<SuccessPolicy>,
    /// What happens when a Job fails. By default, the JobSet fails with its first failed Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = schema::immutable()))]
    pub failure_policy: Option<FailurePolicy>,
    /// Order in which ReplicatedJobs start. Deprecated: use `replicatedJobs[].dependsOn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = schema::immutable()))]
    pub startup_policy: Option<StartupPolicy>,
    /// Suspends all Jobs while true. The pods of running Jobs are deleted. The value false resumes the Jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// The coordinator pod. Every Job and pod of the JobSet has its host name as a label and an annotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coordinator: Option<Coordinator>,
    /// The controller that manages this JobSet, as a domain-prefixed path. Defaults to the built-in controller,
    /// `jobset.sigs.k8s.io/jobset-controller`. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
    /// Seconds after which a finished JobSet is deleted, with its Jobs. By default, the JobSet stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ttl_seconds_after_finished: Option<i32>,
    /// Seconds that the JobSet may run before the controller fails it. Suspended time does not count. Requires the
    /// feature gate JobSetActiveDeadlineSeconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub active_deadline_seconds: Option<i64>,
    /// Which pods start together, and where. Requires the feature gate JobSetWorkloadAwareSchedulingAPI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling: Option<Scheduling>,
    /// Persistent volume claims that the JobSet's Jobs share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 50),
        extend("x-kubernetes-list-type" = "atomic", "x-kubernetes-validations" = schema::immutable())
    )]
    pub volume_claim_policies: Vec<VolumeClaimPolicy>,
}

impl JobSetSpec {
    /// Whether the user wants the JobSet to be suspended.
    pub fn is_suspended(&self) -> bool {
        self.suspend == Some(true)
    }
}

/// A Job template and its number of replicas.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["name", "template"]))]
pub struct ReplicatedJob {
    /// Name of this entry, part of the names of its Jobs; unique within the JobSet.
    #[serde(default)]
    pub name: String,
    /// Group of this entry. Each Job has its index within the group as a label.
    #[serde(default = "default_group_name")]
    pub group_name: String,
    /// Template of the Jobs.
    #[serde(default)]
    pub template: JobTemplateSpec,
    /// Number of Jobs to create.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 0))]
    pub replicas: i32,
    /// Earlier entries that must reach a state before Jobs of this one are created.
    // An empty list differs from an absent list: the first entry must not have dependencies, not even an empty list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 5),
        extend(
            "x-kubernetes-list-type" = "map",
            "x-kubernetes-list-map-keys" = ["name"],
            "x-kubernetes-validations" = schema::immutable()
        )
    )]
    pub depends_on: Option<Vec<DependsOn>>,
}

fn default_group_name() -> String {
    "default".to_owned()
}

fn default_replicas() -> i32 {
    1
}

/// A state that another ReplicatedJob must reach first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["name", "status"]))]
pub struct DependsOn {
    /// Name of the earlier ReplicatedJob.
    #[serde(default)]
    pub name: String,
    /// The state it must reach.
    #[serde(default = "DependsOnStatus::unset")]
    pub status: DependsOnStatus,
}

open_enum! {
    /// State of a ReplicatedJob that others can wait for.
    DependsOnStatus {
        /// All its Jobs are ready.
        Ready = "Ready",
        /// All its Jobs have completed.
        Complete = "Complete",
    }
}

impl DependsOnStatus {
    fn unset() -> Self {
        Self::Unknown(String::new())
    }
}

/// Stable host names of pods, by a headless Service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// Gives each pod the host name `<job>-<pod index>.<subdomain>`.
    #[serde(default, rename = "enableDNSHostnames", skip_serializing_if = "Option::is_none")]
    pub enable_dns_hostnames: Option<bool>,
    /// Name of the headless Service and last part of the host names. Defaults to the JobSet's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subdomain: Option<String>,
    /// Publishes the addresses of pods that are not ready yet, so that pods can find each other before they are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish_not_ready_addresses: Option<bool>,
}

/// When a JobSet is complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["operator"]))]
pub struct SuccessPolicy {
    /// How many of the targeted Jobs must complete.
    #[serde(default = "Operator::unset")]
    pub operator: Operator,
    /// ReplicatedJobs that count. Empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub target_replicated_jobs: Vec<String>,
}

open_enum! {
    /// How many Jobs must complete.
    Operator {
        /// Every Job.
        All = "All",
        /// At least one Job.
        Any = "Any",
    }
}

impl Operator {
    fn unset() -> Self {
        Self::Unknown(String::new())
    }
}

/// What happens when a Job of the set fails.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailurePolicy {
    /// Number of counted restarts that are allowed before the JobSet fails.
    #[serde(default, skip_serializing_if = "crate::is_default")]
    pub max_restarts: i32,
    /// How Jobs are recreated on a restart.
    #[serde(default)]
    pub restart_strategy: RestartStrategy,
    /// Rules in order of precedence. The first rule that matches a failed Job applies. If none matches, the JobSet
    /// restarts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<FailurePolicyRule>,
}

open_enum! {
    /// How Jobs are recreated on a restart.
    #[derive(Default)]
    RestartStrategy {
        /// Each Job is recreated as soon as its predecessor is gone.
        #[default]
        Recreate = "Recreate",
        /// No Job is recreated until all predecessors are gone.
        BlockingRecreate = "BlockingRecreate",
        /// Containers restart inside their pods, with the help of an agent.
        InPlaceRestart = "InPlaceRestart",
    }
}

/// The failed Jobs that a rule matches, and its action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["action", "name"]))]
pub struct FailurePolicyRule {
    /// Name of the rule, unique within the policy. Defaults to `failurePolicyRule<index>`.
    #[serde(default)]
    pub name: String,
    /// The action.
    #[serde(default = "FailurePolicyAction::unset")]
    pub action: FailurePolicyAction,
    /// Reasons of the Job's Failed condition that match. Empty matches any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_job_failure_reasons: Vec<String>,
    /// Regular expressions (RE2 syntax), one of which must be found in the message of the Job's Failed
    /// condition. Empty matches any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_job_failure_message_patterns: Vec<String>,
    /// ReplicatedJobs whose Jobs match. Empty matches all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub target_replicated_jobs: Vec<String>,
}

open_enum! {
    /// The action after a Job failed.
    FailurePolicyAction {
        /// Fail the JobSet immediately.
        FailJobSet = "FailJobSet",
        /// Recreate all Jobs, and count the restart towards `maxRestarts`.
        RestartJobSet = "RestartJobSet",
        /// Recreate all Jobs without counting the restart.
        RestartJobSetAndIgnoreMaxRestarts = "RestartJobSetAndIgnoreMaxRestarts",
        /// Recreate the failed Job, and count the restart towards `maxRestarts`.
        RestartJob = "RestartJob",
        /// Recreate the failed Job without counting the restart.
        RestartJobAndIgnoreMaxRestarts = "RestartJobAndIgnoreMaxRestarts",
    }
}

impl FailurePolicyAction {
    fn unset() -> Self {
        Self::Unknown(String::new())
    }
}

/// Order in which ReplicatedJobs start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["startupPolicyOrder"]))]
pub struct StartupPolicy {
    /// The order.
    #[serde(default = "StartupPolicyOrder::unset")]
    pub startup_policy_order: StartupPolicyOrder,
}

open_enum! {
    /// Order in which ReplicatedJobs start.
    StartupPolicyOrder {
        /// All at once.
        AnyOrder = "AnyOrder",
        /// One after another, in the order of the list. Each starts when the Jobs of the previous one are ready.
        InOrder = "InOrder",
    }
}

impl StartupPolicyOrder {
    fn unset() -> Self {
        Self::Unknown(String::new())
    }
}

/// The pod whose host name every Job of the JobSet has as a label.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["replicatedJob"]))]
pub struct Coordinator {
    /// ReplicatedJob of the coordinator pod.
    #[serde(default)]
    pub replicated_job: String,
    /// Index of its Job.
    #[serde(default, skip_serializing_if = "crate::is_default")]
    #[schemars(schema_with = "schema::integer")]
    pub job_index: i64,
    /// Index of the pod within the Job.
    #[serde(default, skip_serializing_if = "crate::is_default")]
    #[schemars(schema_with = "schema::integer")]
    pub pod_index: i64,
}

/// Claims that the controller creates for the JobSet. Containers mount them by the name of the template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
// `namespace` is a reserved word of CEL. API servers up to 1.31 accept the field only in this notation, and newer ones
// accept it, too. The rule tests each field for presence first, because a missing field fails the rule with an
// unhelpful error.
#[schemars(extend("required" = ["templates"], "x-kubernetes-validations" = schema::rule(
    "self.templates.all(t, !has(t.metadata) || !has(t.metadata.__namespace__) || size(t.metadata.__namespace__) == 0)",
    "namespace cannot be set for VolumeClaimPolicies templates",
)))]
pub struct VolumeClaimPolicy {
    /// Templates of the claims, which are named `<template>-<jobset>`. A container mounts a claim by the template's
    /// name.
    #[serde(default)]
    #[schemars(length(max = 50), extend("x-kubernetes-list-type" = "atomic"))]
    pub templates: Vec<PersistentVolumeClaim>,
    /// What happens to the claims when the JobSet is deleted.
    // The default is also in the schema, because the list is atomic and immutable. With a default from admission alone,
    // a user could not apply a file without this field again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = { "whenDeleted": "Delete" }))]
    pub retention_policy: Option<VolumeClaimRetentionPolicy>,
}

/// What happens to claims when the JobSet is deleted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeClaimRetentionPolicy {
    /// Whether the claims are deleted with the JobSet.
    #[serde(default)]
    pub when_deleted: RetentionPolicyType,
}

open_enum! {
    /// Whether claims are deleted with their JobSet.
    #[derive(Default)]
    RetentionPolicyType {
        /// The claims are deleted with the JobSet.
        #[default]
        Delete = "Delete",
        /// The claims stay, with their data.
        Retain = "Retain",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_omitted_as_in_go() {
        let written = |json: &str| {
            let coordinator: Coordinator = serde_json::from_str(json).unwrap();
            serde_json::to_string(&coordinator).unwrap()
        };
        assert_eq!(
            written(r#"{"replicatedJob":"driver","jobIndex":0,"podIndex":0}"#),
            r#"{"replicatedJob":"driver"}"#
        );
        assert_eq!(
            written(r#"{"replicatedJob":"driver","podIndex":2}"#),
            r#"{"replicatedJob":"driver","podIndex":2}"#
        );
        let policy: FailurePolicy = serde_json::from_str("{}").unwrap();
        assert_eq!(serde_json::to_string(&policy).unwrap(), r#"{"restartStrategy":"Recreate"}"#);
    }
}
