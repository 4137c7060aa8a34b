//! `spec.startupPolicy`: with order InOrder, a ReplicatedJob starts when the previous ReplicatedJob has started.

use crate::{draft::Draft, plan::EventKind, status_entries};
use jobset_api::{
    JobSet, JobSetStatus,
    conditions::{self as types, reasons},
    jobset::{ReplicatedJob, StartupPolicyOrder},
};

/// Whether the order applies. It does not while the JobSet is suspended.
fn is_in_order(jobset: &JobSet) -> bool {
    let policy = jobset.spec.startup_policy.as_ref();
    policy.is_some_and(|policy| policy.startup_policy_order == StartupPolicyOrder::InOrder)
        && !jobset.spec.is_suspended()
}

/// Whether `replicated_job` has started.
pub(crate) fn has_started(jobset: &JobSet, replicated_job: &ReplicatedJob, status: &JobSetStatus) -> bool {
    is_in_order(jobset)
        && status_entries::find(&status.replicated_jobs_status, &replicated_job.name)
            .is_some_and(|counts| status_entries::started(counts) == replicated_job.replicas)
}

/// Whether the ReplicatedJobs after `replicated_job` must wait. `replicated_job` has not started.
pub(crate) fn must_wait_for(jobset: &JobSet, replicated_job: &ReplicatedJob, draft: &mut Draft<'_>) -> bool {
    if !is_in_order(jobset) {
        return false;
    }
    let ReplicatedJob { name, replicas, .. } = replicated_job;
    let counts = status_entries::find(&draft.status.replicated_jobs_status, name);
    let started = counts.map_or(0, status_entries::started);
    let why =
        format!("the startup policy waits for replicatedJob {name} to be ready: {started} of {replicas}");
    if !draft.waiting.contains(&why) {
        draft.waiting.push(why);
    }
    draft.set_condition(
        EventKind::Normal,
        types::STARTUP_POLICY_IN_PROGRESS,
        true,
        reasons::STARTUP_POLICY_IN_PROGRESS,
        "in order startup policy is in progress",
    );
    true
}

/// Completes the startup policy, after every ReplicatedJob has started.
pub(crate) fn complete(jobset: &JobSet, draft: &mut Draft<'_>) {
    if is_in_order(jobset) {
        draft.set_condition(
            EventKind::Normal,
            types::STARTUP_POLICY_COMPLETED,
            true,
            reasons::STARTUP_POLICY_COMPLETED,
            "in order startup policy has completed",
        );
    }
}
