//! `spec.network`: the headless Service, and the host name of the coordinator.

use crate::{
    draft::Draft,
    owner_reference::owner_reference,
    plan::Action,
    service_ports::{self, PortRecord},
    snapshot::{ServiceRecord, Snapshot},
};
use jobset_api::{JobSet, jobset::Coordinator, labels};
use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use std::collections::BTreeMap;

/// Whether the pods of this JobSet have stable host names.
pub(crate) fn dns_hostnames_enabled(jobset: &JobSet) -> bool {
    jobset.spec.network.as_ref().and_then(|network| network.enable_dns_hostnames).unwrap_or(false)
}

/// Name of the headless Service and domain of the pods' host names: `network.subdomain`, or the JobSet's name.
pub fn subdomain(jobset: &JobSet) -> &str {
    let wanted = jobset.spec.network.as_ref().and_then(|network| network.subdomain.as_deref());
    wanted.filter(|name| !name.is_empty()).unwrap_or_else(|| jobset.metadata.name.as_deref().unwrap_or(""))
}

/// Host name of the coordinator pod, within the namespace.
pub(crate) fn coordinator_endpoint(jobset: &JobSet, coordinator: &Coordinator) -> String {
    let name = jobset.metadata.name.as_deref().unwrap_or("");
    let Coordinator { replicated_job, job_index, pod_index } = coordinator;
    format!("{name}-{replicated_job}-{job_index}-{pod_index}.{}", subdomain(jobset))
}

/// Creates the headless Service if pods have host names and no Service with its name exists. Corrects the ports of a
/// Service that the JobSet controls. The controller changes nothing else in an existing Service; [`crate::service`]
/// checks whether that Service serves this JobSet.
pub(crate) fn ensure_headless_service(snapshot: &Snapshot<'_>, draft: &mut Draft<'_>) {
    let jobset = snapshot.jobset;
    if !dns_hostnames_enabled(jobset) {
        return;
    }
    let ports = service_ports::wanted(jobset);
    match snapshot.service {
        None => draft.actions.push(Action::CreateService(Box::new(headless_service(jobset, ports)))),
        Some(service) if is_own(jobset, service) && service.ports != ports => {
            let (name, uid) = (subdomain(jobset).to_owned(), service.uid.clone());
            draft.actions.push(Action::SetServicePorts { name, uid, ports });
        }
        Some(_) => {}
    }
}

/// Whether this is the Service that the controller created for the JobSet.
fn is_own(jobset: &JobSet, service: &ServiceRecord) -> bool {
    let controller = service.controller.as_ref().map(|controller| &controller.uid);
    controller.is_some()
        && controller == jobset.metadata.uid.as_ref()
        && service.headless
        && !service.will_be_deleted
}

fn headless_service(jobset: &JobSet, ports: Vec<PortRecord>) -> Service {
    let publish = jobset.spec.network.as_ref().and_then(|network| network.publish_not_ready_addresses);
    let name = jobset.metadata.name.clone().unwrap_or_default();
    let ports: Vec<ServicePort> = ports.into_iter().map(ServicePort::from).collect();
    Service {
        metadata: ObjectMeta {
            name: Some(subdomain(jobset).to_owned()),
            namespace: jobset.metadata.namespace.clone(),
            owner_references: Some(vec![owner_reference(jobset)]),
            ..Default::default()
        },
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            ports: Some(ports).filter(|ports| !ports.is_empty()),
            selector: Some(BTreeMap::from([(labels::JOBSET_NAME.to_owned(), name)])),
            publish_not_ready_addresses: Some(publish.unwrap_or(true)),
            ..Default::default()
        }),
        status: None,
    }
}
