use super::*;
use crate::observe::{ObservedPod, Source};
use serde_json::{Value, json};

/// Applies a pod of Job `job` with this index.
fn apply(placement: &Placement, uid: &str, version: u32, index: &str, spec: &Value) -> PodChange {
    let pod: ObservedPod = serde_json::from_value(json!({
        "metadata": {
            "name": format!("train-w-0-{index}-{uid}"), "namespace": "team", "uid": uid,
            "resourceVersion": version.to_string(), "creationTimestamp": format!("2026-11-28T02:00:0{version}Z"),
            "labels": {"jobset.sigs.k8s.io/jobset-name": "train", "jobset.sigs.k8s.io/jobset-uid": "set"},
            "annotations": {
                "alpha.jobset.sigs.k8s.io/exclusive-topology": "rack",
                "batch.kubernetes.io/job-completion-index": index,
            },
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "job", "controller": true}],
        },
        "spec": spec,
    }))
    .unwrap();
    placement.pods.apply(&pod, Source::Watch).unwrap()
}

/// A placement with node `n1` in rack `r1`, or without nodes.
fn placement(with_node: bool) -> Placement {
    let placement = Placement::default();
    placement.nodes.begin_list(&["rack".to_owned()].into());
    if with_node {
        let node = json!({"metadata": {"name": "n1", "labels": {"rack": "r1"}}});
        placement.nodes.apply(serde_json::from_value(node).unwrap());
    }
    placement.nodes.finish_list();
    placement
}

#[test]
fn only_changes_that_can_misplace_a_pod_need_a_repair() {
    let placement = placement(true);
    let (in_rack, elsewhere) =
        (json!({"nodeSelector": {"rack": "r1"}}), json!({"nodeSelector": {"rack": "r2"}}));
    let bound = json!({"nodeName": "n1"});
    for (what, uid, version, index, spec, expected) in [
        ("a follower without leader", "b", 1, "1", &elsewhere, false),
        ("a leader without node", "a", 1, "0", &json!({}), false),
        ("a follower of a leader without node", "c", 1, "2", &elsewhere, false),
        ("the leader gets its node", "a", 2, "0", &bound, true),
        ("the leader changes otherwise", "a", 3, "0", &bound, false),
        ("a follower in the rack", "d", 1, "3", &in_rack, false),
        ("a follower elsewhere", "e", 1, "4", &elsewhere, true),
        ("it changes otherwise", "e", 2, "4", &elsewhere, false),
        ("a follower without selector", "f", 1, "5", &json!({}), true),
    ] {
        let change = apply(&placement, uid, version, index, spec);
        let job = placement.needs_repair(&change);
        assert_eq!(job.is_some(), expected, "{what}");
        assert!(job.is_none_or(|job| job.job == Some("job".into())));
    }
    let ended = placement.pods.end("a").unwrap();
    assert_eq!(placement.needs_repair(&ended), None);
}

#[test]
fn a_leader_that_waits_for_a_key_without_nodes_requeues_its_jobset() {
    for (with_node, expected) in [(false, Some("set".to_owned())), (true, None)] {
        let placement = placement(with_node);
        let jobset: JobSet = serde_json::from_value(json!({
            "metadata": {"name": "train", "namespace": "team", "uid": "set",
                "annotations": {"alpha.jobset.sigs.k8s.io/exclusive-topology": "rack"}},
            "spec": {"replicatedJobs": [{"name": "w"}]},
        }))
        .unwrap();
        assert_eq!(placement.topologies(&jobset), []);
        let change = apply(&placement, "a", 2, "0", &json!({}));
        assert_eq!(placement.changes_waiting(&change), expected);
        let change = apply(&placement, "a", 3, "0", &json!({}));
        assert_eq!(placement.changes_waiting(&change), None, "it still waits");
        let change = apply(&placement, "b", 1, "1", &json!({}));
        assert_eq!(placement.changes_waiting(&change), None, "a follower");
        let count = usize::from(with_node);
        let topology = TopologyRecord {
            key: "rack".into(),
            nodes: Some((count, count)),
            pending_since: "2026-11-28T02:00:03Z".parse().unwrap(),
        };
        assert_eq!(placement.topologies(&jobset), [topology]);
        let mut successor = jobset.clone();
        successor.metadata.uid = Some("another".to_owned());
        assert_eq!(placement.topologies(&successor), []);
        let change = apply(&placement, "a", 4, "0", &json!({"nodeName": "n1"}));
        assert_eq!(placement.changes_waiting(&change), expected);
        assert_eq!(placement.topologies(&jobset), []);
    }
}
