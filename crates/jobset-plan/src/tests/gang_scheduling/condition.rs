//! Condition `GangScheduled`, its events, and what the JobSet waits for.

use super::*;

const PENDING: &str = "the scheduler has not placed the pods of every PodGroup yet";
const RUNNING: &str = "driver-0 ready, worker-0 ready, worker-1 ready";

/// A condition with its event, since now, and what the JobSet waits for.
fn lines(condition: &str, kind: &str, waits: bool) -> Vec<String> {
    let (_, text) = condition.split_once(' ').unwrap();
    let (reason, message) = text.split_once(": ").unwrap();
    let mut lines = vec![format!("GangScheduled={condition}"), format!("{kind} {reason}: {message}")];
    lines.extend(waits.then(|| format!("waiting: {message}")));
    lines
}

#[track_caller]
fn expect(scene: &Scene, lines: &[String]) {
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    scene.expect_lines(&lines);
}

#[test]
fn the_condition_follows_the_scheduler() {
    let pending = gang(TWO_ENTRIES).executed().grouped(RUNNING);
    expect(&pending, &lines(&format!("False PodGroupsPending: {PENDING}"), "Normal", true));
    let pending = pending.stored();
    expect(&pending, &[format!("waiting: {PENDING}")]);

    let words = "0/3 nodes are available: 3 Insufficient cpu.";
    let unschedulable = pending.scheduled("train-worker", &format!("Unschedulable: {words}"));
    let message = format!("PodGroup train-worker: {words}");
    let reported: Vec<String> = unschedulable.outcome_lines().iter().map(|it| without_hashes(it)).collect();
    assert_eq!(
        reported,
        [
            format!("GangScheduled=False Unschedulable: {message} (since 1000000)"),
            format!("Warning Unschedulable: {message}"),
            format!("waiting: {message}"),
        ]
        .map(|line| line.replace(" (since 1000000)", ""))
    );
    expect(&unschedulable.clone().stored(), &[format!("waiting: {message}")]);

    let half = unschedulable.stored().scheduled("train-worker", "True");
    expect(&half, &lines(&format!("False PodGroupsPending: {PENDING}"), "Normal", true));
    let all = half.stored().scheduled("train-driver", "True");
    let placed = "True PodGroupsScheduled: the scheduler placed the pods of every PodGroup";
    expect(&all, &lines(placed, "Normal", false));
    assert_eq!(all.stored().plan(), Plan::default());
}

#[test]
fn a_suspended_jobset_is_not_scheduled() {
    let scheduled = gang(TWO_ENTRIES).grouped(RUNNING).settled();
    let suspended = scheduled.suspend(true);
    let message = "the jobset is suspended and has no PodGroups";
    let all = suspended.outcome_lines();
    for line in [
        format!("GangScheduled=False PodGroupsDeleted: {message}"),
        format!("Normal PodGroupsDeleted: {message}"),
    ] {
        assert!(all.contains(&line), "{all:#?}");
    }
    // A JobSet that never ran has no condition.
    let never = gang(TWO_ENTRIES).suspend(true).stored();
    let conditions = &never.jobset.status.as_ref().unwrap().conditions;
    assert!(conditions.iter().all(|condition| condition.type_ != "GangScheduled"), "{conditions:?}");
}

/// A group without pods has nothing to schedule.
#[test]
fn groups_without_pods_are_not_pending() {
    let scene = gang(TWO_ENTRIES).executed().scheduled("train-driver", "True").stored();
    let done = scene.grouped("driver-0 ready, worker-0 complete, worker-1 complete");
    let placed = "True PodGroupsScheduled: the scheduler placed the pods of every PodGroup";
    expect(&done, &lines(placed, "Normal", false));
}

/// No Job starts without its group: "all or nothing" is the promise. Running Jobs stay.
#[test]
fn without_the_api_jobs_wait_and_the_condition_names_the_flags() {
    let message = "the API server does not serve scheduling.k8s.io/v1beta1, so no Job starts; start kube-apiserver, \
                   kube-scheduler and kube-controller-manager with --feature-gates=GenericWorkload=true, and \
                   kube-apiserver with --runtime-config=scheduling.k8s.io/v1beta1=true";
    let not_served = |jobs: &str| {
        let mut scene = gang(TWO_ENTRIES).grouped(jobs);
        scene.scheduling = None;
        scene.scheduling_is_not_served = true;
        scene
    };
    let reported = lines(&format!("False SchedulingAPINotServed: {message}"), "Warning", true);
    expect(&not_served(""), &reported);
    expect(&not_served("").stored(), &[format!("waiting: {message}")]);
    expect(&not_served(RUNNING), &reported);
    not_served("driver-0 suspended, worker-0 suspended, worker-1 suspended").expect_actions(&[]);
    // Everything else continues.
    let previous = not_served("driver-0 attempt=0").restarted(1, 1);
    previous.expect_actions(&["delete train-driver-0"]);
    not_served("driver-0").suspend(true).expect_actions(&[
        "create train-worker-0 suspended",
        "create train-worker-1 suspended",
        "suspend train-driver-0",
    ]);
    let finished = not_served("driver-0 complete, worker-0 complete, worker-1 complete").outcome_lines();
    assert!(finished.iter().all(|line| !line.contains("SchedulingAPINotServed")), "{finished:?}");
    // The API is served later.
    let mut served = not_served("").stored();
    served.scheduling = Some(SchedulingRecord::default());
    assert_eq!(served.action_lines().len(), 6);
    // JobSets without the field do not need it.
    let mut plain = gang("");
    plain.scheduling = None;
    plain.scheduling_is_not_served = true;
    plain.expect_lines(&["create train-driver-0", "create train-worker-0", "create train-worker-1"]);
}

