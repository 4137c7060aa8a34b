//! A world: one simulated namespace with its JobSets, and all components and users that act on it.

use crate::{
    api_server::{ApiServer, Change, Refusal, Watched},
    faults::Faults,
    history::History,
    invariants::Checker,
    job_controller::JobController,
    manager::Process,
    planted_bugs::Bug,
    pod_outcomes::PodOutcomes,
    request::Request,
    requests::Sent,
    schedule::{Schedule, ScheduledEvent},
    scheduler::Scheduler,
    specs, users,
};
use fastrand::Rng;
use jiff::Timestamp;
use jobset_api::JobSet;
use jobset_plan::{Gates, JobRecord};
use std::collections::BTreeMap;

/// Virtual time, in milliseconds since the world began.
pub(crate) type Millis = u64;

/// The namespace of all objects.
pub(crate) const NAMESPACE: &str = "team";

/// The time at which worlds begin, in milliseconds.
const EPOCH: i64 = 1_700_000_000_000;

/// A world that needs more steps does not come to rest.
const STEPS: u64 = 150_000;

/// The inputs of a world.
pub(crate) struct WorldConfig {
    pub(crate) seed: u64,
    pub(crate) gates: Gates,
    pub(crate) faults: Faults,
    pub(crate) pod_outcomes: PodOutcomes,
    pub(crate) jobsets: Vec<JobSet>,
    /// The number of pods that fit on the nodes.
    pub(crate) room: i32,
    pub(crate) bug: Option<Bug>,
}

impl WorldConfig {
    /// The configuration that a seed determines.
    pub(crate) fn from_seed(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let gates = specs::gates(&mut rng);
        let faults = Faults::random(&mut rng);
        let jobsets = users::first_jobsets(&mut rng, &gates);
        let largest_gang = jobsets.iter().map(specs::most_pods_together).max().unwrap_or(0);
        Self {
            seed,
            faults,
            room: rng.i32(3..16).max(largest_gang),
            jobsets,
            pod_outcomes: PodOutcomes {
                seed,
                failing: *specs::pick(&mut rng, &[0, 15, 15, 40, 70]),
                one_slot: false,
                slowest_stop: 30_000,
                given: Vec::new(),
            },
            gates,
            bug: None,
        }
    }
}

/// A broken rule.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    /// What must hold.
    pub(crate) rule: &'static str,
    /// What happened instead.
    pub(crate) how: String,
}

/// The state of a world.
pub(crate) struct World {
    pub(crate) now: Millis,
    pub(crate) rng: Rng,
    schedule: Schedule,
    pub(crate) server: ApiServer,
    /// The number of changes of each log that watches and controllers were notified of.
    notified: [usize; 6],
    pub(crate) job_controller: JobController,
    pub(crate) scheduler: Scheduler,
    pub(crate) processes: Vec<Process>,
    pub(crate) requests: Vec<Sent>,
    pub(crate) writes: u64,
    pub(crate) checker: Checker,
    pub(crate) gates: Gates,
    pub(crate) faults: Faults,
    pub(crate) faults_until: Millis,
    pub(crate) pod_outcomes: PodOutcomes,
    pub(crate) bug: Option<Bug>,
    /// For [`Bug::JobsMatchedByName`]: Jobs with the name of their owner, by process and UID.
    pub(crate) seen_by_name: BTreeMap<(usize, String), (String, JobRecord)>,
    /// The error of a request that a scenario refuses. The number counts earlier refusals.
    pub(crate) refuses: Option<fn(&Request, u32) -> Option<Refusal>>,
    /// Whether a scenario drops the response to a request. The number counts earlier drops.
    pub(crate) loses: Option<fn(&Request, u32) -> bool>,
    pub(crate) refused: u32,
    pub(crate) lost: u32,
    history: History,
    collecting: bool,
    /// Whether the removal of finalizers is scheduled.
    pub(crate) protecting: bool,
    steps: u64,
}

impl World {
    /// A new world at time 0.
    pub(crate) fn new(config: WorldConfig, with_history: bool) -> Self {
        let mut world = Self {
            now: 0,
            rng: Rng::with_seed(config.seed),
            schedule: Schedule::default(),
            server: ApiServer::default(),
            notified: [0; 6],
            job_controller: JobController::default(),
            scheduler: Scheduler::new(config.room),
            processes: Vec::new(),
            requests: Vec::new(),
            writes: 0,
            checker: Checker::default(),
            faults_until: 240_000,
            gates: config.gates,
            faults: config.faults,
            pod_outcomes: config.pod_outcomes,
            bug: config.bug,
            seen_by_name: BTreeMap::new(),
            refuses: None,
            loses: None,
            refused: 0,
            lost: 0,
            history: History::new(with_history),
            collecting: false,
            protecting: false,
            steps: 0,
        };
        let (gates, faults) = (world.gates.clone(), world.faults);
        world.note("world", || format!("{gates:?}, {faults:?}"));
        for jobset in config.jobsets {
            let name = jobset.metadata.name.clone().unwrap_or_default();
            world.note("user", || {
                format!("creates JobSet {name}: {}", serde_json::to_string(&jobset.spec).unwrap())
            });
            let jobset = world.server.create_jobset(jobset);
            world.checker.jobset_was_created(&jobset);
        }
        world.after(1, ScheduledEvent::Start);
        world.schedule_faults();
        world.schedule_users();
        world
    }

