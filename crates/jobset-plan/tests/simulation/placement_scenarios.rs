//! Races of exclusive placement from issues of kubernetes-sigs/jobset: how admission handles a follower while its
//! leader is replaced. The index of leaders and nodes is that of the controller.
//!
//! The Job controller creates a denied follower again. A race is therefore harmless if admission denies the follower
//! until the index contains its leader, and then places it in the domain of that leader.

use crate::observe::{Nodes, ObservedPod, Pods, Source};
use jobset_api::labels;
use jobset_plan::pod_admission::{Domain, LeaderPod, PlacementView, Refusal, mutate, validate};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

const TOPOLOGY: &str = "cloud.provider.com/rack";

/// The state of a leader.
#[derive(Clone, Copy, PartialEq)]
enum LeaderState {
    Running,
    Deleting,
    Failed,
}

/// The cluster as admission observes it.
#[derive(Default)]
struct Cluster {
    pods: Pods,
    nodes: Nodes,
    version: u32,
}

impl Cluster {
    /// A cluster with `node-a` in `rack-a`, and `node-b` in `rack-b`.
    fn new() -> Self {
        let cluster = Self::default();
        cluster.nodes.begin_list(&[TOPOLOGY.to_owned()].into());
        for name in ["a", "b"] {
            let labels = json!({TOPOLOGY: format!("rack-{name}")});
            let node = json!({"metadata": {"name": format!("node-{name}"), "labels": labels}});
            cluster.nodes.apply(serde_json::from_value(node).unwrap());
        }
        cluster.nodes.finish_list();
        cluster
    }

    /// The watch delivers a leader of the Job with this UID, on this node.
    fn observe(&mut self, leader: &str, job: &str, node: &str, state: LeaderState) {
        self.version += 1;
        self.observe_at(self.version, Source::Watch, leader, job, node, state);
    }

    fn observe_at(
        &self,
        version: u32,
        source: Source,
        leader: &str,
        job: &str,
        node: &str,
        state: LeaderState,
    ) {
        let mut pod = follower(job);
        let deleted = (state == LeaderState::Deleting).then_some("2026-03-01T09:00:00Z");
        pod["metadata"]["name"] = format!("train-worker-0-0-{leader}").into();
        pod["metadata"]["namespace"] = "team".into();
        pod["metadata"]["uid"] = leader.into();
        pod["metadata"]["annotations"][labels::JOB_COMPLETION_INDEX] = "0".into();
        pod["metadata"]["resourceVersion"] = version.to_string().into();
        pod["metadata"]["deletionTimestamp"] = deleted.into();
        pod["spec"] = json!({"nodeName": node});
        pod["status"] = json!({"phase": if state == LeaderState::Failed { "Failed" } else { "Running" }});
        let pod: ObservedPod = serde_json::from_value(pod).unwrap();
        self.pods.apply(&pod, source);
    }

    /// Admits a follower of the Job with this UID. Returns its rack, or why it is denied.
    fn admits(&self, job: &str) -> Result<String, Refusal> {
        let mut pod = follower(job);
        let patch = mutate(&serde_json::from_value(pod.clone()).unwrap(), "team", self)?;
        let patch: json_patch::Patch = serde_json::from_value(patch.into()).unwrap();
        json_patch::patch(&mut pod, &patch).unwrap();
        let pod: Pod = serde_json::from_value(pod).unwrap();
        validate(&pod, "team", self)?;
        Ok(pod.spec.unwrap().node_selector.unwrap()[TOPOLOGY].clone())
    }
}

impl PlacementView for Cluster {
    fn leaders(&self, namespace: &str, base: &str) -> Vec<LeaderPod> {
        self.pods.active_leaders(namespace, base)
    }

    fn domain(&self, node: &str, topology_key: &str) -> Domain {
        self.nodes.domain(node, topology_key)
    }
}

