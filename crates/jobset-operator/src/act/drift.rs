//! Detects drift: whether an object must be written. An object without drift causes no request.

use crate::content_hash::content_hash;
use crate::observe::Live;
use kube::api::DynamicObject;
use serde_json::{Value, json};

/// Whether the live value contains every desired value. Additions are ignored: the API server sets defaults, and
/// other clients may set further fields.
pub fn contains(live: &Value, desired: &Value) -> bool {
    match (live, desired) {
        (Value::Object(live), Value::Object(desired)) => desired.iter().all(|(key, desired)| {
            // The API server omits empty values.
            live.get(key).map_or_else(|| is_empty(desired), |live| contains(live, desired))
        }),
        (Value::Array(live), Value::Array(desired)) => {
            live.len() == desired.len()
                && live.iter().zip(desired).all(|(live, desired)| contains(live, desired))
        }
        _ => live == desired,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().all(is_empty),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// Top-level fields that other clients may set: OpenShift sets them in every ServiceAccount.
const FOREIGN_FIELDS: [&str; 2] = ["secrets", "imagePullSecrets"];

/// Whether another field manager set fields that are not desired. Defaults have no field manager and do not count. The
/// function ignores objects of which the operator manages only the metadata.
pub fn has_additions(live: &Live, desired: &DynamicObject) -> bool {
    let managed = |step: &str| step.strip_prefix("f:").is_some_and(|field| !FOREIGN_FIELDS.contains(&field));
    has_content(desired)
        && live
            .set_otherwise
            .iter()
            .filter_map(Value::as_object)
            .flatten()
            .any(|(step, below)| managed(step) && exceeds(&json!({ step: below }), &desired.data))
}

fn has_content(desired: &DynamicObject) -> bool {
    desired.data.as_object().is_some_and(|fields| !fields.is_empty())
}

/// Whether the operator applied fields that are no longer desired.
pub fn has_leftovers(live: &Live, desired: &DynamicObject) -> bool {
    live.applied.as_ref().is_some_and(|fields| exceeds(fields, &desired.data))
}

/// Whether only a new object can reach the desired state. In Kubernetes, a headless Service cannot get an address, and
/// a change of an aggregated role requires all permissions.
pub fn must_be_recreated(live: &DynamicObject, desired: &DynamicObject) -> bool {
    let only_live = |path: &str| live.data.pointer(path).filter(|_| desired.data.pointer(path).is_none());
    only_live("/spec/clusterIP").is_some_and(|address| address == "None")
        || only_live("/aggregationRule").is_some()
}

/// Whether `fields` names a field that `desired` does not contain. In Kubernetes' `FieldsV1`, `f:` is a field, `k:` a
/// list item by its keys, `v:` by its value, `i:` by its index, and `.` the field itself.
fn exceeds(fields: &Value, desired: &Value) -> bool {
    let Some(fields) = fields.as_object() else { return false };
    fields.iter().any(|(step, below)| {
        let found = match step.split_once(':') {
            Some(("f", field)) => desired.get(field),
            Some(("k", keys)) => item_by_keys(desired, keys),
            Some(("v", value)) => {
                let value: Option<Value> = serde_json::from_str(value).ok();
                value.and_then(|value| desired.as_array()?.iter().find(|item| **item == value))
            }
            Some(("i", index)) => index.parse::<usize>().ok().and_then(|index| desired.get(index)),
            _ => return false,
        };
        found.is_none_or(|found| exceeds(below, found))
    })
}

fn item_by_keys<'a>(desired: &'a Value, keys: &str) -> Option<&'a Value> {
    let keys: Value = serde_json::from_str(keys).ok()?;
    let keys = keys.as_object()?;
    // A missing key has its default, which only the API server knows.
    let fits =
        |item: &&Value| keys.iter().all(|(key, value)| item.get(key).is_none_or(|found| found == value));
    desired.as_array()?.iter().find(fits)
}

