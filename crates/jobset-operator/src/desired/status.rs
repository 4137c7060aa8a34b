//! The status of the JobSetOperator, from the snapshot, the plan and the failures of its execution.

use super::certification::served_validity;
use super::condition_types::{
    AVAILABLE, DEGRADED, Finding, PROGRESSING, STATIC_DEGRADED, TARGET_DEGRADED, UPGRADEABLE,
};
use super::degraded::{Cause, Clock, Degradation, degradation};
use super::operand_state::OperandState;
use super::plan::Plan;
use super::problem::Problem;
use super::settings::{Mode, Settings};
use crate::names;
use crate::observe::{ObjectKey, Observed};
use crate::reasons;
use jobset_api::JobSetOperator;
use jobset_api::jobset_operator::{GenerationStatus, JobSetOperatorStatus, OperatorCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

/// A step of the plan that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The object of the step.
    pub key: ObjectKey,
    /// The error, in one sentence.
    pub message: String,
    /// Whether the step fails until an administrator acts: the API server refuses the request.
    pub lasting: bool,
}

/// The status, and when it changes if nothing else does.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The complete new status.
    pub status: JobSetOperatorStatus,
    /// When to decide on the status again.
    pub reconcile_at: Option<Timestamp>,
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
) -> Report {
    let operand = OperandState::of(observed);
    let old = operator.status.as_ref();
    let causes = causes(plan, observed, failures, operand.as_ref());
    let degradation = degradation(plan.mode, &causes, old, now.0);
    let (available, next) = available(plan, observed, operand.as_ref(), now.0);
    let Degradation { mut degraded, of_target, of_static_resources, reconcile_at } = degradation;
    if !degraded.status {
        degraded.message = plan.warnings.join("\n");
    }
    let findings = [
        available,
        progressing(plan, observed, &degraded, &of_target, operand.as_ref()),
        degraded,
        upgradeable(plan),
        of_target,
        of_static_resources,
    ];
    let version = if has_reached_version(settings, plan, failures, operand.as_ref()) {
        Some(settings.version.to_owned())
    } else {
        old.and_then(|old| old.version.clone())
    };
    let status = JobSetOperatorStatus {
        conditions: findings.into_iter().map(|finding| condition(finding, old, now)).collect(),
        generations: operand
            .as_ref()
            .map(|operand| generation(operand, &settings.namespace))
            .into_iter()
            .collect(),
        latest_available_revision: old.and_then(|old| old.latest_available_revision),
        observed_generation: operator.metadata.generation,
        ready_replicas: operand.as_ref().map_or(0, |operand| operand.ready),
        version,
    };
    Report { status, reconcile_at: reconcile_at.into_iter().chain(next).min() }
}

/// The status before all watches have synced. `problems` wait for the administrator, and `passing` can pass. The rest
/// of the status is the last one, because unobserved objects may exist.
pub fn unsynced_status(
    settings: &Settings,
    observed: &Observed,
    problems: Vec<Problem>,
    passing: Vec<Problem>,
    operator: &JobSetOperator,
    now: &Time,
) -> Report {
    let plan = Plan { problems, passing, ..Plan::new(Mode::of(Some(operator))) };
    let mut report = status(settings, observed, &plan, &[], operator, now);
    if let Some(old) = &operator.status {
        for condition in &mut report.status.conditions {
            let is_unknown = [AVAILABLE, PROGRESSING].contains(&&*condition.type_)
                || condition.type_ == DEGRADED && condition.status == "False";
            let before = old.conditions.iter().find(|before| before.type_ == condition.type_);
            if let Some(before) = before.filter(|_| is_unknown) {
                condition.clone_from(before);
            }
        }
        // Nothing is done for a new generation yet, so the last conditions must not appear to be about it.
        report.status.observed_generation = old.observed_generation;
        report.status.generations.clone_from(&old.generations);
        report.status.ready_replicas = old.ready_replicas;
    }
    report.status.version = operator.status.as_ref().and_then(|old| old.version.clone());
    report
}

