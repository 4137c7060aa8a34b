//! `metadata.managedFields` of an update that defaulting reverts completely.
//!
//! The API server updates `managedFields` before admission. If `kubectl apply` omits a default, the API server sets a
//! new time in them, and stores the object only because of this time. With the old `managedFields`, the update is no
//! change.

use super::{Default, filled_in, set};
use serde_json::Value;

const PATH: &str = "/metadata/managedFields";

/// Metadata that the API server sets. A client that replaces the object may omit it.
const SET_BY_SERVER: [&str; 7] = [
    "creationTimestamp",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "namespace",
    "resourceVersion",
    "uid",
];

/// The old `managedFields`, if `new` with `defaults` differs from `old` only in their times.
pub(super) fn restored(old: &Value, new: &Value, defaults: &[Default]) -> Option<Default> {
    let (before, after) = (old.pointer(PATH)?, new.pointer(PATH)?);
    if before == after || without_times(before)? != without_times(after)? {
        return None;
    }
    let result = filled_in(new.clone(), defaults);
    (set_by_client(result)? == set_by_client(old.clone())?).then(|| set(PATH, before.clone()))
}

/// The part of a JobSet that clients can change, without subresources.
fn set_by_client(mut jobset: Value) -> Option<Value> {
    jobset.as_object_mut()?.remove("status");
    let metadata = jobset.get_mut("metadata")?.as_object_mut()?;
    metadata.retain(|field, _| !SET_BY_SERVER.contains(&field.as_str()));
    Some(jobset)
}

/// The entries without their times, in an order that does not depend on them.
fn without_times(managed_fields: &Value) -> Option<Vec<Value>> {
    let mut entries = managed_fields.as_array()?.clone();
    for entry in &mut entries {
        entry.as_object_mut()?.remove("time");
    }
    entries.sort_by_key(Value::to_string);
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::super::Default;
    use crate::Gates;
    use serde_json::{Value, json};

    fn defaults_on_update(old: &Value, new: &Value) -> Vec<Default> {
        super::super::defaults_on_update(old, new, &Gates::default())
    }

    fn jobset(managed_fields: &Value, spec: &Value) -> Value {
        json!({"metadata": {"name": "train", "managedFields": managed_fields}, "spec": spec})
    }

    fn entry(manager: &str, time: &str) -> Value {
        json!({"manager": manager, "operation": "Update", "time": time, "fieldsV1": {}})
    }

    #[test]
    fn times_are_restored_if_nothing_else_changes() {
        let defaulted = json!({
            "successPolicy": {"operator": "All"},
            "startupPolicy": {"startupPolicyOrder": "AnyOrder"},
            "network": {"enableDNSHostnames": true, "publishNotReadyAddresses": true},
        });
        let before = json!([entry("kubectl", "t1"), entry("jobset", "t2")]);
        let later = json!([entry("jobset", "t2"), entry("kubectl", "t3")]);
        let suspended = json!({"suspend": true});
        let other = json!([entry("jobset", "t2"), entry("argocd", "t3")]);
        for (what, managed_fields, spec, is_restored) in [
            ("only the time", &later, &json!({}), true),
            ("nothing", &before, &json!({}), false),
            ("the time and the spec", &later, &suspended, false),
            ("another manager", &other, &json!({}), false),
            ("only the time, without defaults", &later, &defaulted, true),
        ] {
            let (old, new) = (jobset(&before, &defaulted), jobset(managed_fields, spec));
            let defaults = defaults_on_update(&old, &new);
            let found = defaults.iter().find(|default| default.path == "/metadata/managedFields");
            assert_eq!(found.map(|default| &default.value), is_restored.then_some(&before), "{what}");
        }
        let mut old = jobset(&before, &defaulted);
        old["metadata"]["uid"] = json!("u-1");
        old["status"] = json!({"restarts": 1});
        let mut new = jobset(&later, &json!({}));
        let has = |defaults: Vec<Default>| defaults.iter().any(|default| default.path == super::PATH);
        assert!(has(defaults_on_update(&old, &new)), "a replacement omits uid and status");
        new["metadata"]["labels"] = json!({"team": "red"});
        assert!(!has(defaults_on_update(&old, &new)), "a label changed");
    }
}