/// The JSON patch that replaces everything but metadata and status with the desired contents, and sets the desired
/// labels. It applies only to the observed resource version.
pub fn replacement(live: &DynamicObject, desired: &DynamicObject) -> Value {
    let mut patch = vec![json!({
        "op": "replace", "path": "/metadata/resourceVersion", "value": live.metadata.resource_version,
    })];
    if live.metadata.labels.is_some() {
        for (label, value) in desired.metadata.labels.iter().flatten() {
            // A JSON pointer encodes a slash as ~1. Label keys contain no tilde.
            let at = format!("/metadata/labels/{}", label.replace('/', "~1"));
            patch.push(json!({"op": "add", "path": at, "value": value}));
        }
    }
    for (field, _) in live.data.as_object().into_iter().flatten() {
        let keep = field == "status" || FOREIGN_FIELDS.contains(&field.as_str());
        if !keep && desired.data.get(field).is_none() {
            patch.push(json!({"op": "remove", "path": format!("/{field}")}));
        }
    }
    for (field, value) in desired.data.as_object().into_iter().flatten() {
        patch.push(json!({"op": "add", "path": format!("/{field}"), "value": value}));
    }
    patch.into()
}

/// The hash of a desired object.
pub fn desired_hash(object: &DynamicObject) -> String {
    content_hash([serde_json::to_vec(object).unwrap_or_default().as_slice()])
}

/// The hash of a live object, without status, resource version, generation and managed fields.
pub fn live_hash(object: &DynamicObject) -> String {
    let mut object = object.clone();
    object.metadata.resource_version = None;
    object.metadata.managed_fields = None;
    object.metadata.generation = None;
    if let Some(data) = object.data.as_object_mut() {
        data.remove("status");
    }
    desired_hash(&object)
}

