//! The process of the controller. It observes a JobSet, plans, executes the plan, and adds each response to its index.
//! This file reproduces `reconcile.rs` of the controller as a state machine that can stop between any two requests.

use crate::{
    api_server::{Refusal, Watched, version_of},
    error::ActError,
    observe::{Index, Watch},
    operation::Operation,
    schedule::ScheduledEvent,
    work_queue::State as WorkQueue,
    world::{Millis, World, timestamp},
};
use jobset_api::JobSet;
use jobset_plan::{
    Action, Execution, GroupFailure, InPlacePods, Recreation, Requeue, Snapshot, StatusTiming, Step, plan,
};
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

/// A process that acquires the lease.
pub(crate) struct Process {
    pub(crate) alive: bool,
    /// The time at which it acquires the lease. It watches from the start.
    pub(crate) leads_from: Millis,
    pub(crate) index: Index,
    pub(crate) watches: [Watch; 6],
    /// UIDs of the Jobs whose leader has a node, as far as the watch of pods has delivered them.
    pub(crate) placed_leaders: HashSet<String>,
    queue: WorkQueue<String>,
    reconciles: BTreeMap<String, Reconcile>,
    timing: BTreeMap<String, StatusTiming>,
    recreation: BTreeMap<String, Recreation>,
}

impl Process {
    fn leads(&self, now: Millis) -> bool {
        // The controller does not wait for Workloads and PodGroups.
        let core = Watched::ALL.iter().filter(|kind| matches!(kind, Watched::Core(_)));
        let mut watches = core.filter_map(|kind| self.watches.get(kind.position()));
        self.alive && now >= self.leads_from && watches.all(Watch::is_filled)
    }

    /// The resource version of the JobSet in the current reconcile.
    pub(crate) fn planned_on(&self, uid: &str) -> u64 {
        self.reconciles.get(uid).map_or(0, |reconcile| version_of(&reconcile.jobset.metadata))
    }
}

/// A reconcile with requests in flight.
struct Reconcile {
    jobset: Arc<JobSet>,
    execution: Execution,
    in_flight: usize,
    failures: Vec<ActError<Refusal>>,
    /// Actions that a planted bug sends with the first actions.
    premature: Vec<Action>,
    /// Actions that a planted bug sends after the status.
    deferred: Vec<Action>,
}

impl World {
    // --- processes -----------------------------------------------------------------------------------------------

    /// Starts a process.
    pub(crate) fn start_process(&mut self) {
        let leads_from = self.now + if self.rng.bool() { 0 } else { self.rng.u64(0..20_000) };
        self.processes.push(Process {
            alive: true,
            leads_from,
            index: Index::default(),
            watches: Default::default(),
            placed_leaders: self.placed_leaders(),
            queue: WorkQueue::new(()),
            reconciles: BTreeMap::new(),
            timing: BTreeMap::new(),
            recreation: BTreeMap::new(),
        });
        let process = self.processes.len() - 1;
        self.note_process(process, || "starts".to_owned());
        let with_groups = self.gates_of_planner().workload_aware_scheduling;
        if with_groups {
            self.processes[process].index.scheduling(|objects| objects.set_served(true));
        }
        for kind in Watched::ALL {
            if with_groups || matches!(kind, Watched::Core(_)) {
                self.after(1, ScheduledEvent::ListRequested { process, kind });
            }
        }
        self.at(leads_from, ScheduledEvent::Work { process });
    }

    /// Kills a process. Requests that it sent can still arrive. If no process is left, a new one starts.
    pub(crate) fn die(&mut self, process: usize) {
        if !std::mem::take(&mut self.processes[process].alive) {
            return;
        }
        self.note_process(process, || "dies".to_owned());
        self.checker.count("dies");
        if self.processes.iter().all(|process| !process.alive) {
            let pause = self.rng.u64(100..15_000);
            self.after(pause, ScheduledEvent::Start);
        }
    }

