//! What a plan is made from: the JobSet, and a short record of each of its children.

use jiff::Timestamp;
use jobset_api::JobSet;
use std::{collections::BTreeSet, sync::Arc};

/// One JobSet and its children, as far as they were known at one moment.
pub struct Snapshot<'a> {
    /// The JobSet, with the status that was last stored.
    pub jobset: &'a JobSet,
    /// The Jobs that it controls (by owner UID), in the order of their names.
    pub jobs: &'a [Arc<JobRecord>],
    /// Whether a Service of the name that the headless Service would have exists, whoever made it.
    pub service_exists: bool,
    /// Names of the claims it asks for ([`crate::claim_names`]) that exist, whoever made them.
    pub claims: &'a BTreeSet<String>,
}

/// What the decisions need to know of a child Job.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRecord {
    /// Its name.
    pub name: String,
    /// Its UID, so that a delete never meets a successor of the same name.
    pub uid: String,
    /// Label: the ReplicatedJob that it stems from.
    pub replicated_job: Option<String>,
    /// Label: the attempt of the JobSet that it belongs to.
    pub restart_attempt: LabelValue,
    /// Label: how often this single Job had been restarted when it was made.
    pub job_restart_attempt: LabelValue,
    /// Label: its index within its ReplicatedJob.
    pub job_index: LabelValue,
    /// `spec.parallelism`, 1 if absent (Kubernetes: batch/v1 default).
    pub parallelism: i32,
    /// `spec.completions`.
    pub completions: Option<i32>,
    /// `spec.suspend`.
    pub suspended: bool,
    /// Whether `status.startTime` is set: the server then guards its pod template more closely.
    pub started: bool,
    /// `status.active`: pods that are pending or running.
    pub active: i32,
    /// `status.ready`: pods that are ready.
    pub ready: i32,
    /// `status.succeeded`: pods that succeeded.
    pub succeeded: i32,
    /// How it ended, if it did, or will.
    pub verdict: Option<Verdict>,
    /// Whether its deletion has begun.
    pub deleting: bool,
}

/// A label that should hold a number from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelValue {
    /// The label is not there.
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
    /// Well or badly.
    pub outcome: Outcome,
    /// Reason of the Job's condition.
    pub reason: String,
    /// Message of the Job's condition.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// How a Job ended, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Condition Complete.
    Complete,
    /// Condition Failed.
    Failed,
    /// Condition `FailureTarget`: it will be Failed, with the same reason, when its pods have stopped.
    Failing,
}
