//! The status of the JobSetOperator, from what was observed, planned and done.

use super::plan::{Mode, Plan, Problem, Settings};
use crate::names;
use crate::observe::{ObjectKey, Observed};
use jobset_api::JobSetOperator;
use jobset_api::jobset_operator::{GenerationStatus, JobSetOperatorStatus, OperatorCondition};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Pods of the operand serve.
pub const AVAILABLE: &str = "Available";
/// Something is on its way.
pub const PROGRESSING: &str = "Progressing";
/// Something is wrong and stays wrong until somebody acts.
pub const DEGRADED: &str = "Degraded";
/// [`DEGRADED`] as far as the operand itself goes; read by tools that know the Go operator.
pub const TARGET_DEGRADED: &str = "TargetConfigControllerDegraded";
/// [`DEGRADED`] as far as service account, roles and metrics Service go; read by tools that know the Go operator.
pub const STATIC_DEGRADED: &str = "JobSetOperatorStaticResourcesDegraded";

const AS_EXPECTED: &str = "AsExpected";
const SYNC_ERROR: &str = "SyncError";

/// Something that could not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The object it was about.
    pub key: ObjectKey,
    /// What happened, in a sentence.
    pub message: String,
}

/// One condition without its time.
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

/// The whole new status. Whatever did not change keeps its time, so that an unchanged status equals the old one.
pub fn status(
    settings: &Settings,
    observed: &Observed,
    plan: &Plan,
    failures: &[Failure],
    operator: &JobSetOperator,
    now: &Time,
) -> JobSetOperatorStatus {
    let operand = Operand::of(observed);
    let mut problems = plan.problems.clone();
    problems.extend(operand.as_ref().and_then(Operand::stuck).filter(|_| plan.mode == Mode::Managed));
    let findings = [
        available(plan, operand.as_ref()),
        progressing(plan, &problems, failures, operand.as_ref()),
        degraded(plan.mode, &problems, failures),
        partly_degraded(TARGET_DEGRADED, &problems, failures, |failure| !is_static(&failure.key)),
        partly_degraded(STATIC_DEGRADED, &[], failures, |failure| is_static(&failure.key)),
    ];
    let old = operator.status.as_ref();
    JobSetOperatorStatus {
        conditions: findings.into_iter().map(|finding| condition(finding, old, now)).collect(),
        generations: operand
            .as_ref()
            .map(|operand| operand.generation(&settings.namespace))
            .into_iter()
            .collect(),
        latest_available_revision: old.and_then(|old| old.latest_available_revision),
        observed_generation: operator.metadata.generation,
        ready_replicas: operand.as_ref().map_or(0, |operand| operand.ready),
        version: Some(settings.version.to_owned()),
    }
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

fn available(plan: &Plan, operand: Option<&Operand>) -> Finding {
    match operand {
        None if plan.mode == Mode::Removed => {
            Finding::new(AVAILABLE, false, "Removed", "the operand was removed, as spec.managementState asks")
        }
        // A pod of an older template serves as well as one of the new.
        Some(operand) if operand.available > 0 => {
            Finding::new(AVAILABLE, true, AS_EXPECTED, operand.counts())
        }
        Some(operand) => Finding::new(
            AVAILABLE,
            false,
            "DeploymentUnavailable",
            format!("Operand Deployment is not available: {}", operand.counts()),
        ),
        None => Finding::new(
            AVAILABLE,
            false,
            "DeploymentUnavailable",
            "Operand Deployment is not available: it does not exist",
        ),
    }
}

fn progressing(
    plan: &Plan,
    problems: &[Problem],
    failures: &[Failure],
    operand: Option<&Operand>,
) -> Finding {
    match plan.mode {
        Mode::Unmanaged => {
            return Finding::new(
                PROGRESSING,
                false,
                "Unmanaged",
                "the operator touches nothing, as spec.managementState asks",
            );
        }
        Mode::Removed if plan.delete.is_empty() => {
            return Finding::new(
                PROGRESSING,
                false,
                "Removed",
                "the operand was removed, as spec.managementState asks",
            );
        }
        Mode::Removed => {
            let rest: Vec<String> = plan.delete.iter().map(ToString::to_string).collect();
            return Finding::new(PROGRESSING, true, "Removing", format!("deleting {}", rest.join(", ")));
        }
        Mode::Absent | Mode::Managed => {}
    }
    if !plan.waiting.is_empty() {
        return Finding::new(PROGRESSING, true, "WaitingForCertificates", plan.waiting.join("\n"));
    }
    match operand {
        Some(operand) if operand.is_rolled_out() => Finding::new(PROGRESSING, false, AS_EXPECTED, ""),
        Some(operand) if operand.stuck().is_none() => {
            Finding::new(PROGRESSING, true, "RollingOut", operand.progress())
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

/// Whether the Go operator would have counted the object among its static resources.
fn is_static(key: &ObjectKey) -> bool {
    match key.kind.as_str() {
        "ServiceAccount" | "ClusterRole" | "ClusterRoleBinding" => true,
        "Role" | "RoleBinding" => key.name != names::PROMETHEUS_ROLE,
        "Service" => key.name == names::METRICS_SERVICE,
        _ => false,
    }
}

/// The operand's Deployment, as far as the status tells of it.
struct Operand {
    generation: i64,
    observed_generation: i64,
    wanted: i32,
    total: i32,
    updated: i32,
    ready: i32,
    available: i32,
    deadline_exceeded: Option<String>,
}

impl Operand {
    fn of(observed: &Observed) -> Option<Self> {
        let live = observed.get("Deployment", names::OPERAND)?;
        let deployment: Deployment = (*live.object).clone().try_parse().ok()?;
        let status = deployment.status.unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let deadline = conditions.into_iter().find(|condition| {
            condition.type_ == "Progressing"
                && condition.reason.as_deref() == Some("ProgressDeadlineExceeded")
        });
        Some(Self {
            generation: deployment.metadata.generation.unwrap_or_default(),
            observed_generation: status.observed_generation.unwrap_or_default(),
            wanted: deployment.spec.and_then(|spec| spec.replicas).unwrap_or(1),
            total: status.replicas.unwrap_or_default(),
            updated: status.updated_replicas.unwrap_or_default(),
            ready: status.ready_replicas.unwrap_or_default(),
            available: status.available_replicas.unwrap_or_default(),
            deadline_exceeded: deadline.map(|condition| condition.message.unwrap_or_default()),
        })
    }

    fn counts(&self) -> String {
        format!("{} of {} pods are available", self.available, self.wanted)
    }

    fn progress(&self) -> String {
        if self.observed_generation < self.generation {
            return "the Deployment controller has not seen the latest change yet".to_owned();
        }
        let old = self.total - self.updated;
        let old = if old > 0 { format!(", {old} of an older version still run") } else { String::new() };
        format!("{} of {} pods are up to date, {} available{old}", self.updated, self.wanted, self.available)
    }

    fn is_rolled_out(&self) -> bool {
        self.observed_generation >= self.generation
            && self.updated >= self.wanted
            && self.available >= self.wanted
            && self.total <= self.updated
    }

    fn stuck(&self) -> Option<Problem> {
        let message = self.deadline_exceeded.as_ref()?;
        Some(Problem {
            reason: "RolloutStuck",
            message: format!("the operand's rollout makes no progress: {message}"),
        })
    }

    fn generation(&self, namespace: &str) -> GenerationStatus {
        GenerationStatus {
            group: "apps".to_owned(),
            resource: "deployments".to_owned(),
            namespace: namespace.to_owned(),
            name: names::OPERAND.to_owned(),
            last_generation: self.generation,
            hash: String::new(),
        }
    }
}
