//! The requests of each action, and the meaning of each response. An [`Operation`] has no client and no clock: it holds
//! its next request, takes the response, and returns what the index stores and which request follows.
//!
//! ```text
//! CreateJob ──► already exists ──► GET: own, a predecessor's, or a foreign Job
//! DeleteJob ──► conflict ──► GET: deleted, or an admission webhook denied the request
//! ResumeJob ──► clear status.startTime? ──► GET, if lists are replaced? ──► PATCH
//! ```
//!
//! The simulation of the controller compiles this file too, and sends the requests to its own API server.

use crate::observe::{ChildJob, Kind, Observation, ObservedService, UnconfirmedJob};
use jobset_api::{JobSet, JobSetStatus, conditions::reasons, labels};
use jobset_plan::{Action, JobResume, JobSize, PortRecord};
use k8s_openapi::{
    api::{
        batch::v1::Job,
        core::v1::{PersistentVolumeClaim, Service, ServicePort},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::{Value, json};
use std::time::Duration;
use thiserror::Error;

/// Longest wait for the Jobs of a deleted JobSet with the same name. They are not children, so no watch event requeues.
const PREDECESSOR_RETRY: Duration = Duration::from_secs(3);
/// Longest wait for a Job that another owner controls.
const FOREIGN_JOB_RETRY: Duration = Duration::from_secs(15);

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
    /// A merge patch (RFC 7386).
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

impl Request {
    /// Whether the request changes an object.
    pub(crate) fn writes(&self) -> bool {
        !matches!(
            self,
            Self::GetJob { .. } | Self::GetWholeJob { .. } | Self::GetService { .. } | Self::GetClaim { .. }
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
    /// The object was deleted at once.
    Gone,
}

/// Errors that an operation handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    NotFound,
    AlreadyExists,
    Conflict,
    /// Invalid or forbidden.
    Rejected,
}

/// The error of a request.
pub(crate) trait RequestError {
    /// The refusal, or None for an error that is not about the object.
    fn refusal(&self) -> Option<Refusal>;
    /// The message for logs and events.
    fn message(&self) -> String;
}

/// Why an action failed.
#[derive(Clone, Debug, Error)]
pub(crate) enum ActError<E: RequestError> {
    /// A child Job could not be created.
    #[error("job {name:?} creation failed with error: {}", error.message())]
    CreateJob { name: String, error: E },
    /// A Job with the desired name exists, and another owner controls it.
    #[error(
        "job {name:?} creation failed with error: a Job of this name exists that this JobSet does not control; delete it, or rename the JobSet"
    )]
    ForeignJob { name: String },
    /// A Job with the desired name is being deleted. This is expected.
    #[error("job {name:?} cannot be created yet: its predecessor is still being deleted")]
    NameHeld { name: String },
    /// A child Job could not be deleted.
    #[error("deleting job {name:?}: {}", error.message())]
    DeleteJob { name: String, error: E },
    /// A child Job could not be changed.
    #[error("changing job {name:?}: {}", error.message())]
    ChangeJob { name: String, error: E },
    /// The API server rejected the resume of a Job with other requests or limits.
    #[error(
        "Failed to propagate mutated resources to child Job {name}: {}. Ensure MutablePodResourcesForSuspendedJobs is enabled on the API server.",
        error.message()
    )]
    PropagateResources { name: String, error: E },
    /// The controller could not read a Job that a list does not contain.
    #[error("verifying that job {name:?} exists: {}", error.message())]
    VerifyJob { name: String, error: E },
    /// A claim could not be created.
    #[error("{}", error.message())]
    CreateClaim { name: String, error: E },
    /// The JobSet could not be deleted.
    #[error("deleting the JobSet, whose ttlSecondsAfterFinished has passed: {}", .0.message())]
    DeleteJobSet(E),
    /// The headless Service could not be created.
    #[error("{}", .0.message())]
    CreateService(E),
    /// The ports of the headless Service could not be changed.
    #[error("changing the ports of Service {name:?}: {}", error.message())]
    SetServicePorts { name: String, error: E },
    /// The headless Service has other ports than the request that changed them.
    #[error(
        "changing the ports of Service {name:?}: the API server stored other ports than the containers declare, because an admission webhook changed them; exempt the Services of JobSets from that webhook"
    )]
    OtherServicePorts { name: String },
    /// The status could not be stored.
    #[error("storing the status: {}", .0.message())]
    Status(E),
}

