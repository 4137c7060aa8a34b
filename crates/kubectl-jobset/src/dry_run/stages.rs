//! The objects that the controller creates, stage by stage.

use jiff::Timestamp;
use jobset_api::{JobSet, jobset::DependsOnStatus, labels};
use jobset_controller::recorded::{Recorded, RecordedScheduling};
use jobset_plan::{Action, Gates, SchedulingAction};
use k8s_openapi::{
    api::batch::v1::{Job, JobCondition, JobStatus},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// UID of the JobSet.
pub(super) const UID: &str = "00000000-0000-4000-8000-000000000000";

/// The most objects of a plan.
const MOST_OBJECTS: usize = if cfg!(test) { 1_000 } else { 10_000 };

/// Objects that the controller creates at the same time.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Stage {
    /// What has to happen before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) after: Vec<String>,
    pub(crate) objects: Vec<Value>,
}

/// A simulated cluster in which every Job succeeds.
struct Cluster {
    recorded: Recorded,
    created: u64,
}

/// The stages of a new JobSet, and what it waits for afterwards.
pub(super) fn of(jobset: JobSet, gates: &Gates) -> anyhow::Result<(Vec<Stage>, Vec<String>)> {
    let mut cluster = Cluster::new(jobset);
    let now = Timestamp::now();
    let mut stages: Vec<Stage> = Vec::new();
    let mut after = Vec::new();
    loop {
        let (objects, waiting) = cluster.settle(now, gates)?;
        if !objects.is_empty() {
            stages.push(Stage { after, objects });
        }
        if cluster.is_full() {
            return Ok((stages, vec![format!("the plan ends after {MOST_OBJECTS} objects")]));
        }
        if waiting.is_empty() || !cluster.advance(now) {
            return Ok((stages, waiting));
        }
        after = waiting;
    }
}

/// A new JobSet with the objects that the controller creates at once.
#[cfg(test)]
pub(crate) fn created(jobset: JobSet, gates: &Gates, now: Timestamp) -> anyhow::Result<Recorded> {
    let mut cluster = Cluster::new(jobset);
    cluster.settle(now, gates)?;
    Ok(cluster.recorded)
}

impl Cluster {
    /// A cluster with a new JobSet, which serves Workloads and PodGroups.
    fn new(jobset: JobSet) -> Self {
        let scheduling = RecordedScheduling::Served(Vec::new(), Vec::new());
        Self { recorded: Recorded { jobset, scheduling, ..Recorded::default() }, created: 1 }
    }

    /// Follows the plans until they create nothing. Returns the created objects, and why there are no others.
    fn settle(&mut self, now: Timestamp, gates: &Gates) -> anyhow::Result<(Vec<Value>, Vec<String>)> {
        let mut objects = Vec::new();
        loop {
            let plan = self.recorded.plan(now, gates)?;
            if let Some(status) = plan.status {
                self.recorded.jobset.status = Some(status);
                self.changed_jobset();
            }
            let before = objects.len();
            // The Service, claims and groups come before the Jobs that need them.
            let (jobs, others): (Vec<_>, Vec<_>) = plan.actions.into_iter().partition(Action::starts_pods);
            for action in others.into_iter().chain(jobs) {
                objects.extend(self.create(action)?);
            }
            if objects.len() == before || self.is_full() {
                return Ok((objects, plan.waiting));
            }
        }
    }

    fn is_full(&self) -> bool {
        self.recorded.jobs.len() >= MOST_OBJECTS
    }

