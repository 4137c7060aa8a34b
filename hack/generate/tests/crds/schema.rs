//! Reads the committed CRDs.

use serde_json::Value;
use std::fs;

fn crd(file: &str) -> Value {
    let path = format!("{}/../../manifests/crds/{file}", env!("CARGO_MANIFEST_DIR"));
    serde_yaml::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

pub(crate) fn jobset() -> Value {
    crd("jobset.x-k8s.io_jobsets.yaml")
}

pub(crate) fn operator() -> Value {
    crd("operator.openshift.io_jobsetoperators.yaml")
}

pub(crate) fn schema(crd: &Value) -> &Value {
    &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

/// The schema at a path such as `spec.replicatedJobs[].name`. `{}` denotes the values of a map.
pub(crate) fn at<'a>(crd: &'a Value, path: &str) -> &'a Value {
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

/// Collects every path of a schema and its node.
fn collect<'a>(node: &'a Value, path: &str, nodes: &mut Vec<(String, &'a Value)>) {
    nodes.push((path.to_owned(), node));
    for (name, child) in node["properties"].as_object().into_iter().flatten() {
        collect(child, &format!("{path}.{name}"), nodes);
    }
    for (keyword, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
        if node[keyword].is_object() {
            collect(&node[keyword], &format!("{path}{suffix}"), nodes);
        }
    }
}

pub(crate) fn all(crd: &Value) -> Vec<(String, &Value)> {
    let mut nodes = Vec::new();
    collect(schema(crd), "", &mut nodes);
    nodes
}
