//! From what was observed to what is to be done: the operator's one decision, without a server.
//!
//! A plan's steps are independent of one another but for what `needs` says, so that one object that cannot be
//! written holds up only those that make no sense without it.

use super::certification::{Certification, Issue, Provider, decide_certification, outlived_secrets};
use super::configuration::check_overrides;
use super::conflict::conflicting_installation;
use super::problem::Problem;
use super::settings::{Mode, Settings};
use super::{
    CertificateHashes, Certificates, DesiredError, Inputs, ManagedBy, Monitoring, OperandLogLevel, labels,
    objects, tls_profile,
};
use crate::names;
use crate::observe::{Live, ObjectKey, Observed, kinds};
use jobset_api::JobSetOperator;
use jobset_api::jobset_operator::LogLevel;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{ApiResource, DynamicObject};
use manager_runtime::certificates::decide::{AUTHORITY_KEY, BUNDLE, CERTIFICATE, KEY};
use std::collections::BTreeSet;

/// Pods of the operand in a cluster that shall survive the loss of a node.
const HIGHLY_AVAILABLE_REPLICAS: i32 = 2;
/// Annotation by which cert-manager puts a CA into webhook configurations. The operator does that itself, and two
/// would undo each other's work.
pub const INJECT_CA_FROM: &str = "cert-manager.io/inject-ca-from";

/// An object to apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Which.
    pub key: ObjectKey,
    /// As it should be.
    pub object: DynamicObject,
    /// The object without which this one would do harm.
    pub needs: Option<ObjectKey>,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the administrator wants.
    pub mode: Mode,
    /// Objects to apply, in order.
    pub apply: Vec<Step>,
    /// Whether the JobSet API has an owner whose deletion would delete every JobSet: the Go operator gave it one.
    pub disown_api: bool,
    /// Webhook configurations that cert-manager's injector still works on.
    pub detach_injector: Vec<ObjectKey>,
    /// Certificates to issue, before anything is applied.
    pub issue: Vec<Issue>,
    /// Objects to delete, in order.
    pub delete: Vec<ObjectKey>,
    /// What is waited for, and comes without anybody's doing.
    pub waiting: Vec<String>,
    /// What stands in the way.
    pub problems: Vec<Problem>,
    /// Whether the JobSet API shall be deleted, if no JobSet is left.
    pub delete_unused_api: bool,
    /// Whether settings are in use that no upgrade minds.
    pub unsupported_overrides: bool,
    /// When to look again although nothing changed.
    pub reconcile_at: Option<Timestamp>,
}

impl Plan {
    /// A plan to do nothing.
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            apply: Vec::new(),
            disown_api: false,
            detach_injector: Vec::new(),
            issue: Vec::new(),
            delete: Vec::new(),
            waiting: Vec::new(),
            problems: Vec::new(),
            delete_unused_api: false,
            unsupported_overrides: false,
            reconcile_at: None,
        }
    }
}

/// Decides. Nothing here depends on `now` but when certificates are renewed.
pub fn plan(settings: &Settings, observed: &Observed, now: Timestamp) -> Result<Plan, DesiredError> {
    let operator = observed.operator.as_deref();
    let mode = Mode::of(operator);
    let mut plan = match (mode, operator) {
        (Mode::Managed, Some(operator)) => manage(settings, observed, operator, now)?,
        (Mode::Absent | Mode::Removed, _) => remove(settings, observed, mode),
        _ => Plan::new(mode),
    };
    plan.unsupported_overrides = operator.is_some_and(|operator| overrides(operator).is_some());
    Ok(plan)
}

fn manage(
    settings: &Settings,
    observed: &Observed,
    operator: &JobSetOperator,
    now: Timestamp,
) -> Result<Plan, DesiredError> {
    let mut plan = Plan::new(Mode::Managed);
    if let Some(conflict) = conflicting_installation(settings, observed) {
        plan.problems.push(conflict);
        return Ok(plan);
    }
    if settings.operand_image.is_none() {
        plan.problems.push(Problem {
            reason: "MissingOperandImage",
            message:
                "environment variable OPERAND_IMAGE of the operator is not set: it must name the image of \
                      the JobSet controller"
                    .to_owned(),
        });
    }
    let mut certification = decide_certification(settings, observed, operator, now);
    plan.issue = std::mem::take(&mut certification.issue);
    plan.reconcile_at = certification.reconcile_at;
    plan.waiting.append(&mut certification.waiting);
    plan.problems.append(&mut certification.problems);
    if certification.serving.is_some() && !certification.trusted {
        plan.waiting.push("the webhook configurations learn to trust a new CA".to_owned());
    }

    let desired = objects(&inputs(settings, observed, operator, &certification, &mut plan.problems))?;
    plan.delete = no_longer_desired(observed, &desired);
    plan.delete.extend(outlived_secrets(&certification, observed));
    plan.disown_api =
        observed.get("CustomResourceDefinition", names::JOBSET_CRD).is_some_and(Live::has_operator_owner);
    let operand_can_run = certification.serving.is_some() && settings.operand_image.is_some();
    for object in desired {
        let key = ObjectKey::of(&object);
        let live = observed.objects.get(&key);
        if live.is_some_and(|live| live.object.annotations().contains_key(INJECT_CA_FROM))
            && key.kind.ends_with("WebhookConfiguration")
        {
            plan.detach_injector.push(key.clone());
        }
        if let Some(needs) = admitted(&key, live.is_some(), operand_can_run, &certification) {
            plan.apply.push(Step { key, object, needs });
        }
    }
    plan.apply.extend(secrets(observed, operator, &certification, &plan.issue));
    Ok(plan)
}

