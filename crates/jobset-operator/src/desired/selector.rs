//! The selector of the operand's Deployment, which cannot change.
//!
//! The operand may run already: from OpenShift's Go operator, or from an older version of this one. If the desired pods
//! can match the selector of that Deployment, the operator keeps the selector, and an ordinary rollout replaces the
//! pods. Otherwise the operator must recreate the Deployment. Its pods continue to answer admission requests if the
//! new Deployment adopts them.

use kube::api::DynamicObject;
use serde_json::{Map, Value};

const SELECTOR: &str = "/spec/selector";
const POD_LABELS: &str = "/spec/template/metadata/labels";

/// Gives the desired Deployment the selector of the live one, and its pods the labels that the selector requires.
/// Changes nothing if the pods cannot match that selector.
pub(super) fn keep(desired: &mut DynamicObject, live: &DynamicObject) {
    let Some(selector) = live.data.pointer(SELECTOR) else { return };
    let Some(mut labels) = desired.data.pointer(POD_LABELS).and_then(Value::as_object).cloned() else {
        return;
    };
    for (label, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        labels.entry(label.clone()).or_insert_with(|| value.clone());
    }
    if !selects(selector, &labels) {
        return;
    }
    let selector = selector.clone();
    for (path, value) in [(SELECTOR, selector), (POD_LABELS, labels.into())] {
        if let Some(field) = desired.data.pointer_mut(path) {
            *field = value;
        }
    }
}

/// Whether the desired Deployment adopts the `ReplicaSet`s of the live one, once they have no owner.
pub fn adopts(desired: &DynamicObject, live: &DynamicObject) -> bool {
    let labels = live.data.pointer(POD_LABELS).and_then(Value::as_object);
    let selector = desired.data.pointer(SELECTOR);
    selector.zip(labels).is_some_and(|(selector, labels)| selects(selector, labels))
}

/// Whether a label selector matches these labels.
fn selects(selector: &Value, labels: &Map<String, Value>) -> bool {
    let mut equal = selector["matchLabels"].as_object().into_iter().flatten();
    let mut expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    equal.all(|(label, value)| labels.get(label) == Some(value))
        && expressions.all(|expression| {
            let found = expression["key"].as_str().and_then(|key| labels.get(key));
            let is_listed = || {
                let values = expression["values"].as_array();
                values.zip(found).is_some_and(|(values, found)| values.contains(found))
            };
            match expression["operator"].as_str() {
                Some("In") => is_listed(),
                Some("NotIn") => !is_listed(),
                Some("Exists") => found.is_some(),
                Some("DoesNotExist") => found.is_none(),
                _ => false,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment(selector: &Value, labels: &Value) -> DynamicObject {
        let template = json!({"metadata": {"labels": labels}});
        serde_json::from_value(json!({
            "metadata": {"name": "red"}, "spec": {"selector": selector, "template": template},
        }))
        .unwrap()
    }

    #[test]
    fn a_selector_that_the_pods_can_match_is_kept() {
        let own = json!({"matchLabels": {"name": "jobset", "tool": "kustomize"}});
        let labels = json!({"name": "jobset", "tool": "kustomize"});
        for (live, expected) in [
            (json!({"matchLabels": {"name": "jobset"}}), Some(labels.clone())),
            (
                json!({"matchLabels": {"name": "jobset", "team": "blue"}}),
                Some(json!({"name": "jobset", "tool": "kustomize", "team": "blue"})),
            ),
            (
                json!({"matchExpressions": [
                    {"key": "name", "operator": "In", "values": ["jobset", "other"]},
                    {"key": "tool", "operator": "Exists"},
                    {"key": "team", "operator": "DoesNotExist"},
                    {"key": "team", "operator": "NotIn", "values": ["blue"]},
                ]}),
                Some(labels.clone()),
            ),
            (json!({"matchLabels": {"name": "other"}}), None),
            (json!({"matchExpressions": [{"key": "name", "operator": "NotIn", "values": ["jobset"]}]}), None),
            (json!({"matchExpressions": [{"key": "team", "operator": "Exists"}]}), None),
            (json!({"matchExpressions": [{"key": "tool", "operator": "DoesNotExist"}]}), None),
            (json!({"matchExpressions": [{"key": "tool", "operator": "Resembles"}]}), None),
        ] {
            let mut desired = deployment(&own, &labels);
            keep(&mut desired, &deployment(&live, &json!({})));
            let (selector, pods) = expected.map_or((&own, labels.clone()), |pods| (&live, pods));
            assert_eq!(desired, deployment(selector, &pods), "{live}");
        }
    }

    #[test]
    fn pods_with_the_labels_of_the_new_selector_are_adopted() {
        let desired = deployment(&json!({"matchLabels": {"name": "jobset"}}), &json!({"name": "jobset"}));
        for (labels, expected) in [
            (json!({"name": "jobset", "team": "blue"}), true),
            (json!({"team": "blue"}), false),
            (json!({"name": "other"}), false),
            (Value::Null, false),
        ] {
            assert_eq!(adopts(&desired, &deployment(&json!({}), &labels)), expected, "{labels}");
        }
    }
}
