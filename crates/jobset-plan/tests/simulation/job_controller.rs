//! The simulated Job controller and kubelets. Pods are counters.
//!
//! ```text
//! created ─► started ─► pods exist ─► placed ─► ready ─► end ─┬─► succeeded ─► Complete
//!    ▲                                                        └─► FailureTarget, pods stop ─► Failed
//!    └─ resumed ◄── suspended: pods stop            deleted: pods stop ─► gone
//! ```

use crate::{
    job::Job,
    pod_outcomes::PodOutcome,
    schedule::{JobStep, ScheduledEvent},
    scheduler::Placement,
    world::{Millis, World, whole_seconds},
};
use jobset_plan::{Outcome, Verdict};
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

/// The state of the Job controller: the pods of each Job, by UID.
#[derive(Default)]
pub(crate) struct JobController {
    jobs: BTreeMap<String, Pods>,
}

#[derive(Default)]
struct Pods {
    /// Counts how often the pods were started or stopped. Events of earlier runs are ignored.
    run: u32,
    /// The last observed `suspend`, `parallelism`, deletion, and whether it has its leader alone.
    seen: Option<(bool, i32, bool, bool)>,
    /// Whether the leader has a node, and the other pods do not exist.
    leader_alone: bool,
    /// Whether the leader of a run had a node.
    leader_had_node: bool,
    /// Whether the pods have ended.
    done: bool,
}

impl World {
    /// Schedules a reconcile of a stored Job if a relevant field changed.
    pub(crate) fn job_was_stored(&mut self, job: &Job) {
        let pods = self.job_controller.jobs.entry(job.uid.clone()).or_default();
        let now = Some((job.suspend, job.parallelism, job.deleting, job.leader_first));
        if pods.seen != now {
            pods.seen = now;
            let lag = self.rng.u64(10..800);
            self.job_step(&job.uid, 0, lag, JobStep::Sync);
        }
    }

    fn job_step(&mut self, uid: &str, run: u32, delay: Millis, step: JobStep) {
        self.after(delay, ScheduledEvent::Job { uid: uid.to_owned(), run, step });
    }

    fn outcome(&self, job: &Job) -> PodOutcome {
        let owner = job.owner().and_then(|uid| self.server.jobset(uid));
        let name = owner.and_then(|owner| owner.metadata.name.as_deref()).unwrap_or("");
        self.pod_outcomes.of(name, job)
    }

    /// Handles an event of a Job's pods.
    pub(crate) fn step_job(&mut self, uid: &str, run: u32, step: JobStep) {
        let Some(job) = self.server.job(uid).cloned() else { return };
        match step {
            JobStep::Sync => self.sync_job(&job),
            JobStep::PodsStopped => {
                self.scheduler.release(uid, run);
                if self.job_controller.jobs.get(uid).is_some_and(|pods| pods.run == run + 1) {
                    self.change_job(&job, |job| job.terminating = 0);
                }
                self.place_pods();
            }
            JobStep::FailsInDeletion => {
                let mut failed =
                    self.verdict(Outcome::Failed, "BackoffLimitExceeded", "its pods were killed");
                if let Some(why) = &job.failure_target {
                    (failed.reason, failed.message) = (why.reason.clone(), why.message.clone());
                }
                self.change_job(&job, |job| job.ended = job.ended.clone().or(Some(failed)));
            }
            JobStep::Removed => {
                self.note("garbage", || format!("Job {} ({uid}) is deleted", job.name));
                self.end_job(uid);
            }
            // The remaining events concern pods of one run, which may have stopped.
            _ if self.job_controller.jobs.get(uid).is_none_or(|pods| pods.run != run) => {}
            JobStep::Evicted if self.job_controller.jobs.get(uid).is_some_and(|pods| pods.done) => {}
            JobStep::PodsCreated => {
                self.change_job(&job, |job| job.active = job.remaining());
                self.scheduler.enqueue(uid, run, job.remaining(), job.pod_group());
                self.place_pods();
            }
            JobStep::Ready => {
                let outcome = self.outcome(&job);
                self.change_job(&job, |job| (job.active, job.ready) = (job.remaining(), job.remaining()));
                self.job_step(uid, run, outcome.runs, JobStep::PodsEnd);
                if outcome.staggered && job.remaining() > 1 && job.completions.is_some() {
                    self.job_step(uid, run, outcome.runs / 4, JobStep::OneSucceeds);
                }
                if outcome.flaps {
                    self.job_step(uid, run, outcome.runs / 3, JobStep::Flap);
                    self.job_step(uid, run, outcome.runs / 2, JobStep::Unflap);
                }
            }
            JobStep::Flap => self.change_job(&job, |job| job.ready = job.remaining() - 1),
            JobStep::Unflap => self.change_job(&job, |job| job.ready = job.remaining()),
            JobStep::OneSucceeds => {
                self.change_job(&job, |job| {
                    job.succeeded += 1;
                    (job.active, job.ready) = (job.remaining(), job.ready - 1);
                });
                let left = self.server.job(uid).map_or(0, |job| job.remaining());
                self.scheduler.resize(uid, left);
                self.place_pods();
                let wait = self.rng.u64(100..3_000);
                self.job_step(uid, run, wait, JobStep::Evicted);
            }
            JobStep::Evicted => {
                self.checker.count("evicted after one has succeeded");
                self.change_job(&job, |job| job.ready = 0);
                self.scheduler.release(uid, run);
                let run = self.next_run(uid);
                let lag = self.rng.u64(5..500);
                self.job_step(uid, run, lag, JobStep::PodsCreated);
                self.place_pods();
            }
            JobStep::PodsEnd => self.pods_end(&job, run),
            JobStep::Ended => {
                let ended = match &job.failure_target {
                    Some(why) => self.verdict(Outcome::Failed, &why.reason, &why.message),
                    None => self.verdict(
                        Outcome::Complete,
                        "CompletionsReached",
                        "Reached expected number of succeeded pods",
                    ),
                };
                self.change_job(&job, |job| (job.terminating, job.ended) = (0, Some(ended)));
                self.scheduler.release(uid, run);
                self.place_pods();
            }
        }
    }

