//! The controller's process: it looks at a JobSet, plans, and executes the plan; each answer goes into its
//! index. As `reconcile.rs` and `act` of the controller, as a machine that can stop between any two requests.

use crate::{
    agenda::Happening,
    api_server::{Refusal, version_of},
    errand::{self, Errand},
    observe::{Index, KINDS, Watch},
    queue::Queue,
    world::{Millis, World, timestamp},
};
use jobset_api::JobSet;
use jobset_plan::{Action, Execution, Requeue, Snapshot, StatusTiming, Step, plan};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How seldom to look at least whether somebody else's Job is gone.
const NAME_GETS_FREE: Duration = Duration::from_secs(15);

/// A process that is started as a leader.
pub(crate) struct Process {
    pub(crate) alive: bool,
    /// Before, it watches, and waits for the lease.
    pub(crate) leads_from: Millis,
    pub(crate) index: Index,
    pub(crate) watches: [Watch; 4],
    queue: Queue,
    looks: BTreeMap<String, Look>,
    timing: BTreeMap<String, StatusTiming>,
}

impl Process {
    fn leads(&self, now: Millis) -> bool {
        self.alive && now >= self.leads_from && self.watches.iter().all(Watch::is_filled)
    }

    /// Resource version of the JobSet that is being looked at.
    pub(crate) fn planned_on(&self, uid: &str) -> u64 {
        self.looks.get(uid).map_or(0, |look| version_of(&look.jobset.metadata))
    }
}

/// A look at a JobSet whose requests are under way.
struct Look {
    jobset: Arc<JobSet>,
    execution: Execution,
    in_flight: usize,
    failures: Vec<Refusal>,
    /// Actions that a planted bug sends with the first ones.
    together: Vec<Action>,
    /// Actions that a planted bug keeps for after the status.
    late: Vec<Action>,
}

impl World {
    // --- processes -----------------------------------------------------------------------------------------------

    /// A process starts.
    pub(crate) fn start_process(&mut self) {
        let leads_from = self.now + if self.rng.bool() { 0 } else { self.rng.u64(0..20_000) };
        self.processes.push(Process {
            alive: true,
            leads_from,
            index: Index::default(),
            watches: Default::default(),
            queue: Queue::default(),
            looks: BTreeMap::new(),
            timing: BTreeMap::new(),
        });
        let process = self.processes.len() - 1;
        self.note_process(process, || "starts".to_owned());
        for kind in KINDS {
            self.after(1, Happening::ListAsked { process, kind });
        }
        self.at(leads_from, Happening::Work { process });
    }

    /// A process dies. What it had sent may still arrive. If none is left, another starts.
    pub(crate) fn die(&mut self, process: usize) {
        if !std::mem::take(&mut self.processes[process].alive) {
            return;
        }
        self.note_process(process, || "dies".to_owned());
        self.referee.count("dies");
        if self.processes.iter().all(|process| !process.alive) {
            let pause = self.rng.u64(100..15_000);
            self.after(pause, Happening::Start);
        }
    }

    /// A JobSet needs a look.
    pub(crate) fn look_at(&mut self, process: usize, uid: String) {
        self.processes[process].queue.add(uid);
        self.after(1, Happening::Work { process });
    }

    fn look_again(&mut self, process: usize, uid: &str, at: Millis) {
        self.processes[process].queue.add_at(uid.to_owned(), at);
        self.at(at, Happening::Work { process });
    }

    /// Works on everything in the queue.
    pub(crate) fn work(&mut self, process: usize) {
        while self.processes[process].leads(self.now) {
            let Some(uid) = self.processes[process].queue.next(self.now) else { return };
            self.begin_look(process, &uid);
        }
    }

    // --- one look ------------------------------------------------------------------------------------------------

    fn begin_look(&mut self, process: usize, uid: &str) {
        let Some(mut family) = self.family(process, uid) else {
            self.processes[process].timing.remove(uid);
            self.processes[process].queue.done(uid);
            return;
        };
        self.looks += 1;
        self.check_view(process, uid, &family);
        self.planted_bug_changes_view(process, &mut family);
        let snapshot = Snapshot {
            jobset: &family.jobset,
            jobs: &family.jobs,
            service: family.service.as_ref(),
            claims: &family.claims,
        };
        let mut plan = plan(&snapshot, timestamp(self.now), &self.gates);
        self.planted_bug_changes_plan(&family, &mut plan);
        self.check_plan(&family, &plan);
        self.note_process(process, || {
            let name = family.jobset.metadata.name.as_deref().unwrap_or("");
            let status = if plan.status.is_some() { "a new status" } else { "no new status" };
            let waiting: Vec<_> = plan.waiting.iter().map(|why| format!("; {why}")).collect();
            format!(
                "looks at JobSet {name} ({uid}): {} actions, {status}{}",
                plan.actions.len(),
                waiting.concat()
            )
        });
        let together = self.planted_bug_holds_back(&mut plan);
        let look = Look {
            jobset: family.jobset.clone(),
            execution: Execution::new(plan),
            in_flight: 0,
            failures: Vec::new(),
            together,
            late: Vec::new(),
        };
        self.processes[process].looks.insert(uid.to_owned(), look);
        self.go_on(process, uid);
    }

