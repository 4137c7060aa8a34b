//! The watches that feed the index and the placement.

use super::{
    child_job::ChildJob,
    decoded::Decoded,
    delivery::{Change, run_watch, run_watch_on_demand},
    demand::PodDemand,
    index::{Index, Kind, UnconfirmedJob},
    nodes::ObservedNode,
    placement::Placement,
    pod::ObservedPod,
    pods::{PodChange, Pods},
    scheduling_watch,
    service::ObservedService,
    versioned::Source,
};
use crate::requeue::Requeue;
use jobset_api::{JobSet, labels};
use jobset_plan::{Gates, in_place_restart::restarts_in_place, topology_keys};
use k8s_openapi::{api::core::v1::PersistentVolumeClaim, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Client, Resource,
    core::PartialObjectMeta,
    runtime::watcher::{self, watcher},
};
use std::{collections::BTreeSet, sync::Arc};
use tokio::sync::watch::Receiver;
use tracing::warn;

/// The number of objects in one response to a list.
const PAGE: u32 = 100;

/// The state of the first lists.
pub(crate) struct Watched {
    always: Vec<Receiver<bool>>,
    pods: Receiver<bool>,
    nodes: Receiver<bool>,
    placement: Placement,
}

impl Watched {
    /// Waits until every watch has read its first list, except for watches without a demand.
    pub(crate) async fn filled(self) {
        let Self { mut always, pods, nodes, placement } = self;
        for list in &mut always {
            first_list(list).await;
        }
        // The list of JobSets decides the demand.
        let (needs_pods, needs_nodes) = (needs_pods(&placement), needs_nodes(&placement));
        for (mut list, _) in
            [(pods, needs_pods), (nodes, needs_nodes)].into_iter().filter(|(_, needed)| *needed)
        {
            first_list(&mut list).await;
        }
    }
}

async fn first_list(filled: &mut Receiver<bool>) {
    // A watch ends only at the end of the process.
    let _ = filled.wait_for(|filled| *filled).await;
}

/// Starts the watches. Each event requeues the JobSets that it concerns. `verify` receives the Jobs that a list does
/// not contain and that may exist.
pub(crate) fn start(
    client: &Client,
    index: &Index,
    placement: &Placement,
    requeue: &Requeue,
    gates: &Gates,
    verify: impl Fn(UnconfirmedJob) + Send + Sync + 'static,
) -> Watched {
    // A page of a list is in memory several times while it is decoded. Objects have some kilobytes.
    let all = watcher::Config::default().page_size(PAGE);
    let of_jobsets = all.clone().labels(labels::JOBSET_NAME);
    let feeder = Feeder {
        index: index.clone(),
        placement: placement.clone(),
        requeue: requeue.clone(),
        gates: gates.clone(),
        verify: Arc::new(verify),
    };

    let jobsets = watcher(Api::<Decoded<JobSet>>::all(client.clone()), all.clone());
    // No label selector: a Job without labels is a child too if a JobSet owns it.
    let jobs = watcher(Api::<Decoded<ChildJob>>::all(client.clone()), all.clone());
    let services = watcher(Api::<ObservedService>::all(client.clone()), all.clone());
    let claims =
        watcher(Api::<PartialObjectMeta<PersistentVolumeClaim>>::all(client.clone()), of_jobsets.clone());
    let pods = Api::<ObservedPod>::all(client.clone());
    let nodes = Api::<ObservedNode>::all(client.clone());
    if gates.workload_aware_scheduling {
        scheduling_watch::start(client, index, requeue, placement.demand.scheduling());
    }
    Watched {
        always: vec![
            run_watch("JobSets", jobsets, feeder.clone().jobsets()),
            run_watch("Jobs", jobs, feeder.clone().jobs()),
            run_watch("Services", services, feeder.clone().services()),
            run_watch("claims", claims, feeder.clone().claims()),
        ],
        pods: run_watch_on_demand(
            "pods of JobSets",
            placement.demand.pods(),
            |demand| *demand != PodDemand::None,
            move || watcher(pods.clone(), of_jobsets.clone()),
            feeder.clone().pods(),
        ),
        nodes: run_watch_on_demand(
            "nodes",
            placement.demand.keys(),
            |keys| !keys.is_empty(),
            move || watcher(nodes.clone(), all.clone()),
            feeder.nodes(),
        ),
        placement: placement.clone(),
    }
}

