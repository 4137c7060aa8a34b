//! What the operator removes: the objects of its own, and in which order.
//!
//! An object is the operator's own if the operator applied it, or if a JobSetOperator owns it. Labels and owner
//! references can be copied, so each needs a second proof. The Go operator sets owner references without a label of
//! ours, and its names are the same.

use super::conflict::{WEBHOOK_CONFIGURATIONS, calls_namespace};
use super::settings::Settings;
use super::{
    Certificates, Console, DesiredError, Inputs, ManagedBy, Monitoring, OperandLogLevel, Provider,
    is_cluster_scoped, objects,
};
use crate::names;
use crate::observe::{Live, ObjectKey, Observed};
use kube::ResourceExt;
use kube::api::DynamicObject;
use std::collections::BTreeSet;
use std::sync::OnceLock;

/// Objects of the Go operator that this operator does not need, or only with some settings.
const ONLY_OF_THE_GO_OPERATOR: [(&str, &str); 4] = [
    ("Role", names::SECRETS_ROLE),
    ("RoleBinding", names::SECRETS_ROLE_BINDING),
    ("Role", names::PROMETHEUS_ROLE),
    ("RoleBinding", names::PROMETHEUS_ROLE),
];

/// The keys of the objects that this operator or the Go operator creates with any settings, without the JobSet CRD.
pub fn known_keys() -> Result<&'static BTreeSet<ObjectKey>, DesiredError> {
    static KEYS: OnceLock<BTreeSet<ObjectKey>> = OnceLock::new();
    if let Some(keys) = KEYS.get() {
        return Ok(keys);
    }
    // Each of these settings only adds objects.
    let everything = Inputs {
        managed_by: ManagedBy::Operator,
        log_level: OperandLogLevel::Info,
        certificates: Certificates::Operator {
            issuers: true,
            serving: Provider::CertManager,
            ca_bundle: String::new(),
        },
        monitoring: Monitoring { service_monitor: true, prometheus_rule: true, ..Monitoring::default() },
        console: Console { quick_starts: true, yaml_samples: true, dashboards: true },
        replicas: 2,
        ..Inputs::plain(names::NAMESPACE, "any")
    };
    let secrets = Provider::ALL.into_iter().flat_map(Provider::secrets);
    let keys = objects(&everything)?
        .iter()
        .map(ObjectKey::of)
        .filter(|key| key.kind != "CustomResourceDefinition")
        .chain(ONLY_OF_THE_GO_OPERATOR.map(|(kind, name)| ObjectKey::new(kind, name)))
        .chain(secrets.chain([&names::OPERATOR_METRICS_SECRET]).map(|name| ObjectKey::new("Secret", name)))
        .collect();
    Ok(KEYS.get_or_init(|| keys))
}

/// The operator's own objects. The JobSet CRD is not one of them.
pub(super) fn own_objects(observed: &Observed) -> Result<Vec<&ObjectKey>, DesiredError> {
    let known = known_keys()?;
    let is_own = |key: &ObjectKey, live: &Live| {
        key.kind != "CustomResourceDefinition"
            && (live.has_operator_owner() && (live.has_operator_label() || known.contains(key))
                || live.has_operator_label() && live.applied_by_us)
    };
    Ok(observed.objects.iter().filter(|(key, live)| is_own(key, live)).map(|(key, _)| key).collect())
}

/// The operator's own objects that are no longer desired. Secrets are deleted after the rollout that replaces them.
pub(super) fn no_longer_desired(
    observed: &Observed,
    desired: &[DynamicObject],
) -> Result<Vec<ObjectKey>, DesiredError> {
    let kept: BTreeSet<ObjectKey> = desired.iter().map(ObjectKey::of).collect();
    let own = own_objects(observed)?.into_iter();
    Ok(own.filter(|key| key.kind != "Secret" && !kept.contains(key)).cloned().collect())
}

