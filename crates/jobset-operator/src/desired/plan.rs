//! The plan of the operator: decides from a snapshot which objects to write and delete. Pure.
//!
//! The steps of a plan are independent of each other, except for `needs`. An object that the operator cannot write
//! blocks only the objects that need it.

use super::certification::{Certification, Issue, Provider, decide_certification, unused_secrets};
use super::configuration::check_overrides;
use super::conflict::{conflicting_installation, suspected_installation};
use super::crd_ownership::{Deletion, deletion, mark};
use super::monitoring::prometheus_servers;
use super::problem::Problem;
use super::removal::{foreign_operand, no_longer_desired, own_objects, removal};
use super::selector;
use super::settings::{Mode, Settings};
use super::{
    CertificateHashes, Certificates, Console, DesiredError, Inputs, ManagedBy, Monitoring, OperandLogLevel,
    labels, objects, previous_pods, tls_profile,
};
use crate::names;
use crate::observe::{ObjectKey, Observed, kinds};
use crate::reasons;
use jobset_api::JobSetOperator;
use jobset_api::jobset_operator::LogLevel;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{ApiResource, DynamicObject};
use manager_runtime::certificates::decide::{AUTHORITY_KEY, BUNDLE, CERTIFICATE, KEY};

/// Replicas of the operand in a highly available cluster.
const HIGHLY_AVAILABLE_REPLICAS: i32 = 2;
/// Annotation that makes cert-manager inject a CA into webhook configurations. The operator injects the CA itself, and
/// two clients would overwrite each other's changes.
pub const INJECT_CA_FROM: &str = "cert-manager.io/inject-ca-from";

/// An object to apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The key of the object.
    pub key: ObjectKey,
    /// The desired object.
    pub object: DynamicObject,
    /// The object that must exist before this one, which would do harm without it.
    pub needs: Option<ObjectKey>,
}

/// The changes to make.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The mode that the administrator requests.
    pub mode: Mode,
    /// Objects to apply, in order.
    pub apply: Vec<Step>,
    /// Webhook configurations into which cert-manager still injects a CA.
    pub detach_injector: Vec<ObjectKey>,
    /// Certificates to issue before the operator applies objects.
    pub issue: Vec<Issue>,
    /// Objects to delete, in order.
    pub delete: Vec<ObjectKey>,
    /// What the operand waits for, without an action of the administrator.
    pub waiting: Vec<String>,
    /// The problems that wait for the administrator.
    pub problems: Vec<Problem>,
    /// The problems that can pass.
    pub passing: Vec<Problem>,
    /// Whether to delete the JobSet API if no JobSet is left.
    pub delete_unused_api: bool,
    /// Why the JobSet API stays although no JobSetOperator needs it.
    pub api_stays: Option<String>,
    /// A message about an operand that is not the operator's own, and so remains with `Removed`.
    pub foreign_operand: Option<String>,
    /// Findings that block nothing.
    pub warnings: Vec<String>,
    /// Whether the JobSetOperator has unsupported settings, which an upgrade may break.
    pub unsupported_overrides: bool,
    /// When to reconcile again even if no object changes.
    pub reconcile_at: Option<Timestamp>,
}

impl Plan {
    /// An empty plan.
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            apply: Vec::new(),
            detach_injector: Vec::new(),
            issue: Vec::new(),
            delete: Vec::new(),
            waiting: Vec::new(),
            problems: Vec::new(),
            passing: Vec::new(),
            delete_unused_api: false,
            api_stays: None,
            foreign_operand: None,
            warnings: Vec::new(),
            unsupported_overrides: false,
            reconcile_at: None,
        }
    }
}

