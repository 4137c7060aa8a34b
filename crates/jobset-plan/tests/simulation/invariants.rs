//! Rules that hold at every step. The checker sees every stored object, so it knows the actual state. The controller
//! sees that state with a delay. The name of each rule says what must hold.

use crate::{
    api_server::{Answer, Refusal, annotation_of, version_of},
    job::Job,
    lost_status::Proofs,
    observe::{Observation, ObservedJobSet},
    request::Request,
    requests::Sent,
    restart_times::RestartTimes,
    run_rules::Suspension,
    status_rules::{count, restarts_of},
    world::{Millis, Violation, World, timestamp},
};
use jiff::{SignedDuration, Timestamp};
use jobset_api::{
    JobSet,
    conditions::{self, reasons},
    jobset::{DependsOnStatus, RestartStrategy, StartupPolicyOrder},
};
use jobset_plan::{Action, Event, JobRecord, LabelValue, Outcome, Plan, claim_names, subdomain};
use k8s_openapi::api::core::v1::{Container, PodSpec};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The position of a Job in its JobSet: its ReplicatedJob and index.
pub(crate) type Slot = (String, i32);

/// The state of each JobSet that ever existed, and the responses that each process received.
#[derive(Default)]
pub(crate) struct Checker {
    pub(crate) violation: Option<Violation>,
    pub(crate) ledgers: BTreeMap<String, Ledger>,
    /// How often each event reason, error and fault occurred.
    pub(crate) tally: BTreeMap<String, u64>,
    /// The latest resource version of a JobSet in a response, by process and UID.
    answered: BTreeMap<(usize, String), u64>,
    /// The owner of a Job in a response, and whether it was being deleted, by process and UID.
    answered_jobs: BTreeMap<(usize, String), (String, bool)>,
}

/// The history of one JobSet, as far as rules need it.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) jobset: Arc<JobSet>,
    /// The resource version at which it finished.
    pub(crate) finished_at: Option<u64>,
    /// The slot and attempts of each failed Job, by UID.
    pub(crate) failures: BTreeMap<String, (Slot, (i32, i32))>,
    /// Attempts and slots whose Job was ready or finished.
    started: BTreeSet<(i32, Slot)>,
    /// Attempts and slots whose Job completed.
    completed: BTreeSet<(i32, Slot)>,
    /// The number of events about its completion or failure.
    pub(crate) terminal_events: u32,
    /// The number of events about restarts.
    restart_events: i32,
    /// The attempts that its Jobs prove after its status is lost.
    pub(crate) proofs: Proofs,
    /// Its state at its last suspension.
    pub(crate) suspension: Suspension,
    /// Whether a user deleted one of its PodGroups.
    pub(crate) lost_group: bool,
    /// The duration of its restarts.
    pub(crate) restarts: RestartTimes,
}

impl Checker {
    /// Counts an occurrence.
    pub(crate) fn count(&mut self, what: &str) {
        if let Some(times) = self.tally.get_mut(what) {
            *times += 1;
        } else {
            self.tally.insert(what.to_owned(), 1);
        }
    }

    /// Records a JobSet that a user created.
    pub(crate) fn jobset_was_created(&mut self, jobset: &Arc<JobSet>) {
        let uid = jobset.metadata.uid.clone().unwrap_or_default();
        self.ledgers.insert(uid, Ledger { jobset: jobset.clone(), ..Ledger::default() });
    }

    /// Records the new state of a Job.
    pub(crate) fn job_was_stored(&mut self, job: &Job, now: Millis) {
        let Some(ledger) = job.owner().and_then(|owner| self.ledgers.get_mut(owner)) else { return };
        let wanted =
            ledger.jobset.spec.replicated_jobs.iter().map(|rj| usize::try_from(rj.replicas).unwrap_or(0));
        ledger.restarts.job_was_stored(job, wanted.sum(), now);
        let slot = (job.replicated_job.clone(), job.index());
        ledger.proofs.job_was_stored(job, &slot);
        let (attempt, _) = job.attempts();
        let outcome = job.ended.as_ref().map(|ended| ended.outcome);
        if outcome == Some(Outcome::Failed) || job.failure_target.is_some() {
            // With the first labels: a user can edit them later.
            ledger.failures.entry(job.uid.clone()).or_insert_with(|| (slot.clone(), job.attempts()));
        }
        if job.is_ready() || outcome.is_some() {
            ledger.started.insert((attempt, slot.clone()));
        }
        if outcome == Some(Outcome::Complete) {
            ledger.completed.insert((attempt, slot));
        }
    }

