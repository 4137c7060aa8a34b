//! Checks whether the Service of the pods' subdomain serves the host names of this JobSet.
//!
//! The controller changes nothing but the ports of its own Service. Several JobSets can share a Service that selects the pods of all
//! of them. But if two JobSets have the same `network.subdomain`, the Service that the first JobSet creates selects
//! only the pods of the first, so the host names of the second do not resolve. The pods run even then, and the
//! controller reports the conflict.

use crate::{
    child_job,
    draft::Draft,
    feature_gates::Gates,
    network::{dns_hostnames_enabled, subdomain},
    plan::Subject,
    snapshot::{ServiceRecord, Snapshot},
};
use jobset_api::{JobSet, conditions::reasons, labels};
use std::collections::BTreeMap;

/// Reports an existing Service that does not serve the host names of the pods.
pub(crate) fn report_conflict(snapshot: &Snapshot<'_>, gates: &Gates, draft: &mut Draft<'_>) {
    let jobset = snapshot.jobset;
    let Some(service) = snapshot.service.filter(|_| dns_hostnames_enabled(jobset)) else { return };
    let name = subdomain(jobset);
    if let Some(fault) = fault(jobset, service, gates) {
        if service.will_be_deleted {
            draft.waiting.push(format!(
                "Service {name} {fault}; it belongs to a deleted JobSet, and the controller creates another one when it \
                 is gone"
            ));
            return;
        }
        let (owner, remedy) = owner_and_remedy(jobset, service);
        let note = format!(
            "Service {name}, {owner}, {fault}, so the host names of this JobSet's pods do not resolve; {remedy}"
        );
        draft.waiting.push(note.clone());
        let subject = Subject::Service { name: name.to_owned(), uid: service.uid.clone() };
        draft.report(subject, reasons::SERVICE_CONFLICT, note);
    } else if publishes_early(jobset) && !service.publish_not_ready_addresses {
        draft.waiting.push(format!(
            "host names resolve only when their pods are ready: Service {name} has publishNotReadyAddresses: false"
        ));
    }
}

fn publishes_early(jobset: &JobSet) -> bool {
    let network = jobset.spec.network.as_ref();
    network.and_then(|network| network.publish_not_ready_addresses).unwrap_or(true)
}

/// Why the Service does not serve the pods, if it does not.
fn fault(jobset: &JobSet, service: &ServiceRecord, gates: &Gates) -> Option<String> {
    if !service.headless {
        return Some("is not headless".to_owned());
    }
    // Without a selector, the user manages the EndpointSlices.
    if service.selector.is_empty() || is_own_selector(jobset, &service.selector) {
        return None;
    }
    let selects = |pod: &BTreeMap<String, String>| {
        service.selector.iter().all(|(key, value)| pod.get(key) == Some(value))
    };
    let mut missed: Vec<&str> =
        child_job::pod_labels(jobset, gates).filter(|(_, pod)| !selects(pod)).map(|(name, _)| name).collect();
    missed.dedup();
    if missed.is_empty() {
        return None;
    }
    let selector: Vec<String> =
        service.selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let of = if missed.len() == 1 { "replicatedJob" } else { "replicatedJobs" };
    Some(format!("has selector {}, which misses pods of {of} {}", selector.join(","), missed.join(", ")))
}

/// Whether this is the selector of the Service that the controller creates.
fn is_own_selector(jobset: &JobSet, selector: &BTreeMap<String, String>) -> bool {
    selector.len() == 1 && selector.get(labels::JOBSET_NAME) == jobset.metadata.name.as_ref()
}

/// The owner of the Service, and the remedy for the user.
fn owner_and_remedy(jobset: &JobSet, service: &ServiceRecord) -> (String, &'static str) {
    match &service.controller {
        Some(controller) if Some(&controller.uid) == jobset.metadata.uid.as_ref() => (
            "which belongs to this JobSet and was changed".to_owned(),
            "delete the Service so that the controller creates it again",
        ),
        Some(controller) => (
            format!("which belongs to {} {}", controller.kind, controller.name),
            "create this JobSet with another network.subdomain, or create a headless Service of this name that selects \
             the pods of both",
        ),
        None => (
            "which no controller owns".to_owned(),
            "create this JobSet with another network.subdomain, or make the Service a headless one that selects its pods",
        ),
    }
}
