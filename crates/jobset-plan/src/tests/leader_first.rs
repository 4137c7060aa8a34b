//! Exclusive placement with the feature gate `LeaderFirstPlacement`: three Jobs of four pods.

use super::*;

const WAITS: &str = "waiting: Jobs whose leader pod has no node yet, without their other pods:";

/// A JobSet of three Jobs of these sizes with a topology.
fn placed(size: &str) -> Scene {
    let template = format!("{{spec: {{{size}}}}}");
    let mut scene = jobset(&format!(
        "replicatedJobs: [{{name: driver, template: {template}}}, {{name: worker, replicas: 2, template: {template}}}]"
    ));
    let topology = (labels::EXCLUSIVE_TOPOLOGY.to_owned(), "rack".to_owned());
    scene.jobset.metadata.annotations = Some([topology].into());
    scene.gates("LeaderFirstPlacement")
}

const FOUR: &str = "completionMode: Indexed, parallelism: 4, completions: 4";

impl Scene {
    /// The leaders of these Jobs have a node.
    fn leaders(mut self, jobs: &[&str]) -> Self {
        self.placed_leaders = jobs.iter().map(|job| format!("uid-of-{job}")).collect();
        self
    }
}

/// Parallelism and completions of a new Job, and whether it has the annotation.
fn size(job: &Job) -> (Option<i32>, Option<i32>, bool) {
    let spec = job.spec.as_ref().unwrap();
    let marked = job.metadata.annotations.as_ref().unwrap().contains_key(labels::LEADER_FIRST);
    assert!(
        !spec
            .template
            .metadata
            .as_ref()
            .unwrap()
            .annotations
            .as_ref()
            .unwrap()
            .contains_key(labels::LEADER_FIRST)
    );
    (spec.parallelism, spec.completions, marked)
}

#[test]
fn jobs_with_followers_start_with_their_leader() {
    let sizes = |scene: &Scene| created(&scene.plan()).into_iter().map(size).collect::<Vec<_>>();
    assert_eq!(sizes(&placed(FOUR)), [(Some(1), Some(4), true); 3]);
    let fewer = "completionMode: Indexed, parallelism: 4, completions: 2";
    assert_eq!(sizes(&placed(fewer)), [(Some(1), Some(2), true); 3]);

    let full = [(Some(4), Some(4), false); 3];
    let mut without_gate = placed(FOUR);
    without_gate.gates = Gates::default();
    let mut without_topology = placed(FOUR);
    without_topology.jobset.metadata.annotations = None;
    let mut prepared_nodes = placed(FOUR);
    let strategy = (labels::NODE_SELECTOR_STRATEGY.to_owned(), "true".to_owned());
    prepared_nodes.jobset.metadata.annotations.as_mut().unwrap().extend([strategy]);
    for (what, scene) in [
        ("without the gate", without_gate),
        ("without a topology", without_topology),
        ("nodes are prepared", prepared_nodes),
        ("suspended Jobs have no pods", placed(FOUR).suspend(true)),
    ] {
        assert_eq!(sizes(&scene), full, "{what}");
    }
    let not_indexed = placed("completionMode: NonIndexed, parallelism: 4, completions: 4");
    assert_eq!(sizes(&not_indexed), full, "no pod of such a Job is a leader");
    for no_followers in ["parallelism: 1, completions: 4", "parallelism: 4, completions: 1", ""] {
        let scene = placed(&format!("completionMode: Indexed, {no_followers}"));
        assert!(sizes(&scene).iter().all(|(.., marked)| !marked), "{no_followers}");
    }
}

#[test]
fn followers_are_added_when_the_leader_has_a_node() {
    let started = placed(FOUR).jobs(
        "driver-0 leader-first pods=1/4, worker-0 leader-first pods=1/4, worker-1 leader-first pods=1/4",
    );
    started.expect(&[&format!("{WAITS} 3")]);
    started
        .clone()
        .leaders(&["worker-0"])
        .expect(&["add followers to train-worker-0: 4/4", &format!("{WAITS} 2")]);
    let all = started.leaders(&["driver-0", "worker-0", "worker-1"]);
    all.expect(&[
        "add followers to train-driver-0: 4/4",
        "add followers to train-worker-0: 4/4",
        "add followers to train-worker-1: 4/4",
    ]);
}

#[test]
fn a_leader_that_has_succeeded_had_a_node() {
    let scene =
        placed(FOUR).jobs("driver-0 pods=4/4, worker-0 leader-first pods=1/4 succeeded=1, worker-1 pods=4/4");
    scene.expect(&["add followers to train-worker-0: 4/4"]);
}

