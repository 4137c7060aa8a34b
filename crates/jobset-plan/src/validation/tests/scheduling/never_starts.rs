//! Pods of a gang that would wait for each other.

use super::*;

const TOPOLOGY: &str = "alpha.jobset.sigs.k8s.io/exclusive-topology";

/// Exclusive placement of these objects: pairs of a JSON pointer of their metadata and whether nodes are prepared.
pub(in super::super) fn exclusive(levels: &[(&str, bool)]) -> Vec<(String, Value)> {
    let annotations = |prepared: bool| {
        let mut annotations = json!({TOPOLOGY: "rack"});
        if prepared {
            annotations["alpha.jobset.sigs.k8s.io/node-selector"] = json!("true");
        }
        annotations
    };
    levels.iter().map(|(level, prepared)| (format!("{level}/annotations"), annotations(*prepared))).collect()
}

/// The error of exclusive placement.
pub(in super::super) fn waits_for_leader(path: &str, replicated_job: &str) -> String {
    format!(
        "{path}.annotations[{TOPOLOGY}]: Invalid value: \"rack\": cannot be set when spec.scheduling places the pods of \
         replicatedJob \"{replicated_job}\" as a gang: the pods wait until the pod of index 0 has a node, and this pod \
         waits for the gang; use schedulingConstraints.topology in spec.scheduling instead, or also set the annotation \
         alpha.jobset.sigs.k8s.io/node-selector"
    )
}

#[test]
fn a_gang_has_no_exclusive_placement_by_affinity() {
    const JOB: &str = "/spec/replicatedJobs/1/template/metadata";
    const POD: &str = "/spec/replicatedJobs/1/template/spec/template/metadata";
    let of_jobset = waits_for_leader("metadata", "driver");
    let of_job = waits_for_leader("spec.replicatedJobs[1].template.metadata", "worker");
    let of_pod = waits_for_leader("spec.replicatedJobs[1].template.spec.template.metadata", "worker");
    for (what, scheduling, levels, expected) in [
        ("of the JobSet", gang(), vec![("/metadata", false)], vec![&of_jobset]),
        ("of the Job", gang(), vec![(JOB, false)], vec![&of_job]),
        ("of the pod", gang(), vec![(POD, false)], vec![&of_pod]),
        (
            "of all",
            separate(),
            vec![("/metadata", false), (JOB, false), (POD, false)],
            vec![&of_jobset, &of_job],
        ),
        ("an entry", shared(), vec![(JOB, false)], vec![&of_job]),
        ("each Job", scheduling(each_job(3)), vec![(JOB, false)], vec![&of_job]),
        ("each Job, and one pod suffices", scheduling(each_job(1)), vec![(JOB, false)], vec![]),
        ("basic", basic(), vec![("/metadata", false)], vec![]),
        ("a basic entry", shared_basic(), vec![("/metadata", false)], vec![]),
        ("prepared nodes", gang(), vec![("/metadata", true)], vec![]),
        ("prepared nodes of the Job", separate(), vec![(JOB, true)], vec![]),
        ("prepared nodes, by the JobSet", gang(), vec![("/metadata", true), (POD, false)], vec![]),
    ] {
        let mut edits = vec![scheduling];
        let annotations = exclusive(&levels);
        edits.extend(annotations.iter().map(|(pointer, value)| (pointer.as_str(), value.clone())));
        check(vec![(what, edits, expected.into_iter().map(String::as_str).collect())]);
    }
    let single = of_worker("parallelism", json!(1));
    let annotations = exclusive(&[(JOB, false)]);
    let edits =
        vec![gang(), (annotations[0].0.as_str(), annotations[0].1.clone()), (single.0.as_str(), single.1)];
    check(vec![("Jobs of one pod have no followers", edits, vec![])]);
    let edits = vec![
        scheduling(each_job(3)),
        (annotations[0].0.as_str(), annotations[0].1.clone()),
        ("/spec/replicatedJobs/1/replicas", json!(0)),
    ];
    check(vec![("without Jobs", edits, vec![])]);
}

