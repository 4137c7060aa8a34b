//! Semantic equality, as typed Go clients require it.
//!
//! A Go client decodes an object into structs and writes it back. This can remove an explicit zero such as
//! `hostNetwork: false`, add an empty struct such as `resources: {}`, and change the notation of a quantity. None of
//! these counts as a change, otherwise Kueue could not update a JobSet. But if the Go field is a pointer, zero and
//! absent differ: `backoffLimit: 0` is not the default, and `namespaceSelector: {}` selects every namespace.
//!
//! So this module converts both sides to a normal form in JSON and compares them. The order of lists matters:
//!
//! | value | normal form |
//! |---|---|
//! | null, empty list, empty map | absent |
//! | zero of a field that is a plain value in Go | absent |
//! | empty object of a field that is a plain struct in Go | absent |
//! | quantity | its number |
//!
//! Kubernetes' OpenAPI document does not show which fields are pointers. The tables below come from the Go types of
//! `k8s.io/api` 0.36, from `JobTemplateSpec` and `PersistentVolumeClaimSpec` down, by reflection. For each field of a
//! Job template, absent and zero were compared here and in Go. A few names are a pointer in one struct and a value in
//! another. The field that contains the struct distinguishes them. The only exception is `resources`, where an empty
//! object is absent everywhere. A field of a later Kubernetes version counts as a pointer if it is a number, a boolean
//! or an object, so that any difference is a change.

use super::quantity;
use jobset_api::jobset::ReplicatedJob;
use k8s_openapi::api::core::v1::{PersistentVolumeClaimSpec, ResourceRequirements};
use serde_json::{Map, Value};

/// Whether two lists of ReplicatedJobs mean the same.
pub(crate) fn replicated_jobs_are_equal(a: &[ReplicatedJob], b: &[ReplicatedJob]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b || is_same(a, b, "replicatedJobs"))
}

/// Whether two claim specs mean the same.
pub(super) fn claim_specs_are_equal(a: &PersistentVolumeClaimSpec, b: &PersistentVolumeClaimSpec) -> bool {
    a == b || is_same(a, b, "spec")
}

/// Whether the resources of two containers mean the same.
pub(crate) fn resources_are_equal(a: &ResourceRequirements, b: &ResourceRequirements) -> bool {
    a == b || is_same(a, b, "resources")
}

fn is_same<T: serde::Serialize>(a: &T, b: &T, key: &str) -> bool {
    // By way of text: the code that serializes the types of a pod is large, and exists once for each kind of target.
    let tree = |value: &T| serde_json::from_str::<Value>(&serde_json::to_string(value)?);
    match (tree(a), tree(b)) {
        (Ok(a), Ok(b)) => normal_form(a, key) == normal_form(b, key),
        _ => false,
    }
}

/// Structs that are values. If empty, they are absent.
const PLAIN_STRUCTS: [&str; 6] =
    ["metadata", "podAffinityTerm", "preference", "resources", "spec", "template"];
/// Maps from strings to strings. Their keys are not field names, and an empty string is a value.
const TEXT_MAPS: [&str; 6] =
    ["annotations", "labels", "matchLabels", "nodeSelector", "userAnnotations", "volumeAttributes"];
