use super::{super::scheduling::ObservedScheduling, *};
use axum::http::{Request, Response};
use jobset_plan::SchedulingRecord;
use kube::client::Body;
use manager_runtime::queue::WorkQueue;
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};
use tokio::time::{Instant, timeout};
use tower::service_fn;

/// An API server that serves the kinds or not. Requests of watches wait for the next change.
#[derive(Clone)]
struct ApiServer {
    served: watch::Sender<bool>,
    /// The number of discoveries that fail next.
    failures: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl ApiServer {
    async fn respond(self, path: String, query: String) -> (u16, Value) {
        let is_watch = query.contains("watch=true");
        self.requests.lock().unwrap().push(format!("{}{path}", if is_watch { "watch " } else { "" }));
        let fails = || self.failures.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        if path.ends_with("v1beta1") && fails() {
            return (500, json!({"kind": "Status", "status": "Failure", "code": 500}));
        }
        let mut served = self.served.subscribe();
        if is_watch {
            served.wait_for(|served| !*served).await.unwrap();
        }
        if !*served.borrow() {
            return (404, json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}));
        }
        let resource = |name, kind| json!({"name": name, "kind": kind, "namespaced": true, "singularName": "", "verbs": []});
        let owner = json!({
            "apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "name": "train", "uid": "set", "controller": true
        });
        let metadata =
            |name| json!({"name": name, "uid": name, "resourceVersion": "7", "ownerReferences": [owner]});
        let list = |item| json!({"metadata": {"resourceVersion": "9"}, "items": [item]});
        let answer = match path.rsplit('/').next() {
            Some("v1beta1") => json!({
                "groupVersion": "scheduling.k8s.io/v1beta1",
                "resources": [resource("podgroups", "PodGroup"), resource("workloads", "Workload")],
            }),
            Some("workloads") => list(json!({"metadata": metadata("w"), "spec": {}})),
            Some("podgroups") => {
                list(json!({"metadata": metadata("g"), "spec": {"schedulingPolicy": {"basic": {}}}}))
            }
            _ => panic!("{path}"),
        };
        (200, answer)
    }

    fn client(&self) -> Client {
        let server = self.clone();
        let service = service_fn(move |request: Request<Body>| {
            let uri = request.uri();
            let answer =
                server.clone().respond(uri.path().to_owned(), uri.query().unwrap_or_default().to_owned());
            async move {
                let (code, body) = answer.await;
                let body = Body::from(body.to_string().into_bytes());
                Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
            }
        });
        Client::new(service, "default")
    }

    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

struct Scene {
    server: ApiServer,
    index: Index,
    queue: Arc<WorkQueue<String>>,
    needed: watch::Sender<bool>,
}

impl Scene {
    fn new() -> Self {
        let server = ApiServer {
            served: watch::Sender::new(false),
            failures: Arc::default(),
            requests: Arc::default(),
        };
        let queue = Arc::new(WorkQueue::default());
        let requeue = Requeue::new(queue.clone(), Arc::default());
        requeue.start();
        let index = Index::default();
        for (name, scheduling) in [("set", json!({})), ("other", Value::Null)] {
            let jobset = json!({
                "metadata": {"name": name, "namespace": "team", "uid": name, "resourceVersion": "1"},
                "spec": {"replicatedJobs": [], "scheduling": scheduling},
            });
            index.apply_jobset(&serde_json::from_value(jobset).unwrap(), Source::Watch);
        }
        let (needed, is_needed) = watch::channel(false);
        start(&server.client(), &index, &requeue, is_needed);
        Self { server, index, queue, needed }
    }

    fn observed(&self) -> ObservedScheduling {
        self.index.scheduling(|objects| objects.of("set"))
    }

    /// The UID of the next JobSet that is requeued, and the state then.
    async fn requeued(&self) -> (String, ObservedScheduling) {
        let next = timeout(Duration::from_mins(10), self.queue.next()).await.expect("a requeue");
        self.queue.done(&next);
        (next, self.observed())
    }
}

