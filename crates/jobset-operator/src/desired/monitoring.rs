//! What Prometheus scrapes and warns of.

use super::{DesiredError, Inputs, template};
use crate::names;
use askama::Template;
use kube::api::DynamicObject;

/// Where each alert is explained: a page of this repository.
const RUNBOOKS: &str = "docs/runbooks";

/// What has operand and operator scraped, and `PrometheusRule`, as far as they can be created.
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
    lasting: &'static str,
    severity: &'static str,
    summary: &'static str,
    description: &'static str,
    runbook: String,
}

fn alerts(namespace: &str) -> Vec<Alert> {
    let operand = format!("namespace=\"{namespace}\",job=\"{}\"", names::METRICS_SERVICE);
    let alert = |name, expression, lasting, severity, summary, description| Alert {
        name,
        expression,
        lasting,
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
            "No JobSet controller runs.",
            "For five minutes no pod of the JobSet controller has answered. JobSets can be neither created nor \
             changed, and those that run are not looked after.",
        ),
        alert(
            "JobSetWebhookFailing",
            "sum by (name) (rate(apiserver_admission_webhook_rejection_count{\
             name=~\"[mv](jobset|pod)[.]kb[.]io\",error_type=\"calling_webhook_error\"}[5m])) > 0"
                .to_owned(),
            "5m",
            "critical",
            "The API server cannot call the JobSet webhooks.",
            "Calls of webhook {{ $labels.name }} fail, and with them the creation of JobSets or of their pods.",
        ),
        alert(
            "JobSetCertificateExpiring",
            format!(
                "min by (secret) (jobset_operator_certificate_expiration_timestamp_seconds{{\
                 namespace=\"{namespace}\"}}) - time() < 14 * 24 * 3600"
            ),
            "1h",
            "warning",
            "A certificate of the JobSet controller is about to expire.",
            "The certificate in Secret {{ $labels.secret }} ends in {{ $value | humanizeDuration }} and was not \
             renewed. After that, JobSets are refused.",
        ),
        alert(
            "JobSetsFailing",
            // A JobSet fails once: its series begins at 1, and increase() sees nothing. So new series are counted.
            // Prometheus calls the JobSet's namespace so, because the target has one already.
            format!(
                "count by (exported_namespace) (last_over_time(jobset_failed_total{{{operand}}}[1h]) unless \
                 last_over_time(jobset_failed_total{{{operand}}}[5m] offset 1h)) > 10"
            ),
            "15m",
            "warning",
            "Many JobSets fail.",
            "More than ten JobSets of namespace {{ $labels.exported_namespace }} failed within an hour.",
        ),
        alert(
            "JobSetReconcileErrors",
            format!(
                "sum by (controller) (rate(controller_runtime_reconcile_errors_total{{{operand}}}[5m])) > 0.1"
            ),
            "15m",
            "warning",
            "The JobSet controller cannot do its work.",
            "Controller {{ $labels.controller }} fails at {{ $value | humanize }} objects a second.",
        ),
        alert(
            "JobSetOperatorDegraded",
            format!(
                "max(jobset_operator_condition{{namespace=\"{namespace}\",type=\"Degraded\",status=\"True\"}}) == 1"
            ),
            "15m",
            "warning",
            "The JobSet operator needs help.",
            "JobSetOperator cluster has been Degraded for a quarter of an hour: its conditions say why.",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alert_has_its_page() {
        for alert in alerts("ns") {
            let page = format!("{}/../../{}", env!("CARGO_MANIFEST_DIR"), alert.runbook);
            let text = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{page}: {error}"));
            assert!(text.starts_with(&format!("# {}\n", alert.name)), "{page}");
        }
    }
}
