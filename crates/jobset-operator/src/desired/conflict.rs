//! Other installations of JobSet. The operator reports them and does not change them.
//!
//! Two controllers that reconcile the same JobSets overwrite each other's changes, and only one installation can use
//! the names of the webhook configurations.
//!
//! Only what needs the rights of a cluster administrator proves another installation: what the webhook configurations
//! call, and the ServiceAccount with the controller's cluster role. A user with rights in one project can create a
//! Deployment of any name there, so such a Deployment alone is only a warning.
//!
//! Objects with the owner or the label of this operator are not a conflict: another client changed them, and the operator
//! repairs them. Without either, another installation took over what `kubectl delete --cascade=orphan` left: only the
//! field manager remains of this operator. Objects in the operator's own namespace are not a conflict either, such as
//! those of the Go operator.

use super::problem::Problem;
use super::settings::Settings;
use crate::names;
use crate::observe::{Live, Observed};
use crate::reasons;
use kube::ResourceExt;
use serde_json::Value;
use std::collections::BTreeSet;

/// The webhook configurations, by kind and name.
pub(super) const WEBHOOK_CONFIGURATIONS: [(&str, &str); 2] = [
    ("MutatingWebhookConfiguration", names::MUTATING_WEBHOOKS),
    ("ValidatingWebhookConfiguration", names::VALIDATING_WEBHOOKS),
];
/// The most namespaces that a message names.
const MOST_NAMESPACES: usize = 3;

/// Returns the conflict with another installation, if any.
pub(super) fn conflicting_installation(settings: &Settings, observed: &Observed) -> Option<Problem> {
    let mut found = Vec::new();
    let (mut namespaces, mut releases) = (BTreeSet::new(), BTreeSet::new());
    for (kind, name) in WEBHOOK_CONFIGURATIONS {
        let Some(live) = observed.get(kind, name).filter(|live| !is_own(live)) else { continue };
        let Some(target) = foreign_target(live, &settings.namespace) else { continue };
        found.push(format!("{kind} {name} calls {target}"));
        releases.extend(helm_release(live));
        if let Target::Service { namespace, .. } = target {
            namespaces.insert(namespace);
        }
    }
    for namespace in bound_namespaces(settings, observed) {
        found.push(format!(
            "ClusterRoleBinding {} gives rights to the controller in namespace {namespace}",
            names::OPERAND_CLUSTER_ROLE_BINDING
        ));
        namespaces.insert(namespace);
    }
    if found.is_empty() {
        return None;
    }
    let others = foreign_deployments(settings, observed);
    if !others.is_empty() {
        found.push(format!("Deployment {} exists in {}", names::OPERAND, some_of(&others)));
    }
    Some(Problem {
        reason: reasons::CONFLICTING_INSTALLATION,
        message: format!(
            "JobSet is already installed: {}. The operator changes nothing. To replace the other installation, keep \
             CustomResourceDefinition {}, because its deletion deletes every JobSet, and run `{}`: docs/migration.md \
             describes the steps. To keep the other installation, delete the JobSetOperator",
            found.join("; "),
            names::JOBSET_CRD,
            removal_commands(&namespaces, &releases)
        ),
    })
}

/// A warning about Deployments that may be other JobSet controllers, without a proof of an installation.
pub(super) fn suspected_installation(settings: &Settings, observed: &Observed) -> Option<String> {
    let others = foreign_deployments(settings, observed);
    (!others.is_empty()).then(|| {
        format!(
            "Deployment {} also exists in {}. No webhook calls it, so the operator ignores it. If it is a JobSet \
             controller, delete it",
            names::OPERAND,
            some_of(&others)
        )
    })
}

/// A release of the JobSet project's Helm chart. The names of its objects contain that of the release.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct HelmRelease<'a> {
    namespace: &'a str,
    name: &'a str,
}

/// The release that an object belongs to. Helm sets these annotations.
fn helm_release(live: &Live) -> Option<HelmRelease<'_>> {
    let annotation = |name: &str| live.object.annotations().get(name).map(String::as_str);
    Some(HelmRelease {
        namespace: annotation("meta.helm.sh/release-namespace")?,
        name: annotation("meta.helm.sh/release-name")?,
    })
}

