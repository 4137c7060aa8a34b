//! `replicatedJobs[].dependsOn`.

use super::*;

fn dependent(status: &str) -> String {
    format!(
        "replicatedJobs: [{{name: driver, replicas: 2}}, {{name: worker, dependsOn: [{{name: driver, status: {status}}}]}}]"
    )
}

#[test]
fn each_status_of_a_dependency() {
    for (status, jobs, reached) in [
        ("Ready", "driver-0, driver-1", Err("to be Ready: 0 of 2")),
        ("Ready", "driver-0 ready, driver-1", Err("to be Ready: 1 of 2")),
        ("Ready", "driver-0 ready, driver-1 ready", Ok(())),
        ("Ready", "driver-0 ready, driver-1 complete", Ok(())),
        ("Ready", "driver-0 complete, driver-1 complete", Ok(())),
        ("Complete", "driver-0 ready, driver-1 ready", Err("to be Complete: 0 of 2")),
        ("Complete", "driver-0 complete, driver-1 ready", Err("to be Complete: 1 of 2")),
        ("Complete", "driver-0 complete, driver-1 complete", Ok(())),
        ("Sideways", "driver-0 complete, driver-1 complete", Err("to be Sideways: 0 of 2")),
    ] {
        let plan = jobset(&dependent(status)).jobs(jobs).plan();
        let expected = match reached {
            Ok(()) => (vec!["create train-worker-0".to_owned()], vec![]),
            Err(why) => (vec![], vec![format!("replicatedJob worker waits for replicatedJob driver {why}")]),
        };
        assert_eq!((actions(&plan), plan.waiting), expected, "{status} {jobs}");
    }
}

#[test]
fn several_replicated_jobs_depend_on_several() {
    let scene = jobset(
        "replicatedJobs: [{name: a}, {name: b, dependsOn: [{name: a, status: Ready}]}, \
         {name: c, dependsOn: [{name: a, status: Complete}, {name: b, status: Ready}]}, {name: d}]",
    );
    let waits = |dependent: &str, dependency: &str, why: &str| {
        format!("waiting: replicatedJob {dependent} waits for replicatedJob {dependency} to be {why}")
    };
    // Only dependent ReplicatedJobs wait. Later ReplicatedJobs without dependencies do not.
    scene.expect(&[
        "create train-a-0",
        "create train-d-0",
        &waits("b", "a", "Ready: 0 of 1"),
        &waits("c", "a", "Complete: 0 of 1"),
    ]);
    let scene = scene.stored().jobs("a-0 ready, d-0");
    scene.expect(&["create train-b-0", &waits("c", "a", "Complete: 0 of 1")]);
    let scene = scene.stored().jobs("a-0 complete, b-0, d-0");
    scene.expect(&[&waits("c", "b", "Ready: 0 of 1")]);
    let scene = scene.stored().jobs("a-0 complete, b-0 ready, d-0");
    scene.expect(&["create train-c-0"]);
}

#[test]
fn a_dependency_without_replicas_is_met_and_an_absent_one_is_not() {
    for status in ["Ready", "Complete"] {
        let scene = jobset(&format!(
            "replicatedJobs: [{{name: none, replicas: 0}}, {{name: worker, dependsOn: [{{name: none, status: {status}}}]}}]"
        ));
        scene.expect(&["create train-worker-0"]);
    }
    jobset("replicatedJobs: [{name: none, replicas: 0}, {name: worker, dependsOn: [{name: none, status: Sideways}]}]")
        .expect(&["waiting: replicatedJob worker waits for replicatedJob none to be Sideways: 0 of 0"]);
    jobset("replicatedJobs: [{name: worker, dependsOn: [{name: ghost, status: Ready}]}]")
        .expect(&["waiting: replicatedJob worker waits for replicatedJob ghost, which does not exist"]);
}

/// After a restart, Jobs of the new attempt must reach the status again.
#[test]
fn dependencies_apply_again_after_a_restart() {
    let spec = format!("{}\nfailurePolicy: {{maxRestarts: 1}}", dependent("Complete"));
    let restarted = jobset(&spec).jobs("driver-0 complete, driver-1 complete, worker-0 failed@9").stored();
    let waiting = |count| {
        format!("waiting: replicatedJob worker waits for replicatedJob driver to be Complete: {count} of 2")
    };
    restarted.expect(&[
        "delete train-driver-0",
        "delete train-driver-1",
        "delete train-worker-0",
        &deleting(3),
        &waiting(0),
    ]);
    let next = restarted.stored().jobs("driver-0 attempt=1 complete, driver-1 complete deleting");
    next.expect(&[&deleting(1), &waiting(1)]);
    next.jobs("driver-0 attempt=1 complete, driver-1 attempt=1 complete").expect(&["create train-worker-0"]);
}

/// While suspended, dependent Jobs are not created. They are resumed only when the dependency is met.
#[test]
fn dependencies_apply_while_suspended_and_on_resume() {
    let ready = dependent("Ready");
    let waiting = "waiting: replicatedJob worker waits for replicatedJob driver to be Ready: 0 of 2";
    let suspended = jobset(&ready).suspend(true);
    suspended.expect(&[
        "create train-driver-0 suspended",
        "create train-driver-1 suspended",
        "Suspended=True SuspendedJobs: jobset is suspended",
        "Normal SuspendedJobs: jobset is suspended",
        waiting,
        WAITS_SUSPENDED,
    ]);
    // The JobSet was suspended while all Jobs ran.
    let all = "driver-0 suspended, driver-1 suspended, worker-0 suspended";
    let resumed = suspended.stored().jobs(all).suspend(false);
    resumed.expect(&[
        "resume train-driver-0",
        "resume train-driver-1",
        "Suspended=False ResumeJobs: jobset is resumed",
        "Normal ResumeJobs: jobset is resumed",
        waiting,
    ]);
    resumed
        .stored()
        .jobs("driver-0 ready, driver-1 ready, worker-0 suspended")
        .expect(&["resume train-worker-0"]);
}
