//! A Job in the simulated API server: the fields that decisions read, and its pods as counters.

use crate::world::NAMESPACE;
use jobset_api::labels;
use jobset_plan::{JobRecord, LabelValue, Verdict};
use k8s_openapi::{
    api::{batch::v1 as batch, core::v1::PodTemplateSpec},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use std::sync::Arc;

/// A stored Job.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools, clippy::struct_field_names, reason = "the fields of Kubernetes")]
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) version: u64,
    pub(crate) owners: Option<Vec<OwnerReference>>,
    pub(crate) replicated_job: String,
    pub(crate) restart_attempt: LabelValue,
    pub(crate) job_restart_attempt: LabelValue,
    /// The attempts in the labels of its pod template, which no user changes.
    pub(crate) created_for: (LabelValue, LabelValue),
    pub(crate) job_index: LabelValue,
    pub(crate) template: Arc<PodTemplateSpec>,
    pub(crate) suspend: bool,
    pub(crate) parallelism: i32,
    pub(crate) completions: Option<i32>,
    /// Annotation: it has its leader alone.
    pub(crate) leader_first: bool,
    /// Annotation: its execution attempt.
    pub(crate) execution_attempt: LabelValue,
    /// Annotation: the template of its PodGroup.
    pub(crate) group_template: Option<String>,
    /// Whether `status.startTime` is set.
    pub(crate) started: bool,
    pub(crate) active: i32,
    pub(crate) ready: i32,
    pub(crate) succeeded: i32,
    /// The number of terminating pods.
    pub(crate) terminating: i32,
    /// Whether it has the condition Suspended.
    pub(crate) suspended_condition: bool,
    /// Condition `FailureTarget`: the Job fails when its pods have stopped.
    pub(crate) failure_target: Option<Verdict>,
    /// Condition Complete or Failed.
    pub(crate) ended: Option<Verdict>,
    pub(crate) deleting: bool,
}

impl Job {
    /// Converts a Job from a request.
    pub(crate) fn sent(job: &batch::Job) -> Self {
        let label =
            |key: &str| job.metadata.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
        let spec = job.spec.clone().unwrap_or_default();
        let template = spec.template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
        let created_for =
            |key: &str| LabelValue::read(template.and_then(|labels| labels.get(key)).map(String::as_str));
        let parallelism = spec.parallelism.unwrap_or(1);
        // Kubernetes: completions defaults to 1 only if parallelism is absent, too.
        let completions = spec.completions.or(spec.parallelism.is_none().then_some(1));
        Self {
            name: job.metadata.name.clone().unwrap_or_default(),
            uid: String::new(),
            version: 0,
            owners: job.metadata.owner_references.clone(),
            replicated_job: label(labels::REPLICATED_JOB_NAME).unwrap_or_default().to_owned(),
            restart_attempt: LabelValue::read(label(labels::RESTART_ATTEMPT)),
            job_restart_attempt: LabelValue::read(label(labels::JOB_RESTART_ATTEMPT)),
            created_for: (created_for(labels::RESTART_ATTEMPT), created_for(labels::JOB_RESTART_ATTEMPT)),
            job_index: LabelValue::read(label(labels::JOB_INDEX)),
            template: Arc::new(spec.template),
            suspend: spec.suspend.unwrap_or(false),
            parallelism,
            completions,
            leader_first: job
                .metadata
                .annotations
                .as_ref()
                .is_some_and(|annotations| annotations.contains_key(labels::LEADER_FIRST)),
            execution_attempt: execution_attempt(&job.metadata),
            group_template: job
                .metadata
                .annotations
                .as_ref()
                .and_then(|annotations| annotations.get(labels::GROUP_TEMPLATE_NAME))
                .cloned(),
            started: false,
            active: 0,
            ready: 0,
            succeeded: 0,
            terminating: 0,
            suspended_condition: false,
            failure_target: None,
            ended: None,
            deleting: false,
        }
    }

    /// The UID of the JobSet that controls it.
    pub(crate) fn owner(&self) -> Option<&str> {
        self.owners.iter().flatten().next().map(|owner| owner.uid.as_str())
    }

    /// The attempts in its labels: that of the JobSet, and its own.
    pub(crate) fn attempts(&self) -> (i32, i32) {
        (number(&self.restart_attempt), number(&self.job_restart_attempt))
    }

