//! The decisions about JobSets, all pure: no client, no clock, no await.
//!
//! ```text
//!   Snapshot ─────────► plan() ─────────► Plan
//!   the JobSet and      reads like        actions, the whole new status,
//!   the records of      the life of       events, when to look again
//!   its children        a JobSet
//! ```
//!
//! Whoever calls [`plan()`] does what [`Execution`] says: carries the actions out, then stores the status with the
//! resource version that the snapshot had, then sends the events. A settled JobSet yields an empty plan.
//!
//! Admission decides here too: [`defaulting`] and [`validation`].

mod buckets;
mod child_job;
mod conditions;
pub mod defaulting;
mod depends_on;
mod elastic;
mod execution;
mod failure_policy;
mod feature_gates;
mod message_patterns;
mod network;
mod placement;
mod plan;
pub mod pod_admission;
mod replicated_jobs_status;
mod restart;
mod snapshot;
mod startup_policy;
mod status_timing;
mod success_policy;
mod suspend;
mod ttl;
pub mod validation;
mod volume_claims;

pub use elastic::JobSize;
pub use execution::{Execution, Requeue, Step};
pub use feature_gates::{FEATURE_GATES, FeatureGate, FeatureGateError, Gates, Stage};
pub use network::subdomain;
pub use plan::{Action, Event, EventKind, Plan, Problem};
pub use snapshot::{JobRecord, LabelValue, Outcome, Snapshot, Verdict};
pub use status_timing::StatusTiming;
pub use suspend::JobResume;
pub use volume_claims::claim_names;

use buckets::Buckets;
use jiff::Timestamp;
use jobset_api::{JobSet, labels};
use plan::Draft;

/// What to do next for one JobSet, seen at `now`.
pub fn plan(snapshot: &Snapshot<'_>, now: Timestamp, gates: &Gates) -> Plan {
    let jobset = snapshot.jobset;
    if jobset.metadata.deletion_timestamp.is_some() || managed_elsewhere(jobset) {
        return Plan::default();
    }
    let jobs = Buckets::of(snapshot, gates);
    let mut draft = Draft::new(jobset, &jobs, now);
    jobs.report_foreign(jobset, &mut draft);

    draft.status.replicated_jobs_status = replicated_jobs_status::count(jobset, &jobs, gates);
    if let Some(finished_at) = conditions::finished(&draft.status.conditions) {
        draft.delete_jobs(&jobs.active);
        if !jobs.active.is_empty() {
            draft
                .waiting
                .push(format!("the JobSet has finished; jobs still being deleted: {}", jobs.active.len()));
        }
        ttl::apply(jobset, finished_at, &mut draft);
        return draft.finish();
    }
    draft.delete_jobs(&jobs.previous);
    restart::note_end(jobset, &mut draft);
    if !jobs.failed.is_empty() {
        failure_policy::apply(jobset, &jobs.failed, gates, &mut draft);
        return draft.finish();
    }
    if success_policy::is_met(jobset, &jobs.successful) {
        success_policy::complete(&mut draft);
        return draft.finish();
    }
    network::ensure_headless_service(snapshot, &mut draft);
    volume_claims::ensure(snapshot, &mut draft);
    child_job::create_missing(snapshot, &jobs, gates, &mut draft);
    if jobset.spec.is_suspended() {
        suspend::suspend(&jobs.active, &mut draft);
    } else {
        suspend::resume(jobset, &jobs.active, gates, &mut draft);
    }
    elastic::scale(jobset, &jobs.active, gates, &mut draft);
    draft.finish()
}

/// Whether another controller looks after this JobSet.
fn managed_elsewhere(jobset: &JobSet) -> bool {
    jobset.spec.managed_by.as_deref().is_some_and(|by| by != labels::MANAGED_BY_JOBSET_CONTROLLER)
}

#[cfg(test)]
mod tests;
