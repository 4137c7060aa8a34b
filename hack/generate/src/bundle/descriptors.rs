//! Descriptors of the JobSetOperator API for consoles: the form, the status, and the related objects.

use jobset_api::jobset_operator::{KIND, VERSION};
use jobset_operator::names;
use serde_json::{Value, json};

/// The owned CRD of the `ClusterServiceVersion`.
pub(super) fn owned_crd() -> Value {
    json!({
        "name": names::OPERATOR_CRD,
        "kind": KIND,
        "version": VERSION,
        "displayName": "JobSetOperator",
        "description": "Configuration of the JobSet controller in this cluster. The only object is named `cluster`.",
        "resources": resources(),
        "specDescriptors": [
            {
                "path": "managementState",
                "displayName": "Management State",
                "description": "Managed: the operator installs the JobSet controller and repairs changes to it. \
                                Unmanaged: the operator changes nothing. \
                                Removed: the operator removes the controller.",
                "x-descriptors": select(&["Managed", "Unmanaged", "Removed"]),
            },
            {
                "path": "logLevel",
                "displayName": "Log Level",
                "description": "Log level of the JobSet controller.",
                "x-descriptors": select(LOG_LEVELS),
            },
            {
                "path": "operatorLogLevel",
                "displayName": "Operator Log Level",
                "description": "Log level of the operator.",
                "x-descriptors": select(LOG_LEVELS),
            },
            {
                "path": "certificates.provider",
                "displayName": "Certificates",
                "description": "Issuer of the certificates of webhooks and metrics. \
                                Auto: cert-manager if it is installed, otherwise the operator.",
                "x-descriptors": select(&["Auto", "CertManager", "BuiltIn"]),
            },
            {
                "path": "controller.replicas",
                "displayName": "Controller Pods",
                "description": "Number of pods of the JobSet controller. \
                                Default: two in a highly available cluster, otherwise one.",
                "x-descriptors": ["urn:alm:descriptor:com.tectonic.ui:podCount"],
            },
            {
                "path": "controller.resources",
                "displayName": "Controller Resources",
                "description": "CPU and memory requests and limits of the JobSet controller.",
                "x-descriptors": ["urn:alm:descriptor:com.tectonic.ui:resourceRequirements"],
            },
            {
                "path": "controller.priorityClassName",
                "displayName": "Controller Priority Class",
                "description": "PriorityClass of the pods of the JobSet controller. Default: system-cluster-critical.",
                "x-descriptors": ["urn:alm:descriptor:com.tectonic.ui:advanced"],
            },
            {
                "path": "monitoring.prometheus",
                "displayName": "Prometheus Servers",
                "description": "Prometheus servers that may scrape the JobSet controller and the operator. \
                                Default: those of OpenShift and kube-prometheus.",
                "x-descriptors": ["urn:alm:descriptor:com.tectonic.ui:advanced"],
            },
            {
                "path": "unsupportedConfigOverrides",
                "displayName": "Unsupported Configuration Overrides",
                "description": "Settings that override the configuration of the JobSet controller. Not supported.",
                "x-descriptors": ["urn:alm:descriptor:com.tectonic.ui:advanced"],
            },
            {
                "path": "observedConfig",
                "displayName": "Observed Configuration",
                "description": "Configuration derived from the cluster. Operators write it; do not edit it.",
                "x-descriptors": ["urn:alm:descriptor:com.tectonic.ui:hidden"],
            },
        ],
        "statusDescriptors": [
            {
                "path": "conditions",
                "displayName": "Conditions",
                "description": "Whether the JobSet controller is available, progressing or degraded, and why.",
                "x-descriptors": ["urn:alm:descriptor:io.kubernetes.conditions"],
            },
            {
                "path": "readyReplicas",
                "displayName": "Ready Replicas",
                "description": "Number of ready pods of the JobSet controller.",
                "x-descriptors": ["urn:alm:descriptor:com.tectonic.ui:podCount"],
            },
            {
                "path": "version",
                "displayName": "Version",
                "description": "Version of the operator that rolled out this state.",
                "x-descriptors": ["urn:alm:descriptor:text"],
            },
        ],
    })
}

const LOG_LEVELS: &[&str] = &["Normal", "Debug", "Trace", "TraceAll"];

fn select(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| format!("urn:alm:descriptor:com.tectonic.ui:select:{value}")).collect()
}

/// Kinds of the objects that a console shows for a JobSetOperator. The API requires a `name`: that of the CRD of a
/// custom resource, and the empty string for a kind of Kubernetes. It is not the name of an object.
fn resources() -> Value {
    let kinds = [
        "Deployment",
        "Pod",
        "ReplicaSet",
        "ConfigMap",
        "Service",
        "ServiceAccount",
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
        "CustomResourceDefinition",
    ];
    kinds.map(|kind| json!({ "version": "v1", "kind": kind, "name": "" })).to_vec().into()
}
