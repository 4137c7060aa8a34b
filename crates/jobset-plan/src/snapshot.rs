//! The input of a plan: the JobSet and a short record of each of its children.

use crate::{in_place_restart::InPlacePods, service_ports::PortRecord};
use jiff::Timestamp;
use jobset_api::JobSet;
use k8s_openapi::api::scheduling::v1beta1::{PodGroupSpec, WorkloadSpec};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

/// One JobSet and its children, as the index holds them.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    /// The JobSet, with its stored status.
    pub jobset: &'a JobSet,
    /// The Jobs that it controls (by owner UID), sorted by name.
    pub jobs: &'a [Arc<JobRecord>],
    /// The Service named [`crate::subdomain`], with any owner.
    pub service: Option<&'a ServiceRecord>,
    /// Names of the JobSet's claims ([`crate::claim_names`]) that exist, with any owner.
    pub claims: &'a BTreeSet<String>,
    /// The topology keys of exclusive placement for which a leader waits for a node.
    pub topologies: &'a [TopologyRecord],
    /// UIDs of the Jobs whose leader has a node: the pod of index 0 under exclusive placement.
    pub placed_leaders: &'a HashSet<String>,
    /// What its pods report about in-place restarts. Empty if it does not restart in place.
    pub in_place_pods: &'a InPlacePods,
    /// Its Workload and PodGroups.
    pub scheduling: SchedulingApi<'a>,
    /// How long the creation of Jobs waits; see [`crate::Recreation`].
    pub creation_wait: Option<Duration>,
}

/// What the controller knows about Workloads and PodGroups (API group `scheduling.k8s.io`).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum SchedulingApi<'a> {
    /// The gate is off, or the controller has not yet asked whether the API server serves them, or the first lists are
    /// not complete. The next change requeues the JobSets that use them.
    #[default]
    Unknown,
    /// The API server does not serve them.
    NotServed,
    /// The controller may not list them. The message of the API server.
    Forbidden(&'a str),
    /// Those of this JobSet.
    Served(&'a SchedulingRecord),
}

/// The scheduling objects that a JobSet controls (by owner UID).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SchedulingRecord {
    /// The Workloads, sorted by name.
    pub workloads: Vec<WorkloadRecord>,
    /// The PodGroups, sorted by name.
    pub pod_groups: Vec<PodGroupRecord>,
}

/// The fields of a Workload that plans use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkloadRecord {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its spec, with what the API server added.
    pub spec: WorkloadSpec,
    /// Whether its deletion has begun.
    pub deleting: bool,
}

/// The fields of a PodGroup that plans use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodGroupRecord {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its spec, with what the API server added.
    pub spec: PodGroupSpec,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// When its deletion began. It waits for the end of its pods.
    pub deleting_since: Option<Timestamp>,
    /// Condition `PodGroupInitiallyScheduled`, once the scheduler has set it.
    pub scheduled: Option<ScheduledCondition>,
}

/// What the scheduler reports about a PodGroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScheduledCondition {
    /// Whether its pods were scheduled once.
    pub status: bool,
    /// The scheduler's reason.
    pub reason: String,
    /// The scheduler's message.
    pub message: String,
}

/// A topology key for which a leader waits for a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologyRecord {
    /// The node label key.
    pub key: String,
    /// The number of nodes with this label, and of all nodes. None if the nodes have not been listed with it.
    pub nodes: Option<(usize, usize)>,
    /// When the oldest of these leaders was created.
    pub pending_since: Timestamp,
}

/// The fields of a Service that plans use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceRecord {
    /// Its UID.
    pub uid: String,
    /// Its controller, if it has one.
    pub controller: Option<Controller>,
    /// Whether it is headless: `spec.clusterIP` is `None`.
    pub headless: bool,
    /// `spec.selector`.
    pub selector: BTreeMap<String, String>,
    /// `spec.ports`, if a JobSet controls it.
    pub ports: Vec<PortRecord>,
    /// `spec.publishNotReadyAddresses`.
    pub publish_not_ready_addresses: bool,
    /// Whether it is being deleted, or belongs to a JobSet that is deleted or being deleted.
    pub will_be_deleted: bool,
}

/// The controller of an object, from its owner references.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// The fields of a child Job that plans use.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "fields of Kubernetes")]
pub struct JobRecord {
    /// Its name.
    pub name: String,
    /// Its UID. A successor with the same name has another UID.
    pub uid: String,
    /// Label: its ReplicatedJob.
    pub replicated_job: Option<String>,
    /// Label: the attempt that it belongs to.
    pub restart_attempt: LabelValue,
    /// The same label of its pod template. The pod template does not change after creation.
    pub template_restart_attempt: LabelValue,
    /// Label: the number of restarts of this single Job at its creation.
    pub job_restart_attempt: LabelValue,
    /// The same label of its pod template.
    pub template_job_restart_attempt: LabelValue,
    /// Label: its index within its ReplicatedJob.
    pub job_index: LabelValue,
    /// `spec.parallelism`, 1 if absent (Kubernetes: batch/v1 default).
    pub parallelism: i32,
    /// `spec.completions`.
    pub completions: Option<i32>,
    /// Annotation: it has its leader alone, and gets its followers when the leader has a node.
    pub leader_first: bool,
    /// Annotations of the pod template: exclusive placement applies to its pods, and their nodes are not prepared. The
    /// annotations of the JobSet can differ, because they can change after the creation of the Job.
    pub exclusive: bool,
    /// Annotation: the template of its PodGroup.
    pub group_template: Option<String>,
    /// `spec.schedulingGroup.podGroupName` of the pod template: the PodGroup of its pods.
    pub pod_group: Option<String>,
    /// Annotation: the execution attempt.
    pub execution_attempt: LabelValue,
    /// The same annotation of its pod template.
    pub template_execution_attempt: LabelValue,
    /// `spec.suspend`.
    pub suspended: bool,
    /// Whether `status.startTime` is set. If it is, the API server rejects changes to the pod template.
    pub started: bool,
    /// `status.active`: pods that are pending or running.
    pub active: i32,
    /// `status.ready`: pods that are ready.
    pub ready: i32,
    /// `status.succeeded`: pods that succeeded.
    pub succeeded: i32,
    /// `status.failedIndexes`: the number of indexes whose pods failed and are not replaced.
    pub failed_indexes: i32,
    /// `status.terminating`: pods that are being deleted.
    pub terminating: i32,
    /// How the Job ended or will end, once the Job controller has decided.
    pub verdict: Option<Verdict>,
    /// Whether its deletion has begun.
    pub deleting: bool,
}

/// The value of a label that must be a non-negative integer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelValue {
    /// The label is missing.
    Missing,
    /// The value is not a non-negative integer.
    Malformed(String),
    /// The value is this number.
    Number(i32),
}

impl LabelValue {
    /// Parses the value of a label.
    pub fn read(label: Option<&str>) -> Self {
        match label {
            None => Self::Missing,
            Some(text) => match text.parse() {
                Ok(number) if number >= 0 => Self::Number(number),
                _ => Self::Malformed(text.to_owned()),
            },
        }
    }
}

/// How a Job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The outcome.
    pub outcome: Outcome,
    /// Reason of the Job's condition.
    pub reason: String,
    /// Message of the Job's condition.
    pub message: String,
    /// Last transition time of the Job's condition.
    pub at: Timestamp,
}

/// The outcome of a Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Condition Complete.
    Complete,
    /// Condition Failed.
    Failed,
    /// Condition `FailureTarget`: the Job becomes Failed, with the same reason, when its pods have stopped.
    Failing,
}
