//! JobSet installations that are not ours: they are named and left alone.
//!
//! Two controllers that act on the same JobSets undo each other's work, and webhook configurations have names that
//! only one installation can have. What the operator made itself, also for a JobSetOperator that is gone, is ours;
//! so is everything in the operator's own namespace, such as what the Go operator left there.

use super::problem::Problem;
use super::settings::Settings;
use crate::names;
use crate::observe::{Live, Observed};
use serde_json::Value;

/// What is in the way, if anything.
pub(super) fn conflicting_installation(settings: &Settings, observed: &Observed) -> Option<Problem> {
    let webhooks = [
        ("MutatingWebhookConfiguration", names::MUTATING_WEBHOOKS),
        ("ValidatingWebhookConfiguration", names::VALIDATING_WEBHOOKS),
    ];
    let mut found: Vec<String> = webhooks
        .into_iter()
        .filter_map(|(kind, name)| {
            let live = observed.get(kind, name).filter(|live| !is_ours(live))?;
            let elsewhere = served_elsewhere(live, &settings.namespace)?;
            Some(format!("{kind} {name} calls {elsewhere}"))
        })
        .collect();
    let elsewhere = observed.other_namespaces.iter().filter(|&namespace| *namespace != settings.namespace);
    found.extend(
        elsewhere.map(|namespace| format!("Deployment {} runs in namespace {namespace}", names::OPERAND)),
    );
    // It came later, and took over roles and webhooks that are ours and go with the JobSetOperator.
    let afterwards = if observed.objects.values().any(Live::has_operator_owner) {
        ", and install it again then: what has the same name in both goes with the JobSetOperator"
    } else {
        ""
    };
    (!found.is_empty()).then(|| Problem {
        reason: "ConflictingInstallation",
        message: format!(
            "JobSet is already installed by somebody else: {}. Nothing was changed. Uninstall it, or delete the \
             JobSetOperator if it shall stay{afterwards}",
            found.join("; ")
        ),
    })
}

fn is_ours(live: &Live) -> bool {
    live.applied_by_us || live.has_operator_owner() || live.has_operator_label()
}

/// What the webhooks call, when it is not in our namespace.
fn served_elsewhere(configuration: &Live, namespace: &str) -> Option<String> {
    let webhooks = configuration.object.data.get("webhooks").and_then(Value::as_array);
    webhooks.into_iter().flatten().find_map(|webhook| {
        let client = |field: &str| webhook.pointer(&format!("/clientConfig/{field}")).and_then(Value::as_str);
        match (client("service/namespace"), client("url")) {
            (Some(theirs), _) if theirs != namespace => {
                let service = client("service/name").unwrap_or_default();
                Some(format!("Service {theirs}/{service}"))
            }
            (None, Some(url)) => Some(url.to_owned()),
            _ => None,
        }
    })
}
