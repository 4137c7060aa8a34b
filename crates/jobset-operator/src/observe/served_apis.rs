//! Optional APIs: whether the API server serves an API, from its CRD.

use super::kinds;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;

/// Whether the operator uses the API of a CRD, in version v1. `before` is the previous result.
///
/// An API counts as served from the moment its CRD is established until the deletion of the CRD begins. The condition
/// Established can be False for a moment, and no decision must change because of that. An API with the configuration
/// of the cluster counts as served while its CRD exists: without that configuration, the operator must not decide.
pub(super) fn is_served(crd: &DynamicObject, before: bool) -> bool {
    let list = |path: &str| crd.data.pointer(path).and_then(Value::as_array).into_iter().flatten();
    let declared = list("/spec/versions").any(|version| version["name"] == "v1" && version["served"] == true);
    let established = || {
        list("/status/conditions")
            .any(|condition| condition["type"] == "Established" && condition["status"] == "True")
    };
    let is_alive = crd.metadata.deletion_timestamp.is_none();
    declared && (kinds::is_api_of_facts(&crd.name_any()) || is_alive && (before || established()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn crd(name: &str, established: &str, version: &str, deleted: bool) -> DynamicObject {
        let mut metadata = json!({"name": name});
        if deleted {
            metadata["deletionTimestamp"] = json!("2030-01-01T00:00:00Z");
        }
        serde_json::from_value(json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": metadata,
            "spec": {"versions": [{"name": "v0", "served": true}, {"name": version, "served": true}]},
            "status": {"conditions": [{"type": "Established", "status": established}]},
        }))
        .unwrap()
    }

    #[test]
    fn an_api_is_served_from_its_establishment_until_its_deletion() {
        for (before, established, version, deleted, served) in [
            (false, "False", "v1", false, false),
            (false, "True", "v1", false, true),
            (false, "True", "v2", false, false),
            // The condition is False for a moment.
            (true, "False", "v1", false, true),
            (true, "True", "v2", false, false),
            (true, "True", "v1", true, false),
        ] {
            let crd = crd(kinds::ISSUER_CRD, established, version, deleted);
            assert_eq!(is_served(&crd, before), served, "{before} {established} {version} {deleted}");
        }
    }

    #[test]
    fn an_api_of_facts_is_served_while_its_crd_exists() {
        for name in [kinds::INFRASTRUCTURE_CRD, kinds::API_SERVER_CRD, kinds::PROXY_CRD] {
            for (established, version, deleted, served) in
                [("False", "v1", false, true), ("True", "v1", true, true), ("True", "v2", false, false)]
            {
                assert_eq!(is_served(&crd(name, established, version, deleted), false), served, "{name}");
            }
        }
    }
}
