//! Tables of scenes and their plans, one file per policy.
//!
//! A [`Scene`] is a JobSet `train` (one Job of `driver`, two of `worker`) with its Jobs in short form. Tests compare
//! the whole plan as text, so a plan must contain nothing that the row does not name. The text omits the counts of
//! `replicatedJobsStatus`; `replicated_jobs_status.rs` tests them.

mod active_deadline;
mod child_job;
mod conditions;
mod depends_on;
mod elastic;
mod execution_attempts;
mod failure_policy;
mod gang_scheduling;
mod in_place_restart;
mod leader_first;
mod lines;
mod lost_status;
mod network;
mod recreation;
mod replicated_jobs_status;
mod restart;
mod restart_on_failure_target;
mod service;
mod startup_policy;
mod status_timing;
pub(crate) mod strategic_merge_patch;
mod success_policy;
mod suspend;
mod topology;
mod ttl;
mod volume_claims;

use crate::*;
use jobset_api::{JobSetStatus, ReplicatedJobStatus};
use k8s_openapi::{
    api::batch::v1::Job,
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use lines::*;
use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

/// The second at which plans are made.
const NOW: i64 = 1_000_000;

/// A JobSet, its children and the feature gates.
#[derive(Clone)]
struct Scene {
    jobset: JobSet,
    jobs: Vec<Arc<JobRecord>>,
    gates: Gates,
    service: Option<ServiceRecord>,
    claims: BTreeSet<String>,
    topologies: Vec<TopologyRecord>,
    pods: InPlacePods,
    placed_leaders: HashSet<String>,
    scheduling: Option<SchedulingRecord>,
    /// Whether [`Scene::scheduling`] is None because the API server serves no such objects.
    /// Without a record of its objects.
    scheduling_api: SchedulingApi<'static>,
    /// The number of Workloads and PodGroups that this scene created.
    created: u32,
    creation_wait: Option<std::time::Duration>,
    /// Milliseconds after [`NOW`].
    late: i64,
}

/// A scene with these fields in the spec of the JobSet. Without `replicatedJobs`, it has `driver` and `worker`.
fn jobset(spec: &str) -> Scene {
    let replicated_jobs = "replicatedJobs: [{name: driver}, {name: worker, replicas: 2}]\n";
    let default = if spec.contains("replicatedJobs:") { "" } else { replicated_jobs };
    let mut jobset: JobSet =
        serde_yaml::from_str("metadata: {name: train, namespace: team, uid: train-uid}").unwrap();
    jobset.spec = serde_yaml::from_str(&format!("{default}{spec}")).unwrap_or_else(|e| panic!("{spec}: {e}"));
    let (jobs, gates, claims) = (Vec::new(), Gates::default(), BTreeSet::new());
    Scene {
        jobset,
        jobs,
        gates,
        service: Some(service_of("train")),
        claims,
        topologies: Vec::new(),
        pods: InPlacePods::default(),
        placed_leaders: HashSet::new(),
        scheduling: None,
        scheduling_api: SchedulingApi::Unknown,
        created: 0,
        creation_wait: None,
        late: 900,
    }
}

/// The Service that the controller creates for the JobSet of this name.
fn service_of(jobset: &str) -> ServiceRecord {
    let (kind, name, uid) = ("JobSet".to_owned(), jobset.to_owned(), format!("{jobset}-uid"));
    ServiceRecord {
        uid: "uid-of-service".into(),
        controller: Some(Controller { kind, name, uid }),
        headless: true,
        selector: [(labels::JOBSET_NAME.to_owned(), jobset.to_owned())].into(),
        ports: Vec::new(),
        publish_not_ready_addresses: true,
        will_be_deleted: false,
    }
}

impl Scene {
    fn status(&mut self) -> &mut JobSetStatus {
        self.jobset.status.get_or_insert_default()
    }

    /// Replaces the Jobs. See [`job`] for the format.
    fn jobs(mut self, jobs: &str) -> Self {
        self.jobs = jobs
            .split(',')
            .map(str::trim)
            .filter(|job| !job.is_empty())
            .map(|words| Arc::new(job(words)))
            .collect();
        self
    }

    /// Switches feature gates on.
    fn gates(mut self, names: &str) -> Self {
        for name in names.split_whitespace() {
            match name {
                "RestartJob" => self.gates.restart_job = true,
                "ElasticJobSet" => self.gates.elastic_jobset = true,
                "InPlaceRestart" => self.gates.in_place_restart = true,
                "LeaderFirstPlacement" => self.gates.leader_first_placement = true,
                "MutablePodResourcesForSuspendedJobSets" => self.gates.mutable_pod_resources = true,
                "ReplaceSchedulingDirectivesOnResume" => self.gates.replace_on_resume = true,
                "JobSetWorkloadAwareSchedulingAPI" => self.gates.workload_aware_scheduling = true,
                "RestartOnFailureTarget" => self.gates.restart_on_failure_target = true,
                "ExecutionAttemptsTracking" => self.gates.execution_attempts_tracking = true,
                "JobSetActiveDeadlineSeconds" => self.gates.active_deadline_seconds = true,
                _ => panic!("unknown feature gate: {name}"),
            }
        }
        self
    }

    /// Sets the number of restarts, and how many of them count.
    fn restarted(mut self, restarts: i32, counted: i32) -> Self {
        self.status().restarts = restarts;
        self.status().restarts_count_towards_max = counted;
        self
    }

    /// Sets the restarts of single Jobs, and how many of them count.
    fn jobs_restarted(mut self, replicated_job: &str, restarts: &[i32], counted: &[i32]) -> Self {
        let entry = ReplicatedJobStatus {
            name: replicated_job.into(),
            job_restarts: restarts.into(),
            job_restarts_count_towards_max: counted.into(),
            ..Default::default()
        };
        self.status().replicated_jobs_status.push(entry);
        self
    }

    /// Sets the execution attempt of the stored status.
    fn attempt(mut self, attempt: impl Into<Option<i32>>) -> Self {
        self.status().execution_attempts = attempt.into();
        self
    }

    /// Sets the start time of the stored status, in seconds relative to [`NOW`].
    fn started(mut self, second: i64) -> Self {
        self.status().start_time = Some(Time(Timestamp::from_second(NOW + second).unwrap()));
        self
    }

    /// Adds a condition from second 5, as `<type>=<status> <reason>: <message>`.
    fn condition(mut self, condition: &str) -> Self {
        let (type_, rest) = condition.split_once('=').unwrap();
        let (status, rest) = rest.split_once(' ').unwrap();
        let (reason, message) = rest.split_once(": ").unwrap();
        self.status().conditions.push(Condition {
            type_: type_.into(),
            status: status.into(),
            reason: reason.into(),
            message: message.into(),
            last_transition_time: Time(Timestamp::from_second(5).unwrap()),
            observed_generation: None,
        });
        self
    }

    fn suspend(mut self, suspend: bool) -> Self {
        self.jobset.spec.suspend = Some(suspend);
        self
    }

    fn plan(&self) -> Plan {
        let Self { jobset, jobs, gates, service, claims, topologies, pods, placed_leaders, late, .. } = self;
        let scheduling = match &self.scheduling {
            Some(record) => SchedulingApi::Served(record),
            None => self.scheduling_api,
        };
        let service = service.as_ref();
        let snapshot = Snapshot {
            jobset,
            jobs,
            service,
            claims,
            topologies,
            placed_leaders,
            in_place_pods: pods,
            scheduling,
            creation_wait: self.creation_wait,
        };
        plan(&snapshot, Timestamp::from_millisecond(NOW * 1000 + late).unwrap(), gates)
    }

    /// See [`outcome_lines`].
    fn outcome_lines(&self) -> Vec<String> {
        outcome_lines(self.jobset.status.as_ref(), &self.plan())
    }

    /// The same scene after the plan's status is stored.
    fn stored(mut self) -> Self {
        if let Some(status) = self.plan().status {
            self.jobset.status = Some(status);
        }
        self
    }

    /// The outcome lines without the problems of foreign Jobs.
    fn outcome_lines_without_foreign(&self) -> Vec<String> {
        let mut lines = self.outcome_lines();
        lines.retain(|line| !line.contains(": ForeignJob "));
        lines
    }

    #[track_caller]
    fn expect(&self, lines: &[&str]) {
        assert_eq!(self.outcome_lines(), lines, "jobs: {:#?}", self.jobs);
    }
}

/// Parses a Job from words: its ReplicatedJob and index, then its properties. Without properties, its pod runs.
///
/// States: `ready`, `pending` (no pod yet), `suspended`, `complete`, `complete@<second>`, `failed@<second>`,
/// `failing@<second>` (its pods are still stopping), `deleting`, `started=false`, `leader-first` (no followers yet),
/// `not-exclusive` (exclusive placement does not apply to its pods). Labels of the Job and of its pod template: `attempt=<label>`,
/// `restart=<label of this Job's own attempt>`. Labels of the Job only: `edited-attempt=<label>`,
/// `edited-restart=<label>`, `index=<label>`. Others: `reason=<reason>`, `message=<message without blanks>`,
/// `pods=<parallelism>/<completions>`, `run=<annotation execution-attempt>`, `edited-run=<that of the Job only>`, `failed-indexes=<count>`, `terminating=<pods>`,
/// `template=<template of its PodGroup>`, `group=<PodGroup>`.
fn job(words: &str) -> JobRecord {
    let mut words = words.split_whitespace();
    let short = words.next().unwrap();
    let (replicated_job, index) = short.rsplit_once('-').unwrap();
    let mut job = JobRecord {
        name: format!("train-{short}"),
        uid: format!("uid-of-{short}"),
        replicated_job: Some(replicated_job.into()),
        restart_attempt: LabelValue::Number(0),
        template_restart_attempt: LabelValue::Number(0),
        job_restart_attempt: LabelValue::Missing,
        template_job_restart_attempt: LabelValue::Missing,
        job_index: LabelValue::read(Some(index)),
        parallelism: 1,
        completions: Some(1),
        leader_first: false,
        exclusive: true,
        group_template: None,
        pod_group: None,
        execution_attempt: LabelValue::Missing,
        template_execution_attempt: LabelValue::Missing,
        suspended: false,
        started: true,
        active: 1,
        ready: 0,
        succeeded: 0,
        failed_indexes: 0,
        terminating: 0,
        verdict: None,
        deleting: false,
    };
    let (mut reason, mut message) = ("BackoffLimitExceeded", "");
    let mut ended = None;
    for word in words {
        let label = |text: &str| LabelValue::read((text != "none").then_some(text));
        match word.split_once(['=', '@']).unwrap_or((word, "")) {
            ("ready", count) => job.ready = count.parse().unwrap_or(1),
            ("pending", _) => (job.active, job.started) = (0, false),
            ("suspended", _) => (job.suspended, job.active) = (true, 0),
            ("active", count) => job.active = count.parse().unwrap(),
            ("succeeded", count) => job.succeeded = count.parse().unwrap(),
            ("terminating", count) => job.terminating = count.parse().unwrap(),
            ("failed-indexes", count) => job.failed_indexes = count.parse().unwrap(),
            ("started", value) => job.started = value == "true",
            ("complete", second) => ended = Some((Outcome::Complete, second.parse().unwrap_or(1))),
            ("failed", second) => ended = Some((Outcome::Failed, second.parse().unwrap())),
            ("failing", second) => ended = Some((Outcome::Failing, second.parse().unwrap())),
            ("leader-first", _) => job.leader_first = true,
            ("not-exclusive", _) => job.exclusive = false,
            ("template", text) => job.group_template = Some(text.into()),
            ("group", text) => job.pod_group = Some(text.into()),
            ("deleting", _) => job.deleting = true,
            ("attempt", text) => {
                (job.restart_attempt, job.template_restart_attempt) = (label(text), label(text));
            }
            ("restart", text) => {
                (job.job_restart_attempt, job.template_job_restart_attempt) = (label(text), label(text));
            }
            ("edited-attempt", text) => job.restart_attempt = label(text),
            ("edited-restart", text) => job.job_restart_attempt = label(text),
            ("name", name) => job.name = name.into(),
            ("index", text) => job.job_index = label(text),
            ("of", name) => job.replicated_job = (name != "none").then(|| name.into()),
            ("run", text) => {
                job.execution_attempt = label(text);
                job.template_execution_attempt = label(text);
            }
            ("edited-run", text) => job.execution_attempt = label(text),
            ("reason", text) => reason = text,
            ("message", text) => message = text,
            ("pods", text) => {
                let (parallelism, completions) = text.split_once('/').unwrap();
                job.parallelism = parallelism.parse().unwrap();
                job.completions = completions.parse().ok();
            }
            _ => panic!("unknown word: {word}"),
        }
    }
    if let Some((outcome, second)) = ended {
        let at = Timestamp::from_second(second).unwrap();
        job.active = i32::from(outcome == Outcome::Failing);
        job.verdict = Some(Verdict { outcome, reason: reason.into(), message: message.into(), at });
    }
    job
}

/// Three running Jobs.
const RUNNING: &str = "driver-0, worker-0, worker-1";

#[test]
fn the_plan_of_a_settled_jobset_is_empty() {
    for jobs in [
        RUNNING,
        "driver-0 ready, worker-0 ready, worker-1",
        "driver-0 complete, worker-0 complete, worker-1 complete",
        "driver-0 failed@7, worker-0 failed@7, worker-1 failed@7",
    ] {
        let settled = jobset("network: {enableDNSHostnames: true}").jobs(jobs).stored();
        assert_eq!(settled.plan(), Plan::default(), "{jobs}");
    }
}

#[test]
fn jobsets_of_other_managers_and_deleted_jobsets_have_no_plan() {
    let managed_by = |by: &str| jobset(&format!("managedBy: {by}"));
    assert_eq!(managed_by("kueue.x-k8s.io/multikueue").jobs("driver-0 failed@7").plan(), Plan::default());
    managed_by("jobset.sigs.k8s.io/jobset-controller").expect(&[
        "create train-driver-0",
        "create train-worker-0",
        "create train-worker-1",
    ]);

    let mut deleted = jobset("ttlSecondsAfterFinished: 0").jobs("driver-0 failed@7, worker-0 attempt=0");
    deleted.jobset.metadata.deletion_timestamp = Some(Time(Timestamp::from_second(NOW).unwrap()));
    assert_eq!(deleted.plan(), Plan::default());
}

/// Actions that start pods wait for the Service and the claims. No other action waits.
#[test]
fn only_creating_and_resuming_jobs_starts_pods() {
    let resumed =
        jobset("").jobs("driver-0 suspended, worker-0 suspended, worker-1 suspended").suspend(false);
    for (scene, starts_pods) in [
        (jobset(""), true),
        (resumed, true),
        (jobset("").jobs("driver-0, worker-0, worker-1").suspend(true), false),
        (
            jobset("").restarted(1, 1).jobs("driver-0 attempt=0, worker-0 attempt=0, worker-1 attempt=0"),
            false,
        ),
    ] {
        let actions = scene.plan().actions;
        let of_jobs: Vec<_> = actions.iter().filter(|it| !matches!(it, Action::CreateService(_))).collect();
        assert!(!of_jobs.is_empty());
        assert!(of_jobs.iter().all(|it| it.starts_pods() == starts_pods), "{of_jobs:?}");
        assert!(actions.iter().all(|it| !matches!(it, Action::CreateService(_)) || !it.starts_pods()));
    }
}
