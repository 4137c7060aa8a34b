//! The simulated API server: objects with UIDs and resource versions, the validation of requests, and one log of
//! changes for each kind, which watches read.

use crate::{
    error::{self, RequestError},
    job::Job,
    observe::{ChildJob, Kind, SchedulingKind, observed_service},
    request::{self, Request},
    strategic_merge_patch,
    world::{Millis, NAMESPACE, timestamp},
};
use jobset_api::{JobSet, JobSetStatus, labels};
use jobset_plan::LabelValue;
use k8s_openapi::{
    api::{
        batch::v1 as batch,
        core::v1::ServicePort,
        scheduling::v1beta1::{PodGroup, Workload},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// The response of the API server to a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    JobSet(Arc<JobSet>),
    Job(Arc<Job>),
    Named(Arc<Named>),
    Workload(Arc<Workload>),
    PodGroup(Arc<PodGroup>),
    Gone,
}

/// A Service or a claim.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Named {
    pub(crate) metadata: ObjectMeta,
    /// `spec.ports` of a Service.
    pub(crate) ports: Vec<ServicePort>,
}

impl Answer {
    /// Converts the response to the type that the controller decodes.
    pub(crate) fn decoded(self, request: &Request) -> request::Answer {
        match (self, request) {
            (Self::JobSet(jobset), _) => request::Answer::JobSet(Box::new(JobSet::clone(&jobset))),
            (Self::Job(job), Request::GetWholeJob { .. }) => {
                request::Answer::WholeJob(Box::new(job.as_kubernetes()))
            }
            (Self::Job(job), _) => request::Answer::Job(Box::new(ChildJob::new(&job))),
            (
                Self::Named(service),
                Request::CreateService(_) | Request::GetService { .. } | Request::PatchService { .. },
            ) => request::Answer::Service(Box::new(observed_service(&service))),
            (Self::Named(claim), _) => request::Answer::Claim(Box::new(claim.metadata.clone())),
            (Self::Workload(it), _) => request::Answer::Workload(Box::new(Workload::clone(&it))),
            (Self::PodGroup(it), _) => request::Answer::PodGroup(Box::new(PodGroup::clone(&it))),
            (Self::Gone, _) => request::Answer::Gone,
        }
    }
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    NotFound,
    Conflict,
    AlreadyExists,
    Invalid(&'static str),
    /// The server was overloaded.
    Unavailable,
    /// The response was lost. The request may have taken effect.
    NoAnswer,
}

impl RequestError for Refusal {
    fn refusal(&self) -> Option<error::Refusal> {
        match self {
            Self::NotFound => Some(error::Refusal::NotFound),
            Self::AlreadyExists => Some(error::Refusal::AlreadyExists),
            Self::Conflict => Some(error::Refusal::Conflict),
            Self::Invalid(_) | Self::Unavailable | Self::NoAnswer => None,
        }
    }

    fn message(&self) -> String {
        format!("{self:?}")
    }
}

/// The error of Kubernetes for a patch with another UID than that of the object.
pub(crate) const OTHER_UID: Refusal = Refusal::Invalid("metadata.uid: field is immutable");

/// An entry in the log of a kind.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    JobSet(Arc<JobSet>),
    Job(Arc<Job>),
    Named(Arc<Named>),
    Workload(Arc<Workload>),
    PodGroup(Arc<PodGroup>),
    /// The object with this UID was deleted.
    Gone(String),
}

/// A watched kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watched {
    Core(Kind),
    Scheduling(SchedulingKind),
}

impl Watched {
    /// All watched kinds, in the order of their positions.
    pub(crate) const ALL: [Self; 6] = [
        Self::Core(Kind::JobSets),
        Self::Core(Kind::Jobs),
        Self::Core(Kind::Services),
        Self::Core(Kind::Claims),
        Self::Scheduling(SchedulingKind::Workloads),
        Self::Scheduling(SchedulingKind::PodGroups),
    ];