#[test]
fn a_job_is_ready_when_all_its_pods_are() {
    let ready = |jobs: &str| {
        let plan = placed(FOUR).jobs(jobs).plan();
        plan.status.unwrap().replicated_jobs_status.iter().map(|entry| entry.ready).sum::<i32>()
    };
    assert_eq!(ready("driver-0 leader-first pods=1/4 ready=1, worker-0 pods=4/4, worker-1 pods=4/4"), 0);
    assert_eq!(
        ready("driver-0 leader-first pods=1/4 ready=4, worker-0 pods=4/4 ready=4, worker-1 pods=4/4"),
        2
    );
}

#[test]
fn a_resume_starts_with_the_leader_again() {
    let scene = placed(FOUR).jobs(
        "driver-0 suspended pods=4/4, worker-0 suspended leader-first pods=1/4, worker-1 suspended pods=1/1",
    );
    assert_eq!(
        actions(&scene.plan()),
        ["resume train-driver-0 as 1/4, leader first", "resume train-worker-0", "resume train-worker-1"]
    );
    let Action::ResumeJob(resume) = &scene.plan().actions[0] else { panic!() };
    let patch = resume.patch(None);
    assert_eq!(patch["metadata"]["annotations"][labels::LEADER_FIRST], "true");
    assert_eq!((&patch["spec"]["parallelism"], &patch["spec"]["suspend"]), (&1.into(), &false.into()));
    assert!(patch["spec"]["template"]["metadata"]["annotations"].get(labels::LEADER_FIRST).is_none());

    let suspended = scene.suspend(true).leaders(&["worker-0"]);
    assert!(actions(&suspended.plan()).is_empty(), "a suspended Job has no pods");
    let running = placed(FOUR).suspend(true).leaders(&["driver-0"]);
    let running = running
        .jobs("driver-0 leader-first pods=1/4, worker-0 suspended pods=4/4, worker-1 suspended pods=4/4");
    assert_eq!(actions(&running.plan()), ["suspend train-driver-0"], "one request for each Job");
}

/// A user adds the topology while the Jobs are suspended, or the pod template names prepared nodes.
#[test]
fn jobs_whose_pods_have_no_leader_get_all_pods() {
    let resumed =
        placed(FOUR).jobs("driver-0 suspended not-exclusive pods=4/4, worker-0 pods=4/4, worker-1 pods=4/4");
    assert_eq!(actions(&resumed.plan()), ["resume train-driver-0"]);
    let started = "driver-0 leader-first not-exclusive pods=1/4, worker-0 pods=4/4, worker-1 pods=4/4";
    placed(FOUR).jobs(started).expect(&["add followers to train-driver-0: 4/4"]);
}

#[test]
fn switching_the_gate_off_adds_the_followers() {
    let mut scene = placed(FOUR).jobs("driver-0 leader-first pods=1/4, worker-0 pods=4/4, worker-1 pods=4/4");
    scene.gates = Gates::default();
    scene.expect(&["add followers to train-driver-0: 4/4"]);
}

#[test]
fn other_jobs_keep_their_size() {
    let leaders = ["driver-0", "worker-0", "worker-1"];
    placed(FOUR)
        .jobs("driver-0 pods=1/4, worker-0 pods=4/4, worker-1 pods=4/4")
        .leaders(&leaders)
        .expect(&[]);
    placed(FOUR)
        .jobs("driver-0 leader-first pods=1/4 deleting, worker-0 pods=4/4, worker-1 pods=4/4")
        .leaders(&leaders)
        .expect(&["waiting: Jobs that a user deleted keep their names until the deletion completes: 1"]);
}

/// An elastic JobSet that changes its size before the followers exist.
#[test]
fn elastic_jobs_get_their_new_size_with_the_followers() {
    let six = "completionMode: Indexed, parallelism: 6, completions: 6";
    let jobs = "driver-0 leader-first pods=1/4, worker-0 pods=6/6, worker-1 pods=6/6";
    let scene = placed(six).gates("ElasticJobSet").jobs(jobs);
    scene.expect(&[&format!("{WAITS} 1")]);
    scene.leaders(&["driver-0"]).expect(&["add followers to train-driver-0: 6/6"]);
    // A suspended Job gets its new size with the resume, because its number of completions changes.
    let resumed = placed(six)
        .gates("ElasticJobSet")
        .jobs("driver-0 suspended pods=4/4, worker-0 pods=6/6, worker-1 pods=6/6");
    assert_eq!(actions(&resumed.plan()), ["resume train-driver-0 as 6/6"]);
}
