//! Waits for the leader of a follower.
//!
//! The Job controller creates the followers right after the leader, and it creates a denied follower again only after a
//! backoff of at least a second. The scheduler usually needs milliseconds for the leader, so the creation of a follower
//! waits for the leader's node. It does not wait for a leader that the scheduler cannot schedule.

use crate::observe::Placement;
use jobset_plan::pod_admission;
use k8s_openapi::api::core::v1::Pod;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

/// The number of requests that can wait. Each of them occupies a connection of the server, which serves 1024.
const AT_ONCE: usize = 128;

/// Bounds the requests that wait.
pub(super) struct LeaderWait {
    places: Semaphore,
}

impl Default for LeaderWait {
    fn default() -> Self {
        Self { places: Semaphore::new(AT_ONCE) }
    }
}

impl LeaderWait {
    /// Returns when the leader of the pod has a known domain, or does not get one soon, or too many requests wait.
    pub(super) async fn for_leader(&self, pod: &Pod, namespace: &str, placement: &Placement) {
        let longest = || pod_admission::longest_wait_for_leader(pod, namespace, placement);
        if longest().is_none() {
            return;
        }
        let Ok(_place) = self.places.try_acquire() else { return };
        let since = Instant::now();
        loop {
            // Before the check, so that no change between the two is lost.
            let mut changed = std::pin::pin!(placement.changed.notified());
            changed.as_mut().enable();
            let Some(end) = longest().map(|longest| since + longest).filter(|end| *end > Instant::now())
            else {
                return;
            };
            // After the time for one state, the leader can have another one, which allows more time.
            let _ = timeout_at(end, changed).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Source;
    use futures::poll;
    use serde_json::json;
    use std::time::Duration;
    use tokio::time::advance;

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

    #[tokio::test(start_paused = true)]
    async fn a_follower_waits_until_its_leader_has_a_node() {
        let (placement, wait, follower) = (placement(), LeaderWait::default(), follower());
        let mut waiting = Box::pin(wait.for_leader(&follower, "team", &placement));
        assert!(poll!(&mut waiting).is_pending());
        observe(&placement, 2, "");
        assert!(poll!(&mut waiting).is_pending(), "the leader still has no node");
        observe(&placement, 3, "n1");
        assert!(poll!(&mut waiting).is_ready());
        let known = std::pin::pin!(wait.for_leader(&follower, "team", &placement));
        assert!(poll!(known).is_ready(), "the leader is known");
    }

    #[tokio::test(start_paused = true)]
    async fn a_follower_waits_for_a_leader_that_another_watch_has_delivered() {
        let (placement, wait, follower) = (Placement::default(), LeaderWait::default(), follower());
        let mut waiting = Box::pin(wait.for_leader(&follower, "team", &placement));
        assert!(poll!(&mut waiting).is_pending());
        observe(&placement, 1, "");
        advance(Duration::from_millis(1100)).await;
        assert!(poll!(&mut waiting).is_pending(), "the leader exists now, and gets more time");
        advance(Duration::from_mins(1)).await;
        assert!(poll!(&mut waiting).is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn the_delay_and_the_number_of_requests_are_bounded() {
        let (placement, wait, follower) = (placement(), LeaderWait::default(), follower());
        wait.for_leader(&follower, "team", &placement).await;

        let mut all: Vec<_> =
            (0..=AT_ONCE).map(|_| Box::pin(wait.for_leader(&follower, "team", &placement))).collect();
        let mut states = Vec::new();
        for waiting in &mut all {
            states.push(poll!(waiting).is_ready());
        }
        assert_eq!(states.iter().position(|is_ready| *is_ready), Some(AT_ONCE), "one request too many");
    }
}
