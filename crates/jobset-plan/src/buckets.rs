//! Child Jobs, sorted by what they mean for the JobSet now.

use crate::{
    Gates, replicated_jobs_status,
    snapshot::{JobRecord, LabelValue, Outcome, Snapshot},
};
use jobset_api::JobSet;
use std::cmp::Ordering;

/// The Jobs of one snapshot, each in one place.
#[derive(Default)]
pub(crate) struct Buckets<'a> {
    /// Neither completed nor failed; also those that are being deleted, or are suspended.
    pub(crate) active: Vec<&'a JobRecord>,
    /// Completed.
    pub(crate) successful: Vec<&'a JobRecord>,
    /// Failed; with feature gate `RestartOnFailureTarget` also those that are about to, while their pods stop.
    pub(crate) failed: Vec<&'a JobRecord>,
    /// Of an earlier attempt: to be deleted.
    pub(crate) previous: Vec<&'a JobRecord>,
    /// Of an attempt that is unreadable, or later than the JobSet's: nobody knows what they mean, so they count
    /// nowhere, and hold no more than their name.
    pub(crate) foreign: Vec<&'a JobRecord>,
}

impl<'a> Buckets<'a> {
    pub(crate) fn of(snapshot: &Snapshot<'a>, gates: &Gates) -> Self {
        let mut buckets = Self::default();
        for job in snapshot.jobs {
            let bucket = match (standing(snapshot.jobset, job, gates), &job.verdict) {
                (Standing::Foreign, _) => &mut buckets.foreign,
                (Standing::Previous, _) => &mut buckets.previous,
                (Standing::Current, None) => &mut buckets.active,
                (Standing::Current, Some(verdict)) => match verdict.outcome {
                    Outcome::Complete => &mut buckets.successful,
                    Outcome::Failed => &mut buckets.failed,
                    Outcome::Failing if gates.restart_on_failure_target => &mut buckets.failed,
                    Outcome::Failing => &mut buckets.active,
                },
            };
            bucket.push(job);
        }
        buckets
    }
}

/// How a Job stands to the attempt that its JobSet is in.
enum Standing {
    Previous,
    Current,
    Foreign,
}

fn standing(jobset: &JobSet, job: &JobRecord, gates: &Gates) -> Standing {
    let attempt = jobset.status.as_ref().map_or(0, |status| status.restarts);
    match job.restart_attempt {
        LabelValue::Number(of) => match of.cmp(&attempt) {
            Ordering::Less => Standing::Previous,
            Ordering::Greater => Standing::Foreign,
            Ordering::Equal if gates.restart_job => standing_alone(jobset, job),
            Ordering::Equal => Standing::Current,
        },
        LabelValue::Missing | LabelValue::Malformed(_) => Standing::Foreign,
    }
}

/// The same for the restarts of this single Job. A Job made before there were such restarts lacks the label,
/// which reads as 0.
fn standing_alone(jobset: &JobSet, job: &JobRecord) -> Standing {
    let (Some(name), LabelValue::Number(index)) = (&job.replicated_job, &job.job_index) else {
        return Standing::Foreign;
    };
    let attempt = restarts_of(jobset, name, *index);
    let of = match job.job_restart_attempt {
        LabelValue::Number(of) => of,
        LabelValue::Missing => 0,
        LabelValue::Malformed(_) => return Standing::Foreign,
    };
    if of < attempt { Standing::Previous } else { Standing::Current }
}

/// How often a single Job was restarted.
pub(crate) fn restarts_of(jobset: &JobSet, replicated_job: &str, index: i32) -> i32 {
    let statuses = jobset.status.as_ref().map_or(&[][..], |status| &status.replicated_jobs_status);
    let restarts = replicated_jobs_status::find(statuses, replicated_job).map(|status| &status.job_restarts);
    restarts.zip(usize::try_from(index).ok()).and_then(|(all, index)| all.get(index)).copied().unwrap_or(0)
}
