//! Object metadata without `managedFields`: no program reads them, and they can be larger than the rest of an object.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

/// The fields that decoding keeps.
#[derive(Default, Deserialize)]
#[serde(default, rename = "ObjectMeta", rename_all = "camelCase")]
struct Kept {
    annotations: Option<BTreeMap<String, String>>,
    creation_timestamp: Option<Time>,
    deletion_grace_period_seconds: Option<i64>,
    deletion_timestamp: Option<Time>,
    finalizers: Option<Vec<String>>,
    generate_name: Option<String>,
    generation: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    name: Option<String>,
    namespace: Option<String>,
    owner_references: Option<Vec<OwnerReference>>,
    resource_version: Option<String>,
    uid: Option<String>,
}

/// Decodes metadata, and skips `managedFields`. For `#[serde(deserialize_with)]`.
pub fn without_managed_fields<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let kept = Kept::deserialize(deserializer)?;
    Ok(ObjectMeta {
        annotations: kept.annotations,
        creation_timestamp: kept.creation_timestamp,
        deletion_grace_period_seconds: kept.deletion_grace_period_seconds,
        deletion_timestamp: kept.deletion_timestamp,
        finalizers: kept.finalizers,
        generate_name: kept.generate_name,
        generation: kept.generation,
        labels: kept.labels,
        managed_fields: None,
        name: kept.name,
        namespace: kept.namespace,
        owner_references: kept.owner_references,
        resource_version: kept.resource_version,
        self_link: None,
        uid: kept.uid,
    })
}

#[cfg(test)]
mod tests {
    use crate::JobSet;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use serde_json::json;

    #[test]
    fn decoding_keeps_all_metadata_except_managed_fields() {
        let mut metadata = json!({
            "annotations": {"a": "1"}, "creationTimestamp": "2026-03-01T09:00:00Z", "deletionGracePeriodSeconds": 30,
            "deletionTimestamp": "2026-03-01T10:00:00Z", "finalizers": ["f"], "generateName": "train-",
            "generation": 4, "labels": {"l": "2"}, "name": "train-7", "namespace": "team",
            "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "o"}],
            "resourceVersion": "99", "uid": "u",
        });
        let expected: ObjectMeta = serde_json::from_value(metadata.clone()).unwrap();
        metadata["managedFields"] = json!([{"manager": "kubectl", "fieldsV1": {"f:spec": {"f:x": {}}}}]);
        let jobset: JobSet = serde_json::from_value(json!({"metadata": metadata})).unwrap();
        assert_eq!(jobset.metadata, expected);
    }
}
