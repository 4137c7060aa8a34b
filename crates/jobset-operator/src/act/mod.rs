//! Executes a plan. All writes of the operator are here.
//!
//! The operator uses server-side apply with one field manager, and applies an object only if it differs from the
//! desired one. It stores the response to each write in the index at once.

pub mod drift;
pub mod events;
pub mod operator_condition;
pub mod status;

use crate::desired::Issue;
use crate::desired::condition_types::Finding;
use crate::desired::crd_ownership::Release;
use crate::desired::plan::{INJECT_CA_FROM, Plan, Step, secret};
use crate::desired::selector;
use crate::desired::settings::Mode;
use crate::desired::status::Failure;
use crate::names;
use crate::observe::{Index, Live, ObjectKey, Observed, kinds};
use events::Recorder;
use jobset_api::JobSetOperator;
use jobset_api::jobset_operator::SINGLETON;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt};
use manager_runtime::certificates::{IssueError, decide::secret_after};
use manager_runtime::leader::Fence;
use manager_runtime::metrics::Metrics;
use manager_runtime::writer::Writer;
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use thiserror::Error;
use tracing::info;

/// Write requests per second, and their burst. The limit slows down a conflict with another client that writes the
/// same field.
const QPS: f32 = 20.0;
const BURST: i32 = 60;

/// Why a write failed.
#[derive(Debug, Error)]
pub enum ActError {
    /// The API server refused the request.
    #[error("{}", .0.message)]
    Refused(Box<kube::core::Status>),
    /// The request got no response.
    #[error("cannot reach the API server: {0}")]
    Unreachable(kube::Error),
    /// A certificate cannot be created.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// A patch or an object that the API types cannot represent.
    #[error("the operator created an invalid object, which is a defect: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A kind that the operator does not write.
    #[error("the operator does not write objects of kind {0}")]
    UnknownKind(String),
}

impl From<kube::Error> for ActError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => ActError::Refused(status),
            other => ActError::Unreachable(other),
        }
    }
}

impl ActError {
    fn is_not_found(&self) -> bool {
        matches!(self, ActError::Refused(status) if status.code == 404)
    }

    fn is_conflict(&self) -> bool {
        matches!(self, ActError::Refused(status) if status.code == 409)
    }

    /// Whether the same request fails until an administrator acts: missing permissions, or an object that the API server
    /// or an admission plugin rejects. Other errors can pass.
    pub fn is_lasting(&self) -> bool {
        match self {
            ActError::Refused(status) => matches!(status.code, 400 | 403 | 422),
            ActError::Unreachable(_) => false,
            ActError::Issue(_) | ActError::Malformed(_) | ActError::UnknownKind(_) => true,
        }
    }

    /// The error as the failure of a step.
    pub fn into_failure(self, key: ObjectKey) -> Failure {
        Failure { key, message: self.to_string(), lasting: self.is_lasting() }
    }

    /// Whether the change affects an immutable field. In Kubernetes, the selector of a Deployment, the role of a
    /// binding, the type of a Secret, and a ConfigMap with `immutable` cannot change.
    fn is_immutable(&self) -> bool {
        const FIELDS: [&str; 6] = ["spec.selector", "roleRef", "type", "immutable", "data", "binaryData"];
        let ActError::Refused(status) = self else { return false };
        let mut causes = status.details.iter().flat_map(|details| &details.causes);
        status.code == 422
            && causes.any(|cause| {
                FIELDS.contains(&cause.field.as_str())
                    && (cause.field == "roleRef" || cause.message.contains("immutable"))
            })
    }
}

/// Hashes of the object that was applied last, and of the result.
#[derive(PartialEq, Eq)]
struct Applied {
    desired: String,
    live: String,
}

/// The result of an attempt to delete the JobSet CRD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiDeletion {
    /// The CRD is deleted.
    Deleted,
    /// A JobSet exists.
    HasJobSets,
    /// The decision is out of date. The change that made it so requeues the JobSetOperator.
    OutOfDate,
}

/// How to recreate an object whose immutable fields differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recreation {
    /// It is being deleted. Wait for the end of the deletion.
    Wait,
    /// Delete only the object itself. A new Deployment adopts its pods, which answer admission requests until the new
    /// pods are ready.
    Adopt,
    /// Delete the object with everything that it owns.
    Replace,
}

