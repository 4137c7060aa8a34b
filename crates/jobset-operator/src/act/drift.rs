//! Whether an object must be written: a settled object costs no request.

use crate::desired::content_hash;
use kube::api::DynamicObject;
use serde_json::Value;

/// Whether everything that is desired is there. What others added beside it is none of our business: the API
/// server fills in defaults, cert-manager its CA.
pub fn contains(live: &Value, desired: &Value) -> bool {
    match (live, desired) {
        (Value::Object(live), Value::Object(desired)) => desired.iter().all(|(key, desired)| {
            // An empty value is what the API server leaves out.
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

/// Hash of what is desired.
pub fn desired_hash(object: &DynamicObject) -> String {
    content_hash([serde_json::to_vec(object).unwrap_or_default().as_slice()])
}

/// Hash of an object as it is, without what changes by itself: status, and the API server's bookkeeping.
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

/// Whether `live` already is as `desired` wants it.
pub fn is_as_desired(live: &DynamicObject, desired: &DynamicObject) -> bool {
    match (serde_json::to_value(live), serde_json::to_value(desired)) {
        (Ok(live), Ok(desired)) => contains(&live, &desired),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn additions_of_others_are_no_drift() {
        let desired =
            json!({"metadata": {"labels": {"a": "1"}}, "ports": [{"port": 443}], "empty": {"list": []}});
        let live = json!({
            "metadata": {"labels": {"a": "1", "theirs": "2"}}, "ports": [{"port": 443, "protocol": "TCP"}], "x": 1
        });
        assert!(contains(&live, &desired));
    }

    #[test]
    fn what_is_changed_missing_or_too_much_in_a_list_is_drift() {
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
    fn the_status_does_not_change_the_hash_and_the_spec_does() {
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
}
