//! `tree`: a JobSet, its Jobs and its pods.

use crate::explain::{Observed, age, is_ready, state_of, wait_of};
use crate::table;
use jiff::Timestamp;
use jobset_api::labels;
use jobset_plan::pod_admission::controller_uid;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;

/// An object and what belongs to it.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Branch {
    kind: &'static str,
    name: String,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    restarts: i32,
    age: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    children: Vec<Branch>,
}

/// The tree of a JobSet.
pub(crate) fn of(observed: &Observed, now: Timestamp) -> Branch {
    let jobset = &observed.recorded.jobset;
    let roles = jobset.spec.replicated_jobs.iter().map(|replicated_job| {
        let of_role =
            |job: &&Job| label(&job.metadata, labels::REPLICATED_JOB_NAME) == Some(&replicated_job.name);
        let mut jobs: Vec<_> = observed.jobs().filter(of_role).collect();
        jobs.sort_by_key(|job| index(job.metadata.labels.as_ref().and_then(|it| it.get(labels::JOB_INDEX))));
        let found = jobs.len();
        Branch {
            kind: "ReplicatedJob",
            name: replicated_job.name.clone(),
            state: format!("{found} of {} Jobs", replicated_job.replicas),
            node: None,
            restarts: 0,
            age: String::new(),
            children: jobs.into_iter().map(|job| of_job(observed, job, now)).collect(),
        }
    });
    Branch {
        kind: "JobSet",
        name: name(&jobset.metadata),
        state: state_of(jobset).to_string(),
        node: None,
        restarts: jobset.status.as_ref().map_or(0, |status| status.restarts),
        age: age_of(&jobset.metadata, now),
        children: roles.collect(),
    }
}

fn of_job(observed: &Observed, job: &Job, now: Timestamp) -> Branch {
    let owned = |pod: &&Pod| controller_uid(&pod.metadata) == job.metadata.uid.as_deref();
    let mut pods: Vec<_> = observed.pods().filter(owned).collect();
    pods.sort_by_key(|pod| {
        let index_of = pod.metadata.annotations.as_ref().and_then(|it| it.get(labels::JOB_COMPLETION_INDEX));
        (index(index_of), name(&pod.metadata))
    });
    let attempt = label(&job.metadata, labels::JOB_RESTART_ATTEMPT).and_then(|text| text.parse().ok());
    Branch {
        kind: "Job",
        name: name(&job.metadata),
        state: job_state(job),
        node: None,
        restarts: attempt.unwrap_or(0),
        age: age_of(&job.metadata, now),
        children: pods.into_iter().map(|pod| of_pod(pod, now)).collect(),
    }
}

fn job_state(job: &Job) -> String {
    if job.metadata.deletion_timestamp.is_some() {
        return "Terminating".to_owned();
    }
    let status = job.status.clone().unwrap_or_default();
    let ended =
        status.conditions.iter().flatten().find(|it| {
            it.status == "True" && ["Complete", "Failed", "Suspended"].contains(&it.type_.as_str())
        });
    if let Some(condition) = ended {
        return condition.type_.clone();
    }
    let wanted = job.spec.as_ref().and_then(|spec| spec.parallelism).unwrap_or(1);
    format!("{} of {wanted} ready", status.ready.unwrap_or(0))
}

fn of_pod(pod: &Pod, now: Timestamp) -> Branch {
    let phase = pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
    let state = if pod.metadata.deletion_timestamp.is_some() {
        "Terminating".to_owned()
    } else if is_ready(pod) {
        "Ready".to_owned()
    } else {
        wait_of(pod).map_or(phase, |wait| wait.word().to_owned())
    };
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    Branch {
        kind: "Pod",
        name: name(&pod.metadata),
        state,
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        restarts: statuses.map(|container| container.restart_count).sum(),
        age: age_of(&pod.metadata, now),
        children: Vec::new(),
    }
}

impl Branch {
    /// The table.
    pub(crate) fn text(&self) -> String {
        let mut rows = Vec::new();
        self.add_to(&mut rows, "", "");
        table::render(["NAME", "STATE", "NODE", "RESTARTS", "AGE"], rows)
    }

    fn add_to(&self, rows: &mut Vec<[String; 5]>, lines: &str, indent: &str) {
        let restarts = if self.kind == "ReplicatedJob" { String::new() } else { self.restarts.to_string() };
        rows.push([
            format!("{lines}{} {}", self.kind, self.name),
            self.state.clone(),
            self.node.clone().unwrap_or_default(),
            restarts,
            self.age.clone(),
        ]);
        let last = self.children.len().saturating_sub(1);
        for (position, child) in self.children.iter().enumerate() {
            let (lines, below) = if position == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            child.add_to(rows, &format!("{indent}{lines}"), &format!("{indent}{below}"));
        }
    }
}

fn name(metadata: &ObjectMeta) -> String {
    metadata.name.clone().unwrap_or_default()
}

fn label<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a String> {
    metadata.labels.as_ref()?.get(key)
}

fn index(text: Option<&String>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn age_of(metadata: &ObjectMeta, now: Timestamp) -> String {
    metadata.creation_timestamp.as_ref().map_or_else(String::new, |at| age(at.0, now))
}
