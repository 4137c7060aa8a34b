//! Facts of the two APIs, checked in the CRDs as they are committed. Each row is a promise to clients: typed
//! clients, `kubectl`, server-side apply, Kueue and Kubeflow Trainer rely on it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use serde_json::{Value, json};
use std::fs;

fn crd(file: &str) -> Value {
    let path = format!("{}/../../manifests/crds/{file}", env!("CARGO_MANIFEST_DIR"));
    serde_yaml::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn jobset() -> Value {
    crd("jobset.x-k8s.io_jobsets.yaml")
}

fn operator() -> Value {
    crd("operator.openshift.io_jobsetoperators.yaml")
}

fn schema(crd: &Value) -> &Value {
    &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

/// The schema at a path such as `spec.replicatedJobs[].name`; `{}` stands for the values of a map.
fn at<'a>(crd: &'a Value, path: &str) -> &'a Value {
    let mut node = schema(crd);
    for field in path.split('.').filter(|field| !field.is_empty()) {
        let name = field.trim_end_matches("[]").trim_end_matches("{}");
        node = &node["properties"][name];
        assert!(node.is_object(), "{path}: no field {name}");
        if field.ends_with("[]") {
            node = &node["items"];
        }
        if field.ends_with("{}") {
            node = &node["additionalProperties"];
        }
    }
    node
}

/// Every path of a schema, with its node.
fn visit<'a>(node: &'a Value, path: &str, seen: &mut Vec<(String, &'a Value)>) {
    seen.push((path.to_owned(), node));
    for (name, child) in node["properties"].as_object().into_iter().flatten() {
        visit(child, &format!("{path}.{name}"), seen);
    }
    for (keyword, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
        if node[keyword].is_object() {
            visit(&node[keyword], &format!("{path}{suffix}"), seen);
        }
    }
}

fn all(crd: &Value) -> Vec<(String, &Value)> {
    let mut seen = Vec::new();
    visit(schema(crd), "", &mut seen);
    seen
}

const POD: &str = "spec.replicatedJobs[].template.spec.template.spec";
const IMMUTABLE: &str = "Value is immutable";

#[test]
fn jobset_is_identified() {
    let crd = jobset();
    assert_eq!(crd["metadata"]["name"], "jobsets.jobset.x-k8s.io");
    assert_eq!(crd["spec"]["group"], "jobset.x-k8s.io");
    assert_eq!(crd["spec"]["scope"], "Namespaced");
    assert_eq!(
        crd["spec"]["names"],
        json!({"kind": "JobSet", "listKind": "JobSetList", "plural": "jobsets", "singular": "jobset"})
    );
    assert_eq!(crd["spec"]["versions"].as_array().unwrap().len(), 1);
    let version = &crd["spec"]["versions"][0];
    assert_eq!(
        (&version["name"], &version["served"], &version["storage"]),
        (&json!("v1alpha2"), &json!(true), &json!(true))
    );
    assert_eq!(version["subresources"], json!({"status": {}}));
    assert_eq!(crd["spec"]["conversion"], Value::Null);
    assert_eq!(schema(&crd)["required"], Value::Null, "a JobSet without spec is valid");
}

#[test]
fn jobset_has_five_columns() {
    let crd = jobset();
    let columns: Vec<_> = crd["spec"]["versions"][0]["additionalPrinterColumns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| {
            ["name", "type", "jsonPath", "description"].map(|key| column[key].as_str().unwrap_or(""))
        })
        .collect();
    assert_eq!(
        columns,
        [
            ["TerminalState", "string", ".status.terminalState", "Final state of JobSet"],
            ["Restarts", "string", ".status.restarts", "Number of restarts"],
            ["Completed", "string", ".status.conditions[?(@.type==\"Completed\")].status", ""],
            ["Suspended", "string", ".spec.suspend", "JobSet suspended"],
            ["Age", "date", ".metadata.creationTimestamp", "Time this JobSet was created"],
        ]
    );
}

