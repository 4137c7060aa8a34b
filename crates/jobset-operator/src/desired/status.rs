//! The status of the JobSetOperator, from the snapshot, the plan and the failures of its execution.

use super::condition_types::{
    AVAILABLE, DEGRADED, PROGRESSING, STATIC_DEGRADED, TARGET_DEGRADED, UPGRADEABLE, WAITING_FOR_CERTIFICATES,
};
use super::operand_state::OperandState;
use super::plan::Plan;
use super::problem::Problem;
use super::settings::{Mode, Settings};
use crate::names;
use crate::observe::{ObjectKey, Observed};
use jobset_api::JobSetOperator;
use jobset_api::jobset_operator::{GenerationStatus, JobSetOperatorStatus, OperatorCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

const AS_EXPECTED: &str = "AsExpected";
const SYNC_ERROR: &str = "SyncError";

/// A step of the plan that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The object of the step.
    pub key: ObjectKey,
    /// The error, in one sentence.
    pub message: String,
}

/// A condition without its transition time.
struct Finding {
    kind: &'static str,
    status: bool,
    reason: String,
    message: String,
}

impl Finding {
    fn new(kind: &'static str, status: bool, reason: &str, message: impl Into<String>) -> Self {
        Self { kind, status, reason: reason.to_owned(), message: message.into() }
    }
}

/// The complete new status. An unchanged condition keeps its transition time, so that an unchanged status equals the
/// old one.
pub fn status(
    settings: &Settings,
    observed: &Observed,
    plan: &Plan,
    failures: &[Failure],
    operator: &JobSetOperator,
    now: &Time,
) -> JobSetOperatorStatus {
    let operand = OperandState::of(observed);
    let mut problems = plan.problems.clone();
    if plan.mode == Mode::Managed {
        problems.extend(operand.as_ref().and_then(refused));
        problems.extend(operand.as_ref().and_then(stuck));
        problems.extend(failing_pods(observed));
    }
    let findings = [
        available(plan, observed, operand.as_ref()),
        progressing(plan, observed, &problems, failures, operand.as_ref()),
        degraded(plan.mode, &problems, failures),
        upgradeable(plan),
        partly_degraded(TARGET_DEGRADED, &problems, failures, |failure| !is_static(&failure.key)),
        partly_degraded(STATIC_DEGRADED, &[], failures, |failure| is_static(&failure.key)),
    ];
    let old = operator.status.as_ref();
    JobSetOperatorStatus {
        conditions: findings.into_iter().map(|finding| condition(finding, old, now)).collect(),
        generations: operand
            .as_ref()
            .map(|operand| generation(operand, &settings.namespace))
            .into_iter()
            .collect(),
        latest_available_revision: old.and_then(|old| old.latest_available_revision),
        observed_generation: operator.metadata.generation,
        ready_replicas: operand.as_ref().map_or(0, |operand| operand.ready),
        version: Some(settings.version.to_owned()),
    }
}

/// The status before all watches have synced. It reports the problem and keeps the last status of the operand, because
/// unobserved objects may exist.
pub fn unsynced_status(
    settings: &Settings,
    observed: &Observed,
    problem: Problem,
    operator: &JobSetOperator,
    now: &Time,
) -> JobSetOperatorStatus {
    let plan = Plan { problems: vec![problem], ..Plan::new(Mode::of(Some(operator))) };
    let mut new = status(settings, observed, &plan, &[], operator, now);
    if let Some(old) = &operator.status {
        for condition in &mut new.conditions {
            let before = old.conditions.iter().find(|before| before.type_ == condition.type_);
            if let Some(before) = before.filter(|_| [AVAILABLE, PROGRESSING].contains(&&*condition.type_)) {
                condition.clone_from(before);
            }
        }
        new.generations.clone_from(&old.generations);
        new.ready_replicas = old.ready_replicas;
    }
    new
}

