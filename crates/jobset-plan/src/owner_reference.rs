//! The owner reference from children to their JobSet.

use jobset_api::{JobSet, jobset};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

/// The controller owner reference to `jobset`.
pub(crate) fn owner_reference(jobset: &JobSet) -> OwnerReference {
    OwnerReference {
        api_version: jobset::API_VERSION.to_owned(),
        kind: jobset::KIND.to_owned(),
        name: jobset.metadata.name.clone().unwrap_or_default(),
        uid: jobset.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
