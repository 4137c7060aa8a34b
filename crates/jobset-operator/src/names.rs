//! Names of the objects that the operator manages. Tools and documents depend on them.

/// The repository of the project.
pub const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");
/// The folder of the runbooks in [`REPOSITORY`], one page for each alert.
pub const RUNBOOKS: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/runbooks");
/// The recommended namespace of the operator.
pub const NAMESPACE: &str = "openshift-jobset-operator";
/// The operator: its Deployment, ServiceAccount and roles, and its field manager.
pub const OPERATOR: &str = "jobset-operator";
/// The name of the operator's controller in metrics: the kind in lower case.
pub const CONTROLLER: &str = "jobsetoperator";
/// Lease for the leader election of the operator.
pub const OPERATOR_LEASE: &str = "openshift-jobset-operator-lock";
/// The operand: its Deployment and ServiceAccount.
pub const OPERAND: &str = "jobset-controller-manager";
/// Feature gate of the operand for `spec.scheduling` of JobSets.
pub const GANG_SCHEDULING_GATE: &str = "JobSetWorkloadAwareSchedulingAPI";
/// Container of the operand's pods.
pub const OPERAND_CONTAINER: &str = "manager";
/// Label selector of the operand's pods.
pub const OPERAND_SELECTOR: &str =
    "app.kubernetes.io/name=jobset,app.kubernetes.io/instance=jobset,control-plane=controller-manager";
/// Label selector of the `EndpointSlice`s of [`WEBHOOK_SERVICE`].
pub const WEBHOOK_ENDPOINTS_SELECTOR: &str = "kubernetes.io/service-name=jobset-webhook-service";
/// Service of the operand's admission webhooks.
pub const WEBHOOK_SERVICE: &str = "jobset-webhook-service";
/// Service of the operand's metrics.
pub const METRICS_SERVICE: &str = "jobset-controller-manager-metrics-service";
/// ConfigMap of the operand's configuration.
pub const CONFIG_MAP: &str = "jobset-manager-config";
/// Key of the configuration in [`CONFIG_MAP`].
pub const CONFIG_KEY: &str = "controller_manager_config.yaml";
/// Issuer of the self-signed root certificate.
pub const SELF_SIGNED_ISSUER: &str = "jobset-selfsigned-issuer";
/// Issuer of the serving certificates, which the root certificate signs.
pub const CA_ISSUER: &str = "jobset-ca-issuer";
/// The root certificate.
pub const CA_CERTIFICATE: &str = "jobset-root-ca";
/// Secret of the root certificate.
pub const CA_SECRET: &str = "jobset-root-ca";
/// Certificate of the webhook server.
pub const WEBHOOK_CERTIFICATE: &str = "jobset-serving-cert";
/// Secret of the webhook server's certificate that cert-manager issues.
pub const WEBHOOK_SECRET: &str = "webhook-server-cert";
/// Secret of the certificates that the operand issues itself, without the operator. The JobSet project's manifests use
/// the same name, so an upgrade from them keeps the certificates.
pub const INTERNAL_WEBHOOK_SECRET: &str = "jobset-webhook-server-cert";
/// Lease for the leader election of the operand.
pub const OPERAND_LEASE: &str = "6d4f6a47.jobset.x-k8s.io";
/// Certificate of the metrics server.
pub const METRICS_CERTIFICATE: &str = "jobset-metrics-cert";
/// Secret of the metrics server's certificate that cert-manager issues.
pub const METRICS_SECRET: &str = "metrics-server-cert";
/// Secret of the webhook server's certificate that the operator issues.
pub const BUILT_IN_WEBHOOK_SECRET: &str = "jobset-builtin-webhook-server-cert";
/// Secret of the metrics server's certificate that the operator issues.
pub const BUILT_IN_METRICS_SECRET: &str = "jobset-builtin-metrics-server-cert";
/// Webhooks that set defaults.
pub const MUTATING_WEBHOOKS: &str = "jobset-mutating-webhook-configuration";
/// Webhooks that validate.
pub const VALIDATING_WEBHOOKS: &str = "jobset-validating-webhook-configuration";
/// Binding of the operand's `ClusterRole`.
pub const OPERAND_CLUSTER_ROLE_BINDING: &str = "jobset-manager-rolebinding";
/// CRD of JobSets.
pub const JOBSET_CRD: &str = "jobsets.jobset.x-k8s.io";
/// CRD of the JobSetOperator.
pub const OPERATOR_CRD: &str = "jobsetoperators.operator.openshift.io";
/// `ClusterRole` whose subjects may read the metrics.
pub const METRICS_READER_ROLE: &str = "jobset-metrics-reader";
/// Role of an operand that issues its own certificates, for their Secret.
pub const SECRETS_ROLE: &str = "jobset-manager-secrets-role";
/// Binding of [`SECRETS_ROLE`].
pub const SECRETS_ROLE_BINDING: &str = "jobset-manager-secrets-rolebinding";
/// Role and `RoleBinding` of each Prometheus that scrapes operator and operand.
pub const PROMETHEUS_ROLE: &str = "jobset-prometheus-k8s";
/// `ServiceMonitor` of the operand.
pub const SERVICE_MONITOR: &str = "jobset-controller-manager-metrics-monitor";
/// Service of the operator's own metrics.
pub const OPERATOR_METRICS_SERVICE: &str = "jobset-operator-metrics-service";
/// Secret of the operator's metrics server.
pub const OPERATOR_METRICS_SECRET: &str = "jobset-operator-metrics-cert";
/// `ServiceMonitor` of the operator.
pub const OPERATOR_SERVICE_MONITOR: &str = "jobset-operator-metrics-monitor";
/// Alerts of Prometheus.
pub const PROMETHEUS_RULE: &str = "jobset-controller-manager-alerts";
/// `ClusterRole` of JobSet editors, aggregated to admin and edit.
pub const EDITOR_ROLE: &str = "jobset-editor";
/// `ClusterRole` of JobSet viewers, aggregated to view.
pub const VIEWER_ROLE: &str = "jobset-viewer";

