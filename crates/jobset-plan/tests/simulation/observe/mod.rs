//! The watches of a process: one for each kind, each with its own delays. They update the controller's index.
//!
//! The index and its comparison of versions are source files of the controller. This file simulates the watches over
//! HTTP and the decoding.

mod child_job;
#[allow(dead_code, unreachable_pub, reason = "the controller uses more of it")]
#[path = "../../../../jobset-controller/src/observe/index.rs"]
mod index;
#[path = "../../../../jobset-controller/src/observe/jobset_record.rs"]
mod jobset_record;
#[path = "../../../../jobset-controller/src/observe/named.rs"]
mod named;
#[allow(dead_code, reason = "the controller uses more of it")]
#[path = "../../../../jobset-controller/src/observe/owned.rs"]
mod owned;
#[path = "../../../../jobset-controller/src/observe/owner.rs"]
mod owner;
#[allow(dead_code, reason = "the controller uses more of it")]
#[path = "../../../../jobset-controller/src/observe/scheduling.rs"]
mod scheduling;
#[allow(dead_code, reason = "the controller uses more of it")]
#[path = "../../../../jobset-controller/src/observe/subdomains.rs"]
mod subdomains;
#[allow(dead_code, reason = "the controller uses more of it")]
#[path = "../../../../jobset-controller/src/observe/versioned.rs"]
mod versioned;

#[path = "../../../../jobset-controller/src/observe/in_place.rs"]
mod in_place;
#[allow(dead_code, reason = "the controller uses more of it")]
#[path = "../../../../jobset-controller/src/observe/nodes.rs"]
mod nodes;
#[path = "../../../../jobset-controller/src/observe/pod.rs"]
mod pod;
#[allow(dead_code, reason = "the controller uses more of it")]
#[path = "../../../../jobset-controller/src/observe/pods.rs"]
mod pods;
#[allow(dead_code, reason = "the controller uses more of it")]
#[path = "../../../../jobset-controller/src/observe/service.rs"]
mod service;
#[path = "../../../../jobset-controller/src/observe/shared_texts.rs"]
mod shared_texts;

pub(crate) use child_job::ChildJob;
pub(crate) use index::{Index, Kind, Observation, ObservedJobSet, UnconfirmedJob};
pub(crate) use nodes::Nodes;
pub(crate) use owner::{controlling_jobset, will_be_deleted};
pub(crate) use pod::ObservedPod;
pub(crate) use pods::Pods;
pub(crate) use scheduling::{ObservedScheduling, SchedulingKind, SchedulingObjects};
pub(crate) use service::ObservedService;
pub(crate) use versioned::Source;

use crate::{
    api_server::{Change, Named, Watched},
    operation::Operation,
    schedule::ScheduledEvent,
    world::World,
};
use jobset_api::labels;
use k8s_openapi::api::scheduling::v1beta1::{PodGroup, Workload};
use serde_json::json;

/// One watch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    /// The number of changes in the log that were delivered.
    delivered: usize,
    /// Whether a delivery or a list is scheduled.
    busy: bool,
    /// The requested list, until the process receives it.
    list: Option<Vec<Change>>,
    /// Whether the first list is complete.
    filled: bool,
}

impl Watch {
    pub(crate) fn is_filled(&self) -> bool {
        self.filled
    }
}

impl World {
    /// Schedules a delivery to every process after a change of a kind.
    pub(crate) fn notify_watches(&mut self, kind: Watched) {
        for process in 0..self.processes.len() {
            let watch = &self.processes[process].watches[kind.position()];
            if self.processes[process].alive && watch.filled && !watch.busy {
                self.processes[process].watches[kind.position()].busy = true;
                self.deliver_after_lag(process, kind);
            }
        }
    }

    fn deliver_after_lag(&mut self, process: usize, kind: Watched) {
        let stalls = self.faults_now().stalls;
        let lag = if self.happens(stalls) { self.rng.u64(500..45_000) } else { self.rng.u64(1..60) };
        self.after(lag, ScheduledEvent::Deliver { process, kind });
    }

    /// Starts a watch again with a list.
    pub(crate) fn request_list(&mut self, process: usize, kind: Watched) {
        if !self.processes[process].alive || self.processes[process].watches[kind.position()].list.is_some() {
            return;
        }
        let list = self.server.list(kind);
        let watch = &mut self.processes[process].watches[kind.position()];
        watch.list = Some(list);
        watch.busy = true;
        watch.delivered = self.server.log(kind).len();
        match kind {
            Watched::Core(kind) => self.processes[process].index.begin_list(kind),
            Watched::Scheduling(kind) => {
                self.processes[process].index.scheduling(|objects| objects.begin_list(kind));
            }
        }
        self.note_process(process, || format!("requests a list of {kind:?}"));
        let lag = self.rng.u64(5..300);
        self.after(lag, ScheduledEvent::ListReceived { process, kind });
    }

