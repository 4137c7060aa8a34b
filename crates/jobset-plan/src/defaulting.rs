//! Defaults of a JobSet that its schema cannot express.
//!
//! They are a minimal JSON patch. Fields that the user set do not change, so that errors from the schema name the
//! values that the user wrote.
//!
//! Admission also defaults updates, because clients such as `kubectl apply` and `kubectl replace` send lists and
//! objects from the file, without the defaults of the creation. A field whose meaning does not change keeps its stored
//! form, so that an unchanged file never changes a JobSet: see [`defaults_on_update`].

mod managed_fields;

use crate::{Gates, validation::semantic_equality::replicated_jobs_are_equal};
use jobset_api::{
    JobSetSpec,
    jobset::ReplicatedJob,
    scheduling::{CompositeGang, CompositeSchedulingPolicy, Scheduling},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

const COMPLETION_MODE: &str = "Indexed";
const RESTART_POLICY: &str = "OnFailure";

/// Fields of the spec that are immutable while they are present: by the CRD, where any difference counts as a change,
/// including one between an explicit and an implicit default, or by validation.
const IMMUTABLE: [&str; 6] =
    ["network", "successPolicy", "failurePolicy", "startupPolicy", "volumeClaimPolicies", "scheduling"];

const REPLICATED_JOBS: &str = "replicatedJobs";

/// The only default that depends on a feature gate.
const SCHEDULING_POLICY: &str = "/spec/scheduling/schedulingPolicy";

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
pub fn defaults(jobset: &Value, gates: &Gates) -> Vec<Default> {
    let mut defaults = all_defaults(jobset);
    defaults.retain(|default| is_enabled(default, gates));
    defaults
}

fn is_enabled(default: &Default, gates: &Gates) -> bool {
    default.path != SCHEDULING_POLICY || gates.workload_aware_scheduling
}

/// The missing defaults with every feature gate on.
fn all_defaults(jobset: &Value) -> Vec<Default> {
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
    if let Some(scheduling) = spec.get("scheduling").and_then(Value::as_object)
        && absent(scheduling, "schedulingPolicy")
        && (absent(scheduling, REPLICATED_JOBS) || scheduling.get(REPLICATED_JOBS) == Some(&json!([])))
    {
        result.push(set(SCHEDULING_POLICY, json!({"gang": {}})));
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
pub fn defaults_on_update(old: &Value, new: &Value, gates: &Gates) -> Vec<Default> {
    let (lacking_before, lacking) = (all_defaults(old), all_defaults(new));
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
        !of_whole_field && !is_kept && !lacked_before && is_enabled(default, gates)
    };
    restored.extend(lacking.into_iter().filter(is_needed));
    restored.extend(managed_fields::restored(old, new, &restored));
    restored
}

/// Whether two values of a field decode to the same: clients with Go's types omit a zero that a manifest contains.
fn means_the_same(field: &str, before: Option<&Value>, after: Option<&Value>) -> bool {
    let decoded = |value: &Value| from_text::<JobSetSpec>(&json!({ field: value }));
    before == after
        || before.zip(after).is_some_and(|(before, after)| {
            decoded(before).is_some_and(|before| Some(before) == decoded(after))
        })
}

/// Decodes by way of text, as all other code does: the code that decodes the types of a pod is large, and exists once
/// for each kind of source.
fn from_text<T: DeserializeOwned>(value: &Value) -> Option<T> {
    serde_json::from_str(&value.to_string()).ok()
}

/// Whether two lists of ReplicatedJobs differ only in defaults and in empty objects and lists.
fn is_same_list(before: &Value, after: &Value) -> bool {
    let decoded = |list: &Value| {
        let mut list: Vec<ReplicatedJob> = from_text(list)?;
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

/// Sets the same default in a decoded `spec.scheduling`.
pub(crate) fn fill_in_scheduling(scheduling: &mut Scheduling) {
    if scheduling.replicated_jobs.is_empty() {
        scheduling.scheduling_policy.get_or_insert_with(|| CompositeSchedulingPolicy {
            gang: Some(CompositeGang::default()),
            basic: None,
        });
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
mod tests;
