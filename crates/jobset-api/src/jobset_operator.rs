//! JobSetOperator, `operator.openshift.io/v1`: how the JobSet controller shall run in this cluster.
//!
//! There is one, named `cluster`. Its shape is that of every OpenShift operator's configuration.

use crate::{open_enum, schema};
use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// API group of JobSetOperator.
pub const GROUP: &str = "operator.openshift.io";
/// Version of JobSetOperator.
pub const VERSION: &str = "v1";
/// Kind of JobSetOperator.
pub const KIND: &str = "JobSetOperator";
/// Resource name of JobSetOperator.
pub const PLURAL: &str = "jobsetoperators";
/// The only name a JobSetOperator may have.
pub const SINGLETON: &str = "cluster";

/// How the JobSet controller shall run in this cluster. The only one is named `cluster`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobSetOperator {
    /// Standard object metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What the administrator wants.
    #[serde(default)]
    pub spec: JobSetOperatorSpec,
    /// What the operator observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<JobSetOperatorStatus>,
}

impl kube::Resource for JobSetOperator {
    type DynamicType = ();
    type Scope = kube::core::ClusterResourceScope;
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

/// What the administrator wants.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobSetOperatorSpec {
    /// Whether the operator looks after the JobSet controller. Absent means Managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "management_state")]
    pub management_state: Option<ManagementState>,
    /// How much the JobSet controller logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Normal", "enum" = ["", "Normal", "Debug", "Trace", "TraceAll"]))]
    pub log_level: Option<LogLevel>,
    /// How much the operator itself logs. Takes effect at once, without a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Normal", "enum" = ["", "Normal", "Debug", "Trace", "TraceAll"]))]
    pub operator_log_level: Option<LogLevel>,
    /// Configuration that an operator derived from the cluster. This operator writes none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_object")]
    pub observed_config: Option<serde_json::Value>,
    /// Settings merged last into the configuration of the JobSet controller. They are not supported, and as long as
    /// there are any, condition Upgradeable is False.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_object")]
    pub unsupported_config_overrides: Option<serde_json::Value>,
    /// Where the certificates of the JobSet controller's webhooks and metrics come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<CertificatesSpec>,
    /// How the JobSet controller is deployed and what it may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<ControllerSpec>,
}

/// Where the certificates of the JobSet controller's webhooks and metrics come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificatesSpec {
    /// Who issues the certificates. A running controller changes from one to the other without refusing a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Auto"))]
    pub provider: Option<CertificateProvider>,
}

open_enum! {
    /// Who issues certificates.
    CertificateProvider {
        /// cert-manager where its API is served, else the operator.
        Auto = "Auto",
        /// cert-manager, which must be installed.
        CertManager = "CertManager",
        /// The operator itself. Needs nothing else.
        BuiltIn = "BuiltIn",
    }
}

/// How the JobSet controller is deployed and what it may do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ControllerSpec {
    /// Pods of the controller. One of them leads, all answer admission requests. Without it, two in a highly
    /// available OpenShift cluster, else one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub replicas: Option<i32>,
    /// Requests and limits of CPU and memory, instead of the operator's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ControllerResources>,
    /// Labels of the nodes that the pods may run on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that the pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Vec<Toleration>,
    /// `PriorityClass` of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub priority_class_name: Option<String>,
    /// Features to switch on or off, by name. A name that the controller does not know keeps it from starting, and
    /// condition Degraded says so.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub feature_gates: BTreeMap<String, bool>,
    /// Limits of the controller's requests to the API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_connection: Option<ControllerClientConnection>,
}

/// Requests and limits of CPU and memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ControllerResources {
    /// What a node must have free.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, Quantity>,
    /// What the container may use at most. A controller that reaches its memory limit is killed, and JobSets are
    /// refused until it is back.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, Quantity>,
}

/// Limits of the controller's requests to the API server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ControllerClientConnection {
    /// Requests a second; 500 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub qps: Option<i32>,
    /// Requests at once beyond that rate; 500 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub burst: Option<i32>,
}

open_enum! {
    /// Whether an operator looks after its operand.
    ManagementState {
        /// The operator installs the operand, repairs it and upgrades it.
        Managed = "Managed",
        /// The operator touches nothing.
        Unmanaged = "Unmanaged",
        /// Like Managed, also where the operator would rather hold back.
        Force = "Force",
        /// The operator takes the operand away.
        Removed = "Removed",
    }
}

/// All operators of OpenShift limit the management state by a pattern, not by an enum.
fn management_state(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = ManagementState::json_schema(generator);
    schema.remove("enum");
    schema.insert("pattern".to_owned(), format!("^({})$", ManagementState::KNOWN.join("|")).into());
    schema
}

open_enum! {
    /// How much a program logs.
    LogLevel {
        /// What an administrator needs day by day.
        Normal = "Normal",
        /// More, to find out what went wrong.
        Debug = "Debug",
        /// Much more: every step.
        Trace = "Trace",
        /// Everything, also the content of requests.
        TraceAll = "TraceAll",
    }
}

/// What the operator observed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobSetOperatorStatus {
    /// Latest observations, one per type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<OperatorCondition>,
    /// Generations of the objects that the operator wrote last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["group", "resource", "namespace", "name"]
    ))]
    pub generations: Vec<GenerationStatus>,
    /// Latest revision of the configuration. Only ever grows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        extend("x-kubernetes-validations" = schema::rule("self >= oldSelf", "must only increase"))
    )]
    pub latest_available_revision: Option<i32>,
    /// `metadata.generation` of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Pods of the JobSet controller that are ready.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Version of the operator that reached this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// One observation about the operator's work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperatorCondition {
    /// What was observed, for example Available.
    #[serde(rename = "type")]
    #[schemars(length(max = 316), regex(pattern = schema::QUALIFIED_NAME))]
    pub type_: String,
    /// True, False or Unknown.
    #[schemars(extend("enum" = ["True", "False", "Unknown"]))]
    pub status: String,
    /// When `status` last changed.
    pub last_transition_time: Time,
    /// Why, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Generation of an object that the operator wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GenerationStatus {
    /// API group of the object.
    pub group: String,
    /// Resource name of the object's kind.
    pub resource: String,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Its `metadata.generation` after the operator's last write.
    #[serde(default)]
    pub last_generation: i64,
    /// Hash of the content where the object has no generation.
    #[serde(default)]
    pub hash: String,
}