fn follower(job: &str) -> Value {
    json!({
        "metadata": {
            "name": "train-worker-0-1-abcde",
            "labels": {
                labels::JOBSET_NAME: "train",
                labels::REPLICATED_JOB_NAME: "worker",
                labels::JOB_INDEX: "0",
            },
            "annotations": {
                labels::JOBSET_NAME: "train",
                labels::EXCLUSIVE_TOPOLOGY: TOPOLOGY,
                labels::JOB_COMPLETION_INDEX: "1",
            },
            "ownerReferences": [
                {"apiVersion": "batch/v1", "kind": "Job", "name": "train-worker-0", "uid": job, "controller": true}
            ],
        },
        "spec": {"containers": []},
    })
}

/// #433: after a restart, a stale cache contained the leader of the previous Job. Followers were placed in its domain.
#[test]
fn followers_ignore_the_leader_of_the_previous_job() {
    let mut cluster = Cluster::new();
    cluster.observe("old", "old-job", "node-a", LeaderState::Running);
    assert_eq!(cluster.admits("old-job"), Ok("rack-a".to_owned()));
    assert!(cluster.admits("new-job").is_err(), "the leader belongs to another Job");
    cluster.observe("new", "new-job", "node-b", LeaderState::Running);
    assert!(cluster.admits("new-job").is_err(), "the watch has not delivered the deletion of the old leader");
    cluster.pods.end("old");
    assert_eq!(cluster.admits("new-job"), Ok("rack-b".to_owned()));
    cluster.observe_at(9, Source::Answer, "old", "old-job", "node-a", LeaderState::Running);
    assert_eq!(cluster.admits("new-job"), Ok("rack-b".to_owned()), "a late response adds no deleted leader");
}

/// #1021: after a Job was suspended and resumed, followers were placed in the domain of its old leader, which was still
/// terminating.
#[test]
fn followers_ignore_a_leader_that_is_being_deleted() {
    let mut cluster = Cluster::new();
    cluster.observe("first", "job", "node-a", LeaderState::Running);
    cluster.observe("first", "job", "node-a", LeaderState::Deleting);
    assert!(cluster.admits("job").is_err(), "the Job has no leader");
    cluster.observe("second", "job", "", LeaderState::Running);
    assert!(cluster.admits("job").is_err(), "the new leader has no node yet");
    cluster.observe("second", "job", "node-b", LeaderState::Running);
    assert_eq!(cluster.admits("job"), Ok("rack-b".to_owned()));
    cluster.observe_at(1, Source::Watch, "first", "job", "node-a", LeaderState::Running);
    assert_eq!(cluster.admits("job"), Ok("rack-b".to_owned()), "an older version is ignored");
    cluster.pods.end("first");
    assert_eq!(cluster.admits("job"), Ok("rack-b".to_owned()));
}

/// #1088: the node of the leader was deleted, and the follower was placed in a domain without a name.
#[test]
fn followers_of_a_leader_on_a_deleted_node_are_denied() {
    let mut cluster = Cluster::new();
    cluster.observe("first", "job", "node-a", LeaderState::Running);
    cluster.nodes.end("node-a");
    assert_eq!(cluster.admits("job"), Err(Refusal::NodeNotFound("node-a".into())));
    cluster.observe("first", "job", "node-a", LeaderState::Deleting);
    cluster.observe("second", "job", "node-b", LeaderState::Running);
    assert_eq!(cluster.admits("job"), Ok("rack-b".to_owned()));
}

/// #1276: a failed leader counted in addition to its replacement. Every follower was denied permanently, so neither the
/// Job nor the JobSet could fail.
#[test]
fn a_failed_leader_does_not_block_followers() {
    let mut cluster = Cluster::new();
    cluster.observe("first", "job", "node-a", LeaderState::Running);
    cluster.observe("first", "job", "node-a", LeaderState::Failed);
    assert!(cluster.admits("job").is_err(), "the Job has no leader");
    cluster.observe("second", "job", "node-b", LeaderState::Running);
    assert_eq!(cluster.admits("job"), Ok("rack-b".to_owned()));
}
