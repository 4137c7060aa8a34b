//! The JobSet that controls an object.

use jobset_api::jobset;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// The owner reference of the JobSet that controls the object.
pub(crate) fn controlling_jobset(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    let owners = metadata.owner_references.iter().flatten();
    let mut controllers = owners.filter(|owner| owner.controller == Some(true));
    controllers.find(|owner| owner.api_version == jobset::API_VERSION && owner.kind == jobset::KIND)
}

/// Whether the object is deleted without a user's action: its deletion has begun, or the garbage collector will delete
/// it, because its owner is a deleted JobSet with the name `successor`.
pub(crate) fn will_be_deleted(metadata: &ObjectMeta, successor: &str) -> bool {
    let of_predecessor = |owner: &OwnerReference| owner.name == successor;
    metadata.deletion_timestamp.is_some() || controlling_jobset(metadata).is_some_and(of_predecessor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_is_deleted_or_has_a_deleted_owner_needs_no_user() {
        for (rest, expected) in [
            ("{}", false),
            ("{deletionTimestamp: '2026-03-01T09:00:00Z'}", true),
            (
                "{ownerReferences: [{apiVersion: jobset.x-k8s.io/v1alpha2, kind: JobSet, name: train, uid: old, controller: true}]}",
                true,
            ),
            (
                "{ownerReferences: [{apiVersion: jobset.x-k8s.io/v1alpha2, kind: JobSet, name: other, uid: old, controller: true}]}",
                false,
            ),
        ] {
            let metadata: ObjectMeta = serde_yaml::from_str(rest).unwrap();
            assert_eq!(will_be_deleted(&metadata, "train"), expected, "{rest}");
        }
    }
}
