//! minCount: the number of pods that have not ended.

use super::*;

/// The minCount of the first group of a new JobSet, and whether it has a group.
fn min_count(scene: &Scene) -> Option<i32> {
    scene.plan().actions.iter().find_map(|action| match action {
        Action::Scheduling(SchedulingAction::CreatePodGroup(pod_group)) => {
            Some(pod_group.spec.scheduling_policy.gang.as_ref().unwrap().min_count)
        }
        _ => None,
    })
}

fn solo(replicas: &str, job: &str, scheduling: &str) -> Scene {
    gang(&format!(
        "replicatedJobs: [{{name: solo, replicas: {replicas}, template: {{spec: {job}}}}}]\nscheduling: {scheduling}"
    ))
}

const EACH: &str = "{replicatedJobs: [{targetReplicatedJobs: [solo], job: {}}]}";

fn explicit(min_count: i32) -> String {
    format!(
        "{{replicatedJobs: [{{targetReplicatedJobs: [solo], \
         job: {{schedulingPolicy: {{gang: {{minCount: {min_count}}}}}}}}}]}}"
    )
}

#[test]
fn a_new_group_counts_the_pods_that_run_at_the_same_time() {
    for (replicas, job, scheduling, expected) in [
        ("2", "{}", "{}", Some(2)),
        ("2", "{parallelism: 3}", "{}", Some(6)),
        ("2", "{parallelism: 3, completions: 5}", "{}", Some(6)),
        // A Job never has more pods than completions (trap 4).
        ("2", "{parallelism: 3, completions: 2}", "{}", Some(4)),
        ("2", "{completions: 5}", "{}", Some(2)),
        ("2", "{parallelism: 3}", EACH, Some(3)),
        ("2", "{parallelism: 3, completions: 2}", EACH, Some(2)),
        ("2", "{parallelism: 3}", &explicit(2), Some(2)),
        ("2", "{parallelism: 3, completions: 1}", &explicit(2), Some(1)),
        // The API server rejects 0 (trap 9).
        ("2", "{parallelism: 0}", "{}", Some(1)),
        ("2", "{parallelism: 0}", EACH, Some(1)),
        ("0", "{parallelism: 3}", "{}", Some(1)),
        ("0", "{parallelism: 3}", EACH, None),
        // A sum is not larger than the field.
        ("2", "{parallelism: 2000000000}", "{}", Some(i32::MAX)),
    ] {
        let scene = solo(replicas, job, scheduling);
        assert_eq!(min_count(&scene), expected, "{replicas} {job} {scheduling}");
    }
}

/// A Workload without templates is invalid, and a JobSet without Jobs needs none (trap 9).
#[test]
fn a_jobset_without_groups_has_no_workload() {
    let scene = gang(
        "replicatedJobs: [{name: solo, replicas: 0}, {name: other}]\n\
         scheduling: {replicatedJobs: [{targetReplicatedJobs: [solo], job: {}}]}",
    );
    scene.expect_lines(&["create train-other-0"]);
    let mut not_served = scene;
    not_served.scheduling = None;
    not_served.expect_lines(&["create train-other-0"]);
}

/// Trap 6: the scheduler does not count finished pods.
#[test]
fn succeeded_pods_do_not_count() {
    let four = "{parallelism: 4, completions: 4}";
    for (job, scheduling, jobs, expected) in [
        (four, "{}", "solo-0 pods=4/4 suspended, solo-1 pods=4/4 suspended", Some(8)),
        (four, "{}", "solo-0 pods=4/4 suspended succeeded=3, solo-1 pods=4/4 suspended", Some(5)),
        (four, "{}", "solo-0 pods=4/4 complete, solo-1 pods=4/4 suspended succeeded=1", Some(3)),
        (four, "{}", "solo-0 complete", Some(4)),
        (four, "{}", "solo-0 complete, solo-1 suspended pods=4/4 succeeded=4", Some(1)),
        // The Job controller replaces pods until the last completions.
        ("{parallelism: 2, completions: 9}", EACH, "solo-0 pods=2/9 suspended succeeded=5, solo-1", Some(2)),
        ("{parallelism: 2, completions: 9}", EACH, "solo-0 pods=2/9 suspended succeeded=8, solo-1", Some(1)),
        // Without completions, no pod follows after the first has succeeded.
        ("{parallelism: 3}", EACH, "solo-0 pods=3/ suspended active=0, solo-1", Some(3)),
        ("{parallelism: 3}", EACH, "solo-0 pods=3/ suspended succeeded=1 active=0, solo-1", Some(1)),
        // The Job controller does not replace the pods of a failed index (backoffLimitPerIndex).
        (four, "{}", "solo-0 pods=4/4 suspended succeeded=1 failed-indexes=2, solo-1 complete", Some(1)),
        // An explicit minCount is an upper limit.
        (four, &explicit(3), "solo-0 pods=4/4 suspended succeeded=1, solo-1", Some(3)),
        (four, &explicit(3), "solo-0 pods=4/4 suspended succeeded=2, solo-1", Some(2)),
        // The controller creates Jobs that were deleted, and those of an earlier attempt, again.
        (four, "{}", "solo-0 pods=4/4 succeeded=3 deleting, solo-1 complete", Some(4)),
        (four, "{}", "solo-0 complete deleting, solo-1 pods=4/4 suspended succeeded=3", Some(5)),
        // A size that a user has changed.
        (four, "{}", "solo-0 pods=2/4 suspended, solo-1 complete", Some(2)),
    ] {
        let scene = solo("2", job, scheduling).grouped(jobs);
        assert_eq!(min_count(&scene), expected, "{job} {scheduling} {jobs}");
    }
    let restarted = solo("1", four, "{}").restarted(1, 1).grouped("solo-0 pods=4/4 succeeded=3 attempt=0");
    assert_eq!(min_count(&restarted), Some(4));
}

