//! Permissions of the operator itself, without those that it grants to the operand.

use super::{READ, Rule};
use crate::names;

/// Server-side apply and deletion of managed objects. OpenShift also requires `delete` for a change of the owner
/// references of an existing object.
const MANAGE: &[&str] = &["create", "delete", "get", "patch"];
/// Read access to a whole kind, because a list cannot be limited to several names.
pub(super) const LIST_WATCH: &[&str] = &["list", "watch"];

/// Cluster-wide rules of the operator itself.
pub const OPERATOR_CLUSTER_RULES: &[Rule] = &[
    Rule {
        reason: "the JobSetOperator named cluster configures the operator",
        groups: &["operator.openshift.io"],
        resources: &["jobsetoperators"],
        names: &["cluster"],
        verbs: READ,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator updates the status of the JobSetOperator",
        groups: &["operator.openshift.io"],
        resources: &["jobsetoperators/status"],
        names: &["cluster"],
        verbs: &["patch"],
        ..Rule::NONE
    },
    Rule {
        reason: "the operator installs the JobSet CRD, and deletes it when it is not needed and no JobSet exists",
        groups: &["apiextensions.k8s.io"],
        resources: &["customresourcedefinitions"],
        names: &["jobsets.jobset.x-k8s.io"],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator watches which optional APIs the cluster serves",
        groups: &["apiextensions.k8s.io"],
        resources: &["customresourcedefinitions"],
        names: &[
            "apiservers.config.openshift.io",
            "certificates.cert-manager.io",
            "consolequickstarts.console.openshift.io",
            "consoleyamlsamples.console.openshift.io",
            "infrastructures.config.openshift.io",
            "issuers.cert-manager.io",
            "jobsets.jobset.x-k8s.io",
            "jobsetoperators.operator.openshift.io",
            "prometheusrules.monitoring.coreos.com",
            "proxies.config.openshift.io",
            "servicemonitors.monitoring.coreos.com",
        ],
        verbs: LIST_WATCH,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator applies topology, TLS profile and proxy of an OpenShift cluster to the operand",
        groups: &["config.openshift.io"],
        resources: &["apiservers", "infrastructures", "proxies"],
        names: &["cluster"],
        verbs: LIST_WATCH,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator reads topology and TLS profile when it starts",
        groups: &["config.openshift.io"],
        resources: &["apiservers", "infrastructures"],
        names: &["cluster"],
        verbs: &["get"],
        ..Rule::NONE
    },
    Rule {
        reason: "the operator detects a JobSet controller of another installation, and does not change it",
        groups: &["apps"],
        resources: &["deployments"],
        names: &[names::OPERAND],
        verbs: LIST_WATCH,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator deletes the JobSet CRD only if no JobSet exists",
        groups: &["jobset.x-k8s.io"],
        resources: &["jobsets"],
        verbs: LIST_WATCH,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator applies the cluster roles of the operand, and those for users of JobSets",
        groups: &["rbac.authorization.k8s.io"],
        resources: &["clusterroles"],
        names: &[
            names::EDITOR_ROLE,
            "jobset-manager-role",
            names::METRICS_READER_ROLE,
            "jobset-proxy-role",
            names::VIEWER_ROLE,
        ],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator binds the cluster roles of the operand",
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
        reason: "the operator repairs changes to cluster roles and bindings",
        groups: &["rbac.authorization.k8s.io"],
        resources: &["clusterroles", "clusterrolebindings"],
        verbs: LIST_WATCH,
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
        reason: "the operator repairs changes to them, and detects those of another installation",
        groups: &["admissionregistration.k8s.io"],
        resources: &["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
        names: &[names::MUTATING_WEBHOOKS, names::VALIDATING_WEBHOOKS],
        verbs: LIST_WATCH,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator adds a quick start to the console of OpenShift",
        groups: &["console.openshift.io"],
        resources: &["consolequickstarts"],
        names: &[names::QUICK_START],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "and samples to its YAML editor",
        groups: &["console.openshift.io"],
        resources: &["consoleyamlsamples"],
        names: &[
            names::COORDINATOR_SAMPLE,
            names::DEMO_SAMPLE,
            names::FAILURE_POLICY_SAMPLE,
            names::VOLUME_CLAIM_SAMPLE,
        ],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator repairs changes to them",
        groups: &["console.openshift.io"],
        resources: &["consolequickstarts", "consoleyamlsamples"],
        verbs: LIST_WATCH,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator finds out whether the console of OpenShift reads dashboards",
        groups: &[""],
        resources: &["namespaces"],
        names: &[names::DASHBOARD_NAMESPACE],
        verbs: LIST_WATCH,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator adds its dashboard there, in another namespace than its own",
        groups: &[""],
        resources: &["configmaps"],
        names: &[names::DASHBOARD],
        verbs: &["create", "delete", "get", "list", "patch", "watch"],
        ..Rule::NONE
    },
    Rule {
        reason: "the operator records events about the JobSetOperator",
        groups: &["events.k8s.io"],
        resources: &["events"],
        verbs: &["create", "patch"],
        ..Rule::NONE
    },
];

/// Rules of the operator itself in its namespace.
pub const OPERATOR_RULES: &[Rule] = &[
    Rule {
        reason: "replicas of the operator elect their leader with this Lease",
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
        reason: "if the operand has several pods, the operator limits how many a drain may evict at once",
        groups: &["policy"],
        resources: &["poddisruptionbudgets"],
        names: &[names::OPERAND],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator limits the network traffic of the operand and of itself",
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
        names: &["jobset-leader-election-role", names::PROMETHEUS_ROLE],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator binds the operand's roles",
        groups: &["rbac.authorization.k8s.io"],
        resources: &["rolebindings"],
        names: &["jobset-leader-election-rolebinding", names::PROMETHEUS_ROLE],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator deletes the role of earlier versions for Secrets, which the operand does not need",
        groups: &["rbac.authorization.k8s.io"],
        resources: &["roles", "rolebindings"],
        names: &[names::SECRETS_ROLE, names::SECRETS_ROLE_BINDING],
        verbs: &["delete"],
        ..Rule::NONE
    },
    Rule {
        reason: "the operator requests the operand's certificates from cert-manager",
        groups: &["cert-manager.io"],
        resources: &["issuers"],
        names: &[names::SELF_SIGNED_ISSUER, names::CA_ISSUER],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator requests the operand's certificates from cert-manager",
        groups: &["cert-manager.io"],
        resources: &["certificates"],
        names: &[names::CA_CERTIFICATE, names::WEBHOOK_CERTIFICATE, names::METRICS_CERTIFICATE],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator rolls the operand out when its certificates change, and deletes unused ones",
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
        reason: "the operator configures the cluster's Prometheus to scrape the operand and the operator",
        groups: &["monitoring.coreos.com"],
        resources: &["servicemonitors"],
        names: &[names::SERVICE_MONITOR, names::OPERATOR_SERVICE_MONITOR],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "and to alert when they fail",
        groups: &["monitoring.coreos.com"],
        resources: &["prometheusrules"],
        names: &[names::PROMETHEUS_RULE],
        verbs: MANAGE,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator reports in its status why pods of the operand do not run",
        groups: &[""],
        resources: &["pods"],
        verbs: LIST_WATCH,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator reports in its status whether the operand's webhooks have ready endpoints",
        groups: &["discovery.k8s.io"],
        resources: &["endpointslices"],
        verbs: LIST_WATCH,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator repairs changes of other clients",
        groups: &[""],
        resources: &["configmaps", "serviceaccounts", "services"],
        verbs: LIST_WATCH,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator repairs changes of other clients",
        groups: &["apps"],
        resources: &["deployments"],
        verbs: LIST_WATCH,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator repairs changes of other clients",
        groups: &["policy"],
        resources: &["poddisruptionbudgets"],
        verbs: LIST_WATCH,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator repairs changes of other clients",
        groups: &["networking.k8s.io"],
        resources: &["networkpolicies"],
        verbs: LIST_WATCH,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator repairs changes of other clients",
        groups: &["rbac.authorization.k8s.io"],
        resources: &["roles", "rolebindings"],
        verbs: LIST_WATCH,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator repairs changes of other clients, and reads why a certificate is not ready",
        groups: &["cert-manager.io"],
        resources: &["certificates", "issuers"],
        verbs: LIST_WATCH,
        ..Rule::NONE
    },
    Rule {
        reason: "the operator repairs changes of other clients",
        groups: &["monitoring.coreos.com"],
        resources: &["prometheusrules", "servicemonitors"],
        verbs: LIST_WATCH,
        ..Rule::NONE
    },
];