impl<E: RequestError> ActError<E> {
    /// The reason of the event about the error, or None if it needs no event.
    pub(crate) fn event_reason(&self) -> Option<&'static str> {
        match self {
            Self::CreateJob { .. } | Self::ForeignJob { .. } => Some(reasons::JOB_CREATION_FAILED),
            Self::CreateService(_) => Some(reasons::SERVICE_CREATION_FAILED),
            Self::SetServicePorts { .. } | Self::OtherServicePorts { .. } => {
                Some(reasons::SERVICE_UPDATE_FAILED)
            }
            Self::CreateClaim { .. } => Some(reasons::PVC_CREATION_FAILED),
            Self::PropagateResources { .. } => Some(reasons::FAILED_RESOURCE_PROPAGATION),
            Self::NameHeld { .. }
            | Self::DeleteJob { .. }
            | Self::ChangeJob { .. }
            | Self::VerifyJob { .. }
            | Self::DeleteJobSet(_)
            | Self::Status(_) => None,
        }
    }

    /// Longest delay until the next reconcile.
    pub(crate) fn longest_wait(&self) -> Duration {
        match self {
            Self::NameHeld { .. } => PREDECESSOR_RETRY,
            Self::ForeignJob { .. } => FOREIGN_JOB_RETRY,
            _ => Duration::MAX,
        }
    }

    /// Whether the error is expected: an object still exists, or it changed or was deleted after the snapshot, and the
    /// watch delivers that.
    pub(crate) fn is_expected(&self) -> bool {
        match self {
            Self::NameHeld { .. } => true,
            Self::Status(error) | Self::SetServicePorts { error, .. } => {
                matches!(error.refusal(), Some(Refusal::Conflict | Refusal::NotFound))
            }
            Self::DeleteJobSet(error) | Self::ChangeJob { error, .. } => {
                error.refusal() == Some(Refusal::Conflict)
            }
            _ => false,
        }
    }
}

/// One action in execution; see the module documentation.
#[derive(Clone, Debug)]
pub(crate) struct Operation<E> {
    pub(crate) namespace: String,
    /// The request to send next.
    pub(crate) request: Request,
    purpose: Purpose<E>,
}

/// The purpose of the current request.
#[derive(Clone, Debug)]
enum Purpose<E> {
    CreateJob {
        name: String,
        jobset: Owner,
    },
    /// A Job with the name exists: a Job of this JobSet if a response was lost; a Job of a predecessor whose deletion
    /// the watch has not delivered; or a foreign Job.
    IdentifyJob {
        name: String,
        jobset: Owner,
    },
    DeleteJob {
        name: String,
        uid: String,
    },
    /// A conflict means that a successor has the name, or that an admission webhook denied the request with this code.
    ConfirmDelete {
        name: String,
        uid: String,
        error: E,
    },
    ChangeJob {
        name: String,
    },
    /// The patch of a resume. It can change requests or limits.
    ResumeJob {
        name: String,
        changes_resources: bool,
    },
    ClearStartTime(Box<JobResume>),
    /// A patch replaces whole lists, so it needs their current items.
    ReadForResume(Box<JobResume>),
    CreateNamed {
        kind: Kind,
        name: String,
    },
    /// Any Service or claim with the name is accepted: the planner reports a Service that selects other pods.
    FindNamed {
        kind: Kind,
        name: String,
    },
    SetServicePorts {
        name: String,
        ports: Vec<PortRecord>,
    },
    DeleteJobSet {
        uid: Option<String>,
    },
    StoreStatus,
    VerifyJob {
        name: String,
        uid: String,
    },
}

/// The JobSet that owns a new Job.
#[derive(Clone, Debug)]
struct Owner {
    name: String,
    uid: Option<String>,
}

