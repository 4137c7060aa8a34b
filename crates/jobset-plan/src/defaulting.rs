//! Defaults of a new JobSet that its schema cannot express.
//!
//! They are applied on create only, and written as the smallest JSON patch: what the user wrote is not touched,
//! so that the schema's own errors speak of what the user wrote.

use serde_json::{Map, Value, json};

/// One field to set, by JSON pointer. Applied in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Default {
    /// Where (RFC 6901).
    pub path: String,
    /// What.
    pub value: Value,
}

/// The defaults that `jobset`, as it was sent, lacks. An object of the wrong shape gets none where it is wrong:
/// the API server's schema then says what is wrong with it.
pub fn defaults(jobset: &Value) -> Vec<Default> {
    let mut result = Vec::new();
    let Some(jobset) = jobset.as_object() else { return result };
    let Some(spec) = jobset.get("spec").filter(|spec| !spec.is_null()) else {
        return vec![set(
            "/spec",
            json!({
                "network": network_defaults(),
                "startupPolicy": {"startupPolicyOrder": "AnyOrder"},
                "successPolicy": {"operator": "All"},
            }),
        )];
    };
    let Some(spec) = spec.as_object() else { return result };
    if absent(spec, "successPolicy") {
        result.push(set("/spec/successPolicy", json!({"operator": "All"})));
    }
    if absent(spec, "startupPolicy") {
        result.push(set("/spec/startupPolicy", json!({"startupPolicyOrder": "AnyOrder"})));
    }
    for (i, replicated_job) in list(spec.get("replicatedJobs")).iter().enumerate() {
        let job = format!("/spec/replicatedJobs/{i}/template/spec");
        let Some(job_spec) = replicated_job.pointer("/template/spec").and_then(Value::as_object) else {
            continue;
        };
        if absent(job_spec, "completionMode") {
            result.push(set(format!("{job}/completionMode"), json!("Indexed")));
        }
        let pod_spec = job_spec.get("template").and_then(|template| template.get("spec"));
        if let Some(pod_spec) = pod_spec.and_then(Value::as_object)
            && (absent(pod_spec, "restartPolicy") || pod_spec.get("restartPolicy") == Some(&json!("")))
        {
            result.push(set(format!("{job}/template/spec/restartPolicy"), json!("OnFailure")));
        }
    }
    if absent(spec, "network") {
        result.push(set("/spec/network", network_defaults()));
    } else if let Some(network) = spec.get("network").and_then(Value::as_object) {
        for field in ["enableDNSHostnames", "publishNotReadyAddresses"] {
            if absent(network, field) {
                result.push(set(format!("/spec/network/{field}"), json!(true)));
            }
        }
    }
    for (i, rule) in list(spec.get("failurePolicy").and_then(|policy| policy.get("rules"))).iter().enumerate()
    {
        if let Some(rule) = rule.as_object()
            && (absent(rule, "name") || rule.get("name") == Some(&json!("")))
        {
            let name = format!("failurePolicyRule{i}");
            result.push(set(format!("/spec/failurePolicy/rules/{i}/name"), json!(name)));
        }
    }
    for (i, policy) in list(spec.get("volumeClaimPolicies")).iter().enumerate() {
        if policy.as_object().is_some_and(|policy| absent(policy, "retentionPolicy")) {
            let path = format!("/spec/volumeClaimPolicies/{i}/retentionPolicy");
            result.push(set(path, json!({"whenDeleted": "Delete"})));
        }
    }
    result
}

fn network_defaults() -> Value {
    json!({"enableDNSHostnames": true, "publishNotReadyAddresses": true})
}

fn set(path: impl Into<String>, value: Value) -> Default {
    Default { path: path.into(), value }
}

fn absent(object: &Map<String, Value>, field: &str) -> bool {
    object.get(field).is_none_or(Value::is_null)
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(jobset: &Value) -> Vec<(String, Value)> {
        defaults(jobset).into_iter().map(|default| (default.path, default.value)).collect()
    }

    #[test]
    fn an_empty_spec_gets_all_policies() {
        assert_eq!(
            paths(&json!({"spec": {}})),
            [
                ("/spec/successPolicy".into(), json!({"operator": "All"})),
                ("/spec/startupPolicy".into(), json!({"startupPolicyOrder": "AnyOrder"})),
                (
                    "/spec/network".into(),
                    json!({"enableDNSHostnames": true, "publishNotReadyAddresses": true})
                ),
            ]
        );
        assert_eq!(paths(&json!({})).len(), 1, "also where there is no spec");
    }

    #[test]
    fn each_list_item_is_looked_at() {
        let jobset = json!({"spec": {
            "successPolicy": {"operator": "Any"},
            "startupPolicy": {"startupPolicyOrder": "InOrder"},
            "network": {"publishNotReadyAddresses": false},
            "replicatedJobs": [
                {"name": "driver", "template": {"spec": {
                    "completionMode": "NonIndexed", "template": {"spec": {"restartPolicy": "Never"}}}}},
                {"name": "worker", "template": {"spec": {"template": {"spec": {"restartPolicy": ""}}}}},
                {"name": "plain", "template": {"spec": {"completionMode": "Indexed", "template": {"spec": {}}}}},
                {"name": "shapeless", "template": 7},
            ],
            "failurePolicy": {"rules": [{"name": "kept"}, {"action": "FailJobSet"}, {"name": ""}]},
            "volumeClaimPolicies": [{"retentionPolicy": {"whenDeleted": "Retain"}}, {"templates": []}],
        }});
        assert_eq!(
            paths(&jobset),
            [
                ("/spec/replicatedJobs/1/template/spec/completionMode".into(), json!("Indexed")),
                (
                    "/spec/replicatedJobs/1/template/spec/template/spec/restartPolicy".into(),
                    json!("OnFailure")
                ),
                (
                    "/spec/replicatedJobs/2/template/spec/template/spec/restartPolicy".into(),
                    json!("OnFailure")
                ),
                ("/spec/network/enableDNSHostnames".into(), json!(true)),
                ("/spec/failurePolicy/rules/1/name".into(), json!("failurePolicyRule1")),
                ("/spec/failurePolicy/rules/2/name".into(), json!("failurePolicyRule2")),
                ("/spec/volumeClaimPolicies/1/retentionPolicy".into(), json!({"whenDeleted": "Delete"})),
            ]
        );
    }

    /// Null is as good as absent (Kubernetes), an empty object is not.
    #[test]
    fn what_is_there_and_empty() {
        let policies = |value: &Value| json!({"spec": {"successPolicy": value, "startupPolicy": value, "network": value}});
        assert_eq!(paths(&policies(&Value::Null)), paths(&json!({"spec": {}})));
        assert_eq!(paths(&json!({"spec": null})), paths(&json!({})));
        assert_eq!(
            paths(&policies(&json!({}))),
            [
                ("/spec/network/enableDNSHostnames".into(), json!(true)),
                ("/spec/network/publishNotReadyAddresses".into(), json!(true)),
            ]
        );
    }

    #[test]
    fn a_wrong_shape_is_left_to_the_schema() {
        for jobset in [json!(null), json!(7), json!({"spec": 7}), json!({"spec": {"network": 7}})] {
            let touched = defaults(&jobset);
            assert!(jobset.is_object() || touched.is_empty(), "{jobset}: {touched:?}");
            assert!(touched.iter().all(|default| default.path != "/spec/network"), "{jobset}: {touched:?}");
        }
    }
}
