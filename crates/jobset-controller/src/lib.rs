//! The JobSet controller manager: watches JobSets and their Jobs, does what they ask for, and serves admission.
//!
//! ```text
//! observe/    watches -> index                   what the cluster looks like
//! jobset-plan (snapshot, now) -> plan            what to do: pure, in a crate of its own
//! act/        actions -> requests -> index       writes, bounded
//! reconcile   the loop that joins the three; memory: what it remembers between reconciles
//! failures    which failed requests are new, and which repeat an earlier one
//! requeue     JobSets that a watch event concerns, on their way into the work queue
//! certificates  the webhooks' certificate
//! admission/  HTTP around the decisions about new and changed JobSets
//! run         the process around all of it
//! ```
//!
//! Public is what `main` starts, and what tests, fuzzing and benchmarks reach without a process: admission.

mod act;
pub mod admission;
mod certificates;
mod failures;
mod memory;
mod metrics;
mod observe;
mod reconcile;
mod requeue;
mod run;
mod settings;

pub use observe::{Index, Placement};
pub use run::run;
pub use settings::Flags;
