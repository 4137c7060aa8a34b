//! Which pods, which labels of nodes, and which Workloads and PodGroups the controller needs. A cluster without exclusive
//! placement, in-place restart and `spec.scheduling` needs none, so the controller does not watch them.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Mutex, PoisonError},
};
use tokio::sync::watch::{Receiver, Sender};

/// The number of keys to remember that were requested last. A pod can request a key before the watch delivers its
/// JobSet.
const REMEMBERED: usize = 16;

/// The pods that the controller needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PodDemand {
    /// None.
    #[default]
    None,
    /// The pods that exclusive placement places.
    Placed,
    /// Every pod of a JobSet.
    All,
}

/// The demand.
#[derive(Default)]
pub(crate) struct Demand {
    /// The keys that were requested last, the latest at the end.
    recent: Mutex<VecDeque<String>>,
    keys: Sender<BTreeSet<String>>,
    pods: Sender<PodDemand>,
    /// Whether a JobSet has `spec.scheduling`.
    scheduling: Sender<bool>,
    /// The keys with which the nodes are listed.
    listed_keys: Sender<BTreeSet<String>>,
    /// Whether the pods are listed.
    pods_listed: Sender<bool>,
}

impl Demand {
    /// Requests nodes with these topology keys, and the pods that exclusive placement places. `in_use` returns the keys
    /// of all JobSets. Keys that no JobSet uses any more are dropped together with the request of a new one.
    pub(crate) fn topologies<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a str>,
        in_use: impl FnOnce() -> BTreeSet<String>,
    ) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let missing: Vec<String> = {
            let known = self.keys.borrow();
            keys.into_iter().filter(|key| !known.contains(*key)).map(str::to_owned).collect()
        };
        if missing.is_empty() {
            return;
        }
        recent.extend(missing);
        while recent.len() > REMEMBERED {
            recent.pop_front();
        }
        let mut keys = in_use();
        keys.extend(recent.iter().cloned());
        self.keys.send_replace(keys);
        self.raise(PodDemand::Placed);
    }

    /// Requests every pod of a JobSet.
    pub(crate) fn all_pods(&self) {
        self.raise(PodDemand::All);
    }

    /// Requests the Workloads and PodGroups of JobSets.
    pub(crate) fn scheduling_objects(&self) {
        self.scheduling.send_if_modified(|requested| !std::mem::replace(requested, true));
    }

    fn raise(&self, demand: PodDemand) {
        self.pods.send_if_modified(|pods| {
            let raised = *pods < demand;
            *pods = demand.max(*pods);
            raised
        });
    }

    /// Reports that the list of nodes with these keys is complete.
    pub(crate) fn nodes_are_listed(&self, keys: BTreeSet<String>) {
        self.listed_keys.send_replace(keys);
    }

    /// Reports that the list of pods is complete.
    pub(crate) fn pods_are_listed(&self) {
        self.pods_listed.send_replace(true);
    }

    /// Waits until pods are listed, and nodes with this key. Does not wait if nothing watches them.
    pub(crate) async fn listed(&self, key: &str) {
        if self.keys.receiver_count() == 0 {
            return;
        }
        let (mut pods, mut keys) = (self.pods_listed.subscribe(), self.listed_keys.subscribe());
        // `self` has the senders, so waiting does not fail.
        let _ = pods.wait_for(|listed| *listed).await;
        let _ = keys.wait_for(|keys| keys.contains(key)).await;
    }

    /// The topology keys.
    pub(crate) fn keys(&self) -> Receiver<BTreeSet<String>> {
        self.keys.subscribe()
    }

    /// Whether the Workloads and PodGroups of JobSets are needed.
    pub(crate) fn scheduling(&self) -> Receiver<bool> {
        self.scheduling.subscribe()
    }

    /// The pods.
    pub(crate) fn pods(&self) -> Receiver<PodDemand> {
        self.pods.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::pin::pin;

    fn set(keys: &[&str]) -> BTreeSet<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    #[test]
    fn the_first_topology_requests_pods_and_nodes() {
        let demand = Demand::default();
        let (mut keys, mut pods) = (demand.keys(), demand.pods());
        demand.topologies([], || panic!("nothing is new"));
        assert!(!keys.has_changed().unwrap() && !pods.has_changed().unwrap());
        demand.topologies(["rack"], || set(&["rack"]));
        assert_eq!(
            (keys.borrow_and_update().clone(), *pods.borrow_and_update()),
            (set(&["rack"]), PodDemand::Placed)
        );
        demand.topologies(["rack"], || panic!("nothing is new"));
        demand.topologies(["zone"], || set(&["rack", "zone"]));
        assert_eq!(keys.borrow_and_update().clone(), set(&["rack", "zone"]));
        assert!(!pods.has_changed().unwrap(), "a new key needs no other pods");
        demand.all_pods();
        demand.topologies(["row"], || set(&["row"]));
        assert_eq!(*pods.borrow_and_update(), PodDemand::All);
    }

    #[test]
    fn a_request_waits_for_its_lists() {
        let demand = Demand::default();
        demand.listed("rack").now_or_never().expect("nothing watches");
        let _watch = demand.keys();
        let mut wait = pin!(demand.listed("rack"));
        assert!(wait.as_mut().now_or_never().is_none());
        demand.pods_are_listed();
        demand.nodes_are_listed(set(&["zone"]));
        assert!(wait.as_mut().now_or_never().is_none(), "without this key");
        demand.nodes_are_listed(set(&["rack", "zone"]));
        wait.now_or_never().expect("listed");
    }

    #[test]
    fn the_number_of_keys_is_bounded_by_those_in_use() {
        let demand = Demand::default();
        for number in 0..100 {
            demand.topologies([format!("key-{number}").as_str()], || set(&["in-use"]));
        }
        let keys = demand.keys().borrow().clone();
        assert_eq!(keys.len(), REMEMBERED + 1);
        assert!(keys.contains("in-use") && keys.contains("key-99"), "{keys:?}");
    }
}
