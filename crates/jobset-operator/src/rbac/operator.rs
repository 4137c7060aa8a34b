//! What the operator itself may do, beside what it hands out to the operand.

use super::{READ, Rule, STATUS};
use crate::names;

/// Server-side apply, and delete: what the operator does with an object that it manages. `delete` is also what
/// OpenShift asks of whoever writes owner references on an object that exists.
const MANAGE: &[&str] = &["create", "delete", "get", "patch"];
/// Reading a whole kind; lists cannot be limited to several names.
pub(super) const FOLLOW: &[&str] = &["list", "watch"];

/// What the operator itself needs cluster-wide.
pub const OPERATOR_CLUSTER_RULES: &[Rule] = &[
    Rule {
        reason: "the JobSetOperator named cluster says what to do",
        groups: &["operator.openshift.io"],
        resources: &["jobsetoperators"],
        names: &["cluster"],
        verbs: READ,
        ..Rule::NONE
    },
    Rule {
        reason: "what the operator did and found is written to its status",
        groups: &["operator.openshift.io"],
        resources: &["jobsetoperators/status"],
        names: &["cluster"],
        verbs: STATUS,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator installs the JobSet API, and deletes it when it is wanted no more and no JobSet is left",
        groups: &["apiextensions.k8s.io"],
        resources: &["customresourcedefinitions"],
        names: &["jobsets.jobset.x-k8s.io"],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator notices when the APIs that it uses come and go",
        groups: &["apiextensions.k8s.io"],
        resources: &["customresourcedefinitions"],
        names: &[
            "apiservers.config.openshift.io",
            "certificates.cert-manager.io",
            "infrastructures.config.openshift.io",
            "issuers.cert-manager.io",
            "jobsets.jobset.x-k8s.io",
            "jobsetoperators.operator.openshift.io",
            "prometheusrules.monitoring.coreos.com",
            "proxies.config.openshift.io",
            "servicemonitors.monitoring.coreos.com",
        ],
        verbs: READ,
        ..Rule::NONE
    },
    Rule {
        reason: "topology, TLS profile and proxy of an OpenShift cluster hold for the operand, too",
        groups: &["config.openshift.io"],
        resources: &["apiservers", "infrastructures", "proxies"],
        names: &["cluster"],
        verbs: READ,
        ..Rule::NONE
    },
    Rule {
        reason: "a JobSet controller that somebody else deployed is noticed, and then left alone",
        groups: &["apps"],
        resources: &["deployments"],
        names: &[names::OPERAND],
        verbs: FOLLOW,
        ..Rule::NONE
    },
    Rule {
        reason: "before it deletes the JobSet API the operator makes sure that no JobSet is left",
        groups: &["jobset.x-k8s.io"],
        resources: &["jobsets"],
        verbs: FOLLOW,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator applies the cluster roles of the operand, and those for users of JobSets",
        groups: &["rbac.authorization.k8s.io"],
        resources: &["clusterroles"],
        names: &[
            names::EDITOR_ROLE,
            "jobset-manager-role",
            "jobset-metrics-reader",
            "jobset-proxy-role",
            names::VIEWER_ROLE,
        ],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator binds the operand's to the operand",
        groups: &["rbac.authorization.k8s.io"],
        resources: &["clusterrolebindings"],
        names: &[
            "jobset-manager-rolebinding",
            "jobset-metrics-reader-rolebinding",
            "jobset-proxy-rolebinding",
        ],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator repairs cluster roles and bindings that were changed",
        groups: &["rbac.authorization.k8s.io"],
        resources: &["clusterroles", "clusterrolebindings"],
        verbs: FOLLOW,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator registers the operand's admission webhooks",
        groups: &["admissionregistration.k8s.io"],
        resources: &["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
        names: &[names::MUTATING_WEBHOOKS, names::VALIDATING_WEBHOOKS],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator repairs them when they were changed, and notices those of somebody else",
        groups: &["admissionregistration.k8s.io"],
        resources: &["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
        names: &[names::MUTATING_WEBHOOKS, names::VALIDATING_WEBHOOKS],
        verbs: FOLLOW,
        ..Rule::NONE
    },
    Rule {
        reason: "what the operator did is told in events on the JobSetOperator",
        groups: &["events.k8s.io"],
        resources: &["events"],
        verbs: &["create", "patch"],
        ..Rule::NONE
    },
];

/// What the operator itself needs in its namespace.
pub const OPERATOR_RULES: &[Rule] = &[
    Rule {
        reason: "replicas of the operator elect their leader through this Lease",
        groups: &["coordination.k8s.io"],
        resources: &["leases"],
        names: &[names::OPERATOR_LEASE],
        verbs: &["get", "list", "update", "watch"],
        ..Rule::NONE
    },
    Rule {
        reason: "the first leader creates the Lease",
        groups: &["coordination.k8s.io"],
        resources: &["leases"],
        verbs: &["create"],
        ..Rule::NONE
    },
    Rule {
        reason: "the operator applies the operand's Deployment",
        groups: &["apps"],
        resources: &["deployments"],
        names: &[names::OPERAND],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "where the operand has several pods, the operator keeps them from being drained at once",
        groups: &["policy"],
        resources: &["poddisruptionbudgets"],
        names: &[names::OPERAND],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator limits who may talk with the operand and with itself",
        groups: &["networking.k8s.io"],
        resources: &["networkpolicies"],
        names: &[names::OPERAND, names::OPERATOR],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator applies the operand's ServiceAccount",
        groups: &[""],
        resources: &["serviceaccounts"],
        names: &[names::OPERAND],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator applies the Services of the operand's webhooks and metrics, and of its own metrics",
        groups: &[""],
        resources: &["services"],
        names: &[names::WEBHOOK_SERVICE, names::METRICS_SERVICE, names::OPERATOR_METRICS_SERVICE],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator applies the operand's configuration",
        groups: &[""],
        resources: &["configmaps"],
        names: &[names::CONFIG_MAP],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator applies the operand's roles",
        groups: &["rbac.authorization.k8s.io"],
        resources: &["roles"],
        names: &["jobset-leader-election-role", "jobset-manager-secrets-role", names::PROMETHEUS_ROLE],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator binds them",
        groups: &["rbac.authorization.k8s.io"],
        resources: &["rolebindings"],
        names: &[
            "jobset-leader-election-rolebinding",
            "jobset-manager-secrets-rolebinding",
            names::PROMETHEUS_ROLE,
        ],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator asks cert-manager for the operand's certificates",
        groups: &["cert-manager.io"],
        resources: &["issuers"],
        names: &[names::SELF_SIGNED_ISSUER, names::CA_ISSUER],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator asks cert-manager for the operand's certificates",
        groups: &["cert-manager.io"],
        resources: &["certificates"],
        names: &[names::CA_CERTIFICATE, names::WEBHOOK_CERTIFICATE, names::METRICS_CERTIFICATE],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator waits for the certificates and rolls the operand out when they change; keys that \
                 nobody uses any more go with the operand",
        groups: &[""],
        resources: &["secrets"],
        names: &[names::CA_SECRET, names::METRICS_SECRET, names::WEBHOOK_SECRET],
        verbs: &["delete", "get", "list", "patch", "watch"],
        ..Rule::NONE
    },
    Rule {
        reason: "the operator issues the certificate of its own metrics and, without cert-manager, the operand's",
        groups: &[""],
        resources: &["secrets"],
        names: &[
            names::BUILT_IN_METRICS_SECRET,
            names::BUILT_IN_WEBHOOK_SECRET,
            names::OPERATOR_METRICS_SECRET,
        ],
        verbs: &["create", "delete", "get", "list", "patch", "watch"],
        ..Rule::NONE
    },
    Rule {
        reason: "the operator has the cluster's Prometheus scrape the operand and itself",
        groups: &["monitoring.coreos.com"],
        resources: &["servicemonitors"],
        names: &[names::SERVICE_MONITOR, names::OPERATOR_SERVICE_MONITOR],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "and warn when it does not do well",
        groups: &["monitoring.coreos.com"],
        resources: &["prometheusrules"],
        names: &[names::PROMETHEUS_RULE],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "why pods of the operand do not run is told in the status",
        groups: &[""],
        resources: &["pods"],
        verbs: FOLLOW,
        ..Rule::NONE
    },
    Rule {
        reason: "whether the operand's webhooks are reached is told in the status",
        groups: &["discovery.k8s.io"],
        resources: &["endpointslices"],
        verbs: FOLLOW,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator repairs what was changed by others",
        groups: &[""],
        resources: &["configmaps", "serviceaccounts", "services"],
        verbs: FOLLOW,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator repairs what was changed by others",
        groups: &["apps"],
        resources: &["deployments"],
        verbs: FOLLOW,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator repairs what was changed by others",
        groups: &["policy"],
        resources: &["poddisruptionbudgets"],
        verbs: FOLLOW,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator repairs what was changed by others",
        groups: &["networking.k8s.io"],
        resources: &["networkpolicies"],
        verbs: FOLLOW,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator repairs what was changed by others",
        groups: &["rbac.authorization.k8s.io"],
        resources: &["roles", "rolebindings"],
        verbs: FOLLOW,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator repairs what was changed by others, and reads why a certificate is not ready",
        groups: &["cert-manager.io"],
        resources: &["certificates", "issuers"],
        verbs: FOLLOW,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator repairs what was changed by others",
        groups: &["monitoring.coreos.com"],
        resources: &["prometheusrules", "servicemonitors"],
        verbs: FOLLOW,
        ..Rule::NONE
    },
];
