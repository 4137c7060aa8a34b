use super::*;
use crate::status_timing::only_counts;
use std::time::Duration;

/// Whether the status of `jobs` is urgent while the status of `before` is stored.
fn is_urgent(scene: &Scene, before: &str, jobs: &str) -> bool {
    let mut stored = scene.clone().jobs(before).stored();
    // The stored conditions are up to date, so only the counts differ.
    let conditions = stored.clone().jobs(jobs).plan().status.map(|status| status.conditions);
    stored.status().conditions = conditions.unwrap_or_default();
    let plan = stored.jobs(jobs).plan();
    assert!(plan.status.is_some(), "{before:?} and {jobs:?} differ");
    plan.status_is_urgent
}

#[test]
fn counts_that_no_client_waits_for_can_wait() {
    let scene = jobset("");
    for (before, after) in [
        (RUNNING, "driver-0 ready, worker-0, worker-1"),
        ("driver-0 pending, worker-0 pending, worker-1 pending", RUNNING),
        ("driver-0 ready, worker-0 ready, worker-1", "driver-0 ready, worker-0, worker-1"),
        ("driver-0 ready, worker-0 ready, worker-1 ready", RUNNING),
        (
            "driver-0 ready, worker-0 ready, worker-1 ready",
            "driver-0 complete, worker-0 ready, worker-1 ready",
        ),
        // The pods of the last Job have succeeded, but the Job has no condition yet.
        (
            "driver-0 complete, worker-0 complete, worker-1",
            "driver-0 complete, worker-0 complete, worker-1 active=0",
        ),
        // A user deleted the remaining Jobs. No Job does not mean all Jobs.
        (RUNNING, ""),
    ] {
        assert!(!is_urgent(&scene, before, after), "{before} -> {after}");
    }
}

#[test]
fn the_status_of_a_new_jobset_can_wait() {
    let plan = jobset("").plan();
    assert!(plan.status.is_some() && !plan.status_is_urgent);
}

#[test]
fn counts_that_clients_wait_for_are_urgent() {
    let scene = jobset("");
    for (before, after) in [
        (RUNNING, "driver-0 ready, worker-0 ready, worker-1 ready"),
        ("driver-0 complete, worker-0 ready, worker-1", "driver-0 complete, worker-0 ready, worker-1 ready"),
    ] {
        assert!(is_urgent(&scene, before, after), "all ready: {before} -> {after}");
    }
    let failing = jobset("failurePolicy: {maxRestarts: 1, rules: [{name: alone, action: RestartJob}]}");
    assert!(is_urgent(&failing, RUNNING, "driver-0 failed@7, worker-0, worker-1"), "failed");

    // The deadline includes the time in which a request fails.
    let starts =
        jobset("activeDeadlineSeconds: 60").gates("JobSetActiveDeadlineSeconds").plan().status.unwrap();
    let started = only_counts(None, &starts).unwrap();
    assert!(started.start_time.is_some() && started.start_time == starts.start_time, "{started:?}");
    let later = JobSetStatus { start_time: None, ..starts };
    assert_eq!(only_counts(Some(&started), &later), None, "the start time stays");

    let suspended = jobset("").suspend(true);
    for (before, after) in [
        (RUNNING, "driver-0 suspended active=1, worker-0 suspended active=1, worker-1 suspended active=1"),
        (
            "driver-0 suspended, worker-0 suspended, worker-1 suspended active=1",
            "driver-0 suspended, worker-0 suspended, worker-1 suspended",
        ),
        (
            "driver-0 complete, worker-0 suspended, worker-1",
            "driver-0 complete, worker-0 suspended, worker-1 suspended",
        ),
    ] {
        assert!(is_urgent(&suspended, before, after), "all suspended: {before} -> {after}");
    }
    let before = "driver-0 suspended, worker-0 suspended, worker-1 suspended";
    let some = "driver-0 active=0, worker-0 suspended, worker-1 suspended";
    assert!(
        is_urgent(&scene, before, "driver-0 active=0, worker-0 active=0, worker-1 active=0"),
        "all resumed"
    );
    assert!(is_urgent(&scene, some, RUNNING), "the last ones resumed");
    assert!(!is_urgent(&scene, before, some), "not all yet");
    for (before, after) in [
        (RUNNING, "driver-0 suspended, worker-0, worker-1"),
        (
            "driver-0 suspended active=1, worker-0 suspended active=1, worker-1 suspended",
            "driver-0 suspended active=1, worker-0 suspended, worker-1 suspended",
        ),
    ] {
        assert!(!is_urgent(&suspended, before, after), "not all yet: {before} -> {after}");
    }
}

