//! The reconcile loop: takes a JobSet from the queue and its children from the index, plans, executes the actions,
//! stores the status, and sends the events.

use crate::{
    act::{ActError, Actor},
    agent_permissions::AgentPermissions,
    failures::{Failure, KnownFailures, Reported},
    memory::Memory,
    metrics::JobSetMetrics,
    observe::{Index, ObservedJobSet, Placement, PlanInputs},
};
use futures::{FutureExt, StreamExt, future::ready, stream};
use jiff::Timestamp;
use jobset_api::JobSet;
use jobset_plan::{
    EventKind, Execution, Gates, GroupFailure, JobRecord, Requeue, Step, Subject, agent_injection,
};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ObjectReference, Pod, Service, ServiceAccount},
    scheduling::v1beta1::PodGroup,
};
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
use tokio::{task::block_in_place, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, info_span, warn};

/// The number of concurrent reconciles. Reconciles mostly wait for responses, so the number is high: JobSets with
/// thousands of requests do not block others, and the writer is fair between JobSets.
const WORKERS: usize = 128;

/// How many times longer than its plan a JobSet pauses after a reconcile that sent nothing. While thousands of Jobs of a
/// JobSet change within seconds, each plan reads all of them, and most plans find nothing to do. The first change
/// after a pause has no delay.
const PAUSE_PER_PLAN: u32 = 50;
/// The longest pause. Users see no delay.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The result of one reconcile.
struct ReconcileResult {
    requeue: Requeue,
    /// How long the plan took.
    planned: Duration,
    errors: Vec<ActError>,
    /// Whether one of the errors is new.
    has_new_errors: bool,
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

    /// How long the JobSet pauses. Its changes wait meanwhile.
    fn pause(&self) -> Duration {
        match self.requeue {
            Requeue::OnChange | Requeue::After(_) => {
                self.planned.saturating_mul(PAUSE_PER_PLAN).min(LONGEST_PAUSE)
            }
            Requeue::Now | Requeue::Retry(_) => Duration::ZERO,
        }
    }

    /// Whether all errors are expected; see [`ActError::is_expected`].
    fn is_expected(&self) -> bool {
        self.errors.iter().all(ActError::is_expected)
    }

    /// Longest delay until the next reconcile.
    fn longest_wait(&self) -> Duration {
        self.errors.iter().map(ActError::longest_wait).max().unwrap_or(Duration::MAX)
    }

    /// The first errors, few enough for one log line.
    fn some_errors(&self) -> String {
        let some: Vec<_> = self.errors.iter().take(3).map(ToString::to_string).collect();
        some.join("\n")
    }
}

/// Reconciles JobSets.
pub(crate) struct Reconciler {
    pub(crate) index: Index,
    pub(crate) placement: Placement,
    pub(crate) queue: Arc<WorkQueue<String>>,
    pub(crate) actor: Actor,
    pub(crate) agent_permissions: AgentPermissions,
    pub(crate) events: EventSender,
    pub(crate) gates: Gates,
    pub(crate) memory: Memory,
    pub(crate) metrics: JobSetMetrics,
}