    /// Records what a process received in a response.
    pub(crate) fn process_learned(&mut self, process: usize, observed: &Observation) {
        match observed {
            Observation::JobSet(jobset) => {
                let uid = jobset.metadata.uid.clone().unwrap_or_default();
                let version = self.answered.entry((process, uid)).or_insert(0);
                *version = (*version).max(version_of(&jobset.metadata));
            }
            Observation::Job(job) => {
                let uid = job.metadata.uid.clone().unwrap_or_default();
                let owner = job.owner().unwrap_or_default().to_owned();
                let known = self.answered_jobs.entry((process, uid)).or_insert((owner, false));
                known.1 |= job.record().deleting;
            }
            Observation::Service(_)
            | Observation::Claim(_)
            | Observation::JobSetGone(_)
            | Observation::JobGone(_)
            | Observation::Workload(_)
            | Observation::PodGroup(_)
            | Observation::SchedulingGone(..) => {}
        }
    }
}

impl World {
    /// Checks the objects that a process is about to plan on.
    pub(crate) fn check_view(&mut self, process: usize, uid: &str, observed: &ObservedJobSet) {
        let version = version_of(&observed.jobset.metadata);
        let answered = self.checker.answered.get(&(process, uid.to_owned())).copied().unwrap_or(0);
        if version < answered {
            let how = format!(
                "the process observes JobSet {uid} at version {version}, after its own write at version {answered}"
            );
            self.violated(READ_YOUR_WRITES, how);
        }
        let own = self.checker.answered_jobs.range((process, String::new())..(process + 1, String::new()));
        let mut missing = own.filter(|((_, job), (owner, deleting))| {
            owner == uid
                && self.server.job(job).is_some_and(|job| job.owner() == Some(uid))
                && !observed.jobs.iter().any(|seen| seen.uid == *job && (seen.deleting || !deleting))
        });
        if let Some(((_, job), _)) = missing.next() {
            let how = format!("the process does not observe its own write of Job {job}");
            self.violated(READ_YOUR_WRITES, how);
        }
    }

    /// Checks a plan.
    pub(crate) fn check_plan(&mut self, observed: &ObservedJobSet, plan: &Plan) {
        let uid = observed.jobset.metadata.uid.as_deref().unwrap_or("");
        let Some(ledger) = self.checker.ledgers.get(uid) else { return };
        let policy = ledger.jobset.spec.failure_policy.as_ref();
        let blocking =
            policy.is_some_and(|policy| policy.restart_strategy == RestartStrategy::BlockingRecreate);
        let attempt = observed.jobset.status.as_ref().map_or(0, |status| status.restarts);
        let earlier = |job: &Arc<JobRecord>| {
            matches!(job.restart_attempt, LabelValue::Number(of) if of < attempt)
                && job.restart_attempt == job.template_restart_attempt
        };
        let creates = plan.actions.iter().any(|action| matches!(action, Action::CreateJob(_)));
        if blocking && creates && observed.jobs.iter().any(earlier) {
            let name = observed.jobset.metadata.name.clone().unwrap_or_default();
            self.violated("BlockingRecreate waits for every Job of the previous attempt", name);
        }
    }

