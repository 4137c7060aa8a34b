//! The desired objects, compared with files that a person reviewed. `UPDATE_GOLDEN=1 cargo test` rewrites them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use jobset_operator::desired::{
    CertificateHashes, Certificates, Inputs, ManagedBy, OperandLogLevel, objects,
};
use jobset_operator::{OperatorInputs, operator_objects};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::DynamicObject;

/// As the operator applies them. Every name and hash differs, so that a swapped one shows.
fn managed() -> Inputs {
    Inputs {
        namespace: "ns-of-operand".into(),
        operand_image: "registry.example/operand@sha256:0123".into(),
        owner: Some(OwnerReference {
            api_version: "operator.openshift.io/v1".into(),
            kind: "JobSetOperator".into(),
            name: "cluster".into(),
            uid: "uid-of-owner".into(),
            ..OwnerReference::default()
        }),
        managed_by: ManagedBy::Operator,
        log_level: OperandLogLevel::Debug,
        certificates: Certificates::CertManager,
        monitoring_available: true,
        replicas: 2,
        certificate_hashes: CertificateHashes {
            webhook: Some("hash-of-webhook-cert".into()),
            metrics: Some("hash-of-metrics-cert".into()),
        },
    }
}

/// As they are generated for plain Kubernetes.
fn plain() -> Inputs {
    Inputs {
        owner: None,
        managed_by: ManagedBy::Kustomize,
        namespace: "jobset-system".into(),
        log_level: OperandLogLevel::Info,
        monitoring_available: false,
        replicas: 1,
        certificate_hashes: CertificateHashes::default(),
        ..managed()
    }
}

fn kind(object: &DynamicObject) -> &str {
    &object.types.as_ref().unwrap().kind
}

fn name(object: &DynamicObject) -> &str {
    object.metadata.name.as_deref().unwrap()
}

/// Compares with a golden file. The JobSet CRD is left out: it is a generated file of its own.
fn compare(file: &str, objects: &[DynamicObject]) {
    let objects = objects.iter().filter(|object| kind(object) != "CustomResourceDefinition");
    let text =
        objects.fold(String::new(), |text, object| text + "---\n" + &serde_yaml::to_string(object).unwrap());
    let path = format!("{}/tests/golden/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    for (number, (got, wanted)) in text.lines().zip(golden.lines()).enumerate() {
        assert_eq!(got, wanted, "{path}:{}", number + 1);
    }
    assert_eq!(text.lines().count(), golden.lines().count(), "{path}");
}

#[test]
fn managed_objects() {
    compare("managed.yaml", &objects(&managed()).unwrap());
}

#[test]
fn plain_objects() {
    compare("plain.yaml", &objects(&plain()).unwrap());
}

#[test]
fn objects_with_internal_certificates() {
    let all = objects(&Inputs { certificates: Certificates::Internal, ..plain() }).unwrap();
    compare("internal-certificates.yaml", &all);
}

#[test]
fn objects_of_the_operator() {
    let inputs = OperatorInputs {
        namespace: "ns-of-operator".into(),
        operator_image: "registry.example/operator:v1".into(),
        operand_image: "registry.example/operand:v2".into(),
    };
    compare("operator.yaml", &operator_objects(&inputs).unwrap());
}

#[test]
fn everything_is_owned_but_the_crd_and_nothing_blocks_the_owner() {
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
fn what_an_object_needs_stands_before_it() {
    let all = objects(&managed()).unwrap();
    let position = |wanted: &str, called: &str| {
        all.iter().position(|object| kind(object) == wanted && name(object) == called).unwrap()
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
    assert_eq!(position("ServiceMonitor", "jobset-controller-manager-metrics-monitor"), all.len() - 1);
}

#[test]
fn every_object_that_can_be_written_is_granted_by_name() {
    use jobset_operator::rbac::{operator_cluster_rules, operator_rules};
    for object in objects(&managed()).unwrap() {
        let types = object.types.clone().unwrap();
        let group = types.api_version.rsplit_once('/').map_or("", |(group, _)| group).to_owned();
        let plural =
            kube::api::ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(&group, "", &types.kind))
                .plural;
        let rules =
            if object.metadata.namespace.is_some() { operator_rules() } else { operator_cluster_rules() };
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
        Inputs { log_level: OperandLogLevel::Info, ..managed() },
        Inputs { operand_image: "registry.example/operand:next".into(), ..managed() },
    ] {
        assert_ne!(before, pods(&changed), "{changed:?}");
    }
}