/// The order in which the operator deletes all of its own objects. Without a running operand, the webhooks reject every
/// JobSet: nothing else is deleted while they exist, for example because their deletion failed.
pub(super) fn removal(settings: &Settings, observed: &Observed, mut own: Vec<&ObjectKey>) -> Vec<ObjectKey> {
    let is_webhooks = |key: &ObjectKey| rank(&key.kind) == 0;
    if own.iter().any(|key| is_webhooks(key)) || !foreign_webhooks(settings, observed, &own).is_empty() {
        own.retain(|key| is_webhooks(key));
    }
    // While a Certificate exists, cert-manager creates its Secret again.
    if own.iter().any(|key| key.kind == "Certificate") {
        own.retain(|key| key.kind != "Secret");
    }
    own.sort_by_key(|key| (rank(&key.kind), (*key).clone()));
    own.into_iter().cloned().collect()
}

fn rank(kind: &str) -> u8 {
    match kind {
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => 0,
        "ServiceMonitor" | "PrometheusRule" | "ConsoleQuickStart" | "ConsoleYAMLSample" => 1,
        "Deployment" => 2,
        "Service" | "ConfigMap" | "Certificate" => 3,
        "Issuer" => 4,
        _ => 5,
    }
}

/// The webhook configurations that call the operand and are not the operator's own.
fn foreign_webhooks(settings: &Settings, observed: &Observed, own: &[&ObjectKey]) -> Vec<ObjectKey> {
    let keys = WEBHOOK_CONFIGURATIONS.into_iter().map(|(kind, name)| ObjectKey::new(kind, name));
    keys.filter(|key| {
        !own.contains(&key)
            && observed.objects.get(key).is_some_and(|live| calls_namespace(live, &settings.namespace))
    })
    .collect()
}

/// A message about an operand that is not the operator's own, so that `Removed` does not remove it.
pub(super) fn foreign_operand(
    settings: &Settings,
    observed: &Observed,
    own: &[&ObjectKey],
) -> Option<String> {
    let deployment = ObjectKey::new("Deployment", names::OPERAND);
    let deployment = Some(deployment).filter(|key| observed.objects.contains_key(key) && !own.contains(&key));
    // Webhooks first: without a controller they reject every JobSet.
    let mut keys = foreign_webhooks(settings, observed, own);
    keys.extend(deployment);
    let last = keys.last()?;
    let live = observed.objects.get(last)?;
    let commands: Vec<String> = keys
        .iter()
        .map(|key| {
            let namespace = if is_cluster_scoped(&key.kind) {
                String::new()
            } else {
                format!(" --namespace {}", settings.namespace)
            };
            format!("kubectl delete {}/{}{namespace}", key.kind.to_lowercase(), key.name)
        })
        .collect();
    Some(format!(
        "{} {} still exists, and the operator removes only objects of a JobSetOperator: {}. To remove it, run `{}`",
        last.kind,
        last.name,
        client_of(live),
        commands.join(" && ")
    ))
}

/// The client to which an object belongs, as far as the object names it.
fn client_of(live: &Live) -> String {
    let owners: Vec<String> =
        live.object.owner_references().iter().map(|owner| format!("{} {}", owner.kind, owner.name)).collect();
    match (owners.is_empty(), live.object.labels().get(names::MANAGED_BY_LABEL)) {
        (false, _) => format!("this one belongs to {}", owners.join(", ")),
        (true, Some(manager)) => {
            format!("this one has no owner, and its label {} is {manager}", names::MANAGED_BY_LABEL)
        }
        (true, None) => "this one has no owner".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::kinds;
    use crate::rbac::{Rule, operator_cluster_rules, operator_rules};

    #[test]
    fn the_operator_may_delete_each_of_its_objects() {
        for key in known_keys().unwrap() {
            let watch = kinds::watch_of(key).unwrap();
            let rules = if watch.is_in_own_namespace() { operator_rules() } else { operator_cluster_rules() };
            let plural = watch.resource().plural;
            let allows = |rule: &Rule| {
                rule.groups.contains(&watch.group)
                    && rule.resources.contains(&plural.as_str())
                    && rule.verbs.contains(&"delete")
                    && rule.names.contains(&key.name.as_str())
            };
            assert!(rules.iter().any(allows), "{key}");
        }
    }
}
