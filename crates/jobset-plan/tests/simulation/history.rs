//! What happened, line by line, to understand a seed. Written only when a seed is replayed, because most of the time of a
//! run would go into formatting.

use crate::{job::Job, operation::Request, world::Millis};

/// The lines of one world.
#[derive(Default)]
pub(crate) struct History {
    kept: bool,
    lines: Vec<String>,
}

impl History {
    /// A history that keeps its lines, or drops them.
    pub(crate) fn new(kept: bool) -> Self {
        Self { kept, lines: Vec::new() }
    }

    /// Says what `who` did.
    pub(crate) fn note(&mut self, now: Millis, who: &str, what: impl FnOnce() -> String) {
        if self.kept {
            let seconds = format!("{}.{:03}", now / 1000, now % 1000);
            self.lines.push(format!("{seconds:>12}  {who:<15} {}", what()));
        }
    }

    /// All lines.
    pub(crate) fn text(&self) -> String {
        self.lines.join("\n")
    }
}

/// A request, for a person.
pub(crate) fn in_words(request: &Request) -> String {
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
        other => format!("{other:?}"),
    }
}
