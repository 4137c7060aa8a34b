//! The JobSet API.

use crate::schema::{all, at, jobset, schema};
use serde_json::{Value, json};

const POD: &str = "spec.replicatedJobs[].template.spec.template.spec";
const IMMUTABLE: &str = "Value is immutable";

#[test]
fn jobset_crd_has_its_names_and_version() {
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
    assert_eq!(schema(&crd)["required"], Value::Null, "a JobSet without spec must be valid");
}

#[test]
fn jobset_crd_has_five_columns() {
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
            ["StartTime", "date", ".status.startTime", "Time the JobSet became active"],
            ["Age", "date", ".metadata.creationTimestamp", "Time this JobSet was created"],
        ]
    );
}

#[test]
fn jobset_fields_have_their_keywords() {
    let rows = [
        // defaults
        ("spec.replicatedJobs[].groupName", "default", json!("default")),
        ("spec.replicatedJobs[].replicas", "default", json!(1)),
        ("spec.failurePolicy.restartStrategy", "default", json!("Recreate")),
        ("spec.volumeClaimPolicies[].retentionPolicy", "default", json!({ "whenDeleted": "Delete" })),
        ("spec.volumeClaimPolicies[].retentionPolicy.whenDeleted", "default", json!("Delete")),
        // Go clients write these objects even if they are empty.
        ("spec.volumeClaimPolicies[].templates[].spec", "default", json!({})),
        ("spec.volumeClaimPolicies[].templates[].spec.resources", "default", json!({})),
        ("spec.volumeClaimPolicies[].templates[].status", "default", json!({})),
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
        // absent, because the upstream API has none
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
        ("spec.volumeClaimPolicies[]", "required", json!(["templates"])),
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
fn jobset_lists_have_their_types_and_keys() {
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
        // Server-side apply merges lists of pods by these keys.
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
fn jobset_crd_has_its_cel_rules() {
    let crd = jobset();
    let mut rules = cel_rules(&crd);
    rules.retain(|(path, _, message)| !is_about_scheduling(path, message));
    let immutable = |path: &str| (format!(".spec.{path}"), "self == oldSelf", IMMUTABLE);
    let mut expected = vec![
        (
            ".spec".to_owned(),
            "!(has(self.startupPolicy) && self.startupPolicy.startupPolicyOrder == 'InOrder' && \
             has(self.replicatedJobs) && self.replicatedJobs.exists(x, has(x.dependsOn)))",
            "StartupPolicy and DependsOn APIs are mutually exclusive",
        ),
        (
            ".spec.volumeClaimPolicies[]".to_owned(),
            "self.templates.all(t, !has(t.metadata) || !has(t.metadata.__namespace__) || size(t.metadata.__namespace__) == 0)",
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
    rules.sort();
    assert_eq!(rules, sorted(expected));
}

/// Path, rule and message of each CEL rule.
fn cel_rules(crd: &Value) -> Vec<(String, &str, &str)> {
    let mut rules = Vec::new();
    for (path, node) in all(crd) {
        for rule in node["x-kubernetes-validations"].as_array().into_iter().flatten() {
            rules.push((path.clone(), rule["rule"].as_str().unwrap(), rule["message"].as_str().unwrap()));
        }
    }
    rules
}

fn is_about_scheduling(path: &str, message: &str) -> bool {
    path.starts_with(".spec.scheduling") || message.starts_with("scheduling ")
}

/// The api suite tests the rules with an API server. This test finds a lost rule.
#[test]
fn scheduling_has_its_cel_rules() {
    let crd = jobset();
    let mut found: Vec<(String, &str)> = cel_rules(&crd)
        .into_iter()
        .filter(|(path, _, message)| is_about_scheduling(path, message))
        .map(|(path, _, message)| (path, message))
        .collect();
    found.sort();
    let one_policy = "exactly one of basic or gang must be set";
    let one_mode = "exactly one of single or all must be set";
    let no_group_count = "minGroupCount is not supported";
    let scheduling = |path: &str, message: &'static str| (format!(".spec.scheduling{path}"), message);
    let expected = [
        (
            ".spec".to_owned(),
            "scheduling without replicatedJobs places all pods together, and cannot be set with DependsOn or InOrder \
             startup: set scheduling.replicatedJobs",
        ),
        scheduling(
            "",
            "schedulingPolicy, schedulingConstraints and disruptionMode cannot be set together with replicatedJobs: \
             set them in the entries of replicatedJobs",
        ),
        scheduling(".disruptionMode", one_mode),
        scheduling(
            ".replicatedJobs[]",
            "schedulingPolicy, schedulingConstraints and disruptionMode cannot be set when job is set: set them in job",
        ),
        scheduling(".replicatedJobs[]", "targetReplicatedJobs must have exactly one item when job is set"),
        scheduling(".replicatedJobs[].disruptionMode", one_mode),
        scheduling(".replicatedJobs[].job.disruptionMode", one_mode),
        scheduling(".replicatedJobs[].job.resourceClaims", "names of resourceClaims must be unique"),
        scheduling(
            ".replicatedJobs[].job.resourceClaims[]",
            "exactly one of resourceClaimName or resourceClaimTemplateName must be set",
        ),
        scheduling(".replicatedJobs[].job.schedulingPolicy", one_policy),
        scheduling(".replicatedJobs[].job.schedulingPolicy.gang", "minCount must be a positive integer"),
        scheduling(".replicatedJobs[].schedulingPolicy", one_policy),
        scheduling(".replicatedJobs[].schedulingPolicy.gang", no_group_count),
        scheduling(".schedulingPolicy", one_policy),
        scheduling(".schedulingPolicy.gang", no_group_count),
    ];
    assert_eq!(found, expected);
}

#[test]
fn embedded_metadata_has_five_fields() {
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
fn embedded_types_have_the_defaults_of_kubernetes() {
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
        // Zero values that mean "absent" in Go are not defaults.
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
fn embedded_types_have_the_schemas_of_kubernetes() {
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

/// By default, etcd accepts requests of up to 1.5 MiB, and the API server stores CRDs as JSON. A much larger CRD
/// contains schemas that it should not.
#[test]
fn jobset_crd_fits_into_etcd() {
    let crd = jobset();
    let size = serde_json::to_vec(&crd).unwrap().len();
    assert!((300_000..500_000).contains(&size), "{size} bytes of JSON");
    assert_eq!(
        crd["metadata"]["annotations"]["jobset.x-k8s.io/embedded-kubernetes-version"]
            .as_str()
            .unwrap()
            .get(..6),
        Some("v1.37.")
    );
}
