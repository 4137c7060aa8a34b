//! The loop: a JobSet from the queue, its family from the index, a plan, its actions, its status, its events.

use crate::{
    act::{ActError, Actor},
    memory::Memory,
    metrics::JobSetMetrics,
    observe::{Family, Index},
};
use futures::{FutureExt, StreamExt, stream};
use jiff::Timestamp;
use jobset_api::JobSet;
use jobset_plan::{Action, EventKind, Gates, JobRecord, Plan, Remark, Snapshot};
use k8s_openapi::api::{batch::v1::Job, core::v1::ObjectReference};
use kube::{
    Resource,
    runtime::events::{Event, EventType},
};
use manager_runtime::{events::EventSender, metrics::controller::Outcome, queue::WorkQueue, writer::Writer};
use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::{JoinSet, block_in_place};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, info_span, warn};

/// JobSets that are looked at side by side. They wait more than they work: many, so that those with thousands of
/// requests leave room for others, whose turns the writer sees to.
const WORKERS: usize = 128;

/// When to look at a JobSet again.
enum Next {
    /// Something was written: see what follows from it.
    Now,
    /// Time alone will make a difference.
    After(Duration),
    /// When something changes.
    OnChange,
}

/// What went wrong in a look.
struct Failed {
    errors: Vec<ActError>,
    /// When counts that are not stored yet can be stored.
    counts_due: Option<Duration>,
}

impl Failed {
    fn passes(&self) -> bool {
        self.errors.iter().all(ActError::passes)
    }

    /// How long it may take at most until somebody looks again.
    fn longest_wait(&self) -> Duration {
        let of_errors = self.errors.iter().map(ActError::longest_wait).max();
        of_errors.into_iter().chain(self.counts_due).min().unwrap_or(Duration::MAX)
    }

    /// As many errors as one line of the log should hold.
    fn some_errors(&self) -> String {
        let some: Vec<_> = self.errors.iter().take(3).map(ToString::to_string).collect();
        some.join("\n")
    }
}

/// What a reconcile needs.
pub(crate) struct Reconciler {
    pub(crate) index: Index,
    pub(crate) queue: Arc<WorkQueue<String>>,
    pub(crate) actor: Actor,
    pub(crate) events: EventSender,
    pub(crate) gates: Gates,
    pub(crate) memory: Memory,
    pub(crate) metrics: JobSetMetrics,
}