/// The result of a response.
#[derive(Debug)]
pub(crate) struct Outcome<E: RequestError> {
    /// What the index stores.
    pub(crate) observed: Option<Observation>,
    /// The operation with its next request, or None if it is complete.
    pub(crate) next: Result<Option<Operation<E>>, ActError<E>>,
}

impl<E: RequestError> Outcome<E> {
    fn done(observed: Option<Observation>) -> Self {
        Self { observed, next: Ok(None) }
    }

    fn failed(error: ActError<E>) -> Self {
        Self { observed: None, next: Err(error) }
    }
}

impl<E: RequestError> Operation<E> {
    /// Begins an action of a plan for `jobset`.
    pub(crate) fn new(jobset: &JobSet, action: Action) -> Self {
        let metadata = &jobset.metadata;
        let patch = |name: String, uid: &str, spec: Value| {
            let patch = json!({"metadata": {"uid": uid}, "spec": spec});
            (Request::PatchJob { name: name.clone(), patch }, Purpose::ChangeJob { name })
        };
        let (request, purpose) = match action {
            Action::CreateJob(job) => {
                let name = job.metadata.name.clone().unwrap_or_default();
                let jobset =
                    Owner { name: metadata.name.clone().unwrap_or_default(), uid: metadata.uid.clone() };
                (Request::CreateJob(job), Purpose::CreateJob { name, jobset })
            }
            Action::DeleteJob { name, uid } => (
                Request::DeleteJob { name: name.clone(), uid: Some(uid.clone()) },
                Purpose::DeleteJob { name, uid },
            ),
            Action::SuspendJob { name, uid } => patch(name, &uid, json!({"suspend": true})),
            Action::ScaleJob { name, uid, size: JobSize { parallelism, completions } } => {
                patch(name, &uid, json!({"parallelism": parallelism, "completions": completions}))
            }
            Action::AddFollowers { name, uid, size: JobSize { parallelism, completions } } => {
                let patch = json!({
                    "metadata": {"uid": uid, "annotations": {labels::LEADER_FIRST: null}},
                    "spec": {"parallelism": parallelism, "completions": completions},
                });
                (Request::PatchJob { name: name.clone(), patch }, Purpose::ChangeJob { name })
            }
            Action::ResumeJob(resume) if resume.clear_start_time => {
                let patch = json!({"metadata": {"uid": resume.uid}, "status": {"startTime": null}});
                let request = Request::PatchJobStatus { name: resume.name.clone(), patch };
                (request, Purpose::ClearStartTime(resume))
            }
            Action::ResumeJob(resume) => resume_job(resume),
            Action::CreateService(service) => {
                let name = service.metadata.name.clone().unwrap_or_default();
                (Request::CreateService(service), Purpose::CreateNamed { kind: Kind::Services, name })
            }
            Action::SetServicePorts { name, uid, ports } => {
                let all: Vec<ServicePort> = ports.iter().cloned().map(ServicePort::from).collect();
                let patch = json!({"metadata": {"uid": uid}, "spec": {"ports": all}});
                let request = Request::PatchService { name: name.clone(), patch };
                (request, Purpose::SetServicePorts { name, ports })
            }
            Action::CreateClaim(claim) => {
                let name = claim.metadata.name.clone().unwrap_or_default();
                (Request::CreateClaim(claim), Purpose::CreateNamed { kind: Kind::Claims, name })
            }
            Action::DeleteJobSet => (
                // The preconditions of the plan's snapshot: a user may have extended the TTL since.
                Request::DeleteJobSet {
                    name: metadata.name.clone().unwrap_or_default(),
                    uid: metadata.uid.clone(),
                    version: metadata.resource_version.clone(),
                },
                Purpose::DeleteJobSet { uid: metadata.uid.clone() },
            ),
        };
        Self { namespace: metadata.namespace.clone().unwrap_or_default(), request, purpose }
    }

    /// Stores a status if the JobSet still has the resource version of the plan's snapshot.
    pub(crate) fn store_status(jobset: &JobSet, status: Box<JobSetStatus>) -> Self {
        let metadata = &jobset.metadata;
        Self {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            request: Request::StoreStatus {
                name: metadata.name.clone().unwrap_or_default(),
                uid: metadata.uid.clone(),
                version: metadata.resource_version.clone(),
                status,
            },
            purpose: Purpose::StoreStatus,
        }
    }

