//! A simulation of in-place restarts: the agents' core and the controller's planner, with slow watches, lost requests, lost
//! pods, restarted agents, changed sizes and recreated Jobs. A seed determines everything.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, reason = "this file is a test")]

#[allow(dead_code, reason = "the agent uses more of it")]
#[path = "../src/agent.rs"]
mod agent;
#[allow(dead_code, reason = "the agent uses more of it")]
#[path = "../src/jobset.rs"]
mod jobset;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use agent::{Agent, Effect, Event};
use fastrand::Rng;
use jobset_api::JobSet;
use jobset_plan::{Gates, InPlacePods, Snapshot, plan};

/// Exit code with which an agent restarts its pod.
const RESTART: u8 = 7;

/// A plausible defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// Failed pods count.
    FailedPodsCount,
    /// Pods of a predecessor of the same name count.
    PodsMatchedByName,
    /// The previous attempt follows the latest attempt down.
    PreviousDecreases,
    /// One pod at an attempt lifts the barrier.
    BarrierOfOne,
    /// The previous attempt is never set.
    NoRestartOfOthers,
    /// The status is stored without a resource version.
    StatusWithoutLock,
    /// An agent keeps its attempt when it restarts.
    AgentKeepsAttempt,
}

const BUGS: [Bug; 7] = [
    Bug::FailedPodsCount,
    Bug::PodsMatchedByName,
    Bug::PreviousDecreases,
    Bug::BarrierOfOne,
    Bug::NoRestartOfOthers,
    Bug::StatusWithoutLock,
    Bug::AgentKeepsAttempt,
];

/// A pod, as the API server stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pod {
    jobset_uid: &'static str,
    attempt: Option<i32>,
    restarts: i32,
    failed: bool,
}

/// The processes in a pod.
struct Containers {
    agent: Agent,
    /// The version of the JobSet that the agent has observed.
    observed: usize,
    /// The attempt that the agent must still write.
    unsent: Option<i32>,
    /// The attempt of the agent.
    attempt: Option<i32>,
    /// The attempt at which the worker runs.
    worker: Option<i32>,
}

struct World {
    rng: Rng,
    bug: Option<Bug>,
    /// All versions of the JobSet. The resource version is the position.
    versions: Vec<JobSet>,
    pods: BTreeMap<u32, Pod>,
    next_pod: u32,
    containers: BTreeMap<u32, Containers>,
    /// Changes of pods, in order: None for a deleted pod.
    log: Vec<(u32, Option<Pod>)>,
    /// The controller's view: the changes that its watch has delivered, and the version of the JobSet.
    delivered: usize,
    view: BTreeMap<u32, Pod>,
    observed: usize,
    /// A status that the controller has sent, and the version that it replaces.
    in_flight: Option<(usize, jobset_api::JobSetStatus)>,
    /// Attempts at which all pods of a size were at the same time.
    complete: HashSet<i32>,
    changes_size: bool,
    /// The number of faults among 100 other events.
    fault_rate: u8,
    /// Whether the watches of agents are slow.
    slow_agents: bool,
    max_restarts: i32,
}