    /// Checks a request before the API server handles it.
    pub(crate) fn check_request(&mut self, sent: &Sent) {
        self.check_gate_of_groups(sent);
        match &sent.request {
            Request::CreateJob(job) => self.check_create(sent, &Job::sent(job)),
            Request::DeleteJob { name, .. }
            | Request::PatchJob { name, .. }
            | Request::PatchJobStatus { name, .. } => {
                let Some(uid) = planned_uid(&sent.operation.request) else {
                    let how = format!("{:?} names no UID", sent.operation.request);
                    return self.violated(RIGHT_JOB, how);
                };
                let Some(job) = self.server.jobs.get(name).cloned() else { return };
                let refused = planned_uid(&sent.request).is_some_and(|uid| uid != job.uid);
                if job.uid != uid && !refused {
                    let how = format!("{:?} was planned for {uid} and affects {}", sent.request, job.uid);
                    self.violated(RIGHT_JOB, how);
                }
                if let Request::PatchJob { patch, .. } = &sent.request
                    && annotation_of(patch).is_some_and(Value::is_null)
                    // An elastic JobSet can lose its followers before they exist.
                    && patch.pointer("/spec/parallelism").and_then(Value::as_i64).is_some_and(|pods| pods > 1)
                    && !refused
                    && !self.leader_had_node(&job.uid)
                {
                    self.violated("followers are added after their leader has a node", job.name.clone());
                }
                if let Request::PatchJob { patch, .. } = &sent.request
                    && patch.pointer("/spec/suspend") == Some(&false.into())
                {
                    self.check_order(&job);
                    if job.uid == uid {
                        self.check_number_of_resumed_job(&job, patch);
                    }
                }
            }
            Request::StoreStatus { name, uid, version, status } => {
                let Some(jobset) = self.server.jobsets.get(name).cloned() else { return };
                let lands = jobset.metadata.uid == *uid
                    && (version.is_none() || *version == jobset.metadata.resource_version);
                if lands {
                    self.check_status(&jobset, uid.as_deref().unwrap_or_default(), status);
                    self.check_run(&jobset, uid.as_deref().unwrap_or_default(), status);
                }
            }
            Request::DeleteJobSet { name, uid, version } => {
                let Some(jobset) = self.server.jobsets.get(name) else { return };
                let lands = jobset.metadata.uid == *uid
                    && (version.is_none() || *version == jobset.metadata.resource_version);
                if lands && !ttl_has_passed(jobset, timestamp(self.now)) {
                    let name = name.clone();
                    self.violated(
                        "a JobSet is not deleted before its ttlSecondsAfterFinished has passed",
                        name,
                    );
                }
            }
            _ => {}
        }
    }

    fn check_create(&mut self, sent: &Sent, job: &Job) {
        if self.server.jobs.contains_key(&job.name) {
            return;
        }
        let owner = job.owner().unwrap_or_default().to_owned();
        let (name, (attempt, _)) = (job.name.clone(), job.attempts());
        let of_slot = |duplicate: &&Arc<Job>| {
            (&duplicate.replicated_job, duplicate.index()) == (&job.replicated_job, job.index())
        };
        let duplicate = self.server.jobs_of(&owner).find(of_slot).cloned();
        if let Some(duplicate) = duplicate {
            let how = format!("Job {name} exists next to Job {}", duplicate.name);
            self.violated("an index never has two Jobs", how);
        }
        let Some(ledger) = self.checker.ledgers.get(&owner) else { return };
        if ledger.finished_at.is_some_and(|version| sent.planned_on >= version) {
            self.violated("a finished JobSet starts no Job", format!("Job {name}"));
        }
        let no_loss = self.checker.ledgers.get(&owner).is_some_and(|ledger| ledger.proofs.losses == 0);
        if let Some(jobset) = self.server.jobset(&owner).cloned()
            && version_of(&jobset.metadata) == sent.planned_on
        {
            let restarts = jobset.status.as_ref().map_or(0, |status| status.restarts);
            let status = jobset.status.clone().unwrap_or_default();
            if no_loss {
                self.check_number_of_new_job(&jobset, job);
            }
            let own = self
                .gates
                .restart_job
                .then(|| count(&restarts_of(&status, &job.replicated_job).0, job.index()));
            if job.job_restart_attempt != own.map_or(LabelValue::Missing, LabelValue::Number) {
                let how = format!(
                    "Job {name} has its own attempt {:?} instead of {own:?}",
                    job.job_restart_attempt
                );
                self.violated("a Job is created for the current attempt of its JobSet", how);
            }
            if attempt != restarts {
                let how = format!("Job {name} has attempt {attempt}, and the JobSet has {restarts}");
                self.violated("a Job is created for the current attempt of its JobSet", how);
            }
            if jobset.spec.suspend.unwrap_or(false) && !job.suspend {
                self.violated("a suspended JobSet starts no Job", format!("Job {name}"));
            }
        }
        if self.faults.are_none() {
            self.check_prerequisites(job);
        }
        if !job.suspend {
            self.check_order(job);
        }
    }