impl Recreation {
    fn of(live: &DynamicObject, desired: &DynamicObject) -> Self {
        if live.metadata.deletion_timestamp.is_some() {
            Self::Wait
        } else if selector::adopts(desired, live) {
            Self::Adopt
        } else {
            Self::Replace
        }
    }
}

/// Executes plans.
pub struct Actor {
    client: Client,
    namespace: String,
    index: Arc<Index>,
    writer: Writer,
    applied: HashMap<ObjectKey, Applied>,
    upgradeable: Option<Finding>,
    recorder: Recorder,
}

impl Actor {
    /// Creates an actor. `instance` is the name of this process in events.
    pub fn new(
        client: Client,
        namespace: &str,
        index: Arc<Index>,
        instance: String,
        metrics: &Metrics,
        fence: Fence,
    ) -> Self {
        Self {
            recorder: Recorder::new(client.clone(), instance, metrics),
            client,
            namespace: namespace.to_owned(),
            index,
            writer: Writer::new(QPS, BURST, fence).measured(metrics),
            applied: HashMap::new(),
            upgradeable: None,
        }
    }

    /// The recorder of events.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Executes a plan as far as possible, and returns the failures.
    pub async fn execute(
        &mut self,
        plan: &Plan,
        observed: &Observed,
        operator: &JobSetOperator,
    ) -> Vec<Failure> {
        let mut failures = Vec::new();
        let mut failed: BTreeSet<&ObjectKey> = BTreeSet::new();
        for key in &plan.detach_injector {
            if let Err(error) = self.detach_injector(key).await {
                failures.push(error.into_failure(key.clone()));
            }
        }
        for issue in &plan.issue {
            if let Err(error) = self.issue(issue, observed, operator).await {
                let key = ObjectKey::new("Secret", &issue.desired.secret);
                failures.push(error.into_failure(key));
            }
        }
        for step in &plan.apply {
            let blocked = |need: &&ObjectKey| failed.contains(need) && !observed.objects.contains_key(need);
            if let Some(need) = step.needs.as_ref().filter(blocked) {
                info!(object = %step.key, needs = %need, "skipped: the object that it needs could not be applied");
                failed.insert(&step.key);
                continue;
            }
            if let Err(error) = self.apply(step, observed, operator).await {
                failed.insert(&step.key);
                failures.push(error.into_failure(step.key.clone()));
            }
        }
        // Last, so that no object is missing before its replacement exists.
        for key in &plan.delete {
            let Some(live) = observed.objects.get(key) else { continue };
            if live.object.metadata.deletion_timestamp.is_some() {
                continue;
            }
            let parameters = DeleteParams::background();
            if let Err(error) = self.delete(key, &live.object, parameters, operator).await {
                failures.push(error.into_failure(key.clone()));
            }
        }
        failures
    }

    async fn apply(
        &mut self,
        step: &Step,
        observed: &Observed,
        operator: &JobSetOperator,
    ) -> Result<(), ActError> {
        let live = observed.objects.get(&step.key);
        let desired = drift::desired_hash(&step.object);
        if let Some(live) = live {
            let now = Applied { desired: desired.clone(), live: drift::live_hash(&live.object) };
            if self.applied.get(&step.key) == Some(&now) {
                return Ok(());
            }
            if drift::is_as_desired(&live.object, &step.object)
                && !drift::has_additions(live, &step.object)
                && !drift::has_leftovers(live, &step.object)
            {
                self.applied.insert(step.key.clone(), now);
                return Ok(());
            }
        }
        let Some(response) = self.write(step, live, operator).await? else { return Ok(()) };
        let applied = Applied { desired, live: drift::live_hash(&response) };
        // An addition that comes back unchanged stays: an admission plugin may set it again each time.
        let restored = live.is_some_and(|live| drift::live_hash(&live.object) == applied.live);
        if restored || !drift::has_additions(&Live::new(response.clone()), &step.object) {
            self.applied.insert(step.key.clone(), applied);
        }
        if live.is_none_or(|live| live.object.resource_version() != response.resource_version()) {
            info!(object = %step.key, created = live.is_none(), "applied");
            self.recorder.applied(operator, &response, live.is_none());
        }
        self.index.written(response);
        Ok(())
    }