    /// What the execution of a look says now, or nothing when the look has ended.
    fn next_step(&mut self, process: usize, uid: &str) -> Option<Step> {
        let now = Duration::from_millis(self.now);
        let Process { looks, timing, .. } = &mut self.processes[process];
        let look = looks.get_mut(uid)?;
        let timing = timing.entry(uid.to_owned()).or_default();
        Some(look.execution.next(look.jobset.status.as_ref(), timing, now))
    }

    /// Takes the next step of a look.
    fn go_on(&mut self, process: usize, uid: &str) {
        let Some(step) = self.next_step(process, uid) else { return };
        let status_goes_first = self.status_goes_first();
        let Some(look) = self.processes[process].looks.get_mut(uid) else { return };
        match step {
            Step::Execute(actions) if status_goes_first => {
                look.late.extend(actions);
                self.go_on(process, uid);
            }
            Step::Execute(mut actions) => {
                actions.append(&mut look.together);
                self.send_all(process, uid, actions);
            }
            Step::StoreStatus(status) => {
                let errand = errand::of_status(&look.jobset, *status);
                self.send(process, errand, Some(uid));
            }
            Step::Finish(events, next) => {
                let late = std::mem::take(&mut look.late);
                for event in events {
                    self.tell(process, uid, &event);
                }
                if late.is_empty() || matches!(next, Requeue::Retry(_)) {
                    self.end_look(process, uid, next);
                } else {
                    self.send_all(process, uid, late);
                }
            }
        }
    }

    /// Sends requests side by side.
    fn send_all(&mut self, process: usize, uid: &str, actions: Vec<Action>) {
        let Some(look) = self.processes[process].looks.get_mut(uid) else { return };
        look.in_flight = actions.len();
        let jobset = look.jobset.clone();
        for action in actions {
            self.send(process, errand::of_action(&jobset, action), Some(uid));
        }
    }

    /// A request of a look was answered, and calls for no other one.
    pub(crate) fn errand_is_done(
        &mut self,
        process: usize,
        uid: &str,
        errand: &Errand,
        failure: Option<Refusal>,
    ) {
        let now = Duration::from_millis(self.now);
        let Process { looks, timing, .. } = &mut self.processes[process];
        let Some(look) = looks.get_mut(uid) else { return };
        let is_status = matches!(errand, Errand::Status { .. });
        let mut failed = failure.is_some();
        look.failures.extend(failure);
        if !is_status {
            look.in_flight -= 1;
            if look.in_flight > 0 {
                return;
            }
            failed = !look.failures.is_empty();
        }
        if failed {
            look.execution.failed();
            let swallowed =
                if is_status { self.status_failures_are_swallowed() } else { self.failures_are_swallowed() };
            if swallowed {
                return self.end_look(process, uid, Requeue::OnChange);
            }
        } else if is_status {
            look.execution.stored(timing.entry(uid.to_owned()).or_default(), now);
        }
        self.go_on(process, uid);
    }

    fn end_look(&mut self, process: usize, uid: &str, requeue: Requeue) {
        let Some(look) = self.processes[process].looks.remove(uid) else { return };
        let (now, queue) = (self.now, &mut self.processes[process].queue);
        let again = match requeue {
            Requeue::Now => queue.go_on(uid, now),
            Requeue::OnChange => {
                queue.done(uid);
                None
            }
            Requeue::After(delay) => {
                queue.done(uid);
                Some(now + millis(delay).max(1))
            }
            Requeue::Retry(within) => {
                // A Job that holds a name is no child: nobody tells when it goes.
                let held = look.failures.iter().all(|why| *why == Refusal::AlreadyExists);
                let within = if held { within.min(NAME_GETS_FREE) } else { within };
                Some(queue.retry_within(uid, now, millis(within)))
            }
        };
        if let Some(at) = again {
            self.look_again(process, uid, at);
        }
        self.after(1, Happening::Work { process });
    }
}

fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX / 2)
}
