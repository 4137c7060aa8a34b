//! The desired objects, as pure functions of the observed state.
//!
//! [`objects`] returns the operand's objects in apply order: each object follows the objects that it needs. The
//! operator uses the function, and so does the generator of `manifests/`, without an owner.

mod cert_manager;
mod certification;
pub mod condition_types;
pub mod configuration;
mod conflict;
mod console;
pub mod crd_ownership;
pub mod dashboard;
pub mod degraded;
mod monitoring;
mod network;
mod operand;
mod operand_state;
pub mod operator;
pub mod plan;
mod previous_pods;
pub mod problem;
mod rbac_objects;
pub mod removal;
pub mod selector;
pub mod settings;
pub mod status;
pub mod template;
pub mod tls_profile;

pub use certification::{Issue, Provider};
pub use console::{Console, ICON};
pub use monitoring::Monitoring;
pub use operand::PRIORITY_CLASS;

use crate::content_hash::content_hash;
use crate::names;
use crate::observe::facts::ProxySettings;
use askama::Template;
use certification::dns_names;
use jobset_api::configuration::Tls;
use jobset_api::jobset_operator::ControllerSpec;
use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::DynamicObject;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// The JobSet CRD that `hack/generate` writes.
const JOBSET_CRD: &str = include_str!("../../../../manifests/crds/jobset.x-k8s.io_jobsets.yaml");

/// Why objects cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum DesiredError {
    /// A template cannot be rendered.
    #[error("template {name}: {source}")]
    Template {
        /// File name of the template.
        name: &'static str,
        /// The error.
        source: askama::Error,
    },
    /// A rendered template, or the embedded CRD, is not a Kubernetes object.
    #[error("{name} is not a valid Kubernetes object: {message}")]
    Object {
        /// File name.
        name: &'static str,
        /// The error.
        message: String,
    },
}

/// Inputs of the operand's objects.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// Namespace of every namespaced object.
    pub namespace: String,
    /// Image of the operand.
    pub operand_image: String,
    /// Owner of every object except the JobSet CRD. None in generated manifests.
    pub owner: Option<OwnerReference>,
    /// The value of the label `app.kubernetes.io/managed-by`.
    pub managed_by: ManagedBy,
    /// Log level of the operand.
    pub log_level: OperandLogLevel,
    /// Issuer of the serving certificates.
    pub certificates: Certificates,
    /// Content hashes of the operand's serving certificates.
    pub certificate_hashes: CertificateHashes,
    /// Whether the cluster is an OpenShift cluster.
    pub openshift: bool,
    /// Monitoring of operand and operator.
    pub monitoring: Monitoring,
    /// What the console of the cluster shows.
    pub console: Console,
    /// Replicas of the operand.
    pub replicas: i32,
    /// The administrator's settings for the operand. [`Self::replicas`] takes precedence over its `replicas`.
    pub controller: ControllerSpec,
    /// TLS configuration of the operand's servers. None means the operand's default.
    pub tls: Option<Tls>,
    /// Proxy of the operand.
    pub proxy: ProxySettings,
    /// Overrides that are merged last into the operand's configuration.
    pub config_overrides: Option<Value>,
}

impl Inputs {
    /// Inputs for generated manifests, which suit every cluster.
    pub fn plain(namespace: &str, operand_image: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            operand_image: operand_image.to_owned(),
            owner: None,
            managed_by: ManagedBy::Kustomize,
            log_level: OperandLogLevel::Info,
            certificates: Certificates::Internal,
            certificate_hashes: CertificateHashes::default(),
            openshift: false,
            monitoring: Monitoring::default(),
            console: Console::default(),
            replicas: 1,
            controller: ControllerSpec::default(),
            tls: None,
            proxy: ProxySettings::default(),
            config_overrides: None,
        }
    }
}

/// The client that applies the objects: the value of the label `app.kubernetes.io/managed-by`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManagedBy {
    /// The operator, which watches objects with this label.
    Operator,
    /// An administrator, with kustomize.
    Kustomize,
    /// An administrator, with Helm.
    Helm,
}

impl ManagedBy {
    /// The value of the label.
    pub fn as_str(self) -> &'static str {
        match self {
            ManagedBy::Operator => names::OPERATOR,
            ManagedBy::Kustomize => "kustomize",
            ManagedBy::Helm => "Helm",
        }
    }
}

