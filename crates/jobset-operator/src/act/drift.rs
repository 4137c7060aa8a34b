//! Whether an object must be written: a settled object costs no request.

use crate::desired::content_hash;
use crate::observe::Live;
use kube::api::DynamicObject;
use serde_json::{Value, json};

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

/// What others may add to an object at its top: OpenShift gives these to every ServiceAccount.
const LEFT_TO_OTHERS: [&str; 2] = ["secrets", "imagePullSecrets"];

/// Whether somebody set fields that are not desired. Defaults are nobody's, and so are no such fields. An object of
/// which we want no more than its metadata is otherwise none of our business.
pub fn has_additions(live: &Live, desired: &DynamicObject) -> bool {
    let ours = |step: &str| step.strip_prefix("f:").is_some_and(|field| !LEFT_TO_OTHERS.contains(&field));
    has_content(desired)
        && live
            .set_otherwise
            .iter()
            .filter_map(Value::as_object)
            .flatten()
            .any(|(step, below)| ours(step) && goes_beyond(&json!({ step: below }), &desired.data))
}

fn has_content(desired: &DynamicObject) -> bool {
    desired.data.as_object().is_some_and(|fields| !fields.is_empty())
}

/// Whether the operator once set fields that are not desired any more.
pub fn has_leftovers(live: &Live, desired: &DynamicObject) -> bool {
    live.applied.as_ref().is_some_and(|fields| goes_beyond(fields, &desired.data))
}

/// Whether no change that the operator may make turns the object into what it should be. Kubernetes: a Service that
/// has no address never gets one, and whoever changes a role that is put together from others must be allowed
/// everything.
pub fn must_be_made_anew(live: &DynamicObject, desired: &DynamicObject) -> bool {
    let only_live = |path: &str| live.data.pointer(path).filter(|_| desired.data.pointer(path).is_none());
    only_live("/spec/clusterIP").is_some_and(|address| address == "None")
        || only_live("/aggregationRule").is_some()
}

/// Kubernetes, `FieldsV1`: `f:` is a field, `k:` an item of a list by its keys, `v:` by its value, `i:` by its place,
/// `.` the thing itself.
fn goes_beyond(fields: &Value, desired: &Value) -> bool {
    let Some(fields) = fields.as_object() else { return false };
    fields.iter().any(|(step, below)| {
        let found = match step.split_once(':') {
            Some(("f", field)) => desired.get(field),
            Some(("k", keys)) => item_by_keys(desired, keys),
            Some(("v", value)) => {
                let value: Option<Value> = serde_json::from_str(value).ok();
                value.and_then(|value| desired.as_array()?.iter().find(|item| **item == value))
            }
            Some(("i", place)) => place.parse::<usize>().ok().and_then(|place| desired.get(place)),
            _ => return false,
        };
        found.is_none_or(|found| goes_beyond(below, found))
    })
}

fn item_by_keys<'a>(desired: &'a Value, keys: &str) -> Option<&'a Value> {
    let keys: Value = serde_json::from_str(keys).ok()?;
    let keys = keys.as_object()?;
    // A key that is not written has its default, which only the API server knows.
    let fits =
        |item: &&Value| keys.iter().all(|(key, value)| item.get(key).is_none_or(|found| found == value));
    desired.as_array()?.iter().find(fits)
}

/// The JSON patch that leaves nothing of an object but metadata, status and what is desired, and puts our labels
/// right by the way. It holds for the very version that was seen.
pub fn replacement(live: &DynamicObject, desired: &DynamicObject) -> Value {
    let mut patch = vec![json!({
        "op": "replace", "path": "/metadata/resourceVersion", "value": live.metadata.resource_version,
    })];
    if live.metadata.labels.is_some() {
        for (label, value) in desired.metadata.labels.iter().flatten() {
            // JSON pointer: a slash in a key is ~1. Labels hold no tilde.
            let at = format!("/metadata/labels/{}", label.replace('/', "~1"));
            patch.push(json!({"op": "add", "path": at, "value": value}));
        }
    }
    for (field, _) in live.data.as_object().into_iter().flatten() {
        let stays = field == "status" || LEFT_TO_OTHERS.contains(&field.as_str());
        if !stays && desired.data.get(field).is_none() {
            patch.push(json!({"op": "remove", "path": format!("/{field}")}));
        }
    }
    for (field, value) in desired.data.as_object().into_iter().flatten() {
        patch.push(json!({"op": "add", "path": format!("/{field}"), "value": value}));
    }
    patch.into()
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

    #[test]
    fn fields_of_others_are_told_from_defaults_and_from_ours() {
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
        for (fields, beyond) in [
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
            assert_eq!(goes_beyond(&fields, &desired), beyond, "{fields}");
        }
    }

    fn parsed(object: Value) -> DynamicObject {
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn what_others_add_at_the_top_goes_and_what_is_theirs_stays() {
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
        for (fields, desired, goes) in [
            (json!({"f:aggregationRule": {".": {}}}), &role, true),
            (json!({"f:rules": {}, "f:metadata": {"f:labels": {}}, "f:status": {}}), &role, false),
            (json!({"f:secrets": {".": {}}, "f:imagePullSecrets": {}}), &role, false),
            (json!({"f:data": {"f:tls.crt": {}}}), &nothing, false),
        ] {
            assert_eq!(has_additions(&live(fields.clone()), desired), goes, "{fields}");
        }
        let patch = replacement(&live(json!({})).object, &role);
        assert!(patch.as_array().unwrap().contains(&json!({"op": "remove", "path": "/aggregationRule"})));
        assert_eq!(patch.as_array().unwrap().len(), 3, "version, rule, rules: {patch}");
    }

    #[test]
    fn what_we_set_and_no_longer_want_is_drift() {
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
    fn what_no_change_can_put_right_is_made_anew() {
        let service = |address: Value| parsed(json!({"metadata": {"name": "red"}, "spec": address}));
        let wanted = service(json!({"type": "ClusterIP"}));
        assert!(must_be_made_anew(&service(json!({"clusterIP": "None"})), &wanted));
        assert!(!must_be_made_anew(&service(json!({"clusterIP": "10.0.0.7"})), &wanted));
        assert!(!must_be_made_anew(&service(json!({})), &wanted));
        let wanted = parsed(json!({"metadata": {"name": "red"}, "rules": []}));
        let aggregated = parsed(json!({"metadata": {"name": "red"}, "rules": [], "aggregationRule": {}}));
        assert!(must_be_made_anew(&aggregated, &wanted) && !must_be_made_anew(&wanted, &wanted));
    }
}
