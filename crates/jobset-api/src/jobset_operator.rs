//! JobSetOperator, `operator.openshift.io/v1`: the configuration of the JobSet controller in this cluster.
//!
//! The only object is named `cluster`. It has the fields of every OpenShift operator's configuration.

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
/// The only valid name of a JobSetOperator.
pub const SINGLETON: &str = "cluster";

/// The configuration of the JobSet controller in this cluster. The only object is named `cluster`.
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
    /// Whether the operator manages the JobSet controller. Defaults to Managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "management_state")]
    pub management_state: Option<ManagementState>,
    /// Log level of the JobSet controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Normal", "enum" = ["", "Normal", "Debug", "Trace", "TraceAll"]))]
    pub log_level: Option<LogLevel>,
    /// Log level of the operator. A change takes effect without a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Normal", "enum" = ["", "Normal", "Debug", "Trace", "TraceAll"]))]
    pub operator_log_level: Option<LogLevel>,
    /// Configuration that an operator derived from the cluster. This operator writes none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_object")]
    pub observed_config: Option<serde_json::Value>,
    /// Settings that override the configuration of the JobSet controller. They are not supported. While any is set,
    /// condition Upgradeable is False.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_object")]
    pub unsupported_config_overrides: Option<serde_json::Value>,
    /// Where the certificates of the JobSet controller's webhooks and metrics come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<CertificatesSpec>,
    /// How the JobSet controller is deployed and what it may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<ControllerSpec>,
    /// Which Prometheus servers monitor the JobSet controller and the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<MonitoringSpec>,
}

/// Which Prometheus servers monitor the JobSet controller and the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MonitoringSpec {
    /// Prometheus servers that may discover and scrape the metrics. Network policies admit their namespaces, and their
    /// service accounts get the permissions. Defaults to the servers of OpenShift and, on other clusters, also to that
    /// of kube-prometheus. An empty list means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["namespace", "serviceAccount"])
    )]
    pub prometheus: Option<Vec<PrometheusServer>>,
}

/// A Prometheus server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrometheusServer {
    /// Namespace in which the server runs.
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::DNS_LABEL))]
    pub namespace: String,
    /// Service account of the server's pods.
    #[serde(default = "default_service_account")]
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::DNS_SUBDOMAIN))]
    pub service_account: String,
}

/// The service account of Prometheus on OpenShift and in kube-prometheus.
fn default_service_account() -> String {
    "prometheus-k8s".to_owned()
}

/// Where the certificates of the JobSet controller's webhooks and metrics come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificatesSpec {
    /// Issuer of the certificates. A running controller switches to another issuer without rejecting a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Auto"))]
    pub provider: Option<CertificateProvider>,
}

open_enum! {
    /// Issuer of certificates.
    CertificateProvider {
        /// cert-manager if the cluster serves its API, otherwise the operator.
        Auto = "Auto",
        /// cert-manager, which must be installed.
        CertManager = "CertManager",
        /// The operator. It needs no other component.
        BuiltIn = "BuiltIn",
    }
}

/// How the JobSet controller is deployed and what it may do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ControllerSpec {
    /// Number of pods of the controller. One pod is the leader, and all pods serve admission requests. Defaults to two
    /// in a highly available OpenShift cluster, and to one in other clusters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub replicas: Option<i32>,
    /// CPU and memory requests and limits. They replace the defaults of the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ControllerResources>,
    /// Labels of the nodes that the pods may run on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that the pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Vec<Toleration>,
    /// `PriorityClass` of the pods. Defaults to system-cluster-critical, because the API server rejects JobSets while no
    /// pod runs. The empty string means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub priority_class_name: Option<String>,
    /// Feature gates to enable or disable, by name. The controller does not start with an unknown name, and condition
    /// Degraded reports it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub feature_gates: BTreeMap<String, bool>,
    /// Limits of the controller's requests to the API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_connection: Option<ControllerClientConnection>,
}

/// CPU and memory requests and limits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ControllerResources {
    /// Resources that the scheduler reserves on a node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, Quantity>,
    /// Maximum resources of the container. A controller that reaches its memory limit is killed, and the API server
    /// rejects JobSets until the controller is ready again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, Quantity>,
}

/// Limits of the controller's requests to the API server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ControllerClientConnection {
    /// Requests per second. Defaults to 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub qps: Option<i32>,
    /// Burst of requests above that rate. Defaults to 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub burst: Option<i32>,
}

open_enum! {
    /// Whether an operator manages its operand.
    ManagementState {
        /// The operator installs the operand, repairs it and upgrades it.
        Managed = "Managed",
        /// The operator changes nothing.
        Unmanaged = "Unmanaged",
        /// Like Managed, even in situations in which the operator would otherwise not act.
        Force = "Force",
        /// The operator deletes the operand.
        Removed = "Removed",
    }
}

/// OpenShift operators restrict the management state with a pattern, not with an enum.
fn management_state(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = ManagementState::json_schema(generator);
    schema.remove("enum");
    schema.insert("pattern".to_owned(), format!("^({})$", ManagementState::KNOWN.join("|")).into());
    schema
}

open_enum! {
    /// Log level of a program.
    LogLevel {
        /// Messages for daily operation.
        Normal = "Normal",
        /// More messages, to find the cause of a problem.
        Debug = "Debug",
        /// Messages about every step.
        Trace = "Trace",
        /// All messages, including the content of requests.
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
    /// Generations of the objects that the operator manages, after its last writes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["group", "resource", "namespace", "name"]
    ))]
    pub generations: Vec<GenerationStatus>,
    /// Latest revision of the configuration. It never decreases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        extend("x-kubernetes-validations" = schema::rule("self >= oldSelf", "must only increase"))
    )]
    pub latest_available_revision: Option<i32>,
    /// `metadata.generation` of the spec that the operator observed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Pods of the JobSet controller that are ready.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Version of the operator that rolled out this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// One observation about the operator.
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
    /// Reason of the last transition, in CamelCase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Details of the last transition, for humans.
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
