//! Gang scheduling: the Workload and the PodGroups of a JobSet with `spec.scheduling` (feature gate
//! JobSetWorkloadAwareSchedulingAPI).
//!
//! ```text
//! spec.scheduling ──groups──► Groups ──┬─ reconcile ──► create, scale or delete Workload and PodGroups
//!                                      ├─ status ─────► condition GangScheduled
//!                                      └─ job ────────► annotation and schedulingGroup of a child Job
//! ```
//!
//! Pods of a group wait for its PodGroup, so Jobs start only when the Workload and all PodGroups exist. A suspended or
//! finished JobSet has none of them. The Kubernetes scheduler does the scheduling.

mod drift;
mod groups;
mod job;
mod min_count;
pub(crate) mod names;
mod objects;
mod reconcile;
mod status;

pub(crate) use groups::{Groups, TEMPLATES_MAX};
pub(crate) use job::{add_to_group, delete_outdated};
pub(crate) use reconcile::{delete_if_finished, reconcile};
pub use status::GroupFailure;
pub(crate) use status::creation_failed;
