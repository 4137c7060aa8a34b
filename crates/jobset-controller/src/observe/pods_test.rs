use super::{
    Source::{Answer, Watch},
    *,
};
use jobset_plan::{PodAttempt, PodPhase};
use serde_json::{Value, json};

/// The number of pods of one Job in [`many`].
const PER_JOB: usize = 10;

/// A pod as the API server returns it. `changes` are merged into it (RFC 7386).
fn pod(uid: &str, version: u32, changes: impl Into<Value>) -> ObservedPod {
    let mut pod = json!({
        "metadata": {
            "name": format!("train-worker-0-1-{uid}"),
            "namespace": "team",
            "uid": uid,
            "resourceVersion": version.to_string(),
            "creationTimestamp": "2026-11-28T02:00:00Z",
            "labels": {"jobset.sigs.k8s.io/jobset-name": "train", "jobset.sigs.k8s.io/jobset-uid": "uid-of-train", "app": "x"},
            "annotations": {
                "alpha.jobset.sigs.k8s.io/exclusive-topology": "rack",
                "batch.kubernetes.io/job-completion-index": "1",
                "jobset.sigs.k8s.io/in-place-restart-attempt": "3",
            },
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "train-worker-0", "uid": "job", "controller": true}],
            "managedFields": [{"manager": "kubelet", "operation": "Update", "fieldsV1": {"f:status": {}}}],
        },
        "spec": {"nodeName": "n7", "nodeSelector": {"rack": "r7", "disk": "ssd"}, "containers": [{"name": "c"}]},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "DisruptionTarget", "status": "False"}],
            "initContainerStatuses": [{"name": "i", "restartCount": 5}],
            "containerStatuses": [{"name": "c", "restartCount": 2}, {"name": "d", "restartCount": 4}],
        },
    });
    json_patch::merge(&mut pod, &changes.into());
    serde_json::from_value(pod).unwrap()
}