    /// The position in an array with an element for each kind.
    pub(crate) fn position(self) -> usize {
        match self {
            Self::Core(kind) => kind as usize,
            Self::Scheduling(SchedulingKind::Workloads) => 4,
            Self::Scheduling(SchedulingKind::PodGroups) => 5,
        }
    }
}

/// The stored objects and their logs.
#[derive(Default)]
pub(crate) struct ApiServer {
    version: u64,
    uids: u64,
    pub(crate) jobsets: BTreeMap<String, Arc<JobSet>>,
    pub(crate) jobs: BTreeMap<String, Arc<Job>>,
    pub(crate) services: BTreeMap<String, Arc<Named>>,
    pub(crate) claims: BTreeMap<String, Arc<Named>>,
    pub(crate) workloads: BTreeMap<String, Arc<Workload>>,
    pub(crate) pod_groups: BTreeMap<String, Arc<PodGroup>>,
    logs: [Vec<Change>; 6],
}

impl ApiServer {
    /// The latest resource version.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The changes of a kind, oldest first.
    pub(crate) fn log(&self, kind: Watched) -> &[Change] {
        &self.logs[kind.position()]
    }

    /// Adds a change to the log of a kind.
    pub(crate) fn append(&mut self, kind: Watched, change: Change) {
        self.logs[kind.position()].push(change);
    }

    /// All objects of a kind, as a list returns them.
    pub(crate) fn list(&self, kind: Watched) -> Vec<Change> {
        match kind {
            Watched::Core(Kind::JobSets) => self.jobsets.values().cloned().map(Change::JobSet).collect(),
            Watched::Core(Kind::Jobs) => self.jobs.values().cloned().map(Change::Job).collect(),
            Watched::Core(Kind::Services) => self.services.values().cloned().map(Change::Named).collect(),
            Watched::Core(Kind::Claims) => self.claims.values().cloned().map(Change::Named).collect(),
            Watched::Scheduling(SchedulingKind::Workloads) => {
                self.workloads.values().cloned().map(Change::Workload).collect()
            }
            Watched::Scheduling(SchedulingKind::PodGroups) => {
                self.pod_groups.values().cloned().map(Change::PodGroup).collect()
            }
        }
    }

    pub(crate) fn jobset(&self, uid: &str) -> Option<&Arc<JobSet>> {
        self.jobsets.values().find(|jobset| jobset.metadata.uid.as_deref() == Some(uid))
    }

    pub(crate) fn job(&self, uid: &str) -> Option<&Arc<Job>> {
        self.jobs.values().find(|job| job.uid == uid)
    }

    /// The Jobs that a JobSet controls.
    pub(crate) fn jobs_of<'a>(&'a self, owner: &'a str) -> impl Iterator<Item = &'a Arc<Job>> {
        self.jobs.values().filter(move |job| job.owner() == Some(owner))
    }

    pub(crate) fn identity(&mut self) -> (String, u64) {
        self.uids += 1;
        self.version += 1;
        (format!("uid{}", self.uids), self.version)
    }

    /// The metadata of a changed object.
    pub(crate) fn next_version(&mut self, metadata: &ObjectMeta) -> ObjectMeta {
        self.version += 1;
        ObjectMeta { resource_version: Some(self.version.to_string()), ..metadata.clone() }
    }

    // --- changes by all components and users, without simulated requests ---------------------------------------

    pub(crate) fn create_jobset(&mut self, mut jobset: JobSet) -> Arc<JobSet> {
        let (uid, version) = self.identity();
        jobset.metadata.uid = Some(uid);
        jobset.metadata.namespace = Some(NAMESPACE.to_owned());
        jobset.metadata.resource_version = Some(version.to_string());
        self.put_jobset(jobset)
    }

    /// Stores a changed JobSet.
    pub(crate) fn update_jobset(&mut self, mut jobset: JobSet) -> Arc<JobSet> {
        self.version += 1;
        jobset.metadata.resource_version = Some(self.version.to_string());
        self.put_jobset(jobset)
    }

    fn put_jobset(&mut self, jobset: JobSet) -> Arc<JobSet> {
        let jobset = Arc::new(jobset);
        self.jobsets.insert(jobset.metadata.name.clone().unwrap_or_default(), jobset.clone());
        self.logs[Kind::JobSets as usize].push(Change::JobSet(jobset.clone()));
        jobset
    }