/// Log level of the operand: the value of its flag `--zap-log-level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperandLogLevel {
    /// For normal operation.
    Info,
    /// For debugging.
    Debug,
}

impl OperandLogLevel {
    fn as_str(self) -> &'static str {
        match self {
            OperandLogLevel::Info => "info",
            OperandLogLevel::Debug => "debug",
        }
    }
}

/// The issuer of the serving certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificates {
    /// Generated manifests: the operand issues the certificates of its webhooks itself.
    Internal,
    /// With the operator, which sets the CA bundle of the webhook configurations.
    Operator {
        /// Whether cert-manager issues certificates. The pods may still mount those of another provider.
        issuers: bool,
        /// The provider of the certificates that the operand's pods mount.
        serving: Provider,
        /// CAs that the webhook configurations trust, PEM.
        ca_bundle: String,
    },
}

impl Certificates {
    fn webhook_secret(&self) -> &'static str {
        self.provider().webhook_secret()
    }

    fn metrics_secret(&self) -> &'static str {
        self.provider().metrics_secret()
    }

    fn provider(&self) -> Provider {
        match self {
            Certificates::Internal => Provider::CertManager,
            Certificates::Operator { serving, .. } => *serving,
        }
    }
}

/// Content hashes of the certificates. None while a certificate is not issued.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateHashes {
    /// Of the webhook server's Secret.
    pub webhook: Option<String>,
    /// Of the metrics server's Secret.
    pub metrics: Option<String>,
}

/// The operand's objects, in apply order.
pub fn objects(inputs: &Inputs) -> Result<Vec<DynamicObject>, DesiredError> {
    let monitoring = &inputs.monitoring;
    let scraping = if monitoring.service_monitor { monitoring.prometheus.as_slice() } else { &[] };
    let configuration = configuration::merged(inputs)?;
    // An administrator who does not use the operator enables a gate in the ConfigMap, and the roles stay as they are.
    let is_enabled = |gate: &str| {
        inputs.managed_by != ManagedBy::Operator || configuration::enables_alpha(&configuration, gate)
    };
    let mut all = rbac_objects::operand(inputs.certificates == Certificates::Internal, is_enabled, scraping);
    all.extend(services()?);
    if matches!(&inputs.certificates, Certificates::Operator { issuers: true, .. }) {
        all.extend(certificates(&inputs.namespace)?);
    }
    let configuration = configuration::text(&configuration)?;
    all.push(config_map(&configuration));
    all.push(jobset_crd()?);
    all.extend(operand::deployment(inputs, &content_hash([configuration.as_bytes()]))?);
    all.extend(webhooks(inputs)?);
    if inputs.managed_by == ManagedBy::Operator {
        all.extend(network::policies(&monitoring.prometheus)?);
    }
    all.extend(console::objects(inputs)?);
    all.extend(monitoring::objects(inputs)?);
    for object in &mut all {
        set_metadata(object, inputs);
    }
    Ok(all)
}