fn leader(uid: &str, version: u32, changes: Value) -> ObservedPod {
    let mut all = changes;
    all["metadata"]["name"] = format!("train-worker-0-0-{uid}").into();
    all["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] = "0".into();
    pod(uid, version, all)
}

fn uids(pods: impl IntoIterator<Item = Arc<PodRecord>>) -> Vec<String> {
    let mut uids: Vec<_> = pods.into_iter().map(|pod| pod.uid.to_string()).collect();
    uids.sort();
    uids
}

/// The active leaders of the Job `train-worker-0`, with their nodes.
fn leaders(pods: &Pods) -> Vec<String> {
    let leaders = pods.active_leaders("team", "train-worker-0-0");
    leaders.iter().map(|leader| format!("{} on {}", leader.name, leader.node)).collect()
}

#[test]
fn a_pod_is_recorded_without_its_managed_fields() {
    let observed = pod("a", 8, json!({}));
    assert_eq!(observed.metadata.managed_fields, None);
    let change = Pods::default().apply(&observed, Watch).unwrap();
    assert_eq!(change.before, None);
    let expected = PodRecord {
        uid: "a".into(),
        name: "train-worker-0-1-a".into(),
        group: Arc::new(PodGroup {
            namespace: "team".into(),
            jobset: "train".into(),
            jobset_uid: Some("uid-of-train".into()),
            job: Some("job".into()),
            topology: Some("rack".into()),
        }),
        node: Some("n7".into()),
        selected: Some("r7".into()),
        version: 8,
        created: 1_795_831_200,
        index: Some(1),
        attempt: PodAttempt::Number(3),
        restarts: 5,
        phase: PodPhase::Active,
        deleting: false,
        disruption_target: false,
        unschedulable: false,
    };
    assert_eq!(*change.now.unwrap(), expected);
}

#[test]
fn missing_and_invalid_fields_are_values() {
    let pods = Pods::default();
    let bare = json!({
        "metadata": {
            "labels": null, "ownerReferences": null, "creationTimestamp": null,
            "deletionTimestamp": "2026-11-28T02:10:00Z",
            "annotations": {
                "batch.kubernetes.io/job-completion-index": "first",
                "jobset.sigs.k8s.io/in-place-restart-attempt": "-1",
            },
        },
        "spec": {"nodeName": "", "nodeSelector": null},
        "status": {"phase": "Failed", "containerStatuses": null, "initContainerStatuses": null,
            "conditions": [{"type": "DisruptionTarget", "status": "True"}]},
    });
    let record = pods.apply(&pod("a", 1, bare), Watch).unwrap().now.unwrap();
    let PodGroup { jobset, jobset_uid, job, .. } = &*record.group;
    assert_eq!((&**jobset, jobset_uid, job), ("", &None, &None));
    assert_eq!((record.node.as_deref(), record.selected.as_deref(), record.index), (None, None, None));
    assert_eq!((record.attempt, record.restarts), (PodAttempt::Malformed, 0));
    assert_eq!((record.phase, record.deleting, record.disruption_target), (PodPhase::Failed, true, true));
}

#[test]
fn only_pods_that_decisions_need_are_kept() {
    let shared = json!({"metadata": {"annotations": {"alpha.jobset.sigs.k8s.io/exclusive-topology": null}}});
    let prepared = json!({"metadata": {"annotations": {"alpha.jobset.sigs.k8s.io/node-selector": "true"}}});
    let pods = Pods::default();
    assert_eq!(pods.apply(&pod("shared", 1, shared.clone()), Watch), None);
    assert_eq!(pods.apply(&pod("prepared", 1, prepared.clone()), Watch), None);
    assert!(pods.apply(&pod("placed", 1, json!({})), Watch).is_some());
    let changed = pods.apply(&pod("placed", 2, shared.clone()), Watch).unwrap();
    assert!(changed.before.is_some() && changed.now.is_none(), "a user removed the annotation");
    assert_eq!(pods.len(), 0);

    pods.keep_all();
    for (uid, changes) in [("shared", shared), ("prepared", prepared)] {
        let record = pods.apply(&pod(uid, 1, changes), Watch).unwrap().now.unwrap();
        assert_eq!((record.group.topology.as_deref(), record.selected.as_deref()), (None, None), "{uid}");
    }
    assert_eq!(uids(pods.of_jobset("team", "train")), ["prepared", "shared"]);
}

#[test]
fn pods_are_found_by_job_by_jobset_and_leaders_by_name() {
    let pods = Pods::default();
    let of = |job: &str, jobset: &str| {
        json!({"metadata": {
            "labels": {"jobset.sigs.k8s.io/jobset-name": jobset},
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": job, "controller": true}],
        }})
    };
    let group = |uid: &str| pods.state().pods.get(&Uid::from(uid)).unwrap().0.group.clone();
    pods.apply(&leader("a", 1, of("one", "train")), Watch);
    pods.apply(&pod("b", 1, of("one", "train")), Watch);
    pods.apply(&pod("c", 1, of("two", "train")), Watch);
    pods.apply(&pod("d", 1, of("three", "tune")), Watch);
    assert_eq!(uids(pods.of_group(&group("a"))), ["a", "b"]);
    assert!(Arc::ptr_eq(&group("a"), &group("b")), "pods of a Job share the fields of the group");
    assert_eq!(uids(pods.of_jobset("team", "train")), ["a", "b", "c"]);
    assert_eq!(uids(pods.of_jobset("team", "tune")), ["d"]);
    assert_eq!(uids(pods.of_jobset("other", "tune")), [""; 0]);
    assert_eq!(leaders(&pods), ["train-worker-0-0-a on n7"]);
    assert_eq!(pods.active_leaders("team", "train-worker-0-1"), [], "not a leader");

    let left = group("d");
    for uid in ["a", "b", "c", "d"] {
        assert!(pods.end(uid).is_some_and(|change| change.now.is_none()));
    }
    assert!(pods.of_group(&left).is_empty());
    let state = pods.state();
    assert!(state.by_group.is_empty() && state.by_jobset.is_empty() && state.leaders.is_empty());
}

#[test]
fn a_changed_pod_replaces_its_record_in_every_map() {
    let pods = Pods::default();
    pods.apply(&leader("a", 1, json!({"spec": {"nodeName": null}})), Watch);
    let change = pods.apply(&leader("a", 2, json!({})), Watch).unwrap();
    assert_eq!(change.before.unwrap().node, None);
    let now = change.now.unwrap();
    assert_eq!(leaders(&pods), ["train-worker-0-0-a on n7"]);
    for found in [pods.of_group(&now.group), pods.of_jobset("team", "train")] {
        assert!(matches!(&found[..], [one] if Arc::ptr_eq(one, &now)), "{found:?}");
    }
}

#[test]
fn only_active_pods_lead() {
    let pods = Pods::default();
    pods.apply(&leader("first", 1, json!({})), Watch);
    assert_eq!(leaders(&pods), ["train-worker-0-0-first on n7"]);
    pods.apply(&leader("first", 2, json!({"status": {"phase": "Failed"}})), Watch);
    pods.apply(&leader("second", 3, json!({"spec": {"nodeName": null}})), Watch);
    assert_eq!(leaders(&pods), ["train-worker-0-0-second on "]);
    pods.apply(
        &leader("second", 4, json!({"metadata": {"deletionTimestamp": "2026-11-28T02:10:00Z"}})),
        Watch,
    );
    assert_eq!(leaders(&pods), [""; 0]);
}

#[test]
fn an_older_version_or_a_late_response_is_ignored() {
    let pods = Pods::default();
    let deleting = || json!({"metadata": {"deletionTimestamp": "2026-11-28T02:10:00Z"}});
    assert_eq!(pods.apply(&pod("a", 7, json!({})), Answer), None, "the watch has not delivered it");
    assert!(pods.apply(&pod("a", 7, json!({})), Watch).is_some());
    assert!(pods.apply(&pod("a", 9, deleting()), Answer).is_some());
    assert_eq!(pods.apply(&pod("a", 8, json!({})), Watch), None, "older than the response");
    assert_eq!(pods.apply(&pod("a", 9, deleting()), Watch), None, "the same version");
    pods.end("a");
    assert_eq!(pods.apply(&pod("a", 9, deleting()), Answer), None, "after the deletion");
    assert_eq!(pods.len(), 0);
}

#[test]
fn a_deleted_pod_is_deleting_until_the_watch_delivers_its_deletion() {
    let pods = Pods::default();
    pods.apply(&leader("a", 7, json!({})), Watch);
    pods.deletion_began(&"a".into());
    assert_eq!(pods.apply(&leader("a", 7, json!({})), Watch), None, "a version before the deletion");
    assert_eq!(leaders(&pods), [""; 0]);
    pods.end("a");
    pods.deletion_began(&"a".into());
    assert_eq!(pods.len(), 0);
}

#[test]
fn a_list_removes_the_pods_that_it_does_not_contain() {
    let pods = Pods::default();
    for uid in ["kept", "lost"] {
        pods.apply(&pod(uid, 1, json!({})), Watch);
    }
    pods.begin_list();
    pods.apply(&pod("kept", 1, json!({})), Watch);
    pods.apply(&pod("new", 2, json!({})), Watch);
    let gone: Vec<_> = pods.finish_list().into_iter().filter_map(|change| change.before).collect();
    assert_eq!(uids(gone), ["lost"]);
    assert_eq!(uids(pods.of_jobset("team", "train")), ["kept", "new"]);
}

#[test]
fn unused_texts_are_removed() {
    let pods = Pods::default();
    for number in 0..10_000 {
        let node = json!({"spec": {"nodeName": format!("node-{number}"), "nodeSelector": {"rack": format!("r{number}")}}});
        pods.apply(&pod("a", number + 1, node), Watch);
    }
    let texts = pods.state().texts.stored().0.count();
    assert!(texts < 200, "{texts} texts for one pod");
}

/// An index of `jobs` Jobs with [`PER_JOB`] pods each, with names, UIDs and labels as long as in a real cluster.
fn many(jobs: usize) -> Pods {
    let pods = Pods::default();
    for job in 0..jobs {
        for index in 0..PER_JOB {
            let uid = format!("{job:08x}-0000-4000-8000-{index:012x}");
            let owner = format!("{job:08x}-1111-4111-8111-{job:012x}");
            let changes = json!({
                "metadata": {
                    "name": format!("llm-pretraining-run-17-worker-{job}-{index}-x7k2p"),
                    "namespace": "team-foundation-models",
                    "uid": uid,
                    "labels": {
                        "jobset.sigs.k8s.io/jobset-name": "llm-pretraining-run-17",
                        "jobset.sigs.k8s.io/jobset-uid": "5f0c9b1e-2222-4222-8222-000000000017",
                    },
                    "annotations": {
                        "alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool",
                        "batch.kubernetes.io/job-completion-index": index.to_string(),
                    },
                    "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": owner, "controller": true}],
                },
                "spec": {
                    "nodeName": format!("gke-cluster-7-pool-{job}-{index}"),
                    "nodeSelector": {"rack": null, "cloud.google.com/gke-nodepool": format!("pool-{job}")},
                },
            });
            pods.apply(&pod("", 1, changes), Watch).unwrap();
        }
    }
    pods
}

