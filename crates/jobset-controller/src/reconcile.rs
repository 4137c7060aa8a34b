//! The loop: a JobSet from the queue, its children from the index, a plan, its actions, its status, its events.

use crate::{
    act::{ActError, Actor},
    memory::Memory,
    metrics::JobSetMetrics,
    observe::{Index, ObservedJobSet},
};
use futures::{FutureExt, StreamExt, future::ready, stream};
use jiff::Timestamp;
use jobset_api::JobSet;
use jobset_plan::{EventKind, Execution, Gates, JobRecord, Requeue, Snapshot, Step, Subject};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ObjectReference, Service},
};
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

/// JobSets that are reconciled at the same time. They wait more than they work: many, so that those with thousands of
/// requests leave room for others; the writer is fair between them.
const WORKERS: usize = 128;

/// How a reconcile ended.
struct ReconcileResult {
    requeue: Requeue,
    errors: Vec<ActError>,
}

impl ReconcileResult {
    fn outcome(&self) -> Outcome {
        match self.requeue {
            Requeue::Now => Outcome::Requeue,
            Requeue::After(_) => Outcome::RequeueAfter,
            Requeue::OnChange => Outcome::Success,
            Requeue::Retry(_) if self.is_expected() => Outcome::Requeue,
            Requeue::Retry(_) => Outcome::Error,
        }
    }

    /// Whether nothing went wrong; see [`ActError::is_expected`].
    fn is_expected(&self) -> bool {
        self.errors.iter().all(ActError::is_expected)
    }

    /// Longest delay until the next reconcile.
    fn longest_wait(&self) -> Duration {
        self.errors.iter().map(ActError::longest_wait).max().unwrap_or(Duration::MAX)
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
            let Some(observed) = self.index.observe(&uid) else {
                self.memory.forget(&uid);
                self.queue.done(&uid);
                continue;
            };
            let metadata = &observed.jobset.metadata;
            let running = self.metrics.begin();
            let span = info_span!("reconcile", namespace = metadata.namespace, jobset = metadata.name, uid);
            // A panic is a defect of ours: it must stop neither the process nor the other JobSets.
            let outcome = AssertUnwindSafe(self.reconcile(&uid, &observed))
                .catch_unwind()
                .instrument(span.clone())
                .await;
            let _entered = span.entered();
            running.end(outcome.as_ref().map_or(Outcome::Panic, ReconcileResult::outcome));
            let Ok(result) = outcome else {
                let after = self.queue.retry(&uid);
                tracing::error!(?after, "reconcile panicked: a defect, please report it");
                continue;
            };
            match result.requeue {
                Requeue::Now => self.queue.requeue(&uid),
                Requeue::OnChange => self.queue.done(&uid),
                Requeue::After(delay) => {
                    self.queue.done(&uid);
                    self.queue.add_after(uid, delay);
                }
                Requeue::Retry(within) => {
                    let after = self.queue.retry_within(&uid, within.min(result.longest_wait()));
                    let (count, errors) = (result.errors.len(), result.some_errors());
                    if result.is_expected() {
                        debug!(?after, count, errors, "not yet, looking again");
                    } else {
                        warn!(?after, count, errors, "trying again");
                    }
                }
            }
        }
    }

    async fn reconcile(&self, uid: &str, observed: &ObservedJobSet) -> ReconcileResult {
        let began = Instant::now();
        let ObservedJobSet { jobset, jobs, service, claims } = observed;
        let snapshot = Snapshot { jobset, jobs, service: service.as_ref(), claims };
        let plan = || jobset_plan::plan(&snapshot, Timestamp::now(), &self.gates);
        // Compiling many patterns takes long enough to be felt: the thread's other work moves to another one.
        let mut plan = if matches_patterns(jobset, jobs) { block_in_place(plan) } else { plan() };
        for why in &plan.waiting {
            debug!("waiting: {why}");
        }
        for problem in self.memory.new_problems(uid, std::mem::take(&mut plan.problems)) {
            self.send_planned(jobset, problem.event, Some(reference(jobset, problem.subject)));
        }

        let restores_status = plan.restores_status;
        let actor = self.actor.for_jobset(uid);
        let mut execution = Execution::new(plan);
        let mut errors = Vec::new();
        loop {
            match self.memory.next_step(uid, jobset, &mut execution) {
                Step::Execute(actions) => {
                    let count = actions.len();
                    let answers = stream::iter(actions).map(|action| actor.act(jobset, action));
                    let answers = answers.buffer_unordered(Writer::PER_CALLER);
                    // Not an async closure: the compiler fails on one here when it compiles incrementally
                    // (https://github.com/rust-lang/rust/issues/151888).
                    let failures = answers.filter_map(|answer| ready(answer.err()));
                    errors = failures.collect().await;
                    if errors.is_empty() {
                        info!(actions = count, "carried out");
                    } else {
                        self.send_failure_events(jobset, &errors);
                        execution.failed();
                    }
                }
                Step::StoreStatus(status) => match actor.store_status(jobset, status.clone()).await {
                    Ok(()) => {
                        self.memory.status_is_stored(uid, &mut execution);
                        if !restores_status {
                            self.metrics.status_stored(jobset, &status, jobs, &self.index);
                        }
                        debug!("status stored");
                    }
                    Err(error) => {
                        errors.push(error);
                        execution.failed();
                    }
                },
                Step::Finish(events, next) => {
                    for event in events {
                        self.send_planned(jobset, event, None);
                    }
                    if next == Requeue::Now {
                        self.metrics.wrote(began);
                    }
                    return ReconcileResult { requeue: next, errors };
                }
            }
        }
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
    fn send_failure_events(&self, jobset: &JobSet, failures: &[ActError]) {
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

fn reference(jobset: &JobSet, subject: Subject) -> ObjectReference {
    let (api_version, kind, name, uid) = match subject {
        Subject::Job { name, uid } => (Job::api_version(&()), Job::kind(&()), name, uid),
        Subject::Service { name, uid } => (Service::api_version(&()), Service::kind(&()), name, uid),
    };
    ObjectReference {
        api_version: Some(api_version.into_owned()),
        kind: Some(kind.into_owned()),
        namespace: jobset.metadata.namespace.clone(),
        name: Some(name),
        uid: Some(uid),
        ..Default::default()
    }
}

/// Whether a Job has ended, and messages of failed ones are matched with patterns.
fn matches_patterns(jobset: &JobSet, jobs: &[Arc<JobRecord>]) -> bool {
    let mut rules = jobset.spec.failure_policy.iter().flat_map(|policy| &policy.rules);
    jobs.iter().any(|job| job.verdict.is_some())
        && rules.any(|rule| !rule.on_job_failure_message_patterns.is_empty())
}
