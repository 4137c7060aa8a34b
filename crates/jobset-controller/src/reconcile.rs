//! The loop: a JobSet from the queue, its children from the index, a plan, its actions, its status, its events.

use crate::{
    act::{ActError, Actor},
    failures::{Failure, KnownFailures, Reported},
    memory::Memory,
    metrics::JobSetMetrics,
    observe::{Family, Index},
};
use futures::{FutureExt, StreamExt, stream};
use jiff::Timestamp;
use jobset_api::JobSet;
use jobset_plan::{EventKind, Execution, Gates, JobRecord, Problem, Requeue, Snapshot, Step};
use k8s_openapi::api::{batch::v1::Job, core::v1::ObjectReference};
use kube::{
    Resource,
    runtime::events::{Event, EventType},
};
use manager_runtime::{
    events::{EventSender, truncate_note},
    metrics::controller::Outcome,
    queue::WorkQueue,
    writer::Writer,
};
use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::{JoinSet, block_in_place};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, info_span, warn};

/// JobSets that are reconciled side by side. They wait more than they work: many, so that those with thousands of
/// requests leave room for others, to which the writer is fair.
const WORKERS: usize = 128;

/// How a reconcile ended.
struct ReconcileResult {
    requeue: Requeue,
    errors: Vec<ActError>,
    /// Whether one of the errors is new.
    is_news: bool,
}

impl ReconcileResult {
    fn outcome(&self) -> Outcome {
        match self.requeue {
            Requeue::Now => Outcome::Requeue,
            Requeue::After(_) => Outcome::RequeueAfter,
            Requeue::OnChange => Outcome::Success,
            Requeue::Retry(_) if self.passes() => Outcome::Requeue,
            Requeue::Retry(_) => Outcome::Error,
        }
    }

    /// Whether nothing went wrong; see [`ActError::passes`].
    fn passes(&self) -> bool {
        self.errors.iter().all(ActError::passes)
    }

    /// How long the next reconcile may be away at most.
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
            running.end(outcome.as_ref().map_or(Outcome::Panic, ReconcileResult::outcome));
            let Ok(result) = outcome else {
                let after = self.queue.retry(&uid);
                tracing::error!(?after, "reconcile panicked: a defect, please report it");
                continue;
            };
            match result.requeue {
                Requeue::Now => self.queue.go_on(&uid),
                Requeue::OnChange => self.queue.done(&uid),
                Requeue::After(delay) => {
                    self.queue.done(&uid);
                    self.queue.add_after(uid, delay);
                }
                Requeue::Retry(within) => {
                    let after = self.queue.retry_within(&uid, within.min(result.longest_wait()));
                    let (count, errors) = (result.errors.len(), result.some_errors());
                    if result.is_news {
                        warn!(?after, count, errors, "reconcile failed, retrying");
                    } else {
                        debug!(?after, count, errors, "reconcile not finished, retrying");
                    }
                }
            }
        }
    }

    /// Reconciles one JobSet once.
    async fn reconcile(&self, uid: &str, family: &Family) -> ReconcileResult {
        let began = Instant::now();
        let jobset = &family.jobset;
        let Family { jobs, service_exists, claims, .. } = family;
        let snapshot = Snapshot { jobset, jobs, service_exists: *service_exists, claims };
        let plan = || jobset_plan::plan(&snapshot, Timestamp::now(), &self.gates);
        // Compiling many patterns takes long enough to be felt: the thread's other work moves to another one.
        let mut plan = if looks_for_patterns(jobset, jobs) { block_in_place(plan) } else { plan() };
        for why in &plan.waiting {
            debug!("waiting: {why}");
        }
        let problems = self.memory.new_problems(uid, std::mem::take(&mut plan.problems));
        for Problem { job, uid: of_job, event } in problems {
            self.send_planned(jobset, event, Some(job_reference(jobset, job, of_job)));
        }

        let actor = self.actor.for_jobset(uid);
        let mut execution = Execution::new(plan);
        let mut errors = Vec::new();
        loop {
            match self.memory.next_step(uid, jobset, &mut execution) {
                Step::Execute(actions) => {
                    let count = actions.len();
                    let answers = stream::iter(actions).map(|action| actor.act(jobset, action));
                    let failures =
                        answers.buffer_unordered(Writer::PER_CALLER).filter_map(async |it| it.err());
                    errors = failures.collect().await;
                    if errors.is_empty() {
                        info!(actions = count, "carried out");
                    } else {
                        execution.failed();
                    }
                }
                Step::StoreStatus(status) => match actor.store_status(jobset, &status).await {
                    Ok(()) => {
                        self.memory.status_is_stored(uid, &mut execution);
                        self.metrics.status_stored(jobset, &status, jobs, &self.index);
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
                    let is_news = self.report_failures(uid, jobset, &errors);
                    return ReconcileResult { requeue: next, errors, is_news };
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
        let event = event_of(kind, reason, note, about);
        let version = jobset.metadata.resource_version.clone();
        self.events.send(event, reference(jobset, version));
    }

    /// Counts the errors, and sends one event for each reason of an event among them: a new one for a new cause, else
    /// the one before, counted. Returns whether one of the errors is new.
    fn report_failures(&self, uid: &str, jobset: &JobSet, errors: &[ActError]) -> bool {
        if errors.is_empty() {
            self.memory.failures(uid, KnownFailures::succeeded);
            return false;
        }
        let errors: Vec<_> = errors.iter().filter(|error| !error.passes()).collect();
        if errors.is_empty() {
            return false;
        }
        for error in &errors {
            self.metrics.request_failed(error.action());
        }
        let failures: Vec<Failure> = errors.iter().map(|error| error.failure()).collect();
        let new = self.memory.failures(uid, |known| known.failed(&failures));
        let mut notes = BTreeMap::<(&str, &str), Vec<String>>::new();
        for error in &errors {
            if let Some(reason) = error.event_reason() {
                notes.entry((error.action(), reason)).or_default().push(error.to_string());
            }
        }
        for ((action, reason), note) in notes {
            let known = self.memory.failures(uid, |known| known.last_report(action).cloned());
            let repeated = known.filter(|_| !new.contains(action));
            let is_new = repeated.is_none();
            let event = repeated.unwrap_or_else(|| Reported {
                note: truncate_note(note.join("\n")),
                resource_version: jobset.metadata.resource_version.clone(),
            });
            let regarding = reference(jobset, event.resource_version.clone());
            let warning = event_of(EventType::Warning, reason.to_owned(), event.note.clone(), None);
            if is_new {
                self.memory.failures(uid, |known| known.reported(action, event));
                self.events.send_new(warning, regarding);
            } else {
                self.events.send(warning, regarding);
            }
        }
        !new.is_empty()
    }
}

fn event_of(type_: EventType, reason: String, note: String, about: Option<ObjectReference>) -> Event {
    Event { type_, reason, note: Some(note), action: "Reconciling".to_owned(), secondary: about }
}

/// The JobSet at this version, as events name it.
fn reference(jobset: &JobSet, resource_version: Option<String>) -> ObjectReference {
    ObjectReference { resource_version, ..jobset.object_ref(&()) }
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
