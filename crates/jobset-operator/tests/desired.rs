//! Compares the desired objects with reviewed golden files. `UPDATE_GOLDEN=1 cargo test` rewrites the files.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use jobset_api::jobset_operator::{
    ControllerClientConnection, ControllerResources, ControllerSpec, PrometheusServer,
};
use jobset_operator::desired::{
    CertificateHashes, Certificates, Console, Inputs, ManagedBy, Monitoring, OperandLogLevel, Provider,
    objects, tls_profile,
};
use jobset_operator::observe::facts::ProxySettings;
use jobset_operator::{OperatorInputs, operator_objects};
use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::DynamicObject;
use serde_json::json;
use std::collections::BTreeMap;

/// Inputs of the operator. Every name and hash differs, so that the test detects swapped ones.
fn managed() -> Inputs {
    Inputs {
        owner: Some(OwnerReference {
            api_version: "operator.openshift.io/v1".into(),
            kind: "JobSetOperator".into(),
            name: "cluster".into(),
            uid: "uid-of-owner".into(),
            ..OwnerReference::default()
        }),
        managed_by: ManagedBy::Operator,
        log_level: OperandLogLevel::Debug,
        certificates: Certificates::Operator {
            issuers: true,
            serving: Provider::CertManager,
            ca_bundle: "bundle of CAs".into(),
        },
        certificate_hashes: CertificateHashes {
            webhook: Some("hash-of-webhook-cert".into()),
            metrics: Some("hash-of-metrics-cert".into()),
        },
        openshift: true,
        monitoring: Monitoring {
            service_monitor: true,
            prometheus_rule: true,
            prometheus: [("ns-of-prometheus", "account-of-prometheus"), ("other-ns", "other-account")]
                .map(|(namespace, service_account)| PrometheusServer {
                    namespace: namespace.into(),
                    service_account: service_account.into(),
                })
                .into(),
            runbooks: "https://runbooks.example/jobset".into(),
        },
        console: Console { quick_starts: true, yaml_samples: true, dashboards: true },
        replicas: 2,
        ..Inputs::plain("ns-of-operand", "registry.example/operand@sha256:0123")
    }
}

/// Inputs with all settings of an administrator and of an OpenShift cluster, and with certificates of the operator.
fn tuned() -> Inputs {
    let quantities = |all: &[(&str, &str)]| {
        all.iter().map(|(name, value)| ((*name).to_owned(), Quantity((*value).to_owned()))).collect()
    };
    Inputs {
        certificates: Certificates::Operator {
            issuers: false,
            serving: Provider::BuiltIn,
            ca_bundle: "bundle of CAs".into(),
        },
        openshift: false,
        monitoring: Monitoring { prometheus: Vec::new(), ..managed().monitoring },
        replicas: 3,
        controller: ControllerSpec {
            replicas: Some(3),
            resources: Some(ControllerResources {
                requests: quantities(&[("cpu", "250m"), ("memory", "1Gi")]),
                limits: quantities(&[("memory", "4Gi")]),
            }),
            node_selector: [("kind-of-node".to_owned(), "infra".to_owned())].into(),
            tolerations: vec![Toleration {
                key: Some("taint".into()),
                operator: Some("Exists".into()),
                ..Toleration::default()
            }],
            priority_class_name: Some("urgent".into()),
            feature_gates: [("InPlaceRestart".to_owned(), true)].into(),
            client_connection: Some(ControllerClientConnection { qps: Some(50), burst: Some(100) }),
        },
        tls: Some(tls_profile::intermediate()),
        proxy: ProxySettings {
            http_proxy: "http://proxy.example:3128".into(),
            https_proxy: String::new(),
            no_proxy: ".svc,10.0.0.0/8".into(),
        },
        config_overrides: Some(json!({"webhook": {"port": 9444}})),
        ..managed()
    }
}

/// Inputs of the generated manifests for plain Kubernetes.
fn plain() -> Inputs {
    Inputs::plain("jobset-system", "registry.example/operand@sha256:0123")
}

fn kind(object: &DynamicObject) -> &str {
    &object.types.as_ref().unwrap().kind
}

fn name(object: &DynamicObject) -> &str {
    object.metadata.name.as_deref().unwrap()
}

/// Compares with a golden file. The JobSet CRD is excluded, because it is a generated file itself.
fn compare(file: &str, objects: &[DynamicObject]) {
    let objects = objects.iter().filter(|object| kind(object) != "CustomResourceDefinition");
    let text =
        objects.fold(String::new(), |text, object| text + "---\n" + &serde_yaml::to_string(object).unwrap());
    let path = format!("{}/tests/golden/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    for (number, (actual, expected)) in text.lines().zip(golden.lines()).enumerate() {
        assert_eq!(actual, expected, "{path}:{}", number + 1);
    }
    assert_eq!(text.lines().count(), golden.lines().count(), "{path}");
}

#[test]
fn managed_objects_match_the_golden_file() {
    compare("managed.yaml", &objects(&managed()).unwrap());
}

#[test]
fn tuned_objects_match_the_golden_file() {
    compare("tuned.yaml", &objects(&tuned()).unwrap());
}

