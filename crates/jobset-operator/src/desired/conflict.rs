//! Other installations of JobSet. The operator reports them and does not change them.
//!
//! Two controllers that reconcile the same JobSets overwrite each other's changes, and only one installation can use
//! the names of the webhook configurations. Objects that this operator created are not a conflict, even if their
//! JobSetOperator is deleted. Objects in the operator's own namespace are not a conflict either, such as those of the
//! Go operator.

use super::problem::Problem;
use super::settings::Settings;
use crate::names;
use crate::observe::{Live, Observed};
use serde_json::Value;

/// Returns the conflict with another installation, if any.
pub(super) fn conflicting_installation(settings: &Settings, observed: &Observed) -> Option<Problem> {
    let webhooks = [
        ("MutatingWebhookConfiguration", names::MUTATING_WEBHOOKS),
        ("ValidatingWebhookConfiguration", names::VALIDATING_WEBHOOKS),
    ];
    let mut found: Vec<String> = webhooks
        .into_iter()
        .filter_map(|(kind, name)| {
            let live = observed.get(kind, name).filter(|live| !is_own(live))?;
            let target = foreign_target(live, &settings.namespace)?;
            Some(format!("{kind} {name} calls {target}"))
        })
        .collect();
    let others = observed.other_namespaces.iter().filter(|&namespace| *namespace != settings.namespace);
    found.extend(
        others.map(|namespace| format!("Deployment {} runs in namespace {namespace}", names::OPERAND)),
    );
    // The other installation came later and shares roles and webhook configurations that the operator owns. They are
    // deleted with the JobSetOperator.
    let afterwards = if observed.objects.values().any(Live::has_operator_owner) {
        ", and then install it again: objects with the same name are deleted with the JobSetOperator"
    } else {
        ""
    };
    (!found.is_empty()).then(|| Problem {
        reason: "ConflictingInstallation",
        message: format!(
            "JobSet is already installed: {}. The operator changes nothing. Uninstall the other installation, or delete \
             the JobSetOperator to keep it{afterwards}",
            found.join("; ")
        ),
    })
}

fn is_own(live: &Live) -> bool {
    live.applied_by_us || live.has_operator_owner() || live.has_operator_label()
}

/// The target of the webhooks, if it is outside the operator's namespace.
fn foreign_target(configuration: &Live, namespace: &str) -> Option<String> {
    let webhooks = configuration.object.data.get("webhooks").and_then(Value::as_array);
    webhooks.into_iter().flatten().find_map(|webhook| {
        let client = |field: &str| webhook.pointer(&format!("/clientConfig/{field}")).and_then(Value::as_str);
        match (client("service/namespace"), client("url")) {
            (Some(other), _) if other != namespace => {
                let service = client("service/name").unwrap_or_default();
                Some(format!("Service {other}/{service}"))
            }
            (None, Some(url)) => Some(url.to_owned()),
            _ => None,
        }
    })
}
