//! How the operand is, as its Deployment tells it.

use crate::names;
use crate::observe::Observed;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition};
use std::collections::BTreeMap;

/// The operand's Deployment, as far as decisions and status need it.
pub(super) struct OperandState {
    /// `metadata.generation`.
    pub generation: i64,
    observed_generation: i64,
    wanted: i32,
    total: i32,
    updated: i32,
    /// Pods that are ready.
    pub ready: i32,
    /// Pods that serve.
    pub available: i32,
    /// What the Deployment says when its rollout takes too long.
    pub deadline_exceeded: Option<String>,
    /// Why pods cannot even be created: a quota, a priority class that does not exist, a policy.
    pub pods_refused: Option<String>,
    /// Annotations that its pods shall have.
    pub annotations: BTreeMap<String, String>,
}

impl OperandState {
    /// Reads it; none without a Deployment.
    pub(super) fn of(observed: &Observed) -> Option<Self> {
        let live = observed.get("Deployment", names::OPERAND)?;
        let deployment: Deployment = (*live.object).clone().try_parse().ok()?;
        let status = deployment.status.unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let deadline = conditions.iter().find(|condition| {
            condition.type_.as_deref() == Some("Progressing")
                && condition.reason.as_deref() == Some("ProgressDeadlineExceeded")
        });
        let refused = conditions.iter().find(|condition| {
            condition.type_.as_deref() == Some("ReplicaFailure")
                && condition.status.as_deref() == Some("True")
        });
        let message = |condition: &DeploymentCondition| condition.message.clone().unwrap_or_default();
        let wanted = deployment.spec.replicas.unwrap_or(1);
        let annotations = deployment.spec.template.metadata.and_then(|metadata| metadata.annotations);
        Some(Self {
            generation: deployment.metadata.generation.unwrap_or_default(),
            observed_generation: status.observed_generation.unwrap_or_default(),
            wanted,
            total: status.replicas.unwrap_or_default(),
            updated: status.updated_replicas.unwrap_or_default(),
            ready: status.ready_replicas.unwrap_or_default(),
            available: status.available_replicas.unwrap_or_default(),
            deadline_exceeded: deadline.map(message),
            pods_refused: refused.map(message),
            annotations: annotations.unwrap_or_default(),
        })
    }

    /// How many pods serve, of how many.
    pub(super) fn counts(&self) -> String {
        format!("{} of {} pods are available", self.available, self.wanted)
    }

    /// How far a rollout is.
    pub(super) fn progress(&self) -> String {
        if self.observed_generation < self.generation {
            return "the Deployment controller has not seen the latest change yet".to_owned();
        }
        let old = self.total - self.updated;
        let old = if old > 0 { format!(", {old} of an older version still run") } else { String::new() };
        format!("{} of {} pods are up to date, {} available{old}", self.updated, self.wanted, self.available)
    }

    /// Whether every pod is of the latest version and serves.
    pub(super) fn is_rolled_out(&self) -> bool {
        self.observed_generation >= self.generation
            && self.updated >= self.wanted
            && self.available >= self.wanted
            && self.total <= self.updated
    }
}
