//! The JobSetOperator API.

use crate::schema::{at, operator, schema};
use serde_json::{Value, json};

#[test]
fn operator_crd_has_its_names_version_and_columns() {
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
    let columns = version["additionalPrinterColumns"].as_array().unwrap().iter();
    let columns: Vec<_> = columns.map(|column| column["name"].as_str().unwrap()).collect();
    assert_eq!(columns, ["Available", "Progressing", "Degraded", "Version", "Age"]);
    assert_eq!(schema(&crd)["required"], json!(["spec"]));
}

#[test]
fn operator_fields_have_their_keywords() {
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
        ("spec.certificates", "default", Value::Null),
        ("spec.certificates.provider", "enum", json!(["Auto", "CertManager", "BuiltIn"])),
        ("spec.certificates.provider", "default", json!("Auto")),
        ("spec.controller", "required", Value::Null),
        ("spec.controller.replicas", "minimum", json!(1)),
        ("spec.controller.replicas", "maximum", json!(10)),
        ("spec.controller.tolerations", "x-kubernetes-list-type", json!("atomic")),
        ("spec.controller.clientConnection.qps", "minimum", json!(1)),
        ("spec.controller.clientConnection.qps", "type", json!("integer")),
        ("spec.monitoring", "required", Value::Null),
        ("spec.monitoring.prometheus", "maxItems", json!(16)),
        ("spec.monitoring.prometheus", "x-kubernetes-list-type", json!("map")),
        ("spec.monitoring.prometheus", "x-kubernetes-list-map-keys", json!(["namespace", "serviceAccount"])),
        ("spec.monitoring.prometheus[]", "required", json!(["namespace"])),
        ("spec.monitoring.prometheus[].namespace", "maxLength", json!(63)),
        ("spec.monitoring.prometheus[].serviceAccount", "default", json!("prometheus-k8s")),
        ("spec.monitoring.prometheus[].serviceAccount", "maxLength", json!(253)),
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