/// Quick start in the console of OpenShift.
pub const QUICK_START: &str = "jobset-first-run";
/// Sample in the YAML editor of the console: a leader and workers.
pub const DEMO_SAMPLE: &str = "jobset-demo";
/// Sample with a coordinator.
pub const COORDINATOR_SAMPLE: &str = "jobset-coordinator";
/// Sample with a failure policy.
pub const FAILURE_POLICY_SAMPLE: &str = "jobset-failure-policy";
/// Sample with volume claims.
pub const VOLUME_CLAIM_SAMPLE: &str = "jobset-volume-claims";
/// ConfigMap of the dashboard in the console.
pub const DASHBOARD: &str = "grafana-dashboard-jobset";
/// Namespace from which the console of OpenShift reads dashboards.
pub const DASHBOARD_NAMESPACE: &str = "openshift-config-managed";
/// Label of each ConfigMap that the console shows as a dashboard.
pub const DASHBOARD_LABEL: &str = "console.openshift.io/dashboard";

/// Label selector of the operator's watches. All objects of an installation of JobSet have these labels: those of this
/// operator, of the Go operator, and of the JobSet project's manifests. Only the Go operator's ConfigMap has no label.
pub const INSTALLATION_SELECTOR: &str = "app.kubernetes.io/name=jobset,app.kubernetes.io/instance=jobset";
/// Label of every object that the operator applies.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Annotation of the JobSet CRD: this installation created it, and may delete it. The value is [`OPERATOR`].
pub const CREATED_BY: &str = "operator.openshift.io/created-by";
/// Annotation of the operand's pods: hash of their configuration.
pub const CONFIG_HASH: &str = "operator.openshift.io/config-hash";
/// Annotation of the operand's pods: hash of the webhook server's certificate.
pub const WEBHOOK_CERTIFICATE_HASH: &str = "operator.openshift.io/webhook-server-cert-hash";
/// Annotation of the operand's pods: hash of the metrics server's certificate.
pub const METRICS_CERTIFICATE_HASH: &str = "operator.openshift.io/metrics-server-cert-hash";