/// The labels of all objects.
fn labels(managed_by: ManagedBy) -> impl Iterator<Item = (String, String)> {
    [
        ("app.kubernetes.io/name", "jobset"),
        ("app.kubernetes.io/instance", "jobset"),
        ("app.kubernetes.io/part-of", "jobset"),
        (names::MANAGED_BY_LABEL, managed_by.as_str()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
}

/// Sets namespace, labels and owner of an object. An object keeps the namespace that it has.
fn set_metadata(object: &mut DynamicObject, inputs: &Inputs) {
    let kind = object.types.as_ref().map_or("", |types| types.kind.as_str());
    if !is_cluster_scoped(kind) {
        object.metadata.namespace.get_or_insert_with(|| inputs.namespace.clone());
    }
    object.metadata.labels.get_or_insert_default().extend(labels(inputs.managed_by));
    // The JobSet CRD has no owner. Otherwise, a deletion of the owner would delete every JobSet of the cluster.
    if kind != "CustomResourceDefinition" {
        object.metadata.owner_references = inputs.owner.clone().map(|owner| vec![owner]);
    }
    if let Some(subjects) = object.data.get_mut("subjects").and_then(Value::as_array_mut) {
        for subject in subjects {
            if let Some(subject) = subject.as_object_mut() {
                subject.entry("namespace").or_insert_with(|| inputs.namespace.clone().into());
            }
        }
    }
}

/// Whether a kind, one of those that [`objects`] returns, is cluster-scoped.
pub fn is_cluster_scoped(kind: &str) -> bool {
    matches!(
        kind,
        "ClusterRole"
            | "ClusterRoleBinding"
            | "ConsoleQuickStart"
            | "ConsoleYAMLSample"
            | "CustomResourceDefinition"
            | "MutatingWebhookConfiguration"
            | "Namespace"
            | "ValidatingWebhookConfiguration"
    )
}

fn services() -> Result<Vec<DynamicObject>, DesiredError> {
    #[derive(Template)]
    #[template(path = "services.yaml")]
    struct Services<'a> {
        webhook_service: &'a str,
        metrics_service: &'a str,
    }
    template::objects(
        "services.yaml",
        &Services { webhook_service: names::WEBHOOK_SERVICE, metrics_service: names::METRICS_SERVICE },
    )
}

fn certificates(namespace: &str) -> Result<Vec<DynamicObject>, DesiredError> {
    struct Leaf<'a> {
        name: &'a str,
        common_name: &'a str,
        dns_names: [String; 2],
        secret: &'a str,
    }
    #[derive(Template)]
    #[template(path = "cert-manager.yaml")]
    struct CertManager<'a> {
        self_signed_issuer: &'a str,
        ca_certificate: &'a str,
        ca_secret: &'a str,
        ca_issuer: &'a str,
        leaves: [Leaf<'a>; 2],
    }
    template::objects(
        "cert-manager.yaml",
        &CertManager {
            self_signed_issuer: names::SELF_SIGNED_ISSUER,
            ca_certificate: names::CA_CERTIFICATE,
            ca_secret: names::CA_SECRET,
            ca_issuer: names::CA_ISSUER,
            leaves: [
                Leaf {
                    name: names::WEBHOOK_CERTIFICATE,
                    common_name: "jobset-webhook",
                    dns_names: dns_names(names::WEBHOOK_SERVICE, namespace),
                    secret: names::WEBHOOK_SECRET,
                },
                Leaf {
                    name: names::METRICS_CERTIFICATE,
                    common_name: "jobset-metrics",
                    dns_names: dns_names(names::METRICS_SERVICE, namespace),
                    secret: names::METRICS_SECRET,
                },
            ],
        },
    )
}

fn config_map(configuration: &str) -> DynamicObject {
    let resource = kube::api::ApiResource::erase::<k8s_openapi::api::core::v1::ConfigMap>(&());
    let data = BTreeMap::from([(names::CONFIG_KEY, configuration)]);
    DynamicObject::new(names::CONFIG_MAP, &resource).data(serde_json::json!({ "data": data }))
}

/// The JobSet CRD.
fn jobset_crd() -> Result<DynamicObject, DesiredError> {
    const FILE: &str = "jobset.x-k8s.io_jobsets.yaml";
    static PARSED: OnceLock<Result<DynamicObject, String>> = OnceLock::new();
    let parsed = PARSED.get_or_init(|| serde_yaml::from_str(JOBSET_CRD).map_err(|error| error.to_string()));
    parsed.clone().map_err(|message| DesiredError::Object { name: FILE, message })
}

fn webhooks(inputs: &Inputs) -> Result<Vec<DynamicObject>, DesiredError> {
    #[derive(Template)]
    #[template(path = "webhooks.yaml")]
    struct Webhooks<'a> {
        mutating: &'a str,
        validating: &'a str,
        ca_bundle: Option<String>,
        service: &'a str,
        namespace: &'a str,
    }
    let ca_bundle = match &inputs.certificates {
        Certificates::Operator { ca_bundle, .. } => {
            // Kubernetes encodes bytes as base64 in JSON.
            let bytes = serde_json::to_value(ByteString(ca_bundle.clone().into_bytes())).unwrap_or_default();
            bytes.as_str().map(str::to_owned)
        }
        Certificates::Internal => None,
    };
    template::objects(
        "webhooks.yaml",
        &Webhooks {
            mutating: names::MUTATING_WEBHOOKS,
            validating: names::VALIDATING_WEBHOOKS,
            ca_bundle,
            service: names::WEBHOOK_SERVICE,
            namespace: &inputs.namespace,
        },
    )
}