#[test]
fn plain_objects_match_the_golden_file() {
    compare("plain.yaml", &objects(&plain()).unwrap());
}

#[test]
fn operator_objects_match_the_golden_file() {
    let inputs = OperatorInputs {
        namespace: "ns-of-operator".into(),
        operator_image: "registry.example/operator:v1".into(),
        operand_image: "registry.example/operand:v2".into(),
        openshift: true,
    };
    compare("operator.yaml", &operator_objects(&inputs).unwrap());
}

/// The objects of these inputs as JSON text, by kind and name.
fn texts(inputs: &Inputs) -> BTreeMap<String, String> {
    objects(inputs)
        .unwrap()
        .iter()
        .filter(|object| kind(object) != "CustomResourceDefinition")
        .map(|object| (format!("{}/{}", kind(object), name(object)), serde_json::to_string(object).unwrap()))
        .collect()
}

#[test]
fn only_an_operand_that_issues_its_certificates_gets_the_rights_for_it() {
    let needed = |texts: &BTreeMap<String, String>| {
        (
            texts["ClusterRole/jobset-manager-role"].contains("webhookconfigurations"),
            texts.contains_key("Role/jobset-manager-secrets-role"),
            texts.contains_key("RoleBinding/jobset-manager-secrets-rolebinding"),
            texts.iter().any(|(key, text)| key.contains("Role/") && text.contains("\"secrets\"")),
        )
    };
    assert_eq!(needed(&texts(&plain())), (true, true, true, true));
    assert_eq!(needed(&texts(&managed())), (false, false, false, false));
    assert_eq!(needed(&texts(&tuned())), (false, false, false, false));
}

#[test]
fn each_prometheus_server_gets_access_and_permissions() {
    let all = texts(&managed());
    for object in [
        "NetworkPolicy/jobset-controller-manager",
        "NetworkPolicy/jobset-operator",
        "RoleBinding/jobset-prometheus-k8s",
        "ClusterRoleBinding/jobset-metrics-reader-rolebinding",
    ] {
        for namespace in ["ns-of-prometheus", "other-ns"] {
            assert!(all[object].contains(&format!("\"{namespace}\"")), "{object}: {namespace}");
        }
    }
    assert!(!all["Role/jobset-prometheus-k8s"].contains("ingresses"));

    // Without monitoring API, the policies name the servers, and the roles do not.
    let unserved = Monitoring { service_monitor: false, ..managed().monitoring };
    let unserved = texts(&Inputs { monitoring: unserved, ..managed() });
    assert!(unserved["NetworkPolicy/jobset-operator"].contains("ns-of-prometheus"));
    assert!(!unserved.contains_key("RoleBinding/jobset-prometheus-k8s"));

    // An administrator can name none.
    let none = texts(&tuned());
    assert!(!none.contains_key("Role/jobset-prometheus-k8s"));
    for policy in ["NetworkPolicy/jobset-controller-manager", "NetworkPolicy/jobset-operator"] {
        assert!(!none[policy].contains("kubernetes.io/metadata.name"), "{policy}");
    }
}

#[test]
fn only_pods_on_openshift_require_a_security_context_constraint() {
    let requires = |inputs: &Inputs| {
        texts(inputs)["Deployment/jobset-controller-manager"].contains("openshift.io/required-scc")
    };
    assert!(requires(&managed()));
    assert!(!requires(&Inputs { openshift: false, ..managed() }));
    assert!(!requires(&plain()));
}

#[test]
fn pods_have_a_high_priority_unless_the_administrator_sets_another() {
    for (set, expected) in
        [(None, Some("system-cluster-critical")), (Some("urgent"), Some("urgent")), (Some(""), None)]
    {
        let controller =
            ControllerSpec { priority_class_name: set.map(str::to_owned), ..ControllerSpec::default() };
        let all = objects(&Inputs { controller, ..managed() }).unwrap();
        let deployment = all.iter().find(|object| kind(object) == "Deployment").unwrap();
        let class = &deployment.data["spec"]["template"]["spec"]["priorityClassName"];
        assert_eq!(class.as_str(), expected, "{set:?}");
    }
}

#[test]
fn every_object_except_the_crd_has_an_owner_and_does_not_block_its_deletion() {
    for object in objects(&managed()).unwrap() {
        let owners = object.metadata.owner_references.clone().unwrap_or_default();
        if kind(&object) == "CustomResourceDefinition" {
            assert!(owners.is_empty(), "the CRD must outlive its owner");
            continue;
        }
        assert_eq!(owners.len(), 1, "{}", name(&object));
        assert_eq!(owners[0].uid, "uid-of-owner");
        assert_eq!((owners[0].controller, owners[0].block_owner_deletion), (None, None), "{}", name(&object));
    }
}

