//! The index of nodes: of each node, the values of the labels that some JobSet names as its topology key.
//!
//! A list of nodes has the keys that were known when it began. A key that appears later needs another list. Until that
//! list is complete, the index answers for the key that it does not know, and never that a node has no such label.

use super::shared_texts::SharedTexts;
use jobset_api::metadata::without_managed_fields;
use jobset_plan::pod_admission::Domain;
use k8s_openapi::{api::core::v1::Node, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::Resource;
use serde::Deserialize;
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A node without the parts that no decision needs. Decoding skips them.
#[derive(Clone, Debug, Default, Deserialize, Resource)]
#[resource(inherit = "Node")]
pub(crate) struct ObservedNode {
    #[serde(deserialize_with = "without_managed_fields")]
    pub(crate) metadata: ObjectMeta,
}

/// The values of a node, one for each key.
type Values = Box<[Option<Arc<str>>]>;

/// Nodes with the values of the same label keys.
#[derive(Default)]
struct Labelled {
    keys: Vec<Box<str>>,
    nodes: HashMap<Box<str>, Values>,
}

#[derive(Default)]
struct State {
    current: Labelled,
    /// While the watch reads a list: the nodes in it.
    listed: Option<Labelled>,
    texts: SharedTexts,
}

/// The index. Clones share the state.
#[derive(Clone, Default)]
pub(crate) struct Nodes(Arc<Mutex<State>>);

impl Nodes {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of nodes.
    pub(crate) fn len(&self) -> usize {
        self.state().current.nodes.len()
    }

    /// Begins a list, with these label keys.
    pub(crate) fn begin_list(&self, keys: &BTreeSet<String>) {
        let keys = keys.iter().map(|key| key.as_str().into()).collect();
        self.state().listed = Some(Labelled { keys, nodes: HashMap::new() });
    }

    /// Completes a list: it replaces all nodes.
    pub(crate) fn finish_list(&self) {
        let mut state = self.state();
        if let Some(listed) = state.listed.take() {
            state.current = listed;
        }
    }

    /// Stores a node.
    pub(crate) fn apply(&self, node: ObservedNode) {
        let Some(name) = node.metadata.name else { return };
        let labels = node.metadata.labels.unwrap_or_default();
        let State { current, listed, texts } = &mut *self.state();
        let into = listed.as_mut().unwrap_or(current);
        let values = into.keys.iter().map(|key| labels.get(&**key).map(|value| texts.share(value))).collect();
        into.nodes.insert(name.into(), values);
    }

    /// Removes a deleted node.
    pub(crate) fn end(&self, name: &str) {
        self.state().current.nodes.remove(name);
    }

    /// The domain of a node, by the label `key`.
    pub(crate) fn domain(&self, node: &str, key: &str) -> Domain {
        let state = self.state();
        let Some(position) = state.current.position(key) else { return Domain::Unknown };
        let Some(values) = state.current.nodes.get(node) else { return Domain::NoNode };
        let value = values.get(position).and_then(Option::as_ref);
        value.map_or(Domain::NoLabel, |value| Domain::Value(value.to_string()))
    }

    /// Whether a node has the label `key`.
    pub(crate) fn has(&self, key: &str) -> bool {
        let State { current, .. } = &*self.state();
        let Some(position) = current.position(key) else { return false };
        current.nodes.values().any(|values| values.get(position).is_some_and(Option::is_some))
    }

    /// The number of nodes that have the label `key`, and the number of all nodes. None if the nodes have not been
    /// listed with this key.
    pub(crate) fn count(&self, key: &str) -> Option<(usize, usize)> {
        let state = self.state();
        let position = state.current.position(key)?;
        let nodes = state.current.nodes.values();
        let with_label = nodes.filter(|values| values.get(position).is_some_and(Option::is_some));
        Some((with_label.count(), state.current.nodes.len()))
    }
}

impl Labelled {
    fn position(&self, key: &str) -> Option<usize> {
        self.keys.iter().position(|known| **known == *key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, labels: &str) -> ObservedNode {
        serde_yaml::from_str(&format!("metadata: {{name: {name}, labels: {labels}}}")).unwrap()
    }

    fn list(nodes: &Nodes, keys: &[&str], all: &[(&str, &str)]) {
        nodes.begin_list(&keys.iter().map(|key| (*key).to_owned()).collect());
        for (name, labels) in all {
            nodes.apply(node(name, labels));
        }
        nodes.finish_list();
    }

    #[test]
    fn labels_of_nodes_are_their_domains() {
        let nodes = Nodes::default();
        assert_eq!(nodes.domain("n1", "rack"), Domain::Unknown);
        list(&nodes, &["rack"], &[("n1", "{rack: r1, zone: z1}"), ("n2", "{}")]);
        let value = |value: &str| Domain::Value(value.to_owned());
        assert_eq!(nodes.domain("n1", "rack"), value("r1"));
        assert_eq!(nodes.domain("n2", "rack"), Domain::NoLabel);
        assert_eq!(nodes.domain("n3", "rack"), Domain::NoNode);
        nodes.apply(node("n2", "{rack: r2}"));
        assert_eq!((nodes.domain("n2", "rack"), nodes.count("rack")), (value("r2"), Some((2, 2))));
        nodes.end("n2");
        assert_eq!((nodes.domain("n2", "rack"), nodes.count("rack")), (Domain::NoNode, Some((1, 1))));
        list(&nodes, &["rack"], &[("n3", "{rack: r3}")]);
        assert_eq!((nodes.domain("n1", "rack"), nodes.len()), (Domain::NoNode, 1));
    }

    #[test]
    fn a_key_is_unknown_until_the_nodes_are_listed_with_it() {
        let nodes = Nodes::default();
        let labels = "{rack: r1, zone: z1}";
        list(&nodes, &["rack"], &[("n1", labels)]);
        assert_eq!((nodes.domain("n1", "zone"), nodes.count("zone")), (Domain::Unknown, None));
        assert_eq!(nodes.domain("gone", "zone"), Domain::Unknown);
        nodes.begin_list(&["rack".to_owned(), "zone".to_owned()].into());
        nodes.apply(node("n1", labels));
        assert_eq!(nodes.domain("n1", "zone"), Domain::Unknown, "the list is not complete");
        assert_eq!(nodes.domain("n1", "rack"), Domain::Value("r1".into()), "the list before it counts");
        nodes.finish_list();
        assert_eq!(nodes.domain("n1", "zone"), Domain::Value("z1".into()));
    }

    #[test]
    fn a_node_takes_at_most_120_bytes() {
        let nodes = Nodes::default();
        nodes.begin_list(&["cloud.google.com/gke-nodepool".to_owned()].into());
        let count = 15_000;
        for number in 0..count {
            let labels = format!("{{cloud.google.com/gke-nodepool: pool-{}}}", number / 16);
            nodes.apply(node(&format!("gke-cluster-7-pool-{number}"), &labels));
        }
        nodes.finish_list();
        let state = nodes.state();
        let table = |capacity: usize, entry: usize| (capacity * 8).div_ceil(7) * (entry + 1);
        let own = state.current.nodes.iter().map(|(name, values)| name.len() + size_of_val(&**values));
        let (texts, room) = state.texts.stored();
        let bytes = own.sum::<usize>()
            + table(state.current.nodes.capacity(), size_of::<(Box<str>, Values)>())
            + texts.map(|text| 16 + text.len()).sum::<usize>()
            + table(room, size_of::<Arc<str>>());
        println!("{} bytes for each node", bytes / count);
        assert!((40..=120).contains(&(bytes / count)), "{} bytes for each node", bytes / count);
    }
}