fn needs_pods(placement: &Placement) -> bool {
    *placement.demand.pods().borrow() != PodDemand::None
}

fn needs_nodes(placement: &Placement) -> bool {
    !placement.demand.keys().borrow().is_empty()
}

fn end_pod(pods: &Pods, pod: &ObservedPod) -> Option<PodChange> {
    pods.end(pod.metadata.uid.as_deref()?)
}

#[derive(Clone)]
struct Feeder {
    index: Index,
    placement: Placement,
    requeue: Requeue,
    gates: Gates,
    verify: Arc<dyn Fn(UnconfirmedJob) + Send + Sync>,
}

impl Feeder {
    fn jobsets(self) -> impl FnMut(Change<Decoded<JobSet>>) {
        // The demand of a list is determined at its end, so that the watch of nodes starts with all keys.
        let mut listing = false;
        move |change| match change {
            Change::ListBegins => {
                listing = true;
                self.index.begin_list(Kind::JobSets);
            }
            Change::ListEnds => {
                listing = false;
                self.finish_list(Kind::JobSets);
                let keys = self.index.topology_keys();
                self.placement.demand.topologies(keys.iter().map(String::as_str), || keys.clone());
            }
            Change::Applied(Decoded(Ok(jobset))) => {
                let no_longer_needed = self.demand_pods(&jobset);
                if self.gates.workload_aware_scheduling && jobset.spec.scheduling.is_some() {
                    self.placement.demand.scheduling_objects();
                }
                let keys: Vec<String> =
                    if listing { Vec::new() } else { topology_keys(&jobset).map(str::to_owned).collect() };
                self.requeue.add(self.index.apply_jobset(&jobset, Source::Watch));
                if let Some(metadata) = no_longer_needed {
                    self.placement.pods.release(&metadata);
                }
                let keys = keys.iter().map(String::as_str);
                self.placement.demand.topologies(keys, || self.index.topology_keys());
            }
            Change::Applied(Decoded(Err(invalid))) => {
                let (namespace, name) = (invalid.metadata.namespace, invalid.metadata.name);
                invalid.metadata.uid.iter().for_each(|uid| self.index.unreadable_jobset(uid));
                let error = invalid.error;
                warn!(?namespace, ?name, %error, "cannot decode the JobSet, ignoring it until it changes");
            }
            Change::Deleted(guard) => {
                if let Some(uid) = &guard.meta().uid {
                    self.index.end_jobset(uid);
                    self.requeue.add([uid.clone()]);
                }
            }
        }
    }

    fn jobs(self) -> impl FnMut(Change<Decoded<ChildJob>>) {
        move |change| match change {
            Change::ListBegins => self.index.begin_list(Kind::Jobs),
            Change::ListEnds => self.finish_list(Kind::Jobs),
            Change::Applied(Decoded(Ok(job))) => {
                self.requeue.add(self.index.apply_job(&job, Source::Watch));
            }
            Change::Applied(Decoded(Err(invalid))) => {
                invalid.metadata.uid.iter().for_each(|uid| self.index.unreadable_job(uid));
                let (name, error) = (invalid.metadata.name, invalid.error);
                warn!(?name, %error, "cannot decode the Job, keeping its last record");
            }
            Change::Deleted(guard) => {
                self.requeue.add(guard.meta().uid.as_deref().and_then(|uid| self.index.end_job(uid)));
            }
        }
    }

    fn services(self) -> impl FnMut(Change<ObservedService>) {
        move |change| match change {
            Change::ListBegins => self.index.begin_list(Kind::Services),
            Change::ListEnds => self.finish_list(Kind::Services),
            Change::Applied(service) => {
                let changed = self.index.apply_service(&service, Source::Watch);
                // A cluster has many Services, so only the leader searches for the JobSets that use one.
                if let Some(key) = changed.filter(|_| self.requeue.leads()) {
                    self.requeue.add(self.index.users_of(Kind::Services, &key));
                }
            }
            Change::Deleted(service) => self.end_named(Kind::Services, service.metadata.uid.as_deref()),
        }
    }

    fn claims(self) -> impl FnMut(Change<PartialObjectMeta<PersistentVolumeClaim>>) {
        move |change| match change {
            Change::ListBegins => self.index.begin_list(Kind::Claims),
            Change::ListEnds => self.finish_list(Kind::Claims),
            Change::Applied(claim) => self.index.apply_claim(&claim.metadata, Source::Watch),
            Change::Deleted(claim) => self.end_named(Kind::Claims, claim.metadata.uid.as_deref()),
        }
    }

