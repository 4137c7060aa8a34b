use super::*;
use crate::observe::{
    Source::Watch,
    pod::ObservedPod,
    pods::{PodChange, Pods},
};
use jobset_plan::JobRecord;
use serde_json::json;
use std::{collections::HashSet, sync::Arc, time::Instant};

/// A pod of the JobSet with this UID. Every JobSet has the same name.
fn pod(
    uid: &str,
    version: u64,
    jobset: &str,
    attempt: Option<&str>,
    restarts: i32,
    phase: &str,
) -> ObservedPod {
    serde_json::from_value(json!({
        "metadata": {
            "name": format!("train-worker-0-0-{uid}"), "namespace": "team", "uid": uid,
            "resourceVersion": version.to_string(),
            "labels": {"jobset.sigs.k8s.io/jobset-name": "train", "jobset.sigs.k8s.io/jobset-uid": jobset},
            "annotations": {"jobset.sigs.k8s.io/in-place-restart-attempt": attempt},
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "job", "controller": true}],
        },
        "status": {"phase": phase, "containerStatuses": [{"name": "c", "restartCount": restarts}]},
    }))
    .unwrap()
}

fn all_pods() -> Pods {
    let pods = Pods::default();
    pods.keep_all();
    pods
}

#[test]
fn pods_of_a_predecessor_of_the_same_name_do_not_count() {
    let pods = all_pods();
    pods.apply(&pod("a", 1, "old", Some("7"), 3, "Running"), Watch);
    pods.apply(&pod("b", 1, "new", Some("0"), 1, "Running"), Watch);
    let of_new = InPlacePods { attempts: [(0, 1)].into(), malformed: None, container_restarts: 1 };
    assert_eq!(pods.in_place("new"), of_new);
    assert_eq!(pods.in_place("other"), InPlacePods::default());
}

#[test]
fn attempts_of_failed_pods_do_not_count_but_their_restarts_do() {
    let pods = all_pods();
    pods.apply(&pod("a", 1, "js", Some("2"), 5, "Failed"), Watch);
    pods.apply(&pod("b", 1, "js", Some("-1"), 0, "Failed"), Watch);
    pods.apply(&pod("c", 1, "js", Some("2"), 0, "Succeeded"), Watch);
    pods.apply(&pod("d", 1, "js", None, 0, "Pending"), Watch);
    let counted = InPlacePods { attempts: [(2, 1)].into(), malformed: None, container_restarts: 5 };
    assert_eq!(pods.in_place("js"), counted);
}

#[test]
fn an_invalid_attempt_is_reported_until_it_is_corrected() {
    let pods = all_pods();
    pods.apply(&pod("a", 1, "js", Some("many"), 0, "Running"), Watch);
    pods.apply(&pod("b", 2, "js", Some("1"), 0, "Running"), Watch);
    let malformed =
        MalformedAttempt { pod: "train-worker-0-0-a".into(), uid: "a".into(), value: "many".into() };
    assert_eq!(pods.in_place("js").malformed, Some(malformed));
    pods.apply(&pod("a", 3, "js", Some("1"), 0, "Running"), Watch);
    let corrected = InPlacePods { attempts: [(1, 2)].into(), malformed: None, container_restarts: 0 };
    assert_eq!(pods.in_place("js"), corrected);
}

#[test]
fn only_a_changed_report_concerns_the_jobset() {
    let change = |before: Option<ObservedPod>, now: Option<ObservedPod>| {
        let record = |pod: Option<ObservedPod>| all_pods().apply(&pod?, Watch)?.now;
        PodChange { before: record(before), now: record(now) }.changes_report()
    };
    let at = |attempt, restarts, phase| Some(pod("a", 1, "js", attempt, restarts, phase));
    for (before, now, expected) in [
        (None, at(None, 0, "Pending"), false),
        (at(None, 0, "Pending"), at(None, 0, "Running"), false),
        (at(None, 0, "Running"), None, false),
        (None, at(Some("0"), 0, "Running"), true),
        (at(None, 0, "Running"), at(Some("0"), 0, "Running"), true),
        (at(Some("0"), 0, "Running"), at(Some("0"), 0, "Running"), false),
        (at(Some("0"), 0, "Running"), at(Some("1"), 0, "Running"), true),
        (at(Some("0"), 0, "Running"), at(Some("0"), 1, "Running"), true),
        (at(Some("0"), 0, "Running"), at(Some("0"), 0, "Failed"), true),
        (at(Some("0"), 0, "Running"), at(Some("0"), 0, "Succeeded"), false),
        (at(Some("0"), 0, "Running"), None, true),
    ] {
        let what = format!("{before:?} -> {now:?}");
        assert_eq!(change(before, now), expected, "{what}");
    }
}

/// The counts equal those of the records, after any sequence of changes.
#[test]
fn counts_follow_the_records() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..30 {
        let pods = all_pods();
        for version in 1..100 {
            let uid = format!("pod-{}", random.u8(..20));
            let jobset = ["old", "new"][random.usize(..2)];
            let attempt = [None, Some("0"), Some("1"), Some("2"), Some("x"), Some("-3")][random.usize(..6)];
            let phase = ["Pending", "Running", "Failed", "Succeeded"][random.usize(..4)];
            match random.u8(..20) {
                0..=2 => drop(pods.end(&uid)),
                3 => {
                    pods.begin_list();
                    pods.apply(&pod(&uid, version, jobset, attempt, 1, phase), Watch);
                    pods.finish_list();
                }
                _ => drop(pods.apply(&pod(&uid, version, jobset, attempt, random.i32(..4), phase), Watch)),
            }
            for jobset in ["old", "new"] {
                let mut counts = InPlaceCounts::default();
                let records = pods.of_jobset("team", "train");
                let own = |pod: &&Arc<PodRecord>| pod.group.jobset_uid == Some(Uid::from(jobset));
                records.iter().filter(own).for_each(|pod| counts.add(pod));
                let mut found = pods.in_place(jobset);
                if let Some(malformed) = &mut found.malformed {
                    assert!(["x", "-3"].contains(&&*std::mem::take(&mut malformed.value)));
                }
                assert_eq!(found, counts.pods());
            }
        }
    }
}

