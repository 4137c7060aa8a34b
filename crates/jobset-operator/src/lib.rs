//! The JobSet operator. It installs the JobSet controller (the *operand*), keeps it in its desired state, and reports
//! its status.
//!
//! ```text
//! observe/   watches -> Observed      the JobSetOperator, managed objects, served APIs, certificates
//! desired/   Observed -> objects      pure functions: the desired objects, in apply order
//! act/       objects -> API requests  server-side apply of objects that differ, pruning, status
//! ```
//!
//! [`gather`] is a program of its own in the same image. It collects what support needs.
//!
//! [`rbac`] contains all RBAC rules, [`names`] the names of all objects, and [`reasons`] the
//! reasons of conditions and events.

pub mod act;
pub mod content_hash;
pub mod desired;
pub mod election;
pub mod gather;
pub mod measure;
pub mod names;
pub mod observe;
pub mod rbac;
pub mod reasons;
pub mod run;

pub use desired::operator::{OperatorInputs, operator_objects};
