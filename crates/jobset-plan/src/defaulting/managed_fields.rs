//! `metadata.managedFields` of an update that defaulting undoes as a whole.
//!
//! The API server updates them before admission: where `kubectl apply` leaves a default out, it gives them a new time,
//! and then stores the object because of the time alone. The old ones make the update what it is: no change.

use super::{Default, filled_in, set};
use serde_json::Value;

const PATH: &str = "/metadata/managedFields";

/// The old `managedFields`, if `defaults` make `new` equal `old` in all but their times.
pub(super) fn restored(old: &Value, new: &Value, defaults: &[Default]) -> Option<Default> {
    let (before, after) = (old.pointer(PATH)?, new.pointer(PATH)?);
    if defaults.is_empty() || before == after || without_times(before)? != without_times(after)? {
        return None;
    }
    let restored = set(PATH, before.clone());
    let mut result = filled_in(new.clone(), defaults);
    result = filled_in(result, std::slice::from_ref(&restored));
    (result == *old).then_some(restored)
}

/// The entries in an order that does not depend on time, without their times.
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
    use super::super::defaults_on_update;
    use serde_json::{Value, json};

    fn jobset(managed_fields: Value, spec: Value) -> Value {
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
            ("not even the time", &before, &json!({}), false),
            ("the spec, too", &later, &suspended, false),
            ("another manager", &other, &json!({}), false),
            ("nothing is defaulted", &later, &defaulted, false),
        ] {
            let (old, new) =
                (jobset(before.clone(), defaulted.clone()), jobset(managed_fields.clone(), spec.clone()));
            let defaults = defaults_on_update(&old, &new);
            let found = defaults.iter().find(|default| default.path == "/metadata/managedFields");
            assert_eq!(found.map(|default| &default.value), is_restored.then_some(&before), "{what}");
        }
    }
}
