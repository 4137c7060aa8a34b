//! Classifies child Jobs by attempt and outcome.
//!
//! The label `restart-attempt` of a Job names its attempt. Users can edit the label, so it is valid only if the pod
//! template, which cannot change, has the same value.

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
    /// Of an earlier attempt. The controller deletes them.
    pub(crate) previous: Vec<&'a JobRecord>,
    /// With labels that are invalid, edited, or of a later attempt than the JobSet's. They are not counted and only
    /// occupy their names.
    pub(crate) foreign: Vec<Foreign<'a>>,
}

/// A Job that its labels do not identify.
pub(crate) struct Foreign<'a> {
    job: &'a JobRecord,
    /// The label and its problem.
    why: String,
}

impl Foreign<'_> {
    /// The message for the user.
    pub(crate) fn note(&self) -> String {
        let Self { job: JobRecord { name, .. }, why } = self;
        format!("job {name} is ignored because its label {why}; correct the label or delete the Job")
    }
}

impl<'a> Buckets<'a> {
    pub(crate) fn of(snapshot: &Snapshot<'a>, gates: &Gates) -> Self {
        let mut buckets = Self::default();
        for job in snapshot.jobs {
            let bucket = match (relation(snapshot.jobset, job, gates), &job.verdict) {
                (Relation::Foreign(why), _) => {
                    buckets.foreign.push(Foreign { job, why });
                    continue;
                }
                (Relation::Previous, _) => &mut buckets.previous,
                (Relation::Current, None) => &mut buckets.active,
                (Relation::Current, Some(verdict)) => match verdict.outcome {
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

    /// Reports Jobs that their labels do not identify.
    pub(crate) fn report_foreign(&self, jobset: &JobSet, draft: &mut Draft<'_>) {
        for foreign in &self.foreign {
            draft.report_job(foreign.job, reasons::FOREIGN_JOB, foreign.note());
        }
        for job in self.active.iter().chain(&self.successful).chain(&self.failed) {
            let label = labels::REPLICATED_JOB_NAME;
            let why = match &job.replicated_job {
                None => format!("{label} is missing"),
                Some(name) if jobset.spec.replicated_jobs.iter().any(|known| known.name == *name) => continue,
                Some(name) => format!("{label} is {name:?}, which is not a replicatedJob of this JobSet"),
            };
            let note = format!(
                "job {} is not counted in replicatedJobsStatus because its label {why}; correct the label or delete \
                 the Job",
                job.name
            );
            draft.report_job(job, reasons::FOREIGN_JOB, note);
        }
    }
}

/// The relation of a Job to the current attempt of its JobSet.
enum Relation {
    Previous,
    Current,
    /// Unknown, for this reason.
    Foreign(String),
}

fn relation(jobset: &JobSet, job: &JobRecord, gates: &Gates) -> Relation {
    let attempt = jobset.status.as_ref().map_or(0, |status| status.restarts);
    let label = labels::RESTART_ATTEMPT;
    let LabelValue::Number(of) = job.restart_attempt else {
        return Relation::Foreign(not_a_number(label, &job.restart_attempt));
    };
    if let Some(created) = different_in_template(of, &job.template_restart_attempt) {
        return Relation::Foreign(edited(label, of, created));
    }
    match of.cmp(&attempt) {
        Ordering::Less => Relation::Previous,
        Ordering::Greater => Relation::Foreign(format!("{label} is {of}, but status.restarts is {attempt}")),
        Ordering::Equal if gates.restart_job => relation_of_single_job(jobset, job),
        Ordering::Equal => Relation::Current,
    }
}

/// The relation by the restarts of this single Job. A missing label means 0: the controller created the Job while the
/// feature gate was off.
fn relation_of_single_job(jobset: &JobSet, job: &JobRecord) -> Relation {
    let Some(name) = &job.replicated_job else {
        return Relation::Foreign(format!("{} is missing", labels::REPLICATED_JOB_NAME));
    };
    let LabelValue::Number(index) = &job.job_index else {
        return Relation::Foreign(not_a_number(labels::JOB_INDEX, &job.job_index));
    };
    let label = labels::JOB_RESTART_ATTEMPT;
    let of = match &job.job_restart_attempt {
        LabelValue::Number(of) => *of,
        LabelValue::Missing => 0,
        malformed @ LabelValue::Malformed(_) => return Relation::Foreign(not_a_number(label, malformed)),
    };
    if let Some(created) = different_in_template(of, &job.template_job_restart_attempt) {
        return Relation::Foreign(edited(label, of, created));
    }
    if of < restarts_of(jobset, name, *index) { Relation::Previous } else { Relation::Current }
}

/// The number in the pod template, if it differs from the label.
fn different_in_template(label: i32, template: &LabelValue) -> Option<i32> {
    match template {
        LabelValue::Number(created) if *created != label => Some(*created),
        _ => None,
    }
}

fn edited(label: &str, is: i32, created: i32) -> String {
    format!("{label} is {is}, but the value in the pod template is {created}")
}

fn not_a_number(label: &str, value: &LabelValue) -> String {
    match value {
        LabelValue::Missing => format!("{label} is missing"),
        LabelValue::Malformed(text) => format!("{label} is {text:?}, which is not a non-negative integer"),
        LabelValue::Number(number) => format!("{label} is {number}"),
    }
}
