//! The parts of a Service that the controller reads: its owner, the pods that it selects, and its ports.

use jobset_api::{jobset, metadata::without_managed_fields};
use jobset_plan::{Controller, PortRecord, ServiceRecord};
use k8s_openapi::{
    api::core::v1::{Service, ServicePort},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::Resource;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A Service without the parts that no decision needs. Decoding skips them.
#[derive(Clone, Debug, Default, Deserialize, Resource)]
#[resource(inherit = "Service")]
#[serde(default)]
pub(crate) struct ObservedService {
    #[serde(deserialize_with = "without_managed_fields")]
    pub(crate) metadata: ObjectMeta,
    spec: Spec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    ports: Option<Vec<ServicePort>>,
    selector: Option<BTreeMap<String, String>>,
    publish_not_ready_addresses: Option<bool>,
}

impl ObservedService {
    /// The record for decisions. It keeps the selector of a headless Service only, and the ports of those that a JobSet
    /// controls: most Services of a cluster are neither, and their selectors and ports do not matter.
    pub(crate) fn record(&self) -> ServiceRecord {
        let headless = self.spec.cluster_ip.as_deref() == Some("None");
        let mut owners = self.metadata.owner_references.iter().flatten();
        let controller = owners.find(|owner| owner.controller == Some(true));
        let of_jobset = controller.is_some_and(|owner| owner.kind == jobset::KIND);
        ServiceRecord {
            uid: self.metadata.uid.clone().unwrap_or_default(),
            controller: controller.map(|owner| Controller {
                kind: owner.kind.clone(),
                name: owner.name.clone(),
                uid: owner.uid.clone(),
            }),
            headless,
            selector: self.spec.selector.clone().filter(|_| headless).unwrap_or_default(),
            ports: self.spec.ports.iter().flatten().filter(|_| of_jobset).map(PortRecord::from).collect(),
            publish_not_ready_addresses: self.spec.publish_not_ready_addresses.unwrap_or(false),
            will_be_deleted: self.metadata.deletion_timestamp.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

    fn record(spec: &str) -> ServiceRecord {
        let yaml = format!("{{metadata: {{name: net, uid: svc}}, {spec}}}");
        serde_yaml::from_str::<ObservedService>(&yaml).unwrap().record()
    }

    #[test]
    fn a_headless_service_of_a_jobset_is_recorded_with_selector_and_ports() {
        let service: ObservedService = serde_yaml::from_str(
            "
metadata:
  name: net
  uid: svc
  ownerReferences:
  - {apiVersion: apps/v1, kind: StatefulSet, name: other, uid: uid-of-other}
  - {apiVersion: jobset.x-k8s.io/v1alpha2, kind: JobSet, name: train, uid: uid-of-train, controller: true}
spec:
  clusterIP: None
  ports:
  - {name: tcp-80, port: 80, protocol: TCP, targetPort: 80}
  - {name: dns, port: 53, protocol: UDP, targetPort: dns, nodePort: 30053, appProtocol: dns}
  - {port: 90}
  publishNotReadyAddresses: true
  selector: {app: mpi}
",
        )
        .unwrap();
        let port = |name: &str, protocol: &str, port, target_port| PortRecord {
            name: name.into(),
            protocol: protocol.into(),
            port,
            target_port,
        };
        let (kind, name, uid) = ("JobSet".into(), "train".into(), "uid-of-train".into());
        assert_eq!(
            service.record(),
            ServiceRecord {
                uid: "svc".into(),
                controller: Some(Controller { kind, name, uid }),
                headless: true,
                selector: [("app".to_owned(), "mpi".to_owned())].into(),
                ports: vec![
                    port("tcp-80", "TCP", 80, IntOrString::Int(80)),
                    port("dns", "UDP", 53, IntOrString::String("dns".into())),
                    port("", "TCP", 90, IntOrString::Int(90)),
                ],
                publish_not_ready_addresses: true,
                will_be_deleted: false,
            }
        );
    }

    #[test]
    fn other_services_are_recorded_without_selector_and_ports() {
        let bare = ServiceRecord { uid: "svc".into(), ..ServiceRecord::default() };
        for spec in [
            "spec: {clusterIP: 10.0.0.7, ports: [{port: 80}], selector: {app: web}}",
            "spec: {type: ExternalName, externalName: example.com}",
            "spec: {selector: null}",
            "status: {}",
        ] {
            assert_eq!(record(spec), bare, "{spec}");
        }
        assert_eq!(
            record("spec: {clusterIP: None, ports: [{port: 80}]}"),
            ServiceRecord { headless: true, ..bare }
        );
    }
}