/// Maps from strings to quantities.
const QUANTITY_MAPS: [&str; 3] = ["limits", "overhead", "requests"];
/// Booleans that are values.
const PLAIN_BOOLEANS: [&str; 10] = [
    "chapAuthDiscovery",
    "chapAuthSession",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "readOnly",
    "sslEnabled",
    "stdin",
    "stdinOnce",
    "tty",
];
/// Numbers that are values.
const PLAIN_NUMBERS: [&str; 14] = [
    "containerPort",
    "failureThreshold",
    "generation",
    "hostPort",
    "initialDelaySeconds",
    "lun",
    "maxSkew",
    "partition",
    "periodSeconds",
    "port",
    "seconds",
    "successThreshold",
    "timeoutSeconds",
    "weight",
];
/// Strings that are pointers in every struct. Most strings are values.
const POINTER_TEXTS: [&str; 30] = [
    "apiGroup",
    "cachingMode",
    "completionMode",
    "fsGroupChangePolicy",
    "gmsaCredentialSpec",
    "gmsaCredentialSpecName",
    "hostnameOverride",
    "initiatorName",
    "localhostProfile",
    "managedBy",
    "mountPropagation",
    "nodeAffinityPolicy",
    "nodeTaintsPolicy",
    "podGroupName",
    "podReplacementPolicy",
    "preemptionPolicy",
    "procMount",
    "recursiveReadOnly",
    "resourceClaimName",
    "resourceClaimTemplateName",
    "runAsUserName",
    "runtimeClassName",
    "seLinuxChangePolicy",
    "service",
    "stopSignal",
    "storageClassName",
    "succeededIndexes",
    "supplementalGroupsPolicy",
    "volumeAttributesClassName",
    "volumeMode",
];
/// Scalars that are pointers, although fields with the same name are values elsewhere, as (holder, field).
const POINTERS_BY_HOLDER: [(&str, &str); 15] = [
    ("azureDisk", "fsType"),
    ("azureDisk", "kind"),
    ("azureDisk", "readOnly"),
    ("clusterTrustBundle", "name"),
    ("clusterTrustBundle", "signerName"),
    ("containers", "restartPolicy"),
    ("csi", "fsType"),
    ("csi", "readOnly"),
    ("dataSourceRef", "namespace"),
    ("ephemeralContainers", "restartPolicy"),
    ("fc", "lun"),
    ("hostPath", "type"),
    ("initContainers", "restartPolicy"),
    ("onExitCodes", "containerName"),
    ("options", "value"),
];

/// The normal form of a value: equivalent values have the same normal form. `key` is the field that contains the value.
/// The elements of a list have the key of the list.
fn normal_form(value: Value, key: &str) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(|item| normal_form(item, key)).collect()),
        Value::Object(fields) => Value::Object(normal_fields(fields, key)),
        other => other,
    }
}

fn normal_fields(fields: Map<String, Value>, holder: &str) -> Map<String, Value> {
    let mut normal = Map::new();
    for (key, value) in fields {
        let value = match value {
            Value::Object(entries) if QUANTITY_MAPS.contains(&key.as_str()) => Value::Object(
                entries.into_iter().map(|(name, text)| (name, quantity::normal_form(text))).collect(),
            ),
            // `options` is a map in a flexVolume, and a list in a dnsConfig.
            Value::Object(entries) if TEXT_MAPS.contains(&key.as_str()) || key == "options" => {
                Value::Object(entries)
            }
            text @ Value::String(_) if ["divisor", "sizeLimit"].contains(&key.as_str()) => {
                quantity::normal_form(text)
            }
            other => normal_form(other, &key),
        };
        if !is_absent(&value, &key, holder) {
            normal.insert(key, value);
        }
    }
    normal
}

/// Whether a field with this value, in normal form, is equivalent to an absent field.
fn is_absent(value: &Value, key: &str, holder: &str) -> bool {
    let pointer = || POINTERS_BY_HOLDER.contains(&(holder, key));
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => {
            let is_map = TEXT_MAPS.contains(&key) || QUANTITY_MAPS.contains(&key) || key == "options";
            fields.is_empty() && (is_map || PLAIN_STRUCTS.contains(&key))
        }
        Value::Bool(value) => !value && PLAIN_BOOLEANS.contains(&key) && !pointer(),
        Value::Number(number) => number.as_i64() == Some(0) && PLAIN_NUMBERS.contains(&key) && !pointer(),
        Value::String(text) if key == "divisor" => quantity::is_zero(text),
        Value::String(text) => text.is_empty() && !POINTER_TEXTS.contains(&key) && !pointer(),
    }
}