/// A Job that started while the gate was off has no pods in the group.
#[test]
fn jobs_outside_of_the_group_do_not_count() {
    let scene = solo("2", "{parallelism: 4}", "{}");
    assert_eq!(min_count(&scene.clone().jobs("solo-0 pods=4/ active=4")), Some(4));
    assert_eq!(min_count(&scene.clone().jobs("solo-0 pods=4/, solo-1 pods=4/")), Some(1));
    // A suspended one is created again, with all its pods.
    let suspended = scene.jobs("solo-0 pods=4/ suspended succeeded=3, solo-1 pods=4/");
    assert_eq!(min_count(&suspended), Some(4));
}

/// With the gate ElasticJobSet, `parallelism` changes while the pods run.
#[test]
fn a_scaled_job_changes_mincount_in_place() {
    let of = |pods: i32| {
        let job = format!("{{parallelism: {pods}, completions: {pods}}}");
        solo("1", &job, "{}").gates("ElasticJobSet")
    };
    let running = "solo-0 pods=4/4 active=4 ready=4";
    let scene = of(4).grouped(running).settled();
    scene.expect_lines(&[]);
    for (pods, is) in [(6, "6"), (2, "2")] {
        let mut scaled = scene.clone();
        scaled.jobset.spec.replicated_jobs = of(pods).jobset.spec.replicated_jobs;
        let workload = format!("scale Workload train: train to {is}");
        let pod_group = format!("scale PodGroup train to {is}");
        scaled.expect_actions(&[&workload, &pod_group, &format!("scale train-solo-0 to {is}/{is}")]);
        let scaled = scaled.executed().grouped(&format!("solo-0 pods={is}/{is} active=4 ready=4"));
        scaled.expect_actions(&[]);
    }
    // Without that gate, the number of pods does not follow the template.
    let mut scaled = scene;
    scaled.gates.elastic_jobset = false;
    scaled.jobset.spec.replicated_jobs = of(6).jobset.spec.replicated_jobs;
    scaled.expect_actions(&[]);
}

/// A Job that starts with its leader has one pod until the leader has a node.
#[test]
fn a_leader_without_followers_counts_alone() {
    let scene = solo("1", "{parallelism: 4, completions: 4}", "{}").gates("ElasticJobSet");
    assert_eq!(min_count(&scene.grouped("solo-0 pods=1/4 leader-first")), Some(1));
}

/// minCount matters only to pods without a node. A Job whose pods succeed one after another causes no write.
#[test]
fn mincount_is_lowered_when_a_pod_waits() {
    let scene = solo("1", "{parallelism: 4, completions: 4}", "{}");
    let scene = scene.grouped("solo-0 pods=4/4 active=4 ready=4").settled();
    for (job, expected) in [
        ("pods=4/4 active=3 ready=3 succeeded=1", None),
        ("pods=4/4 active=1 ready=1 succeeded=3", None),
        ("pods=4/4 active=0 ready=0 succeeded=4", None),
        // A pod failed, and its replacement waits for a node, or does not exist yet.
        ("pods=4/4 active=2 ready=1 succeeded=2", Some(2)),
        ("pods=4/4 active=1 ready=1 succeeded=2", Some(2)),
    ] {
        let actions = scene.clone().grouped(&format!("solo-0 {job}")).action_lines();
        let expected = expected.map(|pods| {
            [format!("scale Workload train: train to {pods}"), format!("scale PodGroup train to {pods}")]
        });
        let expected: Vec<String> = expected.into_iter().flatten().collect();
        assert_eq!(actions, expected, "{job}");
    }
    // A restart needs all pods again.
    let lowered = scene.grouped("solo-0 pods=4/4 active=2 ready=1 succeeded=2").executed();
    lowered.expect_actions(&[]);
    lowered
        .restarted(1, 1)
        .grouped("solo-0 pods=4/4 attempt=0 deleting")
        .expect_actions(&["scale Workload train: train to 4", "scale PodGroup train to 4"]);
}

/// RestartJob beside a completed Job.
#[test]
fn the_restart_of_one_job_counts_its_pods_alone() {
    let scene = solo("2", "{parallelism: 4, completions: 4}", "{}").gates("RestartJob");
    let running = "solo-0 pods=4/4 active=4 ready=4 restart=0, solo-1 pods=4/4 active=4 ready=4 restart=0";
    let scene = scene.grouped(running).settled();
    let restarted = scene.jobs_restarted("solo", &[1, 0], &[1, 0]);
    restarted
        .grouped("solo-0 pods=4/4 restart=0 deleting, solo-1 complete restart=0")
        .expect_actions(&["scale Workload train: train to 4", "scale PodGroup train to 4"]);
}
