//! JobSet, `jobset.x-k8s.io/v1alpha2`: a group of Jobs that runs as one unit.

use crate::{JobSetStatus, open_enum, schema};
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
    #[serde(default)]
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
#[schemars(extend("x-kubernetes-validations" = schema::rule(
    "!(has(self.startupPolicy) && self.startupPolicy.startupPolicyOrder == 'InOrder' \
     && has(self.replicatedJobs) && self.replicatedJobs.exists(x, has(x.dependsOn)))",
    "StartupPolicy and DependsOn APIs are mutually exclusive",
)))]
pub struct JobSetSpec {
    /// The kinds of Job that make up the set. Each becomes `replicas` Jobs named
    /// `<jobset>-<replicatedJob>-<index>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub replicated_jobs: Vec<ReplicatedJob>,
    /// Stable host names of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = schema::immutable()))]
    pub network: Option<Network>,
    /// When the JobSet counts as completed. Without it, when every Job has completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = schema::immutable()))]
    pub success_policy: Option<SuccessPolicy>,
    /// What happens when a Job fails. Without it, the JobSet fails with its first failed Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = schema::immutable()))]
    pub failure_policy: Option<FailurePolicy>,
    /// In which order ReplicatedJobs start. Deprecated: `replicatedJobs[].dependsOn` says more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = schema::immutable()))]
    pub startup_policy: Option<StartupPolicy>,
    /// Holds all Jobs back while true. Running Jobs lose their pods; setting it to false resumes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// Names one pod as the coordinator; its host name is put on every Job and pod of the set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coordinator: Option<Coordinator>,
    /// Which controller manages this JobSet, as a domain-prefixed path. Without it, or with
    /// `jobset.sigs.k8s.io/jobset-controller`, the built-in one. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
    /// Seconds after which a finished JobSet is deleted, with its Jobs. Without it, it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ttl_seconds_after_finished: Option<i32>,
    /// Persistent volume claims that the JobSet's Jobs share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 50),
        extend("x-kubernetes-list-type" = "atomic", "x-kubernetes-validations" = schema::immutable())
    )]
    pub volume_claim_policies: Vec<VolumeClaimPolicy>,
}

impl JobSetSpec {
    /// Whether the user wants the JobSet to hold back.
    pub fn is_suspended(&self) -> bool {
        self.suspend == Some(true)
    }
}

/// A Job template and how many Jobs to make of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["name", "template"]))]
pub struct ReplicatedJob {
    /// Name of this entry, part of the names of its Jobs; unique within the JobSet.
    #[serde(default)]
    pub name: String,
    /// Group this entry belongs to. Jobs carry their index within the group as a label.
    #[serde(default = "default_group_name")]
    pub group_name: String,
    /// The Job to make.
    #[serde(default)]
    pub template: JobTemplateSpec,
    /// How many Jobs to make.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 0))]
    pub replicas: i32,
    /// Earlier entries that must reach a state before Jobs of this one are created.
    // An empty list is told from none: the first entry may have neither dependencies nor an empty list of them.
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
    /// Name of the headless Service and last part of the host names. Without it, the JobSet's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subdomain: Option<String>,
    /// Publishes the addresses of pods that are not ready yet, so that workers can find one another early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish_not_ready_addresses: Option<bool>,
}

/// When a JobSet counts as completed.
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
    /// How many Jobs a success policy asks for.
    Operator {
        /// Every one.
        All = "All",
        /// At least one.
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
    /// How many restarts the JobSet may use up before it fails.
    #[serde(default, skip_serializing_if = "crate::is_default")]
    pub max_restarts: i32,
    /// How Jobs are replaced on a restart.
    #[serde(default)]
    pub restart_strategy: RestartStrategy,
    /// Rules, tried in order; the first that matches a failed Job decides. Without a match the JobSet restarts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<FailurePolicyRule>,
}

open_enum! {
    /// How Jobs are replaced on a restart.
    #[derive(Default)]
    RestartStrategy {
        /// Each Job is recreated as soon as its predecessor is gone.
        #[default]
        Recreate = "Recreate",
        /// No Job is recreated before all predecessors are gone.
        BlockingRecreate = "BlockingRecreate",
        /// Containers restart inside their pods, with the help of an agent.
        InPlaceRestart = "InPlaceRestart",
    }
}

/// Which failed Jobs a rule is about, and what to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["action", "name"]))]
pub struct FailurePolicyRule {
    /// Name of the rule, unique within the policy. Without it, `failurePolicyRule<index>`.
    #[serde(default)]
    pub name: String,
    /// What to do.
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
    /// What to do about a failed Job.
    FailurePolicyAction {
        /// Fail the JobSet at once.
        FailJobSet = "FailJobSet",
        /// Recreate all Jobs, and count it towards `maxRestarts`.
        RestartJobSet = "RestartJobSet",
        /// Recreate all Jobs without counting it.
        RestartJobSetAndIgnoreMaxRestarts = "RestartJobSetAndIgnoreMaxRestarts",
        /// Recreate the failed Job, and count it towards `maxRestarts`.
        RestartJob = "RestartJob",
        /// Recreate the failed Job without counting it.
        RestartJobAndIgnoreMaxRestarts = "RestartJobAndIgnoreMaxRestarts",
    }
}

impl FailurePolicyAction {
    fn unset() -> Self {
        Self::Unknown(String::new())
    }
}

/// In which order ReplicatedJobs start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["startupPolicyOrder"]))]
pub struct StartupPolicy {
    /// The order.
    #[serde(default = "StartupPolicyOrder::unset")]
    pub startup_policy_order: StartupPolicyOrder,
}

open_enum! {
    /// In which order ReplicatedJobs start.
    StartupPolicyOrder {
        /// All at once.
        AnyOrder = "AnyOrder",
        /// One after another, in the order of the list; the next when the Jobs of the one before are ready.
        InOrder = "InOrder",
    }
}

impl StartupPolicyOrder {
    fn unset() -> Self {
        Self::Unknown(String::new())
    }
}

/// The pod whose host name every Job of the set gets to know.
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

/// Claims that are made for the JobSet and mounted by the containers that name them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
// `namespace` is a reserved word of CEL: API servers up to 1.31 know the field only in this spelling, newer ones also.
// Each field is tested for presence first, or a missing one fails the rule with an error that does not help.
#[schemars(extend("required" = ["templates"], "x-kubernetes-validations" = schema::rule(
    "self.templates.all(t, !has(t.metadata) || !has(t.metadata.__namespace__) || size(t.metadata.__namespace__) == 0)",
    "namespace cannot be set for VolumeClaimPolicies templates",
)))]
pub struct VolumeClaimPolicy {
    /// The claims, named `<template>-<jobset>`. A container that mounts a volume of the template's name gets it.
    #[serde(default)]
    #[schemars(length(max = 50), extend("x-kubernetes-list-type" = "atomic"))]
    pub templates: Vec<PersistentVolumeClaim>,
    /// What happens to the claims when the JobSet is deleted.
    // A default of the schema and not of admission alone: the list is applied as a whole and cannot change, so that a
    // file without this field could not be applied again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = { "whenDeleted": "Delete" }))]
    pub retention_policy: Option<VolumeClaimRetentionPolicy>,
}

/// What happens to claims when the JobSet is deleted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeClaimRetentionPolicy {
    /// Whether the claims go with the JobSet.
    #[serde(default)]
    pub when_deleted: RetentionPolicyType,
}

open_enum! {
    /// Whether claims go with their JobSet.
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
    fn zeros_are_left_out_where_go_leaves_them_out() {
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
