//! `spec.network`: the headless Service.

use super::*;
use k8s_openapi::api::core::v1::Service;

#[test]
fn the_service() {
    for (network, expected) in [
        ("", None),
        ("network: {}", None),
        ("network: {enableDNSHostnames: false}", None),
        ("network: {enableDNSHostnames: true}", Some(("train", true))),
        ("network: {enableDNSHostnames: true, subdomain: ''}", Some(("train", true))),
        ("network: {enableDNSHostnames: true, subdomain: net}", Some(("net", true))),
        ("network: {enableDNSHostnames: true, publishNotReadyAddresses: false}", Some(("train", false))),
    ] {
        let mut scene = jobset(network);
        scene.service_exists = false;
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
        scene.service_exists = true;
        assert!(!actions(&scene.plan()).iter().any(|action| action.contains("Service")), "{network}");
    }
}

/// It comes again when somebody deleted it, until the JobSet has finished or is about to.
#[test]
fn while_it_lives() {
    for (jobs, expected) in [
        (RUNNING, vec!["create Service train"]),
        ("driver-0 failed@9, worker-0, worker-1", vec![]),
        ("driver-0 complete, worker-0 complete, worker-1 complete", vec![]),
    ] {
        let mut scene = jobset("network: {enableDNSHostnames: true}").jobs(jobs);
        scene.service_exists = false;
        assert_eq!(actions(&scene.plan()), expected, "{jobs}");
    }
}
