//! The history of a world, for debugging a seed. It is recorded only when a seed is replayed, because formatting would
//! take most of the time of a run.

use crate::{
    job::Job,
    request::{Request, SchedulingRequest},
    world::Millis,
};

/// The lines of one world.
#[derive(Default)]
pub(crate) struct History {
    enabled: bool,
    lines: Vec<String>,
}

impl History {
    /// A history that discards its lines unless `enabled`.
    pub(crate) fn new(enabled: bool) -> Self {
        Self { enabled, lines: Vec::new() }
    }

    /// Records an action.
    pub(crate) fn note(&mut self, now: Millis, actor: &str, what: impl FnOnce() -> String) {
        if self.enabled {
            let seconds = format!("{}.{:03}", now / 1000, now % 1000);
            self.lines.push(format!("{seconds:>12}  {actor:<15} {}", what()));
        }
    }

    /// The text of all lines.
    pub(crate) fn text(&self) -> String {
        self.lines.join("\n")
    }
}

/// Describes a request in one line.
pub(crate) fn describe_request(request: &Request) -> String {
    match request {
        Request::CreateJob(job) => {
            let suspended = job.spec.as_ref().is_some_and(|spec| spec.suspend == Some(true));
            let sent = Job::sent(job);
            let (attempt, own) = sent.attempts();
            let suspended = if suspended { ", suspended" } else { "" };
            format!("create Job {} of attempt {attempt}.{own}{suspended}", sent.name)
        }
        Request::CreateService(service) => {
            format!("create Service {}", service.metadata.name.as_deref().unwrap_or(""))
        }
        Request::PatchService { name, patch } => {
            format!("patch Service {name} {}", patch.get("spec").unwrap_or(patch))
        }
        Request::CreateClaim(claim) => {
            format!("create claim {}", claim.metadata.name.as_deref().unwrap_or(""))
        }
        Request::PatchJob { name, patch } => {
            format!("patch Job {name} {}", patch.get("spec").unwrap_or(patch))
        }
        Request::StoreStatus { name, uid, version, status } => {
            let conditions: Vec<String> = status
                .conditions
                .iter()
                .map(|condition| format!("{}={}", condition.type_, condition.status))
                .collect();
            let counts: Vec<String> = status
                .replicated_jobs_status
                .iter()
                .map(|s| {
                    let of = format!(
                        "{} r{} s{} f{} a{} x{}",
                        s.name, s.ready, s.succeeded, s.failed, s.active, s.suspended
                    );
                    if s.job_restarts.is_empty() { of } else { format!("{of} restarts {:?}", s.job_restarts) }
                })
                .collect();
            format!(
                "status of JobSet {name} ({}) at {}: restarts {} ({} counted) {:?} {} [{}] [{}]",
                uid.as_deref().unwrap_or("any UID"),
                version.as_deref().unwrap_or("any version"),
                status.restarts,
                status.restarts_count_towards_max,
                status.terminal_state,
                conditions.join(" "),
                counts.join(", "),
                "",
            )
            .replace(" []", "")
        }
        Request::Scheduling(SchedulingRequest::CreateWorkload(workload)) => {
            format!("create Workload {}", workload.metadata.name.as_deref().unwrap_or(""))
        }
        Request::Scheduling(SchedulingRequest::CreatePodGroup(pod_group)) => {
            let policy = serde_json::to_string(&pod_group.spec.scheduling_policy).unwrap_or_default();
            format!("create PodGroup {} {policy}", pod_group.metadata.name.as_deref().unwrap_or(""))
        }
        other => format!("{other:?}"),
    }
}
