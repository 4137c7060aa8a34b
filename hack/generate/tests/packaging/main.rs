//! Tests of the committed `manifests/`, `deploy/` and `bundle/`: the names that documents and tools use, the RBAC
//! rules, and the requirements of OLM.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod bundle;
mod descriptors;

use jobset_operator::rbac::{self, Rule};
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs};

fn text(path: &str) -> String {
    fs::read_to_string(format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn documents(path: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(&text(path))
        .map(|document| Value::deserialize(document).unwrap())
        .collect()
}

/// The objects of a kustomization, by kind and name.
fn kustomization(folder: &str) -> BTreeMap<(String, String), Value> {
    let resources = documents(&format!("{folder}/kustomization.yaml")).remove(0)["resources"].take();
    resources
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|file| documents(&format!("{folder}/{}", file.as_str().unwrap())))
        .map(|object| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            ((text(&object["kind"]), text(&object["metadata"]["name"])), object)
        })
        .collect()
}

fn get<'a>(objects: &'a BTreeMap<(String, String), Value>, kind: &str, name: &str) -> &'a Value {
    objects.get(&(kind.to_owned(), name.to_owned())).unwrap_or_else(|| panic!("no {kind} {name}"))
}

fn csv() -> Value {
    documents("bundle/manifests/jobset-operator.clusterserviceversion.yaml").remove(0)
}

fn policy(rules: &[Rule]) -> Value {
    json!(rules.iter().map(PolicyRule::from).collect::<Vec<_>>())
}

fn pod_specs() -> Vec<(String, Value)> {
    let mut specs: Vec<_> = ["manifests", "deploy"]
        .into_iter()
        .flat_map(kustomization)
        .filter(|((kind, _), _)| kind == "Deployment")
        .map(|((_, name), object)| (name, object["spec"]["template"]["spec"].clone()))
        .collect();
    for deployment in csv()["spec"]["install"]["spec"]["deployments"].as_array().unwrap() {
        specs.push((format!("csv {}", deployment["name"]), deployment["spec"]["template"]["spec"].clone()));
    }
    specs
}

#[test]
fn manifests_use_the_names_of_upstream() {
    let objects = kustomization("manifests");
    for (kind, name) in [
        ("Namespace", "jobset-system"),
        ("CustomResourceDefinition", "jobsets.jobset.x-k8s.io"),
        ("ServiceAccount", "jobset-controller-manager"),
        ("ClusterRole", "jobset-manager-role"),
        ("ClusterRole", "jobset-metrics-reader"),
        ("ClusterRole", "jobset-proxy-role"),
        ("ClusterRoleBinding", "jobset-manager-rolebinding"),
        ("Role", "jobset-leader-election-role"),
        ("RoleBinding", "jobset-leader-election-rolebinding"),
        ("ClusterRole", "jobset-editor"),
        ("ClusterRole", "jobset-viewer"),
        ("ConfigMap", "jobset-manager-config"),
        ("Service", "jobset-webhook-service"),
        ("Service", "jobset-controller-manager-metrics-service"),
        ("Deployment", "jobset-controller-manager"),
        ("MutatingWebhookConfiguration", "jobset-mutating-webhook-configuration"),
        ("ValidatingWebhookConfiguration", "jobset-validating-webhook-configuration"),
    ] {
        get(&objects, kind, name);
    }
    assert!(objects.keys().all(|(kind, _)| kind != "JobSetOperator"));
    assert_eq!(
        get(&objects, "Namespace", "jobset-system")["metadata"]["labels"]["control-plane"],
        "controller-manager"
    );
    for ((kind, name), object) in &objects {
        let namespace = &object["metadata"]["namespace"];
        let is_in_namespace = !kind.starts_with("Cluster")
            && !kind.ends_with("WebhookConfiguration")
            && !["Namespace", "CustomResourceDefinition"].contains(&kind.as_str());
        assert_eq!(
            *namespace,
            if is_in_namespace { json!("jobset-system") } else { Value::Null },
            "{kind} {name}"
        );
        assert_eq!(object["metadata"]["ownerReferences"], Value::Null, "{kind} {name}");
        for subject in object["subjects"].as_array().into_iter().flatten() {
            assert_eq!(
                *subject,
                json!({"kind": "ServiceAccount", "name": "jobset-controller-manager", "namespace": "jobset-system"})
            );
        }
    }
}

