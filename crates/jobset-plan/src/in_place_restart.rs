//! Restart strategy `InPlaceRestart` (feature gate InPlaceRestart): pods restart their containers instead of being
//! created again.
//!
//! An agent in each pod holds the pod's worker behind a barrier. It writes its attempt to an annotation of its pod, and
//! follows the status of the JobSet:
//!
//! ```text
//! all pods exist and are at attempt n      currentInPlaceRestartAttempt: n     agents of attempt n lift their barrier
//! some pod is at a later attempt n         previousInPlaceRestartAttempt: n-1  agents of older attempts restart
//! ```

use crate::{draft::Draft, failure_policy, plan::Subject};
use jobset_api::{
    JobSet,
    conditions::reasons,
    jobset::{ReplicatedJob, RestartStrategy},
    labels,
};
use std::collections::BTreeMap;

const MAX_RESTARTS_REACHED: &str = "jobset failed due to reaching max number of restarts";

/// What the pods of a JobSet report about in-place restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InPlacePods {
    /// The number of pods at each attempt. Failed pods and pods without the annotation do not count.
    pub attempts: BTreeMap<i32, usize>,
    /// A pod whose annotation is not a non-negative integer.
    pub malformed: Option<MalformedAttempt>,
    /// The highest restart count of a container, over all pods.
    pub container_restarts: i32,
}

/// An annotation that is not a non-negative integer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MalformedAttempt {
    /// Name of the pod.
    pub pod: String,
    /// UID of the pod.
    pub uid: String,
    /// The value.
    pub value: String,
}

/// Whether the JobSet restarts in place.
pub fn restarts_in_place(jobset: &JobSet) -> bool {
    let policy = jobset.spec.failure_policy.as_ref();
    policy.is_some_and(|policy| policy.restart_strategy == RestartStrategy::InPlaceRestart)
}

/// Fails the JobSet after too many restarts. Otherwise decides which attempt runs, and which attempts restart.
pub(crate) fn apply(jobset: &JobSet, pods: &InPlacePods, draft: &mut Draft<'_>) {
    let Some(policy) = jobset.spec.failure_policy.as_ref().filter(|_| restarts_in_place(jobset)) else {
        return;
    };
    let max_restarts = i64::from(policy.max_restarts);
    if i64::from(pods.container_restarts) > max_restarts {
        return failure_policy::fail(draft, reasons::REACHED_MAX_RESTARTS, MAX_RESTARTS_REACHED);
    }
    if let Some(malformed) = &pods.malformed {
        return report_malformed(malformed, draft);
    }
    let latest = pods.attempts.keys().next_back().copied();
    let uncounted = i64::from(draft.status.restarts) - i64::from(draft.status.restarts_count_towards_max);
    if i64::from(latest.unwrap_or(0)) - uncounted > max_restarts {
        return failure_policy::fail(draft, reasons::REACHED_MAX_RESTARTS, MAX_RESTARTS_REACHED);
    }
    let expected = match expected_pods(jobset) {
        Ok(expected) => expected,
        Err(why) => return draft.waiting.push(why),
    };
    let Some(latest) = latest else { return };
    let reported: usize = pods.attempts.values().sum();
    if pods.attempts.len() == 1 && u64::try_from(reported) == Ok(expected) {
        draft.status.current_in_place_restart_attempt = Some(latest);
        return;
    }
    draft.waiting.push(format!(
        "in-place restart: {} of {expected} pods are at attempt {latest}",
        pods.attempts.get(&latest).copied().unwrap_or(0)
    ));
    if latest > 0
        && draft.status.previous_in_place_restart_attempt.is_none_or(|previous| previous < latest - 1)
    {
        draft.status.previous_in_place_restart_attempt = Some(latest - 1);
    }
}

/// The number of pods of the JobSet.
fn expected_pods(jobset: &JobSet) -> Result<u64, String> {
    let pods = |replicated_job: &ReplicatedJob| {
        let spec = replicated_job.template.spec.as_ref();
        let parallelism = spec.and_then(|spec| spec.parallelism);
        match (parallelism, spec.and_then(|spec| spec.completions)) {
            (Some(parallelism), Some(completions)) if parallelism == completions => {
                let of_job = u64::try_from(parallelism).unwrap_or(0);
                Ok(u64::try_from(replicated_job.replicas).unwrap_or(0) * of_job)
            }
            _ => Err(format!(
                "{}: in-place restart requires jobTemplate.spec.completions == jobTemplate.spec.parallelism != nil",
                replicated_job.name
            )),
        }
    };
    jobset.spec.replicated_jobs.iter().map(pods).sum()
}

fn report_malformed(malformed: &MalformedAttempt, draft: &mut Draft<'_>) {
    let key = labels::IN_PLACE_RESTART_ATTEMPT;
    let why = format!(
        "pod {}: invalid value for annotation {key}, must be non-negative integer: {:?}",
        malformed.pod, malformed.value
    );
    let subject = Subject::Pod { name: malformed.pod.clone(), uid: malformed.uid.clone() };
    let remedy = "delete the pod so that its agent writes the annotation again";
    draft.report(subject, reasons::INVALID_IN_PLACE_RESTART_ATTEMPT, format!("{why}; {remedy}"));
    draft.waiting.push(why);
}
