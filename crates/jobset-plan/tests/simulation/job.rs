//! A Job as the simulated API server stores it: the fields that decisions read, and its pods as counters.

use crate::world::NAMESPACE;
use jobset_api::labels;
use jobset_plan::{JobRecord, LabelValue, Verdict};
use k8s_openapi::{
    api::{batch::v1 as batch, core::v1::PodTemplateSpec},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use std::sync::Arc;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools, clippy::struct_field_names, reason = "as Kubernetes has them")]
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) version: u64,
    pub(crate) owners: Option<Vec<OwnerReference>>,
    pub(crate) replicated_job: String,
    pub(crate) restart_attempt: LabelValue,
    pub(crate) job_restart_attempt: LabelValue,
    /// The attempts in the labels of its pod template, which nobody changes.
    pub(crate) created_for: (LabelValue, LabelValue),
    pub(crate) job_index: LabelValue,
    pub(crate) template: Arc<PodTemplateSpec>,
    pub(crate) suspend: bool,
    pub(crate) parallelism: i32,
    pub(crate) completions: Option<i32>,
    /// Whether `status.startTime` is set.
    pub(crate) started: bool,
    pub(crate) active: i32,
    pub(crate) ready: i32,
    pub(crate) succeeded: i32,
    /// Pods that are terminating.
    pub(crate) terminating: i32,
    /// Condition Suspended.
    pub(crate) suspended_condition: bool,
    /// Condition `FailureTarget`: it will have failed when its pods have stopped.
    pub(crate) failure_target: Option<Verdict>,
    /// Condition Complete or Failed.
    pub(crate) ended: Option<Verdict>,
    pub(crate) deleting: bool,
}

impl Job {
    /// A Job as it was sent, not stored yet.
    pub(crate) fn sent(job: &batch::Job) -> Self {
        let label =
            |key: &str| job.metadata.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
        let spec = job.spec.clone().unwrap_or_default();
        let template = spec.template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
        let created_for =
            |key: &str| LabelValue::read(template.and_then(|labels| labels.get(key)).map(String::as_str));
        let parallelism = spec.parallelism.unwrap_or(1);
        // Kubernetes: of both, completions defaults to 1 only where parallelism is absent too.
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

    /// UID of the JobSet that controls it.
    pub(crate) fn owner(&self) -> Option<&str> {
        self.owners.iter().flatten().next().map(|owner| owner.uid.as_str())
    }

    /// The attempts that it belongs to: of the JobSet, and of itself.
    pub(crate) fn attempts(&self) -> (i32, i32) {
        (number(&self.restart_attempt), number(&self.job_restart_attempt))
    }

    /// The attempts that it was created for: of the JobSet, and of itself.
    pub(crate) fn created_for(&self) -> (i32, i32) {
        (number(&self.created_for.0), number(&self.created_for.1))
    }

    /// Whether a user edited the label that names its attempt.
    pub(crate) fn is_edited(&self) -> bool {
        self.restart_attempt != self.created_for.0
    }

    /// Its index within its ReplicatedJob.
    pub(crate) fn index(&self) -> i32 {
        number(&self.job_index)
    }

    /// Whether it neither completed nor failed.
    pub(crate) fn unfinished(&self) -> bool {
        self.ended.is_none()
    }

    /// Whether as many pods are ready, or succeeded, as it wants to run at once.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready + self.succeeded
            >= self.completions.map_or(self.parallelism, |all| all.min(self.parallelism))
    }

    /// Its metadata, as far as the simulation reads it.
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

    /// As much of it as a resume reads.
    pub(crate) fn as_kubernetes(&self) -> batch::Job {
        let spec = batch::JobSpec { template: (*self.template).clone(), ..batch::JobSpec::default() };
        batch::Job { metadata: self.metadata(), spec: Some(spec), status: None }
    }

    /// What the planner gets to know of it.
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
            suspended: self.suspend,
            started: self.started,
            active: self.active,
            ready: self.ready,
            succeeded: self.succeeded,
            verdict: self.ended.clone().or_else(|| self.failure_target.clone()),
            deleting: self.deleting,
        }
    }
}

/// The number in a label, 0 where there is none.
pub(crate) fn number(label: &LabelValue) -> i32 {
    if let LabelValue::Number(number) = label { *number } else { 0 }
}
