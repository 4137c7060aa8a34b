//! The JobSet controller manager: watches JobSets and their Jobs, does what they ask for, and serves admission.
//!
//! ```text
//! observe/    watches -> index                   what the cluster looks like
//! jobset-plan (snapshot, now) -> plan            what to do: pure, in a crate of its own
//! act/        actions -> requests -> index       doing it, bounded
//! reconcile   the loop that joins the three; memory: what it remembers from look to look
//! certificates  where the webhooks' certificate comes from
//! admission/  HTTP around the decisions about new and changed JobSets
//! run         the process around all of it
//! ```
//!
//! Public is what `main` starts, and what tests, fuzzing and benchmarks reach without a process: admission.

mod act;
pub mod admission;
mod certificates;
mod memory;
mod metrics;
mod observe;
mod reconcile;
mod run;
mod settings;

pub use observe::{Index, Placement};
pub use run::run;
pub use settings::Flags;
