//! What users do to their JobSets, by kubectl: each act reads the stored object and changes it at once.

use crate::{
    job::Job,
    observe::Kind,
    schedule::ScheduledEvent,
    specs,
    world::{Millis, World},
};
use jobset_api::JobSet;
use jobset_plan::{LabelValue, validation};
use std::sync::Arc;

/// What a user does, and to which JobSet.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    pub(crate) jobset: String,
    pub(crate) what: Deed,
}

/// See [`Act`].
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    Suspend(bool),
    /// The JobSet goes, and its children go after it, or before it.
    Delete {
        foreground: bool,
    },
    /// It is deleted, and created again under its name.
    Recreate,
    /// Only if there is none of the name.
    Create(Box<JobSet>),
    Ttl(Option<i32>),
    /// A queueing system picks nodes, which it may while the JobSet is suspended.
    NodeSelector(u32),
    /// An elastic JobSet becomes larger or smaller.
    Scale(i32),
    /// One of its Jobs goes, whichever number it has.
    DeleteJob {
        number: usize,
        foreground: bool,
    },
    /// The attempt label of one of its Jobs is changed, so that the Job does not count any more.
    SpoilLabel {
        number: usize,
        label: &'static str,
    },
    /// Its status is wiped.
    LoseStatus,
    /// Its status is replaced by one that was stored before, as by a backup, whichever number it has.
    RewindStatus {
        number: usize,
    },
    /// One of its Jobs is taken away from it, and deleted after a while.
    Disown {
        number: usize,
    },
    /// Jobs without an owner are deleted.
    DeleteDisowned,
    /// Its Service goes.
    DeleteService,
}

impl World {
    /// Schedules what users do.
    pub(crate) fn schedule_users(&mut self) {
        let names: Vec<String> = self.server.jobsets.keys().cloned().collect();
        for name in names {
            for _ in 0..self.faults.acts {
                let at = self.rng.u64(0..self.faults_until);
                self.schedule_act(&name, at);
            }
        }
    }

    fn schedule_act(&mut self, name: &str, at: Millis) {
        let what = match self.rng.u8(0..25) {
            0..=2 => Deed::Suspend(true),
            3..=7 => {
                // Suspended, often changed, and resumed: soon, or late.
                self.act(at, name, Deed::Suspend(true));
                let pause =
                    if self.rng.bool() { self.rng.u64(10..2_000) } else { self.rng.u64(2_000..90_000) };
                let pick = self.rng.u32(1..9);
                self.act(at + pause / 2, name, Deed::NodeSelector(pick));
                self.act(at + pause, name, Deed::Suspend(false));
                return;
            }
            8 => Deed::Delete { foreground: true },
            9 => Deed::Delete { foreground: false },
            10..=12 => Deed::Recreate,
            13 => {
                // Whoever gave it little time may think better of it, soon.
                if self.rng.bool() {
                    let later = at + self.rng.u64(1..500);
                    self.act(later, name, Deed::Ttl(None));
                }
                Deed::Ttl(Some(self.rng.i32(0..60)))
            }
            14 | 15 => Deed::Scale(self.rng.i32(1..4)),
            16..=18 => Deed::DeleteJob { number: self.rng.usize(0..6), foreground: self.rng.bool() },
            19 => Deed::SpoilLabel {
                number: self.rng.usize(0..6),
                label: specs::pick::<&'static str>(&mut self.rng, &["99", "x", "0", "1"]),
            },
            20 => {
                let later = at + self.rng.u64(100..60_000);
                self.act(later, name, Deed::DeleteDisowned);
                Deed::Disown { number: self.rng.usize(0..6) }
            }
            21 => Deed::DeleteService,
            22 => Deed::LoseStatus,
            _ => Deed::RewindStatus { number: self.rng.usize(0..100) },
        };
        self.act(at, name, what);
    }

    fn act(&mut self, at: Millis, jobset: &str, what: Deed) {
        self.at(at, ScheduledEvent::User(Act { jobset: jobset.to_owned(), what }));
    }

