//! Compares docs/operator.md with the CRD of JobSetOperator: every field of the spec has a row with its values.

use crate::{first_column, text};
use serde_json::Value;
use std::collections::BTreeSet;

const PAGE: &str = "docs/operator.md";
const CRD: &str = "manifests/crds/operator.openshift.io_jobsetoperators.yaml";

/// Adds the fields of a schema, and the values of each.
fn fields(schema: &Value, path: &str, found: &mut Vec<(String, Vec<String>)>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        // Kubernetes documents its own types.
        let is_own = name != "tolerations";
        let inner = if field["items"].is_object() { &field["items"] } else { field };
        let has_inner = is_own && inner["properties"].as_object().is_some_and(|inner| !inner.is_empty());
        if has_inner {
            fields(inner, &path, found);
            continue;
        }
        let listed = field["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let pattern = field["pattern"].as_str().unwrap_or_default();
        let alternatives = pattern.strip_prefix("^(").and_then(|rest| rest.strip_suffix(")$"));
        let alternatives = alternatives.into_iter().flat_map(|rest| rest.split('|'));
        let values = listed.chain(alternatives).filter(|value| !value.is_empty()).map(str::to_owned);
        found.push((path, values.collect()));
    }
}

#[test]
fn the_page_has_a_row_for_each_field_of_the_job_set_operator() {
    let crd: Value = serde_yaml::from_str(&text(CRD)).unwrap();
    let spec = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").unwrap();
    let mut expected = Vec::new();
    fields(spec, "", &mut expected);
    assert!(expected.len() > 10, "{expected:?}");

    let page = text(PAGE);
    let listed: BTreeSet<String> = first_column(&page, "field").into_iter().collect();
    let names: BTreeSet<String> = expected.iter().map(|(field, _)| field.clone()).collect();
    assert_eq!(listed, names, "{PAGE} and {CRD} have different fields");
    for (field, values) in &expected {
        let cell = format!("`{field}`");
        let is_row =
            |line: &&str| line.starts_with("| ") && line.split(" | ").next().unwrap().contains(&cell);
        let row = page.lines().find(is_row).unwrap();
        for value in values {
            assert!(row.contains(&format!("`{value}`")), "{PAGE}: the row of {field} lacks {value}");
        }
    }
}
