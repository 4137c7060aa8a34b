//! From what was observed to what is to be done: the operator's one decision, without a server.
//!
//! A plan's steps are independent of one another but for what `needs` says, so that one object that cannot be
//! written holds up only those that make no sense without it.

use super::{CertificateHashes, Certificates, DesiredError, Inputs, ManagedBy, OperandLogLevel, objects};
use crate::names;
use crate::observe::{Live, ObjectKey, Observed};
use jobset_api::JobSetOperator;
use jobset_api::jobset_operator::{LogLevel, ManagementState};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use kube::api::{ApiResource, DynamicObject};
use std::collections::BTreeSet;

/// What does not change while the process runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Namespace of operator and operand.
    pub namespace: String,
    /// Image of the operand; none when the operator was not given one.
    pub operand_image: Option<String>,
    /// Version of the operator.
    pub version: &'static str,
}

/// What the administrator wants, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// There is no JobSetOperator, or it is being deleted: the garbage collector takes the operand away.
    Absent,
    /// The operand shall be there.
    Managed,
    /// Nothing is touched.
    Unmanaged,
    /// The operand shall be gone.
    Removed,
}

impl Mode {
    /// Reads it off the JobSetOperator.
    pub fn of(operator: Option<&JobSetOperator>) -> Self {
        let Some(operator) = operator else { return Mode::Absent };
        if operator.metadata.deletion_timestamp.is_some() {
            return Mode::Absent;
        }
        match &operator.spec.management_state {
            None | Some(ManagementState::Managed | ManagementState::Force) => Mode::Managed,
            Some(ManagementState::Removed) => Mode::Removed,
            // A value that this version does not know is no order to change anything.
            Some(ManagementState::Unmanaged | ManagementState::Unknown(_)) => Mode::Unmanaged,
        }
    }
}

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

/// Why the operand cannot be as it should, until somebody does something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Reason of the condition.
    pub reason: &'static str,
    /// Message of the condition.
    pub message: String,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What the administrator wants.
    pub mode: Mode,
    /// Objects to apply, in order.
    pub apply: Vec<Step>,
    /// Whether the JobSet API has an owner whose deletion would delete every JobSet: the Go operator gave it one.
    pub disown_api: bool,
    /// Objects to delete, in order.
    pub delete: Vec<ObjectKey>,
    /// What is waited for, and comes without anybody's doing.
    pub waiting: Vec<String>,
    /// What stands in the way.
    pub problems: Vec<Problem>,
    /// Whether the JobSet API shall be deleted, if no JobSet is left.
    pub delete_unused_api: bool,
}

impl Plan {
    /// A plan to do nothing.
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            apply: Vec::new(),
            disown_api: false,
            delete: Vec::new(),
            waiting: Vec::new(),
            problems: Vec::new(),
            delete_unused_api: false,
        }
    }
}

/// Decides.
pub fn plan(settings: &Settings, observed: &Observed) -> Result<Plan, DesiredError> {
    let operator = observed.operator.as_deref();
    let mode = Mode::of(operator);
    match (mode, operator) {
        (Mode::Managed, Some(operator)) => manage(settings, observed, operator),
        (Mode::Absent | Mode::Removed, _) => Ok(remove(observed, mode)),
        _ => Ok(Plan::new(mode)),
    }
}

fn manage(settings: &Settings, observed: &Observed, operator: &JobSetOperator) -> Result<Plan, DesiredError> {
    let mut plan = Plan::new(Mode::Managed);
    if settings.operand_image.is_none() {
        plan.problems.push(Problem {
            reason: "MissingOperandImage",
            message:
                "environment variable OPERAND_IMAGE of the operator is not set: it must name the image of \
                      the JobSet controller"
                    .to_owned(),
        });
    }
    if !observed.cert_manager() {
        plan.problems.push(Problem {
            reason: "MissingDependency",
            message: "please make sure that cert-manager is installed on your cluster".to_owned(),
        });
    }
    let hash = |secret: &str| observed.secrets.get(secret).and_then(|secret| secret.hash.clone());
    let certificate_hashes =
        CertificateHashes { webhook: hash(names::WEBHOOK_SECRET), metrics: hash(names::METRICS_SECRET) };
    let certified = certificate_hashes.webhook.is_some() && certificate_hashes.metrics.is_some();
    if observed.cert_manager() && !certified {
        plan.waiting = missing_certificates(observed);
    }
    let inputs = Inputs {
        namespace: settings.namespace.clone(),
        operand_image: settings.operand_image.clone().unwrap_or_default(),
        owner: Some(owner(operator)),
        managed_by: ManagedBy::Operator,
        log_level: operand_log_level(operator),
        certificates: Certificates::CertManager,
        monitoring_available: observed.monitoring(),
        replicas: 1,
        certificate_hashes,
    };
    let operand_can_run = certified && settings.operand_image.is_some();
    let deployment = ObjectKey::new("Deployment", names::OPERAND);
    let api = ObjectKey::new("CustomResourceDefinition", names::JOBSET_CRD);
    let desired = objects(&inputs)?;
    plan.delete = no_longer_desired(observed, &desired);
    plan.disown_api =
        observed.get("CustomResourceDefinition", names::JOBSET_CRD).is_some_and(Live::has_our_owner);
    for object in desired {
        let key = ObjectKey::of(&object);
        let exists = observed.objects.contains_key(&key);
        // The JobSet API appears together with what serves it. Before that, a JobSet could be created that nobody
        // fills in and checks; and a webhook that points at nobody refuses every pod of every JobSet.
        let (allowed, needs) = match key.kind.as_str() {
            "Issuer" | "Certificate" => (observed.cert_manager(), None),
            "CustomResourceDefinition" => (operand_can_run || exists, None),
            "Deployment" => (operand_can_run, Some(api.clone())),
            "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" if exists => (true, None),
            "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
                (operand_can_run, Some(deployment.clone()))
            }
            _ => (true, None),
        };
        if allowed {
            plan.apply.push(Step { key, object, needs });
        }
    }
    plan.apply.extend(adoptions(observed, operator));
    Ok(plan)
}

