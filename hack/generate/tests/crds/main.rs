//! Tests of the committed CRDs of both APIs. Clients rely on the tested properties: typed clients, `kubectl`,
//! server-side apply, Kueue and Kubeflow Trainer.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod jobset_crd;
mod operator_crd;
mod schema;

use schema::{all, jobset, operator};
use serde_json::Value;

#[test]
fn schemas_are_structural_and_have_descriptions() {
    for crd in [jobset(), operator()] {
        for (path, node) in all(&crd) {
            let is_union = node["x-kubernetes-int-or-string"] == true;
            assert!(node["type"].is_string() != is_union, "{path}: must have either a type or int-or-string");
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
                    "{path}: list key {key} is neither required nor has a default"
                );
            }
            let needs_no_description =
                path.is_empty() || path.ends_with("[]") || path.ends_with("{}") || path == ".metadata";
            assert!(needs_no_description || node["description"].is_string(), "{path}: no description");
            if let Some(description) = node["description"].as_str() {
                assert!(!description.contains("[`"), "{path}: the description contains a rustdoc link");
            }
        }
    }
}

#[test]
fn descriptions_of_enums_explain_their_values() {
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
