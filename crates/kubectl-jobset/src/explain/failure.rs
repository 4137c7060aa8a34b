//! What failed first.

use super::{Observed, age, pods::containers, state::condition};
use jiff::Timestamp;
use jobset_api::conditions;
use jobset_plan::pod_admission::controller_uid;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ContainerStateTerminated, ContainerStatus, Pod},
};
use serde::Serialize;

/// Words of the controller before the name of a Job.
const FIRST_FAILED: &str = "(first failed job: ";

/// A failure.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Failure {
    /// What happened.
    pub(crate) sentence: String,
    /// What it means, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) job: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) container: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exit_code: Option<i32>,
    /// Whether the container has started again since.
    pub(crate) restarted: bool,
    /// The last lines of its log.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) log: Vec<String>,
}

/// The container that failed first. Else the pod that ended without a failed container, or the Job that failed, or what
/// the condition of the JobSet says: a restart deletes the pods.
pub(crate) fn first_failure(observed: &Observed, now: Timestamp) -> Option<Failure> {
    of_containers(observed, now)
        .or_else(|| of_pods(observed))
        .or_else(|| of_jobs(observed, now))
        .or_else(|| of_condition(observed, now))
}

struct Ended<'a> {
    pod: &'a Pod,
    container: &'a ContainerStatus,
    how: &'a ContainerStateTerminated,
    restarted: bool,
}

fn of_containers(observed: &Observed, now: Timestamp) -> Option<Failure> {
    let ended = observed.pods().flat_map(|pod| {
        containers(pod).flat_map(move |container| {
            let states = [(&container.last_state, true), (&container.state, false)];
            states.into_iter().filter_map(move |(state, restarted)| {
                let how = state.as_ref()?.terminated.as_ref()?;
                (how.exit_code != 0).then_some(Ended { pod, container, how, restarted })
            })
        })
    });
    let first = ended.min_by_key(|ended| ended.how.finished_at.clone().map(|time| time.0))?;
    let Ended { pod, container, how, restarted } = first;
    let name = pod.metadata.name.clone().unwrap_or_default();
    let job = job_of(observed, pod);
    let reason = how.reason.as_deref().filter(|reason| *reason != "Error");
    let reason = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
    let when = how.finished_at.as_ref().map_or_else(String::new, |at| format!(", {} ago", age(at.0, now)));
    let message = how.message.as_deref().map(str::trim).filter(|message| !message.is_empty());
    let message = message.map_or_else(String::new, |message| format!(": {message}"));
    Some(Failure {
        sentence: format!(
            "Container {} of pod {name}{} exited with code {}{reason}{when}{message}.",
            container.name,
            job.map_or_else(String::new, |job| format!(" (Job {job})")),
            how.exit_code,
        ),
        hint: hint(how, pod, &container.name),
        job: job.map(str::to_owned),
        pod: Some(name),
        container: Some(container.name.clone()),
        exit_code: Some(how.exit_code),
        restarted,
        log: Vec::new(),
    })
}

/// What an exit code means (Linux: 128 and the signal).
fn hint(how: &ContainerStateTerminated, pod: &Pod, container: &str) -> Option<String> {
    if how.reason.as_deref() == Some("OOMKilled") {
        let limit = memory_limit(pod, container).map_or_else(String::new, |limit| format!(" of {limit}"));
        return Some(format!(
            "It used more memory than its limit{limit}: raise resources.limits.memory, or use less."
        ));
    }
    let hint = match how.exit_code {
        126 => "The command is no program, or the user may not run it.",
        127 => "The command does not exist in the image.",
        134 => "The program aborted (SIGABRT).",
        137 => {
            "It was killed (SIGKILL): often because the node had no memory, or because it did not end in its grace period."
        }
        139 => "The program crashed (SIGSEGV).",
        143 => "It was asked to end (SIGTERM): its pod was deleted, evicted or preempted.",
        _ => return None,
    };
    Some(hint.to_owned())
}

fn memory_limit(pod: &Pod, container: &str) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let found = all.find(|it| it.name == container)?;
    found.resources.as_ref()?.limits.as_ref()?.get("memory").map(|limit| limit.0.clone())
}

/// A pod that ended although no container failed: an eviction, a preemption, a lost node.
fn of_pods(observed: &Observed) -> Option<Failure> {
    observed.pods().find_map(|pod| {
        let status = pod.status.as_ref()?;
        let mut conditions = status.conditions.iter().flatten();
        let disrupted = conditions.find(|it| it.type_ == "DisruptionTarget" && it.status == "True");
        let is_failed = status.phase.as_deref() == Some("Failed");
        let (reason, message) = match disrupted {
            Some(condition) => (condition.reason.clone(), condition.message.clone()),
            None if is_failed => (status.reason.clone(), status.message.clone()),
            None => return None,
        };
        let name = pod.metadata.name.clone()?;
        let what = reason.map_or_else(|| "failed".to_owned(), |reason| format!("ended with reason {reason}"));
        let message = message.map_or_else(String::new, |message| format!(": {message}"));
        Some(Failure {
            sentence: format!("Pod {name} {what}{message}."),
            job: job_of(observed, pod).map(str::to_owned),
            pod: Some(name),
            ..Failure::default()
        })
    })
}

fn of_jobs(observed: &Observed, now: Timestamp) -> Option<Failure> {
    let failed = observed.jobs().filter_map(|job| {
        let mut conditions = job.status.iter().filter_map(|status| status.conditions.as_ref()).flatten();
        let failed = conditions.find(|it| it.type_ == "Failed" && it.status == "True")?;
        Some((job, failed))
    });
    let (job, failed) =
        failed.min_by_key(|(_, condition)| condition.last_transition_time.clone().map(|time| time.0))?;
    let name = job.metadata.name.clone()?;
    let when = failed.last_transition_time.as_ref();
    let when = when.map_or_else(String::new, |at| format!(", {} ago", age(at.0, now)));
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Some(Failure {
        sentence: format!(
            "Job {name} failed with reason {}{when}: {}.",
            text(&failed.reason),
            text(&failed.message)
        ),
        job: Some(name),
        ..Failure::default()
    })
}

/// The words of the controller about a failure whose pods are gone.
fn of_condition(observed: &Observed, now: Timestamp) -> Option<Failure> {
    let jobset = &observed.recorded.jobset;
    let all = jobset.status.iter().flat_map(|status| &status.conditions);
    let restarted =
        all.filter(|it| it.type_ == conditions::RESTARTING).find(|it| it.message.contains(FIRST_FAILED));
    let found = condition(jobset, conditions::FAILED).or(restarted)?;
    let when = age(found.last_transition_time.0, now);
    let job =
        found.message.split_once(FIRST_FAILED).and_then(|(_, rest)| rest.split_once(')')).map(|(job, _)| job);
    let sentence = match job {
        Some(job) => format!("Job {job} failed, {when} ago. It is gone, and with it the reason."),
        None => format!("{when} ago: {}.", found.message),
    };
    Some(Failure { sentence, job: job.map(str::to_owned), ..Failure::default() })
}

fn job_of<'a>(observed: &'a Observed, pod: &Pod) -> Option<&'a str> {
    let uid = controller_uid(&pod.metadata);
    let is_owner = |job: &&Job| job.metadata.uid.as_deref() == uid;
    observed.jobs().find(is_owner).and_then(|job| job.metadata.name.as_deref())
}
