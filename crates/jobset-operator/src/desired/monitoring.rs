//! `ServiceMonitor`s and alerts for Prometheus.

use super::{DesiredError, Inputs, template};
use crate::names;
use askama::Template;
use jobset_api::JobSetOperator;
use jobset_api::jobset_operator::PrometheusServer;
use kube::api::DynamicObject;

/// Namespace and service account of the Prometheus servers of OpenShift: for the platform, and for the projects of
/// users. The other clusters may have them, too.
const OPENSHIFT: [(&str, &str); 2] = [
    ("openshift-monitoring", "prometheus-k8s"),
    ("openshift-user-workload-monitoring", "prometheus-user-workload"),
];
/// The Prometheus server of kube-prometheus. OpenShift has none, and a user could create a project of this name there.
const KUBE_PROMETHEUS: (&str, &str) = ("monitoring", "prometheus-k8s");

/// Monitoring of operand and operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Monitoring {
    /// Whether the API `ServiceMonitor` is served.
    pub service_monitor: bool,
    /// Whether the API `PrometheusRule` is served.
    pub prometheus_rule: bool,
    /// The Prometheus servers that may scrape.
    pub prometheus: Vec<PrometheusServer>,
    /// URL of the folder of the runbooks.
    pub runbooks: String,
}

/// The Prometheus servers that may scrape: those that the administrator names, or else the usual ones.
pub(super) fn prometheus_servers(operator: &JobSetOperator, openshift: bool) -> Vec<PrometheusServer> {
    if let Some(servers) = operator.spec.monitoring.as_ref().and_then(|spec| spec.prometheus.clone()) {
        return servers;
    }
    OPENSHIFT
        .into_iter()
        .chain((!openshift).then_some(KUBE_PROMETHEUS))
        .map(|(namespace, service_account)| PrometheusServer {
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
        })
        .collect()
}

/// The `ServiceMonitor`s of operand and operator, and the `PrometheusRule`, as far as the cluster serves their APIs.
pub(super) fn objects(inputs: &Inputs) -> Result<Vec<DynamicObject>, DesiredError> {
    #[derive(Template)]
    #[template(path = "service-monitor.yaml")]
    struct ServiceMonitor<'a> {
        name: &'a str,
        metrics_secret: &'a str,
        server_name: String,
        operator: &'a str,
        operator_service: &'a str,
        operator_monitor: &'a str,
        operator_secret: &'a str,
        operator_server_name: String,
    }
    #[derive(Template)]
    #[template(path = "prometheus-rule.yaml")]
    struct PrometheusRule<'a> {
        name: &'a str,
        namespace: &'a str,
        alerts: Vec<Alert>,
    }
    let namespace = &inputs.namespace;
    let mut all = Vec::new();
    if inputs.monitoring.service_monitor {
        let template = ServiceMonitor {
            name: names::SERVICE_MONITOR,
            metrics_secret: inputs.certificates.metrics_secret(),
            server_name: format!("{}.{namespace}.svc", names::METRICS_SERVICE),
            operator: names::OPERATOR,
            operator_service: names::OPERATOR_METRICS_SERVICE,
            operator_monitor: names::OPERATOR_SERVICE_MONITOR,
            operator_secret: names::OPERATOR_METRICS_SECRET,
            operator_server_name: format!("{}.{namespace}.svc", names::OPERATOR_METRICS_SERVICE),
        };
        all.extend(template::objects("service-monitor.yaml", &template)?);
    }
    if inputs.monitoring.prometheus_rule {
        let template = PrometheusRule {
            name: names::PROMETHEUS_RULE,
            namespace,
            alerts: alerts(namespace, &inputs.monitoring.runbooks),
        };
        all.extend(template::objects("prometheus-rule.yaml", &template)?);
    }
    Ok(all)
}

/// One alert.
struct Alert {
    name: &'static str,
    expression: String,
    duration: &'static str,
    severity: &'static str,
    summary: &'static str,
    description: &'static str,
    runbook: String,
}

/// An expression that is true while no target of a job is up. It is false where Prometheus has scraped neither operator
/// nor operand for a day: a Prometheus that cannot discover the targets knows nothing about them.
fn is_down(namespace: &str, job: &str) -> String {
    let jobs = [names::METRICS_SERVICE, names::OPERATOR_METRICS_SERVICE].join("|");
    format!(
        "absent(up{{namespace=\"{namespace}\",job=\"{job}\"}} == 1) and on () \
         count(present_over_time(up{{namespace=\"{namespace}\",job=~\"{jobs}\"}}[1d]))"
    )
}

