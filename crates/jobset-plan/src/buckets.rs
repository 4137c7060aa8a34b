//! Child Jobs, sorted by what they mean for the JobSet now.

use crate::{
    Gates,
    plan::Draft,
    replicated_jobs_status,
    snapshot::{JobRecord, LabelValue, Outcome, Snapshot},
};
use jobset_api::{JobSet, conditions::reasons, labels};
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
    pub(crate) foreign: Vec<Foreign<'a>>,
}

/// A Job that its labels make a stranger.
pub(crate) struct Foreign<'a> {
    job: &'a JobRecord,
    /// What is wrong with which label.
    why: String,
}

impl Foreign<'_> {
    /// For the user.
    pub(crate) fn note(&self) -> String {
        let Self { job: JobRecord { name, .. }, why } = self;
        format!("job {name} counts for nothing, as its label {why}; correct the label, or delete the Job")
    }
}

impl<'a> Buckets<'a> {
    pub(crate) fn of(snapshot: &Snapshot<'a>, gates: &Gates) -> Self {
        let mut buckets = Self::default();
        for job in snapshot.jobs {
            let bucket = match (standing(snapshot.jobset, job, gates), &job.verdict) {
                (Standing::Foreign(why), _) => {
                    buckets.foreign.push(Foreign { job, why });
                    continue;
                }
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

    /// Warns of Jobs whose labels make no sense.
    pub(crate) fn report_foreign(&self, jobset: &JobSet, draft: &mut Draft<'_>) {
        for foreign in &self.foreign {
            draft.report_problem(foreign.job, reasons::FOREIGN_JOB, foreign.note());
        }
        for job in self.active.iter().chain(&self.successful).chain(&self.failed) {
            let label = labels::REPLICATED_JOB_NAME;
            let why = match &job.replicated_job {
                None => format!("{label} is missing"),
                Some(name) if jobset.spec.replicated_jobs.iter().any(|known| known.name == *name) => continue,
                Some(name) => format!("{label} is {name:?}, which is no replicatedJob of this JobSet"),
            };
            let note = format!(
                "job {} is not counted in replicatedJobsStatus, as its label {why}; correct the label, or delete the Job",
                job.name
            );
            draft.report_problem(job, reasons::FOREIGN_JOB, note);
        }
    }
}

/// How a Job stands to the attempt that its JobSet is in.
enum Standing {
    Previous,
    Current,
    /// It cannot be told, because of this.
    Foreign(String),
}

fn standing(jobset: &JobSet, job: &JobRecord, gates: &Gates) -> Standing {
    let attempt = jobset.status.as_ref().map_or(0, |status| status.restarts);
    match &job.restart_attempt {
        LabelValue::Number(of) => match of.cmp(&attempt) {
            Ordering::Less => Standing::Previous,
            Ordering::Greater => Standing::Foreign(format!(
                "{} is {of}, while status.restarts is {attempt}",
                labels::RESTART_ATTEMPT
            )),
            Ordering::Equal if gates.restart_job => standing_alone(jobset, job),
            Ordering::Equal => Standing::Current,
        },
        other => Standing::Foreign(no_number(labels::RESTART_ATTEMPT, other)),
    }
}

/// The same for the restarts of this single Job. A Job made before there were such restarts lacks the label,
/// which reads as 0.
fn standing_alone(jobset: &JobSet, job: &JobRecord) -> Standing {
    let Some(name) = &job.replicated_job else {
        return Standing::Foreign(format!("{} is missing", labels::REPLICATED_JOB_NAME));
    };
    let LabelValue::Number(index) = &job.job_index else {
        return Standing::Foreign(no_number(labels::JOB_INDEX, &job.job_index));
    };
    let of = match &job.job_restart_attempt {
        LabelValue::Number(of) => *of,
        LabelValue::Missing => 0,
        malformed @ LabelValue::Malformed(_) => {
            return Standing::Foreign(no_number(labels::JOB_RESTART_ATTEMPT, malformed));
        }
    };
    if of < restarts_of(jobset, name, *index) { Standing::Previous } else { Standing::Current }
}

fn no_number(label: &str, value: &LabelValue) -> String {
    match value {
        LabelValue::Missing => format!("{label} is missing"),
        LabelValue::Malformed(text) => format!("{label} is {text:?}, which is no number from 0"),
        LabelValue::Number(number) => format!("{label} is {number}"),
    }
}

/// How often a single Job was restarted.
pub(crate) fn restarts_of(jobset: &JobSet, replicated_job: &str, index: i32) -> i32 {
    let statuses = jobset.status.as_ref().map_or(&[][..], |status| &status.replicated_jobs_status);
    let restarts = replicated_jobs_status::find(statuses, replicated_job).map(|status| &status.job_restarts);
    restarts.zip(usize::try_from(index).ok()).and_then(|(all, index)| all.get(index)).copied().unwrap_or(0)
}
