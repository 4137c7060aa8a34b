//! The decisions about JobSets, all pure: no client, no clock, no await.
//!
//! ```text
//!   Snapshot ─────────► plan() ─────────► Plan
//!   the JobSet and      reads like        actions, the whole new status,
//!   the records of      the life of       events, when to look again
//!   its children        a JobSet
//! ```
//!
//! Whoever calls [`plan()`] carries the actions out, then stores the status with the resource version that the
//! snapshot had, then sends the events. A settled JobSet yields an empty plan.
//!
//! Admission decides here too: [`defaulting`] and [`validation`].

mod buckets;
mod child_job;
mod conditions;
pub mod defaulting;
mod failure_policy;
mod network;
mod placement;
mod plan;
mod replicated_jobs_status;
mod snapshot;
mod success_policy;
pub mod validation;

pub use network::subdomain;
pub use plan::{Action, Event, EventKind, Plan};
pub use snapshot::{Gates, JobRecord, LabelValue, Outcome, Snapshot, Verdict};

use buckets::Buckets;
use jiff::Timestamp;
use jobset_api::{JobSet, conditions as types, labels};
use plan::Draft;

/// What to do next for one JobSet, seen at `now`.
pub fn plan(snapshot: &Snapshot<'_>, now: Timestamp, gates: &Gates) -> Plan {
    let jobset = snapshot.jobset;
    if jobset.metadata.deletion_timestamp.is_some() || managed_elsewhere(jobset) {
        return Plan::default();
    }
    let jobs = Buckets::of(snapshot);
    let mut draft = Draft::new(jobset, now);

    draft.status.replicated_jobs_status = replicated_jobs_status::count(jobset, &jobs);
    if conditions::is_true(&draft.status.conditions, types::COMPLETED)
        || conditions::is_true(&draft.status.conditions, types::FAILED)
    {
        draft.delete_jobs(&jobs.active);
        return draft.finish();
    }
    draft.delete_jobs(&jobs.previous);
    if !jobs.failed.is_empty() {
        failure_policy::apply(jobset, &jobs.failed, &mut draft);
        return draft.finish();
    }
    if success_policy::is_met(jobset, &jobs.successful) {
        success_policy::complete(&mut draft);
        return draft.finish();
    }
    network::ensure_headless_service(snapshot, &mut draft);
    child_job::create_missing(snapshot, gates, &mut draft);
    draft.finish()
}

/// Whether another controller looks after this JobSet.
fn managed_elsewhere(jobset: &JobSet) -> bool {
    jobset.spec.managed_by.as_deref().is_some_and(|by| by != labels::MANAGED_BY_JOBSET_CONTROLLER)
}

#[cfg(test)]
mod tests;
