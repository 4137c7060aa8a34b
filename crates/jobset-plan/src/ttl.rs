//! `spec.ttlSecondsAfterFinished`: the controller deletes a finished JobSet after this time.

use crate::{draft::Draft, plan::Action};
use jiff::{SignedDuration, Timestamp};
use jobset_api::JobSet;
use std::time::Duration;

/// Deletes the JobSet when the time has passed. Requeues it before.
pub(crate) fn apply(jobset: &JobSet, finished_at: Timestamp, draft: &mut Draft<'_>) {
    let Some(ttl) = jobset.spec.ttl_seconds_after_finished else { return };
    let left = finished_at.duration_since(draft.now) + SignedDuration::from_secs(ttl.into());
    match left.try_into() {
        Ok(left) if left > Duration::ZERO => {
            draft.requeue_after = Some(left);
            let seconds = left.as_nanos().div_ceil(1_000_000_000);
            draft.waiting.push(format!("ttlSecondsAfterFinished: the JobSet is deleted in {seconds}s"));
        }
        _ => draft.actions.push(Action::DeleteJobSet),
    }
}