/// Bytes of the heap that the index uses, from the sizes of its records and the capacities of its collections.
fn bytes(pods: &Pods) -> usize {
    /// Of a hash table: one byte and one entry for each bucket, of which at most 7/8 are used.
    fn table<T>(capacity: usize) -> usize {
        (capacity * 8).div_ceil(7) * (size_of::<T>() + 1) + 16
    }
    /// Of the block of an `Arc`: two counters in addition to the value.
    const COUNTERS: usize = 16;
    let state = pods.state();
    let length = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
    let records = state
        .pods
        .iter()
        .map(|ByUid(pod)| COUNTERS + size_of::<PodRecord>() + pod.name.len() + length(&pod.node));
    let groups = state.by_group.iter().map(|(group, members)| {
        let texts = group.namespace.len() + group.jobset.len() + length(&group.topology);
        COUNTERS + size_of::<PodGroup>() + texts + table::<ByUid>(members.pods.capacity())
    });
    let jobsets = state.by_jobset.iter().map(|((namespace, name), groups)| {
        namespace.len() + name.len() + table::<Arc<PodGroup>>(groups.capacity())
    });
    let leaders =
        state.leaders.iter().map(|(key, pods)| key.len() + pods.capacity() * size_of::<Arc<PodRecord>>());
    let (texts, room) = state.texts.stored();
    let texts = texts.map(|text| COUNTERS + text.len());
    records.chain(groups).chain(jobsets).chain(leaders).chain(texts).sum::<usize>()
        + table::<ByUid>(state.pods.capacity())
        + table::<(Arc<PodGroup>, Members)>(state.by_group.capacity())
        + table::<(JobSetKey, HashSet<Arc<PodGroup>>)>(state.by_jobset.capacity())
        + table::<(Box<str>, Vec<Arc<PodRecord>>)>(state.leaders.capacity())
        + table::<Arc<str>>(room)
}