#[test]
fn every_change_except_for_counts_is_urgent() {
    let policy = "failurePolicy: {maxRestarts: 3}";
    for (scene, jobs) in [
        (jobset(""), "driver-0 failed@7, worker-0, worker-1"),
        (jobset(""), "driver-0 complete, worker-0 complete, worker-1 complete"),
        (jobset("").suspend(true), RUNNING),
        (jobset("startupPolicy: {startupPolicyOrder: InOrder}"), ""),
        (jobset(policy), "driver-0 failed@7, worker-0, worker-1"),
        (
            jobset("failurePolicy: {maxRestarts: 3, rules: [{name: alone, action: RestartJob}]}")
                .gates("RestartJob"),
            "driver-0 failed@7, worker-0, worker-1",
        ),
    ] {
        assert!(scene.clone().jobs(jobs).plan().status_is_urgent, "{jobs}");
    }
    // After a restart, the counts are those of another attempt.
    let restarted = jobset(policy).jobs("driver-0 failed@7, worker-0 ready, worker-1 ready").stored();
    assert_eq!(restarted.clone().jobset.status.unwrap().replicated_jobs_status[0].ready, 2);
    let plan = restarted.plan();
    assert_eq!(plan.status.unwrap().replicated_jobs_status[0].ready, 0);
    assert!(plan.status_is_urgent);
}

#[test]
fn only_the_counts_of_a_failed_plan_are_stored() {
    let policy = "failurePolicy: {maxRestarts: 3, rules: [{name: alone, action: RestartJob}]}";
    let stored =
        jobset(policy).gates("RestartJob").jobs_restarted("worker", &[0, 2], &[0, 1]).restarted(1, 1);
    let scene =
        stored.jobs("driver-0 attempt=1 ready, worker-0 attempt=1 failed@9, worker-1 attempt=1 restart=2");
    let new = scene.plan().status.unwrap();
    assert_eq!(new.replicated_jobs_status[0].job_restarts, [1, 2]);
    let counts = only_counts(scene.jobset.status.as_ref(), &new).unwrap();
    let [worker, driver] = &counts.replicated_jobs_status[..] else { panic!("{counts:?}") };
    assert_eq!((driver.ready, worker.failed, worker.active), (1, 1, 1));
    assert_eq!(
        (&worker.job_restarts[..], &worker.job_restarts_count_towards_max[..]),
        (&[0, 2][..], &[0, 1][..])
    );
    assert_eq!(only_counts(Some(&counts), &new), None, "the counts are already stored");

    let suspended = jobset("").jobs(RUNNING).suspend(true).plan().status.unwrap();
    let counts = only_counts(None, &suspended).unwrap();
    assert_eq!(
        (counts.conditions, counts.replicated_jobs_status),
        (vec![], suspended.replicated_jobs_status)
    );
}

#[test]
fn counts_are_stored_a_second_after_they_change_and_every_five_seconds() {
    let mut timing = StatusTiming::default();
    let at = Duration::from_millis;
    let wait = |timing: &mut StatusTiming, now| timing.wait(false, 0, now);
    assert_eq!(wait(&mut timing, at(100)), at(1000), "a new process");
    assert_eq!(wait(&mut timing, at(700)), at(400), "the status differs for a while");
    assert_eq!(wait(&mut timing, at(1100)), Duration::ZERO);
    timing.stored(at(1100));

    assert_eq!(wait(&mut timing, at(1200)), at(4900), "the status was just stored");
    timing.settled();
    assert_eq!(wait(&mut timing, at(6000)), at(1000), "the status was unchanged in between");
    assert_eq!(wait(&mut timing, at(6999)), at(1));
    assert_eq!(wait(&mut timing, at(9000)), Duration::ZERO, "the write is overdue");
    timing.stored(at(9000));
    assert_eq!(wait(&mut timing, at(13_800)), at(1000), "the status differs only for a short time");
}

#[test]
fn an_urgent_status_is_stored_immediately() {
    let mut timing = StatusTiming::default();
    let at = Duration::from_millis;
    assert_eq!(timing.wait(false, 0, at(900)), at(1000));
    assert_eq!(timing.wait(true, 0, at(1000)), Duration::ZERO, "all Jobs are ready");
    timing.stored(at(1000));
    assert_eq!(timing.wait(true, 0, at(1001)), Duration::ZERO);
    timing.stored(at(1001));
    assert_eq!(timing.wait(false, 0, at(1002)), at(4999), "the whole status was stored");
}

#[test]
fn counts_wait_longer_while_other_jobsets_wait() {
    let at = Duration::from_millis;
    for (is_urgent, waiting, window) in [
        (false, 0, 1000),
        (false, 1, 1040),
        (false, 500, 21_000),
        (false, 625, 26_000),
        (false, usize::MAX, 26_000),
        (true, 5000, 0),
    ] {
        let wait = StatusTiming::default().wait(is_urgent, waiting, at(100));
        assert_eq!(wait, at(window), "{is_urgent}, {waiting}");
    }
    let mut timing = StatusTiming::default();
    assert!(!timing.is_waiting());
    assert_eq!(timing.wait(false, 500, at(100)), at(21_000));
    assert!(timing.is_waiting());
    assert_eq!(timing.wait(false, 20, at(1100)), at(800), "the others are ready");
    assert_eq!(timing.wait(true, 20, at(1200)), Duration::ZERO);
    timing.stored(at(1200));
    assert!(!timing.is_waiting());
}