/// cert-manager leaves the Secrets of its Certificates behind when those are deleted. So that no private key
/// outlives the operand, the Secrets get its owner, too. The uid keeps a Secret that is just gone from being made.
fn adoptions(observed: &Observed, operator: &JobSetOperator) -> Vec<Step> {
    let adopt = |name: &&str| {
        let live = observed.get("Secret", name)?;
        let mut object = DynamicObject::new(name, &ApiResource::erase::<Secret>(&()));
        object.metadata.uid = live.object.uid();
        object.metadata.owner_references = Some(vec![owner(operator)]);
        object.metadata.labels =
            Some([(names::MANAGED_BY_LABEL.to_owned(), names::OPERATOR.to_owned())].into_iter().collect());
        let alive = live.object.metadata.deletion_timestamp.is_none();
        alive.then(|| Step { key: ObjectKey::of(&object), object, needs: None })
    };
    [names::CA_SECRET, names::WEBHOOK_SECRET, names::METRICS_SECRET].iter().filter_map(adopt).collect()
}

/// The operand goes, webhooks first: they refuse every JobSet from the moment that nobody answers them.
/// When the JobSetOperator is gone this is the garbage collector's work.
fn remove(observed: &Observed, mode: Mode) -> Plan {
    let mut plan = Plan::new(mode);
    let mut ours: Vec<&ObjectKey> = removable(observed).collect();
    // As long as a Certificate is there, cert-manager makes its Secret anew.
    if ours.iter().any(|key| key.kind == "Certificate") {
        ours.retain(|key| key.kind != "Secret");
    }
    ours.sort_by_key(|key| (removal_rank(&key.kind), (*key).clone()));
    let api = observed.get("CustomResourceDefinition", names::JOBSET_CRD);
    // While the operand runs it needs the API.
    plan.delete_unused_api = ours.is_empty() && api.is_some_and(is_our_api);
    if mode == Mode::Removed {
        plan.delete = ours.into_iter().cloned().collect();
    }
    plan
}

fn removal_rank(kind: &str) -> u8 {
    match kind {
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => 0,
        "ServiceMonitor" => 1,
        "Deployment" => 2,
        "Service" | "ConfigMap" | "Certificate" => 3,
        "Issuer" => 4,
        _ => 5,
    }
}

/// Whether the operator may delete the JobSet API: only what it applied itself. An API that an administrator or
/// another installation brought stays.
fn is_our_api(crd: &Live) -> bool {
    crd.applied_by_us && crd.has_our_label() && crd.object.metadata.deletion_timestamp.is_none()
}

/// Objects that the operator made for a JobSetOperator. Label and owner must agree: a label alone is easily copied.
fn removable(observed: &Observed) -> impl Iterator<Item = &ObjectKey> {
    observed
        .objects
        .iter()
        .filter(|(key, live)| {
            key.kind != "CustomResourceDefinition" && live.has_our_label() && live.has_our_owner()
        })
        .map(|(key, _)| key)
}

fn no_longer_desired(observed: &Observed, desired: &[DynamicObject]) -> Vec<ObjectKey> {
    let wanted: BTreeSet<ObjectKey> = desired.iter().map(ObjectKey::of).collect();
    removable(observed).filter(|key| key.kind != "Secret" && !wanted.contains(key)).cloned().collect()
}

/// One sentence for each Secret that is not complete, with what cert-manager says about it.
fn missing_certificates(observed: &Observed) -> Vec<String> {
    let not_ready = |certificate: &str| {
        let live = observed.get("Certificate", certificate)?;
        let conditions = live.object.data.pointer("/status/conditions")?.as_array()?;
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready")?;
        let text = |field: &str| ready[field].as_str().unwrap_or_default().to_owned();
        (ready["status"] != "True").then(|| format!("{}: {}", text("reason"), text("message")))
    };
    let mut sentences = Vec::new();
    for (secret, certificate) in [
        (names::WEBHOOK_SECRET, names::WEBHOOK_CERTIFICATE),
        (names::METRICS_SECRET, names::METRICS_CERTIFICATE),
    ] {
        if observed.secrets.get(secret).is_some_and(|secret| secret.hash.is_some()) {
            continue;
        }
        let why = match (not_ready(certificate), not_ready(names::CA_CERTIFICATE)) {
            (Some(own), Some(root)) => format!("{own}; Certificate {}: {root}", names::CA_CERTIFICATE),
            (Some(own), None) => own,
            (None, Some(root)) => format!("waits for Certificate {}: {root}", names::CA_CERTIFICATE),
            (None, None) => "cert-manager has not answered yet".to_owned(),
        };
        sentences.push(format!("Secret {secret} is not complete; Certificate {certificate}: {why}"));
    }
    sentences
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