fn set() -> String {
    "set".to_owned()
}

#[tokio::test(start_paused = true)]
async fn nothing_is_requested_before_a_jobset_needs_it() {
    let scene = Scene::new();
    scene.server.served.send_replace(true);
    sleep(Duration::from_mins(10)).await;
    assert_eq!(scene.server.requests(), [""; 0]);
    assert_eq!(scene.observed(), ObservedScheduling::Unknown);
}

#[tokio::test(start_paused = true)]
async fn jobsets_are_requeued_when_the_api_is_served_and_when_it_is_not() {
    let scene = Scene::new();
    let discovery = "/apis/scheduling.k8s.io/v1beta1";
    scene.needed.send_replace(true);
    assert_eq!(scene.requeued().await, (set(), ObservedScheduling::NotServed));
    sleep(BETWEEN_DISCOVERIES * 5 / 2).await;
    assert_eq!(scene.server.requests(), [discovery; 3], "no list, no watch");

    scene.server.served.send_replace(true);
    let record = loop {
        if let (_, ObservedScheduling::Served(record)) = scene.requeued().await {
            break record;
        }
    };
    let SchedulingRecord { workloads, pod_groups } = record;
    assert_eq!((workloads[0].name.as_str(), pod_groups[0].name.as_str()), ("w", "g"));
    sleep(BETWEEN_DISCOVERIES / 4).await;
    let mut requests = scene.server.requests();
    requests.sort();
    let [workloads, pod_groups] = ["workloads", "podgroups"].map(|kind| format!("{discovery}/{kind}"));
    let watches = [format!("watch {pod_groups}"), format!("watch {workloads}")];
    assert_eq!(requests[..3], [discovery.to_owned(), pod_groups, workloads]);
    assert_eq!(requests[3..], watches);

    // The administrator disables the API: the watches end, and the next ones get 404.
    let changed = Instant::now();
    scene.server.served.send_replace(false);
    assert_eq!(scene.requeued().await, (set(), ObservedScheduling::NotServed));
    assert!(changed.elapsed() < BETWEEN_DISCOVERIES / 4, "{:?}", changed.elapsed());
    scene.server.requests();
    sleep(BETWEEN_DISCOVERIES * 5).await;
    let requests = scene.server.requests();
    assert!(requests.iter().all(|request| request == discovery) && requests.len() <= 6, "{requests:?}");
}

/// An early discovery after a successful one fails with the same delays as the first one.
#[tokio::test(start_paused = true)]
async fn a_success_resets_the_delays_of_failed_discoveries() {
    const FAILURES: usize = 3;
    let scene = Scene::new();
    scene.server.served.send_replace(true);
    scene.server.failures.store(FAILURES, SeqCst);
    let started = Instant::now();
    scene.needed.send_replace(true);
    while !matches!(scene.requeued().await, (_, ObservedScheduling::Served(_))) {}
    let first = started.elapsed();
    sleep(SHORTEST).await;
    // The watches end, so the next discovery comes early.
    scene.server.failures.store(FAILURES, SeqCst);
    scene.server.served.send_replace(false);
    let started = Instant::now();
    while scene.requeued().await.1 != ObservedScheduling::NotServed {}
    // The early discovery waits for SHORTEST. Half of each delay is random.
    let again = started.elapsed();
    assert!(again < first * 2 + SHORTEST * 3 / 2, "{first:?}, then {again:?}");
}

#[test]
fn both_kinds_must_be_served() {
    let resources = |kinds: &[&str]| APIResourceList {
        resources: kinds
            .iter()
            .map(|kind| {
                serde_json::from_value(json!({
                    "name": "", "kind": kind, "namespaced": true, "singularName": "", "verbs": []
                }))
                .unwrap()
            })
            .collect(),
        ..APIResourceList::default()
    };
    assert!(serves_both(&resources(&["Workload", "Workload", "PodGroup", "PodGroup"])));
    assert!(!serves_both(&resources(&["Workload"])) && !serves_both(&resources(&["PriorityClass"])));
}