#[test]
fn jobset_keywords() {
    let rows = [
        // defaults
        ("spec.replicatedJobs[].groupName", "default", json!("default")),
        ("spec.replicatedJobs[].replicas", "default", json!(1)),
        ("spec.failurePolicy.restartStrategy", "default", json!("Recreate")),
        ("spec.volumeClaimPolicies[].retentionPolicy.whenDeleted", "default", json!("Delete")),
        // enums
        ("spec.successPolicy.operator", "enum", json!(["All", "Any"])),
        ("spec.startupPolicy.startupPolicyOrder", "enum", json!(["AnyOrder", "InOrder"])),
        (
            "spec.failurePolicy.restartStrategy",
            "enum",
            json!(["Recreate", "BlockingRecreate", "InPlaceRestart"]),
        ),
        (
            "spec.failurePolicy.rules[].action",
            "enum",
            json!([
                "FailJobSet",
                "RestartJobSet",
                "RestartJobSetAndIgnoreMaxRestarts",
                "RestartJob",
                "RestartJobAndIgnoreMaxRestarts",
            ]),
        ),
        ("spec.replicatedJobs[].dependsOn[].status", "enum", json!(["Ready", "Complete"])),
        ("spec.volumeClaimPolicies[].retentionPolicy.whenDeleted", "enum", json!(["Delete", "Retain"])),
        ("status.conditions[].status", "enum", json!(["True", "False", "Unknown"])),
        // limits
        ("spec.ttlSecondsAfterFinished", "minimum", json!(0)),
        ("spec.replicatedJobs[].replicas", "minimum", json!(0)),
        ("spec.replicatedJobs[].dependsOn", "maxItems", json!(5)),
        ("spec.volumeClaimPolicies", "maxItems", json!(50)),
        ("spec.volumeClaimPolicies[].templates", "maxItems", json!(50)),
        ("status.previousInPlaceRestartAttempt", "minimum", json!(0)),
        ("status.currentInPlaceRestartAttempt", "minimum", json!(0)),
        ("status.replicatedJobsStatus[].jobRestarts", "maxItems", json!(1024)),
        ("status.replicatedJobsStatus[].jobRestartsCountTowardsMax", "maxItems", json!(1024)),
        ("status.conditions[].message", "maxLength", json!(32768)),
        ("status.conditions[].reason", "pattern", json!("^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")),
        ("status.conditions[].observedGeneration", "minimum", json!(0)),
        // formats
        ("spec.failurePolicy.maxRestarts", "format", json!("int32")),
        ("spec.coordinator.jobIndex", "format", Value::Null),
        ("spec.coordinator.podIndex", "format", Value::Null),
        ("status.conditions[].lastTransitionTime", "format", json!("date-time")),
        // absent on purpose
        ("spec.failurePolicy.maxRestarts", "minimum", Value::Null),
        ("spec.failurePolicy.maxRestarts", "default", Value::Null),
        ("spec.failurePolicy.rules", "x-kubernetes-list-type", Value::Null),
        ("spec.failurePolicy.rules", "maxItems", Value::Null),
        ("spec.failurePolicy.rules[].onJobFailureReasons", "x-kubernetes-list-type", Value::Null),
        ("spec.replicatedJobs", "maxItems", Value::Null),
        ("status.terminalState", "enum", Value::Null),
        ("status", "required", Value::Null),
        ("spec", "required", Value::Null),
        ("spec.network", "required", Value::Null),
        // required
        ("spec.replicatedJobs[]", "required", json!(["name", "template"])),
        ("spec.replicatedJobs[].dependsOn[]", "required", json!(["name", "status"])),
        ("spec.replicatedJobs[].template.spec", "required", json!(["template"])),
        ("spec.successPolicy", "required", json!(["operator"])),
        ("spec.startupPolicy", "required", json!(["startupPolicyOrder"])),
        ("spec.coordinator", "required", json!(["replicatedJob"])),
        ("spec.failurePolicy.rules[]", "required", json!(["action", "name"])),
        (
            "status.replicatedJobsStatus[]",
            "required",
            json!(["name", "ready", "succeeded", "failed", "active", "suspended"]),
        ),
    ];
    let crd = jobset();
    for (path, keyword, expected) in rows {
        assert_eq!(at(&crd, path)[keyword], expected, "{path}: {keyword}");
    }
}

