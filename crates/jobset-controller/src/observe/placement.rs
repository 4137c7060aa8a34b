//! The inputs of exclusive placement: pods, the labels of nodes, and the demand for both.

use super::{demand::Demand, nodes::Nodes, pods::Pods};
use jobset_plan::pod_admission::{Domain, LeaderPod, PlacementView};
use std::sync::Arc;

/// The pods and nodes that exclusive placement needs. Clones share the state.
#[derive(Clone, Default)]
pub struct Placement {
    pub(crate) pods: Pods,
    pub(crate) nodes: Nodes,
    pub(crate) demand: Arc<Demand>,
}

impl Placement {
    /// The number of objects of each kind.
    pub(crate) fn sizes(&self) -> [(&'static str, usize); 2] {
        [("Pod", self.pods.len()), ("Node", self.nodes.len())]
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