    /// Brings an object to its desired state, and returns the result. Returns None if the object changed since it was
    /// observed: that change requeues the JobSetOperator.
    async fn write(
        &self,
        step: &Step,
        live: Option<&Live>,
        operator: &JobSetOperator,
    ) -> Result<Option<DynamicObject>, ActError> {
        // Server-side apply keeps fields that other clients added, and they can make the result invalid.
        if let Some(live) = live.filter(|live| drift::has_additions(live, &step.object)) {
            if drift::must_be_recreated(&live.object, &step.object) {
                return self.recreate(step, operator).await;
            }
            match self.replace(&live.object, step).await {
                Ok(response) if drift::is_as_desired(&response, &step.object) => return Ok(Some(response)),
                Err(error) if error.is_conflict() || error.is_not_found() => return Ok(None),
                Err(error) if error.is_immutable() => return self.recreate(step, operator).await,
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        self.patch_or_recreate(step, operator).await
    }

    async fn patch_or_recreate(
        &self,
        step: &Step,
        operator: &JobSetOperator,
    ) -> Result<Option<DynamicObject>, ActError> {
        match self.patch(step).await {
            Err(error) if error.is_immutable() => self.recreate(step, operator).await,
            response => response.map(Some),
        }
    }

    /// Deletes an object whose immutable fields differ, and creates it again. Returns None if the deletion takes time:
    /// its end requeues the JobSetOperator.
    async fn recreate(
        &self,
        step: &Step,
        operator: &JobSetOperator,
    ) -> Result<Option<DynamicObject>, ActError> {
        // The index does not contain objects without the operator's label.
        if let Some(found) = self.api(&step.key)?.get_opt(&step.key.name).await? {
            match Recreation::of(&found, &step.object) {
                Recreation::Wait => return Ok(None),
                Recreation::Adopt => {
                    info!(object = %step.key, "recreating the object, because its selector differs; its pods remain");
                    self.delete(&step.key, &found, DeleteParams::orphan(), operator).await?;
                    return Ok(None);
                }
                Recreation::Replace => {
                    info!(object = %step.key, "recreating the object, because an immutable field differs");
                    self.delete(&step.key, &found, DeleteParams::background(), operator).await?;
                }
            }
        }
        self.patch(step).await.map(Some)
    }

    async fn patch(&self, step: &Step) -> Result<DynamicObject, ActError> {
        let api = self.api(&step.key)?;
        // Forced: with management state Managed, the operator owns every field that it applies.
        let parameters = PatchParams::apply(names::OPERATOR).force();
        let patch = Patch::Apply(&step.object);
        Ok(self.writer.send(|| api.patch(&step.key.name, &parameters, &patch)).await?)
    }

    async fn replace(&self, live: &DynamicObject, step: &Step) -> Result<DynamicObject, ActError> {
        info!(object = %step.key, "removing fields that other clients added");
        let patch: Patch<()> = Patch::Json(serde_json::from_value(drift::replacement(live, &step.object))?);
        let parameters =
            PatchParams { field_manager: Some(names::OPERATOR.to_owned()), ..PatchParams::default() };
        let api = self.api(&step.key)?;
        Ok(self.writer.send(|| api.patch(&step.key.name, &parameters, &patch)).await?)
    }

    /// Issues a certificate and stores it in its Secret.
    async fn issue(
        &self,
        issue: &Issue,
        observed: &Observed,
        operator: &JobSetOperator,
    ) -> Result<(), ActError> {
        let name = &issue.desired.secret;
        let found = observed.get("Secret", name).and_then(|live| (*live.object).clone().try_parse().ok());
        let issued = secret_after(&issue.decision, found.as_ref(), "", &issue.desired, Timestamp::now())?;
        let Some(issued) = issued else { return Ok(()) };
        let object = secret(name, operator).data(json!({"type": "kubernetes.io/tls", "data": issued.data}));
        let step = Step { key: ObjectKey::of(&object), object, needs: None };
        let Some(response) = self.patch_or_recreate(&step, operator).await? else { return Ok(()) };
        info!(secret = %name, why = ?issue.decision, "certificate issued");
        self.recorder.applied(operator, &response, found.is_none());
        self.index.written(response);
        Ok(())
    }

    /// Removes the annotation of cert-manager's CA injector from a webhook configuration: the operator sets the CA.
    async fn detach_injector(&self, key: &ObjectKey) -> Result<(), ActError> {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {INJECT_CA_FROM: null}}}));
        let api = self.api(key)?;
        let parameters = PatchParams::default();
        self.index.written(self.writer.send(|| api.patch(&key.name, &parameters, &patch)).await?);
        info!(object = %key, "removed the annotation of cert-manager's CA injector");
        Ok(())
    }

    async fn delete(
        &self,
        key: &ObjectKey,
        live: &DynamicObject,
        parameters: DeleteParams,
        operator: &JobSetOperator,
    ) -> Result<(), ActError> {
        // The precondition prevents the deletion of a newer object with the same name.
        let parameters = DeleteParams {
            preconditions: Some(Preconditions { uid: live.uid(), resource_version: None }),
            ..parameters
        };
        let api = self.api(key)?;
        match self.writer.send(|| api.delete(&key.name, &parameters)).await.map_err(ActError::from) {
            Ok(_) => {
                info!(object = %key, "deleted");
                self.recorder.deleted(operator, live);
                Ok(())
            }
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes the JobSetOperator from the owner references of the JobSet CRD, keeps all others, and marks the CRD as
    /// created by this installation.
    pub async fn release_api(
        &self,
        release: &Release,
        operator: Option<&JobSetOperator>,
    ) -> Result<(), ActError> {
        let crd = &release.crd.object;
        let patch = Patch::Merge(json!({"metadata": {
            "uid": crd.uid(),
            "resourceVersion": crd.resource_version(),
            "ownerReferences": release.remaining,
            "annotations": {names::CREATED_BY: names::OPERATOR},
        }}));
        let api = self.api(&ObjectKey::new("CustomResourceDefinition", names::JOBSET_CRD))?;
        let parameters =
            PatchParams { field_manager: Some(names::OPERATOR.to_owned()), ..PatchParams::default() };
        let request = || api.patch(names::JOBSET_CRD, &parameters, &patch);
        match self.writer.send(request).await.map_err(ActError::from) {
            Ok(released) => {
                info!(
                    "removed the owner reference of the JobSet CRD, so that it outlives the JobSetOperator"
                );
                self.recorder.api_released(operator, &release.owner, &released);
                self.index.written(released);
                Ok(())
            }
            // The CRD changed since it was observed. The change requeues the JobSetOperator.
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Deletes the JobSet CRD if no JobSetOperator needs it and no JobSet exists. Both checks read from the API server.
    pub async fn delete_api_if_unused(&self, observed: &Observed) -> Result<ApiDeletion, ActError> {
        let Some(live) = observed.get("CustomResourceDefinition", names::JOBSET_CRD) else {
            return Ok(ApiDeletion::Deleted);
        };
        if observed.apis.contains(names::OPERATOR_CRD) {
            let operators: Api<JobSetOperator> = Api::all(self.client.clone());
            let now = operators.get_opt(SINGLETON).await.map_err(ActError::from)?;
            if Mode::of(now.as_ref()) != Mode::of(observed.operator.as_deref()) {
                return Ok(ApiDeletion::OutOfDate);
            }
        }
        let jobsets = ApiResource::from_gvk(&GroupVersionKind::gvk("jobset.x-k8s.io", "v1alpha2", "JobSet"));
        let jobsets: Api<DynamicObject> = Api::all_with(self.client.clone(), &jobsets);
        if !jobsets
            .list_metadata(&ListParams::default().limit(1))
            .await
            .map_err(ActError::from)?
            .items
            .is_empty()
        {
            return Ok(ApiDeletion::HasJobSets);
        }
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid: live.object.uid(),
                resource_version: live.object.resource_version(),
            }),
            ..DeleteParams::default()
        };
        let crds = self.api(&ObjectKey::new("CustomResourceDefinition", names::JOBSET_CRD))?;
        match self.writer.send(|| crds.delete(names::JOBSET_CRD, &parameters)).await.map_err(ActError::from) {
            Ok(_) => {
                info!("deleted the JobSet CRD: no JobSet exists and no JobSetOperator needs it");
                Ok(ApiDeletion::Deleted)
            }
            Err(error) if error.is_not_found() => Ok(ApiDeletion::Deleted),
            // The CRD changed since it was observed, for example because it is being deleted. The change requeues the
            // JobSetOperator.
            Err(error) if error.is_conflict() => Ok(ApiDeletion::OutOfDate),
            Err(error) => Err(error),
        }
    }

    fn api(&self, key: &ObjectKey) -> Result<Api<DynamicObject>, ActError> {
        let watch = kinds::watch_of(key).ok_or_else(|| ActError::UnknownKind(key.kind.clone()))?;
        let resource = watch.resource();
        Ok(if watch.namespaced {
            let namespace = watch.namespace.unwrap_or(&self.namespace);
            Api::namespaced_with(self.client.clone(), namespace, &resource)
        } else {
            Api::all_with(self.client.clone(), &resource)
        })
    }
}
