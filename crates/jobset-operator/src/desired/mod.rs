//! What should exist, as a pure function of what was observed.
//!
//! [`objects`] returns the operand's objects in apply order: whatever an object needs stands before it. The same
//! function serves the running operator and, without an owner, the generator of `manifests/`.

pub mod operator;
pub mod plan;
mod rbac_objects;
pub mod status;
pub mod template;

use crate::names;
use askama::Template;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::DynamicObject;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// The JobSet API as `hack/generate` writes it.
const JOBSET_CRD: &str = include_str!("../../../../manifests/crds/jobset.x-k8s.io_jobsets.yaml");

/// Namespace of the cluster's Prometheus on OpenShift.
const MONITORING_NAMESPACE: &str = "openshift-monitoring";

/// What cannot be turned into objects.
#[derive(Debug, thiserror::Error)]
pub enum DesiredError {
    /// A template could not be filled in.
    #[error("template {name}: {source}")]
    Template {
        /// File name of the template.
        name: &'static str,
        /// What went wrong.
        source: askama::Error,
    },
    /// A filled-in template, or the embedded CRD, is not a Kubernetes object.
    #[error("{name} is not a valid Kubernetes object: {message}")]
    Object {
        /// File name.
        name: &'static str,
        /// What went wrong.
        message: String,
    },
}

/// What the objects depend on.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// Namespace of every namespaced object.
    pub namespace: String,
    /// Image of the operand.
    pub operand_image: String,
    /// Owner of every object but the JobSet CRD; nobody in generated manifests.
    pub owner: Option<OwnerReference>,
    /// Who applies the objects, as their label says.
    pub managed_by: ManagedBy,
    /// How much the operand logs.
    pub log_level: OperandLogLevel,
    /// Where the serving certificates come from.
    pub certificates: Certificates,
    /// Whether a `ServiceMonitor` can be created.
    pub monitoring_available: bool,
    /// Pods of the operand.
    pub replicas: i32,
    /// Content hashes of the certificates that the operand serves with, once they are there.
    pub certificate_hashes: CertificateHashes,
}

/// Who applies the objects: the value of the label `app.kubernetes.io/managed-by`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManagedBy {
    /// The operator, which watches the objects by this label.
    Operator,
    /// An administrator, with kustomize.
    Kustomize,
}

impl ManagedBy {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            ManagedBy::Operator => names::OPERATOR,
            ManagedBy::Kustomize => "kustomize",
        }
    }
}

/// How much the operand logs: the value of its flag `--zap-log-level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperandLogLevel {
    /// What an administrator needs day by day.
    Info,
    /// Everything.
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

/// Where the serving certificates come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificates {
    /// cert-manager issues them into Secrets and keeps the CA in the webhook configurations.
    CertManager,
    /// The operand makes its own.
    Internal,
}

/// Content hashes of the certificates; none while a certificate is not issued yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateHashes {
    /// Of Secret `webhook-server-cert`.
    pub webhook: Option<String>,
    /// Of Secret `metrics-server-cert`.
    pub metrics: Option<String>,
}

/// The operand's objects, in apply order.
pub fn objects(inputs: &Inputs) -> Result<Vec<DynamicObject>, DesiredError> {
    let mut all = rbac_objects::operand(inputs.monitoring_available.then_some(MONITORING_NAMESPACE));
    all.extend(services()?);
    if inputs.certificates == Certificates::CertManager {
        all.extend(certificates(&inputs.namespace)?);
    }
    let configuration = configuration(inputs)?;
    all.push(config_map(&configuration));
    all.push(jobset_crd()?);
    all.extend(deployment(inputs, &content_hash([configuration.as_bytes()]))?);
    all.extend(webhooks(inputs)?);
    if inputs.monitoring_available {
        all.extend(monitoring(&inputs.namespace)?);
    }
    for object in &mut all {
        finish(object, inputs);
    }
    Ok(all)
}

/// SHA-256, in hex, over parts that may not run into one another.
pub fn content_hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// Gives an object what all have in common: namespace, labels, owner.
fn finish(object: &mut DynamicObject, inputs: &Inputs) {
    let kind = object.types.as_ref().map_or("", |types| types.kind.as_str());
    if !is_cluster_scoped(kind) {
        object.metadata.namespace = Some(inputs.namespace.clone());
    }
    let labels = object.metadata.labels.get_or_insert_default();
    for (key, value) in [
        ("app.kubernetes.io/name", "jobset"),
        ("app.kubernetes.io/instance", "jobset"),
        ("app.kubernetes.io/part-of", "jobset"),
        (names::MANAGED_BY_LABEL, inputs.managed_by.as_str()),
    ] {
        labels.insert(key.to_owned(), value.to_owned());
    }
    // The JobSet CRD has no owner: with the owner's deletion every JobSet of the cluster would be deleted.
    if kind != "CustomResourceDefinition" {
        object.metadata.owner_references = inputs.owner.clone().map(|owner| vec![owner]);
    }
    if let Some(subjects) = object.data.get_mut("subjects").and_then(serde_json::Value::as_array_mut) {
        for subject in subjects {
            if let Some(subject) = subject.as_object_mut() {
                subject.entry("namespace").or_insert_with(|| inputs.namespace.clone().into());
            }
        }
    }
}

