//! Configuration of the controller manager, `config.jobset.x-k8s.io/v1alpha1`, read from a file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `apiVersion` of the configuration file.
pub const API_VERSION: &str = "config.jobset.x-k8s.io/v1alpha1";
/// `kind` of the configuration file.
pub const KIND: &str = "Configuration";

/// The configuration file of the controller manager. Every field may be absent. Whoever reads one decides what an
/// unknown field means.
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
    /// Certificates that the controller makes for its own webhooks.
    pub internal_cert_management: InternalCertManagement,
    /// Limits of the requests to the API server.
    pub client_connection: ClientConnection,
    /// Feature gates by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub feature_gates: BTreeMap<String, bool>,
}

/// Admission webhook server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Webhook {
    /// TCP port; 9443 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Address to listen on; all without it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Folder of `tls.crt` and `tls.key`; `/tmp/k8s-webhook-server/serving-certs` without it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cert_dir: String,
}

/// Leader election between replicas. Durations are written like `15s`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LeaderElection {
    /// Whether replicas elect a leader; true without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader_elect: Option<bool>,
    /// How long a lease is valid; 15s without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_duration: Option<String>,
    /// How long the leader tries to renew before it gives up; 10s without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew_deadline: Option<String>,
    /// How long to wait between tries; 2s without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_period: Option<String>,
    /// Kind of lock; only `leases`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_lock: String,
    /// Name of the Lease; `6d4f6a47.jobset.x-k8s.io` without it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_name: String,
    /// Namespace of the Lease; the pod's own without it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_namespace: String,
}

/// Metrics server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Metrics {
    /// Address and port; `:8443` without it, `0` switches the server off.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub bind_address: String,
    /// Folder of `tls.crt` and `tls.key`; `/tmp/k8s-metrics-server/serving-certs` without it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cert_dir: String,
}

/// Probe server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Health {
    /// Address and port; `:8081` without it, `0` switches the server off.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub health_probe_bind_address: String,
    /// Path of the readiness probe; `/readyz` without it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub readiness_endpoint_name: String,
    /// Path of the liveness probe; `/healthz` without it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub liveness_endpoint_name: String,
}

/// TLS versions and cipher suites of the servers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Tls {
    /// `VersionTLS12` (without it) or `VersionTLS13`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub min_version: String,
    /// Names of TLS 1.2 cipher suites; a good selection without them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cipher_suites: Vec<String>,
}

/// Certificates that the controller makes for its own webhooks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InternalCertManagement {
    /// Whether the controller makes its own certificates; true without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable: Option<bool>,
    /// Service that the certificate names; `jobset-webhook-service` without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_service_name: Option<String>,
    /// Secret that keeps the certificate; `jobset-webhook-server-cert` without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_secret_name: Option<String>,
}

/// Limits of the requests to the API server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientConnection {
    /// Requests a second; 500 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qps: Option<f32>,
    /// Requests at once beyond that rate; 500 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<i32>,
}
