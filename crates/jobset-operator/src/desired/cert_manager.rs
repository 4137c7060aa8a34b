//! The progress of cert-manager: which certificates are not issued, and which renewals fail.
//!
//! cert-manager renews a certificate at `status.renewalTime` of its Certificate, retries a failed attempt after an
//! hour at the earliest, and clears the fields of the failure when it succeeds. Meanwhile, the operand serves with the
//! previous certificate.

use super::problem::Problem;
use crate::names;
use crate::observe::{Live, Observed};
use crate::reasons;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// How long to wait for cert-manager before the operator reports a problem. cert-manager needs seconds.
pub(super) const TIMEOUT: SignedDuration = SignedDuration::from_mins(5);

/// What cert-manager still has to do for the operand.
#[derive(Debug, Default)]
pub(super) struct Issuance {
    /// One sentence for each incomplete Secret, with cert-manager's message.
    pub waiting: Vec<String>,
    /// Problems that wait for the administrator.
    pub problems: Vec<Problem>,
    /// Problems that can pass.
    pub passing: Vec<Problem>,
    /// When the next problem begins if cert-manager does nothing.
    pub reconcile_at: Option<Timestamp>,
}

impl Issuance {
    /// Whether a problem began, or when it does.
    fn has_begun(&mut self, at: Timestamp, now: Timestamp) -> bool {
        if at > now {
            self.reconcile_at = Some(self.reconcile_at.map_or(at, |earliest| earliest.min(at)));
        }
        at <= now
    }
}

/// Evaluates the Certificates of the operand.
pub(super) fn issuance(observed: &Observed, now: Timestamp) -> Issuance {
    let mut issuance = Issuance::default();
    let (mut not_issued, mut unprocessed) = (false, false);
    for (secret, certificate) in [
        (names::WEBHOOK_SECRET, names::WEBHOOK_CERTIFICATE),
        (names::METRICS_SECRET, names::METRICS_CERTIFICATE),
    ] {
        if observed.complete_secret(secret).is_some() {
            continue;
        }
        issuance.waiting.push(missing(observed, secret, certificate));
        // The operator creates a missing Certificate, or reports why it cannot.
        let Some(live) = observed.get("Certificate", certificate) else { continue };
        match requested_at(live) {
            Some(since) => not_issued |= issuance.has_begun(since + TIMEOUT, now),
            None => unprocessed = true,
        }
    }
    let problem = |waiting: &[String]| Problem {
        reason: reasons::CERTIFICATES_NOT_ISSUED,
        message: format!(
            "{}. If cert-manager does not work here, repair or remove it, or set spec.certificates.provider to BuiltIn",
            waiting.join("; ")
        ),
    };
    if not_issued {
        issuance.problems.push(problem(&issuance.waiting));
    } else if unprocessed {
        issuance.passing.push(problem(&issuance.waiting));
    }
    if issuance.waiting.is_empty() {
        for certificate in [names::CA_CERTIFICATE, names::WEBHOOK_CERTIFICATE, names::METRICS_CERTIFICATE] {
            if let Some(live) = observed.get("Certificate", certificate)
                && let Some(why) = failed_renewal(live, &mut issuance, now)
            {
                let end = text(live, "/status/notAfter").map(|end| format!(". It expires at {end}"));
                issuance.problems.push(Problem {
                    reason: reasons::CERTIFICATE_RENEWAL_FAILED,
                    message: format!(
                        "cert-manager did not renew Certificate {certificate}: {why}{}. Repair cert-manager, or set \
                         spec.certificates.provider to BuiltIn",
                        end.unwrap_or_default()
                    ),
                });
            }
        }
    }
    issuance
}

/// Why a renewal fails or is late, if it does.
fn failed_renewal(live: &Live, issuance: &mut Issuance, now: Timestamp) -> Option<String> {
    if let Some(last) = text(live, "/status/lastFailureTime") {
        let attempts = live.object.data.pointer("/status/failedIssuanceAttempts").and_then(Value::as_i64);
        let attempts = attempts.unwrap_or(1);
        let why = failure_message(live).map(|why| format!(": {why}")).unwrap_or_default();
        return Some(format!("failed attempts: {attempts}, the last one at {last}{why}"));
    }
    if let Some(ready) = condition(live, "Ready").filter(|ready| ready["status"] != "True")
        && requested_at(live).is_some_and(|since| issuance.has_begun(since + TIMEOUT, now))
    {
        return Some(describe(ready));
    }
    let due = time(live.object.data.get("status")?, "renewalTime")?;
    issuance.has_begun(due + TIMEOUT, now).then(|| format!("the renewal was due at {due}"))
}

/// Since when cert-manager should have issued the certificate. None if cert-manager has not observed yet that its
/// Secret is missing.
fn requested_at(live: &Live) -> Option<Timestamp> {
    let created = || live.object.metadata.creation_timestamp.as_ref().map(|time| time.0);
    match condition(live, "Ready") {
        Some(ready) if ready["status"] == "True" => None,
        Some(ready) => time(ready, "lastTransitionTime").or_else(created),
        None => created(),
    }
}

fn missing(observed: &Observed, secret: &str, certificate: &str) -> String {
    let not_ready = |name: &str| failure_message(observed.get("Certificate", name)?);
    let why = match (not_ready(certificate), not_ready(names::CA_CERTIFICATE)) {
        (Some(own), Some(root)) => format!("{own}; Certificate {}: {root}", names::CA_CERTIFICATE),
        (Some(own), None) => own,
        (None, Some(root)) => format!("waits for Certificate {}: {root}", names::CA_CERTIFICATE),
        (None, None) => "cert-manager has not processed it yet".to_owned(),
    };
    format!("Secret {secret} is not complete; Certificate {certificate}: {why}")
}

