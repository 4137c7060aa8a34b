//! `spec.network`: the headless Service.

use super::*;
use k8s_openapi::api::core::v1::{Service, ServicePort};

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

/// A scene whose ReplicatedJobs `a`, `b`, … have these containers. The Service has no ports yet.
fn with_containers(containers: &[&str]) -> Scene {
    let replicated_jobs: Vec<String> = ('a'..)
        .zip(containers)
        .map(|(name, pod)| format!("{{name: {name}, template: {{spec: {{template: {{spec: {{{pod}}}}}}}}}}}"))
        .collect();
    let jobs: Vec<String> = ('a'..).zip(containers).map(|(name, _)| format!("{name}-0")).collect();
    jobset(&format!("replicatedJobs: [{}]", replicated_jobs.join(", "))).jobs(&jobs.join(", "))
}

/// The ports of all containers, each number and protocol once, in the order of the spec.
#[test]
fn the_service_has_the_ports_of_all_containers() {
    let one = |ports: &str| format!("containers: [{{name: c, ports: [{ports}]}}]");
    for (what, containers, expected) in [
        ("no ports", vec![one("")], ""),
        ("no containers", vec!["containers: []".to_owned()], ""),
        ("TCP by default", vec![one("{containerPort: 80}, {containerPort: 81, protocol: ''}")], "tcp-80 tcp-81"),
        (
            "each protocol",
            vec![one(
                "{containerPort: 53, protocol: UDP}, {containerPort: 53, protocol: TCP}, {containerPort: 9, protocol: SCTP}",
            )],
            "udp-53 tcp-53 sctp-9",
        ),
        (
            "names and host ports do not matter",
            vec![one("{containerPort: 80, name: http, hostPort: 8080}, {containerPort: 80, name: web}")],
            "tcp-80",
        ),
        (
            "several containers and ReplicatedJobs",
            vec![
                "containers: [{name: c, ports: [{containerPort: 9}]}, {name: d, ports: [{containerPort: 7}, {containerPort: 9}]}]"
                    .to_owned(),
                one("{containerPort: 8}, {containerPort: 7}"),
            ],
            "tcp-9 tcp-7 tcp-8",
        ),
        (
            "init containers do not count",
            vec!["containers: [{name: c}], initContainers: [{name: i, restartPolicy: Always, ports: [{containerPort: 80}]}]".to_owned()],
            "",
        ),
        (
            "numbers and protocols that no Job can have",
            vec![one(
                "{containerPort: 0}, {containerPort: -1}, {containerPort: 65536}, {containerPort: 65535}, {containerPort: 1, protocol: tcp}",
            )],
            "tcp-65535",
        ),
    ] {
        let containers: Vec<&str> = containers.iter().map(String::as_str).collect();
        let mut scene = with_containers(&containers);
        scene.service = None;
        let plan = scene.plan();
        let [Action::CreateService(service)] = plan.actions.as_slice() else { panic!("{:?}", plan.actions) };
        let ports = service.spec.as_ref().unwrap().ports.clone();
        let shown: Vec<String> = ports.iter().flatten().map(|port| port.name.clone().unwrap()).collect();
        assert_eq!(shown.join(" "), expected, "{what}");
        assert_eq!(ports.is_none(), expected.is_empty(), "{what}");
        for port in ports.iter().flatten() {
            let (protocol, number) = port.name.as_deref().unwrap().split_once('-').unwrap();
            let number: i32 = number.parse().unwrap();
            let expected = ServicePort {
                name: port.name.clone(),
                port: number,
                protocol: Some(protocol.to_uppercase()),
                target_port: Some(k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(number)),
                ..ServicePort::default()
            };
            assert_eq!(*port, expected, "{what}");
        }
        // The Service of an earlier version has no ports. With the ports, it is settled.
        scene.service = Some(service_of("train"));
        let corrected = if expected.is_empty() {
            Vec::new()
        } else {
            vec![format!("set ports of Service train: {}", expected.replace(' ', ", "))]
        };
        assert_eq!(actions(&scene.plan()), corrected, "{what}");
        scene.service.as_mut().unwrap().ports = ports.iter().flatten().map(PortRecord::from).collect();
        assert_eq!(scene.plan().actions, [], "{what}");
    }
}

/// The controller corrects only the ports of the Service that it created, as a whole.
#[test]
fn the_ports_of_its_own_service_are_corrected() {
    let containers = "containers: [{name: c, ports: [{containerPort: 80}, {containerPort: 81}]}]";
    let corrected = vec!["set ports of Service train: tcp-80, tcp-81"];
    let (with, without) = (with_containers(&[containers]), with_containers(&["containers: [{name: c}]"]));
    for (what, scene, ports, expected) in [
        ("equal", &with, "[{name: tcp-80, port: 80, targetPort: 80}, {name: tcp-81, port: 81}]", vec![]),
        (
            "fields of other clients",
            &with,
            "[{name: tcp-80, port: 80, appProtocol: http, nodePort: 30080}, {name: tcp-81, port: 81}]",
            vec![],
        ),
        ("one is missing", &with, "[{name: tcp-80, port: 80}]", corrected.clone()),
        ("another name", &with, "[{name: http, port: 80}, {name: tcp-81, port: 81}]", corrected.clone()),
        (
            "another target",
            &with,
            "[{name: tcp-80, port: 80, targetPort: 8080}, {name: tcp-81, port: 81}]",
            corrected.clone(),
        ),
        (
            "another protocol",
            &with,
            "[{name: tcp-80, port: 80, protocol: UDP}, {name: tcp-81, port: 81}]",
            corrected.clone(),
        ),
        (
            "one is too many",
            &with,
            "[{name: tcp-80, port: 80}, {name: tcp-81, port: 81}, {name: x, port: 9}]",
            corrected.clone(),
        ),
        ("no port is wanted", &without, "[{name: x, port: 9}]", vec!["set ports of Service train: "]),
    ] {
        let ports: Vec<ServicePort> = serde_yaml::from_str(ports).unwrap();
        let ports: Vec<PortRecord> = ports.iter().map(PortRecord::from).collect();
        let mut scene = scene.clone();
        scene.service.as_mut().unwrap().ports = ports;
        assert_eq!(actions(&scene.plan()), expected, "{what}");
        assert_eq!(
            actions(&scene.clone().suspend(true).plan())[..expected.len()],
            expected,
            "{what}, suspended"
        );
        let service = scene.service.clone().unwrap();
        for (whose, service) in [
            (
                "another JobSet's",
                ServiceRecord { controller: service_of("other").controller, ..service.clone() },
            ),
            ("no controller's", ServiceRecord { controller: None, ..service.clone() }),
            ("deleted", ServiceRecord { will_be_deleted: true, ..service.clone() }),
            ("not headless", ServiceRecord { headless: false, ..service }),
        ] {
            scene.service = Some(service);
            assert_eq!(scene.plan().actions, [], "{what}, {whose}");
        }
    }
    // Pods without host names need no Service.
    let mut nameless = with;
    nameless.jobset.spec.network.get_or_insert_default().enable_dns_hostnames = Some(false);
    assert_eq!(nameless.plan().actions, []);
}
