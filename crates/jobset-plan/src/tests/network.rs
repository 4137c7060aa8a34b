//! `spec.network`: the headless Service.

use super::*;
use k8s_openapi::api::core::v1::Service;

#[test]
fn a_headless_service_is_created_if_pods_have_host_names() {
    for (network, expected) in [
        ("", Some(("train", true))),
        ("network: {}", Some(("train", true))),
        ("network: {enableDNSHostnames: false}", None),
        ("network: {enableDNSHostnames: true}", Some(("train", true))),
        ("network: {publishNotReadyAddresses: false}", Some(("train", false))),
        ("network: {enableDNSHostnames: true, subdomain: ''}", Some(("train", true))),
        ("network: {enableDNSHostnames: true, subdomain: net}", Some(("net", true))),
        ("network: {enableDNSHostnames: true, publishNotReadyAddresses: false}", Some(("train", false))),
    ] {
        let mut scene = jobset(network);
        scene.service = None;
        let plan = scene.plan();
        let services: Vec<&Service> = plan
            .actions
            .iter()
            .filter_map(|action| match action {
                Action::CreateService(service) => Some(service.as_ref()),
                _ => None,
            })
            .collect();
        let expected: Vec<Service> = expected
            .into_iter()
            .map(|(name, publish)| {
                serde_yaml::from_str(&format!(
                    "
metadata:
  name: {name}
  namespace: team
  ownerReferences:
  - {{apiVersion: jobset.x-k8s.io/v1alpha2, kind: JobSet, name: train, uid: train-uid, controller: true, blockOwnerDeletion: true}}
spec: {{clusterIP: None, publishNotReadyAddresses: {publish}, selector: {{jobset.sigs.k8s.io/jobset-name: train}}}}
"
                ))
                .unwrap()
            })
            .collect();
        assert_eq!(services, expected.iter().collect::<Vec<_>>(), "{network}");
        assert_eq!(created(&plan).len(), 3, "{network}");
        scene.service = Some(service_of("train"));
        assert!(!actions(&scene.plan()).iter().any(|action| action.contains("Service")), "{network}");
    }
}

/// The controller creates a deleted Service again, until the JobSet finishes or restarts.
#[test]
fn a_deleted_service_is_created_again() {
    for (jobs, expected) in [
        (RUNNING, vec!["create Service train"]),
        ("driver-0 failed@9, worker-0, worker-1", vec![]),
        ("driver-0 complete, worker-0 complete, worker-1 complete", vec![]),
    ] {
        let mut scene = jobset("network: {enableDNSHostnames: true}").jobs(jobs);
        scene.service = None;
        assert_eq!(actions(&scene.plan()), expected, "{jobs}");
    }
}