    /// Reads a Job that a list does not contain. The watch delivers no event for a Job that was created and deleted
    /// before the list.
    pub(crate) fn verify_job(job: UnconfirmedJob) -> Self {
        let UnconfirmedJob { namespace, name, uid } = job;
        let request = Request::GetJob { name: name.clone() };
        Self { namespace, request, purpose: Purpose::VerifyJob { name, uid } }
    }

    /// Takes the response to the request.
    pub(crate) fn answered(self, answer: Result<Answer, E>) -> Outcome<E> {
        let namespace = self.namespace;
        let send = |observed, (request, purpose)| Outcome {
            observed,
            next: Ok(Some(Operation { namespace, request, purpose })),
        };
        match (self.purpose, answer) {
            (Purpose::CreateJob { name, jobset }, Err(error)) => match error.refusal() {
                Some(Refusal::AlreadyExists) => {
                    let request = Request::GetJob { name: name.clone() };
                    send(None, (request, Purpose::IdentifyJob { name, jobset }))
                }
                _ => Outcome::failed(ActError::CreateJob { name, error }),
            },
            (Purpose::IdentifyJob { name, jobset }, Ok(Answer::Job(job))) => {
                if job.owner() == jobset.uid.as_deref() {
                    Outcome::done(Some(Observation::Job(job)))
                } else if job.will_be_deleted(&jobset.name) {
                    Outcome::failed(ActError::NameHeld { name })
                } else {
                    Outcome::failed(ActError::ForeignJob { name })
                }
            }
            (Purpose::IdentifyJob { name, .. }, Err(error)) => Outcome::failed(match error.refusal() {
                Some(Refusal::NotFound) => ActError::NameHeld { name },
                _ => ActError::CreateJob { name, error },
            }),
            (Purpose::DeleteJob { uid, .. }, Ok(Answer::Gone)) => {
                Outcome::done(Some(Observation::JobGone(uid)))
            }
            (Purpose::DeleteJob { name, uid }, Err(error)) => match error.refusal() {
                Some(Refusal::NotFound) => Outcome::done(Some(Observation::JobGone(uid))),
                Some(Refusal::Conflict) => {
                    let request = Request::GetJob { name: name.clone() };
                    send(None, (request, Purpose::ConfirmDelete { name, uid, error }))
                }
                _ => Outcome::failed(ActError::DeleteJob { name, error }),
            },
            (Purpose::ConfirmDelete { name, uid, error }, answer) => match exists(&uid, answer) {
                Ok(true) => Outcome::failed(ActError::DeleteJob { name, error }),
                Ok(false) => Outcome::done(Some(Observation::JobGone(uid))),
                Err(error) => Outcome::failed(ActError::DeleteJob { name, error }),
            },
            (Purpose::ClearStartTime(resume), Ok(answer)) => send(answer.observation(), resume_job(resume)),
            (Purpose::ReadForResume(resume), Ok(Answer::WholeJob(job))) => {
                send(None, patch_to_resume(&resume, Some(&job)))
            }
            (Purpose::ClearStartTime(resume) | Purpose::ReadForResume(resume), Err(error)) => {
                Outcome::failed(ActError::ChangeJob { name: resume.name, error })
            }
            (Purpose::ResumeJob { name, changes_resources: true }, Err(error))
                if error.refusal() == Some(Refusal::Rejected) =>
            {
                Outcome::failed(ActError::PropagateResources { name, error })
            }
            (Purpose::ChangeJob { name } | Purpose::ResumeJob { name, .. }, Err(error)) => {
                Outcome::failed(ActError::ChangeJob { name, error })
            }
            (Purpose::CreateNamed { kind, name }, Err(error)) => match (error.refusal(), kind) {
                (Some(Refusal::AlreadyExists), Kind::Services) => send(
                    None,
                    (Request::GetService { name: name.clone() }, Purpose::FindNamed { kind, name }),
                ),
                (Some(Refusal::AlreadyExists), _) => {
                    send(None, (Request::GetClaim { name: name.clone() }, Purpose::FindNamed { kind, name }))
                }
                (_, kind) => Outcome::failed(create_named_failed(kind, name, error)),
            },
            (Purpose::FindNamed { kind, name }, Err(error)) => {
                Outcome::failed(create_named_failed(kind, name, error))
            }
            (Purpose::CreateNamed { .. } | Purpose::FindNamed { .. }, Ok(answer)) => {
                Outcome::done(answer.observation())
            }
            (Purpose::SetServicePorts { name, ports }, Ok(Answer::Service(service))) => {
                let next = if service.record().ports == ports {
                    Ok(None)
                } else {
                    Err(ActError::OtherServicePorts { name })
                };
                Outcome { observed: Some(Observation::Service(service)), next }
            }
            (Purpose::SetServicePorts { name, .. }, Err(error)) => {
                Outcome::failed(ActError::SetServicePorts { name, error })
            }
            (Purpose::DeleteJobSet { uid }, Ok(Answer::Gone)) => {
                Outcome::done(uid.map(Observation::JobSetGone))
            }
            (Purpose::DeleteJobSet { uid }, Err(error)) => match error.refusal() {
                Some(Refusal::NotFound) => Outcome::done(uid.map(Observation::JobSetGone)),
                _ => Outcome::failed(ActError::DeleteJobSet(error)),
            },
            (Purpose::StoreStatus, Err(error)) => Outcome::failed(ActError::Status(error)),
            (Purpose::VerifyJob { name, uid }, answer) => match exists(&uid, answer) {
                Ok(true) => Outcome::done(None),
                Ok(false) => Outcome::done(Some(Observation::JobGone(uid))),
                Err(error) => Outcome::failed(ActError::VerifyJob { name, error }),
            },
            (
                Purpose::CreateJob { .. }
                | Purpose::IdentifyJob { .. }
                | Purpose::DeleteJob { .. }
                | Purpose::ChangeJob { .. }
                | Purpose::ResumeJob { .. }
                | Purpose::ReadForResume(_)
                | Purpose::SetServicePorts { .. }
                | Purpose::DeleteJobSet { .. }
                | Purpose::StoreStatus,
                Ok(answer),
            ) => Outcome::done(answer.observation()),
        }
    }
}

