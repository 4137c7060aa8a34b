//! The input of a plan: the JobSet, and a short record of each of its children.

use jiff::Timestamp;
use jobset_api::JobSet;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// One JobSet and its children, as known at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    /// The JobSet, with its stored status.
    pub jobset: &'a JobSet,
    /// The Jobs that it controls (by owner UID), in the order of their names.
    pub jobs: &'a [Arc<JobRecord>],
    /// The Service of the name [`crate::subdomain`], whoever created it.
    pub service: Option<&'a ServiceRecord>,
    /// Names of the claims of the JobSet ([`crate::claim_names`]) that exist, whoever created them.
    pub claims: &'a BTreeSet<String>,
}

/// What the decisions need to know of a Service.
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
    /// `spec.publishNotReadyAddresses`.
    pub publish_not_ready_addresses: bool,
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

/// What the decisions need to know of a child Job.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRecord {
    /// Its name.
    pub name: String,
    /// Its UID, which distinguishes it from a successor of the same name.
    pub uid: String,
    /// Label: its ReplicatedJob.
    pub replicated_job: Option<String>,
    /// Label: the attempt of the JobSet that it belongs to.
    pub restart_attempt: LabelValue,
    /// The same label of its pod template, which does not change after creation.
    pub template_restart_attempt: LabelValue,
    /// Label: how often this single Job had been restarted when it was created.
    pub job_restart_attempt: LabelValue,
    /// The same label of its pod template.
    pub template_job_restart_attempt: LabelValue,
    /// Label: its index within its ReplicatedJob.
    pub job_index: LabelValue,
    /// `spec.parallelism`, 1 if absent (Kubernetes: batch/v1 default).
    pub parallelism: i32,
    /// `spec.completions`.
    pub completions: Option<i32>,
    /// `spec.suspend`.
    pub suspended: bool,
    /// Whether `status.startTime` is set. The API server then refuses changes of the pod template.
    pub started: bool,
    /// `status.active`: pods that are pending or running.
    pub active: i32,
    /// `status.ready`: pods that are ready.
    pub ready: i32,
    /// `status.succeeded`: pods that succeeded.
    pub succeeded: i32,
    /// How it ended or will end, if that is decided.
    pub verdict: Option<Verdict>,
    /// Whether its deletion has begun.
    pub deleting: bool,
}

/// A label that should hold a number of at least 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelValue {
    /// The label is missing.
    Missing,
    /// It holds something else.
    Malformed(String),
    /// It holds this number.
    Number(i32),
}

impl LabelValue {
    /// Reads a label.
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
    /// Condition `FailureTarget`: it will be Failed, with the same reason, when its pods have stopped.
    Failing,
}
