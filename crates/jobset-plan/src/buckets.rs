//! Child Jobs, sorted by what they mean for the JobSet now.

use crate::snapshot::{JobRecord, LabelValue, Outcome, Snapshot};

/// The Jobs of one snapshot, each in one place.
#[derive(Default)]
pub(crate) struct Buckets<'a> {
    /// Neither completed nor failed; also those that are being deleted, or are suspended.
    pub(crate) active: Vec<&'a JobRecord>,
    /// Completed.
    pub(crate) successful: Vec<&'a JobRecord>,
    /// Failed.
    pub(crate) failed: Vec<&'a JobRecord>,
    /// Of an earlier attempt: to be deleted.
    pub(crate) previous: Vec<&'a JobRecord>,
}

impl<'a> Buckets<'a> {
    /// Jobs whose attempt is unreadable, or later than the JobSet's, are in none of them: nobody knows what
    /// they mean, so they count nowhere, and hold no more than their name.
    pub(crate) fn of(snapshot: &Snapshot<'a>) -> Self {
        let attempt = snapshot.jobset.status.as_ref().map_or(0, |status| status.restarts);
        let mut buckets = Self::default();
        for job in snapshot.jobs {
            match (&job.restart_attempt, &job.verdict) {
                (LabelValue::Number(of), _) if *of < attempt => buckets.previous.push(job),
                (LabelValue::Number(of), _) if *of > attempt => {}
                (LabelValue::Missing | LabelValue::Malformed(_), _) => {}
                (LabelValue::Number(_), None) => buckets.active.push(job),
                (LabelValue::Number(_), Some(verdict)) => match verdict.outcome {
                    Outcome::Complete => buckets.successful.push(job),
                    Outcome::Failed => buckets.failed.push(job),
                },
            }
        }
        buckets
    }
}
