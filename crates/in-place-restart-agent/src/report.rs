//! Log lines about failed requests.

use std::time::Duration;

use tracing::{info, warn};

use crate::api::Failure;
use crate::backoff::Backoff;

/// What a request does, for messages and for the missing RBAC rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purpose {
    /// Completes "cannot ...".
    pub(crate) what: &'static str,
    /// API group of the resource.
    pub(crate) group: &'static str,
    /// The resource.
    pub(crate) resource: &'static str,
    /// Verbs of the rule.
    pub(crate) verbs: &'static str,
}

/// Retries of one request. It logs a failure only if it differs from the previous one.
#[derive(Debug)]
pub(crate) struct Retries {
    purpose: Purpose,
    namespace: String,
    last: Option<String>,
    backoff: Backoff,
}

impl Retries {
    pub(crate) fn new(purpose: Purpose, namespace: &str) -> Self {
        Self { purpose, namespace: namespace.into(), last: None, backoff: Backoff::default() }
    }

    /// Logs the failure, and returns the delay before the next attempt.
    pub(crate) fn failed(&mut self, failure: &Failure) -> Duration {
        let sentence = sentence(self.purpose, &self.namespace, failure);
        if self.last.as_ref() != Some(&sentence) {
            warn!("{sentence}; retrying");
            self.last = Some(sentence);
        }
        self.backoff.delay(fastrand::f64(), failure.retry_after())
    }

    /// Returns the delay after a request that ended without a failure, as a watch does.
    pub(crate) fn ended(&mut self) -> Duration {
        self.backoff.delay(fastrand::f64(), None)
    }

    /// Forgets the failures.
    pub(crate) fn succeeded(&mut self) {
        self.backoff.reset();
        if self.last.take().is_some() {
            info!("the agent can {} again", self.purpose.what);
        }
    }
}

/// The sentence about a failure, with the remedy if a user has to act.
fn sentence(purpose: Purpose, namespace: &str, failure: &Failure) -> String {
    let Purpose { what, group, resource, verbs } = purpose;
    match failure {
        Failure::Response { code: 401, .. } => format!(
            "cannot {what}: the API server rejects the token of the pod's service account, which may have expired or been \
             revoked (HTTP status 401)"
        ),
        Failure::Response { code: 403, message, .. } if message.contains(" cannot ") => {
            let account = account_in(message, namespace);
            format!(
                "cannot {what}: {account} lacks a permission in namespace \"{namespace}\": add the rule {{apiGroups: \
                 [\"{group}\"], resources: [\"{resource}\"], verbs: [{verbs}]}} to its Role (API server: {message})"
            )
        }
        Failure::Response { code: 404, .. } if !group.is_empty() => format!(
            "cannot {what}: the API server does not serve {resource}.{group}: install JobSet in this cluster (HTTP status 404)"
        ),
        failure => format!("cannot {what}: {failure}"),
    }
}

/// The user in a message such as `pods "p" is forbidden: User "system:serviceaccount:n:a" cannot patch ...`.
fn account_in(message: &str, namespace: &str) -> String {
    let user = message.split_once("User \"").and_then(|(_, rest)| rest.split_once('"')).map(|(user, _)| user);
    match user {
        None => "the pod's service account".into(),
        Some(user) => match user.strip_prefix("system:serviceaccount:").and_then(|it| it.split_once(':')) {
            Some((of, name)) if of == namespace => format!("service account \"{name}\""),
            _ => format!("user \"{user}\""),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WATCH: Purpose = Purpose {
        what: "watch JobSet \"t\"",
        group: "jobset.x-k8s.io",
        resource: "jobsets",
        verbs: "\"list\", \"watch\"",
    };
    const PATCH: Purpose =
        Purpose { what: "annotate pod \"p\"", group: "", resource: "pods", verbs: "\"patch\"" };

    fn response(code: u16, message: &str) -> Failure {
        Failure::Response { code, message: message.into(), retry_after: None }
    }

    #[test]
    fn a_missing_permission_is_reported_with_rule_namespace_and_account() {
        let message = r#"pods "p" is forbidden: User "system:serviceaccount:team:default" cannot patch resource "pods" in API group "" in the namespace "team""#;
        let text = sentence(PATCH, "team", &response(403, message));
        assert!(
            text.starts_with(
                r#"cannot annotate pod "p": service account "default" lacks a permission in namespace "team": add the rule {apiGroups: [""], resources: ["pods"], verbs: ["patch"]} to its Role"#
            ),
            "{text}"
        );
        let message = r#"jobsets.jobset.x-k8s.io is forbidden: User "jane" cannot list resource "jobsets""#;
        let text = sentence(WATCH, "team", &response(403, message));
        assert!(
            text.contains(r#"user "jane" lacks"#)
                && text.contains(
                    r#"{apiGroups: ["jobset.x-k8s.io"], resources: ["jobsets"], verbs: ["list", "watch"]}"#
                ),
            "{text}"
        );
    }

    #[test]
    fn an_admission_policy_is_reported_with_its_own_message() {
        let text = sentence(PATCH, "team", &response(403, "policy pods-only denied request"));
        assert_eq!(text, r#"cannot annotate pod "p": policy pods-only denied request (HTTP status 403)"#);
    }

    #[test]
    fn other_failures_have_a_sentence() {
        for (purpose, code, words) in [
            (WATCH, 401, "rejects the token"),
            (WATCH, 404, "install JobSet"),
            (PATCH, 404, "original (HTTP status 404)"),
            (WATCH, 500, "original (HTTP status 500)"),
        ] {
            let text = sentence(purpose, "team", &response(code, "original"));
            assert!(text.contains(words), "{text}");
        }
        assert!(
            sentence(WATCH, "team", &Failure::Cut).starts_with("cannot watch JobSet \"t\": the connection")
        );
    }
}
