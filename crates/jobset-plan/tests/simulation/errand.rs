//! What requests are for: the actions of a plan, and what their answers call for.

use crate::{
    api_server::{Answer, Change, Refusal, Request},
    job::Job,
    observe::Kind,
    world::World,
};
use jobset_api::{JobSet, JobSetStatus};
use jobset_plan::{Action, JobResume, JobSize};
use k8s_openapi::api::{
    batch::v1 as batch,
    core::v1::{PersistentVolumeClaim, Service},
};
use serde_json::{Value, json};

/// What a request is for.
#[derive(Clone, Debug)]
pub(crate) enum Errand {
    CreateJob(Box<batch::Job>),
    /// A Job of its name exists.
    FindJob(Box<batch::Job>),
    DeleteJob {
        name: String,
        uid: String,
    },
    /// `uid` is the Job that the plan is about.
    PatchJob {
        name: String,
        uid: String,
        patch: Value,
    },
    ClearStartTime(Box<JobResume>),
    /// What must be known of a Job before it is resumed.
    SeeJob(Box<JobResume>),
    CreateService(Box<Service>),
    FindService {
        name: String,
    },
    CreateClaim(Box<PersistentVolumeClaim>),
    FindClaim {
        name: String,
    },
    DeleteJobSet {
        name: String,
        uid: Option<String>,
        version: Option<String>,
    },
    Status {
        name: String,
        uid: String,
        version: Option<String>,
        status: Box<JobSetStatus>,
    },
    /// A list did not hold a Job that we created.
    Doubt {
        name: String,
        uid: String,
    },
}

impl Errand {
    pub(crate) fn request(&self) -> Request {
        match self.clone() {
            Self::CreateJob(job) => Request::CreateJob(job),
            Self::FindJob(job) => Request::GetJob { name: job.metadata.name.unwrap_or_default() },
            Self::DeleteJob { name, uid } => Request::DeleteJob { name, uid: Some(uid) },
            Self::PatchJob { name, patch, .. } => Request::PatchJob { name, patch },
            Self::ClearStartTime(resume) => Request::ClearStartTime { name: resume.name, uid: resume.uid },
            Self::SeeJob(resume) => Request::GetJob { name: resume.name },
            Self::CreateService(service) => Request::CreateService(service),
            Self::FindService { name } => Request::GetService { name },
            Self::CreateClaim(claim) => Request::CreateClaim(claim),
            Self::FindClaim { name } => Request::GetClaim { name },
            Self::DeleteJobSet { name, uid, version } => Request::DeleteJobSet { name, uid, version },
            Self::Status { name, uid, version, status } => {
                Request::StoreStatus { name, uid, version, status }
            }
            Self::Doubt { name, .. } => Request::GetJob { name },
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::CreateService(_) | Self::FindService { .. } => Kind::Services,
            Self::CreateClaim(_) | Self::FindClaim { .. } => Kind::Claims,
            _ => Kind::Jobs,
        }
    }
}

