//! What was observed: the JobSetOperator, the objects that we manage, the certificates, the APIs that exist.
//!
//! [`watch`] feeds the [`Index`] from the API server; the answers of our own writes enter it at once, so that no
//! pass works on a view older than our last write. [`Observed`] is a snapshot of it, and all that decisions see.

pub mod index;
pub mod kinds;
pub mod watch;

pub use index::{Index, Unsynced};

use crate::names;
use jobset_api::JobSetOperator;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use kube::api::DynamicObject;
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
}

impl Live {
    /// Takes an object as the API server hands it out.
    pub fn new(mut object: DynamicObject) -> Self {
        let managers = object.metadata.managed_fields.take().unwrap_or_default();
        let applied_by_us = managers.iter().any(|entry| {
            entry.manager.as_deref() == Some(names::OPERATOR) && entry.operation.as_deref() == Some("Apply")
        });
        Self { object: Arc::new(object), applied_by_us }
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

/// A Secret that cert-manager fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateSecret {
    /// Hash of its content, once certificate and key are both there.
    pub hash: Option<String>,
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
}

impl Observed {
    /// Whether cert-manager's API is served.
    pub fn cert_manager(&self) -> bool {
        [kinds::ISSUER_CRD, kinds::CERTIFICATE_CRD].iter().all(|&crd| self.apis.contains(crd))
    }

    /// Whether monitoring's API is served.
    pub fn monitoring(&self) -> bool {
        self.apis.contains(kinds::SERVICE_MONITOR_CRD)
    }

    /// An object of ours.
    pub fn get(&self, kind: &str, name: &str) -> Option<&Live> {
        self.objects.get(&ObjectKey::new(kind, name))
    }
}