#[test]
fn jobset_lists() {
    let rows: &[(&str, &str, &[&str])] = &[
        ("spec.replicatedJobs", "map", &["name"]),
        ("spec.replicatedJobs[].dependsOn", "map", &["name"]),
        ("spec.successPolicy.targetReplicatedJobs", "atomic", &[]),
        ("spec.failurePolicy.rules[].targetReplicatedJobs", "atomic", &[]),
        ("spec.volumeClaimPolicies", "atomic", &[]),
        ("spec.volumeClaimPolicies[].templates", "atomic", &[]),
        ("status.conditions", "map", &["type"]),
        ("status.replicatedJobsStatus", "map", &["name"]),
        ("status.replicatedJobsStatus[].jobRestarts", "atomic", &[]),
        ("status.replicatedJobsStatus[].jobRestartsCountTowardsMax", "atomic", &[]),
        // Server-side apply merges pods by these.
        (&format!("{POD}.containers"), "map", &["name"]),
        (&format!("{POD}.initContainers"), "map", &["name"]),
        (&format!("{POD}.volumes"), "map", &["name"]),
        (&format!("{POD}.imagePullSecrets"), "map", &["name"]),
        (&format!("{POD}.tolerations"), "atomic", &[]),
        (&format!("{POD}.containers[].env"), "map", &["name"]),
        (&format!("{POD}.containers[].ports"), "map", &["containerPort", "protocol"]),
        (&format!("{POD}.containers[].volumeMounts"), "map", &["mountPath"]),
        (&format!("{POD}.topologySpreadConstraints"), "map", &["topologyKey", "whenUnsatisfiable"]),
    ];
    let crd = jobset();
    for (path, list_type, keys) in rows {
        let node = at(&crd, path);
        assert_eq!(node["x-kubernetes-list-type"], *list_type, "{path}");
        let expected = if keys.is_empty() { Value::Null } else { json!(keys) };
        assert_eq!(node["x-kubernetes-list-map-keys"], expected, "{path}");
    }
}

#[test]
fn jobset_rules() {
    let crd = jobset();
    let rules: Vec<_> = all(&crd)
        .into_iter()
        .flat_map(|(path, node)| {
            node["x-kubernetes-validations"].as_array().into_iter().flatten().map(move |rule| {
                (path.clone(), rule["rule"].as_str().unwrap(), rule["message"].as_str().unwrap())
            })
        })
        .collect();
    let immutable = |path: &str| (format!(".spec.{path}"), "self == oldSelf", IMMUTABLE);
    let mut expected = vec![
        (
            ".spec".to_owned(),
            "!(has(self.startupPolicy) && self.startupPolicy.startupPolicyOrder == 'InOrder' && \
             self.replicatedJobs.exists(x, has(x.dependsOn)))",
            "StartupPolicy and DependsOn APIs are mutually exclusive",
        ),
        (
            ".spec.volumeClaimPolicies[]".to_owned(),
            "self.templates.all(t, !has(t.metadata.namespace) || size(t.metadata.namespace) == 0)",
            "namespace cannot be set for VolumeClaimPolicies templates",
        ),
    ];
    for path in [
        "network",
        "successPolicy",
        "failurePolicy",
        "startupPolicy",
        "volumeClaimPolicies",
        "replicatedJobs[].dependsOn",
    ] {
        expected.push(immutable(path));
    }
    let sorted = |mut rules: Vec<(String, &'static str, &'static str)>| {
        rules.sort();
        rules
    };
    let mut rules = rules;
    rules.sort();
    assert_eq!(rules, sorted(expected));
}