impl World {
    /// What follows from an answer: another request, nothing, or a failure.
    pub(crate) fn take_answer(
        &mut self,
        process: usize,
        errand: &Errand,
        answer: Result<Answer, Refusal>,
    ) -> Result<Option<Errand>, Refusal> {
        let known = |answer: Answer| match answer {
            Answer::JobSet(jobset) => Some((Kind::JobSets, Change::JobSet(jobset))),
            Answer::Job(job) => Some((Kind::Jobs, Change::Job(job))),
            Answer::Named(metadata) => Some((errand.kind(), Change::Named(metadata))),
            Answer::Gone => None,
        };
        match (errand, answer) {
            (Errand::CreateJob(job), Err(Refusal::AlreadyExists)) => {
                return Ok(Some(Errand::FindJob(job.clone())));
            }
            (Errand::CreateService(service), Err(Refusal::AlreadyExists)) => {
                return Ok(Some(Errand::FindService {
                    name: service.metadata.name.clone().unwrap_or_default(),
                }));
            }
            (Errand::CreateClaim(claim), Err(Refusal::AlreadyExists)) => {
                return Ok(Some(Errand::FindClaim { name: claim.metadata.name.clone().unwrap_or_default() }));
            }
            (Errand::FindJob(wanted), Ok(Answer::Job(found))) => {
                let owner =
                    wanted.metadata.owner_references.iter().flatten().next().map(|owner| owner.uid.as_str());
                if found.owner() != owner {
                    // It belongs to somebody else.
                    return Err(Refusal::AlreadyExists);
                }
                self.feed_answer(process, Kind::Jobs, &Change::Job(found));
            }
            (
                Errand::DeleteJob { uid, .. },
                Ok(Answer::Gone) | Err(Refusal::NotFound | Refusal::Conflict),
            ) => {
                self.feed_answer(process, Kind::Jobs, &Change::Gone(uid.clone()));
            }
            (Errand::DeleteJobSet { .. }, Err(Refusal::NotFound)) => {}
            (Errand::ClearStartTime(resume), Ok(Answer::Job(job))) => {
                self.feed_answer(process, Kind::Jobs, &Change::Job(job));
                return Ok(Some(after_clearing(resume)));
            }
            (Errand::SeeJob(resume), Ok(Answer::Job(job))) => {
                let now = as_kubernetes(&job);
                let patch = resume.patch(Some(&now));
                return Ok(Some(Errand::PatchJob {
                    name: resume.name.clone(),
                    uid: resume.uid.clone(),
                    patch,
                }));
            }
            (Errand::Doubt { uid, .. }, answer) => {
                let exists = match answer {
                    Ok(Answer::Job(job)) => job.uid == *uid,
                    Err(Refusal::NotFound) => false,
                    // It asks until it is told.
                    _ => return Ok(Some(errand.clone())),
                };
                if !exists {
                    let owner = self.processes[process].index.end_job(uid);
                    if let Some(owner) = owner {
                        self.look_at(process, owner);
                    }
                }
            }
            (_, Ok(answer)) => {
                if let Some((kind, change)) = known(answer) {
                    self.feed_answer(process, kind, &change);
                }
            }
            (_, Err(why)) => return Err(why),
        }
        Ok(None)
    }
}

/// The first request of an action.
pub(crate) fn of_action(jobset: &JobSet, action: Action) -> Errand {
    match action {
        Action::CreateJob(job) => Errand::CreateJob(job),
        Action::DeleteJob { name, uid } => Errand::DeleteJob { name, uid },
        Action::SuspendJob { name, uid } => {
            let patch = json!({"metadata": {"uid": uid}, "spec": {"suspend": true}});
            Errand::PatchJob { name, uid, patch }
        }
        Action::ScaleJob { name, uid, size: JobSize { parallelism, completions } } => {
            let size = json!({"parallelism": parallelism, "completions": completions});
            Errand::PatchJob { name, patch: json!({"metadata": {"uid": uid}, "spec": size}), uid }
        }
        Action::ResumeJob(resume) if resume.clear_start_time => Errand::ClearStartTime(resume),
        Action::ResumeJob(resume) => after_clearing(&resume),
        Action::CreateService(service) => Errand::CreateService(service),
        Action::CreateClaim(claim) => Errand::CreateClaim(claim),
        Action::DeleteJobSet => Errand::DeleteJobSet {
            name: jobset.metadata.name.clone().unwrap_or_default(),
            uid: jobset.metadata.uid.clone(),
            version: jobset.metadata.resource_version.clone(),
        },
    }
}

/// The request that stores a status, if the JobSet is still as it was seen.
pub(crate) fn of_status(jobset: &JobSet, status: JobSetStatus) -> Errand {
    Errand::Status {
        name: jobset.metadata.name.clone().unwrap_or_default(),
        uid: jobset.metadata.uid.clone().unwrap_or_default(),
        version: jobset.metadata.resource_version.clone(),
        status: Box::new(status),
    }
}

fn after_clearing(resume: &JobResume) -> Errand {
    if resume.needs_current() {
        Errand::SeeJob(Box::new(resume.clone()))
    } else {
        Errand::PatchJob { name: resume.name.clone(), uid: resume.uid.clone(), patch: resume.patch(None) }
    }
}

/// As much of a Job as a resume looks at.
fn as_kubernetes(job: &Job) -> batch::Job {
    let spec = batch::JobSpec { template: (*job.template).clone(), ..batch::JobSpec::default() };
    batch::Job { metadata: job.metadata(), spec: Some(spec), status: None }
}