/// Before the first answer of the API server, the controller reports nothing.
#[test]
fn jobs_wait_until_the_controller_has_read_the_objects() {
    let mut scene = gang(TWO_ENTRIES).grouped(RUNNING);
    scene.scheduling = None;
    let waiting = "waiting: the controller has not read the Workloads and the PodGroups yet";
    scene.expect_lines(&[waiting]);
    scene.clone().jobs("").expect_lines(&[waiting]);
    let suspended = scene.suspend(true).grouped("driver-0 suspended, worker-0 suspended, worker-1 suspended");
    suspended.stored().expect_lines(&[WAITS_SUSPENDED]);
}

#[test]
fn a_podgroup_in_deletion_is_reported_and_after_a_minute_the_missing_flag() {
    let since = |seconds: i64| {
        let mut scene =
            gang(TWO_ENTRIES).executed().grouped("driver-0 ready, worker-0 pending, worker-1 pending");
        let at = Timestamp::from_second(NOW - seconds).unwrap();
        scene.record().pod_groups[1].deleting_since = Some(at);
        scene.late = 0;
        scene
    };
    let terminating = "PodGroup train-worker is being deleted, which waits until its pods have stopped; Jobs start after \
                       that. To stop its pods now, suspend and resume the jobset";
    let condition = format!("False PodGroupsTerminating: {terminating}");
    for (seconds, again) in [(0, "60s"), (59, "1s")] {
        let mut expected = lines(&condition, "Normal", true);
        expected.insert(2, format!("again in {again}"));
        expect(&since(seconds), &expected);
    }
    let missing = "PodGroup train-worker has been in deletion for over a minute, and no Job has pods in it; if no pod of \
                   it is still stopping, start kube-controller-manager with --feature-gates=GenericWorkload=true";
    expect(&since(60), &lines(&format!("False PodGroupProtectionMissing: {missing}"), "Warning", true));
    expect(&since(60).stored(), &[format!("waiting: {missing}")]);
    // It waits for pods.
    for in_use in
        ["worker-0 attempt=1", "worker-0 attempt=1 pending deleting", "worker-0 attempt=0 deleting active=0"]
    {
        let jobs = format!("driver-0 attempt=1 ready, {in_use}, worker-1 attempt=1 pending");
        let scene = since(600).restarted(1, 1).grouped(&jobs);
        let lines = scene.outcome_lines();
        let is_blamed = lines.iter().any(|line| line.contains("PodGroupProtectionMissing"));
        assert!(!is_blamed, "{in_use}: {lines:#?}");
    }
}

/// Without `GenericWorkload`, the API server drops the field silently.
#[test]
fn a_dropped_schedulinggroup_is_reported_with_the_flag() {
    let message = "the API server dropped schedulingGroup from the pod template of job train-worker-0, so its pods start \
                   one by one; start kube-apiserver with --feature-gates=GenericWorkload=true, then suspend and resume \
                   the jobset";
    let scene = gang(TWO_ENTRIES).grouped("driver-0, worker-0 group=none, worker-1").executed();
    expect(&scene, &lines(&format!("False SchedulingGroupDropped: {message}"), "Warning", true));
    expect(&scene.clone().stored(), &[format!("waiting: {message}")]);
    // Its successor may have the field.
    let deleted = scene.grouped("driver-0, worker-0 group=none deleting, worker-1").outcome_lines();
    assert!(deleted.iter().all(|line| !line.contains("SchedulingGroupDropped")), "{deleted:#?}");
}

#[test]
fn a_job_from_before_the_gate_is_reported() {
    let message = "job train-worker-1 started without its PodGroup; suspend and resume the jobset to start its pods together";
    let scene = gang(TWO_ENTRIES).grouped("driver-0, worker-0, worker-1 template=none group=none").executed();
    expect(&scene, &lines(&format!("False JobOutsidePodGroup: {message}"), "Normal", true));
}
