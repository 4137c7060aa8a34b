//! The requests of each action, and the meaning of each response. An [`Operation`] has no client and no clock: it holds
//! its next request, takes the response, and returns what the index stores and which request follows.
//!
//! ```text
//! CreateJob ──► already exists ──► GET: own, a predecessor's, or a foreign Job
//! DeleteJob ──► conflict ──► GET: deleted, or an admission webhook denied the request
//! ResumeJob ──► clear status.startTime? ──► GET, if the patch needs the Job? ──► PATCH
//! ```
//!
//! The simulation of the controller compiles this file too, and sends the requests to its own API server.

use super::{
    error::{ActError, Refusal, RequestError},
    request::{Answer, Owner, Request, exists},
    scheduling::{self, Next, SchedulingPurpose},
};
use crate::observe::{Kind, Observation, UnconfirmedJob};
use jobset_api::{JobSet, JobSetStatus, labels};
use jobset_plan::{Action, JobResume, JobSize, PortRecord};
use k8s_openapi::api::{batch::v1::Job, core::v1::ServicePort};
use serde_json::{Value, json};

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
    /// The patch depends on the current Job.
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
    Scheduling(SchedulingPurpose<E>),
    DeleteJobSet {
        uid: Option<String>,
    },
    StoreStatus,
    VerifyJob {
        name: String,
        uid: String,
    },
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
        let owner = || Owner {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone(),
        };
        let (request, purpose) = match action {
            Action::CreateJob(job) => {
                let name = job.metadata.name.clone().unwrap_or_default();
                (Request::CreateJob(job), Purpose::CreateJob { name, jobset: owner() })
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
            Action::Scheduling(action) => {
                let (request, purpose) = scheduling::begin(owner(), action);
                (Request::Scheduling(request), Purpose::Scheduling(purpose))
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
            (Purpose::Scheduling(purpose), answer) => match purpose.answered(answer) {
                Next::Send(request, purpose) => {
                    send(None, (Request::Scheduling(request), Purpose::Scheduling(purpose)))
                }
                Next::Done(observed) => Outcome::done(observed),
                Next::Failed(error) => Outcome::failed(error),
            },
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
