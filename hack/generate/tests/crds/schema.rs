//! Finding one's way in a committed CRD.

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

/// The schema at a path such as `spec.replicatedJobs[].name`; `{}` stands for the values of a map.
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

pub(crate) fn all(crd: &Value) -> Vec<(String, &Value)> {
    let mut seen = Vec::new();
    visit(schema(crd), "", &mut seen);
    seen
}
