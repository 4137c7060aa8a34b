//! `list`: all JobSets.

use crate::explain::{State, age, queue, state_of};
use crate::table;
use jiff::Timestamp;
use jobset_api::JobSet;
use serde::Serialize;

/// A JobSet.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Line {
    namespace: String,
    name: String,
    state: State,
    /// Jobs that are ready or succeeded.
    ready: i64,
    succeeded: i64,
    failed: i64,
    jobs: i64,
    restarts: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_restarts: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    age: String,
}

/// All lines.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct List {
    lines: Vec<Line>,
    #[serde(skip)]
    with_namespace: bool,
}

/// The lines of JobSets.
pub(crate) fn of(jobsets: &[JobSet], with_namespace: bool, now: Timestamp) -> List {
    let line = |jobset: &JobSet| {
        let status = jobset.status.clone().unwrap_or_default();
        let sum = |count: fn(&jobset_api::ReplicatedJobStatus) -> i32| -> i64 {
            status.replicated_jobs_status.iter().map(|counts| i64::from(count(counts))).sum()
        };
        let created = jobset.metadata.creation_timestamp.as_ref();
        Line {
            namespace: jobset.metadata.namespace.clone().unwrap_or_default(),
            name: jobset.metadata.name.clone().unwrap_or_default(),
            state: state_of(jobset),
            ready: sum(|counts| counts.ready),
            succeeded: sum(|counts| counts.succeeded),
            failed: sum(|counts| counts.failed),
            jobs: jobset.spec.replicated_jobs.iter().map(|it| i64::from(it.replicas)).sum(),
            restarts: status.restarts,
            max_restarts: jobset.spec.failure_policy.as_ref().map(|policy| policy.max_restarts),
            queue: queue(jobset).map(str::to_owned),
            age: created.map_or_else(String::new, |at| age(at.0, now)),
        }
    };
    List { lines: jobsets.iter().map(line).collect(), with_namespace }
}

impl List {
    /// The table.
    pub(crate) fn text(&self) -> String {
        let rows = self.lines.iter().map(|line| {
            let name = if self.with_namespace {
                format!("{}/{}", line.namespace, line.name)
            } else {
                line.name.clone()
            };
            let restarts = match line.max_restarts {
                Some(max) => format!("{}/{max}", line.restarts),
                None => line.restarts.to_string(),
            };
            [
                name,
                line.state.to_string(),
                format!("{}/{}", line.ready, line.jobs),
                format!("{}/{}", line.succeeded, line.jobs),
                restarts,
                line.queue.clone().unwrap_or_default(),
                line.age.clone(),
            ]
        });
        table::render(["NAME", "STATE", "READY", "SUCCEEDED", "RESTARTS", "QUEUE", "AGE"], rows)
    }
}
