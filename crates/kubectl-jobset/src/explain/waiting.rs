//! Why a JobSet does not go on.

use super::{Observed, State, count, of_plan, pods};
use jiff::Timestamp;
use jobset_api::{JobSet, conditions::reasons};
use jobset_plan::{Plan, pod_admission::controller_uid};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Event, Pod},
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The planner's words for a suspended JobSet.
const SUSPENDED: &str = "jobset is suspended";
/// Events of the controller about requests that failed.
const FAILED_REQUESTS: [&str; 4] = [
    reasons::JOB_CREATION_FAILED,
    reasons::PVC_CREATION_FAILED,
    reasons::SERVICE_CREATION_FAILED,
    reasons::SCHEDULING_OBJECTS_FAILED,
];
/// A controller that runs needs less time for its next requests, in seconds.
const SOON: i64 = 30;
/// The label with the queue of Kueue.
const QUEUE: &str = "kueue.x-k8s.io/queue-name";
/// The default of `spec.managedBy`.
const OWN_CONTROLLER: &str = jobset_api::labels::MANAGED_BY_JOBSET_CONTROLLER;

/// The queue of Kueue that it waits in.
pub(crate) fn queue(jobset: &JobSet) -> Option<&str> {
    jobset.metadata.labels.as_ref()?.get(QUEUE).map(String::as_str)
}

/// Whether Kueue queues it.
pub(crate) fn is_queued(jobset: &JobSet) -> bool {
    queue(jobset).is_some()
}

impl Observed {
    /// The Jobs that the JobSet controls.
    pub(crate) fn jobs(&self) -> impl Iterator<Item = &Job> {
        let uid = self.recorded.jobset.metadata.uid.as_deref();
        self.recorded
            .jobs
            .iter()
            .filter(move |job| controller_uid(&job.metadata).is_some_and(|of| Some(of) == uid))
    }

    /// The pods of these Jobs.
    pub(crate) fn pods(&self) -> impl Iterator<Item = &Pod> {
        let jobs: BTreeSet<_> = self.jobs().filter_map(|job| job.metadata.uid.as_deref()).collect();
        let pods = self.recorded.pods.iter();
        pods.filter(move |pod| controller_uid(&pod.metadata).is_some_and(|of| jobs.contains(of)))
    }
}

/// The reasons, those of the controller first.
pub(super) fn reasons(observed: &Observed, state: State, plan: &Plan, now: Timestamp) -> Vec<String> {
    let jobset = &observed.recorded.jobset;
    match state {
        State::Completed | State::Failed | State::Running => return Vec::new(),
        State::Suspended => return suspended(observed, plan),
        State::Deleting | State::Starting | State::Restarting => {}
    }
    let other = jobset.spec.managed_by.as_deref().filter(|manager| *manager != OWN_CONTROLLER);
    if let Some(manager) = other {
        return vec![format!(
            "The controller {manager} manages it (spec.managedBy), and the JobSet controller ignores it."
        )];
    }
    let mut reasons: Vec<String> = of_plan(plan).into_iter().map(sentence).collect();
    reasons.extend(late(observed, plan, now));
    reasons.extend(refused_pods(observed));
    reasons.extend(pods::reasons(observed.pods()));
    reasons
}

/// Requests that the controller should have sent: its own words about failures, or that it does not run.
fn late(observed: &Observed, plan: &Plan, now: Timestamp) -> Option<String> {
    let jobset = &observed.recorded.jobset;
    let changed = [jobset.metadata.creation_timestamp.as_ref().map(|time| time.0)]
        .into_iter()
        .chain(
            jobset
                .status
                .iter()
                .flat_map(|status| &status.conditions)
                .map(|it| Some(it.last_transition_time.0)),
        )
        .flatten()
        .max()?;
    let seconds = now.duration_since(changed).as_secs();
    if plan.actions.is_empty() || seconds < SOON {
        return None;
    }
    let about = observed.events.iter().filter(|event| {
        event.involved_object.kind.as_deref() == Some("JobSet")
            && event.involved_object.name == jobset.metadata.name
            && event.reason.as_deref().is_some_and(|reason| FAILED_REQUESTS.contains(&reason))
    });
    let latest = about.max_by_key(|event| time_of(event));
    Some(match latest.and_then(|event| event.message.as_deref()) {
        Some(message) => format!("A request of the controller fails: {message}"),
        None => "The controller has not sent its next requests. It does not run, or cannot reach the API server: look \
                 for Deployment jobset-controller-manager."
            .to_owned(),
    })
}

