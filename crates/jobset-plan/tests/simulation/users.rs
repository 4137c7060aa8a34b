//! Requests of users, as if by kubectl. Each request reads the stored object and changes it at once.

use crate::{
    job::Job,
    observe::{Kind, SchedulingKind},
    request::SchedulingRequest,
    schedule::ScheduledEvent,
    specs,
    world::{Millis, World},
};
use jobset_api::JobSet;
use jobset_plan::{LabelValue, validation};
use k8s_openapi::{api::core::v1::ServicePort, apimachinery::pkg::api::resource::Quantity};
use std::sync::Arc;

/// An action of a user on a JobSet.
#[derive(Clone, Debug)]
pub(crate) struct UserRequest {
    pub(crate) jobset: String,
    pub(crate) action: UserAction,
}

/// The action of a [`UserRequest`].
#[derive(Clone, Debug)]
pub(crate) enum UserAction {
    Suspend(bool),
    /// The JobSet is deleted, before its children or, with `foreground`, after them.
    Delete {
        foreground: bool,
    },
    /// The JobSet is deleted, and created again with the same name.
    Recreate,
    /// The JobSet is created, unless one with this name exists.
    Create(Box<JobSet>),
    Ttl(Option<i32>),
    Deadline(Option<i64>),
    /// A queueing system selects the nodes of a flavor. Admission allows this while the JobSet is suspended.
    NodeSelector(u32),
    /// A queueing system changes the CPU requests. Admission allows this while the JobSet is suspended, with the gate.
    Resources(u32),
    /// The groups change. Admission allows this while the JobSet is suspended. The number determines them.
    Groups(u64),
    /// A PodGroup is deleted. The number selects it.
    DeletePodGroup {
        number: usize,
    },
    /// An elastic JobSet is scaled.
    Scale(i32),
    /// A Job is deleted. The number selects it.
    DeleteJob {
        number: usize,
        foreground: bool,
    },
    /// The attempt label of a Job is edited, so that the controller ignores the Job.
    EditLabel {
        number: usize,
        label: &'static str,
    },
    /// The status is cleared.
    LoseStatus,
    /// The status is replaced by an earlier one, as by a backup. The number selects it.
    RewindStatus {
        number: usize,
    },
    /// The owner reference of a Job is removed. The Job is deleted later.
    RemoveOwner {
        number: usize,
    },
    /// Jobs without an owner are deleted.
    DeleteOrphans,
    /// The Service is deleted.
    DeleteService,
    /// The ports of the Service are replaced by one, or by none.
    EditPorts(bool),
}

impl World {
    /// Schedules requests of users.
    pub(crate) fn schedule_users(&mut self) {
        let names: Vec<String> = self.server.jobsets.keys().cloned().collect();
        for name in names {
            for _ in 0..self.faults.user_actions {
                let at = self.rng.u64(0..self.faults_until);
                self.schedule_random_action(&name, at);
            }
        }
    }

    fn schedule_random_action(&mut self, name: &str, at: Millis) {
        let action = match self.rng.u8(0..28) {
            0..=2 => UserAction::Suspend(true),
            3..=7 => {
                // Suspend, change and resume, after a short or a long pause.
                self.schedule_action(at, name, UserAction::Suspend(true));
                let pause =
                    if self.rng.bool() { self.rng.u64(10..2_000) } else { self.rng.u64(2_000..90_000) };
                let pick = self.rng.u32(1..9);
                let change = if self.rng.bool() {
                    UserAction::NodeSelector(pick)
                } else {
                    UserAction::Groups(pick.into())
                };
                self.schedule_action(at + pause / 2, name, change);
                if self.rng.bool() {
                    self.schedule_action(at + pause / 2, name, UserAction::Resources(pick));
                }
                self.schedule_action(at + pause, name, UserAction::Suspend(false));
                return;
            }
            8 => UserAction::Delete { foreground: true },
            9 => UserAction::Delete { foreground: false },
            10..=12 => UserAction::Recreate,
            13 => {
                // The user may remove a short time again.
                if self.rng.bool() {
                    let later = at + self.rng.u64(1..500);
                    self.schedule_action(later, name, UserAction::Ttl(None));
                }
                UserAction::Ttl(Some(self.rng.i32(0..60)))
            }
            14 | 15 => UserAction::Scale(self.rng.i32(1..4)),
            16..=18 => UserAction::DeleteJob { number: self.rng.usize(0..6), foreground: self.rng.bool() },
            19 => UserAction::EditLabel {
                number: self.rng.usize(0..6),
                label: specs::pick::<&'static str>(&mut self.rng, &["99", "x", "0", "1"]),
            },
            20 => {
                let later = at + self.rng.u64(100..60_000);
                self.schedule_action(later, name, UserAction::DeleteOrphans);
                UserAction::RemoveOwner { number: self.rng.usize(0..6) }
            }
            21 if self.rng.bool() => UserAction::EditPorts(self.rng.bool()),
            21 => UserAction::DeleteService,
            22 => UserAction::LoseStatus,
            23 => UserAction::Deadline(Some(specs::deadline(&mut self.rng))),
            24 => UserAction::Deadline(None),
            25 => UserAction::DeletePodGroup { number: self.rng.usize(0..4) },
            _ => UserAction::RewindStatus { number: self.rng.usize(0..100) },
        };
        self.schedule_action(at, name, action);
    }