    /// The attempts that it was created for: that of the JobSet, and its own.
    pub(crate) fn created_for(&self) -> (i32, i32) {
        (number(&self.created_for.0), number(&self.created_for.1))
    }

    /// Whether a user edited the label that names its attempt.
    pub(crate) fn is_edited(&self) -> bool {
        self.restart_attempt != self.created_for.0
    }

    /// The index within its ReplicatedJob.
    pub(crate) fn index(&self) -> i32 {
        number(&self.job_index)
    }

    /// Whether it has neither completed nor failed.
    pub(crate) fn unfinished(&self) -> bool {
        self.ended.is_none()
    }

    /// The number of pods that have not ended and run at the same time.
    pub(crate) fn remaining(&self) -> i32 {
        self.completions.map_or(self.parallelism, |all| self.parallelism.min(all - self.succeeded))
    }

    /// Whether the number of ready and succeeded pods reaches its parallelism.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready + self.succeeded
            >= self.completions.map_or(self.parallelism, |all| all.min(self.parallelism))
    }

    /// The PodGroup of its pods.
    pub(crate) fn pod_group(&self) -> Option<&str> {
        self.template.spec.as_ref()?.scheduling_group.as_ref()?.pod_group_name.as_deref()
    }

    /// The metadata that the simulation reads.
    pub(crate) fn metadata(&self) -> ObjectMeta {
        ObjectMeta {
            name: Some(self.name.clone()),
            namespace: Some(NAMESPACE.to_owned()),
            uid: Some(self.uid.clone()),
            resource_version: Some(self.version.to_string()),
            owner_references: self.owners.clone(),
            ..ObjectMeta::default()
        }
    }

    /// The fields that a resume reads.
    pub(crate) fn as_kubernetes(&self) -> batch::Job {
        let spec = batch::JobSpec { template: (*self.template).clone(), ..batch::JobSpec::default() };
        batch::Job { metadata: self.metadata(), spec: Some(spec), status: None }
    }

    /// The execution attempt in the annotation of its pod template.
    pub(crate) fn template_execution_attempt(&self) -> LabelValue {
        execution_attempt(self.template.metadata.as_ref().unwrap_or(&ObjectMeta::default()))
    }

    fn is_exclusive(&self) -> bool {
        let metadata = self.template.metadata.as_ref();
        metadata.and_then(|metadata| metadata.annotations.as_ref()).is_some_and(|annotations| {
            annotations.contains_key(labels::EXCLUSIVE_TOPOLOGY)
                && !annotations.contains_key(labels::NODE_SELECTOR_STRATEGY)
        })
    }

    /// The fields that the planner reads.
    pub(crate) fn record(&self) -> JobRecord {
        JobRecord {
            name: self.name.clone(),
            uid: self.uid.clone(),
            replicated_job: Some(self.replicated_job.clone()),
            restart_attempt: self.restart_attempt.clone(),
            template_restart_attempt: self.created_for.0.clone(),
            job_restart_attempt: self.job_restart_attempt.clone(),
            template_job_restart_attempt: self.created_for.1.clone(),
            job_index: self.job_index.clone(),
            parallelism: self.parallelism,
            completions: self.completions,
            leader_first: self.leader_first,
            exclusive: self.is_exclusive(),
            group_template: self.group_template.clone(),
            pod_group: self.pod_group().map(str::to_owned),
            execution_attempt: self.execution_attempt.clone(),
            template_execution_attempt: self.template_execution_attempt(),
            suspended: self.suspend,
            started: self.started,
            active: self.active,
            ready: self.ready,
            succeeded: self.succeeded,
            failed_indexes: 0,
            terminating: 0,
            verdict: self.ended.clone().or_else(|| self.failure_target.clone()),
            deleting: self.deleting,
        }
    }
}

fn execution_attempt(metadata: &ObjectMeta) -> LabelValue {
    let annotations = metadata.annotations.as_ref();
    LabelValue::read(
        annotations.and_then(|annotations| annotations.get(labels::EXECUTION_ATTEMPT)).map(String::as_str),
    )
}

/// The number in a label, or 0 without a number.
pub(crate) fn number(label: &LabelValue) -> i32 {
    if let LabelValue::Number(number) = label { *number } else { 0 }
}