/// Whether `live` has its desired state.
pub fn is_as_desired(live: &DynamicObject, desired: &DynamicObject) -> bool {
    match (serde_json::to_value(live), serde_json::to_value(desired)) {
        (Ok(live), Ok(desired)) => contains(&live, &desired),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_are_not_drift() {
        let desired =
            json!({"metadata": {"labels": {"a": "1"}}, "ports": [{"port": 443}], "empty": {"list": []}});
        let live = json!({
            "metadata": {"labels": {"a": "1", "foreign": "2"}}, "ports": [{"port": 443, "protocol": "TCP"}], "x": 1
        });
        assert!(contains(&live, &desired));
    }

    #[test]
    fn changed_and_missing_fields_and_additional_list_items_are_drift() {
        let desired = json!({"replicas": 1, "args": ["--a"], "selector": {"app": "x"}});
        for live in [
            json!({"replicas": 3, "args": ["--a"], "selector": {"app": "x"}}),
            json!({"replicas": 1, "args": ["--a", "--b"], "selector": {"app": "x"}}),
            json!({"replicas": 1, "args": [], "selector": {"app": "x"}}),
            json!({"replicas": 1, "args": ["--a"], "selector": {}}),
            json!({"replicas": 1, "args": ["--a"]}),
        ] {
            assert!(!contains(&live, &desired), "{live}");
        }
    }

    #[test]
    fn the_spec_changes_the_hash_and_the_status_does_not() {
        let object = |version: &str, replicas: u8, status: u8| -> DynamicObject {
            serde_json::from_value(json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "red", "resourceVersion": version, "generation": status},
                "spec": {"replicas": replicas}, "status": {"replicas": status}
            }))
            .unwrap()
        };
        assert_eq!(live_hash(&object("1", 1, 0)), live_hash(&object("2", 1, 5)));
        assert_ne!(live_hash(&object("1", 1, 0)), live_hash(&object("1", 2, 0)));
    }

    #[test]
    fn only_fields_that_are_not_desired_exceed_the_object() {
        let desired = json!({"spec": {
            "replicas": 1,
            "template": {"spec": {"containers": [{"name": "manager", "image": "a", "args": ["--x"]}]}},
            "ports": [{"port": 443}],
        }});
        let container = |field: &str| {
            json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {
                ".": {}, "k:{\"name\":\"manager\"}": {".": {}, "f:name": {}, field: {}}
            }}}}})
        };
        for (fields, expected) in [
            (json!({"f:spec": {"f:replicas": {}}}), false),
            (container("f:image"), false),
            (container("f:args"), false),
            (
                json!({"f:spec": {"f:ports": {"k:{\"port\":443,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}}}),
                false,
            ),
            (container("f:env"), true),
            (json!({"f:spec": {"f:template": {"f:spec": {"f:hostNetwork": {}}}}}), true),
            (json!({"f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {}}}}), true),
            (json!({"f:data": {"f:more": {}}}), true),
        ] {
            assert_eq!(exceeds(&fields, &desired), expected, "{fields}");
        }
    }

    fn parsed(object: Value) -> DynamicObject {
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn additional_top_level_fields_are_removed_except_foreign_ones() {
        let live = |fields: Value| {
            Live::new(parsed(json!({
                "metadata": {"name": "red", "managedFields": [
                    {"manager": "kubectl", "operation": "Update", "fieldsV1": fields},
                ]},
                "rules": [], "aggregationRule": {}, "secrets": [], "status": {},
            })))
        };
        let role = parsed(json!({"metadata": {"name": "red"}, "rules": []}));
        let nothing = parsed(json!({"metadata": {"name": "red"}}));
        for (fields, desired, expected) in [
            (json!({"f:aggregationRule": {".": {}}}), &role, true),
            (json!({"f:rules": {}, "f:metadata": {"f:labels": {}}, "f:status": {}}), &role, false),
            (json!({"f:secrets": {".": {}}, "f:imagePullSecrets": {}}), &role, false),
            (json!({"f:data": {"f:tls.crt": {}}}), &nothing, false),
        ] {
            assert_eq!(has_additions(&live(fields.clone()), desired), expected, "{fields}");
        }
        let patch = replacement(&live(json!({})).object, &role);
        assert!(patch.as_array().unwrap().contains(&json!({"op": "remove", "path": "/aggregationRule"})));
        assert_eq!(patch.as_array().unwrap().len(), 3, "version, rule, rules: {patch}");
    }

    #[test]
    fn applied_fields_that_are_no_longer_desired_are_drift() {
        let live = Live::new(parsed(json!({
            "metadata": {"name": "red", "managedFields": [
                {"manager": "jobset-operator", "operation": "Apply",
                 "fieldsV1": {"f:metadata": {"f:labels": {}}, "f:spec": {"f:replicas": {}, "f:tolerations": {}}}},
            ]},
            "spec": {"replicas": 1, "tolerations": [{"key": "a"}]},
        })));
        let desired = |spec: Value| parsed(json!({"metadata": {"name": "red"}, "spec": spec}));
        assert!(has_leftovers(&live, &desired(json!({"replicas": 1}))));
        assert!(!has_leftovers(&live, &desired(json!({"replicas": 1, "tolerations": []}))));
    }

    #[test]
    fn headless_services_and_aggregated_roles_are_recreated() {
        let service = |address: Value| parsed(json!({"metadata": {"name": "red"}, "spec": address}));
        let desired = service(json!({"type": "ClusterIP"}));
        assert!(must_be_recreated(&service(json!({"clusterIP": "None"})), &desired));
        assert!(!must_be_recreated(&service(json!({"clusterIP": "10.0.0.7"})), &desired));
        assert!(!must_be_recreated(&service(json!({})), &desired));
        let desired = parsed(json!({"metadata": {"name": "red"}, "rules": []}));
        let aggregated = parsed(json!({"metadata": {"name": "red"}, "rules": [], "aggregationRule": {}}));
        assert!(must_be_recreated(&aggregated, &desired) && !must_be_recreated(&desired, &desired));
    }
}
