//! Explains a JobSet: what it does, why it waits, what failed first, and what happens next.
//!
//! The reasons of the controller are those of its own plan. The other sentences are words of the scheduler, the kubelet,
//! quota and Kueue about its Jobs and pods.

mod age;
mod failure;
mod next;
mod pods;
mod state;
mod text;
mod waiting;

#[cfg(test)]
mod tests;

pub(crate) use age::age;
use age::duration;
pub(crate) use failure::{Failure, first_failure};
pub(crate) use pods::{containers, is_ready, wait_of};
pub(crate) use state::{State, state_of};
pub(crate) use waiting::{is_queued, queue, time_of};

use jiff::Timestamp;
use jobset_controller::recorded::Recorded;
use jobset_plan::{Gates, Plan};
use k8s_openapi::api::core::v1::Event;
use kube::api::DynamicObject;
use serde::Serialize;

/// What an explanation is made of.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    pub(crate) recorded: Recorded,
    /// The feature gates of the controller.
    pub(crate) gates: Gates,
    /// Events of the namespace.
    pub(crate) events: Vec<Event>,
    /// Workloads of Kueue that the JobSet owns.
    pub(crate) kueue: Vec<DynamicObject>,
    /// What could not be read.
    pub(crate) gaps: Vec<String>,
    /// The last lines of the container that failed first.
    pub(crate) log: Vec<String>,
}

/// An explanation. All texts are sentences for users.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explanation {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) state: State,
    /// What it does now.
    pub(crate) summary: String,
    /// Why it does not go on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) waiting: Vec<String>,
    /// What failed first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<Failure>,
    /// What the failure policy did, and how many restarts are left.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) restarts: Vec<String>,
    /// What happens next, and when.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) next: Vec<String>,
    /// What could not be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) unknown: Vec<String>,
}

/// Explains a JobSet at the time `now`. `failure` is that of [`first_failure`].
pub(crate) fn explain(
    observed: &Observed,
    failure: Option<Failure>,
    now: Timestamp,
) -> anyhow::Result<Explanation> {
    let jobset = &observed.recorded.jobset;
    let plan = observed.recorded.plan(now, &observed.gates)?;
    let state = state_of(jobset);
    let failure = failure.map(|failure| Failure { log: observed.log.clone(), ..failure });
    Ok(Explanation {
        namespace: jobset.metadata.namespace.clone().unwrap_or_default(),
        name: jobset.metadata.name.clone().unwrap_or_default(),
        state,
        summary: state::summary(observed, state, now),
        waiting: waiting::reasons(observed, state, &plan, now),
        failure,
        restarts: next::restarts(observed, state),
        next: next::steps(observed, state, &plan, now),
        unknown: observed.gaps.clone(),
    })
}

/// `1 pod`, `2 pods`.
fn count(number: impl Into<i64>, noun: &str) -> String {
    let number = number.into();
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// The reasons of the plan, and of its problems, each once.
fn of_plan(plan: &Plan) -> Vec<String> {
    let mut reasons: Vec<String> = Vec::new();
    let problems = plan.problems.iter().map(|problem| &problem.event.note);
    for reason in plan.waiting.iter().chain(problems) {
        if !reasons.contains(reason) {
            reasons.push(reason.clone());
        }
    }
    reasons
}
