//! Repairs of exclusive placement with a late watch and lost responses. The decision, the index and the requests are
//! those of the controller; the loop reproduces `repair.rs` of the controller.
//!
//! The rule: the controller deletes only pods that are outside the domain of the leader of their own Job, marks each of
//! them before, and at the end none is left.

use crate::{
    api_server::Refusal,
    eviction::{Eviction, Request},
    observe::{Nodes, ObservedPod, Pods, Source},
};
use jobset_api::labels;
use jobset_plan::{PodGroup, Repair, repair};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

const TOPOLOGY: &str = "rack";

/// A planted bug.
#[derive(Clone, Copy, PartialEq)]
enum Bug {
    /// Leaders and followers are matched by the name of their Job, not by its UID.
    MatchedByName,
    /// The leader is not read before pods are deleted.
    LeaderNotConfirmed,
    /// A pod whose mark has no response is deleted all the same.
    MarkIgnored,
}

/// Pods on the API server, and the view of the controller.
struct Cluster {
    server: BTreeMap<String, Value>,
    version: u32,
    pods: Pods,
    nodes: Nodes,
    bug: Option<Bug>,
    /// UIDs of the deleted pods, in order. A pod without the condition ends in `!`.
    deleted: Vec<String>,
    /// The number of requests that the API server received.
    requests: u32,
    /// The number of the request that gets no response, and whether the API server executes it.
    loses: Option<(u32, bool)>,
}

impl Cluster {
    fn new(bug: Option<Bug>) -> Self {
        let (pods, nodes) = (Pods::default(), Nodes::default());
        nodes.begin_list(&[TOPOLOGY.to_owned()].into());
        for name in ["a", "b"] {
            let metadata =
                json!({"name": format!("node-{name}"), "labels": {TOPOLOGY: format!("rack-{name}")}});
            nodes.apply(serde_json::from_value(json!({"metadata": metadata})).unwrap());
        }
        nodes.finish_list();
        let (server, deleted) = (BTreeMap::new(), Vec::new());
        Self { server, version: 0, pods, nodes, bug, deleted, requests: 0, loses: None }
    }

    /// Stores a pod of this Job on the API server: a leader on a node, or a follower that selects a domain.
    fn store(&mut self, uid: &str, job: &str, index: u32, place: &str) {
        self.version += 1;
        let spec =
            if index == 0 { json!({"nodeName": place}) } else { json!({"nodeSelector": {TOPOLOGY: place}}) };
        // To match by name means that the Jobs of one name are one Job.
        let job = if self.bug == Some(Bug::MatchedByName) { "train-w-0" } else { job };
        let owner = json!({"apiVersion": "batch/v1", "kind": "Job", "name": "train-w-0", "uid": job, "controller": true});
        let pod = json!({
            "metadata": {
                "name": format!("train-w-0-{index}-{uid}"), "namespace": "team", "uid": uid,
                "resourceVersion": self.version.to_string(),
                "labels": {labels::JOBSET_NAME: "train"},
                "annotations": {
                    labels::EXCLUSIVE_TOPOLOGY: TOPOLOGY, labels::JOB_COMPLETION_INDEX: index.to_string(),
                },
                "ownerReferences": [owner],
            },
            "spec": spec,
            "status": {"phase": "Running", "conditions": []},
        });
        self.server.insert(uid.to_owned(), pod);
    }

    /// The watch delivers these pods.
    fn watch(&self, uids: &[&str]) {
        for uid in uids {
            self.pods.apply(&observed(&self.server[*uid]), Source::Watch);
        }
    }

    fn find(&self, name: &str) -> Result<String, Refusal> {
        let found = self.server.iter().find(|(_, pod)| pod["metadata"]["name"] == name);
        found.map(|(uid, _)| uid.clone()).ok_or(Refusal::NotFound)
    }

    /// Sends a request. The index stores the response.
    fn send(&mut self, eviction: &Eviction) -> Result<(), Refusal> {
        self.requests += 1;
        let lost = self.loses.filter(|(number, _)| *number == self.requests);
        if lost.is_some_and(|(_, executes)| !executes) {
            return Err(Refusal::NoAnswer);
        }
        let uid = self.find(&eviction.pod)?;
        match &eviction.request {
            Request::Mark(patch) => {
                self.version += 1;
                let pod = self.server.get_mut(&uid).unwrap();
                assert_eq!(patch["metadata"]["uid"], uid);
                pod["status"]["conditions"] = patch["status"]["conditions"].clone();
                pod["metadata"]["resourceVersion"] = self.version.to_string().into();
            }
            Request::Delete { uid: expected } => {
                if uid != *expected {
                    return Err(Refusal::Conflict);
                }
                let pod = self.server.remove(&uid).unwrap();
                let marked = pod["status"]["conditions"][0]["reason"] == "ExclusivePlacementViolation";
                self.deleted.push(format!("{uid}{}", if marked { "" } else { "!" }));
            }
        }
        if lost.is_some() {
            return Err(Refusal::NoAnswer);
        }
        if let Some(pod) = self.server.get(&uid) {
            self.pods.apply(&observed(pod), Source::Answer);
        }
        Ok(())
    }

    fn decide(&self, group: &PodGroup) -> Repair {
        repair(group, &self.pods.of_group(group), |node, key| self.nodes.domain(node, key))
    }

