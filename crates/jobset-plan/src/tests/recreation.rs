use super::*;
use std::time::Duration;

/// The Jobs of a snapshot: this many that run, and this many that are being deleted.
fn jobs(running: usize, deleting: usize) -> Vec<Arc<JobRecord>> {
    let names: Vec<_> = (0..running)
        .map(|index| format!("worker-{index}"))
        .chain((running..running + deleting).map(|index| format!("worker-{index} deleting")))
        .collect();
    jobset("").jobs(&names.join(", ")).jobs
}

#[test]
fn creations_wait_while_deletions_make_progress() {
    let mut recreation = Recreation::default();
    let at = Duration::from_millis;
    for (time, running, deleting, expected, why) in [
        (0, 9, 0, None, "nothing is deleted"),
        (1000, 0, 9, None, "no Job is gone yet"),
        (2000, 0, 7, Some(500), "the first names are free"),
        (2400, 0, 7, Some(100), "another change"),
        (2450, 0, 6, Some(500), "one more name is free"),
        (2950, 0, 6, None, "the other deletions make no progress"),
        (3000, 3, 6, None, "three Jobs were created"),
        (9000, 3, 5, Some(500), "the next name is free"),
        (9200, 3, 0, None, "the last Job is gone"),
        (9300, 9, 0, None, "all Jobs were created"),
    ] {
        let wait = recreation.wait(&jobs(running, deleting), at(time));
        assert_eq!(wait, expected.map(at), "{why}");
    }
}

#[test]
fn slow_deletions_delay_creations_by_at_most_five_seconds() {
    let mut recreation = Recreation::default();
    let at = Duration::from_millis;
    recreation.wait(&jobs(0, 40), at(0));
    let waits: Vec<_> =
        (0..20).map(|step| recreation.wait(&jobs(0, 39 - step), at(1000 + 400 * step as u64))).collect();
    assert_eq!(waits[0], Some(at(500)));
    assert_eq!(waits[12], Some(at(200)), "5 s after the first deletion");
    assert_eq!(waits[13], None, "creations proceed");
    assert_eq!(waits[14], Some(at(500)), "the next names");
}

#[test]
fn held_creations_are_sent_together() {
    let policy = "failurePolicy: {maxRestarts: 3}";
    let scene =
        jobset(policy).restarted(1, 1).jobs("driver-0 attempt=0 deleting, worker-0 attempt=0 deleting");
    let creates = |scene: &Scene| {
        scene.plan().actions.iter().filter(|action| matches!(action, Action::CreateJob(_))).count()
    };
    assert_eq!((creates(&scene), scene.plan().requeue_after), (1, None), "Job worker-1 does not exist");
    let mut held = scene.clone();
    held.creation_wait = Some(Duration::from_millis(300));
    assert_eq!((creates(&held), held.plan().requeue_after), (0, Some(Duration::from_millis(300))));
    let mut complete = jobset(policy)
        .restarted(1, 1)
        .jobs("driver-0 attempt=0 deleting, worker-0 attempt=1, worker-1 attempt=1");
    complete.creation_wait = Some(Duration::from_millis(300));
    assert_eq!(complete.plan().requeue_after, None, "no Job is missing");
}
