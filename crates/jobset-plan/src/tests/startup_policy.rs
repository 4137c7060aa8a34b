//! `spec.startupPolicy`.

use super::*;

const IN_ORDER: &str = "startupPolicy: {startupPolicyOrder: InOrder}";
const IN_PROGRESS: [&str; 2] = [
    "StartupPolicyInProgress=True InOrderStartupPolicyInProgress: in order startup policy is in progress",
    "Normal InOrderStartupPolicyInProgress: in order startup policy is in progress",
];
const COMPLETED: [&str; 2] = [
    "StartupPolicyCompleted=True InOrderStartupPolicyCompleted: in order startup policy has completed",
    "Normal InOrderStartupPolicyCompleted: in order startup policy has completed",
];
const WAITING_FOR_DRIVER: &str =
    "waiting: the startup policy waits for replicatedJob driver to be ready: 0 of 1";

fn waiting_for_worker(ready: u8) -> String {
    format!("waiting: the startup policy waits for replicatedJob worker to be ready: {ready} of 2")
}

#[test]
fn replicated_jobs_start_one_after_another() {
    let scene = jobset(IN_ORDER);
    scene.expect(&["create train-driver-0", IN_PROGRESS[0], IN_PROGRESS[1], WAITING_FOR_DRIVER]);
    let scene = scene.stored().jobs("driver-0");
    scene.expect(&[WAITING_FOR_DRIVER]);
    let scene = scene.stored().jobs("driver-0 ready");
    scene.expect(&["create train-worker-0", "create train-worker-1", &waiting_for_worker(0)]);
    let scene = scene.stored().jobs("driver-0 ready, worker-0 ready, worker-1");
    scene.expect(&[&waiting_for_worker(1)]);
    let scene = scene.stored().jobs("driver-0 ready, worker-0 ready, worker-1 ready");
    // Only the status of the other condition changes.
    scene.expect(&[
        "StartupPolicyInProgress=False InOrderStartupPolicyInProgress: in order startup policy is in progress",
        COMPLETED[0],
        COMPLETED[1],
    ]);
    assert_eq!(scene.stored().plan(), Plan::default());
}

/// A ReplicatedJob without replicas counts as started.
#[test]
fn a_replicated_job_has_started_when_all_its_jobs_are_ready_or_ended() {
    for (jobs, next) in [
        ("driver-0", false),
        ("driver-0 pending", false),
        ("driver-0 suspended pods=0/0", true),
        ("driver-0 ready", true),
        ("driver-0 complete", true),
    ] {
        let created = actions(&jobset(IN_ORDER).jobs(jobs).plan());
        assert_eq!(created.iter().any(|action| action == "create train-worker-0"), next, "{jobs}");
    }
    let none = format!("{IN_ORDER}\nreplicatedJobs: [{{name: none, replicas: 0}}, {{name: worker}}]");
    assert_eq!(actions(&jobset(&none).plan()), ["create train-worker-0"]);
    let none = format!("{IN_ORDER}\nreplicatedJobs: [{{name: none, replicas: 0}}]");
    jobset(&none).expect(&COMPLETED);
}

#[test]
fn with_any_order_there_is_no_condition() {
    let scene = jobset("startupPolicy: {startupPolicyOrder: AnyOrder}");
    scene.expect(&["create train-driver-0", "create train-worker-0", "create train-worker-1"]);
    scene.jobs("driver-0 ready, worker-0 ready, worker-1 ready").expect(&[]);
}

/// The order also applies again when a started ReplicatedJob is no longer ready.
#[test]
fn the_order_applies_again_after_a_restart() {
    let policy = format!("{IN_ORDER}\nfailurePolicy: {{maxRestarts: 2}}");
    let done =
        "StartupPolicyCompleted=True InOrderStartupPolicyCompleted: in order startup policy has completed";
    let was = "StartupPolicyInProgress=False InOrderStartupPolicyInProgress: in order startup policy is in progress";
    let started = jobset(&policy).condition(was).condition(done);
    let restarted = started.clone().restarted(1, 1).jobs("worker-1 deleting");
    restarted.expect(&[
        "create train-driver-0",
        IN_PROGRESS[0],
        "StartupPolicyCompleted=False InOrderStartupPolicyCompleted: in order startup policy has completed (since 5)",
        IN_PROGRESS[1],
        &deleting(1),
        WAITING_FOR_DRIVER,
    ]);
    let driver_ready = restarted.stored().jobs("driver-0 attempt=1 ready");
    driver_ready.expect(&["create train-worker-0", "create train-worker-1", &waiting_for_worker(0)]);

    let not_ready = started.jobs("driver-0, worker-0 ready, worker-1 ready");
    not_ready.expect(&[
        IN_PROGRESS[0],
        "StartupPolicyCompleted=False InOrderStartupPolicyCompleted: in order startup policy has completed (since 5)",
        IN_PROGRESS[1],
        WAITING_FOR_DRIVER,
    ]);
}

/// While suspended, all Jobs are created at once. On resume, they start one after another.
#[test]
fn the_order_applies_on_resume_and_not_while_suspended() {
    let suspended = jobset(IN_ORDER).suspend(true);
    suspended.expect(&[
        "create train-driver-0 suspended",
        "create train-worker-0 suspended",
        "create train-worker-1 suspended",
        "Suspended=True SuspendedJobs: jobset is suspended",
        "Normal SuspendedJobs: jobset is suspended",
        WAITS_SUSPENDED,
    ]);
    let resumed =
        suspended.stored().jobs("driver-0 suspended, worker-0 suspended, worker-1 suspended").suspend(false);
    resumed.expect(&["resume train-driver-0", IN_PROGRESS[0], IN_PROGRESS[1], WAITING_FOR_DRIVER]);
    let waiting = resumed.stored().jobs("driver-0, worker-0 suspended, worker-1 suspended");
    waiting.expect(&[WAITING_FOR_DRIVER]);
    let next = waiting.stored().jobs("driver-0 ready, worker-0 suspended, worker-1 suspended");
    next.expect(&["resume train-worker-0", "resume train-worker-1", &waiting_for_worker(0)]);
    // The JobSet is resumed when the last ReplicatedJob has started.
    let last = next.stored().jobs("driver-0 ready, worker-0 ready, worker-1 ready");
    last.expect(&[
        "Suspended=False ResumeJobs: jobset is resumed",
        "StartupPolicyInProgress=False InOrderStartupPolicyInProgress: in order startup policy is in progress",
        COMPLETED[0],
        COMPLETED[1],
        "Normal ResumeJobs: jobset is resumed",
    ]);
}
