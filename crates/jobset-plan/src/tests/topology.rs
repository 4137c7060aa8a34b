//! Topology keys of exclusive placement that no node has.

use super::*;
use std::time::Duration;

const NOTE: &str = "annotation alpha.jobset.sigs.k8s.io/exclusive-topology: \"rack\" is a label of 0 of 7 nodes, so no \
                    leader pod can be scheduled; label the nodes of each domain with rack, or create the JobSet with a \
                    label key that nodes have";

/// A scene whose leaders have been pending for some seconds.
fn pending(seconds: i64, nodes: Option<(usize, usize)>) -> Scene {
    let mut scene = jobset("").jobs("driver-0, worker-0, worker-1");
    scene.late = 0;
    let pending_since = Timestamp::from_second(NOW - seconds).unwrap();
    scene.topologies.push(TopologyRecord { key: "rack".into(), nodes, pending_since });
    scene
}

#[test]
fn a_key_that_no_node_has_is_reported_after_a_minute() {
    let waiting = format!("waiting: {NOTE}");
    let problem = format!("of rack: TopologyKeyNotFound {NOTE}");
    for (seconds, expected) in [
        (0, vec!["again in 60s", &waiting]),
        (59, vec!["again in 1s", &waiting]),
        (60, vec!["again in 60s", &problem, &waiting]),
        (3600, vec!["again in 60s", &problem, &waiting]),
        // The clock was set back.
        (-90, vec!["again in 1s", &waiting]),
    ] {
        pending(seconds, Some((0, 7))).expect(&expected);
    }
}

#[test]
fn a_key_that_a_node_has_is_no_problem() {
    pending(3600, Some((1, 7))).expect(&[]);
    pending(3600, None).expect(&["again in 60s"]);
    let mut finished = pending(3600, Some((0, 7))).condition("Completed=True AllJobsCompleted: x");
    finished.jobs.clear();
    finished.expect(&[]);
}

#[test]
fn the_problem_is_the_same_when_the_number_of_nodes_changes() {
    let problem = |nodes: usize| pending(60, Some((0, nodes))).plan().problems.remove(0);
    assert_ne!(problem(7), problem(8));
    assert_eq!(problem(7).cause(), problem(8).cause());
    assert_eq!(pending(60, Some((0, 7))).plan().requeue_after, Some(Duration::from_mins(1)));
}
