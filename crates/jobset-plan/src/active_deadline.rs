//! `spec.activeDeadlineSeconds` (feature gate JobSetActiveDeadlineSeconds): a JobSet fails when it has run for too long.
//!
//! The time starts at `status.startTime`: when the JobSet begins to run, when it resumes, and when all its Jobs restart.
//! Suspended time does not count.

use crate::{
    draft::{Draft, whole_seconds},
    failure_policy,
    feature_gates::Gates,
    snapshot::JobRecord,
};
use jiff::SignedDuration;
use jobset_api::{JobSet, conditions::reasons};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::time::Duration;

/// A longer deadline never ends: it does not fit into 64 bits as nanoseconds, the duration type of other controllers.
const MAX_SECONDS: i64 = i64::MAX / 1_000_000_000;

/// Sets `status.startTime` of a running JobSet, and clears that of a suspended one.
pub(crate) fn keep_start_time(jobset: &JobSet, gates: &Gates, draft: &mut Draft<'_>) {
    if !gates.active_deadline_seconds || jobset.spec.is_suspended() {
        draft.status.start_time = None;
    } else if draft.status.start_time.is_none() {
        draft.status.start_time = Some(Time(whole_seconds(draft.now)));
    }
}

/// Whether the deadline has passed. Before the deadline, the next plan is at the deadline or earlier.
pub(crate) fn has_passed(jobset: &JobSet, draft: &mut Draft<'_>) -> bool {
    let seconds = jobset.spec.active_deadline_seconds.filter(|seconds| *seconds <= MAX_SECONDS);
    // Only a running JobSet has a start time, and only with the feature gate.
    let Some((seconds, start)) = seconds.zip(draft.status.start_time.as_ref()) else { return false };
    let left = start.0.duration_since(draft.now) + SignedDuration::from_secs(seconds);
    match Duration::try_from(left) {
        Ok(left) if left > Duration::ZERO => {
            draft.requeue_within(left);
            false
        }
        _ => true,
    }
}

/// Deletes the Jobs that still run, and fails the JobSet. The failure policy does not apply.
pub(crate) fn fail(jobset: &JobSet, active: &[&JobRecord], draft: &mut Draft<'_>) {
    let seconds = jobset.spec.active_deadline_seconds.unwrap_or_default();
    draft.delete_jobs(active);
    let message = format!("JobSet was active for longer than the specified deadline of {seconds} seconds");
    failure_policy::fail(draft, reasons::DEADLINE_EXCEEDED, &message);
}