/// The causes for condition Degraded. The reason of the condition is that of the first one.
fn causes(
    plan: &Plan,
    observed: &Observed,
    failures: &[Failure],
    operand: Option<&OperandState>,
) -> Vec<Cause> {
    let lasting = |problem: Problem| Cause::of_operand(problem, Clock::None);
    let mut causes: Vec<Cause> = plan.problems.iter().cloned().map(lasting).collect();
    if plan.mode == Mode::Managed {
        causes.extend(operand.and_then(refused).map(lasting));
        causes.extend(operand.and_then(stuck).map(lasting));
        causes.extend(failing_pods(observed));
    }
    causes.extend(plan.passing.iter().map(|problem| Cause::of_operand(problem.clone(), Clock::Part)));
    causes.extend(failures.iter().map(|failure| Cause {
        reason: reasons::SYNC_ERROR,
        message: format!("{}: {}", failure.key, failure.message),
        part: if is_static(&failure.key) { STATIC_DEGRADED } else { TARGET_DEGRADED },
        clock: if failure.lasting { Clock::None } else { Clock::Part },
    }));
    causes
}

/// Whether the cluster has the state that this version of the operator requests.
fn has_reached_version(
    settings: &Settings,
    plan: &Plan,
    failures: &[Failure],
    operand: Option<&OperandState>,
) -> bool {
    match (plan.mode, operand) {
        (Mode::Managed, Some(operand)) => {
            operand.is_rolled_out()
                && operand.image == settings.operand_image
                && !failures.iter().any(|failure| failure.key.kind == "Deployment")
        }
        (Mode::Removed, None) => plan.delete.is_empty(),
        _ => false,
    }
}