    /// Adds a JobSet to the queue.
    pub(crate) fn requeue(&mut self, process: usize, uid: String) {
        let now = self.elapsed();
        self.processes[process].queue.add(uid, now);
        self.after(1, ScheduledEvent::Work { process });
    }

    /// Starts a reconcile for each JobSet that is due.
    pub(crate) fn work(&mut self, process: usize) {
        let now = self.elapsed();
        while self.processes[process].leads(self.now) {
            let Some(uid) = self.processes[process].queue.pop(now) else { return };
            self.begin_reconcile(process, &uid);
        }
    }

    /// The current time, in the type that the queue and the planner use.
    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.now)
    }

    // --- one reconcile -------------------------------------------------------------------------------------------

    fn begin_reconcile(&mut self, process: usize, uid: &str) {
        let Some(mut observed) = self.processes[process].index.observe(uid) else {
            let now = self.elapsed();
            self.processes[process].timing.remove(uid);
            self.processes[process].recreation.remove(uid);
            self.processes[process].queue.done(&uid.to_owned(), now);
            return;
        };
        self.check_view(process, uid, &observed);
        let groups = observed.scheduling.clone();
        self.planted_bug_changes_view(process, &mut observed);
        let mut placed_leaders = self.processes[process].placed_leaders.clone();
        self.planted_bug_places_leaders(&observed, &mut placed_leaders);
        let now = self.elapsed();
        let recreation = self.processes[process].recreation.entry(uid.to_owned()).or_default();
        let creation_wait = recreation.wait(&observed.jobs, now);
        let snapshot = Snapshot {
            jobset: &observed.jobset,
            jobs: &observed.jobs,
            service: observed.service.as_ref(),
            claims: &observed.claims,
            topologies: &[],
            placed_leaders: &placed_leaders,
            in_place_pods: &InPlacePods::default(),
            scheduling: observed.scheduling.api(),
            creation_wait,
        };
        let mut plan = plan(&snapshot, timestamp(self.now), &self.gates_of_planner());
        self.planted_bug_changes_plan(&observed, &mut plan);
        self.check_plan(&observed, &plan);
        self.check_groups(&observed, &groups, &plan);
        self.note_process(process, || {
            let name = observed.jobset.metadata.name.as_deref().unwrap_or("");
            let status = if plan.status.is_some() { "a new status" } else { "no new status" };
            let waiting: Vec<_> = plan.waiting.iter().map(|why| format!("; {why}")).collect();
            format!(
                "reconciles JobSet {name} ({uid}): {} actions, {status}{}",
                plan.actions.len(),
                waiting.concat()
            )
        });
        let premature = self.planted_bug_reorders(&mut plan);
        let reconcile = Reconcile {
            jobset: Arc::new(observed.jobset.clone()),
            execution: Execution::new(plan),
            in_flight: 0,
            failures: Vec::new(),
            premature,
            deferred: Vec::new(),
        };
        self.processes[process].reconciles.insert(uid.to_owned(), reconcile);
        self.advance(process, uid);
    }

    /// The next step of a reconcile. None after its end.
    fn next_step(&mut self, process: usize, uid: &str) -> Option<Step> {
        let now = self.elapsed();
        let Process { reconciles, timing, .. } = &mut self.processes[process];
        let reconcile = reconciles.get_mut(uid)?;
        let waiting = timing.iter().filter(|(other, timing)| *other != uid && timing.is_waiting()).count();
        let timing = timing.entry(uid.to_owned()).or_default();
        Some(reconcile.execution.next(reconcile.jobset.status.as_ref(), timing, waiting, now))
    }

    /// Executes the next step of a reconcile.
    fn advance(&mut self, process: usize, uid: &str) {
        let Some(step) = self.next_step(process, uid) else { return };
        let status_is_sent_first = self.status_is_sent_first();
        let Some(reconcile) = self.processes[process].reconciles.get_mut(uid) else { return };
        match step {
            Step::Execute(actions) if status_is_sent_first => {
                reconcile.deferred.extend(actions);
                self.advance(process, uid);
            }
            Step::Execute(mut actions) => {
                actions.append(&mut reconcile.premature);
                self.send_all(process, uid, actions);
            }
            Step::StoreStatus(status) => {
                let operation = Operation::store_status(&reconcile.jobset, status);
                self.send(process, operation, Some(uid));
            }
            Step::Finish(events, next) => {
                let deferred = std::mem::take(&mut reconcile.deferred);
                for event in events {
                    self.send_event(process, uid, &event);
                }
                if deferred.is_empty() || matches!(next, Requeue::Retry(_)) {
                    self.end_reconcile(process, uid, next);
                } else {
                    self.send_all(process, uid, deferred);
                }
            }
        }
    }

    /// Sends requests concurrently.
    fn send_all(&mut self, process: usize, uid: &str, actions: Vec<Action>) {
        let Some(reconcile) = self.processes[process].reconciles.get_mut(uid) else { return };
        reconcile.in_flight = actions.len();
        let jobset = reconcile.jobset.clone();
        for action in actions {
            self.send(process, Operation::new(&jobset, action), Some(uid));
        }
    }

    /// Continues a reconcile after the result of an operation.
    pub(crate) fn operation_ended(
        &mut self,
        process: usize,
        uid: &str,
        is_status: bool,
        failure: Option<ActError<Refusal>>,
    ) {
        let now = self.elapsed();
        let Process { reconciles, timing, .. } = &mut self.processes[process];
        let Some(reconcile) = reconciles.get_mut(uid) else { return };
        let mut failed = failure.is_some();
        reconcile.failures.extend(failure);
        if !is_status {
            reconcile.in_flight -= 1;
            if reconcile.in_flight > 0 {
                return;
            }
            failed = !reconcile.failures.is_empty();
        }
        if failed {
            reconcile.execution.failed();
            let failure = reconcile.failures.iter().find_map(ActError::group_failure).filter(|_| !is_status);
            if let Some(reason) = failure {
                let message = "a request failed".to_owned();
                reconcile.execution.group_creation_failed(GroupFailure {
                    reason,
                    message,
                    at: timestamp(millis(now)),
                    has_event: true,
                });
            }
            let swallowed =
                if is_status { self.status_failures_are_ignored() } else { self.failures_are_ignored() };
            if swallowed {
                return self.end_reconcile(process, uid, Requeue::OnChange);
            }
        } else if is_status {
            reconcile.execution.stored(timing.entry(uid.to_owned()).or_default(), now);
        }
        self.advance(process, uid);
    }

    fn end_reconcile(&mut self, process: usize, uid: &str, requeue: Requeue) {
        let Some(reconcile) = self.processes[process].reconciles.remove(uid) else { return };
        let (now, random, uid) = (self.elapsed(), self.rng.u8(..), uid.to_owned());
        let queue = &mut self.processes[process].queue;
        let due = match requeue {
            Requeue::Now => queue.requeue(&uid, now, random),
            Requeue::OnChange => {
                queue.done(&uid, now);
                None
            }
            Requeue::After(delay) => {
                queue.done(&uid, now);
                queue.add_at(uid, now + delay);
                Some(now + delay)
            }
            Requeue::Retry(within) => {
                let longest = reconcile.failures.iter().map(ActError::longest_wait).max();
                Some(queue.retry(&uid, now, within.min(longest.unwrap_or(Duration::MAX)), random))
            }
        };
        if let Some(due) = due {
            self.at(millis(due), ScheduledEvent::Work { process });
        }
        self.after(1, ScheduledEvent::Work { process });
    }
}

/// The first millisecond at which this much time has passed.
fn millis(elapsed: Duration) -> Millis {
    Millis::try_from(elapsed.as_nanos().div_ceil(1_000_000)).unwrap_or(Millis::MAX / 2)
}
