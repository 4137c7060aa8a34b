//! The controller's process: it looks at a JobSet, plans, sends the actions side by side, then stores the status,
//! then tells the events; each answer goes into its index. The same discipline as `reconcile.rs` and `act` of the
//! controller, as a machine that can stop between any two requests.

use crate::{
    agenda::Happening,
    api_server::{Refusal, version_of},
    errand::{self, Errand},
    observe::{Index, KINDS, Watch},
    queue::Queue,
    world::{Millis, World, timestamp},
};
use jobset_api::{JobSet, JobSetStatus};
use jobset_plan::{Action, Event, Plan, Snapshot, StatusTiming, only_counts, plan};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

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
    in_flight: usize,
    failures: Vec<Refusal>,
    wrote: bool,
    status: Option<(JobSetStatus, bool)>,
    events: Vec<Event>,
    requeue_after: Option<Duration>,
    /// Actions that wait until the others are carried out.
    then: Vec<Errand>,
    /// Actions that a planted bug keeps for after the status.
    late: Vec<Errand>,
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
            service_exists: family.service_exists,
            claims: &family.claims,
        };
        let mut plan = plan(&snapshot, timestamp(self.now), &self.gates);
        self.planted_bug_changes_plan(&family, &mut plan);
        self.check_plan(&family, &plan);
        let Plan { actions, status, status_is_urgent, events, requeue_after, waiting, .. } = plan;
        self.note_process(process, || {
            let name = family.jobset.metadata.name.as_deref().unwrap_or("");
            let status = if status.is_some() { "a new status" } else { "no new status" };
            let waiting =
                if waiting.is_empty() { String::new() } else { format!("; {}", waiting.join("; ")) };
            format!("looks at JobSet {name} ({uid}): {} actions, {status}{waiting}", actions.len())
        });
        let wrote = !actions.is_empty();
        let waits = |action: &Action| action.needs_surroundings() && !self.surroundings_are_ignored();
        let (then, first): (Vec<_>, Vec<_>) = actions.into_iter().partition(waits);
        let errands = |actions: Vec<Action>| -> Vec<Errand> {
            actions.into_iter().map(|action| errand::of_action(&family.jobset, action)).collect()
        };
        let (then, first) = (errands(then), errands(first));
        let mut look = Look {
            jobset: family.jobset.clone(),
            in_flight: 0,
            failures: Vec::new(),
            wrote,
            status: status.map(|status| (status, status_is_urgent)),
            events,
            requeue_after,
            then,
            late: Vec::new(),
        };
        if self.status_goes_first() && look.status.is_some() {
            look.late = first.into_iter().chain(std::mem::take(&mut look.then)).collect();
            self.processes[process].looks.insert(uid.to_owned(), look);
            self.store_status(process, uid);
            return;
        }
        self.processes[process].looks.insert(uid.to_owned(), look);
        self.send_all(process, uid, first);
    }

    /// Sends requests side by side, if there are any, and goes on when all are answered.
    fn send_all(&mut self, process: usize, uid: &str, errands: Vec<Errand>) {
        if errands.is_empty() {
            return self.actions_are_done(process, uid);
        }
        if let Some(look) = self.processes[process].looks.get_mut(uid) {
            look.in_flight = errands.len();
        }
        for errand in errands {
            self.send(process, errand, Some(uid));
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
        let Some(look) = self.processes[process].looks.get_mut(uid) else { return };
        if !matches!(errand, Errand::Status { .. }) {
            look.failures.extend(failure);
            look.in_flight -= 1;
            if look.in_flight == 0 {
                self.actions_are_done(process, uid);
            }
        } else if failure.is_none() {
            let carried_out = look.failures.is_empty();
            let now = Duration::from_millis(self.now);
            self.processes[process].timing.entry(uid.to_owned()).or_default().stored(now);
            if carried_out { self.end_look(process, uid) } else { self.fail_look(process, uid) }
        } else if self.status_failures_are_swallowed() {
            self.processes[process].looks.remove(uid);
            self.processes[process].queue.done(uid);
        } else {
            self.fail_look(process, uid);
        }
    }

    /// All actions were answered.
    fn actions_are_done(&mut self, process: usize, uid: &str) {
        let Some(look) = self.processes[process].looks.get_mut(uid) else { return };
        let then = std::mem::take(&mut look.then);
        if !look.failures.is_empty() {
            if self.failures_are_swallowed() {
                self.processes[process].looks.remove(uid);
                self.processes[process].queue.done(uid);
            } else {
                self.store_counts(process, uid);
            }
        } else if then.is_empty() {
            self.store_status(process, uid);
        } else {
            self.send_all(process, uid, then);
        }
    }

    /// What was to be done is not done. What was counted holds all the same.
    fn store_counts(&mut self, process: usize, uid: &str) {
        let now = Duration::from_millis(self.now);
        let Process { looks, timing, .. } = &mut self.processes[process];
        let Some(look) = looks.get_mut(uid) else { return };
        let counts = look.status.take().and_then(|(new, _)| only_counts(look.jobset.status.as_ref(), &new));
        match counts {
            Some(counts) if timing.entry(uid.to_owned()).or_default().wait(false, now).is_zero() => {
                let errand = errand::of_status(&look.jobset, counts);
                self.send(process, errand, Some(uid));
            }
            _ => self.fail_look(process, uid),
        }
    }

    fn fail_look(&mut self, process: usize, uid: &str) {
        self.processes[process].looks.remove(uid);
        let at = self.processes[process].queue.retry(uid, self.now);
        self.look_again(process, uid, at);
        self.after(1, Happening::Work { process });
    }

    fn store_status(&mut self, process: usize, uid: &str) {
        let now = Duration::from_millis(self.now);
        let Process { looks, timing, .. } = &mut self.processes[process];
        let Some(look) = looks.get_mut(uid) else { return };
        let timing = timing.entry(uid.to_owned()).or_default();
        let Some((status, is_urgent)) = look.status.take() else {
            timing.settled();
            return self.end_look(process, uid);
        };
        let wait = timing.wait(is_urgent, now);
        if !wait.is_zero() {
            look.requeue_after = Some(look.requeue_after.map_or(wait, |after| after.min(wait)));
            return self.end_look(process, uid);
        }
        let errand = errand::of_status(&look.jobset, status);
        look.wrote = true;
        self.send(process, errand, Some(uid));
    }

    fn end_look(&mut self, process: usize, uid: &str) {
        let Some(mut look) = self.processes[process].looks.remove(uid) else { return };
        for event in std::mem::take(&mut look.events) {
            self.tell(process, uid, &event);
        }
        if !look.late.is_empty() {
            let late = std::mem::take(&mut look.late);
            self.processes[process].looks.insert(uid.to_owned(), look);
            return self.send_all(process, uid, late);
        }
        if look.wrote {
            if let Some(at) = self.processes[process].queue.go_on(uid, self.now) {
                self.look_again(process, uid, at);
            }
        } else {
            self.processes[process].queue.done(uid);
            if let Some(after) = look.requeue_after {
                let after = Millis::try_from(after.as_millis()).unwrap_or(Millis::MAX / 2);
                self.look_again(process, uid, self.now + after.max(1));
            }
        }
        self.after(1, Happening::Work { process });
    }
}
