//! The requests of operations, and their responses.

use super::error::{Refusal, RequestError};
use crate::observe::{ChildJob, Observation, ObservedService, SchedulingKind};
use jobset_api::{JobSet, JobSetStatus};
use k8s_openapi::{
    api::{
        batch::v1::Job,
        core::v1::{PersistentVolumeClaim, Service},
        scheduling::v1beta1::{PodGroup, Workload},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::Value;

/// A request about an object in the namespace of its [`Operation`].
#[derive(Clone, Debug)]
pub(crate) enum Request {
    CreateJob(Box<Job>),
    /// Reads the parts of a Job that the index keeps.
    GetJob {
        name: String,
    },
    /// Reads a Job with its pod template.
    GetWholeJob {
        name: String,
    },
    /// Propagation Foreground. The UID is a precondition.
    DeleteJob {
        name: String,
        uid: Option<String>,
    },
    /// A strategic merge patch.
    PatchJob {
        name: String,
        patch: Value,
    },
    /// A merge patch of subresource `status`.
    PatchJobStatus {
        name: String,
        patch: Value,
    },
    CreateService(Box<Service>),
    GetService {
        name: String,
    },
    /// A merge patch (RFC 7386).
    PatchService {
        name: String,
        patch: Value,
    },
    CreateClaim(Box<PersistentVolumeClaim>),
    GetClaim {
        name: String,
    },
    Scheduling(SchedulingRequest),
    /// Propagation Foreground. UID and resource version are preconditions.
    DeleteJobSet {
        name: String,
        uid: Option<String>,
        version: Option<String>,
    },
    /// Replaces subresource `status`. UID and resource version are preconditions.
    StoreStatus {
        name: String,
        uid: Option<String>,
        version: Option<String>,
        status: Box<JobSetStatus>,
    },
}

/// A request about a Workload or a PodGroup.
#[derive(Clone, Debug)]
pub(crate) enum SchedulingRequest {
    CreateWorkload(Box<Workload>),
    CreatePodGroup(Box<PodGroup>),
    Get {
        kind: SchedulingKind,
        name: String,
    },
    /// A JSON patch (RFC 6902).
    PatchWorkload {
        name: String,
        patch: json_patch::Patch,
    },
    /// A merge patch (RFC 7386).
    PatchPodGroup {
        name: String,
        patch: Value,
    },
    /// Propagation Background. The UID is a precondition.
    Delete {
        kind: SchedulingKind,
        name: String,
        uid: String,
    },
}

impl Request {
    /// Whether the request changes an object.
    pub(crate) fn writes(&self) -> bool {
        !matches!(
            self,
            Self::GetJob { .. }
                | Self::GetWholeJob { .. }
                | Self::GetService { .. }
                | Self::GetClaim { .. }
                | Self::Scheduling(SchedulingRequest::Get { .. })
        )
    }
}

/// The object in a response.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    JobSet(Box<JobSet>),
    Job(Box<ChildJob>),
    WholeJob(Box<Job>),
    Service(Box<ObservedService>),
    Claim(Box<ObjectMeta>),
    Workload(Box<Workload>),
    PodGroup(Box<PodGroup>),
    /// The object was deleted at once.
    Gone,
}

/// The JobSet that owns a new object.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: Option<String>,
}

impl Answer {
    /// What the index stores of the response.
    pub(crate) fn observation(self) -> Option<Observation> {
        match self {
            Self::JobSet(jobset) => Some(Observation::JobSet(jobset)),
            Self::Job(job) => Some(Observation::Job(job)),
            Self::Service(service) => Some(Observation::Service(service)),
            Self::Claim(metadata) => Some(Observation::Claim(metadata)),
            Self::Workload(workload) => Some(Observation::Workload(workload)),
            Self::PodGroup(pod_group) => Some(Observation::PodGroup(pod_group)),
            Self::WholeJob(_) | Self::Gone => None,
        }
    }

    /// The metadata of a Job, a Workload or a PodGroup.
    pub(crate) fn metadata(&self) -> Option<&ObjectMeta> {
        match self {
            Self::Job(job) => Some(&job.metadata),
            Self::Workload(workload) => Some(&workload.metadata),
            Self::PodGroup(pod_group) => Some(&pod_group.metadata),
            Self::JobSet(_) | Self::WholeJob(_) | Self::Service(_) | Self::Claim(_) | Self::Gone => None,
        }
    }
}

/// Whether a read found the object with this UID, and not another object with the same name.
pub(crate) fn exists<E: RequestError>(uid: &str, answer: Result<Answer, E>) -> Result<bool, E> {
    match answer {
        Ok(found) => Ok(found.metadata().is_some_and(|found| found.uid.as_deref() == Some(uid))),
        Err(error) if error.refusal() == Some(Refusal::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}
