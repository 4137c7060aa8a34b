//! The decisions about JobSets. All are pure: no client, no clock, no await.
//!
//! ```text
//!   Snapshot ─────────► plan() ─────────► Plan
//!   the JobSet and                        actions, the whole new status,
//!   the records of                        events, the requeue time
//!   its children
//! ```
//!
//! The caller of [`plan()`] follows [`Execution`]: it sends the requests, stores the status with the resource version
//! of the snapshot, and sends the events. The plan of a settled JobSet is empty.
//!
//! [`defaulting`], [`validation`] and [`pod_admission`] contain the decisions of admission.

mod active_deadline;
pub mod agent_injection;
mod buckets;
mod child_job;
mod conditions;
pub mod defaulting;
mod depends_on;
mod draft;
mod elastic;
mod execution;
mod execution_attempts;
mod failure_policy;
mod feature_gates;
mod gang_scheduling;
pub mod in_place_restart;
mod job_resume;
mod job_size;
mod leader_first;
mod lost_status;
mod message_patterns;
mod network;
mod owner_reference;
mod placement;
mod plan;
pub mod pod_admission;
mod pod_record;
mod pod_resources;
mod recreation;
mod repair;
mod replicated_jobs_status;
mod restart;
mod scheduling_action;
mod service;
mod service_ports;
mod snapshot;
mod spec_defaults;
mod startup_policy;
mod status_entries;
mod status_timing;
mod success_policy;
mod suspend;
mod topology;
mod ttl;
mod uid;
pub mod validation;
mod volume_claims;

pub use execution::{Execution, Requeue, Step};
pub use feature_gates::{FEATURE_GATES, FeatureGate, FeatureGateError, Gates, Stage};
pub use gang_scheduling::GroupFailure;
pub use in_place_restart::{InPlacePods, MalformedAttempt};
pub use job_resume::JobResume;
pub use job_size::JobSize;
pub use network::subdomain;
pub use placement::topology_keys;
pub use plan::{Action, Event, EventKind, Plan, Problem, Subject};
pub use pod_record::{DISRUPTION_TARGET, POD_SCHEDULED, PodAttempt, PodGroup, PodPhase, PodRecord};
pub use pod_resources::PodResources;
pub use recreation::Recreation;
pub use repair::{Repair, UnknownDomain, disruption_target, repair};
pub use scheduling_action::{ScaledTemplate, SchedulingAction};
pub use service_ports::PortRecord;
pub use snapshot::{
    Controller, JobRecord, LabelValue, Outcome, PodGroupRecord, ScheduledCondition, SchedulingApi,
    SchedulingRecord, ServiceRecord, Snapshot, TopologyRecord, Verdict, WorkloadRecord,
};
pub use status_timing::StatusTiming;
pub use uid::Uid;
pub use volume_claims::claim_names;

use buckets::Buckets;
use draft::Draft;
use gang_scheduling::Groups;
use jiff::Timestamp;
use jobset_api::{JobSet, labels};

/// Plans the next actions for one JobSet at the time `now`. Defaults apply even if admission did not set them.
pub fn plan(snapshot: &Snapshot<'_>, now: Timestamp, gates: &Gates) -> Plan {
    if snapshot.jobset.metadata.deletion_timestamp.is_some() {
        return Plan::default();
    }
    if has_other_manager(snapshot.jobset) {
        return plan_for_other_manager(snapshot.jobset, now);
    }
    let defaulted = spec_defaults::applied_to(snapshot.jobset);
    let (jobset, snapshot) = (&*defaulted, &Snapshot { jobset: &defaulted, ..*snapshot });
    let mut draft = Draft::new(jobset, now);
    reconcile(snapshot, gates, &mut draft);
    gang_scheduling::delete_if_finished(snapshot, gates, &mut draft);
    draft.finish()
}

fn reconcile(snapshot: &Snapshot<'_>, gates: &Gates, draft: &mut Draft<'_>) {
    let jobset = snapshot.jobset;
    if lost_status::restore(snapshot, gates, draft) {
        return;
    }
    let mut jobs = Buckets::of(snapshot, gates);
    draft.unfinished = jobs.active.len();
    jobs.report_foreign(jobset, draft);

    draft.status.replicated_jobs_status = replicated_jobs_status::count(jobset, &jobs, gates);
    if let Some(finished_at) = conditions::finished(&draft.status.conditions) {
        draft.delete_jobs(&jobs.active);
        if !jobs.active.is_empty() {
            draft
                .waiting
                .push(format!("the JobSet has finished; Jobs still being deleted: {}", jobs.active.len()));
        }
        ttl::apply(jobset, finished_at, draft);
        return;
    }
    service::report_conflict(snapshot, gates, draft);
    topology::report_missing(snapshot, draft);
    execution_attempts::recover(snapshot, gates, draft);
    draft.delete_jobs(&jobs.previous);
    active_deadline::keep_start_time(jobset, gates, draft);
    restart::end_when_ready(jobset, draft);
    let expired = active_deadline::has_passed(jobset, draft);
    if !expired && !jobs.failed.is_empty() {
        failure_policy::apply(jobset, &jobs.failed, gates, draft);
        return;
    }
    if success_policy::is_met(jobset, &jobs.successful) {
        success_policy::complete(draft);
        return;
    }
    if expired {
        active_deadline::fail(jobset, &jobs.active, draft);
        return;
    }
    network::ensure_headless_service(snapshot, draft);
    volume_claims::ensure(snapshot, draft);
    let groups = Groups::of(jobset, gates);
    if gang_scheduling::reconcile(groups.as_ref(), snapshot, &jobs, gates, draft) {
        if execution_attempts::count_run(jobset, &jobs, gates, draft) {
            return;
        }
        gang_scheduling::delete_outdated(groups.as_ref(), jobset, &mut jobs, draft);
        child_job::create_missing(snapshot, &jobs, groups.as_ref(), gates, draft);
        if jobset.spec.is_suspended() {
            suspend::suspend(&jobs.active, draft);
        } else {
            suspend::resume(jobset, &jobs.active, gates, draft);
        }
        elastic::scale(jobset, &jobs.active, gates, draft);
        leader_first::add_followers(snapshot, &jobs.active, gates, draft);
    }
    if gates.in_place_restart {
        in_place_restart::apply(jobset, snapshot.in_place_pods, draft);
    }
}

/// The manager writes the status and the children. The controller only deletes the JobSet after its TTL.
fn plan_for_other_manager(jobset: &JobSet, now: Timestamp) -> Plan {
    let mut draft = Draft::new(jobset, now);
    if let Some(finished_at) = conditions::finished(&draft.status.conditions) {
        ttl::apply(jobset, finished_at, &mut draft);
    }
    draft.finish()
}

fn has_other_manager(jobset: &JobSet) -> bool {
    jobset.spec.managed_by.as_deref().is_some_and(|by| by != labels::MANAGED_BY_JOBSET_CONTROLLER)
}

#[cfg(test)]
mod tests;
