//! Waits for the leader of a follower (feature gate `LeaderFirstPlacement`).
//!
//! The Job controller creates followers after the leading replica has observed the leader's node. The watch of another
//! replica can be slower, and this replica would deny the follower. It waits a moment for its watch instead.

use crate::observe::Placement;
use jobset_plan::pod_admission;
use k8s_openapi::api::core::v1::Pod;
use std::time::Duration;
use tokio::{sync::Semaphore, time::timeout};

/// The longest delay of one request. Watches usually lag by milliseconds.
const LONGEST: Duration = Duration::from_secs(1);
/// The number of requests that can wait. Each of them occupies a connection of the server, which serves 1024.
const AT_ONCE: usize = 128;

/// Bounds the requests that wait.
pub(super) struct LeaderWait {
    places: Semaphore,
    longest: Duration,
}

impl Default for LeaderWait {
    fn default() -> Self {
        Self { places: Semaphore::new(AT_ONCE), longest: LONGEST }
    }
}

impl LeaderWait {
    /// Returns when the leader of the pod has a known domain, or does not get one soon, or too many requests wait.
    pub(super) async fn for_leader(&self, pod: &Pod, namespace: &str, placement: &Placement) {
        let waits = || pod_admission::waits_for_leader(pod, namespace, placement);
        if !waits() {
            return;
        }
        let Ok(_place) = self.places.try_acquire() else { return };
        let known = async {
            loop {
                // Before the check, so that no change between the two is lost.
                let mut changed = std::pin::pin!(placement.changed.notified());
                changed.as_mut().enable();
                if !waits() {
                    return;
                }
                changed.await;
            }
        };
        // A timeout means that the leader is still unknown.
        let _ = timeout(self.longest, known).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Source;
    use futures::poll;
    use serde_json::json;
    use std::sync::Arc;

    fn pod(index: &str, version: u32, node: &str) -> serde_json::Value {
        json!({
            "metadata": {
                "name": format!("train-worker-0-{index}-x2k4p"), "namespace": "team", "uid": format!("uid-{index}"),
                "resourceVersion": version.to_string(),
                "labels": {
                    "jobset.sigs.k8s.io/jobset-name": "train", "jobset.sigs.k8s.io/replicatedjob-name": "worker",
                    "jobset.sigs.k8s.io/job-index": "0",
                },
                "annotations": {
                    "jobset.sigs.k8s.io/jobset-name": "train", "batch.kubernetes.io/job-completion-index": index,
                    "alpha.jobset.sigs.k8s.io/exclusive-topology": "rack",
                },
                "ownerReferences":
                    [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "job", "controller": true}],
            },
            "spec": {"nodeName": node, "containers": []},
        })
    }

    /// A placement with a node `n1`, and an unscheduled leader.
    fn placement() -> Placement {
        let placement = Placement::default();
        placement.nodes.begin_list(&["rack".to_owned()].into());
        let node = json!({"metadata": {"name": "n1", "labels": {"rack": "r1"}}});
        placement.nodes.apply(serde_json::from_value(node).unwrap());
        placement.nodes.finish_list();
        observe(&placement, 1, "");
        placement
    }

    fn observe(placement: &Placement, version: u32, node: &str) {
        let leader = serde_json::from_value(pod("0", version, node)).unwrap();
        placement.pods.apply(&leader, Source::Watch);
        placement.changed.notify_waiters();
    }

    fn follower() -> Pod {
        serde_json::from_value(pod("1", 1, "")).unwrap()
    }

    fn longest(longest: Duration) -> Arc<LeaderWait> {
        Arc::new(LeaderWait { longest, ..LeaderWait::default() })
    }

    #[tokio::test]
    async fn a_follower_waits_until_its_leader_has_a_node() {
        let placement = placement();
        let wait = longest(Duration::MAX);
        let mut waiting = {
            let (wait, placement) = (wait.clone(), placement.clone());
            Box::pin(async move { wait.for_leader(&follower(), "team", &placement).await })
        };
        assert!(poll!(&mut waiting).is_pending());
        observe(&placement, 2, "");
        assert!(poll!(&mut waiting).is_pending(), "the leader still has no node");
        observe(&placement, 3, "n1");
        assert!(poll!(&mut waiting).is_ready());
        let follower = follower();
        let known = std::pin::pin!(wait.for_leader(&follower, "team", &placement));
        assert!(poll!(known).is_ready(), "the leader is known");
    }

    #[tokio::test]
    async fn the_delay_and_the_number_of_requests_are_bounded() {
        let (placement, follower) = (placement(), follower());
        longest(Duration::from_millis(1)).for_leader(&follower, "team", &placement).await;

        let wait = longest(Duration::MAX);
        let mut all: Vec<_> =
            (0..=AT_ONCE).map(|_| Box::pin(wait.for_leader(&follower, "team", &placement))).collect();
        let mut states = Vec::new();
        for waiting in &mut all {
            states.push(poll!(waiting).is_ready());
        }
        assert_eq!(states.iter().position(|is_ready| *is_ready), Some(AT_ONCE), "one request too many");
    }
}