    /// Deletes a Job and its pods.
    pub(crate) fn end_job(&mut self, uid: &str) {
        self.scheduler.release_all(uid);
        self.server.end_job(uid);
        self.place_pods();
    }

    /// Schedules the next event of pods that the scheduler places.
    pub(crate) fn place_pods(&mut self) {
        loop {
            let server = &self.server;
            let Placement { placed, unschedulable } =
                self.scheduler.place(|pod_group| server.min_count(pod_group));
            for group in unschedulable {
                self.set_scheduled(&group, false);
            }
            if placed.is_empty() {
                return self.protect_pod_groups();
            }
            for (uid, run) in placed {
                self.place_pods_of_job(&uid, run);
            }
        }
    }

    fn place_pods_of_job(&mut self, uid: &str, run: u32) {
        let Some(job) = self.server.job(uid).cloned() else { return };
        if let Some(group) = job.pod_group() {
            self.set_scheduled(group, true);
        }
        if let Some(pods) = self.job_controller.jobs.get_mut(uid).filter(|_| job.leader_first) {
            (pods.leader_alone, pods.leader_had_node) = (true, true);
            self.note("scheduler", || format!("places the leader of Job {uid}"));
            self.notify_of_leader(uid);
        } else {
            self.start_pods(&job, run);
        }
    }

    /// All pods of a Job exist and have a node.
    fn start_pods(&mut self, job: &Job, run: u32) {
        let outcome = self.outcome(job);
        let next = if outcome.never_ready { JobStep::PodsEnd } else { JobStep::Ready };
        self.job_step(&job.uid, run, outcome.until_ready, next);
    }

    /// Whether a leader of the Job had a node.
    pub(crate) fn leader_had_node(&self, uid: &str) -> bool {
        self.job_controller.jobs.get(uid).is_some_and(|pods| pods.leader_had_node)
    }

    /// UIDs of the Jobs whose leader has a node, and that have no other pods.
    pub(crate) fn placed_leaders(&self) -> HashSet<String> {
        let jobs = self.job_controller.jobs.iter().filter(|(_, pods)| pods.leader_alone);
        jobs.map(|(uid, _)| uid.clone()).collect()
    }

    /// Schedules the delivery of a leader that got a node, or lost it.
    fn notify_of_leader(&mut self, uid: &str) {
        for process in 0..self.processes.len() {
            let stalls = self.faults_now().stalls;
            let lag = if self.happens(stalls) { self.rng.u64(500..45_000) } else { self.rng.u64(1..60) };
            self.after(lag, ScheduledEvent::ObserveLeader { process, uid: uid.to_owned() });
        }
    }

    /// The watch of pods delivers the current state of a leader.
    pub(crate) fn observe_leader(&mut self, process: usize, uid: &str) {
        if !self.processes[process].alive {
            return;
        }
        let is_placed = self.job_controller.jobs.get(uid).is_some_and(|pods| pods.leader_alone);
        let leaders = &mut self.processes[process].placed_leaders;
        let changed = if is_placed { leaders.insert(uid.to_owned()) } else { leaders.remove(uid) };
        if let (true, Some(owner)) = (changed, self.server.job(uid).and_then(|job| job.owner())) {
            let owner = owner.to_owned();
            self.requeue(process, owner);
        }
    }