fn condition(finding: Finding, old: Option<&JobSetOperatorStatus>, now: &Time) -> OperatorCondition {
    let status = if finding.status { "True" } else { "False" };
    let before = old.and_then(|old| old.conditions.iter().find(|condition| condition.type_ == finding.kind));
    let since =
        before.filter(|before| before.status == status).map_or(now, |before| &before.last_transition_time);
    OperatorCondition {
        type_: finding.kind.to_owned(),
        status: status.to_owned(),
        last_transition_time: since.clone(),
        reason: Some(finding.reason),
        message: Some(finding.message),
    }
}

fn available(plan: &Plan, observed: &Observed, operand: Option<&OperandState>) -> Finding {
    let unavailable = |why: String| {
        let message = format!("Operand Deployment is not available: {why}");
        Finding::new(AVAILABLE, false, "DeploymentUnavailable", message)
    };
    match operand {
        None if plan.mode == Mode::Removed => Finding::new(
            AVAILABLE,
            false,
            "Removed",
            "the operand is removed, as spec.managementState requests",
        ),
        None => unavailable("it does not exist".to_owned()),
        Some(operand) if operand.available == 0 => {
            let troubles = pod_troubles(observed).map(|trouble| format!("; {trouble}"));
            unavailable(troubles.fold(operand.counts(), |all, trouble| all + &trouble))
        }
        // A pod of an older version serves as well as a new one, and a surplus pod does no harm.
        Some(operand) => match unreachable_webhook(observed) {
            Some(why) => Finding::new(AVAILABLE, false, "WebhookUnavailable", why),
            None => Finding::new(AVAILABLE, true, AS_EXPECTED, operand.counts()),
        },
    }
}

/// Why the webhooks do not work although pods of the operand run.
fn unreachable_webhook(observed: &Observed) -> Option<String> {
    if observed.ready_endpoints == Some(0) {
        return Some(format!("Service {} has no ready endpoint", names::WEBHOOK_SERVICE));
    }
    [
        ("MutatingWebhookConfiguration", names::MUTATING_WEBHOOKS),
        ("ValidatingWebhookConfiguration", names::VALIDATING_WEBHOOKS),
    ]
    .into_iter()
    .find_map(|(kind, name)| {
        let Some(live) = observed.get(kind, name) else {
            return Some(format!("{kind} {name} does not exist"));
        };
        let webhooks = live.object.data.get("webhooks").and_then(Value::as_array).into_iter().flatten();
        let bundle = |webhook: &Value| webhook.pointer("/clientConfig/caBundle").cloned().unwrap_or_default();
        let mut bundles = webhooks.map(bundle);
        let has_no_ca = bundles.any(|bundle| bundle.as_str().is_none_or(str::is_empty));
        has_no_ca.then(|| format!("{kind} {name} has no CA bundle yet"))
    })
}

fn pod_troubles(observed: &Observed) -> impl Iterator<Item = String> {
    observed.pods.iter().map(|(name, trouble)| format!("pod {name}: {}", trouble.message))
}

/// Pods that need an action of the administrator.
fn failing_pods(observed: &Observed) -> Option<Problem> {
    let failing = observed.pods.iter().filter(|(_, trouble)| trouble.lasting);
    let messages: Vec<String> =
        failing.map(|(name, trouble)| format!("pod {name}: {}", trouble.message)).collect();
    (!messages.is_empty()).then(|| Problem {
        reason: "OperandPodFailing",
        message: format!("pods of the operand fail: {}", messages.join("; ")),
    })
}

fn upgradeable(plan: &Plan) -> Finding {
    if plan.unsupported_overrides {
        return Finding::new(
            UPGRADEABLE,
            false,
            "UnsupportedConfigOverrides",
            "spec.unsupportedConfigOverrides is set: the next version may not support it. Remove it before an upgrade",
        );
    }
    Finding::new(UPGRADEABLE, true, AS_EXPECTED, "")
}

