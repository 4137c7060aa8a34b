//! The state of the operand's Deployment.

use crate::names;
use crate::observe::Observed;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition};
use std::collections::BTreeMap;

/// The part of the operand's Deployment that decisions and status need.
pub(super) struct OperandState {
    /// `metadata.generation`.
    pub generation: i64,
    observed_generation: i64,
    desired: i32,
    total: i32,
    updated: i32,
    /// The number of ready pods.
    pub ready: i32,
    /// The number of available pods.
    pub available: i32,
    /// The Deployment's message if its rollout exceeded the progress deadline.
    pub deadline_exceeded: Option<String>,
    /// Why pods cannot be created: for example a quota, a missing priority class, or a policy.
    pub pods_refused: Option<String>,
    /// Image of the pod template.
    pub image: Option<String>,
    /// Annotations of the pod template.
    pub annotations: BTreeMap<String, String>,
}

impl OperandState {
    /// Reads the Deployment, if it exists.
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
        let desired = deployment.spec.replicas.unwrap_or(1);
        let template = deployment.spec.template;
        let containers = template.spec.map(|pod| pod.containers).unwrap_or_default();
        let manager = containers.into_iter().find(|container| container.name == names::OPERAND_CONTAINER);
        let annotations = template.metadata.and_then(|metadata| metadata.annotations);
        Some(Self {
            generation: deployment.metadata.generation.unwrap_or_default(),
            observed_generation: status.observed_generation.unwrap_or_default(),
            desired,
            total: status.replicas.unwrap_or_default(),
            updated: status.updated_replicas.unwrap_or_default(),
            ready: status.ready_replicas.unwrap_or_default(),
            available: status.available_replicas.unwrap_or_default(),
            deadline_exceeded: deadline.map(message),
            pods_refused: refused.map(message),
            image: manager.and_then(|container| container.image),
            annotations: annotations.unwrap_or_default(),
        })
    }

    /// The number of available pods, as text.
    pub(super) fn counts(&self) -> String {
        format!("{} of {} pods are available", self.available, self.desired)
    }

    /// The progress of a rollout, as text.
    pub(super) fn progress(&self) -> String {
        if self.observed_generation < self.generation {
            return "the Deployment controller has not observed the latest change yet".to_owned();
        }
        let old = self.total - self.updated;
        let old = if old > 0 { format!(", {old} outdated") } else { String::new() };
        format!("{} of {} pods are up to date, {} available{old}", self.updated, self.desired, self.available)
    }

    /// Whether every pod has the latest version and is available.
    pub(super) fn is_rolled_out(&self) -> bool {
        self.observed_generation >= self.generation
            && self.updated >= self.desired
            && self.available >= self.desired
            && self.total <= self.updated
    }
}
