//! The inputs of exclusive placement: leader pods by name, and the labels of nodes.

use super::versioned::{Source, Versioned};
use jobset_api::labels;
use jobset_plan::pod_admission::{Domain, LeaderPod, PlacementView, controller_uid};
use k8s_openapi::{
    api::core::v1::{Node, Pod},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Resource, core::PartialObjectMeta};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A pod without the parts that no decision needs. Decoding skips them.
#[derive(Clone, Debug, Default, Deserialize, Resource)]
#[resource(inherit = "Pod")]
#[serde(default)]
pub(crate) struct PlacedPod {
    metadata: ObjectMeta,
    spec: Spec,
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    phase: String,
}

impl PlacedPod {
    /// Whether other pods may follow this pod: a pod with exclusive placement that has not ended and is not being
    /// deleted.
    fn is_active_leader(&self) -> bool {
        let has = |key: &str| self.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(key));
        has(labels::EXCLUSIVE_TOPOLOGY)
            && self.metadata.deletion_timestamp.is_none()
            && !matches!(self.status.phase.as_str(), "Failed" | "Succeeded")
    }
}

/// Namespace, and name without the random suffix.
type Base = (String, String);

#[derive(Default)]
struct State {
    leaders: Versioned<(Base, Option<LeaderPod>)>,
    by_base: HashMap<Base, HashSet<String>>,
    nodes: HashMap<String, Arc<BTreeMap<String, String>>>,
    listed_nodes: Option<HashSet<String>>,
}

/// The leader pods and nodes that exclusive placement needs. Clones share the state.
#[derive(Clone, Default)]
pub struct Placement(Arc<Mutex<State>>);

impl Placement {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores a pod with completion index 0.
    pub(crate) fn apply_pod(&self, pod: &PlacedPod) {
        let metadata = &pod.metadata;
        let (Some(uid), Some(version), Some(name)) =
            (&metadata.uid, &metadata.resource_version, &metadata.name)
        else {
            return;
        };
        // The Job controller names pods <job>-<index>-<random>.
        let Some((base, _)) = name.rsplit_once('-') else { return };
        let base = (metadata.namespace.clone().unwrap_or_default(), base.to_owned());
        let leader = pod.is_active_leader().then(|| LeaderPod {
            name: name.clone(),
            owner_uid: controller_uid(metadata).map(str::to_owned),
            node: pod.spec.node_name.clone(),
        });
        let mut state = self.state();
        if state.leaders.apply(uid, version, Source::Watch, (base.clone(), leader)).is_ok() {
            state.by_base.entry(base).or_default().insert(uid.clone());
        }
    }

    /// The number of objects of each kind.
    pub(crate) fn sizes(&self) -> [(&'static str, usize); 2] {
        let state = self.state();
        [("Pod", state.leaders.len()), ("Node", state.nodes.len())]
    }

    /// Removes a deleted pod.
    pub(crate) fn end_pod(&self, uid: &str) {
        let mut state = self.state();
        if let Some((base, _)) = state.leaders.end(uid)
            && let Some(uids) = state.by_base.get_mut(&base)
        {
            uids.remove(uid);
            if uids.is_empty() {
                state.by_base.remove(&base);
            }
        }
    }

    pub(crate) fn begin_pods(&self) {
        self.state().leaders.begin_list();
    }

    pub(crate) fn finish_pods(&self) {
        let (gone, _) = self.state().leaders.finish_list();
        for uid in gone {
            self.end_pod(&uid);
        }
    }

    /// Stores a node.
    pub(crate) fn apply_node(&self, node: PartialObjectMeta<Node>) {
        let Some(name) = node.metadata.name else { return };
        let mut state = self.state();
        if let Some(listed) = &mut state.listed_nodes {
            listed.insert(name.clone());
        }
        state.nodes.insert(name, Arc::new(node.metadata.labels.unwrap_or_default()));
    }

    /// Removes a deleted node.
    pub(crate) fn end_node(&self, name: &str) {
        self.state().nodes.remove(name);
    }

    pub(crate) fn begin_nodes(&self) {
        self.state().listed_nodes = Some(HashSet::new());
    }

    pub(crate) fn finish_nodes(&self) {
        let mut state = self.state();
        if let Some(listed) = state.listed_nodes.take() {
            state.nodes.retain(|name, _| listed.contains(name));
        }
    }
}

impl PlacementView for Placement {
    fn leaders(&self, namespace: &str, base: &str) -> Vec<LeaderPod> {
        let state = self.state();
        let uids = state.by_base.get(&(namespace.to_owned(), base.to_owned()));
        uids.into_iter().flatten().filter_map(|uid| state.leaders.get(uid)?.1.clone()).collect()
    }

    fn domain(&self, node: &str, topology_key: &str) -> Domain {
        let Some(labels) = self.state().nodes.get(node).cloned() else { return Domain::NoNode };
        labels.get(topology_key).map_or(Domain::NoLabel, |value| Domain::Value(value.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, version: &str, rest: &str) -> PlacedPod {
        serde_yaml::from_str(&format!(
            "
metadata:
  name: train-worker-0-0-{uid}
  namespace: team
  uid: {uid}
  resourceVersion: '{version}'
  annotations: {{alpha.jobset.sigs.k8s.io/exclusive-topology: rack}}
  ownerReferences: [{{apiVersion: batch/v1, kind: Job, name: j, uid: job, controller: true}}]
{rest}"
        ))
        .unwrap()
    }

    #[test]
    fn only_active_pods_lead() {
        let placement = Placement::default();
        let leaders = || {
            let mut names: Vec<_> = placement
                .leaders("team", "train-worker-0-0")
                .into_iter()
                .map(|pod| (pod.name, pod.node))
                .collect();
            names.sort();
            names
        };
        let is = |uid: &str, node: &str| (format!("train-worker-0-0-{uid}"), node.to_owned());
        placement.apply_pod(&pod("first", "1", "spec: {nodeName: n1}"));
        assert_eq!(leaders(), [is("first", "n1")]);
        placement.apply_pod(&pod("first", "2", "spec: {nodeName: n1}\nstatus: {phase: Failed}"));
        placement.apply_pod(&pod("second", "3", ""));
        assert_eq!(leaders(), [is("second", "")]);
        placement.apply_pod(&pod("first", "1", "spec: {nodeName: n1}"));
        assert_eq!(leaders(), [is("second", "")], "an older version is ignored");
        placement.begin_pods();
        placement.finish_pods();
        assert!(leaders().is_empty());
    }

    #[test]
    fn the_labels_of_nodes_name_their_domains() {
        let placement = Placement::default();
        let node = |name: &str, labels: &str| -> PartialObjectMeta<Node> {
            serde_yaml::from_str(&format!("metadata: {{name: {name}, labels: {labels}}}")).unwrap()
        };
        placement.apply_node(node("n1", "{rack: r1}"));
        placement.apply_node(node("n2", "{}"));
        assert_eq!(placement.domain("n1", "rack"), Domain::Value("r1".into()));
        assert_eq!(placement.domain("n2", "rack"), Domain::NoLabel);
        placement.begin_nodes();
        placement.apply_node(node("n1", "{rack: r1}"));
        placement.finish_nodes();
        assert_eq!(placement.domain("n2", "rack"), Domain::NoNode);
    }
}
