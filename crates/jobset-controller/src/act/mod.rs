//! Sends the requests of each [`Operation`]. Writes pass through the rate-limited writer. The index stores every
//! response at once, so that no later plan is older than the controller's own writes.

mod error;
mod eviction;
mod operation;
mod request;
mod scheduling;
mod verify;

use crate::observe::{ChildJob, Index, ObservedService, SchedulingKind};
use error::{Refusal, RequestError};
use jobset_api::{JobSet, JobSetStatus, jobset};
use jobset_plan::Action;
use k8s_openapi::{
    api::{
        batch::v1::Job,
        core::v1::{PersistentVolumeClaim, Service},
        scheduling::v1beta1::{PodGroup, Workload},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    core::{NamespaceResourceScope, PartialObjectMeta},
};
use manager_runtime::{client::api_message, writer::Writer};
use operation::Operation;
use request::{Answer, Request, SchedulingRequest};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tracing::debug;

pub(crate) use error::SchedulingVerb;
pub(crate) use eviction::{Eviction, Request as EvictionRequest};
pub(crate) use verify::Verifier;

/// Why an action failed.
pub(crate) type ActError = error::ActError<kube::Error>;

impl RequestError for kube::Error {
    fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Api(status) if status.is_not_found() => Some(Refusal::NotFound),
            Self::Api(status) if status.is_already_exists() => Some(Refusal::AlreadyExists),
            Self::Api(status) if status.is_conflict() => Some(Refusal::Conflict),
            Self::Api(status) if status.is_invalid() || status.is_forbidden() => Some(Refusal::Rejected),
            _ => None,
        }
    }

    fn message(&self) -> String {
        api_message(self)
    }
}

/// Executes actions.
#[derive(Clone)]
pub(crate) struct Actor {
    client: Client,
    writer: Writer,
    index: Index,
}

impl Actor {
    pub(crate) fn new(client: Client, writer: Writer, index: Index) -> Self {
        Self { client, writer, index }
    }

    /// Returns an actor that shares the writer fairly with the actors of other JobSets.
    pub(crate) fn for_jobset(&self, uid: &str) -> Self {
        Self { writer: self.writer.for_caller(uid), ..self.clone() }
    }

    /// Executes one action for `jobset`.
    pub(crate) async fn act(&self, jobset: &JobSet, action: Action) -> Result<(), ActError> {
        self.run(Operation::new(jobset, action)).await
    }

    /// Stores a status if the JobSet still has the resource version of the plan's snapshot.
    pub(crate) async fn store_status(
        &self,
        jobset: &JobSet,
        status: Box<JobSetStatus>,
    ) -> Result<(), ActError> {
        self.run(Operation::store_status(jobset, status)).await
    }

    async fn run(&self, mut operation: Operation<kube::Error>) -> Result<(), ActError> {
        loop {
            let (namespace, request) = (&operation.namespace, &operation.request);
            let answer = if request.writes() {
                self.writer.send(|| send(&self.client, namespace, request)).await
            } else {
                send(&self.client, namespace, request).await
            };
            let outcome = operation.answered(answer);
            if let Some(observed) = outcome.observed {
                self.index.store(observed);
            }
            match outcome.next? {
                Some(next) => operation = next,
                None => return Ok(()),
            }
        }
    }
}

/// Sends one request.
async fn send(client: &Client, namespace: &str, request: &Request) -> kube::Result<Answer> {
    let jobs = || Api::<ChildJob>::namespaced(client.clone(), namespace);
    let job = |job| Answer::Job(Box::new(job));
    match request {
        Request::CreateJob(desired) => {
            debug!(job = desired.metadata.name, "creating");
            // The request contains the whole Job. The response is decoded as the parts that the index keeps.
            create::<Job, ChildJob>(client, namespace, desired).await.map(job)
        }
        Request::GetJob { name } => jobs().get(name).await.map(job),
        Request::GetWholeJob { name } => {
            let whole = Api::<Job>::namespaced(client.clone(), namespace).get(name).await?;
            Ok(Answer::WholeJob(Box::new(whole)))
        }
        Request::DeleteJob { name, uid } => {
            debug!(job = name, "deleting");
            let params = foreground(Preconditions { uid: uid.clone(), resource_version: None });
            // The response is the Job if the Job waits for its pods, and a `Status` if the Job is deleted.
            Ok(jobs().delete(name, &params).await?.left().map_or(Answer::Gone, job))
        }
        Request::PatchJob { name, patch } => {
            let patch = Patch::<&Value>::Strategic(patch);
            jobs().patch(name, &PatchParams::default(), &patch).await.map(job)
        }
        Request::PatchJobStatus { name, patch } => {
            let patch = Patch::<&Value>::Merge(patch);
            jobs().patch_status(name, &PatchParams::default(), &patch).await.map(job)
        }
        Request::CreateService(desired) => {
            let created = create::<Service, ObservedService>(client, namespace, desired).await?;
            Ok(Answer::Service(Box::new(created)))
        }
        Request::CreateClaim(desired) => {
            let created: PartialObjectMeta<PersistentVolumeClaim> =
                create(client, namespace, &**desired).await?;
            Ok(Answer::Claim(Box::new(created.metadata)))
        }
        Request::GetService { name } => {
            let found = Api::<ObservedService>::namespaced(client.clone(), namespace).get(name).await?;
            Ok(Answer::Service(Box::new(found)))
        }
        Request::PatchService { name, patch } => {
            debug!(service = name, "setting the ports");
            let services = Api::<ObservedService>::namespaced(client.clone(), namespace);
            let patched =
                services.patch(name, &PatchParams::default(), &Patch::<&Value>::Merge(patch)).await?;
            Ok(Answer::Service(Box::new(patched)))
        }
        Request::GetClaim { name } => {
            let found = Api::<PersistentVolumeClaim>::namespaced(client.clone(), namespace).get(name).await?;
            Ok(Answer::Claim(Box::new(found.metadata)))
        }
        Request::Scheduling(request) => send_scheduling(client, namespace, request).await,
        Request::DeleteJobSet { name, uid, version } => {
            let jobsets = Api::<JobSet>::namespaced(client.clone(), namespace);
            let preconditions = Preconditions { uid: uid.clone(), resource_version: version.clone() };
            let left = jobsets.delete(name, &foreground(preconditions)).await?.left();
            Ok(left.map_or(Answer::Gone, |jobset| Answer::JobSet(Box::new(jobset))))
        }
        Request::StoreStatus { name, uid, version, status } => {
            let metadata = ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(namespace.to_owned()),
                uid: uid.clone(),
                resource_version: version.clone(),
                ..Default::default()
            };
            replace_status(client, namespace, metadata, status).await
        }
    }
}

