//! To whom the JobSet CRD belongs, and when the operator deletes it. The deletion of the CRD deletes every JobSet.
//!
//! The operator deletes only a CRD that this installation created. It marks such a CRD with annotation
//! [`names::CREATED_BY`]. It also marks a CRD that a JobSetOperator owned, whose deletion would have deleted the CRD. It
//! marks no other one: a forced apply leaves no other trace of the creator than its field manager. Without proof that
//! this installation created it, the CRD stays.

use super::conflict::{WEBHOOK_CONFIGURATIONS, foreign_deployments, some_of};
use super::settings::{Mode, Settings};
use crate::names;
use crate::observe::{Live, ObjectKey, Observed, is_job_set_operator};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use kube::api::DynamicObject;

/// The release of the JobSet CRD from its JobSetOperator.
#[derive(Clone, Debug, PartialEq)]
pub struct Release {
    /// The CRD as observed.
    pub crd: Live,
    /// The JobSetOperator that owns the CRD.
    pub owner: OwnerReference,
    /// The owner references that remain.
    pub remaining: Vec<OwnerReference>,
}

/// Whether the JobSet CRD must be released from a JobSetOperator. The Go operator sets an owner reference, so that the
/// deletion of the JobSetOperator would delete every JobSet. This holds in every mode.
pub fn release(observed: &Observed) -> Option<Release> {
    let crd = live_crd(observed)?;
    let owners = crd.object.owner_references().iter().cloned();
    let (removed, remaining): (Vec<_>, Vec<_>) = owners.partition(is_job_set_operator);
    Some(Release { crd: crd.clone(), owner: removed.into_iter().next()?, remaining })
}

/// Marks the desired CRD if this installation created the live one.
pub(super) fn mark(desired: &mut DynamicObject, live: &Live) {
    if is_created_by_us(live) {
        desired.annotations_mut().insert(names::CREATED_BY.to_owned(), names::OPERATOR.to_owned());
    }
}

/// Whether this installation created the CRD. Each client that creates a CRD sets its names, which cannot change
/// afterwards, so it stays one of their field managers. Without the mark, the operator is therefore the creator if it
/// is the only field manager: in the moment after the creation, and after an upgrade from a version without marks.
fn is_created_by_us(live: &Live) -> bool {
    live.object.annotations().contains_key(names::CREATED_BY)
        || live.applied_by_us && live.has_operator_label() && live.set_otherwise.is_empty()
}

/// Whether to delete the JobSet CRD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Deletion {
    /// The CRD is needed, is being deleted, or does not exist.
    No,
    /// Nothing needs the CRD, but it stays, for this reason.
    Refused(String),
    /// Delete it as soon as no JobSet exists.
    WithoutJobSets,
}

/// Decides on the deletion of the JobSet CRD. `own` are the operator's own objects that still exist.
pub(super) fn deletion(settings: &Settings, observed: &Observed, mode: Mode, own: &[&ObjectKey]) -> Deletion {
    let Some(crd) = live_crd(observed).filter(|_| matches!(mode, Mode::Absent | Mode::Removed)) else {
        return Deletion::No;
    };
    if !is_created_by_us(crd) {
        return Deletion::Refused("another client created it".to_owned());
    }
    // The operator or the garbage collector is about to delete these. An object that `kubectl delete --cascade=orphan`
    // left has no owner.
    let is_leaving = |key: &ObjectKey| {
        let owned = observed.objects.get(key).is_some_and(Live::has_operator_owner);
        own.contains(&key) && (owned || mode == Mode::Removed)
    };
    let servers = WEBHOOK_CONFIGURATIONS.into_iter().chain([("Deployment", names::OPERAND)]);
    let servers: Vec<ObjectKey> = servers
        .map(|(kind, name)| ObjectKey::new(kind, name))
        .filter(|key| observed.objects.contains_key(key))
        .collect();
    if let Some(server) = servers.iter().find(|key| !is_leaving(key)) {
        return Deletion::Refused(format!("{server} still serves it"));
    }
    if own.iter().any(|key| is_leaving(key)) {
        return Deletion::No;
    }
    let others = foreign_deployments(settings, observed);
    if !others.is_empty() {
        let place = some_of(&others);
        return Deletion::Refused(format!("Deployment {} in {place} may serve it", names::OPERAND));
    }
    Deletion::WithoutJobSets
}

fn live_crd(observed: &Observed) -> Option<&Live> {
    observed
        .get("CustomResourceDefinition", names::JOBSET_CRD)
        .filter(|crd| crd.object.metadata.deletion_timestamp.is_none())
}
