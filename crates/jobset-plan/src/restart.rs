//! Restarts of the whole JobSet. A restart increases the attempt in the status. The next reconcile deletes all Jobs of
//! the earlier attempt, and creates their successors when the names become free.

use crate::{
    draft::{Draft, whole_seconds},
    execution_attempts,
    feature_gates::Gates,
    plan::EventKind,
};
use jobset_api::{
    JobSet,
    conditions::{self as types, reasons},
    jobset::RestartStrategy,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Whether every Job of the earlier attempt must be deleted before the controller creates a Job.
pub(crate) fn is_blocking(jobset: &JobSet) -> bool {
    let policy = jobset.spec.failure_policy.as_ref();
    policy.is_some_and(|policy| policy.restart_strategy == RestartStrategy::BlockingRecreate)
}

/// Ends a restart when every Job is ready or has succeeded.
pub(crate) fn end_when_ready(jobset: &JobSet, draft: &mut Draft<'_>) {
    if jobset.spec.is_suspended() {
        return;
    }
    let sum = |count: i32| i64::from(count);
    let wanted: i64 = jobset.spec.replicated_jobs.iter().map(|rj| sum(rj.replicas)).sum();
    let ready: i64 =
        draft.status.replicated_jobs_status.iter().map(|s| sum(s.ready) + sum(s.succeeded)).sum();
    if ready == wanted {
        draft.set_condition(
            EventKind::Normal,
            types::RESTARTING,
            false,
            reasons::JOBS_READY,
            "all jobs are ready",
        );
    }
}

/// Restarts all Jobs because of `reason`. A running JobSet has a new start time.
pub(crate) fn restart(draft: &mut Draft<'_>, counts: bool, gates: &Gates, reason: &str, message: &str) {
    draft.status.restarts = draft.status.restarts.saturating_add(1);
    if counts {
        draft.status.restarts_count_towards_max = draft.status.restarts_count_towards_max.saturating_add(1);
    }
    execution_attempts::count_restart(gates, &mut draft.status);
    let now = Time(whole_seconds(draft.now));
    draft.status.start_time = draft.status.start_time.take().map(|_| now);
    draft.set_condition(EventKind::Warning, types::RESTARTING, true, reason, message);
}
