//! Child Jobs, sorted by their meaning for the JobSet.
//!
//! The label `restart-attempt` of a Job says which attempt it belongs to. A label can be edited, so it counts only if
//! the pod template, which cannot change, agrees with it.

use crate::{
    draft::Draft,
    feature_gates::Gates,
    snapshot::{JobRecord, LabelValue, Outcome, Snapshot},
    status_entries::restarts_of,
};
use jobset_api::{JobSet, conditions::reasons, labels};
use std::cmp::Ordering;

/// The Jobs of one snapshot, each in one bucket.
#[derive(Default)]
pub(crate) struct Buckets<'a> {
    /// Neither completed nor failed. Includes Jobs that are suspended or being deleted.
    pub(crate) active: Vec<&'a JobRecord>,
    /// Completed.
    pub(crate) successful: Vec<&'a JobRecord>,
    /// Failed. With feature gate `RestartOnFailureTarget` also Jobs that will fail when their pods have stopped.
    pub(crate) failed: Vec<&'a JobRecord>,
    /// Of an earlier attempt: to be deleted.
    pub(crate) previous: Vec<&'a JobRecord>,
    /// With labels that are unreadable, were edited, or name a later attempt than the JobSet's. They are not counted
    /// and only occupy their name.
    pub(crate) foreign: Vec<Foreign<'a>>,
}

/// A Job whose labels do not say what it is.
pub(crate) struct Foreign<'a> {
    job: &'a JobRecord,
    /// What is wrong with which label.
    why: String,
}

impl Foreign<'_> {
    /// The message for the user.
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

    /// Reports Jobs whose labels do not say what they are.
    pub(crate) fn report_foreign(&self, jobset: &JobSet, draft: &mut Draft<'_>) {
        for foreign in &self.foreign {
            draft.report_job(foreign.job, reasons::FOREIGN_JOB, foreign.note());
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
            draft.report_job(job, reasons::FOREIGN_JOB, note);
        }
    }
}

/// How a Job relates to the current attempt of its JobSet.
enum Standing {
    Previous,
    Current,
    /// Unknown, for this reason.
    Foreign(String),
}

fn standing(jobset: &JobSet, job: &JobRecord, gates: &Gates) -> Standing {
    let attempt = jobset.status.as_ref().map_or(0, |status| status.restarts);
    let label = labels::RESTART_ATTEMPT;
    let LabelValue::Number(of) = job.restart_attempt else {
        return Standing::Foreign(no_number(label, &job.restart_attempt));
    };
    if let Some(created) = created_with_another(of, &job.template_restart_attempt) {
        return Standing::Foreign(edited(label, of, created));
    }
    match of.cmp(&attempt) {
        Ordering::Less => Standing::Previous,
        Ordering::Greater => {
            Standing::Foreign(format!("{label} is {of}, while status.restarts is {attempt}"))
        }
        Ordering::Equal if gates.restart_job => standing_of_single(jobset, job),
        Ordering::Equal => Standing::Current,
    }
}

/// The same for the restarts of this single Job. A missing label means 0: the Job was created with the gate off.
fn standing_of_single(jobset: &JobSet, job: &JobRecord) -> Standing {
    let Some(name) = &job.replicated_job else {
        return Standing::Foreign(format!("{} is missing", labels::REPLICATED_JOB_NAME));
    };
    let LabelValue::Number(index) = &job.job_index else {
        return Standing::Foreign(no_number(labels::JOB_INDEX, &job.job_index));
    };
    let label = labels::JOB_RESTART_ATTEMPT;
    let of = match &job.job_restart_attempt {
        LabelValue::Number(of) => *of,
        LabelValue::Missing => 0,
        malformed @ LabelValue::Malformed(_) => return Standing::Foreign(no_number(label, malformed)),
    };
    if let Some(created) = created_with_another(of, &job.template_job_restart_attempt) {
        return Standing::Foreign(edited(label, of, created));
    }
    if of < restarts_of(jobset, name, *index) { Standing::Previous } else { Standing::Current }
}

/// The number in the pod template, if it is not the number in the label.
fn created_with_another(label: i32, template: &LabelValue) -> Option<i32> {
    match template {
        LabelValue::Number(created) if *created != label => Some(*created),
        _ => None,
    }
}

fn edited(label: &str, is: i32, created: i32) -> String {
    format!("{label} is {is}, while its pod template says {created}")
}

fn no_number(label: &str, value: &LabelValue) -> String {
    match value {
        LabelValue::Missing => format!("{label} is missing"),
        LabelValue::Malformed(text) => format!("{label} is {text:?}, which is no number from 0"),
        LabelValue::Number(number) => format!("{label} is {number}"),
    }
}
