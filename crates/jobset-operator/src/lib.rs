//! The JobSet operator: it installs the JobSet controller (the *operand*), keeps it as it should be, and says how
//! it is.
//!
//! ```text
//! observe/   watches -> Observed      the JobSetOperator, the objects we manage, the APIs that exist, certificates
//! desired/   Observed -> objects      pure: what should exist, in the order in which it is applied
//! act/       objects -> API requests  server-side apply of what differs, prune, one status
//! ```
//!
//! [`rbac`] is the one table of who may do what; [`names`] the one list of names.

pub mod act;
pub mod desired;
pub mod election;
pub mod measure;
pub mod names;
pub mod observe;
pub mod rbac;
pub mod run;

pub use desired::operator::{OperatorInputs, operator_objects};
