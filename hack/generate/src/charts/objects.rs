//! The objects of the controller's chart, in files for the values that need them.

use anyhow::{Context, Result, bail};
use jobset_api::jobset_operator::PrometheusServer;
use jobset_operator::desired::{self, Certificates, Inputs, ManagedBy, Monitoring, Provider};
use jobset_operator::names;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Words that the templates replace.
pub(super) const NAMESPACE: &str = "NAMESPACE-OF-THE-RELEASE";
const PROMETHEUS_NAMESPACE: &str = "NAMESPACE-OF-PROMETHEUS";
const PROMETHEUS_SERVICE_ACCOUNT: &str = "SERVICE-ACCOUNT-OF-PROMETHEUS";

/// Objects by kind and name.
type Objects = BTreeMap<(String, String), DynamicObject>;

/// The objects of the controller, by the name of their file. `prometheus` replaces some objects of the other files.
pub(super) fn controller(image: &str) -> Result<[(&'static str, Vec<DynamicObject>); 4]> {
    let internal = objects(image, Certificates::Internal, Monitoring::default())?;
    let issued =
        Certificates::Operator { issuers: true, serving: Provider::CertManager, ca_bundle: String::new() };
    let mut issued_objects = objects(image, issued.clone(), Monitoring::default())?;
    for object in issued_objects.values_mut() {
        inject_authority(object);
    }
    let prometheus = PrometheusServer {
        namespace: PROMETHEUS_NAMESPACE.into(),
        service_account: PROMETHEUS_SERVICE_ACCOUNT.into(),
    };
    let monitoring = Monitoring {
        service_monitor: true,
        prometheus_rule: true,
        prometheus: vec![prometheus],
        runbooks: names::RUNBOOKS.to_owned(),
    };
    let mut monitored = objects(image, issued, monitoring)?;
    for object in monitored.values_mut() {
        inject_authority(object);
        keep_alerts_of_the_controller(object)?;
    }
    monitored.retain(|key, object| issued_objects.get(key) != Some(object) && !is_of_operator(&key.1));
    let common: Objects =
        internal.iter().filter(|(key, object)| issued_objects.get(*key) == Some(object)).map(clone).collect();
    if let Some(key) =
        monitored.keys().find(|key| issued_objects.contains_key(*key) && !common.contains_key(*key))
    {
        bail!("{} {} depends on both certificates and monitoring: no file can contain it", key.0, key.1);
    }
    let rest = |all: &Objects| {
        all.iter().filter(|(key, _)| !common.contains_key(*key)).map(|(_, it)| it.clone()).collect()
    };
    Ok([
        ("internal-certificates", rest(&internal)),
        ("cert-manager", rest(&issued_objects)),
        ("prometheus", monitored.into_values().collect()),
        ("common", common.into_values().collect()),
    ])
}

fn clone((key, object): (&(String, String), &DynamicObject)) -> ((String, String), DynamicObject) {
    (key.clone(), object.clone())
}

/// The objects for several replicas. For one, the templates remove what only several need.
fn objects(image: &str, certificates: Certificates, monitoring: Monitoring) -> Result<Objects> {
    let inputs = Inputs {
        managed_by: ManagedBy::Helm,
        certificates,
        monitoring,
        replicas: 2,
        ..Inputs::plain(NAMESPACE, image)
    };
    let mut quota = desired::operator::critical_pods_quota();
    quota.metadata.namespace = Some(NAMESPACE.to_owned());
    let all = desired::objects(&inputs)?.into_iter().chain([quota]);
    Ok(all
        .map(|object| ((crate::objects::kind(&object).to_owned(), object.name_any()), object))
        .filter(|((kind, _), _)| kind != "CustomResourceDefinition")
        .collect())
}

/// Lets cert-manager set the CA of webhooks.
fn inject_authority(object: &mut DynamicObject) {
    let Some(webhooks) = object.data.get_mut("webhooks").and_then(Value::as_array_mut) else { return };
    for client in webhooks.iter_mut().filter_map(|webhook| webhook["clientConfig"].as_object_mut()) {
        client.remove("caBundle");
    }
    object.annotations_mut().insert(
        "cert-manager.io/inject-ca-from".into(),
        format!("{NAMESPACE}/{}", names::WEBHOOK_CERTIFICATE),
    );
}

fn is_of_operator(name: &str) -> bool {
    [names::OPERATOR_METRICS_SERVICE, names::OPERATOR_SERVICE_MONITOR].contains(&name)
}

/// Removes the alerts about the operator, which the chart does not install.
fn keep_alerts_of_the_controller(object: &mut DynamicObject) -> Result<()> {
    if object.name_any() != names::PROMETHEUS_RULE {
        return Ok(());
    }
    let rules = object.data.pointer_mut("/spec/groups/0/rules").and_then(Value::as_array_mut);
    let rules = rules.context("the PrometheusRule has no rules")?;
    let operator =
        [json!("JobSetOperatorDown"), json!("JobSetOperatorDegraded"), json!("JobSetCertificateExpiring")];
    rules.retain(|rule| rule.get("alert").is_some_and(|alert| !operator.contains(alert)));
    Ok(())
}