impl Reconciler {
    /// Works on the queue until `shutdown`, then finishes what is in work.
    pub(crate) async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        self.metrics.workers(WORKERS);
        let mut workers = JoinSet::new();
        for _ in 0..WORKERS {
            workers.spawn(self.clone().work(shutdown.clone()));
        }
        workers.join_all().await;
    }

    async fn work(self: Arc<Self>, shutdown: CancellationToken) {
        loop {
            let uid = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                uid = self.queue.next() => uid,
            };
            let Some(family) = self.index.family(&uid) else {
                self.memory.forget(&uid);
                self.queue.done(&uid);
                continue;
            };
            let metadata = &family.jobset.metadata;
            let running = self.metrics.begin();
            let span = info_span!("reconcile", namespace = metadata.namespace, jobset = metadata.name, uid);
            // A panic is a defect of ours: it must stop neither the process nor the other JobSets.
            let outcome =
                AssertUnwindSafe(self.reconcile(&uid, &family)).catch_unwind().instrument(span.clone()).await;
            let _entered = span.entered();
            running.end(match &outcome {
                Ok(Ok(Next::Now)) => Outcome::Requeue,
                Ok(Ok(Next::After(_))) => Outcome::RequeueAfter,
                Ok(Ok(Next::OnChange)) => Outcome::Success,
                Ok(Err(failed)) if failed.passes() => Outcome::Requeue,
                Ok(Err(_)) => Outcome::Error,
                Err(_) => Outcome::Panic,
            });
            match outcome {
                Ok(Ok(Next::Now)) => self.queue.go_on(&uid),
                Ok(Ok(Next::OnChange)) => self.queue.done(&uid),
                Ok(Ok(Next::After(delay))) => {
                    self.queue.done(&uid);
                    self.queue.add_after(uid, delay);
                }
                Ok(Err(failed)) => {
                    let after = self.queue.retry_within(&uid, failed.longest_wait());
                    let (count, errors) = (failed.errors.len(), failed.some_errors());
                    if failed.passes() {
                        debug!(?after, count, errors, "not yet, looking again");
                    } else {
                        warn!(?after, count, errors, "trying again");
                    }
                }
                Err(_) => {
                    let after = self.queue.retry(&uid);
                    tracing::error!(?after, "reconcile panicked: a defect, please report it");
                }
            }
        }
    }

    /// One look at one JobSet. Returns when to look again.
    async fn reconcile(&self, uid: &str, family: &Family) -> Result<Next, Failed> {
        let began = Instant::now();
        let jobset = &family.jobset;
        let Family { jobs, service_exists, claims, .. } = family;
        let snapshot = Snapshot { jobset, jobs, service_exists: *service_exists, claims };
        let plan = || jobset_plan::plan(&snapshot, Timestamp::now(), &self.gates);
        // Compiling many patterns takes long enough to be felt: the thread's other work moves to another one.
        let plan = if looks_for_patterns(jobset, jobs) { block_in_place(plan) } else { plan() };
        let Plan { actions, status, status_is_urgent, events, mut requeue_after, remarks, waiting } = plan;
        for why in waiting {
            debug!("waiting: {why}");
        }
        for Remark { job, uid: of_job, event } in remarks {
            if self.memory.is_first_remark(uid, &of_job, &event.reason) {
                self.send_planned(jobset, event, Some(job_reference(jobset, job, of_job)));
            }
        }

        let actor = self.actor.for_jobset(uid);
        let count = actions.len();
        let (then, first): (Vec<_>, Vec<_>) = actions.into_iter().partition(Action::needs_surroundings);
        let carry_out = async |actions| {
            let answers = stream::iter(actions).map(|action| actor.act(jobset, action));
            let failures =
                answers.buffer_unordered(Writer::PER_CALLER).filter_map(async |answer| answer.err());
            failures.collect::<Vec<_>>().await
        };
        let mut failures = carry_out(first).await;
        if failures.is_empty() {
            failures = carry_out(then).await;
        }
        if !failures.is_empty() {
            self.tell_of(jobset, &failures);
            // What was to be done is not done. What was counted holds all the same.
            let counts =
                status.as_ref().and_then(|new| jobset_plan::only_counts(jobset.status.as_ref(), new));
            let mut counts_due = None;
            if let Some(counts) = counts {
                let wait = self.memory.status_can_wait(uid, false);
                if wait.is_zero() {
                    match actor.store_status(jobset, &counts).await {
                        Ok(()) => self.memory.status_is_stored(uid),
                        Err(failure) => failures.push(failure),
                    }
                } else {
                    counts_due = Some(wait);
                }
            }
            return Err(Failed { errors: failures, counts_due });
        }
        if count > 0 {
            info!(actions = count, "carried out");
        }
        // What we wrote is in the index already, so the watch will not tell of it: it is for us to go on from it.
        let mut wrote = count > 0;
        if let Some(status) = status {
            let wait = self.memory.status_can_wait(uid, status_is_urgent);
            if wait.is_zero() {
                let stored = actor.store_status(jobset, &status).await;
                stored.map_err(|error| Failed { errors: vec![error], counts_due: None })?;
                self.memory.status_is_stored(uid);
                self.metrics.status_stored(jobset, &status, jobs, &self.index);
                debug!("status stored");
                wrote = true;
            } else {
                requeue_after = Some(requeue_after.map_or(wait, |after| after.min(wait)));
            }
        } else {
            self.memory.status_is_settled(uid);
        }
        for event in events {
            self.send_planned(jobset, event, None);
        }
        if wrote {
            self.metrics.wrote(began);
        }
        Ok(if wrote { Next::Now } else { requeue_after.map_or(Next::OnChange, Next::After) })
    }

    fn send_planned(&self, jobset: &JobSet, event: jobset_plan::Event, about: Option<ObjectReference>) {
        let jobset_plan::Event { kind, reason, note } = event;
        info!(reason, note, "event");
        let kind = match kind {
            EventKind::Normal => EventType::Normal,
            EventKind::Warning => EventType::Warning,
        };
        self.send(jobset, kind, reason, note, about);
    }

    /// One event for each reason among the failures.
    fn tell_of(&self, jobset: &JobSet, failures: &[ActError]) {
        let mut reasons: Vec<&str> = failures.iter().filter_map(ActError::event_reason).collect();
        reasons.sort_unstable();
        reasons.dedup();
        for reason in reasons {
            let of_reason = failures.iter().filter(|failure| failure.event_reason() == Some(reason));
            let note: Vec<String> = of_reason.map(ToString::to_string).collect();
            self.send(jobset, EventType::Warning, reason.to_owned(), note.join("\n"), None);
        }
    }

    /// Queues an event. Those of one reason are one event, counted, as long as neither the JobSet changes nor what
    /// they are `about`.
    fn send(
        &self,
        jobset: &JobSet,
        type_: EventType,
        reason: String,
        note: String,
        about: Option<ObjectReference>,
    ) {
        let action = "Reconciling".to_owned();
        let event = Event { type_, reason, note: Some(note), action, secondary: about };
        let regarding = ObjectReference {
            resource_version: jobset.metadata.resource_version.clone(),
            ..jobset.object_ref(&())
        };
        self.events.send(event, regarding);
    }
}

fn job_reference(jobset: &JobSet, name: String, uid: String) -> ObjectReference {
    ObjectReference {
        api_version: Some(Job::api_version(&()).into_owned()),
        kind: Some(Job::kind(&()).into_owned()),
        namespace: jobset.metadata.namespace.clone(),
        name: Some(name),
        uid: Some(uid),
        ..Default::default()
    }
}

/// Whether a Job has ended, and messages of failed ones are matched with patterns.
fn looks_for_patterns(jobset: &JobSet, jobs: &[JobRecord]) -> bool {
    let mut rules = jobset.spec.failure_policy.iter().flat_map(|policy| &policy.rules);
    jobs.iter().any(|job| job.verdict.is_some())
        && rules.any(|rule| !rule.on_job_failure_message_patterns.is_empty())
}