    /// A user acts.
    pub(crate) fn user_acts(&mut self, act: &Act) {
        let name = &act.jobset;
        self.note("user", || match &act.what {
            Deed::Create(jobset) => {
                format!("creates JobSet {name}: {}", serde_json::to_string(&jobset.spec).unwrap())
            }
            what => format!("JobSet {name}: {what:?}"),
        });
        let deed = format!("{:?}", act.what);
        self.checker.count(deed.split(|sign: char| !sign.is_alphanumeric()).next().unwrap_or(""));
        match &act.what {
            Deed::Suspend(suspend) => self.edit(name, |jobset| jobset.spec.suspend = Some(*suspend)),
            Deed::Ttl(seconds) => self.edit(name, |jobset| jobset.spec.ttl_seconds_after_finished = *seconds),
            Deed::NodeSelector(pool) => self.edit(name, |jobset| {
                for replicated_job in &mut jobset.spec.replicated_jobs {
                    let spec = replicated_job.template.spec.get_or_insert_default();
                    let pod = spec.template.spec.get_or_insert_default();
                    pod.node_selector.get_or_insert_default().insert("pool".into(), pool.to_string());
                }
            }),
            Deed::Scale(pods) => self.edit(name, |jobset| {
                for replicated_job in &mut jobset.spec.replicated_jobs {
                    let spec = replicated_job.template.spec.get_or_insert_default();
                    (spec.parallelism, spec.completions) = (Some(*pods), Some(*pods));
                }
            }),
            Deed::Delete { foreground } => {
                self.server.delete_jobset(name, *foreground, self.now);
            }
            Deed::Recreate => {
                let Some(old) = self.server.jobsets.get(name) else { return };
                let mut new = JobSet { status: None, ..JobSet::clone(old) };
                new.metadata = jobset_of_name(name).metadata;
                let foreground = self.rng.bool();
                self.server.delete_jobset(name, foreground, self.now);
                self.user_acts(&Act { jobset: name.clone(), what: Deed::Create(Box::new(new)) });
            }
            Deed::Create(jobset) => {
                if let Some(old) = self.server.jobsets.get(name) {
                    // While the old one is on its way out: try again, as a script would.
                    if old.metadata.deletion_timestamp.is_some() {
                        let later = self.rng.u64(100..5_000);
                        self.after(later, ScheduledEvent::User(act.clone()));
                    }
                } else {
                    let jobset = self.server.create_jobset(JobSet::clone(jobset));
                    self.checker.jobset_was_created(&jobset);
                }
            }
            Deed::SpoilLabel { number, label } => {
                if let Some(job) = self.job_of(name, *number) {
                    self.server
                        .update_job(&job.uid, |job| job.restart_attempt = LabelValue::read(Some(label)));
                }
            }
            Deed::DeleteJob { number, foreground } => {
                let Some(job) = self.job_of(name, *number) else { return };
                if *foreground {
                    self.server.update_job(&job.uid, |job| job.deleting = true);
                } else {
                    self.end_job(&job.uid);
                }
            }
            Deed::Disown { number } => {
                if let Some(job) = self.job_of(name, *number) {
                    self.server.update_job(&job.uid, |job| job.owners = None);
                }
            }
            Deed::DeleteDisowned => {
                let disowned: Vec<_> =
                    self.server.jobs.values().filter(|job| job.owner().is_none()).cloned().collect();
                for job in disowned {
                    self.end_job(&job.uid);
                }
            }
            Deed::LoseStatus => self.lose_status(name, None),
            Deed::RewindStatus { number } => self.lose_status(name, Some(*number)),
            Deed::DeleteService => self.server.end_named(Kind::Services, name),
        }
    }

    /// One of the Jobs of a JobSet, whichever number it has.
    fn job_of(&self, name: &str, number: usize) -> Option<Arc<Job>> {
        let owner = self.server.jobsets.get(name)?.metadata.uid.as_deref()?;
        let jobs: Vec<_> = self.server.jobs_of(owner).collect();
        jobs.get(number % jobs.len().max(1)).map(|job| (*job).clone())
    }

    /// Changes a JobSet, if admission takes the change.
    fn edit(&mut self, name: &str, change: impl FnOnce(&mut JobSet)) {
        let Some(old) = self.server.jobsets.get(name).cloned() else { return };
        let mut new = JobSet::clone(&old);
        change(&mut new);
        if new == *old {
            return;
        }
        let errors = validation::validate_update(&old, &new, &self.gates);
        if errors.is_empty() {
            self.server.update_jobset(new);
        } else {
            self.note("user", || format!("is refused: {errors:?}"));
        }
    }
}

fn jobset_of_name(name: &str) -> JobSet {
    let mut jobset = JobSet::default();
    jobset.metadata.name = Some(name.to_owned());
    jobset
}

/// The JobSets that a world begins with.
pub(crate) fn first_jobsets(rng: &mut fastrand::Rng, gates: &jobset_plan::Gates) -> Vec<JobSet> {
    let count = *specs::pick(rng, &[1, 1, 2, 3]);
    ["train", "tune", "test"].into_iter().take(count).map(|name| specs::jobset(rng, name, gates)).collect()
}