/// The shell commands that delete webhooks and controller of another installation, and keep its JobSets. Webhooks
/// first: without a controller they reject every JobSet.
fn removal_commands(namespaces: &BTreeSet<&str>, releases: &BTreeSet<HelmRelease>) -> String {
    let mut commands = vec![format!(
        "kubectl delete --ignore-not-found mutatingwebhookconfiguration/{} validatingwebhookconfiguration/{} \
         clusterrolebinding/{}",
        names::MUTATING_WEBHOOKS,
        names::VALIDATING_WEBHOOKS,
        names::OPERAND_CLUSTER_ROLE_BINDING
    )];
    commands.extend(
        releases
            .iter()
            .map(|HelmRelease { namespace, name }| format!("helm uninstall {name} --namespace {namespace}")),
    );
    let is_released = |namespace: &&&str| releases.iter().any(|release| release.namespace == **namespace);
    commands.extend(namespaces.iter().filter(|namespace| !is_released(namespace)).take(MOST_NAMESPACES).map(
        |namespace| {
            format!(
                "kubectl delete --ignore-not-found --namespace {namespace} deployment/{} service/{}",
                names::OPERAND,
                names::WEBHOOK_SERVICE
            )
        },
    ));
    commands.join(" && ")
}

/// The other namespaces with a Deployment of the operand's name.
pub(super) fn foreign_deployments<'a>(settings: &Settings, observed: &'a Observed) -> Vec<&'a str> {
    observed.other_namespaces.iter().map(String::as_str).filter(|&it| it != settings.namespace).collect()
}

/// The first namespaces, and the number of the others.
pub(super) fn some_of(namespaces: &[&str]) -> String {
    let named: Vec<&str> = namespaces.iter().take(MOST_NAMESPACES).copied().collect();
    let noun = if namespaces.len() == 1 { "namespace" } else { "namespaces" };
    match namespaces.len() - named.len() {
        0 => format!("{noun} {}", named.join(", ")),
        more => format!("{noun} {} and {more} more", named.join(", ")),
    }
}

fn is_own(live: &Live) -> bool {
    live.has_operator_owner() || live.has_operator_label()
}

/// The other namespaces in which a controller runs as a ServiceAccount with the controller's cluster role. A binding
/// alone is only a remainder of an installation.
fn bound_namespaces<'a>(settings: &Settings, observed: &'a Observed) -> BTreeSet<&'a str> {
    let binding = observed.get("ClusterRoleBinding", names::OPERAND_CLUSTER_ROLE_BINDING);
    let subjects = binding
        .filter(|live| !is_own(live))
        .and_then(|live| live.object.data.get("subjects"))
        .and_then(Value::as_array);
    subjects
        .into_iter()
        .flatten()
        .filter(|subject| subject["kind"] == "ServiceAccount")
        .filter_map(|subject| subject["namespace"].as_str())
        .filter(|&namespace| namespace != settings.namespace && observed.other_namespaces.contains(namespace))
        .collect()
}

/// Whether one of the webhooks calls a Service in this namespace.
pub(super) fn calls_namespace(configuration: &Live, namespace: &str) -> bool {
    let webhooks = configuration.object.data.get("webhooks").and_then(Value::as_array);
    webhooks.into_iter().flatten().any(|webhook| {
        webhook.pointer("/clientConfig/service/namespace").is_some_and(|called| called == namespace)
    })
}

/// The target of a webhook.
#[derive(Debug, PartialEq, Eq)]
enum Target<'a> {
    Service { namespace: &'a str, name: &'a str },
    Url(&'a str),
}

impl std::fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::Service { namespace, name } => write!(f, "Service {namespace}/{name}"),
            Target::Url(url) => f.write_str(url),
        }
    }
}

/// The target of the webhooks, if it is outside the operator's namespace.
fn foreign_target<'a>(configuration: &'a Live, namespace: &str) -> Option<Target<'a>> {
    let webhooks = configuration.object.data.get("webhooks").and_then(Value::as_array);
    webhooks.into_iter().flatten().find_map(|webhook| {
        let client = |field: &str| webhook.pointer(&format!("/clientConfig/{field}")).and_then(Value::as_str);
        match (client("service/namespace"), client("url")) {
            (Some(other), _) if other != namespace => {
                let name = client("service/name").unwrap_or_default();
                Some(Target::Service { namespace: other, name })
            }
            (None, Some(url)) => Some(Target::Url(url)),
            _ => None,
        }
    })
}