    /// Creates the object of an action.
    fn create(&mut self, action: Action) -> serde_json::Result<Option<Value>> {
        let created = match action {
            Action::CreateJob(mut job) => {
                let shown = shown("batch/v1", "Job", &job)?;
                self.stored(&mut job.metadata);
                self.recorded.jobs.push(*job);
                shown
            }
            Action::CreateService(mut service) => {
                let shown = shown("v1", "Service", &service)?;
                self.stored(&mut service.metadata);
                self.recorded.services.push(*service);
                shown
            }
            Action::CreateClaim(mut claim) => {
                let shown = shown("v1", "PersistentVolumeClaim", &claim)?;
                self.stored(&mut claim.metadata);
                self.recorded.claims.push(*claim);
                shown
            }
            Action::Scheduling(action) => {
                let mut new = ObjectMeta::default();
                self.stored(&mut new);
                let RecordedScheduling::Served(workloads, pod_groups) = &mut self.recorded.scheduling else {
                    return Ok(None);
                };
                let api = "scheduling.k8s.io/v1beta1";
                match action {
                    SchedulingAction::CreateWorkload(mut workload) => {
                        let shown = shown(api, "Workload", &workload)?;
                        (workload.metadata.uid, workload.metadata.resource_version) =
                            (new.uid, new.resource_version);
                        workloads.push(*workload);
                        shown
                    }
                    SchedulingAction::CreatePodGroup(mut pod_group) => {
                        let shown = shown(api, "PodGroup", &pod_group)?;
                        (pod_group.metadata.uid, pod_group.metadata.resource_version) =
                            (new.uid, new.resource_version);
                        pod_groups.push(*pod_group);
                        shown
                    }
                    _ => return Ok(None),
                }
            }
            _ => return Ok(None),
        };
        Ok(Some(created))
    }

    /// Adds what the API server adds to a new object.
    fn stored(&mut self, metadata: &mut ObjectMeta) {
        self.created += 1;
        metadata.uid = Some(format!("00000000-0000-4000-8000-{:012}", self.created));
        metadata.resource_version = Some(self.created.to_string());
        metadata.namespace.clone_from(&self.recorded.jobset.metadata.namespace);
    }

    fn changed_jobset(&mut self) {
        self.created += 1;
        self.recorded.jobset.metadata.resource_version = Some(self.created.to_string());
    }

    /// Lets the Jobs become ready. If all are, lets those complete on whose completion others depend. Returns whether
    /// that changed anything.
    fn advance(&mut self, now: Timestamp) -> bool {
        if self.recorded.jobset.spec.is_suspended() {
            return false;
        }
        let finishing: BTreeSet<&str> = self
            .recorded
            .jobset
            .spec
            .replicated_jobs
            .iter()
            .flat_map(|it| it.depends_on.iter().flatten())
            .filter(|dependency| dependency.status == DependsOnStatus::Complete)
            .map(|dependency| dependency.name.as_str())
            .collect();
        let ready = change(&mut self.recorded.jobs, |job| {
            let starts = job.status.is_none();
            if starts {
                let pods = job.spec.as_ref().and_then(|spec| spec.parallelism).unwrap_or(1);
                job.status = Some(JobStatus {
                    active: Some(pods),
                    ready: Some(pods),
                    start_time: Some(Time(now)),
                    ..JobStatus::default()
                });
            }
            starts
        });
        ready
            || change(&mut self.recorded.jobs, |job| {
                let role = job.metadata.labels.as_ref().and_then(|it| it.get(labels::REPLICATED_JOB_NAME));
                let ends = role.is_some_and(|role| finishing.contains(role.as_str()))
                    && job.status.as_ref().is_some_and(|status| status.conditions.is_none());
                if ends {
                    job.status = Some(JobStatus {
                        succeeded: job.spec.as_ref().and_then(|spec| spec.completions),
                        conditions: Some(vec![JobCondition {
                            type_: "Complete".to_owned(),
                            status: "True".to_owned(),
                            last_transition_time: Some(Time(now)),
                            ..JobCondition::default()
                        }]),
                        ..JobStatus::default()
                    });
                }
                ends
            })
    }
}

/// Changes Jobs. Returns whether one of them changed.
fn change(jobs: &mut [Job], mut with: impl FnMut(&mut Job) -> bool) -> bool {
    jobs.iter_mut().fold(false, |changed, job| with(job) | changed)
}

/// An object as its creation sends it, without the owner, whose UID is made up.
fn shown(api_version: &str, kind: &str, object: &impl Serialize) -> serde_json::Result<Value> {
    let mut object = serde_json::to_value(object)?;
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".to_owned(), api_version.into());
        fields.insert("kind".to_owned(), kind.into());
        if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("ownerReferences");
        }
    }
    Ok(object)
}