/// Decides on the plan. Only the decision on certificates depends on `now`.
pub fn plan(settings: &Settings, observed: &Observed, now: Timestamp) -> Result<Plan, DesiredError> {
    let operator = observed.operator.as_deref();
    let mode = Mode::of(operator);
    let mut plan = match (mode, operator) {
        (Mode::Managed, Some(operator)) => manage(settings, observed, operator, now)?,
        (Mode::Absent | Mode::Removed, _) => remove(settings, observed, mode)?,
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
    plan.warnings.extend(suspected_installation(settings, observed));
    if settings.operand_image.is_none() {
        plan.problems.push(Problem {
            reason: reasons::MISSING_OPERAND_IMAGE,
            message: "environment variable OPERAND_IMAGE of the operator is not set: set it to the image of \
                      the JobSet controller"
                .to_owned(),
        });
    }
    let mut certification = decide_certification(settings, observed, operator, now);
    plan.issue = std::mem::take(&mut certification.issue);
    plan.reconcile_at = certification.reconcile_at;
    plan.waiting.append(&mut certification.waiting);
    plan.problems.append(&mut certification.problems);
    plan.passing.append(&mut certification.passing);
    if certification.serving.is_some() && !certification.trusted {
        plan.waiting.push("the webhook configurations do not trust the new CA yet".to_owned());
    }

    let mut desired = objects(&inputs(settings, observed, operator, &certification, &mut plan.problems))?;
    previous_pods::keep_rules_of_gates(observed, &mut desired);
    let needed_roles = previous_pods::needed_roles(observed, &desired);
    plan.delete = no_longer_desired(observed, &desired)?;
    plan.delete.retain(|key| !needed_roles.contains(key));
    plan.delete.extend(unused_secrets(&certification, observed));
    let operand_can_run = certification.serving.is_some() && settings.operand_image.is_some();
    for mut object in desired {
        let key = ObjectKey::of(&object);
        let live = observed.objects.get(&key);
        if let Some(live) = live.filter(|_| key.kind == "Deployment") {
            selector::keep(&mut object, &live.object);
        }
        if let Some(live) = live.filter(|_| key.kind == "CustomResourceDefinition") {
            mark(&mut object, live);
        }
        if needed_roles.contains(&key)
            || !certification.next_trusted
                && live.is_some_and(|live| previous_pods::read_next_certificate(live, &object))
        {
            continue;
        }
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

/// Returns None if the operator must not apply the object now. Otherwise returns the object that this one needs, if
/// any.
///
/// The JobSet API needs an operand that serves its webhooks. Without webhooks, the API server accepts JobSets without
/// defaults and validation. A webhook without a running operand rejects every pod of every JobSet.
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
        // The pods must not serve with a certificate that the API server does not trust yet.
        "Deployment" => (operand_can_run && certification.trusted).then(api),
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" if exists => {
            // Without a CA, the existing configuration is the best one.
            (!certification.ca_bundle.is_empty()).then_some(None)
        }
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => operand_can_run.then(deployment),
        _ => Some(None),
    }
}

/// The inputs of the operand's objects.
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
            problems.push(Problem { reason: reasons::UNSUPPORTED_TLS_PROFILE, message });
            tls_profile::intermediate()
        })
    });
    let config_overrides = overrides(operator).filter(|overrides| match check_overrides(overrides) {
        Ok(()) => true,
        Err(message) => {
            problems.push(Problem {
                reason: reasons::INVALID_CONFIG_OVERRIDES,
                message: format!("spec.unsupportedConfigOverrides is ignored: {message}"),
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
        openshift: observed.facts.is_openshift(),
        monitoring: Monitoring {
            service_monitor: observed.apis.contains(kinds::SERVICE_MONITOR_CRD),
            prometheus_rule: observed.apis.contains(kinds::PROMETHEUS_RULE_CRD),
            prometheus: prometheus_servers(operator, observed.facts.is_openshift()),
            runbooks: settings.runbooks.clone(),
        },
        console: Console {
            quick_starts: observed.apis.contains(kinds::QUICK_START_CRD),
            yaml_samples: observed.apis.contains(kinds::YAML_SAMPLE_CRD),
            dashboards: observed.dashboard_namespace,
        },
        replicas: controller.replicas.unwrap_or(topology),
        controller,
        tls,
        proxy: observed.facts.proxy.clone().unwrap_or_else(|| settings.proxy.clone()),
        config_overrides: config_overrides.cloned(),
    }
}

/// `spec.unsupportedConfigOverrides`, if it is not empty.
fn overrides(operator: &JobSetOperator) -> Option<&serde_json::Value> {
    operator.spec.unsupported_config_overrides.as_ref().filter(|overrides| match overrides {
        serde_json::Value::Null => false,
        serde_json::Value::Object(fields) => !fields.is_empty(),
        _ => true,
    })
}

/// The desired Secrets.
///
/// cert-manager does not delete the Secret of a deleted Certificate. Each Secret gets the operand's owner reference, so
/// that no private key remains after the operand. The UID prevents the creation of a Secret that was just deleted. The
/// operator also applies the data of the Secrets that it issues, because server-side apply removes fields that are
/// missing in a request.
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
                // The operator does not adopt a foreign Secret.
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

/// A Secret of the operator, without data.
pub fn secret(name: &str, operator: &JobSetOperator) -> DynamicObject {
    let mut object = DynamicObject::new(name, &ApiResource::erase::<Secret>(&()));
    object.metadata.owner_references = Some(vec![owner(operator)]);
    object.metadata.labels = Some(labels(ManagedBy::Operator).collect());
    object
}

/// Deletes the operand. After the deletion of the JobSetOperator, the garbage collector deletes it.
fn remove(settings: &Settings, observed: &Observed, mode: Mode) -> Result<Plan, DesiredError> {
    let mut plan = Plan::new(mode);
    let own = own_objects(observed)?;
    match deletion(settings, observed, mode, &own) {
        Deletion::No => {}
        Deletion::Refused(why) => plan.api_stays = Some(why),
        Deletion::WithoutJobSets => plan.delete_unused_api = true,
    }
    if mode == Mode::Removed {
        plan.foreign_operand = foreign_operand(settings, observed, &own);
        plan.delete = removal(settings, observed, own);
    }
    Ok(plan)
}

/// An owner reference that neither controls nor blocks the owner's deletion. The garbage collector deletes the operand
/// after its JobSetOperator, in any order, even if the operator does not run.
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
