//! What follows from a failed Job.

use crate::{
    plan::{Draft, EventKind},
    snapshot::JobRecord,
};
use jobset_api::{
    JobSet,
    conditions::{self as types, reasons},
};

/// The JobSet fails with its first failed Job.
pub(crate) fn apply(_jobset: &JobSet, failed: &[&JobRecord], draft: &mut Draft<'_>) {
    let first = first_failed(failed).map_or("", |job| &job.name);
    let message = format!("jobset failed due to one or more job failures (first failed job: {first})");
    fail(draft, reasons::FAILED_JOBS, &message);
}

/// The Job that failed first; of several at the same time, the first in the list.
fn first_failed<'a>(failed: &[&'a JobRecord]) -> Option<&'a JobRecord> {
    failed.iter().copied().min_by_key(|job| job.verdict.as_ref().map(|verdict| verdict.at))
}

fn fail(draft: &mut Draft<'_>, reason: &str, message: &str) {
    draft.set_condition(EventKind::Warning, types::FAILED, true, reason, message);
    draft.set_condition(
        EventKind::Normal,
        types::RESTARTING,
        false,
        reasons::JOB_SET_FAILED,
        "jobset failed",
    );
    types::FAILED.clone_into(&mut draft.status.terminal_state);
}
