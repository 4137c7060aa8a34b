//! The record of a pod: the fields that exclusive placement and in-place restart use. A cluster has many pods, so a
//! record is small: pods of one Job share a [`PodGroup`].

use crate::uid::Uid;
use jiff::Timestamp;
use std::sync::Arc;

/// Type of the condition that says why a pod is about to be deleted (Kubernetes: core/v1).
pub const DISRUPTION_TARGET: &str = "DisruptionTarget";
/// Type of the condition that says whether a pod has a node (Kubernetes: core/v1).
pub const POD_SCHEDULED: &str = "PodScheduled";

/// The fields that the pods of one Job have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodGroup {
    /// Namespace.
    pub namespace: Box<str>,
    /// Label: name of the JobSet.
    pub jobset: Box<str>,
    /// Label: UID of the JobSet.
    pub jobset_uid: Option<Uid>,
    /// UID of the Job that controls the pods. A successor with the same name has another UID.
    pub job: Option<Uid>,
    /// Annotation: the node label key of exclusive placement. None for pods that the controller does not place, such
    /// as pods on prepared nodes (node selector strategy).
    pub topology: Option<Box<str>>,
}

/// The fields of a pod that decisions use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRecord {
    /// Its UID.
    pub uid: Uid,
    /// Its name.
    pub name: Box<str>,
    /// What it has in common with the other pods of its Job.
    pub group: Arc<PodGroup>,
    /// Its node. None until it is scheduled.
    pub node: Option<Box<str>>,
    /// The value of its node selector for the topology key of its group.
    pub selected: Option<Arc<str>>,
    /// Its resource version. It decides which of two observations is newer.
    pub version: u64,
    /// When it was created, in seconds since 1970.
    pub created: u32,
    /// Annotation: its completion index. None for a Job that is not Indexed.
    pub index: Option<u32>,
    /// Annotation: its attempt of in-place restart.
    pub attempt: PodAttempt,
    /// The highest number of restarts of one of its containers.
    pub restarts: i32,
    /// Whether its phase is Failed, or Succeeded.
    pub phase: PodPhase,
    /// Whether its deletion has begun.
    pub deleting: bool,
    /// Whether its condition `DisruptionTarget` is True.
    pub disruption_target: bool,
    /// Whether its condition `PodScheduled` is False: the scheduler cannot schedule it now.
    pub unschedulable: bool,
}

/// The phases that decisions distinguish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodPhase {
    /// Pending, Running or unknown: the pod has not ended.
    #[default]
    Active,
    /// Succeeded.
    Succeeded,
    /// Failed.
    Failed,
}

/// The annotation `in-place-restart-attempt` of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodAttempt {
    /// The pod has no annotation.
    #[default]
    Missing,
    /// The value is not a non-negative integer.
    Malformed,
    /// The value is this number.
    Number(i32),
}

impl PodAttempt {
    /// Parses the value of the annotation.
    pub fn read(annotation: Option<&str>) -> Self {
        match annotation.map(str::parse) {
            None => Self::Missing,
            Some(Ok(number)) if number >= 0 => Self::Number(number),
            Some(_) => Self::Malformed,
        }
    }
}

impl PodRecord {
    /// Whether the pod is the leader of its Job (index 0).
    pub fn is_leader(&self) -> bool {
        self.index == Some(0)
    }

    /// Whether the pod has neither ended nor is being deleted.
    pub fn is_active(&self) -> bool {
        self.phase == PodPhase::Active && !self.deleting
    }

    /// When the pod was created.
    pub fn created_at(&self) -> Timestamp {
        Timestamp::from_second(i64::from(self.created)).unwrap_or_default()
    }
}