/// Whether an object may be applied now and, if so, the object without which it would do harm.
///
/// The JobSet API appears together with what serves it. Before that, a JobSet could be created that nobody fills in
/// and checks; and a webhook that points at nobody refuses every pod of every JobSet.
#[allow(clippy::option_option)]
fn admitted(
    key: &ObjectKey,
    exists: bool,
    operand_can_run: bool,
    certification: &Certification,
) -> Option<Option<ObjectKey>> {
    let deployment = || Some(ObjectKey::new("Deployment", names::OPERAND));
    let api = || Some(ObjectKey::new("CustomResourceDefinition", names::JOBSET_CRD));
    match key.kind.as_str() {
        "CustomResourceDefinition" => (operand_can_run || exists).then_some(None),
        // Its pods must not show a certificate that the API server does not trust yet.
        "Deployment" => (operand_can_run && certification.trusted).then(api),
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" if exists => {
            // Without a CA there is nothing better than what is there.
            (!certification.ca_bundle.is_empty()).then_some(None)
        }
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => operand_can_run.then(deployment),
        _ => Some(None),
    }
}

/// What the operand's objects depend on.
fn inputs(
    settings: &Settings,
    observed: &Observed,
    operator: &JobSetOperator,
    certification: &Certification,
    problems: &mut Vec<Problem>,
) -> Inputs {
    let controller = operator.spec.controller.clone().unwrap_or_default();
    let topology = if observed.facts.highly_available { HIGHLY_AVAILABLE_REPLICAS } else { 1 };
    let (webhook, metrics) = certification.hashes.clone().unzip();
    let tls = observed.facts.tls_profile.as_ref().map(|profile| {
        tls_profile::settings(profile).unwrap_or_else(|message| {
            problems.push(Problem { reason: "UnsupportedTLSProfile", message });
            tls_profile::intermediate()
        })
    });
    let config_overrides = overrides(operator).filter(|overrides| match check_overrides(overrides) {
        Ok(()) => true,
        Err(message) => {
            problems.push(Problem {
                reason: "InvalidConfigOverrides",
                message: format!("spec.unsupportedConfigOverrides is not used: {message}"),
            });
            false
        }
    });
    Inputs {
        namespace: settings.namespace.clone(),
        operand_image: settings.operand_image.clone().unwrap_or_default(),
        owner: Some(owner(operator)),
        managed_by: ManagedBy::Operator,
        log_level: operand_log_level(operator),
        certificates: Certificates::Operator {
            issuers: certification.needs_issuers(observed),
            serving: certification.serving.unwrap_or(certification.desired),
            ca_bundle: certification.ca_bundle.clone(),
        },
        certificate_hashes: CertificateHashes { webhook, metrics },
        monitoring: Monitoring {
            service_monitor: observed.apis.contains(kinds::SERVICE_MONITOR_CRD),
            prometheus_rule: observed.apis.contains(kinds::PROMETHEUS_RULE_CRD),
        },
        replicas: controller.replicas.unwrap_or(topology),
        controller,
        tls,
        proxy: observed.facts.proxy.clone().unwrap_or_else(|| settings.proxy.clone()),
        config_overrides: config_overrides.cloned(),
    }
}

/// `spec.unsupportedConfigOverrides`, where it says anything.
fn overrides(operator: &JobSetOperator) -> Option<&serde_json::Value> {
    operator.spec.unsupported_config_overrides.as_ref().filter(|overrides| match overrides {
        serde_json::Value::Null => false,
        serde_json::Value::Object(fields) => !fields.is_empty(),
        _ => true,
    })
}