/// [`valid`] with these ReplicatedJobs, each with the names of its dependencies.
fn ordered(replicated_jobs: &[(&str, &[&str])]) -> (&'static str, Value) {
    let list = replicated_jobs.iter().map(|(name, depends_on)| {
        let mut replicated_job = valid()["spec"]["replicatedJobs"][0].clone();
        replicated_job["name"] = json!(name);
        let depends_on: Vec<_> =
            depends_on.iter().map(|name| json!({"name": name, "status": "Ready"})).collect();
        if !depends_on.is_empty() {
            replicated_job["dependsOn"] = json!(depends_on);
        }
        replicated_job
    });
    ("/spec/replicatedJobs", list.collect())
}

/// The error of a ReplicatedJob that must run before others of its PodGroup.
pub(in super::super) fn must_run_first(entry: usize, target: usize, name: &str, why: &str) -> String {
    format!(
        "spec.scheduling.replicatedJobs[{entry}].targetReplicatedJobs[{target}]: Invalid value: \"{name}\": must run \
         before other replicatedJobs of the same PodGroup are created ({why}), and its pods wait for the whole PodGroup; \
         put it into an entry of its own, or set schedulingPolicy basic"
    )
}

#[test]
fn the_members_of_a_gang_do_not_wait_for_each_other() {
    let entries = |entries: &[&[&str]]| {
        let entries: Vec<_> =
            entries.iter().map(|targets| json!({"targetReplicatedJobs": targets})).collect();
        scheduling(json!({"replicatedJobs": entries}))
    };
    let depends_on = |entry, target, name| must_run_first(entry, target, name, "dependsOn");
    let chain = || ordered(&[("a", &[]), ("b", &["a"]), ("c", &["b"])]);
    let crossed = || ordered(&[("a", &[]), ("b", &[]), ("c", &["a"]), ("d", &["b"])]);
    let itself = || ordered(&[("a", &[]), ("b", &["b"])]);
    for (what, jobs, entries, expected) in [
        ("one each", chain(), entries(&[&["a"], &["b"], &["c"]]), vec![]),
        ("neighbors", chain(), entries(&[&["b", "a"], &["c"]]), vec![depends_on(0, 1, "a")]),
        ("through another", chain(), entries(&[&["a", "c"], &["b"]]), vec![depends_on(0, 0, "a")]),
        ("all", chain(), entries(&[&["a", "b", "c"]]), vec![depends_on(0, 0, "a")]),
        ("independent", crossed(), entries(&[&["a", "b"], &["c", "d"]]), vec![]),
        ("a later gang", crossed(), entries(&[&["a"], &["b"], &["c", "d"]]), vec![]),
        (
            "through another gang",
            crossed(),
            entries(&[&["a", "d"], &["b", "c"]]),
            vec![depends_on(0, 0, "a"), depends_on(1, 0, "b")],
        ),
        ("itself: a warning", itself(), entries(&[&["a", "b"]]), vec![]),
    ] {
        check(vec![(what, vec![jobs, entries], expected.iter().map(String::as_str).collect())]);
    }
    let in_order = || ("/spec/startupPolicy", json!({"startupPolicyOrder": "InOrder"}));
    let of_order = must_run_first(0, 1, "driver", "startupPolicy InOrder");
    check(vec![
        ("InOrder", vec![in_order(), shared()], vec![&of_order]),
        ("InOrder, separate entries", vec![in_order(), separate()], vec![]),
        ("InOrder, basic", vec![in_order(), shared_basic()], vec![]),
        (
            "dependsOn, basic",
            vec![
                shared_basic(),
                ("/spec/replicatedJobs/1/dependsOn", json!([{"name": "driver", "status": "Ready"}])),
            ],
            vec![],
        ),
        (
            "InOrder, the others have no Jobs",
            vec![in_order(), shared(), ("/spec/replicatedJobs/1/replicas", json!(0))],
            vec![],
        ),
    ]);
}
