//! Descriptors of the JobSetOperator API for consoles: the form, the status, and the related objects.
//!
//! A form shows the fields in the order of the table. The descriptor of an object is the heading of its fields.

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
        "specDescriptors": descriptors(SPEC),
        "statusDescriptors": descriptors(STATUS),
    })
}

/// A field of the API in a console.
struct Field {
    path: &'static str,
    name: &'static str,
    description: &'static str,
    widget: Widget,
}

/// How a console shows a field. The names are those of the console's `x-descriptors`.
enum Widget {
    /// By its schema.
    Schema,
    Text,
    Number,
    Pods,
    Resources,
    Conditions,
    Select(&'static [&'static str]),
    /// Among the advanced settings.
    Advanced,
    Hidden,
}

impl Widget {
    fn descriptors(&self) -> Vec<String> {
        let of_form = |name: &str| format!("urn:alm:descriptor:com.tectonic.ui:{name}");
        match self {
            Widget::Schema => Vec::new(),
            Widget::Text => vec![of_form("text")],
            Widget::Number => vec![of_form("number")],
            Widget::Pods => vec![of_form("podCount")],
            Widget::Resources => vec![of_form("resourceRequirements")],
            Widget::Conditions => vec!["urn:alm:descriptor:io.kubernetes.conditions".to_owned()],
            Widget::Select(values) => {
                values.iter().map(|value| of_form(&format!("select:{value}"))).collect()
            }
            Widget::Advanced => vec![of_form("advanced")],
            Widget::Hidden => vec![of_form("hidden")],
        }
    }
}

const fn field(path: &'static str, name: &'static str, description: &'static str, widget: Widget) -> Field {
    Field { path, name, description, widget }
}

fn descriptors(fields: &[Field]) -> Value {
    let descriptors = fields.iter().map(|field| {
        json!({
            "path": field.path,
            "displayName": field.name,
            "description": field.description,
            "x-descriptors": field.widget.descriptors(),
        })
    });
    descriptors.collect::<Vec<_>>().into()
}

const LOG_LEVELS: &[&str] = &["Normal", "Debug", "Trace", "TraceAll"];

