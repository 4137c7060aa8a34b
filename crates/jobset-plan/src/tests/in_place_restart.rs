//! Restart strategy `InPlaceRestart`: two workers of two pods, and a driver of one.

use super::*;

const MESSAGE: &str = "jobset failed due to reaching max number of restarts";

/// A running JobSet whose pods are at these attempts. `restarts` is the highest restart count of a container.
fn pods(attempts: &[i32], restarts: i32) -> Scene {
    let job = |name: &str, replicas: u8, pods: u8| {
        format!(
            "{{name: {name}, replicas: {replicas}, template: {{spec: {{parallelism: {pods}, completions: {pods}, \
             template: {{spec: {{containers: []}}}}}}}}}}"
        )
    };
    let mut scene = jobset(&format!(
        "failurePolicy: {{maxRestarts: 3, restartStrategy: InPlaceRestart}}\nreplicatedJobs: [{}, {}]",
        job("driver", 1, 1),
        job("worker", 2, 2)
    ));
    scene = scene.gates("InPlaceRestart").jobs(RUNNING);
    scene.status();
    scene = scene.stored();
    for attempt in attempts {
        *scene.pods.attempts.entry(*attempt).or_default() += 1;
    }
    scene.pods.container_restarts = restarts;
    scene
}

/// The stored attempts: of pods that restart, and of pods that run.
fn stored(mut scene: Scene, previous: Option<i32>, current: Option<i32>) -> Scene {
    scene.status().previous_in_place_restart_attempt = previous;
    scene.status().current_in_place_restart_attempt = current;
    scene
}

fn reported(count: u8, attempt: u8) -> String {
    format!("waiting: in-place restart: {count} of 5 pods are at attempt {attempt}")
}

#[test]
fn pods_run_when_all_of_them_are_at_the_same_attempt() {
    pods(&[], 0).expect(&[]);
    pods(&[0, 0, 0, 0], 0).expect(&[&reported(4, 0)]);
    pods(&[0, 0, 0, 0, 0], 0).expect(&["current attempt in place: 0"]);
    stored(pods(&[0, 0, 0, 0, 0], 0), None, Some(0)).expect(&[]);
    // A pod that is being deleted still counts, so the barrier stays until it is gone.
    stored(pods(&[1, 1, 1, 1, 1, 1], 0), Some(0), Some(0)).expect(&[&reported(6, 1)]);
}

#[test]
fn pods_of_earlier_attempts_restart() {
    let running = |attempts: &[i32]| stored(pods(attempts, 1), None, Some(0));
    running(&[0, 0, 1, 0, 0]).expect(&["previous attempt in place: 0", &reported(1, 1)]);
    running(&[0, 0, 1, 0]).expect(&["previous attempt in place: 0", &reported(1, 1)]);
    stored(pods(&[0, 1, 1, 0, 0], 1), Some(0), Some(0)).expect(&[&reported(2, 1)]);
    stored(pods(&[1, 1, 1, 1, 1], 1), Some(0), Some(0)).expect(&["current attempt in place: 1"]);
    // A pod failed again during the restart.
    stored(pods(&[0, 1, 1, 0, 2], 1), Some(0), Some(0))
        .expect(&["previous attempt in place: 1", &reported(1, 2)]);
}

#[test]
fn the_previous_attempt_never_decreases() {
    // The pod of attempt 2 is gone, and its successor has not reported yet.
    stored(pods(&[1, 1, 1, 1], 1), Some(1), Some(1)).expect(&[&reported(4, 1)]);
    // A new pod of a lower attempt: an agent derives it from the current attempt of an old status.
    stored(pods(&[2, 2, 2, 2, 1], 1), Some(1), Some(2)).expect(&[&reported(4, 2)]);
}

/// A restart of the whole JobSet creates new pods, whose agents continue with the next attempt.
#[test]
fn attempts_continue_after_the_jobs_were_created_again() {
    let recreated = |attempts: &[i32]| stored(pods(attempts, 0), Some(0), Some(1));
    recreated(&[2, 2]).expect(&["previous attempt in place: 1", &reported(2, 2)]);
    stored(pods(&[2, 2, 2, 2, 2], 0), Some(1), Some(1)).expect(&["current attempt in place: 2"]);
}

#[test]
fn too_many_restarts_fail_the_jobset() {
    let failed = [
        format!("Failed=True ReachedMaxRestarts: {MESSAGE}"),
        "terminalState: Failed".to_owned(),
        format!("Warning ReachedMaxRestarts: {MESSAGE}"),
    ];
    let failed: Vec<&str> = failed.iter().map(String::as_str).collect();
    stored(pods(&[3, 3, 3, 3, 3], 3), None, Some(3)).expect(&[]);
    pods(&[4, 3, 3, 3, 3], 0).expect(&failed);
    pods(&[], 4).expect(&failed);
    // Restarts that do not count towards maxRestarts also increase the attempts.
    let jobs = "driver-0 attempt=1, worker-0 attempt=1, worker-1 attempt=1";
    let mut uncounted = stored(pods(&[], 0), None, Some(4)).restarted(1, 0).jobs(jobs).stored();
    uncounted.pods = pods(&[4, 4, 4, 4, 4], 0).pods;
    uncounted.expect(&[]);
    uncounted.pods = pods(&[5, 4, 4, 4, 4], 0).pods;
    uncounted.expect(&failed);
    // The JobSet fails even if another pod has an invalid annotation.
    let mut both = pods(&[], 4);
    both.pods.malformed = Some(malformed());
    both.expect(&failed);
}

fn malformed() -> MalformedAttempt {
    MalformedAttempt { pod: "train-worker-0-1-abcde".into(), uid: "uid-of-pod".into(), value: "-1".into() }
}

#[test]
fn an_invalid_annotation_is_reported() {
    let why = "pod train-worker-0-1-abcde: invalid value for annotation \
               jobset.sigs.k8s.io/in-place-restart-attempt, must be non-negative integer: \"-1\"";
    let mut scene = pods(&[1, 1, 1, 1], 0);
    scene.pods.malformed = Some(malformed());
    scene.expect(&[
        &format!(
            "of uid-of-pod: InvalidInPlaceRestartAttempt {why}; delete the pod so that its agent writes the \
             annotation again"
        ),
        &format!("waiting: {why}"),
    ]);
}

#[test]
fn sizes_must_be_set_and_equal() {
    let mut scene = pods(&[0, 0, 0, 0, 0], 0);
    let spec = scene.jobset.spec.replicated_jobs[1].template.spec.as_mut().unwrap();
    spec.completions = Some(9);
    scene.expect(&["waiting: worker: in-place restart requires jobTemplate.spec.completions == \
                    jobTemplate.spec.parallelism != nil"]);
}

#[test]
fn other_strategies_and_a_disabled_gate_ignore_pods() {
    let mut scene = pods(&[4, 4], 9);
    scene.gates = Gates::default();
    scene.expect(&[]);
    let mut scene = pods(&[4, 4], 9);
    scene.jobset.spec.failure_policy = None;
    scene.expect(&[]);
}

#[test]
fn agents_wait_for_the_attempts_so_the_status_is_stored_now() {
    assert!(pods(&[0, 0, 0, 0, 0], 0).plan().status_is_urgent);
    assert!(stored(pods(&[0, 1], 0), None, Some(0)).plan().status_is_urgent);
}