/// A Deployment's selector cannot change: with another one, the manifests could not replace those of upstream.
#[test]
fn manifests_select_the_pods_as_upstream_does() {
    let objects = kustomization("manifests");
    let spec = &get(&objects, "Deployment", "jobset-controller-manager")["spec"];
    let labels = json!({
        "app.kubernetes.io/instance": "jobset",
        "app.kubernetes.io/managed-by": "kustomize",
        "app.kubernetes.io/name": "jobset",
        "control-plane": "controller-manager",
    });
    assert_eq!(spec["selector"], json!({ "matchLabels": labels }));
    assert_eq!(spec["template"]["metadata"]["labels"], labels);
}

/// `kubectl delete -k manifests/controller` must not delete the JobSet CRD, and with it every JobSet.
#[test]
fn the_controller_can_be_uninstalled_without_the_api() {
    let mut all = kustomization("manifests");
    let controller = kustomization("manifests/controller");
    let crd = ("CustomResourceDefinition".to_owned(), "jobsets.jobset.x-k8s.io".to_owned());
    assert!(all.remove(&crd).is_some());
    assert_eq!(all, controller);
}

#[test]
fn services_select_the_pods_and_webhooks_use_the_service() {
    let objects = kustomization("manifests");
    let deployment = get(&objects, "Deployment", "jobset-controller-manager");
    let labels = deployment["spec"]["template"]["metadata"]["labels"].as_object().unwrap();
    assert_eq!(labels["control-plane"], "controller-manager");
    for service in ["jobset-webhook-service", "jobset-controller-manager-metrics-service"] {
        let selector = get(&objects, "Service", service)["spec"]["selector"].as_object().unwrap();
        assert!(
            selector.iter().all(|(key, value)| labels.get(key) == Some(value)),
            "{service}: {selector:?}"
        );
    }
    let mut paths = Vec::new();
    for (kind, name) in [
        ("MutatingWebhookConfiguration", "jobset-mutating-webhook-configuration"),
        ("ValidatingWebhookConfiguration", "jobset-validating-webhook-configuration"),
    ] {
        let configuration = get(&objects, kind, name);
        for webhook in configuration["webhooks"].as_array().unwrap() {
            let service = &webhook["clientConfig"]["service"];
            assert_eq!(
                (&service["name"], &service["namespace"]),
                (&json!("jobset-webhook-service"), &json!("jobset-system"))
            );
            paths.push(service["path"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(
        paths,
        [
            "/mutate-jobset-x-k8s-io-v1alpha2-jobset",
            "/mutate--v1-pod",
            "/validate-jobset-x-k8s-io-v1alpha2-jobset",
            "/validate--v1-pod",
        ]
    );
}

#[test]
fn deploy_contains_every_object_of_the_operator() {
    let objects = kustomization("deploy");
    get(&objects, "CustomResourceDefinition", "jobsetoperators.operator.openshift.io");
    let namespace = get(&objects, "Namespace", "openshift-jobset-operator");
    assert_eq!(namespace["metadata"]["labels"]["openshift.io/cluster-monitoring"], "true");
    get(&objects, "ServiceAccount", "jobset-operator");
    assert_eq!(
        get(&objects, "ClusterRole", "jobset-operator")["rules"],
        policy(&rbac::operator_cluster_rules())
    );
    assert_eq!(get(&objects, "Role", "jobset-operator")["rules"], policy(&rbac::operator_rules()));
    let deployment = get(&objects, "Deployment", "jobset-operator");
    assert_eq!(deployment["spec"]["selector"]["matchLabels"], json!({"name": "jobset-operator"}));
    assert_eq!(deployment["spec"]["template"]["metadata"]["labels"]["name"], "jobset-operator");
    assert_eq!(deployment["spec"]["replicas"], 1);
    let annotations = &deployment["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(annotations["openshift.io/required-scc"], Value::Null, "only on OpenShift");
    // Users create the JobSetOperator with a second command, because the API server does not serve a new API at once.
    assert!(objects.keys().all(|(kind, _)| kind != "JobSetOperator"));
    assert_eq!(documents("deploy/cluster.yaml")[0]["metadata"]["name"], "cluster");
}

#[test]
fn every_rbac_rule_has_a_reason() {
    for path in ["deploy/03_clusterrole.yaml", "deploy/05_role.yaml", "manifests/controller/rbac.yaml"] {
        let text = text(path);
        let lines: Vec<_> = text.lines().collect();
        let rules: Vec<_> = (1..lines.len())
            .filter(|&line| {
                lines[line].starts_with("- apiGroups") || lines[line].starts_with("- nonResourceURLs")
            })
            .collect();
        assert!(!rules.is_empty(), "{path}");
        for line in rules {
            assert!(lines[line - 1].starts_with("# "), "{path}: line {} has no reason", line + 1);
        }
    }
}

/// Some clusters admit pods of a critical priority only where a quota permits them.
#[test]
fn namespaces_have_a_quota_for_the_priority_of_their_pods() {
    for (folder, namespace, deployment) in [
        ("deploy", "openshift-jobset-operator", "jobset-operator"),
        ("manifests", "jobset-system", "jobset-controller-manager"),
    ] {
        let objects = kustomization(folder);
        let quota = get(&objects, "ResourceQuota", "jobset-critical-pods");
        assert_eq!(quota["metadata"]["namespace"], namespace);
        let class = &get(&objects, "Deployment", deployment)["spec"]["template"]["spec"]["priorityClassName"];
        assert_eq!(quota["spec"]["scopeSelector"]["matchExpressions"][0]["values"], json!([class]));
        assert_eq!(*class, "system-cluster-critical");
    }
}

#[test]
fn pods_are_restricted_and_have_requests_and_probes() {
    let specs = pod_specs();
    assert_eq!(specs.len(), 3);
    for (name, pod) in specs {
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{name}");
        let containers = pod["containers"].as_array().unwrap();
        assert_eq!(containers.len(), 1, "{name}: the documents show READY 1/1");
        for container in containers {
            for resource in ["cpu", "memory"] {
                assert!(
                    container["resources"]["requests"][resource].is_string(),
                    "{name}: no {resource} request"
                );
            }
            let security = &container["securityContext"];
            assert_eq!(security["allowPrivilegeEscalation"], false, "{name}");
            assert_eq!(security["readOnlyRootFilesystem"], true, "{name}");
            assert_eq!(security["capabilities"]["drop"], json!(["ALL"]), "{name}");
            for probe in ["livenessProbe", "readinessProbe"] {
                assert!(container[probe].is_object(), "{name}: no {probe}");
            }
        }
    }
}

#[test]
fn all_copies_of_the_operator_crd_are_equal() {
    let crd = text("manifests/crds/operator.openshift.io_jobsetoperators.yaml");
    assert_eq!(crd, text("deploy/00_customresourcedefinition.yaml"));
    assert_eq!(crd, text("bundle/manifests/operator.openshift.io_jobsetoperators.yaml"));
    assert_eq!(crd, text("manifests/charts/jobset-operator/objects/customresourcedefinition.yaml"));
}

/// Equal files are stored once in git.
#[test]
fn the_chart_contains_the_jobset_crd() {
    let crd = text("manifests/crds/jobset.x-k8s.io_jobsets.yaml");
    assert_eq!(crd, text("manifests/charts/jobset/objects/customresourcedefinition.yaml"));
}

/// The charts have the version of the programs, and their image.
#[test]
fn the_charts_have_the_version_and_the_image() {
    let operator = get(&kustomization("deploy"), "Deployment", "jobset-operator").clone();
    for chart in ["jobset", "jobset-operator"] {
        let metadata = documents(&format!("manifests/charts/{chart}/Chart.yaml")).remove(0);
        assert_eq!(metadata["name"], chart);
        assert_eq!(metadata["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(metadata["appVersion"], env!("CARGO_PKG_VERSION"));
        let image = documents(&format!("manifests/charts/{chart}/values.yaml")).remove(0)["image"].take();
        let part = |name: &str| image[name].as_str().unwrap().to_owned();
        let reference = match part("digest").as_str() {
            "" => format!("{}:{}", part("repository"), part("tag")),
            digest => format!("{}@{digest}", part("repository")),
        };
        assert_eq!(operator["spec"]["template"]["spec"]["containers"][0]["image"], reference);
    }
}
