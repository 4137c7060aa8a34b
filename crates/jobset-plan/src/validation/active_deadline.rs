//! Validation of `spec.activeDeadlineSeconds`. The CRD's schema has the minimum.

use super::FieldError;
use crate::Gates;

/// The error of a deadline that the feature gate does not permit. `before` is the stored value: it can stay, and any
/// deadline can be removed.
pub(super) fn validate(before: Option<i64>, now: Option<i64>, gates: &Gates) -> Option<FieldError> {
    let new = now.filter(|_| now != before && !gates.active_deadline_seconds)?;
    let detail = "cannot be set when JobSetActiveDeadlineSeconds feature gate is disabled";
    Some(FieldError::invalid("spec.activeDeadlineSeconds", &new, detail))
}
