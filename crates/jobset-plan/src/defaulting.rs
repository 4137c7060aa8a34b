//! Defaults of a JobSet that its schema cannot express.
//!
//! They are a minimal JSON patch. Fields that the user set do not change, so that errors from the schema name the
//! values that the user wrote.
//!
//! Admission also defaults updates, because clients such as `kubectl apply` and `kubectl replace` send lists and
//! objects from the file, without the defaults of the creation. A field whose meaning does not change keeps its stored
//! form, so that an unchanged file never changes a JobSet: see [`defaults_on_update`].

mod managed_fields;

use crate::validation::semantic_equality::replicated_jobs_are_equal;
use jobset_api::{JobSetSpec, jobset::ReplicatedJob};
use serde_json::{Map, Value, json};

const COMPLETION_MODE: &str = "Indexed";
const RESTART_POLICY: &str = "OnFailure";

/// Fields of the spec that the CRD makes immutable while they are present. Any difference counts as a change, including
/// one between an explicit and an implicit default.
const IMMUTABLE: [&str; 5] =
    ["network", "successPolicy", "failurePolicy", "startupPolicy", "volumeClaimPolicies"];

const REPLICATED_JOBS: &str = "replicatedJobs";

/// One field to set. Defaults apply in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Default {
    /// JSON pointer of the field (RFC 6901).
    pub path: String,
    /// New value of the field.
    pub value: Value,
}

