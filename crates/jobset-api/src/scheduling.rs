//! `spec.scheduling` of a JobSet: which of its pods the Kubernetes scheduler places together.
//!
//! The leaf types have the JSON of `scheduling.k8s.io/v1beta1`. The types here have their own descriptions and limits.

use crate::schema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which pods of the JobSet start together, and where. The controller creates a Workload and PodGroups
/// (`scheduling.k8s.io/v1beta1`) from it. Requires the feature gate JobSetWorkloadAwareSchedulingAPI.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = schema::rule(
    "!has(self.replicatedJobs) || size(self.replicatedJobs) == 0 || !(has(self.schedulingPolicy) \
     || has(self.schedulingConstraints) || has(self.disruptionMode))",
    "schedulingPolicy, schedulingConstraints and disruptionMode cannot be set together with replicatedJobs: \
     set them in the entries of replicatedJobs",
)))]
pub struct Scheduling {
    /// How the scheduler places the pods of the whole JobSet. Defaults to `gang` if `replicatedJobs` is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling_policy: Option<CompositeSchedulingPolicy>,
    /// Where the scheduler places the pods of the whole JobSet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling_constraints: Option<SchedulingConstraints>,
    /// Whether the pods of the whole JobSet can be disrupted one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disruption_mode: Option<DisruptionMode>,
    /// Groups of ReplicatedJobs. Each ReplicatedJob must be in exactly one entry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), extend("x-kubernetes-list-type" = "atomic"))]
    pub replicated_jobs: Vec<ReplicatedJobScheduling>,
}

/// The pods of some ReplicatedJobs: all in one group, or with `job` in one group for each Job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["targetReplicatedJobs"], "x-kubernetes-validations" = [
    {
        "rule": "!has(self.job) || size(self.targetReplicatedJobs) == 1",
        "message": "targetReplicatedJobs must have exactly one item when job is set",
    },
    {
        "rule": "!has(self.job) || !(has(self.schedulingPolicy) || has(self.schedulingConstraints) \
                 || has(self.disruptionMode))",
        "message": "schedulingPolicy, schedulingConstraints and disruptionMode cannot be set when job is set: \
                    set them in job",
    },
]))]
pub struct ReplicatedJobScheduling {
    /// Names of the ReplicatedJobs.
    #[serde(default)]
    #[schemars(
        length(min = 1, max = 50),
        inner(length(max = 256)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub target_replicated_jobs: Vec<String>,
    /// How the scheduler places the pods of these ReplicatedJobs. By default, all together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling_policy: Option<CompositeSchedulingPolicy>,
    /// Where the scheduler places the pods of these ReplicatedJobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling_constraints: Option<SchedulingConstraints>,
    /// Whether the pods of these ReplicatedJobs can be disrupted one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disruption_mode: Option<DisruptionMode>,
    /// A group of its own for each Job of the only target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobScheduling>,
}

/// The pods of one Job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobScheduling {
    /// How the scheduler places the pods of the Job. By default, all together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling_policy: Option<SchedulingPolicy>,
    /// Where the scheduler places the pods of the Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling_constraints: Option<SchedulingConstraints>,
    /// Whether the pods of the Job can be disrupted one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disruption_mode: Option<DisruptionMode>,
    /// Resource claims that the pods of the Job share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), extend(
        "x-kubernetes-list-type" = "atomic",
        "x-kubernetes-validations" = schema::rule(
            "self.all(x, self.exists_one(y, x.name == y.name))",
            "names of resourceClaims must be unique",
        )
    ))]
    pub resource_claims: Vec<ResourceClaim>,
}

/// How the scheduler places the pods of several Jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = exactly_one_policy()))]
pub struct CompositeSchedulingPolicy {
    /// One by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<Empty>,
    /// All together, or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gang: Option<CompositeGang>,
}

/// All pods of the group start together, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = schema::rule(
    "!has(self.minGroupCount)",
    "minGroupCount is not supported",
)))]
pub struct CompositeGang {
    /// Not supported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_group_count: Option<i32>,
}

/// How the scheduler places the pods of one Job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = exactly_one_policy()))]
pub struct SchedulingPolicy {
    /// One by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<Empty>,
    /// At least `minCount` together, or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gang: Option<Gang>,
}

fn exactly_one_policy() -> serde_json::Value {
    schema::rule("has(self.basic) != has(self.gang)", "exactly one of basic or gang must be set")
}

/// At least `minCount` pods of the group start together, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = schema::rule(
    "!has(self.minCount) || self.minCount > 0",
    "minCount must be a positive integer",
)))]
pub struct Gang {
    /// The number of pods that must fit at the same time. Defaults to the number of pods of the Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_count: Option<i32>,
}

/// An object without fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Empty {}

/// Where the scheduler places the pods of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SchedulingConstraints {
    /// The pods run in one domain of this topology.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1), extend("x-kubernetes-list-type" = "atomic"))]
    pub topology: Vec<TopologyConstraint>,
}

/// All pods of a group run on nodes with the same value of a label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("required" = ["key"]))]
pub struct TopologyConstraint {
    /// The node label key, for example `topology.kubernetes.io/rack`.
    #[serde(default)]
    #[schemars(length(min = 1, max = 317), regex(pattern = schema::QUALIFIED_NAME))]
    pub key: String,
}

/// Whether the pods of a group can be disrupted one by one, for example by preemption.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = schema::rule(
    "has(self.single) != has(self.all)",
    "exactly one of single or all must be set",
)))]
pub struct DisruptionMode {
    /// One by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub single: Option<Empty>,
    /// Only all together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all: Option<Empty>,
}

/// A resource claim that the pods of a group share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["name"], "x-kubernetes-validations" = schema::rule(
    "has(self.resourceClaimName) != has(self.resourceClaimTemplateName)",
    "exactly one of resourceClaimName or resourceClaimTemplateName must be set",
)))]
pub struct ResourceClaim {
    /// Name of the claim in the pods' `resourceClaims`.
    #[serde(default)]
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::DNS_LABEL))]
    pub name: String,
    /// Name of a ResourceClaim in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::DNS_SUBDOMAIN))]
    pub resource_claim_name: Option<String>,
    /// Name of a ResourceClaimTemplate in the same namespace. Each group gets a claim of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::DNS_SUBDOMAIN))]
    pub resource_claim_template_name: Option<String>,
}

impl Scheduling {
    /// See [`JobScheduling::is_gang`].
    pub fn is_gang(&self) -> bool {
        self.scheduling_policy.as_ref().is_none_or(|policy| policy.basic.is_none())
    }
}

impl ReplicatedJobScheduling {
    /// See [`JobScheduling::is_gang`].
    pub fn is_gang(&self) -> bool {
        self.scheduling_policy.as_ref().is_none_or(|policy| policy.basic.is_none())
    }
}

impl JobScheduling {
    /// Whether the pods of a group start together. Without a policy, they do.
    pub fn is_gang(&self) -> bool {
        self.scheduling_policy.as_ref().is_none_or(|policy| policy.basic.is_none())
    }

    /// The number of pods that must fit at the same time, if the user sets it.
    pub fn min_count(&self) -> Option<i32> {
        self.scheduling_policy.as_ref()?.gang.as_ref()?.min_count
    }
}
