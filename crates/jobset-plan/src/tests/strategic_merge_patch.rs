//! The strategic merge patch of Kubernetes, as far as the patch of a Job needs it. The simulation compiles this file, too.

use serde_json::Value;

/// The lists that Kubernetes merges by `name`. It replaces other lists.
const MERGED_BY_NAME: [&str; 3] = ["containers", "initContainers", "schedulingGates"];

/// Applies a patch.
pub(crate) fn apply(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else { return patch.clone_into(target) };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let fields = target.as_object_mut().unwrap();
    for (key, change) in patch {
        if change.is_null() {
            fields.remove(key);
        } else if MERGED_BY_NAME.contains(&key.as_str()) {
            merge_by_name(fields.entry(key.as_str()).or_insert_with(|| Value::Array(Vec::new())), change);
        } else {
            apply(fields.entry(key.as_str()).or_insert(Value::Null), change);
        }
    }
}

fn merge_by_name(list: &mut Value, changes: &Value) {
    let list = list.as_array_mut().unwrap();
    for change in changes.as_array().unwrap() {
        let has_name = |item: &Value| item["name"] == change["name"];
        let mut fields = change.clone();
        let directive = fields.as_object_mut().unwrap().remove("$patch");
        if let Some(directive) = directive {
            assert_eq!(directive, "delete", "no other directive is supported");
            list.retain(|item| !has_name(item));
        } else if let Some(item) = list.iter_mut().find(|item| has_name(item)) {
            apply(item, &fields);
        } else {
            list.push(fields);
        }
    }
}
