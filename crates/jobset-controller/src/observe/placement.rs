//! The inputs of exclusive placement: pods, the labels of nodes, and the demand for both.

use super::{
    demand::Demand,
    nodes::Nodes,
    pods::{PodChange, Pods},
};
use jobset_api::JobSet;
use jobset_plan::{
    PodGroup, PodRecord, TopologyRecord,
    pod_admission::{Domain, LeaderPod, PlacementView},
    topology_keys,
};
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::Notify;

/// The pods and nodes that exclusive placement needs. Clones share the state.
#[derive(Clone, Default)]
pub struct Placement {
    pub(crate) pods: Pods,
    pub(crate) nodes: Nodes,
    pub(crate) demand: Arc<Demand>,
    /// Notifies of leaders that got a node or that the scheduler cannot schedule, and of changed nodes.
    pub(crate) changed: Arc<Notify>,
}

impl Placement {
    /// The number of objects of each kind.
    pub(crate) fn sizes(&self) -> [(&'static str, usize); 2] {
        [("Pod", self.pods.len()), ("Node", self.nodes.len())]
    }

    /// The Job whose placement must be checked after a change of a pod: a leader got its node, or a follower appeared
    /// that is not in the domain of its leader. The cost does not depend on the number of pods.
    pub(crate) fn needs_repair(&self, change: &PodChange) -> Option<Arc<PodGroup>> {
        let pod = change.now.as_ref().filter(|pod| pod.is_active())?;
        let key = pod.group.topology.as_deref()?;
        pod.group.job.as_ref()?;
        let is_same = |before: &Arc<PodRecord>| {
            (&before.group, &before.node, &before.selected, before.index, before.is_active())
                == (&pod.group, &pod.node, &pod.selected, pod.index, true)
        };
        if change.before.as_ref().is_some_and(is_same) {
            return None;
        }
        let misplaced = if pod.is_leader() {
            pod.node.is_some()
        } else {
            let node = self.pods.leader_of(&pod.group)?.node.clone()?;
            let domain = self.nodes.domain(&node, key);
            !matches!(domain, Domain::Value(domain) if pod.selected.as_deref() == Some(&*domain))
        };
        misplaced.then(|| pod.group.clone())
    }

    /// UID of the JobSet that a change of a pod affects: one of its leaders begins or ceases to wait for a node, and no
    /// node has the topology key.
    pub(crate) fn changes_waiting(&self, change: &PodChange) -> Option<String> {
        let waits = |pod: &Arc<PodRecord>| pod.is_leader() && pod.is_active() && pod.node.is_none();
        let [before, now] = [&change.before, &change.now].map(|pod| pod.as_ref().is_some_and(waits));
        let group = &change.now.as_ref().or(change.before.as_ref())?.group;
        let key = group.topology.as_deref().filter(|_| before != now)?;
        group.jobset_uid.as_ref().filter(|_| !self.nodes.has(key)).map(ToString::to_string)
    }

    /// The topology keys of a JobSet for which one of its leaders waits for a node.
    pub(crate) fn topologies(&self, jobset: &JobSet) -> Vec<TopologyRecord> {
        let metadata = &jobset.metadata;
        let (Some(namespace), Some(name), Some(uid)) = (&metadata.namespace, &metadata.name, &metadata.uid)
        else {
            return Vec::new();
        };
        if topology_keys(jobset).next().is_none() {
            return Vec::new();
        }
        let mut pending = BTreeMap::new();
        for leader in
            self.pods.leaders_of_jobset(namespace, name).iter().filter(|leader| leader.node.is_none())
        {
            let PodGroup { topology, jobset_uid, .. } = &*leader.group;
            if let Some(key) = topology
                && jobset_uid.as_ref().is_some_and(|of| of.to_string() == *uid)
            {
                let since = pending.entry(key.to_string()).or_insert(leader.created_at());
                *since = leader.created_at().min(*since);
            }
        }
        let record = |(key, pending_since): (String, _)| {
            let nodes = self.nodes.count(&key);
            TopologyRecord { key, nodes, pending_since }
        };
        pending.into_iter().map(record).collect()
    }
}

impl PlacementView for Placement {
    fn leaders(&self, namespace: &str, base: &str) -> Vec<LeaderPod> {
        self.pods.active_leaders(namespace, base)
    }

    fn domain(&self, node: &str, topology_key: &str) -> Domain {
        self.nodes.domain(node, topology_key)
    }
}

#[cfg(test)]
#[path = "placement_test.rs"]
mod tests;