    fn sync_job(&mut self, job: &Arc<Job>) {
        let Some(&Pods { run: before, done, .. }) = self.job_controller.jobs.get(&job.uid) else { return };
        let stops = self.outcome(job).stops;
        if job.deleting {
            self.next_run(&job.uid);
            let count = job.active + job.terminating;
            let wait = if count > 0 { stops } else { self.rng.u64(5..300) };
            if count > 0 && job.unfinished() && self.rng.u8(0..8) == 0 {
                self.job_step(&job.uid, 0, wait / 2, JobStep::FailsInDeletion);
            }
            self.change_job(job, |job| (job.active, job.ready, job.terminating) = (0, 0, count));
            self.job_step(&job.uid, 0, wait, JobStep::Removed);
        } else if job.ended.is_some() || done {
            // Its pods have ended.
        } else if job.suspend {
            if job.active > 0 || !job.suspended_condition {
                self.next_run(&job.uid);
                let count = job.active;
                self.change_job(job, |job| {
                    (job.active, job.ready, job.terminating) = (0, 0, count);
                    job.suspended_condition = true;
                });
                self.job_step(&job.uid, before, stops, JobStep::PodsStopped);
            }
        } else if !job.started || job.suspended_condition {
            self.change_job(job, |job| (job.started, job.suspended_condition) = (true, false));
            if job.active == 0 {
                let run = self.next_run(&job.uid);
                let lag = self.rng.u64(5..500);
                self.job_step(&job.uid, run, lag, JobStep::PodsCreated);
            }
        } else if job.active > 0 {
            // The Job was scaled. Its pods remain ready or unready.
            if job.pod_group().is_some() {
                self.scheduler.resize(&job.uid, job.remaining());
                self.place_pods();
            }
            let was_ready = job.ready > 0;
            self.change_job(job, |job| {
                job.active = job.remaining();
                job.ready = if was_ready { job.remaining() } else { 0 };
            });
            let pods = self.job_controller.jobs.entry(job.uid.clone()).or_default();
            if !job.leader_first && std::mem::take(&mut pods.leader_alone) {
                self.checker.count("followers");
                self.start_pods(job, before);
                self.notify_of_leader(&job.uid);
            }
        }
    }

    fn next_run(&mut self, uid: &str) -> u32 {
        let pods = self.job_controller.jobs.entry(uid.to_owned()).or_default();
        pods.run += 1;
        let (run, lost_leader) = (pods.run, std::mem::take(&mut pods.leader_alone));
        self.scheduler.withdraw(uid);
        self.protect_pod_groups();
        if lost_leader {
            self.notify_of_leader(uid);
        }
        run
    }

    fn pods_end(&mut self, job: &Arc<Job>, run: u32) {
        if let Some(pods) = self.job_controller.jobs.get_mut(&job.uid) {
            pods.done = true;
        }
        let outcome = self.outcome(job);
        if let Some((reason, message)) = outcome.fails {
            let why = self.verdict(Outcome::Failing, reason, message);
            self.change_job(job, |job| {
                (job.terminating, job.active, job.ready) = (job.active, 0, 0);
                job.failure_target = Some(why);
            });
            self.job_step(&job.uid, run, outcome.stops, JobStep::Ended);
        } else {
            self.change_job(job, |job| {
                job.succeeded = job.completions.unwrap_or(job.parallelism);
                (job.active, job.ready) = (0, 0);
            });
            let wait = self.rng.u64(0..1_500);
            self.job_step(&job.uid, run, wait, JobStep::Ended);
        }
    }

    fn verdict(&self, outcome: Outcome, reason: &str, message: &str) -> Verdict {
        Verdict {
            outcome,
            reason: reason.to_owned(),
            message: message.to_owned(),
            at: whole_seconds(self.now),
        }
    }

    fn change_job(&mut self, job: &Job, change: impl FnOnce(&mut Job)) {
        if let Some(job) = self.server.update_job(&job.uid, change) {
            self.note("Job controller", || describe(&job));
        }
    }
}

/// Describes a Job in one line.
pub(crate) fn describe(job: &Job) -> String {
    let (attempt, own) = job.attempts();
    let mut text = format!(
        "Job {} ({}) of attempt {attempt}.{own}: {} of {} pods active, {} ready",
        job.name, job.uid, job.active, job.parallelism, job.ready
    );
    let mut add = |is: bool, what: &str| {
        if is {
            text.push_str(what);
        }
    };
    add(job.suspend, ", suspended");
    add(job.terminating > 0, ", pods are stopping");
    add(job.succeeded > 0, ", succeeded");
    add(job.failure_target.is_some(), ", FailureTarget");
    add(job.deleting, ", being deleted");
    if let Some(ended) = &job.ended {
        return format!("{text}, {:?} {}", ended.outcome, ended.reason);
    }
    text
}