impl World {
    fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let size = rng.i32(1..5);
        let max_restarts = rng.i32(2..40);
        let job = |name: &str, pods: i32| {
            format!(
                "{{name: {name}, template: {{spec: {{completions: {pods}, parallelism: {pods}, template: {{spec: \
                 {{containers: []}}}}}}}}}}"
            )
        };
        let jobset = serde_yaml::from_str(&format!(
            "metadata: {{name: train, namespace: team, uid: new}}\nspec: {{failurePolicy: {{maxRestarts: {max_restarts}, \
             restartStrategy: InPlaceRestart}}, replicatedJobs: [{}, {}]}}",
            job("driver", 1),
            job("worker", size)
        ))
        .unwrap();
        let mut world = Self {
            changes_size: rng.u8(..4) == 0,
            fault_rate: [4, 20][rng.usize(..2)],
            slow_agents: rng.bool(),
            max_restarts,
            rng,
            bug,
            versions: vec![jobset],
            pods: BTreeMap::new(),
            next_pod: 0,
            containers: BTreeMap::new(),
            log: Vec::new(),
            delivered: 0,
            view: BTreeMap::new(),
            observed: 0,
            in_flight: None,
            complete: HashSet::new(),
        };
        // A pod of a predecessor, whose deletion takes long.
        if world.rng.bool() {
            let attempt = Some(world.rng.i32(0..9));
            let restarts = world.rng.i32(0..9);
            let old = Pod { jobset_uid: "old", attempt, restarts, failed: false };
            world.store(Some(old));
        }
        (0..=size).for_each(|_| world.create_pod());
        world
    }

    fn jobset(&self) -> &JobSet {
        self.versions.last().unwrap()
    }

    fn status(&self) -> jobset_api::JobSetStatus {
        self.jobset().status.clone().unwrap_or_default()
    }

    fn has_failed(&self) -> bool {
        !self.status().terminal_state.is_empty()
    }

    fn expected(&self) -> usize {
        let jobs = &self.jobset().spec.replicated_jobs;
        let pods =
            jobs.iter().map(|job| job.template.spec.as_ref().unwrap().parallelism.unwrap()).sum::<i32>();
        pods.try_into().unwrap()
    }

    /// Creates a pod in the API server.
    fn store(&mut self, pod: Option<Pod>) -> u32 {
        let uid = self.next_pod;
        self.next_pod += 1;
        self.change_pod(uid, pod);
        uid
    }

    fn change_pod(&mut self, uid: u32, pod: Option<Pod>) {
        match pod.clone() {
            Some(pod) => drop(self.pods.insert(uid, pod)),
            None => drop(self.pods.remove(&uid)),
        }
        self.log.push((uid, pod));
        let own: Vec<_> = self.pods.values().filter(|pod| pod.jobset_uid == "new" && !pod.failed).collect();
        if own.len() == self.expected()
            && let Some(attempt) = own[0].attempt
            && own.iter().all(|pod| pod.attempt == Some(attempt))
        {
            self.complete.insert(attempt);
        }
    }

    /// Creates a pod, and starts its containers.
    fn create_pod(&mut self) {
        let uid = self.store(Some(Pod { jobset_uid: "new", attempt: None, restarts: 0, failed: false }));
        self.start_containers(uid);
    }

    fn start_containers(&mut self, uid: u32) {
        let containers = Containers {
            agent: Agent::new(RESTART, true),
            observed: usize::MAX,
            unsent: None,
            attempt: None,
            worker: None,
        };
        let kept = self.containers.insert(uid, containers).and_then(|before| before.attempt);
        if let (Some(Bug::AgentKeepsAttempt), Some(kept), true) =
            (self.bug, kept, self.pods.contains_key(&uid))
        {
            // The agent reads the status of its former attempt.
            let former = jobset::JobSet {
                strategy: Some("InPlaceRestart".into()),
                current: (kept > 0).then(|| i64::from(kept - 1)),
                ..jobset::JobSet::default()
            };
            self.containers.get_mut(&uid).unwrap().agent.handle(&Event::JobSet(former));
            self.containers.get_mut(&uid).unwrap().attempt = Some(kept);
        }
    }

    /// The containers of a pod restart.
    fn restart(&mut self, uid: u32) {
        if let Some(mut pod) = self.pods.get(&uid).cloned() {
            pod.restarts += 1;
            self.change_pod(uid, Some(pod));
            self.start_containers(uid);
        }
    }

    /// The Job controller replaces a pod.
    fn replace(&mut self, uid: u32, keep_failed: bool) {
        self.containers.remove(&uid);
        let failed = self.pods.get(&uid).cloned().map(|pod| Pod { failed: true, ..pod });
        self.change_pod(uid, failed.filter(|_| keep_failed));
        self.create_pod();
    }

    /// The agent of a pod observes a version of the JobSet. An agent that starts reads the newest one.
    fn deliver_to_agent(&mut self, uid: u32) -> Result<(), String> {
        let newest = self.versions.len() - 1;
        let Some(containers) = self.containers.get_mut(&uid) else { return Ok(()) };
        let version = match containers.observed {
            usize::MAX => newest,
            observed if observed == newest => return Ok(()),
            observed => self.rng.usize(observed + 1..=newest),
        };
        containers.observed = version;
        let jobset = &self.versions[version];
        let status = jobset.status.clone().unwrap_or_default();
        let event = Event::JobSet(jobset::JobSet {
            disabled: false,
            strategy: Some("InPlaceRestart".into()),
            previous: status.previous_in_place_restart_attempt.map(i64::from),
            current: status.current_in_place_restart_attempt.map(i64::from),
        });
        let effects = containers.agent.handle(&event);
        for effect in effects {
            let containers = self.containers.get_mut(&uid).unwrap();
            match effect {
                Effect::Annotate(attempt) => {
                    let attempt = i32::try_from(attempt).unwrap();
                    containers.unsent = Some(attempt);
                    containers.attempt = Some(attempt);
                }
                Effect::Lift(_) => {
                    let attempt = containers.attempt.unwrap();
                    containers.worker = Some(attempt);
                    if !self.changes_size && !self.complete.contains(&attempt) {
                        return Err(format!(
                            "a worker runs at attempt {attempt}, which not all pods have reported"
                        ));
                    }
                }
                Effect::Exit(code, _) => {
                    assert_eq!(code, RESTART);
                    self.restart(uid);
                    return Ok(());
                }
                Effect::Forward(_) => {}
            }
        }
        Ok(())
    }

    /// The annotation of an agent arrives.
    fn annotate(&mut self, uid: u32) {
        if let (Some(containers), Some(pod)) = (self.containers.get_mut(&uid), self.pods.get(&uid).cloned())
            && let Some(attempt) = containers.unsent.take()
        {
            self.change_pod(uid, Some(Pod { attempt: Some(attempt), ..pod }));
        }
    }

    /// The watch of pods delivers some changes to the controller.
    fn deliver_to_controller(&mut self, count: usize) {
        let end = (self.delivered + count).min(self.log.len());
        for (uid, pod) in self.log[self.delivered..end].iter().cloned() {
            match pod {
                Some(pod) => drop(self.view.insert(uid, pod)),
                None => drop(self.view.remove(&uid)),
            }
        }
        self.delivered = end;
    }

    /// The controller plans, and sends a status.
    fn reconcile(&mut self) {
        let mut reported = InPlacePods::default();
        let own = |pod: &&Pod| pod.jobset_uid == "new" || self.bug == Some(Bug::PodsMatchedByName);
        for pod in self.view.values().filter(own) {
            reported.container_restarts = reported.container_restarts.max(pod.restarts);
            if let Some(attempt) =
                pod.attempt.filter(|_| !pod.failed || self.bug == Some(Bug::FailedPodsCount))
            {
                *reported.attempts.entry(attempt).or_default() += 1;
            }
        }
        let jobset = &self.versions[self.observed];
        let snapshot = Snapshot {
            jobset,
            jobs: &[],
            service: None,
            claims: &BTreeSet::new(),
            topologies: &[],
            placed_leaders: &HashSet::new(),
            in_place_pods: &reported,
            scheduling: jobset_plan::SchedulingApi::Unknown,
            creation_wait: None,
        };
        let gates = Gates { in_place_restart: true, ..Gates::default() };
        let stored = jobset.status.clone().unwrap_or_default();
        let mut status =
            plan(&snapshot, jiff::Timestamp::UNIX_EPOCH, &gates).status.unwrap_or_else(|| stored.clone());
        let latest = reported.attempts.keys().next_back().copied();
        match self.bug {
            Some(Bug::PreviousDecreases) => {
                if let Some(latest) = latest.filter(|latest| *latest > 0) {
                    status.previous_in_place_restart_attempt = Some(latest - 1);
                }
            }
            Some(Bug::BarrierOfOne) => status.current_in_place_restart_attempt = latest,
            Some(Bug::NoRestartOfOthers) => status.previous_in_place_restart_attempt = None,
            _ => {}
        }
        if status != stored && !self.has_failed() {
            self.in_flight = Some((self.observed, status));
        }
    }

    /// The status arrives, unless it is lost.
    fn store_status(&mut self, lost: bool) -> Result<(), String> {
        let Some((version, status)) = self.in_flight.take().filter(|_| !lost) else { return Ok(()) };
        if version != self.versions.len() - 1 && self.bug != Some(Bug::StatusWithoutLock) {
            return Ok(());
        }
        let before = self.status();
        if status.previous_in_place_restart_attempt < before.previous_in_place_restart_attempt {
            return Err(format!("the previous attempt decreases: {before:?}, then {status:?}"));
        }
        if status.restarts < before.restarts {
            return Err("a restart is lost".into());
        }
        if status.terminal_state == "Failed" && !self.has_reached_max() {
            return Err("the JobSet fails before too many restarts".into());
        }
        let mut jobset = self.jobset().clone();
        jobset.status = Some(status);
        self.versions.push(jobset);
        Ok(())
    }

    fn uncounted(&self) -> i32 {
        let status = self.status();
        status.restarts - status.restarts_count_towards_max
    }

    /// Whether a pod that existed restarted too often.
    fn has_reached_max(&self) -> bool {
        let all = self.log.iter().filter_map(|(_, pod)| pod.as_ref()).filter(|pod| pod.jobset_uid == "new");
        let attempts = all.clone().filter_map(|pod| pod.attempt).max().unwrap_or(0);
        all.map(|pod| pod.restarts).max().unwrap_or(0) > self.max_restarts
            || attempts - self.uncounted() > self.max_restarts
    }

    fn own_pods(&self) -> Vec<u32> {
        self.containers.keys().copied().collect()
    }

    fn any_pod(&mut self) -> u32 {
        let pods = self.own_pods();
        pods[self.rng.usize(..pods.len())]
    }

    /// A random event.
    fn step(&mut self, faults: bool) -> Result<(), String> {
        let uid = self.any_pod();
        match self.rng.u8(..100 + if faults { self.fault_rate } else { 0 }) {
            0..35 if faults && self.slow_agents && self.rng.u8(..8) != 0 => {}
            0..35 => return self.deliver_to_agent(uid),
            35..60 => self.annotate(uid),
            60..75 => {
                let count = self.rng.usize(1..4);
                self.deliver_to_controller(count);
            }
            75..80 => self.observed = self.rng.usize(self.observed..self.versions.len()),
            80..=89 if self.in_flight.is_none() => self.reconcile(),
            80..=99 => {
                let lost = faults && self.rng.u8(..5) == 0;
                return self.store_status(lost);
            }
            fault if fault % 4 == 0 => self.restart(uid),
            fault if fault % 4 == 1 => self.replace(uid, false),
            fault if fault % 4 == 2 => self.replace(uid, true),
            _ if self.changes_size => self.change_size(),
            _ if self.rng.u8(..4) == 0 => self.recreate(),
            _ => {}
        }
        Ok(())
    }

    /// A user changes the number of workers. The Job controller adds or removes pods.
    fn change_size(&mut self) {
        let size = self.rng.i32(1..5);
        let mut jobset = self.jobset().clone();
        let spec = jobset.spec.replicated_jobs[1].template.spec.as_mut().unwrap();
        (spec.parallelism, spec.completions) = (Some(size), Some(size));
        self.versions.push(jobset);
        while self.own_pods().len() > self.expected() {
            let uid = *self.own_pods().last().unwrap();
            self.containers.remove(&uid);
            self.change_pod(uid, None);
        }
        while self.own_pods().len() < self.expected() {
            self.create_pod();
        }
    }

    /// A Job fails, and the controller creates all Jobs again.
    fn recreate(&mut self) {
        if self.has_failed() {
            return;
        }
        let mut jobset = self.jobset().clone();
        let status = jobset.status.get_or_insert_default();
        status.restarts += 1;
        status.restarts_count_towards_max += self.rng.i32(0..2);
        self.versions.push(jobset);
        for uid in self.own_pods() {
            self.replace(uid, false);
        }
    }

    fn run(&mut self) -> Result<(), String> {
        for _ in 0..800 {
            self.step(true)?;
        }
        // The predecessor's pod and the failed pods are deleted at last.
        let left: Vec<u32> =
            self.pods.keys().copied().filter(|uid| !self.containers.contains_key(uid)).collect();
        for uid in left {
            self.change_pod(uid, None);
        }
        for _ in 0..2000 {
            self.step(false)?;
        }
        self.check_at_rest()
    }

    fn check_at_rest(&self) -> Result<(), String> {
        if self.has_failed() {
            return Ok(());
        }
        if self.has_reached_max() && self.pods.values().any(|pod| pod.restarts > self.max_restarts) {
            return Err("too many restarts, and the JobSet has not failed".into());
        }
        let workers: BTreeSet<_> = self.containers.values().map(|it| it.worker).collect();
        let current = self.status().current_in_place_restart_attempt;
        if self.containers.len() != self.expected() || workers != [current].into() || current.is_none() {
            return Err(format!(
                "at rest, workers run at {workers:?}, and the status is {:?}",
                self.status()
            ));
        }
        Ok(())
    }
}

/// The first seed that breaks a rule.
fn first_violation(seeds: u64, bug: Option<Bug>) -> Option<(u64, String)> {
    (0..seeds).find_map(|seed| World::new(seed, bug).run().err().map(|rule| (seed, rule)))
}

#[test]
fn barriers_hold_and_pods_meet_at_one_attempt() {
    let violation = first_violation(200, None);
    assert!(violation.is_none(), "{violation:?}");
}

#[test]
fn planted_bugs_are_found() {
    let mut missed = Vec::new();
    for bug in BUGS {
        match first_violation(300, Some(bug)) {
            Some((seed, rule)) => println!("{bug:?}: found at seed {seed}: {rule}"),
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