/// The Secrets as they shall be.
///
/// cert-manager leaves the Secrets of its Certificates behind when those are deleted. So that no private key
/// outlives the operand, they get its owner, too, and the uid keeps one that is just gone from being made. Of those
/// that the operator issues it applies the content as well: what it does not name, it would take away.
fn secrets(
    observed: &Observed,
    operator: &JobSetOperator,
    certification: &Certification,
    issue: &[Issue],
) -> Vec<Step> {
    let operators_own = (Provider::BuiltIn, names::OPERATOR_METRICS_SECRET);
    let is_to_be_issued = |name: &str| issue.iter().any(|issue| issue.desired.secret == name);
    let step = |provider: Provider, name: &str| {
        let live = observed.get("Secret", name)?;
        let alive = live.object.metadata.deletion_timestamp.is_none();
        let mut object = secret(name, operator);
        match provider {
            Provider::CertManager => object.metadata.uid = live.object.uid(),
            Provider::BuiltIn => {
                // Of a foreign Secret nothing is taken over.
                if !live.has_operator_label() && !live.has_operator_owner() {
                    return None;
                }
                let data = live.object.data.get("data")?.as_object()?.iter();
                let data: serde_json::Map<_, _> = data
                    .filter(|(key, _)| [BUNDLE, AUTHORITY_KEY, CERTIFICATE, KEY].contains(&key.as_str()))
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect();
                object = object.data(serde_json::json!({"type": "kubernetes.io/tls", "data": data}));
            }
        }
        alive.then(|| Step { key: ObjectKey::of(&object), object, needs: None })
    };
    [Provider::CertManager, Provider::BuiltIn]
        .into_iter()
        .filter(|&provider| certification.keeps(provider))
        .flat_map(|provider| provider.secrets().iter().map(move |name| (provider, *name)))
        .chain([operators_own])
        .filter(|(_, name)| !is_to_be_issued(name))
        .filter_map(|(provider, name)| step(provider, name))
        .collect()
}

/// A Secret of ours without its content.
pub fn secret(name: &str, operator: &JobSetOperator) -> DynamicObject {
    let mut object = DynamicObject::new(name, &ApiResource::erase::<Secret>(&()));
    object.metadata.owner_references = Some(vec![owner(operator)]);
    object.metadata.labels = Some(labels(ManagedBy::Operator).collect());
    object
}

/// The operand goes, webhooks first: they refuse every JobSet from the moment that nobody answers them.
/// When the JobSetOperator is gone this is the garbage collector's work.
fn remove(settings: &Settings, observed: &Observed, mode: Mode) -> Plan {
    let mut plan = Plan::new(mode);
    let mut ours: Vec<&ObjectKey> = removable(observed).collect();
    // As long as a Certificate is there, cert-manager makes its Secret anew.
    if ours.iter().any(|key| key.kind == "Certificate") {
        ours.retain(|key| key.kind != "Secret");
    }
    ours.sort_by_key(|key| (removal_rank(&key.kind), (*key).clone()));
    let api = observed.get("CustomResourceDefinition", names::JOBSET_CRD);
    // While the operand runs it needs the API.
    plan.delete_unused_api = ours.is_empty()
        && api.is_some_and(is_our_api)
        && conflicting_installation(settings, observed).is_none();
    if mode == Mode::Removed {
        plan.delete = ours.into_iter().cloned().collect();
    }
    plan
}

fn removal_rank(kind: &str) -> u8 {
    match kind {
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => 0,
        "ServiceMonitor" | "PrometheusRule" => 1,
        "Deployment" => 2,
        "Service" | "ConfigMap" | "Certificate" => 3,
        "Issuer" => 4,
        _ => 5,
    }
}

/// Whether the operator may delete the JobSet API: only what it applied itself. An API that an administrator or
/// another installation brought stays.
fn is_our_api(crd: &Live) -> bool {
    crd.applied_by_us && crd.has_operator_label() && crd.object.metadata.deletion_timestamp.is_none()
}

/// Objects that the operator made for a JobSetOperator. Label and owner must agree: a label alone is easily copied.
fn removable(observed: &Observed) -> impl Iterator<Item = &ObjectKey> {
    observed
        .objects
        .iter()
        .filter(|(key, live)| {
            key.kind != "CustomResourceDefinition" && live.has_operator_label() && live.has_operator_owner()
        })
        .map(|(key, _)| key)
}

fn no_longer_desired(observed: &Observed, desired: &[DynamicObject]) -> Vec<ObjectKey> {
    let kept: BTreeSet<ObjectKey> = desired.iter().map(ObjectKey::of).collect();
    removable(observed).filter(|key| key.kind != "Secret" && !kept.contains(key)).cloned().collect()
}

/// A plain reference: it neither controls nor blocks the owner's deletion, so that the operand goes when its
/// JobSetOperator goes, in whatever order and whether the operator runs or not.
fn owner(operator: &JobSetOperator) -> OwnerReference {
    OwnerReference {
        api_version: format!(
            "{}/{}",
            jobset_api::jobset_operator::GROUP,
            jobset_api::jobset_operator::VERSION
        ),
        kind: jobset_api::jobset_operator::KIND.to_owned(),
        name: operator.name_any(),
        uid: operator.uid().unwrap_or_default(),
        controller: None,
        block_owner_deletion: None,
    }
}

fn operand_log_level(operator: &JobSetOperator) -> OperandLogLevel {
    match operator.spec.log_level {
        Some(LogLevel::Debug | LogLevel::Trace | LogLevel::TraceAll) => OperandLogLevel::Debug,
        None | Some(LogLevel::Normal | LogLevel::Unknown(_)) => OperandLogLevel::Info,
    }
}