/// The fields of the form, in its order.
const SPEC: &[Field] = &[
    field(
        "managementState",
        "Management state",
        "Managed or Force: the operator installs the JobSet controller and repairs changes to it. Unmanaged: the \
         operator changes nothing. Removed: the operator removes the controller, and JobSets stay.",
        Widget::Select(&["Managed", "Unmanaged", "Force", "Removed"]),
    ),
    field(
        "logLevel",
        "Log level of the controller",
        "Use Debug or more to find the cause of a problem. A change rolls out new pods.",
        Widget::Select(LOG_LEVELS),
    ),
    field(
        "operatorLogLevel",
        "Log level of the operator",
        "A change takes effect at once, without a restart.",
        Widget::Select(LOG_LEVELS),
    ),
    field(
        "controller",
        "Controller",
        "How the pods of the JobSet controller run. Every field has a default that suits most clusters.",
        Widget::Schema,
    ),
    field(
        "controller.replicas",
        "Pods",
        "Number of pods, from 1 to 10. Default: two in a highly available cluster, otherwise one.",
        Widget::Pods,
    ),
    field(
        "controller.resources",
        "Resources",
        "CPU and memory of each pod. A memory limit that is too small stops the controller, and with it the admission \
         of JobSets.",
        Widget::Resources,
    ),
    field(
        "controller.resources.requests",
        "Requests",
        "What the scheduler reserves for a pod. Values replace the defaults of the operator.",
        Widget::Schema,
    ),
    field(
        "controller.resources.limits",
        "Limits",
        "What a pod can use at most. Default: none.",
        Widget::Schema,
    ),
    field(
        "controller.nodeSelector",
        "Node selector",
        "Labels of the nodes on which the pods may run, for example node-role.kubernetes.io/infra.",
        Widget::Schema,
    ),
    field(
        "controller.tolerations",
        "Tolerations",
        "Taints of nodes on which the pods may run nevertheless.",
        Widget::Schema,
    ),
    field(
        "controller.tolerations[0].key",
        "Key",
        "Key of the taint. Empty, with operator Exists: every taint.",
        Widget::Text,
    ),
    field(
        "controller.tolerations[0].operator",
        "Operator",
        "Equal, the default: key and value match. Exists: the key matches.",
        Widget::Text,
    ),
    field("controller.tolerations[0].value", "Value", "Value of the taint. Empty with Exists.", Widget::Text),
    field(
        "controller.tolerations[0].effect",
        "Effect",
        "NoSchedule, PreferNoSchedule or NoExecute. Empty: every effect.",
        Widget::Text,
    ),
    field(
        "controller.tolerations[0].tolerationSeconds",
        "Seconds",
        "With NoExecute: how long a pod stays on a node after the taint appears. Empty: without limit.",
        Widget::Number,
    ),
    field(
        "controller.priorityClassName",
        "Priority class",
        "Default: system-cluster-critical, because the API server rejects JobSets while no pod of the controller runs.",
        Widget::Text,
    ),
    field(
        "controller.featureGates",
        "Feature gates",
        "Features to enable or disable, by name. The controller does not start with an unknown name, and the condition \
         Degraded reports it.",
        Widget::Schema,
    ),
    field(
        "controller.clientConnection",
        "Requests to the API server",
        "Limits of the write requests of the controller.",
        Widget::Schema,
    ),
    field("controller.clientConnection.qps", "Requests per second", "Default: 500.", Widget::Number),
    field(
        "controller.clientConnection.burst",
        "Burst",
        "Requests above that rate. Default: 500.",
        Widget::Number,
    ),
    field("certificates", "Certificates", "Certificates of the webhooks and of the metrics.", Widget::Schema),
    field(
        "certificates.provider",
        "Issuer",
        "Auto: cert-manager if it is installed, otherwise the operator. CertManager: cert-manager, which must be \
         installed. BuiltIn: the operator.",
        Widget::Select(&["Auto", "CertManager", "BuiltIn"]),
    ),
    field(
        "monitoring",
        "Monitoring",
        "Access of Prometheus to the metrics of the controller and of the operator.",
        Widget::Schema,
    ),
    field(
        "monitoring.prometheus",
        "Prometheus servers",
        "The servers that may read the metrics. The list replaces the default: the servers of OpenShift, and \
         elsewhere also that of kube-prometheus.",
        Widget::Schema,
    ),
    field(
        "monitoring.prometheus[0].namespace",
        "Namespace",
        "Namespace in which the server runs.",
        Widget::Text,
    ),
    field(
        "monitoring.prometheus[0].serviceAccount",
        "Service account",
        "Service account of the pods of the server. Default: prometheus-k8s.",
        Widget::Text,
    ),
    field(
        "unsupportedConfigOverrides",
        "Unsupported overrides",
        "Merged last into the configuration of the controller. Not supported: while it is set, OLM does not upgrade the \
         operator.",
        Widget::Advanced,
    ),
    field(
        "observedConfig",
        "Observed configuration",
        "For operators that derive configuration from the cluster. This operator does not use it.",
        Widget::Hidden,
    ),
];

/// The fields of the status, in the order of the page.
const STATUS: &[Field] = &[
    field(
        "conditions",
        "Conditions",
        "Available: a pod of the controller serves. Progressing: a change is being rolled out. Degraded: an \
         administrator must act. Upgradeable: an upgrade keeps all settings.",
        Widget::Conditions,
    ),
    field("readyReplicas", "Ready pods", "Pods of the JobSet controller that are ready.", Widget::Pods),
    field("version", "Version", "Version of the operator that completed the last rollout.", Widget::Text),
    field(
        "observedGeneration",
        "Observed generation",
        "Generation of the settings that the operator applied last.",
        Widget::Number,
    ),
    field(
        "generations",
        "Managed Deployment",
        "Generation of the Deployment of the controller after the last change by the operator.",
        Widget::Schema,
    ),
    field(
        "latestAvailableRevision",
        "Latest revision",
        "For operators with revisions of their operand. This operator does not set it.",
        Widget::Hidden,
    ),
];

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