fn progressing(
    plan: &Plan,
    observed: &Observed,
    problems: &[Problem],
    failures: &[Failure],
    operand: Option<&OperandState>,
) -> Finding {
    match plan.mode {
        Mode::Unmanaged => {
            return Finding::new(
                PROGRESSING,
                false,
                "Unmanaged",
                "the operator changes nothing, as spec.managementState requests",
            );
        }
        Mode::Removed if plan.delete.is_empty() => {
            return Finding::new(
                PROGRESSING,
                false,
                "Removed",
                "the operand is removed, as spec.managementState requests",
            );
        }
        Mode::Removed => {
            let rest: Vec<String> = plan.delete.iter().map(ToString::to_string).collect();
            return Finding::new(PROGRESSING, true, "Removing", format!("deleting {}", rest.join(", ")));
        }
        Mode::Absent | Mode::Managed => {}
    }
    if !plan.waiting.is_empty() {
        return Finding::new(PROGRESSING, true, WAITING_FOR_CERTIFICATES, plan.waiting.join("\n"));
    }
    match operand {
        Some(operand) if operand.is_rolled_out() => Finding::new(PROGRESSING, false, AS_EXPECTED, ""),
        Some(operand) if operand.deadline_exceeded.is_none() => {
            let troubles = pod_troubles(observed).map(|trouble| format!("; {trouble}"));
            let message = troubles.fold(operand.progress(), |all, trouble| all + &trouble);
            Finding::new(PROGRESSING, true, "RollingOut", message)
        }
        None if problems.is_empty() && failures.is_empty() => {
            Finding::new(PROGRESSING, true, "Deploying", "the operand's Deployment is being created")
        }
        _ => Finding::new(PROGRESSING, false, "Blocked", "see condition Degraded"),
    }
}

fn degraded(mode: Mode, problems: &[Problem], failures: &[Failure]) -> Finding {
    let mut messages: Vec<String> = problems.iter().map(|problem| problem.message.clone()).collect();
    messages.extend(failures.iter().map(|failure| format!("{}: {}", failure.key, failure.message)));
    match (problems.first(), failures.first()) {
        (Some(problem), _) => Finding::new(DEGRADED, true, problem.reason, messages.join("\n")),
        (None, Some(_)) => Finding::new(DEGRADED, true, SYNC_ERROR, messages.join("\n")),
        (None, None) if mode == Mode::Unmanaged => Finding::new(DEGRADED, false, "Unmanaged", ""),
        (None, None) => Finding::new(DEGRADED, false, AS_EXPECTED, ""),
    }
}

fn partly_degraded(
    kind: &'static str,
    problems: &[Problem],
    failures: &[Failure],
    part: impl Fn(&Failure) -> bool,
) -> Finding {
    let mut messages: Vec<String> = problems.iter().map(|problem| problem.message.clone()).collect();
    let failures = failures.iter().filter(|failure| part(failure));
    messages.extend(failures.map(|failure| format!("{}: {}", failure.key, failure.message)));
    let reason = if messages.is_empty() { AS_EXPECTED } else { SYNC_ERROR };
    Finding::new(kind, !messages.is_empty(), reason, messages.join("\n"))
}

/// Whether the object is a static resource of the Go operator.
fn is_static(key: &ObjectKey) -> bool {
    match key.kind.as_str() {
        "ServiceAccount" | "ClusterRole" | "ClusterRoleBinding" => true,
        "Role" | "RoleBinding" => key.name != names::PROMETHEUS_ROLE,
        "Service" => key.name == names::METRICS_SERVICE,
        _ => false,
    }
}

fn refused(operand: &OperandState) -> Option<Problem> {
    let message = operand.pods_refused.as_ref()?;
    Some(Problem {
        reason: "OperandPodRefused",
        message: format!("the Deployment cannot create pods of the operand: {message}"),
    })
}

fn stuck(operand: &OperandState) -> Option<Problem> {
    let message = operand.deadline_exceeded.as_ref()?;
    Some(Problem {
        reason: "RolloutStuck",
        message: format!("the rollout of the operand makes no progress: {message}"),
    })
}

fn generation(operand: &OperandState, namespace: &str) -> GenerationStatus {
    GenerationStatus {
        group: "apps".to_owned(),
        resource: "deployments".to_owned(),
        namespace: namespace.to_owned(),
        name: names::OPERAND.to_owned(),
        last_generation: operand.generation,
        hash: String::new(),
    }
}