/// Whether objects of this kind, one of those that [`objects`] returns, live outside namespaces.
pub fn is_cluster_scoped(kind: &str) -> bool {
    matches!(
        kind,
        "ClusterRole"
            | "ClusterRoleBinding"
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
    let dns_names = |service: &str| {
        [format!("{service}.{namespace}.svc"), format!("{service}.{namespace}.svc.cluster.local")]
    };
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
                    dns_names: dns_names(names::WEBHOOK_SERVICE),
                    secret: names::WEBHOOK_SECRET,
                },
                Leaf {
                    name: names::METRICS_CERTIFICATE,
                    common_name: "jobset-metrics",
                    dns_names: dns_names(names::METRICS_SERVICE),
                    secret: names::METRICS_SECRET,
                },
            ],
        },
    )
}

fn configuration(inputs: &Inputs) -> Result<String, DesiredError> {
    #[derive(Template)]
    #[template(path = "controller_manager_config.yaml")]
    struct Configuration<'a> {
        internal_certificates: bool,
        webhook_service: &'a str,
        webhook_secret: &'a str,
    }
    template::text(
        "controller_manager_config.yaml",
        &Configuration {
            internal_certificates: inputs.certificates == Certificates::Internal,
            webhook_service: names::WEBHOOK_SERVICE,
            webhook_secret: names::INTERNAL_WEBHOOK_SECRET,
        },
    )
}

fn config_map(configuration: &str) -> DynamicObject {
    let resource = kube::api::ApiResource::erase::<k8s_openapi::api::core::v1::ConfigMap>(&());
    let data = BTreeMap::from([(names::CONFIG_KEY, configuration)]);
    DynamicObject::new(names::CONFIG_MAP, &resource).data(serde_json::json!({ "data": data }))
}

/// The JobSet API.
fn jobset_crd() -> Result<DynamicObject, DesiredError> {
    const FILE: &str = "jobset.x-k8s.io_jobsets.yaml";
    static PARSED: OnceLock<Result<DynamicObject, String>> = OnceLock::new();
    let parsed = PARSED.get_or_init(|| serde_yaml::from_str(JOBSET_CRD).map_err(|error| error.to_string()));
    parsed.clone().map_err(|message| DesiredError::Object { name: FILE, message })
}

fn deployment(inputs: &Inputs, config_hash: &str) -> Result<Vec<DynamicObject>, DesiredError> {
    #[derive(Template)]
    #[template(path = "deployment.yaml")]
    struct Deployment<'a> {
        name: &'a str,
        container: &'a str,
        service_account: &'a str,
        image: &'a str,
        replicas: i32,
        hashes: Vec<(&'a str, &'a str)>,
        config_argument: String,
        log_argument: String,
        config_map: &'a str,
        config_key: &'a str,
        config_path: &'a str,
        webhook_secret: &'a str,
        metrics_secret: &'a str,
        internal_certificates: bool,
    }
    let config_path = "/controller_manager_config.yaml";
    let mut hashes = vec![(names::CONFIG_HASH, config_hash)];
    for (key, hash) in [
        (names::WEBHOOK_CERTIFICATE_HASH, &inputs.certificate_hashes.webhook),
        (names::METRICS_CERTIFICATE_HASH, &inputs.certificate_hashes.metrics),
    ] {
        hashes.extend(hash.as_deref().map(|hash| (key, hash)));
    }
    template::objects(
        "deployment.yaml",
        &Deployment {
            name: names::OPERAND,
            container: names::OPERAND_CONTAINER,
            service_account: names::OPERAND,
            image: &inputs.operand_image,
            replicas: inputs.replicas,
            hashes,
            config_argument: format!("--config={config_path}"),
            log_argument: format!("--zap-log-level={}", inputs.log_level.as_str()),
            config_map: names::CONFIG_MAP,
            config_key: names::CONFIG_KEY,
            config_path,
            webhook_secret: names::WEBHOOK_SECRET,
            metrics_secret: names::METRICS_SECRET,
            internal_certificates: inputs.certificates == Certificates::Internal,
        },
    )
}

fn webhooks(inputs: &Inputs) -> Result<Vec<DynamicObject>, DesiredError> {
    #[derive(Template)]
    #[template(path = "webhooks.yaml")]
    struct Webhooks<'a> {
        mutating: &'a str,
        validating: &'a str,
        inject_ca_from: Option<String>,
        service: &'a str,
        namespace: &'a str,
    }
    template::objects(
        "webhooks.yaml",
        &Webhooks {
            mutating: names::MUTATING_WEBHOOKS,
            validating: names::VALIDATING_WEBHOOKS,
            inject_ca_from: (inputs.certificates == Certificates::CertManager)
                .then(|| format!("{}/{}", inputs.namespace, names::WEBHOOK_CERTIFICATE)),
            service: names::WEBHOOK_SERVICE,
            namespace: &inputs.namespace,
        },
    )
}

fn monitoring(namespace: &str) -> Result<Vec<DynamicObject>, DesiredError> {
    #[derive(Template)]
    #[template(path = "monitoring.yaml")]
    struct Monitoring<'a> {
        name: &'a str,
        metrics_secret: &'a str,
        server_name: String,
    }
    template::objects(
        "monitoring.yaml",
        &Monitoring {
            name: names::SERVICE_MONITOR,
            metrics_secret: names::METRICS_SECRET,
            server_name: format!("{}.{namespace}.svc", names::METRICS_SERVICE),
        },
    )
}