/// The missing defaults of a new `jobset`, as the client sent it. Parts with a wrong type get no defaults, and the API
/// server's schema validation reports them.
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
            result.push(set(format!("{job}/completionMode"), json!(COMPLETION_MODE)));
        }
        let pod_spec = job_spec.get("template").and_then(|template| template.get("spec"));
        if let Some(pod_spec) = pod_spec.and_then(Value::as_object)
            && (absent(pod_spec, "restartPolicy") || pod_spec.get("restartPolicy") == Some(&json!("")))
        {
            result.push(set(format!("{job}/template/spec/restartPolicy"), json!(RESTART_POLICY)));
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

/// The defaults to set in an update from `old`, as stored, to `new`, as the client sent it.
///
/// | before | after | set |
/// |---|---|---|
/// | absent | absent | nothing: the JobSet was created while no webhook ran, and stays unchanged |
/// | the default, or an equivalent | absent, or an equivalent | the value before |
/// | absent | present | the defaults within it |
/// | another value | absent | nothing if the CRD allows the removal, else the default, which validation rejects |
pub fn defaults_on_update(old: &Value, new: &Value) -> Vec<Default> {
    let (lacking_before, lacking) = (defaults(old), defaults(new));
    let before = immutable_fields(old, &lacking_before);
    let after = immutable_fields(new, &lacking);
    let spec = |jobset: &Value| jobset.get("spec").filter(|spec| !spec.is_null()).cloned();
    if spec(new).is_none() {
        let same = spec(old).filter(|spec| spec.is_object() && new.is_object() && before == after);
        return same.map(|spec| set("/spec", spec)).into_iter().collect();
    }
    let stored = |field: &str| old.pointer(&format!("/spec/{field}")).filter(|value| !value.is_null());
    let (mut restored, mut kept) = (Vec::new(), Vec::new());
    for field in IMMUTABLE {
        let same = || means_the_same(field, before.get(field), after.get(field));
        let Some(stored) = stored(field).filter(|_| same()) else { continue };
        kept.push(format!("/spec/{field}"));
        if new.pointer(&format!("/spec/{field}")) != Some(stored) {
            restored.push(set(format!("/spec/{field}"), stored.clone()));
        }
    }
    if let (Some(stored), Some(sent)) = (stored(REPLICATED_JOBS), new.pointer("/spec/replicatedJobs"))
        && is_same_list(stored, sent)
    {
        kept.push("/spec/replicatedJobs".to_owned());
        if stored != sent {
            restored.push(set("/spec/replicatedJobs", stored.clone()));
        }
    }
    let is_needed = |default: &Default| {
        let of_whole_field = IMMUTABLE.iter().any(|field| default.path == format!("/spec/{field}"));
        let is_kept = kept.iter().any(|field| default.path.starts_with(&format!("{field}/")));
        let lacked_before = lacking_before.iter().any(|before| before.path == default.path);
        !of_whole_field && !is_kept && !lacked_before
    };
    restored.extend(lacking.into_iter().filter(is_needed));
    restored.extend(managed_fields::restored(old, new, &restored));
    restored
}

/// Whether two values of a field decode to the same: clients with Go's types omit a zero that a manifest contains.
fn means_the_same(field: &str, before: Option<&Value>, after: Option<&Value>) -> bool {
    let decoded = |value: &Value| serde_json::from_value::<JobSetSpec>(json!({ field: value })).ok();
    before == after
        || before.zip(after).is_some_and(|(before, after)| {
            decoded(before).is_some_and(|before| Some(before) == decoded(after))
        })
}

/// Whether two lists of ReplicatedJobs differ only in defaults and in empty objects and lists.
fn is_same_list(before: &Value, after: &Value) -> bool {
    let decoded = |list: &Value| {
        let mut list: Vec<ReplicatedJob> = serde_json::from_value(list.clone()).ok()?;
        list.iter_mut().for_each(fill_in);
        Some(list)
    };
    before == after
        || decoded(before).zip(decoded(after)).is_some_and(|(a, b)| replicated_jobs_are_equal(&a, &b))
}

/// The immutable fields of the spec, with their defaults.
fn immutable_fields(jobset: &Value, lacking: &[Default]) -> Map<String, Value> {
    let spec = jobset.get("spec").and_then(Value::as_object);
    let present =
        IMMUTABLE.iter().filter_map(|field| Some(((*field).to_owned(), spec?.get(*field)?.clone())));
    let mut defaulted = filled_in(json!({"spec": present.collect::<Map<_, _>>()}), lacking);
    match defaulted.get_mut("spec").map(Value::take) {
        Some(Value::Object(fields)) => fields.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        _ => Map::new(),
    }
}

/// The JobSet with these defaults set. Skips a default whose parent object does not exist.
fn filled_in(mut jobset: Value, defaults: &[Default]) -> Value {
    for Default { path, value } in defaults {
        if let Some((parent, field)) = path.rsplit_once('/')
            && let Some(Value::Object(parent)) = jobset.pointer_mut(parent)
        {
            parent.insert(field.to_owned(), value.clone());
        }
    }
    jobset
}

/// Sets the same defaults in a decoded ReplicatedJob.
pub fn fill_in(replicated_job: &mut ReplicatedJob) {
    let Some(job) = &mut replicated_job.template.spec else { return };
    job.completion_mode.get_or_insert_with(|| COMPLETION_MODE.to_owned());
    if let Some(pod) = &mut job.template.spec
        && pod.restart_policy.as_ref().is_none_or(String::is_empty)
    {
        pod.restart_policy = Some(RESTART_POLICY.to_owned());
    }
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
        assert_eq!(paths(&json!({})).len(), 1, "also without a spec");
    }

    #[test]
    fn each_list_item_is_defaulted() {
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

    /// Kubernetes treats null as absent, but not an empty object.
    #[test]
    fn null_is_defaulted_and_an_empty_object_is_not() {
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
    fn values_of_a_wrong_type_get_no_defaults() {
        for jobset in [json!(null), json!(7), json!({"spec": 7}), json!({"spec": {"network": 7}})] {
            let set = defaults(&jobset);
            assert!(jobset.is_object() || set.is_empty(), "{jobset}: {set:?}");
            assert!(set.iter().all(|default| default.path != "/spec/network"), "{jobset}: {set:?}");
        }
    }

    /// The JobSet after the patch that admission sends.
    fn patched(jobset: &Value, patch: Vec<Default>) -> Value {
        let mut jobset = jobset.clone();
        for Default { path, value } in patch {
            let (parent, field) = path.rsplit_once('/').unwrap();
            let parent = jobset.pointer_mut(parent).unwrap();
            parent.as_object_mut().unwrap().insert(field.to_owned(), value);
        }
        jobset
    }

    fn created(jobset: &Value) -> Value {
        patched(jobset, defaults(jobset))
    }

    fn updated(old: &Value, new: &Value) -> Value {
        patched(new, defaults_on_update(old, new))
    }

    /// A JobSet without any default, and with a rule whose name is empty.
    fn sparse() -> Value {
        let job = json!({"name": "worker", "template": {"spec": {"template": {"spec": {"containers": []}}}}});
        json!({"spec": {
            "replicatedJobs": [job],
            "failurePolicy": {"rules": [{"action": "FailJobSet"}, {"action": "RestartJobSet", "name": ""}]},
            "network": {"subdomain": "net"},
            "volumeClaimPolicies": [{"templates": []}],
        }})
    }

    #[test]
    fn an_unchanged_file_changes_nothing() {
        let explicit = created(&sparse());
        for stored in [explicit.clone(), sparse(), json!({"spec": {}}), created(&json!({})), json!({})] {
            for sent in
                [&explicit, &sparse(), &created(&json!({})), &json!({"spec": {}}), &json!({"spec": null})]
            {
                if created(sent) == created(&stored) {
                    let got = updated(&stored, sent);
                    // An implicit default may become explicit.
                    let kept = IMMUTABLE.map(|field| stored["spec"].get(field).or(sent["spec"].get(field)));
                    assert_eq!(IMMUTABLE.map(|field| got["spec"].get(field)), kept, "{stored} <- {sent}");
                    let typed = |jobset: &Value| -> Vec<ReplicatedJob> {
                        let jobs = jobset["spec"].get("replicatedJobs").cloned();
                        let mut jobs: Vec<ReplicatedJob> =
                            serde_json::from_value(jobs.unwrap_or(json!([]))).unwrap();
                        jobs.iter_mut().for_each(fill_in);
                        jobs
                    };
                    assert_eq!(typed(&got), typed(&stored), "{stored} <- {sent}");
                }
            }
            assert_eq!(updated(&stored, &stored), stored, "an update that changes nothing");
        }
        assert_eq!(updated(&explicit, &sparse()), explicit, "no default is lost");
    }

    #[test]
    fn an_update_keeps_real_changes() {
        let with = |field: &str, value: &Value| json!({"spec": {field: value}});
        for (what, field, old, new, stored) in [
            ("removed", "successPolicy", json!({"operator": "Any"}), json!(null), json!(null)),
            ("removed", "network", json!({"subdomain": "net"}), json!(null), json!(null)),
            ("removed", "failurePolicy", json!({"maxRestarts": 1}), json!(null), json!(null)),
            (
                "removed, was the default",
                "startupPolicy",
                json!({"startupPolicyOrder": "AnyOrder"}),
                json!(null),
                json!({"startupPolicyOrder": "AnyOrder"}),
            ),
            (
                "added",
                "failurePolicy",
                json!(null),
                json!({"rules": [{"action": "FailJobSet"}]}),
                json!({"rules": [{"action": "FailJobSet", "name": "failurePolicyRule0"}]}),
            ),
            (
                "added",
                "network",
                json!(null),
                json!({"subdomain": "net"}),
                json!({"subdomain": "net", "enableDNSHostnames": true, "publishNotReadyAddresses": true}),
            ),
            (
                "changed",
                "successPolicy",
                json!({"operator": "Any"}),
                json!({"operator": "All"}),
                json!({"operator": "All"}),
            ),
            (
                "changed",
                "network",
                json!({"enableDNSHostnames": false, "publishNotReadyAddresses": true}),
                json!({}),
                json!({"enableDNSHostnames": true, "publishNotReadyAddresses": true}),
            ),
        ] {
            let got = updated(&with(field, &old), &with(field, &new));
            assert_eq!(got["spec"].get(field).unwrap_or(&Value::Null), &stored, "{field} {what}");
        }
    }

    #[test]
    fn an_update_defaults_a_job_that_was_defaulted_before() {
        let (stored, path) = (created(&sparse()), "/spec/replicatedJobs/0/template/spec/completionMode");
        assert_eq!(updated(&stored, &sparse()).pointer(path), Some(&json!("Indexed")));
        assert_eq!(updated(&sparse(), &sparse()).pointer(path), None, "created while no webhook ran");
        let mut other = stored.clone();
        *other.pointer_mut(path).unwrap() = json!("NonIndexed");
        assert_eq!(
            updated(&other, &sparse()).pointer(path),
            Some(&json!("Indexed")),
            "validation rejects it"
        );
    }

    /// The Go controller and clients with Go's types write empty objects that a manifest omits, and omit its zeros.
    #[test]
    fn the_stored_form_of_an_equal_value_is_kept() {
        let manifest = json!({"spec": {
            "replicatedJobs": [{"name": "w", "template": {"spec": {"template": {"spec": {"containers": [{"name": "c"}]}}}}}],
            "failurePolicy": {"maxRestarts": 0},
            "successPolicy": {"operator": "All", "targetReplicatedJobs": []},
        }});
        let typed = json!({"spec": {
            "replicatedJobs": [{"name": "w", "template": {"metadata": {}, "spec": {"template": {
                "metadata": {}, "spec": {"containers": [{"name": "c", "resources": {}}]}}}}}],
            "failurePolicy": {},
            "successPolicy": {"operator": "All"},
        }});
        let [manifest, typed] = [created(&manifest), created(&typed)];
        assert_ne!(manifest, typed);
        assert_eq!(updated(&manifest, &typed), manifest);
        assert_eq!(updated(&typed, &manifest), typed);
        let mut changed = typed.clone();
        changed["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["containers"][0]["image"] =
            json!("b");
        assert_eq!(updated(&manifest, &changed)["spec"]["replicatedJobs"], changed["spec"]["replicatedJobs"]);
    }

    #[test]
    fn updates_of_a_wrong_type_get_no_defaults() {
        for odd in
            [json!(null), json!(7), json!({"spec": 7}), json!({"spec": {"network": 7, "failurePolicy": []}})]
        {
            for other in [json!(null), sparse(), created(&sparse()), json!({"spec": []})] {
                defaults_on_update(&odd, &other);
                for default in defaults_on_update(&other, &odd) {
                    let is_whole = odd.is_object() && default.path == "/spec";
                    assert!(odd["spec"].is_object() || is_whole, "{odd}: {default:?}");
                }
            }
        }
    }
}