    /// Handles events until none is left, then checks the rules that hold at rest.
    pub(crate) fn run(&mut self) -> Result<(), Violation> {
        self.run_to_rest()?;
        self.check_rest()
    }

    /// Handles events until none is left.
    pub(crate) fn run_to_rest(&mut self) -> Result<(), Violation> {
        while self.step()? {}
        Ok(())
    }

    /// Handles the next event. Returns false if there is none.
    pub(crate) fn step(&mut self) -> Result<bool, Violation> {
        let Some((at, what)) = self.schedule.next() else { return Ok(false) };
        self.now = self.now.max(at);
        self.steps += 1;
        if self.steps > STEPS {
            self.violated("every world comes to rest", format!("events are left after {STEPS} steps"));
        }
        self.handle(what);
        self.deliver_changes();
        match self.checker.violation.take() {
            Some(violation) => Err(violation),
            None => Ok(true),
        }
    }

    fn handle(&mut self, what: ScheduledEvent) {
        match what {
            ScheduledEvent::Start => self.start_process(),
            ScheduledEvent::Crash => {
                if let Some(process) = self.processes.iter().rposition(|process| process.alive) {
                    self.die(process);
                }
            }
            ScheduledEvent::Handover => {
                if let Some(old) = self.processes.iter().rposition(|process| process.alive) {
                    self.start_process();
                    let later = self.rng.u64(0..40_000);
                    self.after(later, ScheduledEvent::Die { process: old });
                }
            }
            ScheduledEvent::Die { process } => self.die(process),
            ScheduledEvent::Deliver { process, kind } => self.deliver(process, kind),
            ScheduledEvent::ListRequested { process, kind } => self.request_list(process, kind),
            ScheduledEvent::ListReceived { process, kind } => {
                self.receive_list(process, kind);
                self.after(1, ScheduledEvent::Work { process });
            }
            ScheduledEvent::Work { process } => self.work(process),
            ScheduledEvent::Arrive(id) => self.arrive(id),
            ScheduledEvent::Answer(id) => self.answered(id),
            ScheduledEvent::Job { uid, run, step } => self.step_job(&uid, run, step),
            ScheduledEvent::ObserveLeader { process, uid } => self.observe_leader(process, &uid),
            ScheduledEvent::Collect => {
                self.collecting = false;
                self.collect_garbage();
            }
            ScheduledEvent::ReleasePodGroups => self.release_pod_groups(),
            ScheduledEvent::User(request) => self.apply_user_request(&request),
        }
    }

    /// Notifies watches, the Job controller and the garbage collector of new changes.
    fn deliver_changes(&mut self) {
        for kind in Watched::ALL {
            let new = self.server.log(kind)[self.notified[kind.position()]..].to_vec();
            if new.is_empty() {
                continue;
            }
            self.notified[kind.position()] += new.len();
            self.notify_watches(kind);
            for change in new {
                let collects = match &change {
                    Change::Gone(_) | Change::Named(_) => true,
                    Change::JobSet(jobset) => jobset.metadata.deletion_timestamp.is_some(),
                    Change::Job(job) => job.owner().is_some_and(|owner| self.server.jobset(owner).is_none()),
                    Change::Workload(workload) => self.has_no_owner(&workload.metadata),
                    Change::PodGroup(pod_group) => self.has_no_owner(&pod_group.metadata),
                };
                if collects && !std::mem::replace(&mut self.collecting, true) {
                    let lag =
                        if self.rng.u8(0..4) == 0 { self.rng.u64(100..30_000) } else { self.rng.u64(5..500) };
                    self.after(lag, ScheduledEvent::Collect);
                }
                if matches!(&change, Change::PodGroup(_)) {
                    self.place_pods();
                    self.protect_pod_groups();
                }
                if let Change::Job(job) = &change {
                    self.checker.job_was_stored(job, self.now);
                    self.job_was_stored(job);
                }
            }
        }
    }

    /// Schedules an event.
    pub(crate) fn at(&mut self, at: Millis, what: ScheduledEvent) {
        self.schedule.put(&mut self.rng, at.max(self.now), what);
    }

    /// Schedules an event after a delay.
    pub(crate) fn after(&mut self, delay: Millis, what: ScheduledEvent) {
        self.at(self.now + delay, what);
    }

    /// Records that a rule was broken.
    pub(crate) fn violated(&mut self, rule: &'static str, how: String) {
        self.note("VIOLATED", || format!("{rule}: {how}"));
        self.checker.violation.get_or_insert(Violation { rule, how });
    }

    /// Adds a line to the history.
    pub(crate) fn note(&mut self, actor: &str, what: impl FnOnce() -> String) {
        self.history.note(self.now, actor, what);
    }

    /// Adds a line about a process to the history.
    pub(crate) fn note_process(&mut self, process: usize, what: impl FnOnce() -> String) {
        self.history.note(self.now, "process", || format!("{process} {}", what()));
    }

    /// The text of the history.
    pub(crate) fn history(&self) -> String {
        self.history.text()
    }
}

/// Converts virtual time to a timestamp.
pub(crate) fn timestamp(at: Millis) -> Timestamp {
    Timestamp::from_millisecond(EPOCH + i64::try_from(at).unwrap()).unwrap()
}

/// The same, truncated to seconds, as objects store it.
pub(crate) fn whole_seconds(at: Millis) -> Timestamp {
    Timestamp::from_second(timestamp(at).as_second()).unwrap()
}