#[test]
fn a_pod_takes_at_most_300_bytes() {
    // The second size is just after the tables have grown.
    for jobs in [1_000, 1_500] {
        let pods = many(jobs);
        let per_pod = bytes(&pods) / (jobs * PER_JOB);
        println!("{jobs} Jobs of {PER_JOB} pods: {per_pod} bytes for each pod");
        assert!((100..=300).contains(&per_pod), "{per_pod} bytes for each pod");
    }
}

#[test]
fn a_leader_that_the_scheduler_cannot_schedule_ends_waits() {
    let pods = Pods::default();
    let state = |scheduled: Value, node: Option<&str>| json!({"spec": {"nodeName": node}, "status": {"conditions": scheduled}});
    let condition = |status: &str| json!([{"type": "PodScheduled", "status": status}]);
    let unschedulable = || pods.state().leaders.values().flatten().any(|leader| leader.unschedulable);
    for (version, changes, ends_waits, is_unschedulable) in [
        (1, state(json!([]), None), false, false),
        (2, state(condition("False"), None), true, true),
        (3, state(condition("False"), None), false, true),
        (4, state(condition("True"), Some("n1")), true, false),
    ] {
        let change = pods.apply(&leader("a", version, changes.clone()), Watch).unwrap();
        assert_eq!((change.ends_waits(), unschedulable()), (ends_waits, is_unschedulable), "{changes}");
    }
    let follower = pods.apply(&pod("b", 5, state(condition("False"), None)), Watch).unwrap();
    assert!(!follower.ends_waits(), "no request waits for a follower");
}