/// 10 000 pods report one attempt after another. The test prints the time of one report and of one read.
#[test]
fn a_report_of_one_of_many_pods_is_cheap() {
    const PODS: usize = 10_000;
    let pods = all_pods();
    let mut version = 0;
    let mut report_all = |attempt: i32| {
        let text = attempt.to_string();
        let reports: Vec<_> = (0..PODS)
            .map(|number| {
                version += 1;
                pod(&format!("pod-{number}"), version, "js", Some(&text), attempt, "Running")
            })
            .collect();
        let began = Instant::now();
        for report in &reports {
            assert!(pods.apply(report, Watch).unwrap().changes_report());
            assert!(pods.in_place("js").container_restarts >= attempt - 1);
        }
        println!("attempt {attempt}: {:?} for each of {PODS} reports and reads", began.elapsed() / 10_000);
        assert_eq!(pods.in_place("js").attempts, [(attempt, PODS)].into());
    };
    (0..3).for_each(&mut report_all);
}

#[test]
fn pods_of_another_strategy_are_released() {
    let pods = all_pods();
    for (uid, jobset) in [("a", "js"), ("b", "js"), ("c", "other")] {
        pods.apply(&pod(uid, 1, jobset, Some("1"), 0, "Running"), Watch);
    }
    pods.release(
        &serde_json::from_value(json!({"name": "train", "namespace": "team", "uid": "js"})).unwrap(),
    );
    assert_eq!(pods.in_place("js"), InPlacePods::default());
    assert_eq!((pods.len(), pods.in_place("other").attempts), (1, [(1, 1)].into()));
}

fn leader(node: Option<&str>, phase: &str, deleting: bool) -> ObservedPod {
    serde_json::from_value(json!({
        "metadata": {
            "name": "train-worker-0-0-x2k4p", "namespace": "team", "uid": "leader", "resourceVersion": "1",
            "labels": {"jobset.sigs.k8s.io/jobset-name": "train", "jobset.sigs.k8s.io/jobset-uid": "js"},
            "annotations": {
                "alpha.jobset.sigs.k8s.io/exclusive-topology": "rack", "batch.kubernetes.io/job-completion-index": "0",
            },
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "job", "controller": true}],
            "deletionTimestamp": deleting.then_some("2026-11-28T02:10:00Z"),
        },
        "spec": {"nodeName": node},
        "status": {"phase": phase},
    }))
    .unwrap()
}

#[test]
fn a_leader_with_a_node_is_found_by_its_job() {
    let job = |uid: &str, name: &str, leader_first| {
        let mut job = job_record(uid, name);
        job.leader_first = leader_first;
        vec![Arc::new(job)]
    };
    let none = HashSet::new();
    let of = |pod: &ObservedPod, jobs: &[Arc<JobRecord>]| {
        let pods = Pods::default();
        pods.apply(pod, Watch);
        pods.placed_leaders("team", jobs)
    };
    let placed = leader(Some("n1"), "Pending", false);
    assert_eq!(of(&placed, &job("job", "train-worker-0", true)), ["job".to_owned()].into());
    assert_eq!(of(&placed, &job("job", "train-worker-0", false)), none, "it did not start with its leader");
    assert_eq!(of(&placed, &job("successor", "train-worker-0", true)), none);
    assert_eq!(of(&placed, &job("job", "train-worker-1", true)), none);
    for pod in [
        leader(None, "Pending", false),
        leader(Some("n1"), "Failed", false),
        leader(Some("n1"), "Running", true),
    ] {
        assert_eq!(of(&pod, &job("job", "train-worker-0", true)), none, "{pod:?}");
        let record = |pod: &ObservedPod| Pods::default().apply(pod, Watch).unwrap().now;
        assert!(PodChange { before: record(&pod), now: record(&placed) }.moves_leader());
        assert!(PodChange { before: record(&placed), now: record(&pod) }.moves_leader());
        assert!(!PodChange { before: record(&pod), now: None }.moves_leader());
    }
}

fn job_record(uid: &str, name: &str) -> JobRecord {
    use jobset_plan::LabelValue::Missing;
    JobRecord {
        name: name.to_owned(),
        uid: uid.to_owned(),
        replicated_job: Some("worker".to_owned()),
        restart_attempt: Missing,
        template_restart_attempt: Missing,
        job_restart_attempt: Missing,
        template_job_restart_attempt: Missing,
        job_index: Missing,
        parallelism: 1,
        completions: Some(4),
        leader_first: false,
        exclusive: true,
        group_template: None,
        pod_group: None,
        execution_attempt: Missing,
        template_execution_attempt: Missing,
        suspended: false,
        started: true,
        active: 1,
        ready: 0,
        succeeded: 0,
        failed_indexes: 0,
        terminating: 0,
        verdict: None,
        deleting: false,
    }
}