fn alerts(namespace: &str, runbooks: &str) -> Vec<Alert> {
    let operand = format!("namespace=\"{namespace}\",job=\"{}\"", names::METRICS_SERVICE);
    let alert = |name, expression, duration, severity, summary, description| Alert {
        name,
        expression,
        duration,
        severity,
        summary,
        description,
        runbook: format!("{runbooks}/{name}.md"),
    };
    vec![
        alert(
            "JobSetControllerDown",
            is_down(namespace, names::METRICS_SERVICE),
            "5m",
            "critical",
            "The JobSet controller is down.",
            "Prometheus has reached no pod of the JobSet controller for five minutes. Users cannot create or change \
             JobSets, and the controller does not reconcile existing JobSets.",
        ),
        alert(
            "JobSetOperatorDown",
            is_down(namespace, names::OPERATOR_METRICS_SERVICE),
            "10m",
            "warning",
            "The JobSet operator is down.",
            "Prometheus has reached no pod of the JobSet operator for ten minutes. JobSets run, but no component \
             repairs the JobSet controller or renews its certificates.",
        ),
        alert(
            "JobSetWebhookFailing",
            "sum by (name) (rate(apiserver_admission_webhook_rejection_count{\
             name=~\"[mv](jobset|pod)[.]kb[.]io\",error_type=\"calling_webhook_error\"}[5m])) > 0"
                .to_owned(),
            "5m",
            "critical",
            "The API server cannot call the JobSet webhooks.",
            "Calls to webhook {{ $labels.name }} fail, so the API server rejects JobSets or their pods.",
        ),
        alert(
            "JobSetCertificateExpiring",
            format!(
                "min by (secret) (jobset_operator_certificate_expiration_timestamp_seconds{{\
                 namespace=\"{namespace}\"}}) - time() < 14 * 24 * 3600"
            ),
            "1h",
            "warning",
            "A certificate of the JobSet controller expires soon.",
            "The certificate in Secret {{ $labels.secret }} expires in {{ $value | humanizeDuration }} and was not \
             renewed. After that, the API server rejects JobSets.",
        ),
        alert(
            "JobSetsFailing",
            // A JobSet fails once. Its series starts at 1, so increase() is zero. This expression counts new series.
            // The target has a label `namespace`, so Prometheus renames that of the JobSet to `exported_namespace`.
            format!(
                "count by (exported_namespace) (last_over_time(jobset_failed_total{{{operand}}}[1h]) unless \
                 last_over_time(jobset_failed_total{{{operand}}}[5m] offset 1h)) > 10"
            ),
            "15m",
            "warning",
            "Many JobSets fail.",
            "More than ten JobSets in namespace {{ $labels.exported_namespace }} failed within an hour.",
        ),
        alert(
            "JobSetReconcileErrors",
            format!(
                "sum by (controller) (rate(controller_runtime_reconcile_errors_total{{{operand}}}[5m])) > 0.1"
            ),
            "15m",
            "warning",
            "Reconciles of the JobSet controller fail.",
            "Controller {{ $labels.controller }} has {{ $value | humanize }} reconcile errors per second.",
        ),
        alert(
            "JobSetOperatorDegraded",
            format!(
                "max(jobset_operator_condition{{namespace=\"{namespace}\",type=\"Degraded\",status=\"True\"}}) == 1"
            ),
            "15m",
            "warning",
            "The JobSet operator is degraded.",
            "JobSetOperator cluster has been Degraded for 15 minutes. Its conditions contain the reasons.",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_alert_has_a_runbook() {
        let folder = format!("{}/../../docs/runbooks", env!("CARGO_MANIFEST_DIR"));
        let alerts = alerts("ns", "https://runbooks.example/jobset");
        for alert in &alerts {
            let page = alert.runbook.strip_prefix("https://runbooks.example/jobset/").unwrap();
            let text = std::fs::read_to_string(format!("{folder}/{page}"))
                .unwrap_or_else(|error| panic!("{page}: {error}"));
            assert!(text.starts_with(&format!("# {}\n", alert.name)), "{page}");
            let severity = format!("\n**Severity:** {}.", alert.severity);
            assert!(text.contains(&severity), "{page}: {severity}");
        }
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), alerts.len(), "pages without an alert");
    }

    #[test]
    fn alerts_on_a_missing_target_require_that_prometheus_has_scraped() {
        let alerts = alerts("ns", "");
        let (of_absence, others): (Vec<_>, Vec<_>) =
            alerts.iter().partition(|alert| alert.expression.contains("absent("));
        let names: Vec<_> = of_absence.iter().map(|alert| alert.name).collect();
        assert_eq!(names, ["JobSetControllerDown", "JobSetOperatorDown"]);
        for alert in of_absence {
            let (absent, evidence) = alert.expression.split_once(" and on () ").unwrap();
            assert!(absent.starts_with("absent(up{") && absent.ends_with(" == 1)"), "{absent}");
            assert!(evidence.contains("[1d]"), "{evidence}");
            for job in [names::METRICS_SERVICE, names::OPERATOR_METRICS_SERVICE] {
                assert!(evidence.contains(job), "{evidence}");
            }
        }
        assert!(others.iter().all(|alert| alert.expression.contains('{')), "an alert without a metric");
    }

    #[test]
    fn the_administrator_or_the_kind_of_cluster_determines_the_prometheus_servers() {
        let servers = |spec: serde_json::Value, openshift| {
            let operator: JobSetOperator =
                serde_json::from_value(json!({"metadata": {"name": "cluster"}, "spec": spec})).unwrap();
            prometheus_servers(&operator, openshift)
                .into_iter()
                .map(|server| format!("{}/{}", server.namespace, server.service_account))
                .collect::<Vec<_>>()
        };
        let of_openshift = [
            "openshift-monitoring/prometheus-k8s",
            "openshift-user-workload-monitoring/prometheus-user-workload",
        ];
        assert_eq!(servers(json!({}), true), of_openshift);
        let everywhere = [of_openshift.as_slice(), &["monitoring/prometheus-k8s"]].concat();
        assert_eq!(servers(json!({}), false), everywhere);
        assert_eq!(servers(json!({"monitoring": {}}), false), everywhere);
        let named = json!({"monitoring": {"prometheus": [
            {"namespace": "observability"}, {"namespace": "metrics", "serviceAccount": "scraper"},
        ]}});
        for openshift in [false, true] {
            assert_eq!(
                servers(named.clone(), openshift),
                ["observability/prometheus-k8s", "metrics/scraper"]
            );
        }
        assert_eq!(servers(json!({"monitoring": {"prometheus": []}}), true), <[String; 0]>::default());
    }
}