    /// Deletes a JobSet. A foreground deletion only sets its deletion timestamp.
    pub(crate) fn delete_jobset(&mut self, name: &str, foreground: bool, now: Millis) -> Option<Arc<JobSet>> {
        let jobset = self.jobsets.get(name)?.clone();
        if !foreground {
            self.end_jobset(name);
            return None;
        }
        if jobset.metadata.deletion_timestamp.is_some() {
            return Some(jobset);
        }
        let mut deleting = JobSet::clone(&jobset);
        deleting.metadata.deletion_timestamp = Some(Time(timestamp(now)));
        Some(self.update_jobset(deleting))
    }

    pub(crate) fn end_jobset(&mut self, name: &str) {
        if let Some(jobset) = self.jobsets.remove(name) {
            let uid = jobset.metadata.uid.clone().unwrap_or_default();
            self.logs[Kind::JobSets as usize].push(Change::Gone(uid));
        }
    }

    /// Changes a Job. A change without effect is not stored.
    pub(crate) fn update_job(&mut self, uid: &str, change: impl FnOnce(&mut Job)) -> Option<Arc<Job>> {
        let before = self.job(uid)?.clone();
        let mut job = Job::clone(&before);
        change(&mut job);
        if job == *before {
            return Some(before);
        }
        self.version += 1;
        job.version = self.version;
        let job = Arc::new(job);
        self.jobs.insert(job.name.clone(), job.clone());
        self.logs[Kind::Jobs as usize].push(Change::Job(job.clone()));
        Some(job)
    }

    pub(crate) fn end_job(&mut self, uid: &str) {
        if let Some(name) = self.job(uid).map(|job| job.name.clone()) {
            self.jobs.remove(&name);
            self.logs[Kind::Jobs as usize].push(Change::Gone(uid.to_owned()));
        }
    }

    /// Deletes a Service or a claim.
    pub(crate) fn end_named(&mut self, kind: Kind, name: &str) {
        let named = if kind == Kind::Services { &mut self.services } else { &mut self.claims };
        if let Some(object) = named.remove(name) {
            let uid = object.metadata.uid.clone().unwrap_or_default();
            self.logs[kind as usize].push(Change::Gone(uid));
        }
    }

    // --- requests of the controller ------------------------------------------------------------------------------

    /// Handles a request.
    pub(crate) fn handle(&mut self, request: &Request, now: Millis) -> Result<Answer, Refusal> {
        match request {
            Request::CreateJob(job) => self.create_job(job),
            Request::GetJob { name } | Request::GetWholeJob { name } => self.named_job(name).map(Answer::Job),
            Request::DeleteJob { name, uid } => self.delete_job(name, uid.as_deref()),
            Request::PatchJob { name, patch } => self.patch_job(name, patch),
            Request::PatchJobStatus { name, patch } => self.patch_job_status(name, patch),
            Request::CreateService(service) => {
                let ports = service.spec.as_ref().and_then(|spec| spec.ports.clone()).unwrap_or_default();
                self.create_named(Kind::Services, &service.metadata, ports)
            }
            Request::CreateClaim(claim) => self.create_named(Kind::Claims, &claim.metadata, Vec::new()),
            Request::PatchService { name, patch } => self.patch_service(name, patch),
            Request::GetService { name } => Self::get_named(&self.services, name),
            Request::GetClaim { name } => Self::get_named(&self.claims, name),
            Request::Scheduling(request) => self.handle_scheduling(request, now),
            Request::DeleteJobSet { name, uid, version } => {
                let jobset = self.jobsets.get(name).ok_or(Refusal::NotFound)?;
                if *uid != jobset.metadata.uid
                    || version.is_some() && *version != jobset.metadata.resource_version
                {
                    return Err(Refusal::Conflict);
                }
                Ok(self.delete_jobset(name, true, now).map_or(Answer::Gone, Answer::JobSet))
            }
            Request::StoreStatus { name, uid, version, status } => {
                let jobset = self.jobsets.get(name).ok_or(Refusal::NotFound)?;
                if *uid != jobset.metadata.uid
                    || version.is_some() && *version != jobset.metadata.resource_version
                {
                    return Err(Refusal::Conflict);
                }
                if jobset.status.as_ref() == Some(&**status) {
                    return Ok(Answer::JobSet(jobset.clone()));
                }
                let updated = JobSet { status: Some(JobSetStatus::clone(status)), ..JobSet::clone(jobset) };
                Ok(Answer::JobSet(self.update_jobset(updated)))
            }
        }
    }