impl Answer {
    /// What the index stores of the response.
    fn observation(self) -> Option<Observation> {
        match self {
            Self::JobSet(jobset) => Some(Observation::JobSet(jobset)),
            Self::Job(job) => Some(Observation::Job(job)),
            Self::Service(service) => Some(Observation::Service(service)),
            Self::Claim(metadata) => Some(Observation::Claim(metadata)),
            Self::WholeJob(_) | Self::Gone => None,
        }
    }
}

/// Whether a read found the Job with this UID, and not another Job with the same name.
fn exists<E: RequestError>(uid: &str, answer: Result<Answer, E>) -> Result<bool, E> {
    match answer {
        Ok(Answer::Job(job)) => Ok(job.metadata.uid.as_deref() == Some(uid)),
        Ok(_) => Ok(false),
        Err(error) if error.refusal() == Some(Refusal::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}

fn resume_job<E>(resume: Box<JobResume>) -> (Request, Purpose<E>) {
    if resume.needs_current() {
        (Request::GetWholeJob { name: resume.name.clone() }, Purpose::ReadForResume(resume))
    } else {
        patch_to_resume(&resume, None)
    }
}

fn patch_to_resume<E>(resume: &JobResume, current: Option<&Job>) -> (Request, Purpose<E>) {
    let name = resume.name.clone();
    let changes_resources = current.is_some_and(|current| resume.changes_resources(current));
    let request = Request::PatchJob { name: name.clone(), patch: resume.patch(current) };
    (request, Purpose::ResumeJob { name, changes_resources })
}

fn create_named_failed<E: RequestError>(kind: Kind, name: String, error: E) -> ActError<E> {
    if kind == Kind::Services {
        ActError::CreateService(error)
    } else {
        ActError::CreateClaim { name, error }
    }
}

#[cfg(test)]
#[path = "operation_test.rs"]
mod tests;