    fn schedule_action(&mut self, at: Millis, jobset: &str, action: UserAction) {
        self.at(at, ScheduledEvent::User(UserRequest { jobset: jobset.to_owned(), action }));
    }

    /// Applies a request of a user.
    pub(crate) fn apply_user_request(&mut self, request: &UserRequest) {
        let name = &request.jobset;
        self.note("user", || match &request.action {
            UserAction::Create(jobset) => {
                format!("creates JobSet {name}: {}", serde_json::to_string(&jobset.spec).unwrap())
            }
            action => format!("JobSet {name}: {action:?}"),
        });
        let action = format!("{:?}", request.action);
        self.checker.count(action.split(|sign: char| !sign.is_alphanumeric()).next().unwrap_or(""));
        match &request.action {
            UserAction::Suspend(suspend) => self.edit(name, |jobset| jobset.spec.suspend = Some(*suspend)),
            UserAction::Ttl(seconds) => {
                self.edit(name, |jobset| jobset.spec.ttl_seconds_after_finished = *seconds);
            }
            UserAction::Deadline(seconds) => {
                self.edit(name, |jobset| jobset.spec.active_deadline_seconds = *seconds);
            }
            UserAction::NodeSelector(pool) => self.edit(name, |jobset| {
                for replicated_job in &mut jobset.spec.replicated_jobs {
                    let spec = replicated_job.template.spec.get_or_insert_default();
                    let pod = spec.template.spec.get_or_insert_default();
                    let flavor = format!("flavor{}", pool % 3);
                    pod.node_selector = Some([(flavor, pool.to_string())].into());
                }
            }),
            UserAction::Resources(cpu) => self.edit(name, |jobset| {
                let jobs = jobset.spec.replicated_jobs.iter_mut().filter_map(|rj| rj.template.spec.as_mut());
                let pods = jobs.filter_map(|job| job.template.spec.as_mut());
                for container in pods.flat_map(|pod| &mut pod.containers) {
                    container.resources.get_or_insert_default().requests =
                        Some([("cpu".to_owned(), Quantity(cpu.to_string()))].into());
                }
            }),
            UserAction::Groups(number) => {
                let mut rng = fastrand::Rng::with_seed(*number);
                self.edit(name, |jobset| {
                    let conditions = jobset.status.iter().flat_map(|status| &status.conditions);
                    let mut suspended =
                        conditions.filter(|it| it.type_ == "Suspended" && it.status == "True");
                    let is_suspended = jobset.spec.is_suspended() && suspended.next().is_some();
                    if jobset.spec.scheduling.is_some() && is_suspended {
                        jobset.spec.scheduling = specs::scheduling(&mut rng, jobset);
                    }
                });
            }
            UserAction::DeletePodGroup { number } => self.delete_pod_group(*number),
            UserAction::Scale(pods) => self.edit(name, |jobset| {
                for replicated_job in &mut jobset.spec.replicated_jobs {
                    let spec = replicated_job.template.spec.get_or_insert_default();
                    (spec.parallelism, spec.completions) = (Some(*pods), Some(*pods));
                }
            }),
            UserAction::Delete { foreground } => {
                self.server.delete_jobset(name, *foreground, self.now);
            }
            UserAction::Recreate => {
                let Some(old) = self.server.jobsets.get(name) else { return };
                let mut new = JobSet { status: None, ..JobSet::clone(old) };
                new.metadata = jobset_of_name(name).metadata;
                let foreground = self.rng.bool();
                self.server.delete_jobset(name, foreground, self.now);
                self.apply_user_request(&UserRequest {
                    jobset: name.clone(),
                    action: UserAction::Create(Box::new(new)),
                });
            }
            UserAction::Create(jobset) => {
                if let Some(old) = self.server.jobsets.get(name) {
                    // During the deletion of the old JobSet, the user retries, as a script does.
                    if old.metadata.deletion_timestamp.is_some() {
                        let later = self.rng.u64(100..5_000);
                        self.after(later, ScheduledEvent::User(request.clone()));
                    }
                } else {
                    let jobset = self.server.create_jobset(JobSet::clone(jobset));
                    self.checker.jobset_was_created(&jobset);
                }
            }
            UserAction::EditLabel { number, label } => {
                if let Some(job) = self.job_of(name, *number) {
                    self.server
                        .update_job(&job.uid, |job| job.restart_attempt = LabelValue::read(Some(label)));
                }
            }
            UserAction::DeleteJob { number, foreground } => {
                let Some(job) = self.job_of(name, *number) else { return };
                if *foreground {
                    self.server.update_job(&job.uid, |job| job.deleting = true);
                } else {
                    self.end_job(&job.uid);
                }
            }
            UserAction::RemoveOwner { number } => {
                if let Some(job) = self.job_of(name, *number) {
                    self.server.update_job(&job.uid, |job| job.owners = None);
                }
            }
            UserAction::DeleteOrphans => {
                let orphans: Vec<_> =
                    self.server.jobs.values().filter(|job| job.owner().is_none()).cloned().collect();
                for job in orphans {
                    self.end_job(&job.uid);
                }
            }
            UserAction::LoseStatus => self.lose_status(name, None),
            UserAction::RewindStatus { number } => self.lose_status(name, Some(*number)),
            UserAction::DeleteService => self.server.end_named(Kind::Services, name),
            UserAction::EditPorts(some) => {
                let port = ServicePort { name: Some("own".into()), port: 7, ..ServicePort::default() };
                self.server.set_ports(name, some.then_some(port).into_iter().collect());
            }
        }
    }