    /// Checks that the Service and the claims of a new Job exist.
    fn check_prerequisites(&mut self, job: &Job) {
        let Some(jobset) = job.owner().and_then(|owner| self.server.jobset(owner)) else { return };
        let network = jobset.spec.network.as_ref().and_then(|network| network.enable_dns_hostnames);
        let service = network.unwrap_or(true).then(|| subdomain(jobset).to_owned());
        let service = service.filter(|name| !self.server.services.contains_key(name));
        let claim = claim_names(jobset).find(|name| !self.server.claims.contains_key(name));
        if let Some(missing) = service.or(claim).or_else(|| self.missing_group(job)) {
            let how = format!("Job {} without {missing}", job.name);
            self.violated(
                "without faults and user requests, Jobs are created after their Service, claims and groups",
                how,
            );
        }
    }

    /// Checks that a Job which starts does not wait for other Jobs of its attempt.
    fn check_order(&mut self, job: &Job) {
        let Some(ledger) = job.owner().and_then(|owner| self.checker.ledgers.get(owner)) else { return };
        let spec = &ledger.jobset.spec;
        let restarts = ledger.jobset.status.as_ref().map_or(0, |status| status.restarts);
        if !matches!(job.restart_attempt, LabelValue::Number(of) if of <= restarts) {
            // A user edited its label, so it belongs to no attempt.
            return;
        }
        let Some(place) = spec.replicated_jobs.iter().position(|rj| rj.name == job.replicated_job) else {
            return;
        };
        let (attempt, _) = job.attempts();
        let reached = |name: &str, by: &BTreeSet<(i32, Slot)>| {
            let replicas = spec.replicated_jobs.iter().find(|rj| rj.name == name).map_or(0, |rj| rj.replicas);
            (0..replicas).all(|index| by.contains(&(attempt, (name.to_owned(), index))))
        };
        let in_order = spec
            .startup_policy
            .as_ref()
            .is_some_and(|policy| policy.startup_policy_order == StartupPolicyOrder::InOrder);
        let early = spec.replicated_jobs[..place].iter().filter(|_| in_order);
        let too_early = early.map(|rj| &rj.name).find(|name| !reached(name, &ledger.started)).cloned();
        let missing = spec.replicated_jobs[place].depends_on.iter().flatten().find(|dependency| {
            let by = if dependency.status == DependsOnStatus::Complete {
                &ledger.completed
            } else {
                &ledger.started
            };
            !reached(&dependency.name, by)
        });
        let missing = missing.map(|dependency| format!("{} is not {}", dependency.name, dependency.status));
        if let Some(before) = too_early {
            let how = format!("Job {} starts before {before}", job.name);
            self.violated("with InOrder a ReplicatedJob starts after the previous one", how);
        }
        if let Some(missing) = missing {
            let how = format!("Job {} starts while {missing}", job.name);
            self.violated("a ReplicatedJob starts after its dependencies", how);
        }
    }

    /// Checks the response of the API server to a request.
    pub(crate) fn check_answer(&mut self, sent: &Sent, answer: &Result<Answer, Refusal>, changed: bool) {
        if sent.request.writes() && answer.is_ok() && !changed && self.faults.are_none() {
            let how = format!("{:?}", sent.request);
            self.violated("without faults and user requests, every write changes something", how);
        }
        match answer {
            Ok(_) => self.checker.count("done"),
            Err(why) => self.checker.count(&format!("{why:?}")),
        }
        if let (Err(why), true) = (answer, self.faults.are_none()) {
            self.violated(
                "without faults and user requests, no request fails",
                format!("{why:?}: {:?}", sent.request),
            );
        }
        if let (Request::PatchJob { patch, .. }, Ok(Answer::Job(job))) = (&sent.request, answer)
            && patch.pointer("/spec/suspend") == Some(&false.into())
        {
            self.check_resumed_template(sent, job);
        }
        if let (Request::StoreStatus { uid, .. }, Ok(Answer::JobSet(jobset))) = (&sent.request, answer)
            && let Some(ledger) = uid.as_ref().and_then(|uid| self.checker.ledgers.get_mut(uid))
        {
            ledger.jobset = jobset.clone();
            ledger.proofs.status_was_stored(jobset);
        }
    }

