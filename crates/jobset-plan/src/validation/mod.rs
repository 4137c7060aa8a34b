//! Validates JobSets at admission, with the messages of the JobSet API.
//!
//! | | |
//! |---|---|
//! | [`validate_create`] | rules for a new JobSet that the CRD's schema cannot express |
//! | [`validate_update`] | immutable fields, and fields that can change while the JobSet is suspended |
//! | [`warnings`], [`shared_subdomain`] | valid specs that cause problems |
//! | [`validate_injection`], [`injection_warnings`] | the request for the agent of in-place restart |
//!
//! Validation returns all errors at once, in a fixed order. An empty list accepts the JobSet. This module does not read
//! from the cluster: the caller reads the claims that [`claims_to_read`] returns, and finds the JobSets that share the
//! [`headless_service`] of the new JobSet.

mod active_deadline;
mod agent_injection;
mod coordinator;
mod create;
mod failure_policy;
mod field_error;
mod in_place_warnings;
mod names;
mod quantity;
mod replicated_job;
mod scheduling;
pub(crate) mod semantic_equality;
mod shared_subdomain;
mod update;
mod volume_claims;
mod warnings;

pub use agent_injection::{injection_warnings, validate_injection};
pub use create::validate_create;
pub use field_error::{ErrorType, FieldError, aggregate};
pub use names::{dns_1035_label, dns_1123_subdomain};
pub use shared_subdomain::{headless_service, shared_subdomain};
pub use update::validate_update;
pub use volume_claims::{ExistingClaim, ExistingClaims, claims_to_read};
pub use warnings::warnings;

#[cfg(test)]
mod tests;