/// Sends a request about a Workload or a PodGroup.
async fn send_scheduling(
    client: &Client,
    namespace: &str,
    request: &SchedulingRequest,
) -> kube::Result<Answer> {
    let workloads = || Api::<Workload>::namespaced(client.clone(), namespace);
    let pod_groups = || Api::<PodGroup>::namespaced(client.clone(), namespace);
    let workload = |workload| Answer::Workload(Box::new(workload));
    let pod_group = |pod_group| Answer::PodGroup(Box::new(pod_group));
    let params = PatchParams::default();
    match request {
        SchedulingRequest::CreateWorkload(desired) => {
            create(client, namespace, &**desired).await.map(workload)
        }
        SchedulingRequest::CreatePodGroup(desired) => {
            create(client, namespace, &**desired).await.map(pod_group)
        }
        SchedulingRequest::Get { kind: SchedulingKind::Workloads, name } => {
            workloads().get(name).await.map(workload)
        }
        SchedulingRequest::Get { kind: SchedulingKind::PodGroups, name } => {
            pod_groups().get(name).await.map(pod_group)
        }
        SchedulingRequest::PatchWorkload { name, patch } => {
            workloads().patch(name, &params, &Patch::Json::<()>(patch.clone())).await.map(workload)
        }
        SchedulingRequest::PatchPodGroup { name, patch } => {
            pod_groups().patch(name, &params, &Patch::Merge(patch)).await.map(pod_group)
        }
        SchedulingRequest::Delete { kind: SchedulingKind::Workloads, name, uid } => {
            let left = workloads().delete(name, &background(uid)).await?.left();
            Ok(left.map_or(Answer::Gone, workload))
        }
        SchedulingRequest::Delete { kind: SchedulingKind::PodGroups, name, uid } => {
            // The response is the PodGroup if the PodGroup waits for its pods.
            let left = pod_groups().delete(name, &background(uid)).await?.left();
            Ok(left.map_or(Answer::Gone, pod_group))
        }
    }
}

fn background(uid: &str) -> DeleteParams {
    let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
    DeleteParams::background().preconditions(preconditions)
}

fn foreground(preconditions: Preconditions) -> DeleteParams {
    DeleteParams::foreground().preconditions(preconditions)
}

/// Creates an object, and decodes the response as another type.
async fn create<K, A>(client: &Client, namespace: &str, object: &K) -> kube::Result<A>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Serialize,
    A: DeserializeOwned,
{
    let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
    let request = kube::core::Request::new(K::url_path(&(), Some(namespace)));
    let request = request.create(&PostParams::default(), body).map_err(kube::Error::BuildRequest)?;
    client.request(request).await
}

async fn replace_status(
    client: &Client,
    namespace: &str,
    metadata: ObjectMeta,
    status: &JobSetStatus,
) -> kube::Result<Answer> {
    let name = metadata.name.clone().unwrap_or_default();
    // A write to the status subresource changes only the status.
    let update = StatusUpdate { api_version: jobset::API_VERSION, kind: jobset::KIND, metadata, status };
    let body = serde_json::to_vec(&update).map_err(kube::Error::SerdeError)?;
    let request = kube::core::Request::new(JobSet::url_path(&(), Some(namespace)));
    let request = request
        .replace_subresource("status", &name, &PostParams::default(), body)
        .map_err(kube::Error::BuildRequest)?;
    Ok(Answer::JobSet(Box::new(client.request(request).await?)))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusUpdate<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: ObjectMeta,
    status: &'a JobSetStatus,
}