/// A reason of the planner as a sentence.
pub(super) fn sentence(reason: impl AsRef<str>) -> String {
    let reason = reason.as_ref();
    let mut letters = reason.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    let end = if reason.ends_with('.') { "" } else { "." };
    format!("{first}{}{end}", letters.as_str())
}

fn suspended(observed: &Observed, plan: &Plan) -> Vec<String> {
    let jobset = &observed.recorded.jobset;
    let Some(queue) = queue(jobset) else {
        // That it is suspended is the summary.
        let others = of_plan(plan).into_iter().filter(|reason| reason != SUSPENDED);
        let mut reasons: Vec<String> = others.map(sentence).collect();
        let name = jobset.metadata.name.as_deref().unwrap_or_default();
        reasons.push(format!(
            "To resume it: kubectl patch jobset {name} --type=merge --patch '{{\"spec\":{{\"suspend\":false}}}}'"
        ));
        return reasons;
    };
    let words = observed.kueue.iter().find_map(|workload| of_kueue(&workload.data));
    vec![match words {
        Some(words) => format!("Kueue has not admitted it from the queue {queue}: {words}"),
        None => {
            format!("Kueue has not admitted it from the queue {queue}, and has no Workload that says why.")
        }
    }]
}

/// Kueue's words: the condition that is not met.
fn of_kueue(workload: &Value) -> Option<String> {
    let conditions = workload.pointer("/status/conditions")?.as_array()?;
    let text =
        |condition: &Value, field: &str| condition.get(field).and_then(Value::as_str).map(str::to_owned);
    let find = |type_: &str, status: &str| {
        let of_type =
            |it: &&Value| it.get("type") == Some(&type_.into()) && it.get("status") == Some(&status.into());
        conditions.iter().find(of_type).and_then(|condition| text(condition, "message"))
    };
    find("QuotaReserved", "False").or_else(|| find("Evicted", "True")).or_else(|| find("Admitted", "False"))
}

/// Sentences for Jobs whose pods the API server refuses: quota, admission webhooks, service accounts.
fn refused_pods(observed: &Observed) -> Vec<String> {
    let pods_of: BTreeMap<&str, usize> = observed
        .pods()
        .filter_map(|pod| controller_uid(&pod.metadata))
        .fold(BTreeMap::new(), |mut counts, job| {
            *counts.entry(job).or_default() += 1;
            counts
        });
    let mut refused: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for job in observed.jobs() {
        let (Some(name), Some(uid)) = (&job.metadata.name, &job.metadata.uid) else { continue };
        let wanted = job.spec.as_ref().and_then(|spec| spec.parallelism).unwrap_or(1);
        let has = pods_of.get(uid.as_str()).copied().unwrap_or(0);
        if i64::try_from(has).is_ok_and(|has| has >= i64::from(wanted)) {
            continue;
        }
        let about = observed.events.iter().filter(|event| {
            event.involved_object.uid.as_deref() == Some(uid)
                && event.reason.as_deref() == Some("FailedCreate")
        });
        let latest = about.max_by_key(|event| time_of(event));
        if let Some(message) = latest.and_then(|event| event.message.as_deref()) {
            refused.entry(without_pod_name(message)).or_default().push(name);
        }
    }
    let sentence = |(message, jobs): (String, Vec<&str>)| {
        let others = jobs.len().saturating_sub(1);
        let first = jobs.first().copied().unwrap_or_default();
        let others = match others {
            0 => String::new(),
            _ => format!(" and {}", count(i64::try_from(others).unwrap_or(i64::MAX), "other Job")),
        };
        format!("The API server refuses pods of Job {first}{others}: {message}")
    };
    refused.into_iter().map(sentence).collect()
}

/// When it happened last. The events of newer clients have only `eventTime`.
pub(crate) fn time_of(event: &Event) -> Option<Timestamp> {
    let series =
        event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    series.or(last).or_else(|| event.event_time.as_ref().map(|time| time.0))
}

/// The message of an event without the random name of the pod, so that Jobs with the same problem have one sentence.
fn without_pod_name(message: &str) -> String {
    let message = message.strip_prefix("Error creating: ").unwrap_or(message);
    match message.split_once("pods \"").and_then(|(before, rest)| Some((before, rest.split_once("\" ")?.1))) {
        Some((before, after)) => format!("{before}pods {after}"),
        None => message.to_owned(),
    }
}
