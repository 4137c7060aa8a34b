//! The parts of a Service that the controller reads: its owner, and the pods that it selects.

use jobset_plan::{Controller, ServiceRecord};
use k8s_openapi::{api::core::v1::Service, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::Resource;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A Service without the parts that no decision needs. Decoding skips them.
#[derive(Clone, Debug, Default, Deserialize, Resource)]
#[resource(inherit = "Service")]
#[serde(default)]
pub(crate) struct ObservedService {
    pub(crate) metadata: ObjectMeta,
    spec: Spec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    selector: Option<BTreeMap<String, String>>,
    publish_not_ready_addresses: Option<bool>,
}

impl ObservedService {
    /// The record for decisions. It keeps the selector of a headless Service only: most Services of a cluster are not
    /// headless, and their selectors do not matter.
    pub(crate) fn record(&self) -> ServiceRecord {
        let headless = self.spec.cluster_ip.as_deref() == Some("None");
        let mut owners = self.metadata.owner_references.iter().flatten();
        let controller = owners.find(|owner| owner.controller == Some(true));
        ServiceRecord {
            uid: self.metadata.uid.clone().unwrap_or_default(),
            controller: controller.map(|owner| Controller {
                kind: owner.kind.clone(),
                name: owner.name.clone(),
                uid: owner.uid.clone(),
            }),
            headless,
            selector: self.spec.selector.clone().filter(|_| headless).unwrap_or_default(),
            publish_not_ready_addresses: self.spec.publish_not_ready_addresses.unwrap_or(false),
            will_be_deleted: self.metadata.deletion_timestamp.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(spec: &str) -> ServiceRecord {
        let yaml = format!("{{metadata: {{name: net, uid: svc}}, {spec}}}");
        serde_yaml::from_str::<ObservedService>(&yaml).unwrap().record()
    }

    #[test]
    fn a_headless_service_is_recorded_with_its_selector() {
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
  ports: [{port: 80}]
  publishNotReadyAddresses: true
  selector: {app: mpi}
",
        )
        .unwrap();
        let (kind, name, uid) = ("JobSet".into(), "train".into(), "uid-of-train".into());
        assert_eq!(
            service.record(),
            ServiceRecord {
                uid: "svc".into(),
                controller: Some(Controller { kind, name, uid }),
                headless: true,
                selector: [("app".to_owned(), "mpi".to_owned())].into(),
                publish_not_ready_addresses: true,
                will_be_deleted: false,
            }
        );
    }

    #[test]
    fn other_services_are_recorded_without_a_selector() {
        let bare = ServiceRecord { uid: "svc".into(), ..ServiceRecord::default() };
        for spec in [
            "spec: {clusterIP: 10.0.0.7, selector: {app: web}}",
            "spec: {type: ExternalName, externalName: example.com}",
            "spec: {selector: null}",
            "status: {}",
        ] {
            assert_eq!(record(spec), bare, "{spec}");
        }
        assert_eq!(record("spec: {clusterIP: None}"), ServiceRecord { headless: true, ..bare });
    }
}
