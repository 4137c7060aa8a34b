//! Which JobSets are accepted: decided at admission, in the words of the JobSet API.
//!
//! | | |
//! |---|---|
//! | [`validate_create`] | every rule on a new JobSet that the CRD's schema cannot state |
//! | [`validate_update`] | what may not change, and what may while the JobSet is suspended |
//! | [`warnings`] | what is accepted and yet will hurt |
//!
//! All errors are reported at once, in a fixed order. An empty list means: accepted.

mod create;
mod field_error;
mod update;
mod warnings;

pub use create::{ExistingClaim, ExistingClaims, claims_to_read, validate_create};
pub use field_error::{ErrorType, FieldError, aggregate};
pub use update::validate_update;
pub use warnings::warnings;
