//! Configuration of the controller manager, `config.jobset.x-k8s.io/v1alpha1`, read from a file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `apiVersion` of the configuration file.
pub const API_VERSION: &str = "config.jobset.x-k8s.io/v1alpha1";
/// `kind` of the configuration file.
pub const KIND: &str = "Configuration";

/// The configuration file of the controller manager. Every field is optional. The program that reads the file decides
/// how to handle unknown fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Configuration {
    /// Always `config.jobset.x-k8s.io/v1alpha1`.
    pub api_version: String,
    /// Always `Configuration`.
    pub kind: String,
    /// Admission webhook server.
    pub webhook: Webhook,
    /// Leader election between replicas.
    pub leader_election: LeaderElection,
    /// Metrics server.
    pub metrics: Metrics,
    /// Probe server.
    pub health: Health,
    /// TLS versions and cipher suites of the webhook and metrics servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Certificates that the controller creates for its webhooks.
    pub internal_cert_management: InternalCertManagement,
    /// Limits of the requests to the API server.
    pub client_connection: ClientConnection,
    /// The agent of in-place restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_place_restart: Option<InPlaceRestart>,
    /// Feature gates by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub feature_gates: BTreeMap<String, bool>,
}

/// Admission webhook server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Webhook {
    /// TCP port. Defaults to 9443.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Address to listen on. Defaults to all addresses.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Directory of `tls.crt` and `tls.key`. Defaults to `/tmp/k8s-webhook-server/serving-certs`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cert_dir: String,
}

/// Leader election between replicas. Durations have the format `15s`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LeaderElection {
    /// Whether replicas elect a leader. Defaults to true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader_elect: Option<bool>,
    /// How long a lease is valid. Defaults to 15s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_duration: Option<String>,
    /// How long the leader tries to renew its lease before it stops. Defaults to 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew_deadline: Option<String>,
    /// How long to wait between attempts. Defaults to 2s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_period: Option<String>,
    /// Kind of the lock. Must be `leases`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_lock: String,
    /// Name of the Lease. Defaults to `6d4f6a47.jobset.x-k8s.io`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_name: String,
    /// Namespace of the Lease. Defaults to the namespace of the pod.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_namespace: String,
}

/// Metrics server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Metrics {
    /// Address and port. Defaults to `:8443`. `0` disables the server.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub bind_address: String,
    /// Directory of `tls.crt` and `tls.key`. Defaults to `/tmp/k8s-metrics-server/serving-certs`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cert_dir: String,
}

/// Probe server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Health {
    /// Address and port. Defaults to `:8081`. `0` disables the server.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub health_probe_bind_address: String,
    /// Path of the readiness probe. Defaults to `/readyz`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub readiness_endpoint_name: String,
    /// Path of the liveness probe. Defaults to `/healthz`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub liveness_endpoint_name: String,
}

/// TLS versions and cipher suites of the servers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Tls {
    /// `VersionTLS12` or `VersionTLS13`. Defaults to `VersionTLS12`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub min_version: String,
    /// Names of TLS 1.2 cipher suites. Defaults to a secure selection.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cipher_suites: Vec<String>,
}

/// Certificates that the controller creates for its webhooks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InternalCertManagement {
    /// Whether the controller creates its own certificates. Defaults to true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable: Option<bool>,
    /// Service that the certificate names. Defaults to `jobset-webhook-service`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_service_name: Option<String>,
    /// Secret that stores the certificate. Defaults to `jobset-webhook-server-cert`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_secret_name: Option<String>,
}

/// Limits of the requests to the API server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientConnection {
    /// Requests per second. Defaults to 500.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qps: Option<f32>,
    /// Burst of requests above that rate. Defaults to 500.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<i32>,
}

/// The agent of in-place restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InPlaceRestart {
    /// Image of the agent that the controller adds to pods. The program is `/in-place-restart-agent`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub agent_image: String,
}
