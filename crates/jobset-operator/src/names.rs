//! Names of the objects that the operator manages. Each is part of the contract with tools and documents, so
//! that they stand here once.

/// Namespace that the operator is recommended to run in.
pub const NAMESPACE: &str = "openshift-jobset-operator";
/// The operator: its Deployment, ServiceAccount, roles, and the field manager of everything that it writes.
pub const OPERATOR: &str = "jobset-operator";
/// The operator's one controller, in metrics: the kind that it serves, in lower case.
pub const CONTROLLER: &str = "jobsetoperator";
/// Lease by which replicas of the operator elect their leader.
pub const OPERATOR_LEASE: &str = "openshift-jobset-operator-lock";
/// The operand: its Deployment and ServiceAccount.
pub const OPERAND: &str = "jobset-controller-manager";
/// Container of the operand's pods.
pub const OPERAND_CONTAINER: &str = "manager";
/// What the operand's pods are found by.
pub const OPERAND_SELECTOR: &str =
    "app.kubernetes.io/name=jobset,app.kubernetes.io/instance=jobset,control-plane=controller-manager";
/// What the addresses behind [`WEBHOOK_SERVICE`] are found by.
pub const WEBHOOK_ENDPOINTS_SELECTOR: &str = "kubernetes.io/service-name=jobset-webhook-service";
/// Service of the operand's admission webhooks.
pub const WEBHOOK_SERVICE: &str = "jobset-webhook-service";
/// Service of the operand's metrics.
pub const METRICS_SERVICE: &str = "jobset-controller-manager-metrics-service";
/// ConfigMap of the operand's configuration.
pub const CONFIG_MAP: &str = "jobset-manager-config";
/// Key of the configuration in [`CONFIG_MAP`].
pub const CONFIG_KEY: &str = "controller_manager_config.yaml";
/// Issuer that signs the root certificate with itself.
pub const SELF_SIGNED_ISSUER: &str = "jobset-selfsigned-issuer";
/// Issuer that signs the serving certificates with the root certificate.
pub const CA_ISSUER: &str = "jobset-ca-issuer";
/// The root certificate.
pub const CA_CERTIFICATE: &str = "jobset-root-ca";
/// Secret of the root certificate.
pub const CA_SECRET: &str = "jobset-root-ca";
/// Certificate of the webhook server.
pub const WEBHOOK_CERTIFICATE: &str = "jobset-serving-cert";
/// Secret of the webhook server's certificate that cert-manager issues.
pub const WEBHOOK_SECRET: &str = "webhook-server-cert";
/// Secret of the certificates that the operand makes itself, where it does. Nobody else writes it; the name is
/// that of the JobSet project's own manifests, so that an upgrade from those keeps the certificates.
pub const INTERNAL_WEBHOOK_SECRET: &str = "jobset-webhook-server-cert";
/// Lease by which replicas of the operand elect their leader.
pub const OPERAND_LEASE: &str = "6d4f6a47.jobset.x-k8s.io";
/// Certificate of the metrics server.
pub const METRICS_CERTIFICATE: &str = "jobset-metrics-cert";
/// Secret of the metrics server's certificate that cert-manager issues.
pub const METRICS_SECRET: &str = "metrics-server-cert";
/// Secret of the webhook server's certificate that the operator issues.
pub const BUILT_IN_WEBHOOK_SECRET: &str = "jobset-builtin-webhook-server-cert";
/// Secret of the metrics server's certificate that the operator issues.
pub const BUILT_IN_METRICS_SECRET: &str = "jobset-builtin-metrics-server-cert";
/// Webhooks that fill in defaults.
pub const MUTATING_WEBHOOKS: &str = "jobset-mutating-webhook-configuration";
/// Webhooks that refuse what cannot be.
pub const VALIDATING_WEBHOOKS: &str = "jobset-validating-webhook-configuration";
/// The JobSet API.
pub const JOBSET_CRD: &str = "jobsets.jobset.x-k8s.io";
/// The JobSetOperator API.
pub const OPERATOR_CRD: &str = "jobsetoperators.operator.openshift.io";
/// Role of the cluster's Prometheus, and its binding.
pub const PROMETHEUS_ROLE: &str = "jobset-prometheus-k8s";
/// What Prometheus scrapes.
pub const SERVICE_MONITOR: &str = "jobset-controller-manager-metrics-monitor";
/// Service of the operator's own metrics.
pub const OPERATOR_METRICS_SERVICE: &str = "jobset-operator-metrics-service";
/// Secret of the certificate that the operator's own metrics are served with.
pub const OPERATOR_METRICS_SECRET: &str = "jobset-operator-metrics-cert";
/// What Prometheus scrapes of the operator.
pub const OPERATOR_SERVICE_MONITOR: &str = "jobset-operator-metrics-monitor";
/// What Prometheus warns of.
pub const PROMETHEUS_RULE: &str = "jobset-controller-manager-alerts";
/// `ClusterRole` of whoever may change a project: aggregated into admin and edit.
pub const EDITOR_ROLE: &str = "jobset-editor";
/// `ClusterRole` of whoever may look at a project: aggregated into view.
pub const VIEWER_ROLE: &str = "jobset-viewer";

/// Label of every object that the operator applied; its watches select on it.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Annotation of the operand's pods: hash of the configuration that they run with.
pub const CONFIG_HASH: &str = "operator.openshift.io/config-hash";
/// Annotation of the operand's pods: hash of the webhook server's certificate.
pub const WEBHOOK_CERTIFICATE_HASH: &str = "operator.openshift.io/webhook-server-cert-hash";
/// Annotation of the operand's pods: hash of the metrics server's certificate.
pub const METRICS_CERTIFICATE_HASH: &str = "operator.openshift.io/metrics-server-cert-hash";
