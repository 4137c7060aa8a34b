//! `ServiceMonitor`s and alerts for Prometheus.

use super::{DesiredError, Inputs, template};
use crate::names;
use askama::Template;
use kube::api::DynamicObject;

/// The runbooks of the alerts in this repository.
const RUNBOOKS: &str = "docs/runbooks";

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
        let template = PrometheusRule { name: names::PROMETHEUS_RULE, namespace, alerts: alerts(namespace) };
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

fn alerts(namespace: &str) -> Vec<Alert> {
    let operand = format!("namespace=\"{namespace}\",job=\"{}\"", names::METRICS_SERVICE);
    let alert = |name, expression, duration, severity, summary, description| Alert {
        name,
        expression,
        duration,
        severity,
        summary,
        description,
        runbook: format!("{RUNBOOKS}/{name}.md"),
    };
    vec![
        alert(
            "JobSetControllerDown",
            format!("absent(up{{{operand}}} == 1)"),
            "5m",
            "critical",
            "The JobSet controller is down.",
            "Prometheus has reached no pod of the JobSet controller for five minutes. Users cannot create or change \
             JobSets, and the controller does not reconcile existing JobSets.",
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

    #[test]
    fn every_alert_has_a_runbook() {
        for alert in alerts("ns") {
            let page = format!("{}/../../{}", env!("CARGO_MANIFEST_DIR"), alert.runbook);
            let text = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{page}: {error}"));
            assert!(text.starts_with(&format!("# {}\n", alert.name)), "{page}");
        }
    }
}