    /// Deletes a PodGroup. The number selects it.
    fn delete_pod_group(&mut self, number: usize) {
        let all: Vec<_> = self.server.pod_groups.values().map(|it| it.metadata.clone()).collect();
        let Some(metadata) = all.get(number % all.len().max(1)).cloned() else { return };
        let owner = metadata.owner_references.iter().flatten().next().map(|owner| owner.uid.clone());
        if let Some(ledger) = owner.and_then(|owner| self.checker.ledgers.get_mut(&owner)) {
            ledger.lost_group = true;
        }
        let kind = SchedulingKind::PodGroups;
        let (name, uid) = (metadata.name.unwrap_or_default(), metadata.uid.unwrap_or_default());
        let request = SchedulingRequest::Delete { kind, name, uid };
        let _ = self.server.handle_scheduling(&request, self.now);
        self.protect_pod_groups();
    }

    /// A Job of a JobSet. The number selects it.
    fn job_of(&self, name: &str, number: usize) -> Option<Arc<Job>> {
        let owner = self.server.jobsets.get(name)?.metadata.uid.as_deref()?;
        let jobs: Vec<_> = self.server.jobs_of(owner).collect();
        jobs.get(number % jobs.len().max(1)).map(|job| (*job).clone())
    }

    /// Changes a JobSet, unless admission denies the change.
    fn edit(&mut self, name: &str, change: impl FnOnce(&mut JobSet)) {
        let Some(old) = self.server.jobsets.get(name).cloned() else { return };
        let mut new = JobSet::clone(&old);
        change(&mut new);
        if new == *old {
            return;
        }
        let errors = validation::validate_update(&old, &new, &self.gates);
        if errors.is_empty() {
            let jobset = self.server.update_jobset(new);
            if jobset.spec.suspend == Some(true) {
                self.jobset_was_suspended(&jobset);
            }
        } else {
            self.note("user", || format!("admission denies the change: {errors:?}"));
        }
    }
}

fn jobset_of_name(name: &str) -> JobSet {
    let mut jobset = JobSet::default();
    jobset.metadata.name = Some(name.to_owned());
    jobset
}

/// The JobSets at the start of a world.
pub(crate) fn first_jobsets(rng: &mut fastrand::Rng, gates: &jobset_plan::Gates) -> Vec<JobSet> {
    let count = *specs::pick(rng, &[1, 1, 2, 3]);
    ["train", "tune", "test"].into_iter().take(count).map(|name| specs::jobset(rng, name, gates)).collect()
}
