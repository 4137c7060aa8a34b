//! Validation of a change.

use super::FieldError;
use crate::snapshot::Gates;
use jobset_api::JobSet;

/// Every error of a change from `old` to `new`.
pub fn validate_update(old: &JobSet, new: &JobSet, _gates: &Gates) -> Vec<FieldError> {
    if old.spec.managed_by == new.spec.managed_by {
        return Vec::new();
    }
    vec![FieldError::invalid("spec.managedBy", &new.spec.managed_by, "field is immutable")]
}
