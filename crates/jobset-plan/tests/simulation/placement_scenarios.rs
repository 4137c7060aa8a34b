//! Races of exclusive placement that others ran into: what admission says to a follower while leaders come and go.
//! Numbers are those of kubernetes-sigs/jobset. The index of leaders and nodes is the controller's own.
//!
//! A follower that is refused is created again by the Job controller, so a race is harmless when the follower is
//! refused as long as its leader is not known, and then gets the domain of that leader and no other.

use crate::observe::{PlacedPod, Placement};
use jobset_api::labels;
use jobset_plan::pod_admission::{Refusal, mutate, validate};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

const TOPOLOGY: &str = "cloud.provider.com/rack";

/// Where a leader is in its life.
#[derive(Clone, Copy, PartialEq)]
enum Life {
    Lives,
    IsDeleted,
    Failed,
}

/// The cluster as admission sees it.
#[derive(Default)]
struct Cluster {
    placement: Placement,
    version: u32,
}

impl Cluster {
    /// One with `node-a` in `rack-a`, and `node-b` in `rack-b`.
    fn new() -> Self {
        let cluster = Self::default();
        for name in ["a", "b"] {
            let labels = json!({TOPOLOGY: format!("rack-{name}")});
            let node = json!({"metadata": {"name": format!("node-{name}"), "labels": labels}});
            cluster.placement.apply_node(serde_json::from_value(node).unwrap());
        }
        cluster
    }

    /// The watch tells of a leader: of the Job of this UID, on this node.
    fn sees(&mut self, leader: &str, job: &str, node: &str, life: Life) {
        self.version += 1;
        self.sees_at(self.version, leader, job, node, life);
    }

    fn sees_at(&self, version: u32, leader: &str, job: &str, node: &str, life: Life) {
        let mut pod = follower(job);
        let deleted = (life == Life::IsDeleted).then_some("2026-03-01T09:00:00Z");
        pod["metadata"]["name"] = format!("train-worker-0-0-{leader}").into();
        pod["metadata"]["namespace"] = "team".into();
        pod["metadata"]["uid"] = leader.into();
        pod["metadata"]["resourceVersion"] = version.to_string().into();
        pod["metadata"]["deletionTimestamp"] = deleted.into();
        pod["spec"] = json!({"nodeName": node});
        pod["status"] = json!({"phase": if life == Life::Failed { "Failed" } else { "Running" }});
        let pod: PlacedPod = serde_json::from_value(pod).unwrap();
        self.placement.apply_pod(&pod);
    }

    /// What admission makes of a follower of the Job of this UID: the rack it is tied to, or why it is refused.
    fn admits(&self, job: &str) -> Result<String, Refusal> {
        let mut pod = follower(job);
        let patch = mutate(&serde_json::from_value(pod.clone()).unwrap(), "team", &self.placement)?;
        let patch: json_patch::Patch = serde_json::from_value(patch.into()).unwrap();
        json_patch::patch(&mut pod, &patch).unwrap();
        let pod: Pod = serde_json::from_value(pod).unwrap();
        validate(&pod, "team", &self.placement)?;
        Ok(pod.spec.unwrap().node_selector.unwrap()[TOPOLOGY].clone())
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

/// #433: after a restart a view that lags showed the leader of the Job before, and followers went to its domain.
#[test]
fn a_leader_of_the_job_before_is_not_followed() {
    let mut cluster = Cluster::new();
    cluster.sees("old", "old-job", "node-a", Life::Lives);
    assert_eq!(cluster.admits("old-job"), Ok("rack-a".to_owned()));
    assert!(cluster.admits("new-job").is_err(), "the leader is another Job's");
    cluster.sees("new", "new-job", "node-b", Life::Lives);
    assert!(cluster.admits("new-job").is_err(), "the end of the old one was not told yet");
    cluster.placement.end_pod("old");
    assert_eq!(cluster.admits("new-job"), Ok("rack-b".to_owned()));
    cluster.sees("old", "old-job", "node-a", Life::Lives);
    assert_eq!(cluster.admits("new-job"), Ok("rack-b".to_owned()), "what is gone does not come back");
}

/// #1021: a Job is suspended and resumed; its old leader, still terminating, steered followers to the old domain.
#[test]
fn a_leader_that_is_being_deleted_is_not_followed() {
    let mut cluster = Cluster::new();
    cluster.sees("first", "job", "node-a", Life::Lives);
    cluster.sees("first", "job", "node-a", Life::IsDeleted);
    assert!(cluster.admits("job").is_err(), "there is no leader any more");
    cluster.sees("second", "job", "", Life::Lives);
    assert!(cluster.admits("job").is_err(), "the new leader has no node yet");
    cluster.sees("second", "job", "node-b", Life::Lives);
    assert_eq!(cluster.admits("job"), Ok("rack-b".to_owned()));
    cluster.sees_at(1, "first", "job", "node-a", Life::Lives);
    assert_eq!(cluster.admits("job"), Ok("rack-b".to_owned()), "an older view is no news");
    cluster.placement.end_pod("first");
    assert_eq!(cluster.admits("job"), Ok("rack-b".to_owned()));
}

/// #1088: the node of the leader was gone, and the follower was tied to the domain of no name.
#[test]
fn a_leader_on_a_node_that_is_gone_is_not_followed() {
    let mut cluster = Cluster::new();
    cluster.sees("first", "job", "node-a", Life::Lives);
    cluster.placement.end_node("node-a");
    assert_eq!(cluster.admits("job"), Err(Refusal::NodeNotFound("node-a".into())));
    cluster.sees("first", "job", "node-a", Life::IsDeleted);
    cluster.sees("second", "job", "node-b", Life::Lives);
    assert_eq!(cluster.admits("job"), Ok("rack-b".to_owned()));
}

/// #1276: a leader that failed was counted next to the one that took its place, and every follower was refused for
/// ever, so that neither the Job nor the JobSet could fail.
#[test]
fn a_leader_that_failed_does_not_keep_followers_out() {
    let mut cluster = Cluster::new();
    cluster.sees("first", "job", "node-a", Life::Lives);
    cluster.sees("first", "job", "node-a", Life::Failed);
    assert!(cluster.admits("job").is_err(), "nobody leads");
    cluster.sees("second", "job", "node-b", Life::Lives);
    assert_eq!(cluster.admits("job"), Ok("rack-b".to_owned()));
}