impl Reconciler {
    /// Processes the queue until `shutdown`, then finishes the current reconciles.
    pub(crate) async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        self.metrics.workers(WORKERS);
        let queue = self.queue.clone();
        queue.run(WORKERS, shutdown, move |uid| self.clone().process(uid)).await;
    }

    async fn process(self: Arc<Self>, uid: String) {
        let Some(observed) = self.index.observe(&uid) else {
            self.memory.forget(&uid);
            self.queue.done(&uid);
            return;
        };
        let metadata = &observed.jobset.metadata;
        let running = self.metrics.begin();
        let span = info_span!("reconcile", namespace = metadata.namespace, jobset = metadata.name, uid);
        // A panic is a bug in the controller. It must stop neither the process nor other JobSets.
        let outcome =
            AssertUnwindSafe(self.reconcile(&uid, &observed)).catch_unwind().instrument(span.clone()).await;
        running.end(outcome.as_ref().map_or(Outcome::Panic, ReconcileResult::outcome));
        sleep(outcome.as_ref().map_or(Duration::ZERO, ReconcileResult::pause)).await;
        let _entered = span.entered();
        let Ok(result) = outcome else {
            let after = self.queue.retry(&uid);
            tracing::error!(?after, "reconcile panicked: this is a bug, please report it");
            return;
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
                if result.has_new_errors {
                    warn!(?after, count, errors, "reconcile failed, retrying");
                } else {
                    debug!(?after, count, errors, "reconcile incomplete, retrying");
                }
            }
        }
    }

    /// Reconciles one JobSet once.
    async fn reconcile(&self, uid: &str, observed: &ObservedJobSet) -> ReconcileResult {
        let began = Instant::now();
        let ObservedJobSet { jobset, jobs, .. } = observed;
        let inputs = PlanInputs::of(uid, observed, &self.placement);
        let snapshot = inputs.snapshot(self.memory.creation_wait(uid, jobs));
        let plan = || jobset_plan::plan(&snapshot, Timestamp::now(), &self.gates);
        // Compiling many patterns takes long, so the other tasks of this thread move to another thread.
        let mut plan = if matches_patterns(jobset, jobs) { block_in_place(plan) } else { plan() };
        let planned = began.elapsed();
        for why in &plan.waiting {
            debug!("waiting: {why}");
        }
        if self.gates.in_place_restart && agent_injection::is_requested(jobset) && !has_finished(jobset) {
            plan.problems.extend(self.agent_permissions.problems(jobset).await);
        }
        for problem in self.memory.new_problems(uid, std::mem::take(&mut plan.problems)) {
            self.send_planned(jobset, problem.event, subject_reference(jobset, problem.subject));
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
                    let failures =
                        answers.filter_map(|answer| ready(answer.err().map(|it| it.at(Timestamp::now()))));
                    errors = failures.collect().await;
                    if errors.is_empty() {
                        info!(actions = count, "actions executed");
                    } else {
                        execution.failed();
                        if let Some(failure) = group_failure(&errors) {
                            execution.group_creation_failed(failure);
                        }
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
                    let has_new_errors = self.report_failures(uid, jobset, &errors);
                    return ReconcileResult { requeue: next, planned, errors, has_new_errors };
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

    /// Counts the errors, and sends one event for each event reason among them. A new cause gets a new event, and a
    /// known cause repeats the last event. Returns whether one of the errors is new.
    fn report_failures(&self, uid: &str, jobset: &JobSet, errors: &[ActError]) -> bool {
        if errors.is_empty() {
            self.memory.failures(uid, KnownFailures::succeeded);
            return false;
        }
        let errors: Vec<_> = errors.iter().filter(|error| !error.is_expected()).collect();
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

/// The reference of an event to the JobSet at this version.
fn reference(jobset: &JobSet, resource_version: Option<String>) -> ObjectReference {
    ObjectReference { resource_version, ..jobset.object_ref(&()) }
}

/// The reference of an event to the object of a problem. None if the event names it.
fn subject_reference(jobset: &JobSet, subject: Subject) -> Option<ObjectReference> {
    let (api_version, kind, name, uid) = match subject {
        Subject::Job { name, uid } => (Job::api_version(&()), Job::kind(&()), name, uid),
        Subject::Pod { name, uid } => (Pod::api_version(&()), Pod::kind(&()), name, uid),
        Subject::ServiceAccount(name) => {
            (ServiceAccount::api_version(&()), ServiceAccount::kind(&()), name, String::new())
        }
        Subject::Service { name, uid } => (Service::api_version(&()), Service::kind(&()), name, uid),
        Subject::PodGroup { name, uid } => (PodGroup::api_version(&()), PodGroup::kind(&()), name, uid),
        Subject::TopologyKey(_) => return None,
    };
    Some(ObjectReference {
        api_version: Some(api_version.into_owned()),
        kind: Some(kind.into_owned()),
        namespace: jobset.metadata.namespace.clone(),
        name: Some(name),
        uid: Some(uid).filter(|uid| !uid.is_empty()),
        ..Default::default()
    })
}

/// The first error about a group that could not be created. An error that is not expected says more than an expected one.
fn group_failure(errors: &[ActError]) -> Option<GroupFailure> {
    let mut failures: Vec<_> =
        errors.iter().filter_map(|error| Some((error, error.group_failure()?))).collect();
    failures.sort_by_key(|(error, _)| error.is_expected());
    let (error, reason) = failures.first()?;
    let (message, at) = (truncate_note(error.to_string()), Timestamp::now());
    Some(GroupFailure { reason, message, at, has_event: error.event_reason().is_some() })
}

fn has_finished(jobset: &JobSet) -> bool {
    jobset.status.as_ref().is_some_and(|status| !status.terminal_state.is_empty())
}

/// Whether a Job has ended and a rule of the failure policy has message patterns.
fn matches_patterns(jobset: &JobSet, jobs: &[Arc<JobRecord>]) -> bool {
    let mut rules = jobset.spec.failure_policy.iter().flat_map(|policy| &policy.rules);
    jobs.iter().any(|job| job.verdict.is_some())
        && rules.any(|rule| !rule.on_job_failure_message_patterns.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jobset_pauses_after_a_long_plan_that_sent_nothing() {
        let at = Duration::from_micros;
        for (requeue, planned, pause) in [
            (Requeue::OnChange, at(2), at(100)),
            (Requeue::OnChange, at(300), at(15_000)),
            (Requeue::After(at(7)), at(300), at(15_000)),
            (Requeue::OnChange, at(9000), LONGEST_PAUSE),
            (Requeue::OnChange, Duration::MAX, LONGEST_PAUSE),
            (Requeue::Now, at(9000), Duration::ZERO),
            (Requeue::Retry(at(7)), at(9000), Duration::ZERO),
        ] {
            let result = ReconcileResult { requeue, planned, errors: Vec::new(), has_new_errors: false };
            assert_eq!(result.pause(), pause, "{requeue:?}, {planned:?}");
        }
    }
}
