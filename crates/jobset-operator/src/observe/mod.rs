//! What was observed: the JobSetOperator, the objects that we manage, the certificates, the APIs that exist.
//!
//! [`watch`] feeds the [`Index`] from the API server; the answers of our own writes enter it at once, so that no
//! pass works on a view older than our last write. [`Observed`] is a snapshot of it, and all that decisions see.

pub mod certificate_secret;
pub mod facts;
pub mod index;
pub mod kinds;
pub mod pods;
pub mod watch;

pub use certificate_secret::CertificateSecret;
pub use facts::ClusterFacts;
pub use index::{Index, Unsynced};
pub use pods::PodTrouble;

use crate::names;
use jobset_api::JobSetOperator;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, OwnerReference};
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// Which object: kind and name. The namespace is always the operator's, where the kind has one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Kind; no two kinds that we manage share a name.
    pub kind: String,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// A key.
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

/// An object as it is in the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    /// The object, without its managed fields.
    pub object: Arc<DynamicObject>,
    /// Whether our field manager ever applied it.
    pub applied_by_us: bool,
    /// What our field manager applied beside metadata and status: a tree of field names as the API server keeps it
    /// (Kubernetes: `FieldsV1`).
    pub applied: Option<Value>,
    /// What others, or the operator by other ways than apply, set beside metadata and status.
    pub set_otherwise: Vec<Value>,
}

impl Live {
    /// Takes an object as the API server hands it out.
    pub fn new(mut object: DynamicObject) -> Self {
        let is_ours = |entry: &ManagedFieldsEntry| {
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
        let (ours, others): (Vec<_>, Vec<_>) = managers.into_iter().partition(is_ours);
        Self {
            object: Arc::new(object),
            applied_by_us: !ours.is_empty(),
            applied: ours.into_iter().find_map(content),
            set_otherwise: others.into_iter().filter_map(content).collect(),
        }
    }

    /// Whether the object carries the label of what the operator manages.
    pub fn has_our_label(&self) -> bool {
        self.object.labels().get(names::MANAGED_BY_LABEL).is_some_and(|value| value == names::OPERATOR)
    }

    /// Whether a JobSetOperator owns the object.
    pub fn has_our_owner(&self) -> bool {
        self.object.owner_references().iter().any(is_job_set_operator)
    }
}

/// Whether an owner is a JobSetOperator.
pub fn is_job_set_operator(owner: &OwnerReference) -> bool {
    owner.kind == jobset_api::jobset_operator::KIND
        && owner.api_version.starts_with(jobset_api::jobset_operator::GROUP)
}

/// A snapshot.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// JobSetOperator `cluster`.
    pub operator: Option<Arc<JobSetOperator>>,
    /// Objects with our label, and the JobSet CRD whoever made it.
    pub objects: BTreeMap<ObjectKey, Live>,
    /// The Secrets of the operand's certificates.
    pub secrets: BTreeMap<String, CertificateSecret>,
    /// Names of the CRDs of optional APIs that are served.
    pub apis: BTreeSet<String>,
    /// What the cluster says about itself.
    pub facts: ClusterFacts,
    /// What keeps pods of the operand from running, by name.
    pub pods: BTreeMap<String, PodTrouble>,
    /// Pods of the operand that are on their way out. They may still be sent requests.
    pub ending_pods: usize,
    /// Addresses behind the webhooks' Service that are ready, as far as that is known.
    pub ready_endpoints: Option<usize>,
    /// Other namespaces in which a JobSet controller is deployed.
    pub elsewhere: BTreeSet<String>,
}

impl Observed {
    /// Whether cert-manager's API is served.
    pub fn cert_manager(&self) -> bool {
        [kinds::ISSUER_CRD, kinds::CERTIFICATE_CRD].iter().all(|&crd| self.apis.contains(crd))
    }

    /// A Secret of certificates, if it has all that a server needs.
    pub fn complete_secret(&self, name: &str) -> Option<&CertificateSecret> {
        self.secrets.get(name).filter(|secret| secret.is_complete())
    }

    /// An object of ours.
    pub fn get(&self, kind: &str, name: &str) -> Option<&Live> {
        self.objects.get(&ObjectKey::new(kind, name))
    }
}
