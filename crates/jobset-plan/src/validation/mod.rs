//! Which JobSets are accepted: decided at admission, in the words of the JobSet API.
//!
//! | | |
//! |---|---|
//! | [`validate_create`] | every rule on a new JobSet that the CRD's schema cannot state |
//! | [`validate_update`] | what may not change, and what may while the JobSet is suspended |
//! | [`warnings`], [`shared_subdomain`] | what is accepted and causes trouble |
//!
//! All errors are reported at once, in a fixed order. An empty list means: accepted. Nothing here reads from the
//! cluster: the caller reads the claims that [`claims_to_read`] names, and finds the JobSets with which the new one
//! shares the name of [`headless_service`].

mod coordinator;
mod create;
mod failure_policy;
mod field_error;
mod names;
mod quantity;
mod replicated_job;
mod semantic_equality;
mod shared_subdomain;
mod update;
mod volume_claims;
mod warnings;

pub use create::validate_create;
pub use field_error::{ErrorType, FieldError, aggregate};
pub use names::{dns_1035_label, dns_1123_subdomain};
pub use shared_subdomain::{headless_service, shared_subdomain};
pub use update::validate_update;
pub use volume_claims::{ExistingClaim, ExistingClaims, claims_to_read};
pub use warnings::warnings;

#[cfg(test)]
mod tests;