fn condition(finding: Finding, old: Option<&JobSetOperatorStatus>, now: &Time) -> OperatorCondition {
    let status = finding.status_text();
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

/// Condition Available, and when it changes if nothing else does. The operand is available while one of its pods serves
/// admission requests, whatever else is in progress.
fn available(
    plan: &Plan,
    observed: &Observed,
    operand: Option<&OperandState>,
    now: Timestamp,
) -> (Finding, Option<Timestamp>) {
    let unavailable = |why: String| {
        let message = format!("Operand Deployment is not available: {why}");
        (Finding::new(AVAILABLE, false, reasons::DEPLOYMENT_UNAVAILABLE, message), None)
    };
    let serves = observed.ready_endpoints.is_some_and(|ready| ready > 0);
    let counts = match operand {
        None if plan.mode == Mode::Removed && plan.delete.is_empty() => {
            let message = "the operand is removed, as spec.managementState requests";
            return (Finding::new(AVAILABLE, false, reasons::REMOVED, message), None);
        }
        None if plan.mode == Mode::Removed => {
            let message = "the operator is removing the operand";
            return (Finding::new(AVAILABLE, false, reasons::REMOVING, message), None);
        }
        None if !serves => return unavailable("it does not exist".to_owned()),
        Some(operand) if !serves && operand.available == 0 => {
            let troubles = pod_troubles(observed).map(|trouble| format!("; {trouble}"));
            return unavailable(troubles.fold(operand.counts(), |all, trouble| all + &trouble));
        }
        None => "pods of a deleted Deployment serve".to_owned(),
        Some(operand) => operand.counts(),
    };
    if let Some(why) = unreachable_webhook(observed) {
        return (Finding::new(AVAILABLE, false, reasons::WEBHOOK_UNAVAILABLE, why), None);
    }
    let Some((secret, begin, end)) = served_validity(observed) else {
        return (Finding::new(AVAILABLE, true, reasons::AS_EXPECTED, counts), None);
    };
    let invalid = |what: String| {
        let message = format!(
            "the API server rejects the certificate of the webhooks: the certificate in Secret {secret} {what}. Check \
             that its issuer works, and the clocks of the nodes"
        );
        Finding::new(AVAILABLE, false, reasons::CERTIFICATE_EXPIRED, message)
    };
    if now < begin {
        (invalid(format!("is not valid before {begin}")), Some(begin))
    } else if now >= end {
        (invalid(format!("expired at {end}")), None)
    } else {
        (Finding::new(AVAILABLE, true, reasons::AS_EXPECTED, counts), Some(end))
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

/// Pods that need an action of the administrator, unless they recover.
fn failing_pods(observed: &Observed) -> Option<Cause> {
    let failing = || observed.pods.iter().filter(|(_, trouble)| trouble.lasting);
    let messages: Vec<String> =
        failing().map(|(name, trouble)| format!("pod {name}: {}", trouble.message)).collect();
    let since = failing().filter_map(|(_, trouble)| trouble.since).min();
    (!messages.is_empty()).then(|| {
        let problem = Problem {
            reason: reasons::OPERAND_POD_FAILING,
            message: format!("pods of the operand fail: {}", messages.join("; ")),
        };
        Cause::of_operand(problem, since.map_or(Clock::Part, Clock::Own))
    })
}

/// Condition Upgradeable.
pub fn upgradeable(plan: &Plan) -> Finding {
    if plan.unsupported_overrides {
        return Finding::new(
            UPGRADEABLE,
            false,
            reasons::UNSUPPORTED_CONFIG_OVERRIDES,
            "spec.unsupportedConfigOverrides is set: the next version may not support it. Remove it before an upgrade",
        );
    }
    Finding::new(UPGRADEABLE, true, reasons::AS_EXPECTED, "")
}

fn progressing(
    plan: &Plan,
    observed: &Observed,
    degraded: &Finding,
    of_target: &Finding,
    operand: Option<&OperandState>,
) -> Finding {
    match plan.mode {
        Mode::Unmanaged => {
            return Finding::new(
                PROGRESSING,
                false,
                reasons::UNMANAGED,
                "the operator changes nothing, as spec.managementState requests",
            );
        }
        Mode::Removed if plan.delete.is_empty() && plan.foreign_operand.is_some() => {
            let message = plan.foreign_operand.clone().unwrap_or_default();
            return Finding::new(PROGRESSING, false, reasons::NOT_REMOVED, message);
        }
        Mode::Removed if plan.delete.is_empty() => {
            return Finding::new(
                PROGRESSING,
                false,
                reasons::REMOVED,
                "the operand is removed, as spec.managementState requests",
            );
        }
        Mode::Removed => {
            let rest: Vec<String> = plan.delete.iter().map(ToString::to_string).collect();
            return Finding::new(
                PROGRESSING,
                true,
                reasons::REMOVING,
                format!("deleting {}", rest.join(", ")),
            );
        }
        Mode::Absent | Mode::Managed => {}
    }
    if !plan.waiting.is_empty() {
        return Finding::new(PROGRESSING, true, reasons::WAITING_FOR_CERTIFICATES, plan.waiting.join("\n"));
    }
    match operand {
        Some(operand) if operand.is_rolled_out() => {
            Finding::new(PROGRESSING, false, reasons::AS_EXPECTED, "")
        }
        Some(operand) if operand.deadline_exceeded.is_none() => {
            let troubles = pod_troubles(observed).map(|trouble| format!("; {trouble}"));
            let message = troubles.fold(operand.progress(), |all, trouble| all + &trouble);
            Finding::new(PROGRESSING, true, reasons::ROLLING_OUT, message)
        }
        None if !degraded.status => {
            let error = if of_target.status { format!("; {}", of_target.message) } else { String::new() };
            let message = format!("the operand's Deployment is being created{error}");
            Finding::new(PROGRESSING, true, reasons::DEPLOYING, message)
        }
        _ => Finding::new(PROGRESSING, false, reasons::BLOCKED, "see condition Degraded"),
    }
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
        reason: reasons::OPERAND_POD_REFUSED,
        message: format!("the Deployment cannot create pods of the operand: {message}"),
    })
}

fn stuck(operand: &OperandState) -> Option<Problem> {
    let message = operand.deadline_exceeded.as_ref()?;
    Some(Problem {
        reason: reasons::ROLLOUT_STUCK,
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
