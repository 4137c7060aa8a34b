//! The JobSet controller manager. It watches JobSets and their Jobs, reconciles them, and serves admission.
//!
//! ```text
//! observe/    watches -> index                   the observed state of the cluster
//! jobset-plan (snapshot, now) -> plan            decisions: pure, in a separate crate
//! act/        actions -> requests -> index       rate-limited writes
//! reconcile   the loop of observe, plan and act; memory: its state between reconciles
//! agent_permissions  checks the permissions of the agent of in-place restart
//! failures    distinguishes new failures from repeated ones
//! repair      evicts pods outside the topology domain of their leader
//! requeue     adds JobSets to the work queue after watch events
//! certificates  the webhooks' certificate
//! admission/  the HTTP server of the admission webhooks
//! recorded    the plan for objects that another program read
//! run         the process: starts and stops these parts
//! ```
//!
//! The public items are those that `main` starts, admission, which tests, fuzzing and benchmarks call without a process,
//! and `recorded`, which the plugin for kubectl calls.

mod act;
pub mod admission;
mod agent_permissions;
mod certificates;
mod failures;
mod memory;
mod metrics;
mod observe;
mod reconcile;
pub mod recorded;
mod repair;
mod requeue;
mod run;
mod settings;

pub use observe::{Index, Placement};
pub use run::run;
pub use settings::Flags;
