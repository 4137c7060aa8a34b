//! The state of a JobSet in one word, and in one sentence.

use super::{Observed, age, pods::is_ready};
use jiff::Timestamp;
use jobset_api::{JobSet, conditions};
use jobset_plan::subdomain;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Serialize;
use std::fmt;

/// What a JobSet does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[value(rename_all = "PascalCase")]
pub(crate) enum State {
    /// Its pods are being created, or are not ready.
    Starting,
    /// All its pods are ready, or have succeeded.
    Running,
    /// Jobs of an earlier attempt make room for new ones.
    Restarting,
    /// `spec.suspend` is true.
    Suspended,
    /// It succeeded.
    Completed,
    /// It failed.
    Failed,
    /// A user deleted it.
    Deleting,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A condition that is True.
pub(super) fn condition<'a>(jobset: &'a JobSet, type_: &str) -> Option<&'a Condition> {
    let mut conditions = jobset.status.iter().flat_map(|status| &status.conditions);
    conditions.find(|condition| condition.type_ == type_ && condition.status == "True")
}

/// The state.
pub(crate) fn state_of(jobset: &JobSet) -> State {
    let is = |type_: &str| condition(jobset, type_).is_some();
    if jobset.metadata.deletion_timestamp.is_some() {
        State::Deleting
    } else if is(conditions::COMPLETED) {
        State::Completed
    } else if is(conditions::FAILED) {
        State::Failed
    } else if jobset.spec.is_suspended() {
        State::Suspended
    } else if is(conditions::RESTARTING) {
        State::Restarting
    } else if all_are_ready(jobset) {
        State::Running
    } else {
        State::Starting
    }
}

/// Whether the status counts every Job as ready or succeeded.
fn all_are_ready(jobset: &JobSet) -> bool {
    let Some(status) = &jobset.status else { return false };
    jobset.spec.replicated_jobs.iter().all(|replicated_job| {
        let mut counts = status.replicated_jobs_status.iter();
        let counts = counts.find(|counts| counts.name == replicated_job.name);
        counts.is_some_and(|counts| counts.ready.saturating_add(counts.succeeded) >= replicated_job.replicas)
    })
}

/// The number of pods that run at the same time if nothing is missing.
pub(crate) fn wanted_pods(jobset: &JobSet) -> i64 {
    let pods = jobset.spec.replicated_jobs.iter().map(|replicated_job| {
        let parallelism = replicated_job.template.spec.as_ref().and_then(|spec| spec.parallelism);
        i64::from(replicated_job.replicas) * i64::from(parallelism.unwrap_or(1))
    });
    pods.fold(0, i64::saturating_add)
}

/// What the JobSet does now.
pub(super) fn summary(observed: &Observed, state: State, now: Timestamp) -> String {
    let jobset = &observed.recorded.jobset;
    let since = |type_: &str| {
        condition(jobset, type_).map_or_else(String::new, |condition| {
            format!(" {} ago", age(condition.last_transition_time.0, now))
        })
    };
    let message = |type_: &str| condition(jobset, type_).map_or("", |condition| condition.message.as_str());
    let ready = observed.pods().filter(|pod| is_ready(pod)).count();
    let of_pods = format!("{ready} of {} pods are ready", wanted_pods(jobset));
    let wanted: i64 = jobset.spec.replicated_jobs.iter().map(|it| i64::from(it.replicas)).sum();
    let of_jobs = format!("{} of {wanted} Jobs exist", observed.jobs().count());
    match state {
        State::Completed => {
            format!("It completed{}: {}.", since(conditions::COMPLETED), message(conditions::COMPLETED))
        }
        State::Failed => format!("It failed{}: {}.", since(conditions::FAILED), message(conditions::FAILED)),
        State::Suspended => "It is suspended: no pod runs until spec.suspend is false.".to_owned(),
        State::Deleting => {
            let finalizers = jobset.metadata.finalizers.clone().unwrap_or_default();
            let held = if finalizers.is_empty() {
                String::new()
            } else {
                format!(", held by the finalizers {}", finalizers.join(", "))
            };
            format!("It is being deleted{held}. {of_jobs}.")
        }
        State::Restarting => {
            format!("The restart began{}. {of_pods}, {of_jobs}.", since(conditions::RESTARTING))
        }
        State::Starting => format!("{of_pods}, {of_jobs}."),
        State::Running => format!("{of_pods}. Host names end with .{}.", subdomain(jobset)),
    }
}