#[test]
fn embedded_metadata_keeps_five_fields() {
    let crd = jobset();
    for path in [
        "spec.replicatedJobs[].template.metadata",
        "spec.replicatedJobs[].template.spec.template.metadata",
        "spec.volumeClaimPolicies[].templates[].metadata",
        "spec.replicatedJobs[].template.spec.template.spec.volumes[].ephemeral.volumeClaimTemplate.metadata",
    ] {
        let fields: Vec<_> =
            at(&crd, path)["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["annotations", "finalizers", "labels", "name", "namespace"], "{path}");
    }
    let claim: Vec<_> = at(&crd, "spec.volumeClaimPolicies[].templates[]")["properties"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(claim, ["apiVersion", "kind", "metadata", "spec", "status"]);
}

#[test]
fn embedded_defaults_are_those_that_kubernetes_chose() {
    let container = |field: &str| format!("{POD}.containers[].{field}");
    let volume = |field: &str| format!("{POD}.volumes[].{field}");
    let rows = [
        (container("ports[].protocol"), json!("TCP")),
        (container("env[].valueFrom.secretKeyRef.name"), json!("")),
        (container("env[].valueFrom.configMapKeyRef.name"), json!("")),
        (container("livenessProbe.grpc.service"), json!("")),
        (volume("azureDisk.cachingMode"), json!("ReadWrite")),
        (volume("azureDisk.fsType"), json!("ext4")),
        (volume("azureDisk.kind"), json!("Shared")),
        (volume("azureDisk.readOnly"), json!(false)),
        (volume("iscsi.iscsiInterface"), json!("default")),
        (volume("rbd.pool"), json!("rbd")),
        (volume("rbd.user"), json!("admin")),
        (volume("rbd.keyring"), json!("/etc/ceph/keyring")),
        (volume("scaleIO.fsType"), json!("xfs")),
        (volume("scaleIO.storageMode"), json!("ThinProvisioned")),
        (format!("{POD}.imagePullSecrets[].name"), json!("")),
        // Zero values that only mean "absent" in Go are no defaults.
        (container("name"), Value::Null),
        (container("env[].name"), Value::Null),
        (container("resources"), Value::Null),
        (container("ports[].containerPort"), Value::Null),
        ("spec.replicatedJobs[].template".to_owned(), Value::Null),
        ("spec.replicatedJobs[].template.spec.template".to_owned(), Value::Null),
        (
            "spec.replicatedJobs[].template.spec.podFailurePolicy.rules[].onPodConditions[].status"
                .to_owned(),
            Value::Null,
        ),
    ];
    let crd = jobset();
    for (path, expected) in rows {
        let node = at(&crd, &path);
        assert_eq!(node["default"], expected, "{path}");
        assert_eq!(node.get("default").is_some(), !expected.is_null(), "{path}");
    }
}

#[test]
fn embedded_types_have_the_shapes_of_kubernetes() {
    let crd = jobset();
    let port = at(&crd, &format!("{POD}.containers[].livenessProbe.httpGet.port")).clone();
    let request = at(&crd, &format!("{POD}.containers[].resources.requests{{}}")).clone();
    for node in [&port, &request] {
        assert_eq!(node["x-kubernetes-int-or-string"], true);
        assert_eq!(node["anyOf"], json!([{"type": "integer"}, {"type": "string"}]));
        assert_eq!(node["type"], Value::Null);
    }
    assert_eq!(port["pattern"], Value::Null);
    assert!(request["pattern"].as_str().unwrap().contains("[KMGTPE]i"));
    assert_eq!(
        at(&crd, &format!("{POD}.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"))["x-kubernetes-map-type"],
        "atomic"
    );
    for field in ["schedulingGroup", "hostnameOverride", "resources", "containers[].restartPolicyRules"] {
        at(&crd, &format!("{POD}.{field}"));
    }
}

#[test]
fn operator_is_identified() {
    let crd = operator();
    assert_eq!(crd["metadata"]["name"], "jobsetoperators.operator.openshift.io");
    assert_eq!(crd["spec"]["group"], "operator.openshift.io");
    assert_eq!(crd["spec"]["scope"], "Cluster");
    assert_eq!(
        crd["spec"]["names"],
        json!({
            "kind": "JobSetOperator",
            "listKind": "JobSetOperatorList",
            "plural": "jobsetoperators",
            "singular": "jobsetoperator",
        })
    );
    let version = &crd["spec"]["versions"][0];
    assert_eq!(
        (&version["name"], &version["served"], &version["storage"]),
        (&json!("v1"), &json!(true), &json!(true))
    );
    assert_eq!(version["subresources"], json!({"status": {}}));
    assert_eq!(version["additionalPrinterColumns"], Value::Null);
    assert_eq!(schema(&crd)["required"], json!(["spec"]));
}

#[test]
fn operator_keywords() {
    let levels = json!(["", "Normal", "Debug", "Trace", "TraceAll"]);
    let qualified_name = "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$";
    let rows = [
        ("spec", "required", Value::Null),
        ("spec.managementState", "pattern", json!("^(Managed|Unmanaged|Force|Removed)$")),
        ("spec.managementState", "enum", Value::Null),
        ("spec.managementState", "default", Value::Null),
        ("spec.logLevel", "enum", levels.clone()),
        ("spec.logLevel", "default", json!("Normal")),
        ("spec.operatorLogLevel", "enum", levels),
        ("spec.operatorLogLevel", "default", json!("Normal")),
        ("spec.observedConfig", "nullable", json!(true)),
        ("spec.observedConfig", "x-kubernetes-preserve-unknown-fields", json!(true)),
        ("spec.unsupportedConfigOverrides", "nullable", json!(true)),
        ("spec.unsupportedConfigOverrides", "x-kubernetes-preserve-unknown-fields", json!(true)),
        ("status", "required", Value::Null),
        ("status.conditions", "x-kubernetes-list-type", json!("map")),
        ("status.conditions", "x-kubernetes-list-map-keys", json!(["type"])),
        ("status.conditions[]", "required", json!(["type", "status", "lastTransitionTime"])),
        ("status.conditions[].status", "enum", json!(["True", "False", "Unknown"])),
        ("status.conditions[].type", "maxLength", json!(316)),
        ("status.conditions[].type", "pattern", json!(qualified_name)),
        ("status.conditions[].lastTransitionTime", "format", json!("date-time")),
        ("status.conditions[].reason", "pattern", Value::Null),
        ("status.generations", "x-kubernetes-list-type", json!("map")),
        (
            "status.generations",
            "x-kubernetes-list-map-keys",
            json!(["group", "resource", "namespace", "name"]),
        ),
        ("status.generations[]", "required", json!(["group", "resource", "namespace", "name"])),
        ("status.generations[].lastGeneration", "format", json!("int64")),
        ("status.generations[].hash", "type", json!("string")),
        ("status.readyReplicas", "format", json!("int32")),
        ("status.latestAvailableRevision", "format", json!("int32")),
        ("status.observedGeneration", "format", json!("int64")),
        ("status.version", "type", json!("string")),
        (
            "status.latestAvailableRevision",
            "x-kubernetes-validations",
            json!([{"message": "must only increase", "rule": "self >= oldSelf"}]),
        ),
        (
            "",
            "x-kubernetes-validations",
            json!([{
                "message": "JobSetOperator is a singleton, .metadata.name must be 'cluster'",
                "rule": "self.metadata.name == 'cluster'",
            }]),
        ),
    ];
    let crd = operator();
    for (path, keyword, expected) in rows {
        assert_eq!(at(&crd, path)[keyword], expected, "{path}: {keyword}");
    }
}

/// What the API server asks of a structural schema, and what a reader asks of one.
#[test]
fn schemas_are_structural_and_described() {
    for crd in [jobset(), operator()] {
        for (path, node) in all(&crd) {
            let is_union = node["x-kubernetes-int-or-string"] == true;
            assert!(node["type"].is_string() != is_union, "{path}: a type, or int-or-string");
            for keyword in ["$ref", "allOf", "oneOf", "not", "title"] {
                assert_eq!(node[keyword], Value::Null, "{path}: {keyword}");
            }
            assert!(node["anyOf"].is_null() || is_union, "{path}: anyOf");
            let keys = node["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
            for key in keys.map(|key| key.as_str().unwrap()) {
                let item = &node["items"];
                let is_required =
                    item["required"].as_array().is_some_and(|all| all.iter().any(|one| one == key));
                assert!(
                    is_required || item["properties"][key].get("default").is_some(),
                    "{path}: list key {key}"
                );
            }
            let is_element =
                path.is_empty() || path.ends_with("[]") || path.ends_with("{}") || path == ".metadata";
            assert!(is_element || node["description"].is_string(), "{path}: no description");
            if let Some(description) = node["description"].as_str() {
                assert!(!description.contains("[`"), "{path}: a link of rustdoc in a description");
            }
        }
    }
}

#[test]
fn enums_explain_their_values() {
    for crd in [jobset(), operator()] {
        let nodes = all(&crd).into_iter().filter(|(path, node)| {
            path.starts_with(".spec") && !path.contains(".template.") && node["enum"].is_array()
        });
        for (path, node) in nodes {
            let description = node["description"].as_str().unwrap();
            for value in node["enum"].as_array().unwrap().iter().filter(|value| *value != "") {
                let bullet = format!("\n- `{}`: ", value.as_str().unwrap());
                assert!(description.contains(&bullet), "{path}: {value} is not explained");
            }
        }
    }
}

/// etcd takes requests of 1.5 MiB by default; the API server stores CRDs as JSON. A jump means that something was
/// inlined that should not be.
#[test]
fn the_jobset_crd_fits_well_into_etcd() {
    let crd = jobset();
    let size = serde_json::to_vec(&crd).unwrap().len();
    assert!((300_000..500_000).contains(&size), "{size} bytes of JSON");
    assert_eq!(
        crd["metadata"]["annotations"]["jobset.x-k8s.io/embedded-kubernetes-version"]
            .as_str()
            .unwrap()
            .get(..6),
        Some("v1.36.")
    );
}