    /// Checks that a resumed Job has the node selector and the resources of its template. A JobSet that has changed since
    /// the plan can have another template.
    fn check_resumed_template(&mut self, sent: &Sent, job: &Job) {
        let jobset = job.owner().and_then(|owner| self.server.jobset(owner));
        let jobset = jobset.filter(|jobset| version_of(&jobset.metadata) == sent.planned_on);
        let replicated_job = jobset
            .and_then(|jobset| jobset.spec.replicated_jobs.iter().find(|rj| rj.name == job.replicated_job));
        let template = replicated_job.and_then(|rj| rj.template.spec.as_ref()?.template.spec.as_ref());
        let (Some(wanted), Some(pod)) = (template, job.template.spec.as_ref()) else { return };
        let (wanted_nodes, nodes) =
            (wanted.node_selector.clone().unwrap_or_default(), pod.node_selector.clone().unwrap_or_default());
        let has_all = wanted_nodes.iter().all(|(key, value)| nodes.get(key) == Some(value));
        let how = format!("Job {} selects {nodes:?}, and the template {wanted_nodes:?}", job.name);
        let resources = |pod: &PodSpec| -> Vec<_> {
            let requests = |container: &Container| container.resources.clone().and_then(|it| it.requests);
            pod.containers.iter().map(requests).collect()
        };
        let (wanted_resources, resources) = (resources(wanted), resources(pod));
        if !has_all || self.gates.replace_on_resume && nodes != wanted_nodes {
            self.violated("a resumed Job selects the nodes of its template", how);
        } else if self.gates.mutable_pod_resources && resources != wanted_resources {
            let how = format!("Job {} has {resources:?}, and the template {wanted_resources:?}", job.name);
            self.violated("a resumed Job has the resources of its template", how);
        }
    }

    /// Checks an event that a process sends.
    pub(crate) fn send_event(&mut self, process: usize, uid: &str, event: &Event) {
        self.note_process(process, || format!("sends event {}: {}", event.reason, event.note));
        self.checker.count(event.reason.split_once("_rule").map_or(event.reason.as_str(), |(rule, _)| rule));
        let Some(ledger) = self.checker.ledgers.get_mut(uid) else { return };
        let ends = [
            reasons::ALL_JOBS_COMPLETED,
            reasons::FAILED_JOBS,
            reasons::REACHED_MAX_RESTARTS,
            reasons::FAIL_JOB_SET_ACTION,
            reasons::DEADLINE_EXCEEDED,
        ];
        let reason = event.reason.as_str();
        if ends.contains(&reason) {
            ledger.terminal_events += 1;
        }
        if reason.starts_with("Restart") && reason.ends_with("FailurePolicyAction") {
            ledger.restart_events += 1;
        }
        if ledger.proofs.losses > 0 {
            // After the loss of a status, the same event can happen again.
            return;
        }
        let status = ledger.jobset.status.clone().unwrap_or_default();
        let singles: i32 = status.replicated_jobs_status.iter().flat_map(|status| &status.job_restarts).sum();
        if ledger.terminal_events > i32::from(ledger.finished_at.is_some()).unsigned_abs() {
            let how = format!(
                "JobSet {uid} has {} terminal events, the last with the reason {reason}",
                ledger.terminal_events
            );
            self.violated("a terminal state is reported once, after it is stored", how);
        } else if ledger.restart_events > status.restarts + singles {
            let how = format!("{} events about restarts of JobSet {uid}", ledger.restart_events);
            self.violated("a restart is reported once, after it is stored", how);
        }
    }
}

const RIGHT_JOB: &str =
    "a request affects the Job that it was planned for, never a successor of the same name";
const READ_YOUR_WRITES: &str = "a plan is never older than the process's own writes";

/// The UID in a request that changes or deletes a Job.
fn planned_uid(request: &Request) -> Option<&str> {
    match request {
        Request::DeleteJob { uid, .. } => uid.as_deref(),
        Request::PatchJob { patch, .. } | Request::PatchJobStatus { patch, .. } => {
            patch.pointer("/metadata/uid")?.as_str()
        }
        _ => None,
    }
}

/// Whether a JobSet has finished, and its `ttlSecondsAfterFinished` has passed.
fn ttl_has_passed(jobset: &JobSet, now: Timestamp) -> bool {
    let mut conditions = jobset.status.iter().flat_map(|status| &status.conditions);
    let finished = conditions.find(|condition| {
        [conditions::COMPLETED, conditions::FAILED].contains(&condition.type_.as_str())
            && condition.status == "True"
    });
    let ttl = jobset.spec.ttl_seconds_after_finished;
    finished.zip(ttl).is_some_and(|(finished, ttl)| {
        now.duration_since(finished.last_transition_time.0) >= SignedDuration::from_secs(ttl.into())
    })
}