#[test]
fn objects_follow_the_objects_that_they_need() {
    let all = objects(&managed()).unwrap();
    let position = |expected: &str, called: &str| {
        all.iter().position(|object| kind(object) == expected && name(object) == called).unwrap()
    };
    let deployment = position("Deployment", "jobset-controller-manager");
    for (kind, name) in [
        ("ServiceAccount", "jobset-controller-manager"),
        ("ClusterRoleBinding", "jobset-manager-rolebinding"),
        ("ConfigMap", "jobset-manager-config"),
        ("Certificate", "jobset-serving-cert"),
        ("CustomResourceDefinition", "jobsets.jobset.x-k8s.io"),
    ] {
        assert!(position(kind, name) < deployment, "{kind}/{name}");
    }
    assert!(position("Issuer", "jobset-selfsigned-issuer") < position("Certificate", "jobset-root-ca"));
    assert!(
        position("ClusterRole", "jobset-manager-role")
            < position("ClusterRoleBinding", "jobset-manager-rolebinding")
    );
    assert!(
        deployment < position("ValidatingWebhookConfiguration", "jobset-validating-webhook-configuration")
    );
    assert!(deployment < position("NetworkPolicy", "jobset-controller-manager"));
    // Objects of optional APIs are last.
    assert_eq!(position("ServiceMonitor", "jobset-controller-manager-metrics-monitor"), all.len() - 4);
    assert_eq!(position("PrometheusRule", "jobset-controller-manager-alerts"), all.len() - 1);
}

#[test]
fn the_operator_may_write_every_object_by_name() {
    use jobset_operator::rbac::{operator_cluster_rules, operator_rules};
    for object in objects(&managed()).unwrap().into_iter().chain(objects(&tuned()).unwrap()) {
        let types = object.types.clone().unwrap();
        let group = types.api_version.rsplit_once('/').map_or("", |(group, _)| group).to_owned();
        let plural =
            kube::api::ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(&group, "", &types.kind))
                .plural;
        let rules = if object.metadata.namespace.as_deref() == Some("ns-of-operand") {
            operator_rules()
        } else {
            operator_cluster_rules()
        };
        for verb in ["create", "delete", "get", "patch"] {
            let granted = rules.iter().any(|rule| {
                rule.groups.contains(&group.as_str())
                    && rule.resources.contains(&plural.as_str())
                    && rule.names.contains(&name(&object))
                    && rule.verbs.contains(&verb)
            });
            assert!(granted, "{verb} {plural}.{group}/{}", name(&object));
        }
    }
}

#[test]
fn a_changed_configuration_or_certificate_changes_the_pods() {
    let pods = |inputs: &Inputs| {
        let all = objects(inputs).unwrap();
        let deployment = all.iter().find(|object| kind(object) == "Deployment").unwrap();
        deployment.data["spec"]["template"].clone()
    };
    let before = pods(&managed());
    assert_eq!(before, pods(&managed()));
    let hashes = |webhook: &str, metrics: &str| CertificateHashes {
        webhook: Some(webhook.into()),
        metrics: Some(metrics.into()),
    };
    for changed in [
        Inputs { certificate_hashes: hashes("other", "hash-of-metrics-cert"), ..managed() },
        Inputs { certificate_hashes: hashes("hash-of-webhook-cert", "other"), ..managed() },
        Inputs { certificates: Certificates::Internal, ..managed() },
        Inputs { certificates: tuned().certificates, ..managed() },
        Inputs { controller: tuned().controller, ..managed() },
        Inputs { tls: tuned().tls, ..managed() },
        Inputs { proxy: tuned().proxy, ..managed() },
        Inputs { config_overrides: tuned().config_overrides, ..managed() },
        Inputs { log_level: OperandLogLevel::Info, ..managed() },
        Inputs { operand_image: "registry.example/operand:next".into(), ..managed() },
    ] {
        assert_ne!(before, pods(&changed), "{changed:?}");
    }
}

#[test]
fn the_role_of_the_operand_follows_the_gate_of_gang_scheduling() {
    const GATE: &str = "JobSetWorkloadAwareSchedulingAPI";
    let gates = |gates: &[(&str, bool)]| {
        let mut inputs = managed();
        inputs.controller.feature_gates = gates.iter().map(|(name, on)| ((*name).to_owned(), *on)).collect();
        inputs
    };
    let overridden = |on: bool| Some(json!({"featureGates": {GATE: on}}));
    for (inputs, expected) in [
        (gates(&[]), false),
        (gates(&[(GATE, true)]), true),
        (gates(&[(GATE, false)]), false),
        (gates(&[("AllAlpha", true)]), true),
        (gates(&[("AllAlpha", true), (GATE, false)]), false),
        (Inputs { config_overrides: overridden(true), ..managed() }, true),
        (Inputs { config_overrides: overridden(false), ..gates(&[(GATE, true)]) }, false),
        // No operator follows the gate that an administrator sets in the ConfigMap.
        (plain(), true),
    ] {
        let all = objects(&inputs).unwrap();
        let role = all.iter().find(|object| name(object) == "jobset-manager-role").unwrap();
        let rules = role.data["rules"].as_array().unwrap();
        let granted = rules.iter().any(|rule| rule["apiGroups"] == json!(["scheduling.k8s.io"]));
        assert_eq!(granted, expected, "{:?} {:?}", inputs.controller.feature_gates, inputs.config_overrides);
    }
}