/// cert-manager's message about a failed attempt, or about a certificate that is not ready.
fn failure_message(live: &Live) -> Option<String> {
    let failed = condition(live, "Issuing")
        .filter(|issuing| issuing["status"] == "False" && issuing["reason"] == "Failed");
    let not_ready = || condition(live, "Ready").filter(|ready| ready["status"] != "True");
    failed.or_else(not_ready).map(describe)
}

fn describe(condition: &Value) -> String {
    let text = |field: &str| condition[field].as_str().unwrap_or_default();
    format!("{}: {}", text("reason"), text("message"))
}

fn condition<'a>(live: &'a Live, kind: &str) -> Option<&'a Value> {
    let conditions = live.object.data.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind)
}

fn text<'a>(live: &'a Live, pointer: &str) -> Option<&'a str> {
    live.object.data.pointer(pointer)?.as_str()
}

fn time(value: &Value, field: &str) -> Option<Timestamp> {
    value[field].as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{CertificateSecret, ObjectKey};
    use serde_json::json;

    /// Times in minutes after `now`.
    fn at(minutes: i64) -> Timestamp {
        let now: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        now + SignedDuration::from_mins(minutes)
    }

    fn condition_of(kind: &str, status: &str, since: i64) -> Value {
        json!({"type": kind, "status": status, "reason": "Red", "message": "it is red",
               "lastTransitionTime": at(since).to_string()})
    }

    /// A cluster in which the webhook server's Certificate was created at `created` and has this status.
    #[allow(clippy::needless_pass_by_value)]
    fn observed(issued: bool, created: i64, status: Value) -> Observed {
        let complete = CertificateSecret {
            certificate: "c".into(),
            has_key: true,
            ca: "a".into(),
            ..Default::default()
        };
        let mut observed = Observed::default();
        observed.secrets.insert(names::METRICS_SECRET.into(), complete.clone());
        if issued {
            observed.secrets.insert(names::WEBHOOK_SECRET.into(), complete);
        }
        let object = serde_json::from_value(json!({
            "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
            "metadata": {"name": names::WEBHOOK_CERTIFICATE, "creationTimestamp": at(created).to_string()},
            "status": status,
        }))
        .unwrap();
        let key = ObjectKey::new("Certificate", names::WEBHOOK_CERTIFICATE);
        observed.objects.insert(key, Live::new(object));
        observed
    }

    fn reasons(problems: &[Problem]) -> Vec<&str> {
        problems.iter().map(|problem| problem.reason).collect()
    }

    #[test]
    fn a_certificate_is_overdue_by_its_own_clock() {
        let ready = |status: &str, since| json!({"conditions": [condition_of("Ready", status, since)]});
        for (created, status, overdue, next) in [
            (-4, json!({}), false, Some(1)),
            (-5, json!({}), true, None),
            // The Secret of an old Certificate was deleted.
            (-9999, ready("False", -4), false, Some(1)),
            (-9999, ready("False", -5), true, None),
        ] {
            let found = issuance(&observed(false, created, status.clone()), at(0));
            assert_eq!(found.waiting.len(), 1, "{status}");
            let expected: &[&str] = if overdue { &["CertificatesNotIssued"] } else { &[] };
            assert_eq!(reasons(&found.problems), expected, "{created} {status}");
            assert_eq!(found.reconcile_at, next.map(at), "{created} {status}");
            assert!(found.passing.is_empty(), "{status}");
        }
        // cert-manager has not observed the deletion.
        let found = issuance(&observed(false, -9999, ready("True", -9999)), at(0));
        assert_eq!(
            (reasons(&found.problems), reasons(&found.passing)),
            (vec![], vec!["CertificatesNotIssued"])
        );
    }

    #[test]
    fn a_failed_or_late_renewal_is_a_problem() {
        let ready = |status: &str, since| condition_of("Ready", status, since);
        let issued = || vec![ready("True", -9999)];
        let renewal = |minutes| json!({"conditions": issued(), "renewalTime": at(minutes).to_string()});
        let failed = json!({
            "conditions": [ready("True", -9999), {"type": "Issuing", "status": "False", "reason": "Failed",
                                                  "message": "the issuer is down"}],
            "lastFailureTime": at(-1).to_string(), "failedIssuanceAttempts": 3, "notAfter": at(60).to_string(),
        });
        for (status, message, next) in [
            (json!({}), None, None),
            (renewal(10), None, Some(15)),
            (renewal(-4), None, Some(1)),
            (renewal(-5), Some("the renewal was due at 2029-12-31T23:55:00Z"), None),
            (json!({"conditions": [ready("False", -4)]}), None, Some(1)),
            (json!({"conditions": [ready("False", -5)]}), Some("Red: it is red"), None),
            // Without a transition time, the clock is the age of the Certificate.
            (json!({"conditions": [{"type": "Ready", "status": "False"}]}), None, Some(2)),
            (
                failed,
                Some(
                    "failed attempts: 3, the last one at 2029-12-31T23:59:00Z: Failed: the issuer is down. It expires \
                     at 2030-01-01T01:00:00Z",
                ),
                None,
            ),
        ] {
            let found = issuance(&observed(true, -3, status.clone()), at(0));
            let expected: &[&str] = if message.is_some() { &["CertificateRenewalFailed"] } else { &[] };
            assert_eq!(reasons(&found.problems), expected, "{status}");
            assert_eq!(found.reconcile_at, next.map(at), "{status}");
            if let Some(message) = message {
                assert!(found.problems[0].message.contains(message), "{}", found.problems[0].message);
                assert!(found.problems[0].message.contains(names::WEBHOOK_CERTIFICATE));
            }
        }
    }
}
