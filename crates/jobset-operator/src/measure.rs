//! Metrics of the operator, in addition to those of every controller.

use crate::observe::Observed;
use jobset_api::jobset_operator::JobSetOperatorStatus;
use manager_runtime::certificates::issue;
use manager_runtime::metrics::Metrics;
use prometheus::{IntGaugeVec, Opts};

/// The operator's own gauges.
#[derive(Clone)]
pub struct Gauges {
    conditions: IntGaugeVec,
    expirations: IntGaugeVec,
}

impl Gauges {
    /// Registers the gauges.
    ///
    /// # Errors
    /// When a metric with one of these names exists.
    pub fn new(metrics: &Metrics) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            metrics.register(IntGaugeVec::new(Opts::new(name, help), labels)?)
        };
        Ok(Self {
            conditions: gauge(
                "jobset_operator_condition",
                "Conditions of the JobSetOperator: 1 for the current status of each condition, 0 for the other",
                &["type", "status"],
            )?,
            expirations: gauge(
                "jobset_operator_certificate_expiration_timestamp_seconds",
                "Expiration time of the certificate in a Secret of the JobSet controller, in seconds since 1970",
                &["secret"],
            )?,
        })
    }

    /// Sets the gauges of the conditions.
    pub(crate) fn conditions(&self, status: &JobSetOperatorStatus) {
        for condition in &status.conditions {
            for value in ["True", "False"] {
                let gauge = self.conditions.with_label_values(&[condition.type_.as_str(), value]);
                gauge.set(i64::from(condition.status == value));
            }
        }
    }

    /// Sets the expiration times of the certificates.
    pub(crate) fn certificates(&self, observed: &Observed) {
        self.expirations.reset();
        for (name, secret) in &observed.secrets {
            if let Ok(end) = issue::ends(&secret.certificate) {
                self.expirations.with_label_values(&[name.as_str()]).set(end.as_second());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::CertificateSecret;
    use k8s_openapi::jiff::{SignedDuration, Timestamp};
    use serde_json::json;

    #[test]
    fn a_condition_has_one_status_and_a_deleted_secret_no_metric() {
        let metrics = Metrics::new().unwrap();
        let gauges = Gauges::new(&metrics).unwrap();
        let condition =
            json!({"type": "Degraded", "status": "True", "lastTransitionTime": "2030-01-01T00:00:00Z"});
        gauges.conditions(&serde_json::from_value(json!({ "conditions": [condition] })).unwrap());
        let now: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        let pair = issue::authority("ca", "test", now, SignedDuration::from_hours(1)).unwrap();
        let secret = CertificateSecret { certificate: pair.certificate, ..CertificateSecret::default() };
        let mut observed = Observed::default();
        observed.secrets.insert("red".into(), secret);
        gauges.certificates(&observed);
        let end = (now + SignedDuration::from_hours(1)).as_second();
        let text = metrics.text().unwrap();
        for line in [
            "jobset_operator_condition{status=\"True\",type=\"Degraded\"} 1".to_owned(),
            "jobset_operator_condition{status=\"False\",type=\"Degraded\"} 0".to_owned(),
            format!("jobset_operator_certificate_expiration_timestamp_seconds{{secret=\"red\"}} {end}"),
        ] {
            assert!(text.contains(&line), "{line} in {text}");
        }
        gauges.certificates(&Observed::default());
        assert!(!metrics.text().unwrap().contains("secret=\"red\""));
    }
}
