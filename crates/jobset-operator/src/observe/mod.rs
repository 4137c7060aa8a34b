//! Observes the cluster: the JobSetOperator, the managed objects, the certificates, and the served APIs.
//!
//! [`watch`] updates the [`Index`] from the API server. The operator also stores the responses to its own writes in
//! the index at once, so that no reconcile works with a state older than its last write. [`Observed`] is a snapshot of
//! the index, and the only input of decisions about the cluster.

pub mod certificate_secret;
pub mod facts;
pub mod index;
pub mod kinds;
pub mod pods;
mod served_apis;
mod unsynced;
pub mod watch;

pub use certificate_secret::CertificateSecret;
pub use facts::ClusterFacts;
pub use index::Index;
pub use pods::PodTrouble;
pub use unsynced::{Unsynced, WatchError};

use crate::names;
use jobset_api::JobSetOperator;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, OwnerReference};
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// Kind and name of an object. The namespace of a namespaced object is the operator's, or that of its watch in
/// [`kinds::WATCHES`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Kind. No two managed kinds have the same name.
    pub kind: String,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// Creates a key.
    pub fn new(kind: &str, name: &str) -> Self {
        Self { kind: kind.to_owned(), name: name.to_owned() }
    }

    /// The key of an object.
    pub fn of(object: &DynamicObject) -> Self {
        Self::new(object.types.as_ref().map_or("", |types| types.kind.as_str()), &object.name_any())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// An object in the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    /// The object, without its managed fields.
    pub object: Arc<DynamicObject>,
    /// Whether the operator's field manager applied it.
    pub applied_by_us: bool,
    /// The fields that the operator applied, without metadata and status, as a Kubernetes `FieldsV1` tree.
    pub applied: Option<Value>,
    /// The fields that other field managers set, or the operator without apply, without metadata and status.
    pub set_otherwise: Vec<Value>,
}

impl Live {
    /// Converts an object of the API server.
    pub fn new(mut object: DynamicObject) -> Self {
        let is_operator_apply = |entry: &ManagedFieldsEntry| {
            entry.manager.as_deref() == Some(names::OPERATOR)
                && entry.operation.as_deref() == Some("Apply")
                && entry.subresource.is_none()
        };
        let content = |entry: ManagedFieldsEntry| {
            let Value::Object(mut fields) = entry.fields_v1?.0 else { return None };
            fields.retain(|field, _| !["f:metadata", "f:status"].contains(&field.as_str()));
            (!fields.is_empty()).then_some(Value::Object(fields))
        };
        let managers = object.metadata.managed_fields.take().unwrap_or_default();
        let (applied, others): (Vec<_>, Vec<_>) = managers.into_iter().partition(is_operator_apply);
        Self {
            object: Arc::new(object),
            applied_by_us: !applied.is_empty(),
            applied: applied.into_iter().find_map(content),
            set_otherwise: others.into_iter().filter_map(content).collect(),
        }
    }

    /// Whether the object has the label of objects that the operator manages.
    pub fn has_operator_label(&self) -> bool {
        self.object.labels().get(names::MANAGED_BY_LABEL).is_some_and(|value| value == names::OPERATOR)
    }

    /// Whether a JobSetOperator owns the object.
    pub fn has_operator_owner(&self) -> bool {
        self.object.owner_references().iter().any(is_job_set_operator)
    }
}

/// Whether an owner is a JobSetOperator.
pub fn is_job_set_operator(owner: &OwnerReference) -> bool {
    owner.kind == jobset_api::jobset_operator::KIND
        && owner.api_version.split('/').next() == Some(jobset_api::jobset_operator::GROUP)
}

/// A snapshot of the index.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// JobSetOperator `cluster`.
    pub operator: Option<Arc<JobSetOperator>>,
    /// The objects of an installation of JobSet in the operator's namespace, cluster-scoped ones, and the dashboard, of
    /// any creator.
    pub objects: BTreeMap<ObjectKey, Live>,
    /// The Secrets of the operand's certificates.
    pub secrets: BTreeMap<String, CertificateSecret>,
    /// Names of the CRDs of optional APIs that are served.
    pub apis: BTreeSet<String>,
    /// The configuration of the cluster.
    pub facts: ClusterFacts,
    /// Why pods of the operand do not run, by pod name.
    pub pods: BTreeMap<String, PodTrouble>,
    /// The number of pods of the operand that are not terminating.
    pub running_pods: usize,
    /// The number of terminating pods of the operand. They may still receive requests.
    pub ending_pods: usize,
    /// The number of ready endpoints of the webhooks' Service, or None before the first list.
    pub ready_endpoints: Option<usize>,
    /// All namespaces with a Deployment of the operand's name. Any user may create one in a project.
    pub other_namespaces: BTreeSet<String>,
    /// Whether the namespace exists from which OpenShift's console reads dashboards.
    pub dashboard_namespace: bool,
}

impl Observed {
    /// Whether cert-manager's API is served.
    pub fn cert_manager(&self) -> bool {
        [kinds::ISSUER_CRD, kinds::CERTIFICATE_CRD].iter().all(|&crd| self.apis.contains(crd))
    }

    /// A certificate Secret, if it is complete.
    pub fn complete_secret(&self, name: &str) -> Option<&CertificateSecret> {
        self.secrets.get(name).filter(|secret| secret.is_complete())
    }

    /// A managed object.
    pub fn get(&self, kind: &str, name: &str) -> Option<&Live> {
        self.objects.get(&ObjectKey::new(kind, name))
    }
}