    /// One repair of the Job of this pod. Returns whether a request failed.
    fn repair_once(&mut self, group: &PodGroup) -> bool {
        if let Repair::Evict { leader, .. } = self.decide(group)
            && self.bug != Some(Bug::LeaderNotConfirmed)
        {
            match self.server.get(&leader.uid.to_string()) {
                Some(pod) => drop(self.pods.apply(&observed(pod), Source::Answer)),
                None => drop(self.pods.end(&leader.uid.to_string())),
            }
        }
        let Repair::Evict { followers, .. } = self.decide(group) else { return false };
        let mut failed = false;
        for pod in followers {
            let mut next = Some(Eviction::new(&pod, "2026-11-28T02:00:00Z".parse().unwrap()));
            while let Some(eviction) = next.take() {
                let mut answer = self.send(&eviction);
                if self.bug == Some(Bug::MarkIgnored) && matches!(eviction.request, Request::Mark(_)) {
                    answer = Ok(());
                }
                match eviction.answered(answer) {
                    Ok(None) => self.pods.deletion_began(&pod.uid),
                    Ok(following) => next = following,
                    Err(_) => failed = true,
                }
            }
        }
        failed
    }

    /// Repairs the Job of this pod until no request fails. Returns the deleted pods in order of their UIDs.
    fn repair(&mut self, uid: &str) -> Vec<&str> {
        let group = self.group(uid);
        while self.repair_once(&group) {}
        self.deleted.sort();
        self.deleted.iter().map(String::as_str).collect()
    }

    fn group(&self, uid: &str) -> Arc<PodGroup> {
        let all = self.pods.placed_groups().into_iter();
        let mut of_pod =
            all.filter(|group| self.pods.of_group(group).iter().any(|pod| pod.uid == uid.into()));
        of_pod.next().expect("the watch delivered the pod")
    }
}

fn observed(pod: &Value) -> ObservedPod {
    serde_json::from_value(pod.clone()).unwrap()
}

/// #341: the leader died, the leader of another JobSet took its domain, and its successor got another domain. The
/// followers stayed in the old domain.
fn replaced_leader(bug: Option<Bug>) -> Cluster {
    let mut cluster = Cluster::new(bug);
    cluster.store("new", "job", 0, "node-b");
    cluster.store("f1", "job", 1, "rack-a");
    cluster.store("f2", "job", 2, "rack-a");
    cluster.store("other", "another-job", 1, "rack-a");
    cluster.watch(&["f1", "f2", "other", "new"]);
    cluster
}

#[test]
fn followers_in_the_domain_of_an_earlier_leader_are_evicted() {
    let mut cluster = replaced_leader(None);
    assert_eq!(cluster.repair("new"), ["f1", "f2"]);
    assert_eq!(cluster.requests, 4, "a mark and a deletion for each pod");
    // The Job controller creates them again, before the watch delivers their deletion.
    cluster.store("f3", "job", 1, "rack-b");
    cluster.watch(&["f3"]);
    assert_eq!(cluster.repair("new"), ["f1", "f2"], "the new follower stays");
}

/// #1269: followers are in another domain, and the node of the leader does not exist.
#[test]
fn no_follower_is_evicted_while_the_domain_is_unknown() {
    let mut cluster = replaced_leader(None);
    cluster.nodes.end("node-b");
    assert_eq!(cluster.repair("new"), [""; 0]);
    assert!(matches!(cluster.decide(&cluster.group("new")), Repair::Later(_)));
}

/// A lost response ends in the same state, whether the API server executed the request or not.
#[test]
fn lost_responses_evict_the_same_pods() {
    for number in 1..=5 {
        for executes in [false, true] {
            let mut cluster = replaced_leader(None);
            cluster.loses = Some((number, executes));
            assert_eq!(cluster.repair("new"), ["f1", "f2"], "request {number}, executed: {executes}");
        }
    }
    let mut with_bug = replaced_leader(Some(Bug::MarkIgnored));
    with_bug.loses = Some((1, false));
    assert_ne!(with_bug.repair("new"), ["f1", "f2"], "the planted bug is found");
}

/// The watch has not delivered the new leader and the deletion of the old one. Admission of another replica has placed
/// followers with the new leader.
fn late_watch(bug: Option<Bug>) -> Cluster {
    let mut cluster = Cluster::new(bug);
    cluster.store("old", "job", 0, "node-a");
    cluster.watch(&["old"]);
    cluster.server.remove("old");
    cluster.store("new", "job", 0, "node-b");
    cluster.store("f1", "job", 1, "rack-b");
    cluster.watch(&["f1"]);
    cluster
}

#[test]
fn followers_of_a_leader_that_the_watch_has_not_delivered_stay() {
    assert_eq!(late_watch(None).repair("f1"), [""; 0]);
    assert_eq!(late_watch(Some(Bug::LeaderNotConfirmed)).repair("f1"), ["f1"], "the planted bug is found");
}

/// #433: after a restart, the leader of the previous Job still runs in another domain.
fn previous_job(bug: Option<Bug>) -> Cluster {
    let mut cluster = Cluster::new(bug);
    cluster.store("old", "old-job", 0, "node-a");
    cluster.store("f1", "new-job", 1, "rack-b");
    cluster.watch(&["old", "f1"]);
    cluster
}

#[test]
fn a_leader_of_the_previous_job_evicts_nothing() {
    for uid in ["old", "f1"] {
        assert_eq!(previous_job(None).repair(uid), [""; 0]);
    }
    assert_eq!(previous_job(Some(Bug::MatchedByName)).repair("f1"), ["f1"], "the planted bug is found");
}