    fn named_job(&self, name: &str) -> Result<Arc<Job>, Refusal> {
        self.jobs.get(name).cloned().ok_or(Refusal::NotFound)
    }

    fn create_job(&mut self, job: &batch::Job) -> Result<Answer, Refusal> {
        let mut job = Job::sent(job);
        if self.jobs.contains_key(&job.name) {
            return Err(Refusal::AlreadyExists);
        }
        (job.uid, job.version) = self.identity();
        let job = Arc::new(job);
        self.jobs.insert(job.name.clone(), job.clone());
        self.logs[Kind::Jobs as usize].push(Change::Job(job.clone()));
        Ok(Answer::Job(job))
    }

    fn delete_job(&mut self, name: &str, uid: Option<&str>) -> Result<Answer, Refusal> {
        let job = self.named_job(name)?;
        if uid.is_some_and(|uid| uid != job.uid) {
            return Err(Refusal::Conflict);
        }
        let deleting = self.update_job(&job.uid, |job| job.deleting = true);
        Ok(deleting.map_or(Answer::Gone, Answer::Job))
    }

    /// A merge patch (RFC 7386) of `metadata.uid` (as a precondition) and `status.startTime`.
    fn patch_job_status(&mut self, name: &str, patch: &Value) -> Result<Answer, Refusal> {
        let job = self.named_job(name)?;
        if patch.pointer("/metadata/uid").is_some_and(|uid| *uid != *job.uid) {
            return Err(OTHER_UID);
        }
        assert_eq!(
            patch["status"],
            json!({"startTime": null}),
            "the simulation supports no other patch of a status"
        );
        // Kubernetes: the start time of a Job that is not suspended cannot change.
        if job.started && !job.suspend {
            return Err(Refusal::Invalid("status.startTime: cannot be removed for an unsuspended Job"));
        }
        let job = self.update_job(&job.uid, |job| job.started = false);
        job.map(Answer::Job).ok_or(Refusal::NotFound)
    }

    /// A strategic merge patch of `metadata` (as preconditions) and `spec`.
    fn patch_job(&mut self, name: &str, patch: &Value) -> Result<Answer, Refusal> {
        let job = self.named_job(name)?;
        let metadata = |key: &str| patch.pointer(&format!("/metadata/{key}")).and_then(Value::as_str);
        if metadata("uid").is_some_and(|uid| uid != job.uid) {
            return Err(OTHER_UID);
        }
        if metadata("resourceVersion").is_some_and(|version| version != job.version.to_string()) {
            return Err(Refusal::Conflict);
        }
        let spec = patch.get("spec").cloned().unwrap_or_default();
        let count =
            |key: &str| spec.get(key).and_then(Value::as_i64).and_then(|count| i32::try_from(count).ok());
        let template = match spec.get("template") {
            None => job.template.clone(),
            Some(change) => {
                let mut template = serde_json::to_value(&*job.template).unwrap();
                strategic_merge_patch::apply(&mut template, change);
                Arc::new(serde_json::from_value(template).unwrap())
            }
        };
        // Kubernetes 1.37: scheduling directives can change only while the Job is suspended and has no pods.
        let template_is_free = job.suspend && job.active == 0 && (!job.started || job.suspended_condition);
        if normal(&template) != normal(&job.template) && !template_is_free {
            return Err(Refusal::Invalid("spec.template: field is immutable"));
        }
        let job = self.update_job(&job.uid, |job| {
            job.template = template;
            job.suspend = spec.get("suspend").and_then(Value::as_bool).unwrap_or(job.suspend);
            job.parallelism = count("parallelism").unwrap_or(job.parallelism);
            job.completions = count("completions").or(job.completions);
            if let Some(annotation) = annotation_of(patch) {
                job.leader_first = !annotation.is_null();
            }
            let attempt =
                patch.pointer("/metadata/annotations").and_then(|all| all.get(labels::EXECUTION_ATTEMPT));
            if let Some(attempt) = attempt {
                job.execution_attempt = LabelValue::read(attempt.as_str());
            }
        });
        job.map(Answer::Job).ok_or(Refusal::NotFound)
    }

