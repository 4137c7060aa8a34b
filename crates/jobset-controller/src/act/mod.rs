//! From the actions of a plan to requests: bounded, each with a result that somebody must look at, and each
//! answer put into the index at once, so that no later plan is made on a view older than our own writes.

use crate::observe::{ChildJob, Index, ObservedService, Source};
use jobset_api::{JobSet, JobSetStatus, conditions::reasons, jobset};
use jobset_plan::{Action, JobResume, JobSize};
use k8s_openapi::{
    api::{batch::v1::Job, core::v1::PersistentVolumeClaim},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    core::NamespaceResourceScope,
};
use manager_runtime::{client::api_message, writer::Writer};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{fmt::Debug, time::Duration};
use thiserror::Error;
use tracing::debug;

/// How seldom to look at least whether the Jobs of a JobSet that had the same name are gone.
const PREDECESSOR_GOES: Duration = Duration::from_secs(3);
/// The same for a Job that is somebody else's.
const NAME_GETS_FREE: Duration = Duration::from_secs(15);

/// Why a request failed. The reason of each is that of the event that tells of it, if one does.
#[derive(Debug, Error)]
pub(crate) enum ActError {
    /// A child Job could not be created.
    #[error("job {name:?} creation failed with error: {}", api_message(source))]
    CreateJob { name: String, source: kube::Error },
    /// A Job of the wanted name exists and belongs to somebody else.
    #[error(
        "job {name:?} creation failed with error: a Job of this name exists that this JobSet does not control; delete it, or rename the JobSet"
    )]
    ForeignJob { name: String },
    /// A Job of the wanted name is on its way out. Nothing is wrong.
    #[error("job {name:?} cannot be created yet: its predecessor is still being deleted")]
    NameHeld { name: String },
    /// A child Job could not be deleted.
    #[error("deleting job {name:?}: {}", api_message(source))]
    DeleteJob { name: String, source: kube::Error },
    /// A child Job could not be changed.
    #[error("changing job {name:?}: {}", api_message(source))]
    ChangeJob { name: String, source: kube::Error },
    /// A claim could not be created.
    #[error("{}", api_message(.0))]
    CreateClaim(#[source] kube::Error),
    /// The JobSet could not be deleted.
    #[error("deleting the JobSet, whose time is up: {}", api_message(.0))]
    DeleteJobSet(#[source] kube::Error),
    /// The headless Service could not be created.
    #[error("{}", api_message(.0))]
    CreateService(#[source] kube::Error),
    /// The status could not be stored.
    #[error("storing the status: {}", api_message(.0))]
    Status(#[source] kube::Error),
}

impl ActError {
    /// Reason of the event that tells of it.
    pub(crate) fn event_reason(&self) -> Option<&'static str> {
        match self {
            Self::CreateJob { .. } | Self::ForeignJob { .. } => Some(reasons::JOB_CREATION_FAILED),
            Self::CreateService(_) => Some(reasons::SERVICE_CREATION_FAILED),
            Self::CreateClaim(_) => Some(reasons::PVC_CREATION_FAILED),
            Self::NameHeld { .. }
            | Self::DeleteJob { .. }
            | Self::ChangeJob { .. }
            | Self::DeleteJobSet(_)
            | Self::Status(_) => None,
        }
    }

    /// How long it may take at most until somebody looks again. A Job that holds a name is no child: nobody tells
    /// when it goes.
    pub(crate) fn longest_wait(&self) -> Duration {
        match self {
            Self::NameHeld { .. } => PREDECESSOR_GOES,
            Self::ForeignJob { .. } => NAME_GETS_FREE,
            _ => Duration::MAX,
        }
    }

    /// Whether nothing went wrong: somebody is not gone yet, or the object was changed or deleted in between, of which
    /// the watch tells.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::NameHeld { .. } => true,
            Self::Status(kube::Error::Api(status)) => status.is_conflict() || status.is_not_found(),
            Self::DeleteJobSet(kube::Error::Api(status))
            | Self::ChangeJob { source: kube::Error::Api(status), .. } => status.is_conflict(),
            _ => false,
        }
    }
}

