//! From a plan to requests: the one writer of the operator.
//!
//! Objects are applied server-side with one field manager, and only when they differ from what is desired. The
//! answer to each write enters the index at once.

pub mod drift;
pub mod events;
pub mod status;

use crate::desired::Issue;
use crate::desired::plan::{INJECT_CA_FROM, Plan, Step, secret};
use crate::desired::settings::Mode;
use crate::desired::status::Failure;
use crate::names;
use crate::observe::{Index, Live, ObjectKey, Observed, is_job_set_operator, kinds};
use events::Announcer;
use jobset_api::JobSetOperator;
use jobset_api::jobset_operator::SINGLETON;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt};
use manager_runtime::certificates::{IssueError, decide::carried_out};
use manager_runtime::leader::Fence;
use manager_runtime::metrics::Metrics;
use manager_runtime::writer::Writer;
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use thiserror::Error;
use tracing::info;

/// Requests a second, and at once, that change something. Two who fight over a field must not do so at the speed of
/// the wire.
const QPS: f32 = 20.0;
const BURST: i32 = 60;

/// Why a write failed.
#[derive(Debug, Error)]
pub enum ActError {
    /// The API server refused.
    #[error("{}", .0.message)]
    Refused(Box<kube::core::Status>),
    /// The API server could not be asked.
    #[error("cannot reach the API server: {0}")]
    Unreachable(kube::Error),
    /// A certificate cannot be made.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// A patch or an object that the API's types cannot hold.
    #[error("the operator made something that is no object: {0}")]
    Malformed(#[from] serde_json::Error),
    /// No kind that the operator writes.
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

    /// Whether the API server will never take this change to the object that exists. Kubernetes: a Deployment's
    /// selector, a binding's role and a Secret's type cannot be changed, nor can a ConfigMap that is `immutable`.
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

/// What was applied last, and what came of it.
#[derive(PartialEq, Eq)]
struct Applied {
    desired: String,
    live: String,
}

/// Carries out plans.
pub struct Actor {
    client: Client,
    namespace: String,
    index: Arc<Index>,
    writer: Writer,
    applied: HashMap<ObjectKey, Applied>,
    announcer: Announcer,
}

impl Actor {
    /// An actor that has done nothing yet. `instance` names this process in events.
    pub fn new(
        client: Client,
        namespace: &str,
        index: Arc<Index>,
        instance: String,
        metrics: &Metrics,
        fence: Fence,
    ) -> Self {
        Self {
            announcer: Announcer::new(client.clone(), instance, namespace, metrics),
            client,
            namespace: namespace.to_owned(),
            index,
            writer: Writer::new(QPS, BURST, fence).measured(metrics),
            applied: HashMap::new(),
        }
    }

    /// Who tells the world what happened.
    pub fn announcer(&self) -> &Announcer {
        &self.announcer
    }

    /// Carries out a plan as far as it goes, and returns what did not.
    pub async fn carry_out(
        &mut self,
        plan: &Plan,
        observed: &Observed,
        operator: &JobSetOperator,
    ) -> Vec<Failure> {
        let mut failures = Vec::new();
        let mut failed: BTreeSet<&ObjectKey> = BTreeSet::new();
        if plan.disown_api
            && let Err(error) = self.disown_api(observed).await
        {
            let key = ObjectKey::new("CustomResourceDefinition", names::JOBSET_CRD);
            failures.push(Failure { key, message: error.to_string() });
        }
        for key in &plan.detach_injector {
            if let Err(error) = self.detach_injector(key).await {
                failures.push(Failure { key: key.clone(), message: error.to_string() });
            }
        }
        for issue in &plan.issue {
            if let Err(error) = self.issue(issue, observed, operator).await {
                let key = ObjectKey::new("Secret", &issue.wanted.secret);
                failures.push(Failure { key, message: error.to_string() });
            }
        }
        for key in &plan.delete {
            let Some(live) = observed.objects.get(key) else { continue };
            if let Err(error) = self.delete(key, &live.object, operator).await {
                failures.push(Failure { key: key.clone(), message: error.to_string() });
            }
        }
        for step in &plan.apply {
            let blocked = |need: &&ObjectKey| failed.contains(need) && !observed.objects.contains_key(need);
            if let Some(need) = step.needs.as_ref().filter(blocked) {
                info!(object = %step.key, needs = %need, "not applied: what it needs could not be applied");
                failed.insert(&step.key);
                continue;
            }
            if let Err(error) = self.apply(step, observed, operator).await {
                failed.insert(&step.key);
                failures.push(Failure { key: step.key.clone(), message: error.to_string() });
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
        let Some(answer) = self.write(step, live, operator).await? else { return Ok(()) };
        let applied = Applied { desired, live: drift::live_hash(&answer) };
        // What comes back as it was stays: an admission plugin may insist on it, and nobody wins that fight.
        let insisted = live.is_some_and(|live| drift::live_hash(&live.object) == applied.live);
        if insisted || !drift::has_additions(&Live::new(answer.clone()), &step.object) {
            self.applied.insert(step.key.clone(), applied);
        }
        if live.is_none_or(|live| live.object.resource_version() != answer.resource_version()) {
            info!(object = %step.key, created = live.is_none(), "applied");
            self.announcer.applied(operator, &answer, live.is_none());
        }
        self.index.written(answer);
        Ok(())
    }

    /// Makes an object what it should be. Returns it as it is then, or nothing when it changed since it was seen, so
    /// that another pass is on its way.
    async fn write(
        &self,
        step: &Step,
        live: Option<&Live>,
        operator: &JobSetOperator,
    ) -> Result<Option<DynamicObject>, ActError> {
        // What others added would stay, or stand in the way, when our part is applied.
        if let Some(live) = live.filter(|live| drift::has_additions(live, &step.object)) {
            if drift::must_be_made_anew(&live.object, &step.object) {
                return self.make_anew(step, operator).await.map(Some);
            }
            match self.replace(&live.object, step).await {
                Ok(answer) if drift::is_as_desired(&answer, &step.object) => return Ok(Some(answer)),
                Err(error) if error.is_conflict() || error.is_not_found() => return Ok(None),
                Err(error) if error.is_immutable() => return self.make_anew(step, operator).await.map(Some),
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        self.patch_or_make_anew(step, operator).await.map(Some)
    }

    async fn patch_or_make_anew(
        &self,
        step: &Step,
        operator: &JobSetOperator,
    ) -> Result<DynamicObject, ActError> {
        match self.patch(step).await {
            Err(error) if error.is_immutable() => self.make_anew(step, operator).await,
            answer => answer,
        }
    }

    /// Deletes an object that cannot be changed into what it should be, and creates it.
    async fn make_anew(&self, step: &Step, operator: &JobSetOperator) -> Result<DynamicObject, ActError> {
        info!(object = %step.key, "deleting it, to create it anew");
        // Without our label it is not in the index.
        if let Some(found) = self.api(&step.key.kind)?.get_opt(&step.key.name).await? {
            self.delete(&step.key, &found, operator).await?;
        }
        self.patch(step).await
    }

    async fn patch(&self, step: &Step) -> Result<DynamicObject, ActError> {
        let api = self.api(&step.key.kind)?;
        // Forced: whoever changed a field that we manage gave up on it when the administrator said Managed.
        let parameters = PatchParams::apply(names::OPERATOR).force();
        let patch = Patch::Apply(&step.object);
        Ok(self.writer.send(|| api.patch(&step.key.name, &parameters, &patch)).await?)
    }

    async fn replace(&self, live: &DynamicObject, step: &Step) -> Result<DynamicObject, ActError> {
        info!(object = %step.key, "taking away what others added");
        let patch: Patch<()> = Patch::Json(serde_json::from_value(drift::replacement(live, &step.object))?);
        let parameters =
            PatchParams { field_manager: Some(names::OPERATOR.to_owned()), ..PatchParams::default() };
        let api = self.api(&step.key.kind)?;
        Ok(self.writer.send(|| api.patch(&step.key.name, &parameters, &patch)).await?)
    }

    /// Makes a certificate and stores it.
    async fn issue(
        &self,
        issue: &Issue,
        observed: &Observed,
        operator: &JobSetOperator,
    ) -> Result<(), ActError> {
        let name = &issue.wanted.secret;
        let found = observed.get("Secret", name).and_then(|live| (*live.object).clone().try_parse().ok());
        let made = carried_out(&issue.decision, found.as_ref(), "", &issue.wanted, Timestamp::now())?;
        let Some(made) = made else { return Ok(()) };
        let object = secret(name, operator).data(json!({"type": "kubernetes.io/tls", "data": made.data}));
        let step = Step { key: ObjectKey::of(&object), object, needs: None };
        let answer = self.patch_or_make_anew(&step, operator).await?;
        info!(secret = %name, why = ?issue.decision, "certificate issued");
        self.announcer.applied(operator, &answer, found.is_none());
        self.index.written(answer);
        Ok(())
    }

    /// Takes cert-manager's injector off a webhook configuration: the operator keeps the CA there itself.
    async fn detach_injector(&self, key: &ObjectKey) -> Result<(), ActError> {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {INJECT_CA_FROM: null}}}));
        let api = self.api(&key.kind)?;
        let parameters = PatchParams::default();
        self.index.written(self.writer.send(|| api.patch(&key.name, &parameters, &patch)).await?);
        info!(object = %key, "cert-manager's injector no longer works on it");
        Ok(())
    }

    async fn delete(
        &self,
        key: &ObjectKey,
        live: &DynamicObject,
        operator: &JobSetOperator,
    ) -> Result<(), ActError> {
        if live.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        // The object that was seen, not another of its name that came since.
        let parameters = DeleteParams {
            preconditions: Some(Preconditions { uid: live.uid(), resource_version: None }),
            ..DeleteParams::background()
        };
        let api = self.api(&key.kind)?;
        match self.writer.send(|| api.delete(&key.name, &parameters)).await.map_err(ActError::from) {
            Ok(_) => {
                info!(object = %key, "deleted");
                self.announcer.deleted(operator, live);
                Ok(())
            }
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes the JobSetOperator out of the JobSet API's owners, and leaves all others.
    async fn disown_api(&self, observed: &Observed) -> Result<(), ActError> {
        let Some(live) = observed.get("CustomResourceDefinition", names::JOBSET_CRD) else { return Ok(()) };
        let owners = live.object.owner_references().iter().filter(|owner| !is_job_set_operator(owner));
        let patch = Patch::Merge(json!({"metadata": {
            "resourceVersion": live.object.resource_version(),
            "ownerReferences": owners.collect::<Vec<_>>(),
        }}));
        let api = self.api("CustomResourceDefinition")?;
        let parameters = PatchParams::default();
        let request = || api.patch(names::JOBSET_CRD, &parameters, &patch);
        self.index.written(self.writer.send(request).await?);
        info!("the JobSet API has no owner any more: it outlives its JobSetOperator");
        Ok(())
    }

    /// Deletes the JobSet API if no JobSetOperator wants it and no JobSet is left, both asked of the API server
    /// itself at this moment. Returns whether the API is gone.
    pub async fn delete_api_if_unused(&self, observed: &Observed) -> Result<bool, ActError> {
        let Some(live) = observed.get("CustomResourceDefinition", names::JOBSET_CRD) else { return Ok(true) };
        if observed.apis.contains(names::OPERATOR_CRD) {
            let operators: Api<JobSetOperator> = Api::all(self.client.clone());
            let now = operators.get_opt(SINGLETON).await.map_err(ActError::from)?;
            if Mode::of(now.as_ref()) != Mode::of(observed.operator.as_deref()) {
                return Ok(false);
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
            return Ok(false);
        }
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid: live.object.uid(),
                resource_version: live.object.resource_version(),
            }),
            ..DeleteParams::default()
        };
        let crds = self.api("CustomResourceDefinition")?;
        match self.writer.send(|| crds.delete(names::JOBSET_CRD, &parameters)).await.map_err(ActError::from) {
            Ok(_) => {
                info!("deleted the JobSet API: no JobSet and no JobSetOperator needs it");
                Ok(true)
            }
            Err(error) if error.is_not_found() => Ok(true),
            // It changed since it was seen, for example because it is being deleted already: another pass comes.
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn api(&self, kind: &str) -> Result<Api<DynamicObject>, ActError> {
        let watch = kinds::of_kind(kind).ok_or_else(|| ActError::UnknownKind(kind.to_owned()))?;
        let resource = watch.resource();
        Ok(if watch.namespaced {
            Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
        } else {
            Api::all_with(self.client.clone(), &resource)
        })
    }
}