    /// Handles a list that reaches its process.
    pub(crate) fn receive_list(&mut self, process: usize, kind: Watched) {
        if !self.processes[process].alive {
            return;
        }
        let Some(list) = self.processes[process].watches[kind.position()].list.take() else { return };
        for change in &list {
            self.apply_change(process, kind, change);
        }
        let index = &self.processes[process].index;
        let (mut requeue, mut unconfirmed) = match kind {
            Watched::Core(kind) => index.finish_list(kind),
            Watched::Scheduling(kind) => {
                let (mut requeue, are_first) = index.scheduling(|objects| objects.finish_list(kind));
                if are_first {
                    requeue.extend(index.jobsets_with_scheduling());
                }
                (requeue, Vec::new())
            }
        };
        // The index returns them in an order that differs between runs.
        requeue.sort();
        unconfirmed.sort();
        self.checker.count("list");
        self.note_process(process, || format!("receives a list of {} {kind:?}", list.len()));
        for uid in requeue {
            self.requeue(process, uid);
        }
        for job in unconfirmed {
            self.send(process, Operation::verify_job(job), None);
        }
        let behind = self.processes[process].watches[kind.position()].delivered < self.server.log(kind).len();
        let watch = &mut self.processes[process].watches[kind.position()];
        watch.filled = true;
        watch.busy = behind;
        if behind {
            self.deliver_after_lag(process, kind);
        }
    }

    /// Delivers the next changes of a watch.
    pub(crate) fn deliver(&mut self, process: usize, kind: Watched) {
        let watch = &self.processes[process].watches[kind.position()];
        if !self.processes[process].alive || watch.list.is_some() {
            return;
        }
        let breaks = self.faults_now().relists;
        if self.happens(breaks) {
            self.request_list(process, kind);
            return;
        }
        let from = self.processes[process].watches[kind.position()].delivered;
        let until = self.server.log(kind).len();
        // A list that arrived since may contain the changes.
        if from == until {
            self.processes[process].watches[kind.position()].busy = false;
            return;
        }
        let until = if self.rng.bool() { until } else { self.rng.usize(from..until) + 1 };
        let changes: Vec<Change> = self.server.log(kind)[from..until].to_vec();
        self.processes[process].watches[kind.position()].delivered = until;
        for change in &changes {
            self.apply_change(process, kind, change);
        }
        if until < self.server.log(kind).len() {
            self.deliver_after_lag(process, kind);
        } else {
            self.processes[process].watches[kind.position()].busy = false;
        }
    }

    /// Applies a change to the index of a process, and requeues the JobSets that it affects.
    fn apply_change(&mut self, process: usize, kind: Watched, change: &Change) {
        self.planted_bug_observes(process, change);
        let index = &self.processes[process].index;
        let mut requeue: Vec<String> = match change {
            Change::JobSet(jobset) => index.apply_jobset(jobset, Source::Watch).into_iter().collect(),
            Change::Job(job) => index.apply_job(&ChildJob::new(job), Source::Watch).into_iter().collect(),
            Change::Named(service) if kind == Watched::Core(Kind::Services) => {
                let changed = index.apply_service(&observed_service(service), Source::Watch);
                changed.map(|key| index.users_of(Kind::Services, &key)).unwrap_or_default()
            }
            Change::Named(claim) => {
                index.apply_claim(&claim.metadata, Source::Watch);
                Vec::new()
            }
            Change::Workload(workload) => index
                .scheduling(|objects| objects.apply_workload(Workload::clone(workload), Source::Watch))
                .into_iter()
                .collect(),
            Change::PodGroup(pod_group) => index
                .scheduling(|objects| objects.apply_pod_group(PodGroup::clone(pod_group), Source::Watch))
                .into_iter()
                .collect(),
            Change::Gone(uid) => match kind {
                Watched::Core(Kind::JobSets) => {
                    index.end_jobset(uid);
                    vec![uid.clone()]
                }
                Watched::Core(Kind::Jobs) => index.end_job(uid).into_iter().collect(),
                Watched::Core(kind @ (Kind::Services | Kind::Claims)) => index.end_named(kind, uid),
                Watched::Scheduling(kind) => {
                    index.scheduling(|objects| objects.end(kind, uid)).into_iter().collect()
                }
            },
        };
        requeue.sort();
        for uid in requeue {
            self.requeue(process, uid);
        }
    }

    /// Adds the object of a response to the index of a process. Returns the UID of the JobSet that it affects.
    pub(crate) fn learn(&mut self, process: usize, observed: Observation) -> Option<String> {
        if self.responses_are_ignored() {
            return None;
        }
        self.checker.process_learned(process, &observed);
        self.processes[process].index.store(observed)
    }
}

/// A Service as the controller creates it.
pub(crate) fn observed_service(Named { metadata, ports }: &Named) -> ObservedService {
    let owner = metadata.owner_references.iter().flatten().next().map(|owner| &owner.name);
    let selector = json!({labels::JOBSET_NAME: owner});
    let spec =
        json!({"clusterIP": "None", "publishNotReadyAddresses": true, "ports": ports, "selector": selector});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).expect("a Service")
}
