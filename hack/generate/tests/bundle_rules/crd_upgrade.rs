//! The checks of OLM v1 before it upgrades a CRD: the new CRD accepts every object that the old one accepts, with the
//! same meaning. The fixtures are the CRDs of version 1.0.0, without descriptions.

use super::*;
use serde_json::json;

/// The differences between two CRDs that break objects or clients.
fn breaking(old: &Value, new: &Value) -> Vec<String> {
    let mut found = violation(old["spec"]["scope"] != new["spec"]["scope"], "the scope differs");
    for version in list(old, "/spec/versions") {
        let name = text(version, "/name");
        let same = list(new, "/spec/versions").iter().find(|version| text(version, "/name") == name);
        let Some(same) = same else {
            found.push(format!("version {name} is removed"));
            continue;
        };
        found.extend(violation(
            version["served"] == true && same["served"] != true,
            format!("version {name} is not served"),
        ));
        let schema = "/schema/openAPIV3Schema";
        let missing = Value::Null;
        let (old, new) =
            (version.pointer(schema).unwrap_or(&missing), same.pointer(schema).unwrap_or(&missing));
        found.extend(breaking_schema(old, new, name));
    }
    found
}

fn breaking_schema(old: &Value, new: &Value, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    for keyword in [
        "type",
        "default",
        "pattern",
        "format",
        "nullable",
        "x-kubernetes-list-type",
        "x-kubernetes-map-type",
    ] {
        found.extend(violation(old[keyword] != new[keyword], format!("{path}: {keyword} differs")));
    }
    for (keyword, is_minimum) in [
        ("minimum", true),
        ("minLength", true),
        ("minItems", true),
        ("minProperties", true),
        ("maximum", false),
        ("maxLength", false),
        ("maxItems", false),
        ("maxProperties", false),
    ] {
        let tightened = match (old[keyword].as_f64(), new[keyword].as_f64()) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(old), Some(new)) => {
                if is_minimum {
                    new > old
                } else {
                    new < old
                }
            }
        };
        found.extend(violation(tightened, format!("{path}: {keyword} is tightened")));
    }
    let new_required = list(new, "/required").iter().filter(|field| !list(old, "/required").contains(field));
    found.extend(new_required.map(|field| format!("{path}: {field} is required")));
    let (values, new_values) = (list(old, "/enum"), list(new, "/enum"));
    let narrowed = !new_values.is_empty()
        && (values.is_empty() || values.iter().any(|value| !new_values.contains(value)));
    found.extend(violation(narrowed, format!("{path}: values are removed")));
    let rules = |schema| {
        list(schema, "/x-kubernetes-validations").iter().map(|rule| text(rule, "/rule")).collect::<Vec<_>>()
    };
    let (old_rules, new_rules) = (rules(old), rules(new));
    let added = new_rules.iter().filter(|rule| !old_rules.contains(rule));
    found.extend(added.map(|rule| format!("{path}: rule {rule} is new")));
    for (name, old) in old["properties"].as_object().into_iter().flatten() {
        match new["properties"].get(name) {
            None => found.push(format!("{path}.{name} is removed")),
            Some(new) => found.extend(breaking_schema(old, new, &format!("{path}.{name}"))),
        }
    }
    for keyword in ["items", "additionalProperties"] {
        match (&old[keyword], &new[keyword]) {
            (old @ Value::Object(_), new @ Value::Object(_)) => {
                found.extend(breaking_schema(old, new, &format!("{path}.{keyword}")));
            }
            (old, new) => found.extend(violation(old != new, format!("{path}: {keyword} differs"))),
        }
    }
    found
}

const OPERATORS: &str = "jobsetoperators.operator.openshift.io";
const JOBSETS: &str = "jobsets.jobset.x-k8s.io";

fn released(name: &str) -> Value {
    read(format!("hack/generate/tests/fixtures/crds-1.0.0/{name}.json")).remove(0)
}

fn current(name: &str) -> Value {
    let (plural, group) = name.split_once('.').unwrap();
    read(format!("manifests/crds/{group}_{plural}.yaml")).remove(0)
}

#[test]
fn crds_accept_the_objects_of_the_last_release() {
    for name in [OPERATORS, JOBSETS] {
        assert_eq!(breaking(&released(name), &current(name)), [""; 0], "{name}");
    }
}

/// The spec of the `JobSetOperator` with another value at this pointer breaks the rule with this message.
fn is_reported(pointer: &str, value: Value, message: &str) {
    let old = released(OPERATORS);
    let mut new = old.clone();
    set(&mut new, pointer, value);
    let found = breaking(&old, &new);
    assert!(found.iter().any(|one| one.ends_with(message)), "{message}: {found:?}");
}

const SPEC: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";

#[test]
fn scope() {
    is_reported("/spec/scope", json!("Namespaced"), "the scope differs");
}

#[test]
fn stored_version_removal() {
    is_reported("/spec/versions/0/name", json!("v2"), "version v1 is removed");
    is_reported("/spec/versions/0/served", json!(false), "version v1 is not served");
}

#[test]
fn existing_field_removal() {
    is_reported(
        &format!("{SPEC}/controller/properties/replicas"),
        Value::Null,
        "controller.replicas is removed",
    );
}

#[test]
fn required() {
    is_reported(&format!("{SPEC}/controller/required"), json!(["replicas"]), "\"replicas\" is required");
}

#[test]
fn default() {
    is_reported(&format!("{SPEC}/logLevel/default"), json!("Debug"), "default differs");
    is_reported(&format!("{SPEC}/managementState/default"), json!("Managed"), "default differs");
}

#[test]
fn enumeration() {
    is_reported(&format!("{SPEC}/logLevel/enum"), json!(["Normal"]), "logLevel: values are removed");
    is_reported(
        &format!("{SPEC}/managementState/enum"),
        json!(["Managed"]),
        "managementState: values are removed",
    );
}

#[test]
fn limits() {
    is_reported(&format!("{SPEC}/controller/properties/replicas/maximum"), json!(2), "maximum is tightened");
    is_reported(&format!("{SPEC}/controller/properties/replicas/minimum"), json!(5), "minimum is tightened");
    is_reported(
        &format!("{SPEC}/monitoring/properties/prometheus/maxItems"),
        json!(1),
        "maxItems is tightened",
    );
}

#[test]
fn types_patterns_and_rules() {
    is_reported(&format!("{SPEC}/logLevel/type"), json!("integer"), "type differs");
    is_reported(&format!("{SPEC}/managementState/pattern"), json!("^Managed$"), "pattern differs");
    let rule = json!([{"rule": "self.replicas > 1", "message": "two"}]);
    is_reported(&format!("{SPEC}/controller/x-kubernetes-validations"), rule, "is new");
}

#[test]
fn a_new_optional_field_and_a_wider_limit_are_compatible() {
    let old = released(OPERATORS);
    let mut new = old.clone();
    set(&mut new, &format!("{SPEC}/more"), json!({"type": "string"}));
    set(&mut new, &format!("{SPEC}/controller/properties/replicas/maximum"), json!(100));
    assert_eq!(breaking(&old, &new), [""; 0]);
}
