//! Validation of a new JobSet.

use super::FieldError;
use crate::snapshot::Gates;
use jobset_api::JobSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaimSpec;
use std::collections::BTreeMap;

/// What was found of a claim that the JobSet would make.
#[derive(Clone, Debug, PartialEq)]
pub enum ExistingClaim {
    /// No claim of that name.
    Absent,
    /// A claim with this spec.
    Present(Box<PersistentVolumeClaimSpec>),
    /// It could not be read, and why.
    ReadError(String),
}

/// Claims by name, in the JobSet's namespace. A name that is not there counts as absent.
pub type ExistingClaims = BTreeMap<String, ExistingClaim>;

/// Names of the claims to look up before [`validate_create`].
pub fn claims_to_read(_jobset: &JobSet) -> Vec<String> {
    Vec::new()
}

/// Every error of a new JobSet, after defaulting.
pub fn validate_create(_jobset: &JobSet, _claims: &ExistingClaims, _gates: &Gates) -> Vec<FieldError> {
    Vec::new()
}