/// Carries actions out.
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

    /// One that takes turns with those of other JobSets.
    pub(crate) fn for_jobset(&self, uid: &str) -> Self {
        Self { writer: self.writer.for_caller(uid), ..self.clone() }
    }

    /// Carries out one action for `jobset`.
    pub(crate) async fn act(&self, jobset: &JobSet, action: Action) -> Result<(), ActError> {
        let namespace = jobset.metadata.namespace.as_deref().unwrap_or_default();
        match action {
            Action::CreateJob(job) => self.create_job(jobset, namespace, &job).await,
            Action::DeleteJob { name, uid } => self.delete_job(namespace, name, uid).await,
            Action::SuspendJob { name, uid } => {
                let patch = json!({"metadata": {"uid": uid}, "spec": {"suspend": true}});
                self.patch_job(namespace, &name, &patch).await
            }
            Action::ResumeJob(resume) => self.resume_job(namespace, &resume).await,
            Action::ScaleJob { name, uid, size: JobSize { parallelism, completions } } => {
                let size = json!({"parallelism": parallelism, "completions": completions});
                let patch = json!({"metadata": {"uid": uid}, "spec": size});
                self.patch_job(namespace, &name, &patch).await
            }
            Action::CreateService(service) => {
                let found: ObservedService =
                    self.create_or_get(namespace, &*service).await.map_err(ActError::CreateService)?;
                self.index.apply_service(&found.metadata, found.record(), Source::Answer);
                Ok(())
            }
            Action::CreateClaim(claim) => {
                let found: PersistentVolumeClaim =
                    self.create_or_get(namespace, &*claim).await.map_err(ActError::CreateClaim)?;
                self.index.apply_claim(&found.metadata, Source::Answer);
                Ok(())
            }
            Action::DeleteJobSet => self.delete_jobset(jobset, namespace).await,
        }
    }

    async fn create_job(&self, jobset: &JobSet, namespace: &str, job: &Job) -> Result<(), ActError> {
        let name = job.metadata.name.clone().unwrap_or_default();
        debug!(job = name, "creating");
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), namespace);
        // The answer is decoded as what the index keeps; the request is the whole Job.
        let created = self.writer.send(|| create::<_, _, ChildJob>(&self.client, &jobs, job)).await;
        let created = match created {
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                return self.meet_namesake(jobset, namespace, name).await;
            }
            created => created.map_err(|source| ActError::CreateJob { name, source })?,
        };
        self.index.apply_job(&created, Source::Answer);
        Ok(())
    }

    /// A Job of the name exists: ours, if an answer was lost; a predecessor's, whose end was not seen yet; or
    /// somebody else's.
    async fn meet_namesake(&self, jobset: &JobSet, namespace: &str, name: String) -> Result<(), ActError> {
        let jobs: Api<ChildJob> = Api::namespaced(self.client.clone(), namespace);
        let found = match jobs.get_opt(&name).await {
            Ok(Some(found)) => found,
            Ok(None) => return Err(ActError::NameHeld { name }),
            Err(source) => return Err(ActError::CreateJob { name, source }),
        };
        if found.owner() == jobset.metadata.uid.as_deref() {
            self.index.apply_job(&found, Source::Answer);
            Ok(())
        } else if found.is_leaving(jobset) {
            Err(ActError::NameHeld { name })
        } else {
            Err(ActError::ForeignJob { name })
        }
    }

    async fn delete_job(&self, namespace: &str, name: String, uid: String) -> Result<(), ActError> {
        debug!(job = name, "deleting");
        let jobs: Api<ChildJob> = Api::namespaced(self.client.clone(), namespace);
        let params = DeleteParams::foreground()
            .preconditions(Preconditions { uid: Some(uid.clone()), resource_version: None });
        match self.writer.send(|| jobs.delete(&name, &params)).await {
            Ok(answer) => {
                // A Job that waits for its pods is answered with its new state, one that went with a status.
                if let Some(job) = answer.left() {
                    self.index.apply_job(&job, Source::Answer);
                } else {
                    self.index.end_job(&uid);
                }
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                self.index.end_job(&uid);
                Ok(())
            }
            // A successor may have its name, or an admission webhook may have said so.
            Err(kube::Error::Api(status)) if status.is_conflict() => {
                let found = jobs.get_opt(&name).await;
                let found = found.map_err(|source| ActError::DeleteJob { name: name.clone(), source })?;
                if found.is_some_and(|job| job.metadata.uid.as_deref() == Some(&uid)) {
                    return Err(ActError::DeleteJob { name, source: kube::Error::Api(status) });
                }
                self.index.end_job(&uid);
                Ok(())
            }
            Err(source) => Err(ActError::DeleteJob { name, source }),
        }
    }

    /// Patches a Job. The UID in the patch keeps it from a successor of the name: the API server refuses another.
    async fn patch_job(&self, namespace: &str, name: &str, patch: &Value) -> Result<(), ActError> {
        let jobs: Api<ChildJob> = Api::namespaced(self.client.clone(), namespace);
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let changed = self.writer.send(|| jobs.patch(name, &params, &patch)).await;
        let changed = changed.map_err(|source| ActError::ChangeJob { name: name.to_owned(), source })?;
        self.index.apply_job(&changed, Source::Answer);
        Ok(())
    }

    async fn resume_job(&self, namespace: &str, resume: &JobResume) -> Result<(), ActError> {
        let name = &resume.name;
        let failed = |source| ActError::ChangeJob { name: name.clone(), source };
        if resume.clear_start_time {
            let jobs: Api<ChildJob> = Api::namespaced(self.client.clone(), namespace);
            let patch = Patch::Merge(json!({"metadata": {"uid": resume.uid}, "status": {"startTime": null}}));
            let params = PatchParams::default();
            let cleared = self.writer.send(|| jobs.patch_status(name, &params, &patch)).await;
            self.index.apply_job(&cleared.map_err(failed)?, Source::Answer);
        }
        // Lists are replaced whole by a patch, so what they hold now must be known, and still hold.
        let now = if resume.needs_current() {
            let jobs: Api<Job> = Api::namespaced(self.client.clone(), namespace);
            Some(jobs.get(name).await.map_err(failed)?)
        } else {
            None
        };
        self.patch_job(namespace, name, &resume.patch(now.as_ref())).await
    }

    async fn delete_jobset(&self, jobset: &JobSet, namespace: &str) -> Result<(), ActError> {
        let jobsets: Api<JobSet> = Api::namespaced(self.client.clone(), namespace);
        let name = jobset.metadata.name.as_deref().unwrap_or_default();
        // As it was seen: somebody may have given it more time since.
        let params = DeleteParams::foreground().preconditions(Preconditions {
            uid: jobset.metadata.uid.clone(),
            resource_version: jobset.metadata.resource_version.clone(),
        });
        let left = match self.writer.send(|| jobsets.delete(name, &params)).await {
            Ok(answer) => answer.left(),
            Err(kube::Error::Api(status)) if status.is_not_found() => None,
            Err(source) => return Err(ActError::DeleteJobSet(source)),
        };
        match (left, &jobset.metadata.uid) {
            (Some(jobset), _) => {
                self.index.apply_jobset(jobset, Source::Answer);
            }
            (None, Some(uid)) => self.index.end_jobset(uid),
            (None, None) => {}
        }
        Ok(())
    }

    /// Creates an object. If one of its name exists, gets that one instead.
    async fn create_or_get<K, A>(&self, namespace: &str, object: &K) -> kube::Result<A>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Serialize,
        A: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<A> = Api::namespaced(self.client.clone(), namespace);
        let name = object.meta().name.as_deref().unwrap_or_default();
        match self.writer.send(|| create(&self.client, &api, object)).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => api.get(name).await,
            other => other,
        }
    }

    /// Stores a status, if the JobSet is still at the resource version that the plan saw.
    pub(crate) async fn store_status(&self, jobset: &JobSet, status: &JobSetStatus) -> Result<(), ActError> {
        let metadata = &jobset.metadata;
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let name = metadata.name.as_deref().unwrap_or_default();
        // The status subresource takes everything but the status from the stored object.
        let update = StatusUpdate {
            api_version: jobset::API_VERSION,
            kind: jobset::KIND,
            metadata: ObjectMeta {
                name: metadata.name.clone(),
                namespace: metadata.namespace.clone(),
                uid: metadata.uid.clone(),
                resource_version: metadata.resource_version.clone(),
                ..Default::default()
            },
            status,
        };
        let url = Api::<JobSet>::namespaced(self.client.clone(), namespace).resource_url().to_owned();
        let request = kube::core::Request::new(url);
        let body = serde_json::to_vec(&update).map_err(|e| ActError::Status(kube::Error::SerdeError(e)))?;
        let request = request
            .replace_subresource("status", name, &PostParams::default(), body)
            .map_err(|e| ActError::Status(kube::Error::BuildRequest(e)))?;
        let stored = self.writer.send(|| self.client.request::<JobSet>(request.clone())).await;
        let stored = stored.map_err(ActError::Status)?;
        self.index.apply_jobset(stored, Source::Answer);
        Ok(())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusUpdate<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: ObjectMeta,
    status: &'a JobSetStatus,
}

/// Creates an object, and decodes the answer as another type.
async fn create<K: Serialize, R: Resource, A: DeserializeOwned>(
    client: &Client,
    api: &Api<R>,
    object: &K,
) -> kube::Result<A> {
    let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
    let request = kube::core::Request::new(api.resource_url());
    let request = request.create(&PostParams::default(), body).map_err(kube::Error::BuildRequest)?;
    client.request(request).await
}
