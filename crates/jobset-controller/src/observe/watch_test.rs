use super::*;
use futures::FutureExt;
use manager_runtime::queue::WorkQueue;
use serde_json::json;

struct Scene {
    feeder: Feeder,
    queue: Arc<WorkQueue<String>>,
}

impl Scene {
    /// A leading replica with these gates.
    fn new(gates: Gates) -> Self {
        let queue = Arc::new(WorkQueue::default());
        let requeue = Requeue::new(queue.clone(), Arc::default());
        requeue.start();
        let (index, placement) = (Index::default(), Placement::default());
        Self { feeder: Feeder { index, placement, requeue, gates, verify: Arc::new(drop) }, queue }
    }

    /// Delivers a JobSet with this strategy.
    fn jobset(&self, uid: &str, strategy: &str) {
        let jobset = json!({
            "metadata": {"name": uid, "namespace": "team", "uid": uid, "resourceVersion": "1"},
            "spec": {"replicatedJobs": [], "failurePolicy": {"restartStrategy": strategy}},
        });
        let jobset = Decoded(Ok(serde_json::from_value(jobset).unwrap()));
        self.feeder.clone().jobsets()(Change::Applied(jobset));
        self.requeued();
    }

    /// Delivers a list with a pod of each of these JobSets. The pods report attempt 0.
    fn list(&self, jobsets: &[&str]) {
        let mut pods = self.feeder.clone().pods();
        pods(Change::ListBegins);
        for jobset in jobsets {
            let pod = json!({"metadata": {
                "name": format!("{jobset}-w-0-0-x2k4p"), "namespace": "team", "uid": format!("pod of {jobset}"),
                "resourceVersion": "1",
                "labels": {"jobset.sigs.k8s.io/jobset-name": jobset, "jobset.sigs.k8s.io/jobset-uid": jobset},
                "annotations": {"jobset.sigs.k8s.io/in-place-restart-attempt": "0"},
            }});
            pods(Change::Applied(serde_json::from_value(pod).unwrap()));
        }
        pods(Change::ListEnds);
    }

    fn requeued(&self) -> Vec<String> {
        let next = || self.queue.next().now_or_never().inspect(|uid| self.queue.done(uid));
        std::iter::from_fn(next).collect()
    }

    fn kept(&self) -> usize {
        self.feeder.placement.pods.len()
    }
}

fn in_place() -> Gates {
    Gates { in_place_restart: true, ..Gates::default() }
}

#[test]
fn pods_that_restart_in_place_requeue_their_jobset() {
    let scene = Scene::new(in_place());
    scene.jobset("train", "InPlaceRestart");
    scene.jobset("serve", "Recreate");
    scene.list(&["train", "serve"]);
    assert_eq!((scene.requeued(), scene.kept()), (vec!["train".to_owned()], 1));
    scene.list(&["train"]);
    assert_eq!(scene.requeued(), [""; 0], "nothing has changed");
    scene.list(&[]);
    assert_eq!((scene.requeued(), scene.kept()), (vec!["train".to_owned()], 0));
}

#[test]
fn pods_of_unknown_jobsets_are_kept_until_their_jobset_is_known() {
    let scene = Scene::new(in_place());
    scene.jobset("first", "InPlaceRestart");
    scene.list(&["train", "serve"]);
    assert_eq!((scene.requeued().len(), scene.kept()), (0, 2));
    scene.jobset("serve", "Recreate");
    scene.jobset("train", "InPlaceRestart");
    assert_eq!(scene.kept(), 1);
    assert_eq!(scene.feeder.placement.pods.in_place("train").attempts, [(0, 1)].into());
}

#[test]
fn without_the_gate_no_pod_is_kept() {
    let scene = Scene::new(Gates::default());
    scene.jobset("train", "InPlaceRestart");
    scene.list(&["train"]);
    assert_eq!((scene.requeued().len(), scene.kept()), (0, 0));
    assert_eq!(*scene.feeder.placement.demand.pods().borrow(), PodDemand::None);
}