    fn named(&mut self, kind: Kind) -> &mut BTreeMap<String, Arc<Named>> {
        if kind == Kind::Services { &mut self.services } else { &mut self.claims }
    }

    /// A merge patch (RFC 7386) of `metadata.uid` (as a precondition) and `spec.ports`.
    fn patch_service(&mut self, name: &str, patch: &Value) -> Result<Answer, Refusal> {
        let service = self.services.get(name).ok_or(Refusal::NotFound)?;
        if patch.pointer("/metadata/uid").and_then(Value::as_str) != service.metadata.uid.as_deref() {
            return Err(OTHER_UID);
        }
        let ports = serde_json::from_value(patch["spec"]["ports"].clone()).unwrap();
        self.set_ports(name, ports).map(Answer::Named).ok_or(Refusal::NotFound)
    }

    /// Changes the ports of a Service. A change without effect is not stored.
    pub(crate) fn set_ports(&mut self, name: &str, ports: Vec<ServicePort>) -> Option<Arc<Named>> {
        let mut service = Named::clone(self.services.get(name)?);
        if service.ports != ports {
            self.version += 1;
            service.metadata.resource_version = Some(self.version.to_string());
            service.ports = ports;
            self.put_named(Kind::Services, Arc::new(service));
        }
        self.services.get(name).cloned()
    }

    fn put_named(&mut self, kind: Kind, object: Arc<Named>) {
        let name = object.metadata.name.clone().unwrap_or_default();
        self.named(kind).insert(name, object.clone());
        self.logs[kind as usize].push(Change::Named(object));
    }

    fn create_named(
        &mut self,
        kind: Kind,
        metadata: &ObjectMeta,
        ports: Vec<ServicePort>,
    ) -> Result<Answer, Refusal> {
        let name = metadata.name.clone().unwrap_or_default();
        if self.named(kind).contains_key(&name) {
            return Err(Refusal::AlreadyExists);
        }
        let (uid, version) = self.identity();
        let metadata = ObjectMeta {
            uid: Some(uid),
            resource_version: Some(version.to_string()),
            namespace: Some(NAMESPACE.to_owned()),
            ..metadata.clone()
        };
        let stored = Arc::new(Named { metadata, ports });
        self.put_named(kind, stored.clone());
        Ok(Answer::Named(stored))
    }

    fn get_named(all: &BTreeMap<String, Arc<Named>>, name: &str) -> Result<Answer, Refusal> {
        all.get(name).cloned().map(Answer::Named).ok_or(Refusal::NotFound)
    }
}

/// The change of the annotation that marks a Job with its leader alone: null removes it.
pub(crate) fn annotation_of(patch: &Value) -> Option<&Value> {
    patch.pointer("/metadata/annotations")?.get(labels::LEADER_FIRST)
}

/// A pod template without empty fields.
fn normal(template: &k8s_openapi::api::core::v1::PodTemplateSpec) -> Value {
    fn prune(value: Value) -> Value {
        match value {
            Value::Object(fields) => {
                let fields = fields.into_iter().map(|(key, value)| (key, prune(value)));
                let empty = |value: &Value| value.is_null() || *value == json!({}) || *value == json!([]);
                Value::Object(fields.filter(|(_, value)| !empty(value)).collect())
            }
            other => other,
        }
    }
    prune(serde_json::to_value(template).unwrap())
}

/// A resource version as a number.
pub(crate) fn version_of(metadata: &ObjectMeta) -> u64 {
    metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}