    fn pods(self) -> impl FnMut(Change<ObservedPod>) {
        let demand = self.placement.demand.pods();
        let pods = self.placement.pods.clone();
        move |change| match change {
            Change::ListBegins => {
                if *demand.borrow() == PodDemand::All {
                    pods.keep_all();
                }
                pods.begin_list();
            }
            Change::ListEnds => {
                pods.finish_list().iter().for_each(|change| self.pod_changed(change));
                self.placement.demand.pods_are_listed();
            }
            Change::Applied(pod) => {
                let change =
                    if self.needs(&pod) { pods.apply(&pod, Source::Watch) } else { end_pod(&pods, &pod) };
                if let Some(change) = change {
                    self.requeue_repair(&change);
                    self.pod_changed(&change);
                }
            }
            Change::Deleted(pod) => {
                if let Some(change) = end_pod(&pods, &pod) {
                    self.pod_changed(&change);
                }
            }
        }
    }

    /// Requeues the Job of a pod if its followers may be misplaced, and the JobSets whose leaders wait for a node.
    fn requeue_repair(&self, change: &PodChange) {
        if let Some(job) = self.placement.needs_repair(change) {
            self.requeue.repair(job);
        }
        self.requeue.add(self.placement.changes_waiting(change));
    }

    /// Requests the pods of a JobSet that restarts in place. Returns the metadata of another JobSet, whose pods were kept
    /// while the JobSet was unknown.
    fn demand_pods(&self, jobset: &JobSet) -> Option<ObjectMeta> {
        if !self.gates.in_place_restart {
            return None;
        }
        if !restarts_in_place(jobset) {
            let ObjectMeta { namespace, name, uid, .. } = jobset.metadata.clone();
            return Some(ObjectMeta { namespace, name, uid, ..ObjectMeta::default() });
        }
        self.placement.demand.all_pods();
        None
    }

    /// Whether exclusive placement or in-place restart needs the pod. The pod of an unknown JobSet may restart in place.
    fn needs(&self, pod: &ObservedPod) -> bool {
        let restarts_in_place =
            || pod.jobset_uid().is_none_or(|uid| self.index.restarts_in_place(uid).unwrap_or(true));
        pod.topology().is_some() || self.gates.in_place_restart && restarts_in_place()
    }

    /// Requeues the JobSet of a pod if its next plan can differ.
    fn pod_changed(&self, change: &PodChange) {
        if change.ends_waits() {
            self.placement.changed.notify_waiters();
        }
        let Gates { in_place_restart, leader_first_placement, .. } = self.gates;
        let moves_leader = leader_first_placement && change.moves_leader();
        let changes_report = in_place_restart && change.changes_report();
        if !moves_leader && !changes_report {
            return;
        }
        for uid in change.jobsets().map(ToString::to_string) {
            if moves_leader || self.index.restarts_in_place(&uid) == Some(true) {
                self.requeue.add([uid]);
            }
        }
    }

    fn nodes(self) -> impl FnMut(Change<ObservedNode>) {
        let Placement { nodes, demand, changed, .. } = self.placement;
        let keys = demand.keys();
        let mut listing = BTreeSet::new();
        move |change| {
            match change {
                Change::ListBegins => {
                    listing.clone_from(&keys.borrow());
                    nodes.begin_list(&listing);
                }
                Change::ListEnds => {
                    nodes.finish_list();
                    demand.nodes_are_listed(listing.clone());
                }
                Change::Applied(node) => nodes.apply(node),
                Change::Deleted(node) => node.metadata.name.iter().for_each(|name| nodes.end(name)),
            }
            changed.notify_waiters();
        }
    }

    fn end_named(&self, kind: Kind, uid: Option<&str>) {
        self.requeue.add(uid.map(|uid| self.index.end_named(kind, uid)).unwrap_or_default());
    }

    fn finish_list(&self, kind: Kind) {
        let (requeue, unconfirmed) = self.index.finish_list(kind);
        self.requeue.add(requeue);
        for job in unconfirmed {
            (self.verify)(job);
        }
    }
}

#[cfg(test)]
#[path = "watch_test.rs"]
mod tests;
