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
    let mut expected = lines(&format!("False PodGroupsPending: {PENDING}"), "Normal", true);
    expected.insert(2, "again in 59.1s".to_owned());
    expect(&pending, &expected);
    let pending = pending.stored();
    expect(&pending, &["again in 59.1s".to_owned(), format!("waiting: {PENDING}")]);

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
    // Other words with the same reason are no event, and their write can wait.
    let other =
        unschedulable.clone().stored().scheduled("train-worker", "Unschedulable: 1 Insufficient cpu.");
    let plan = other.plan();
    assert_eq!((plan.events, plan.status_is_urgent), (vec![], false));
    let stored = plan.status.unwrap().conditions;
    assert!(stored.iter().any(|it| it.message.ends_with("1 Insufficient cpu.")), "{stored:?}");

    let half = unschedulable.stored().scheduled("train-worker", "True");
    expect(&half, &expected);
    let all = half.stored().scheduled("train-driver", "True");
    let placed = "True PodGroupsScheduled: the scheduler has placed the pods of every PodGroup once";
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
    let placed = "True PodGroupsScheduled: the scheduler has placed the pods of every PodGroup once";
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
        scene.scheduling_api = SchedulingApi::NotServed;
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
    plain.scheduling_api = SchedulingApi::NotServed;
    plain.expect_lines(&["create train-driver-0", "create train-worker-0", "create train-worker-1"]);
}

/// Before the first answer of the API server, the controller reports nothing.
#[test]
fn jobs_wait_while_the_controller_may_not_read_the_objects() {
    let mut scene = gang(TWO_ENTRIES).jobs("");
    (scene.scheduling, scene.scheduling_api) = (None, SchedulingApi::Forbidden("cannot list"));
    let message = "the controller may not list Workloads and PodGroups, so no Job starts: cannot list; add the rules for \
                   scheduling.k8s.io to its ClusterRole";
    expect(&scene, &lines(&format!("False SchedulingAPIForbidden: {message}"), "Warning", true));
    assert_eq!(scene.action_lines(), Vec::<String>::new());
}

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
    let missing = "PodGroup train-worker has been in deletion for over a minute, and no Job has pods in it; start \
                   kube-controller-manager with --feature-gates=GenericWorkload=true";
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

/// The scene this number of seconds later.
fn at(scene: &Scene, seconds: i64) -> Scene {
    Scene { late: seconds * 1000, ..scene.clone() }
}

/// Without its feature gate, kube-scheduler starts pods one by one and never reports about their PodGroup.
#[test]
fn a_silent_scheduler_is_reported() {
    let silent = gang(TWO_ENTRIES).executed().grouped(RUNNING).stored();
    expect(&at(&silent, 59), &["again in 1s".to_owned(), format!("waiting: {PENDING}")]);
    let message = "all pods of PodGroup train-driver run, but no scheduler reported that it placed them together; start \
                   kube-scheduler with --feature-gates=GenericWorkload=true, and use no schedulerName of a scheduler \
                   without gang scheduling";
    expect(&at(&silent, 60), &lines(&format!("False PodGroupsIgnored: {message}"), "Warning", true));
    // Pods that do not run may still be placed together.
    let waits = at(&silent.grouped("driver-0, worker-0, worker-1"), 60);
    expect(&waits, &[format!("waiting: {PENDING}")]);
}

#[test]
fn fields_that_the_api_server_drops_are_reported() {
    let topology = "schedulingConstraints: {topology: [{key: rack}]}";
    let claims = "resourceClaims: [{name: a, resourceClaimName: b}]";
    let spec = |job: &str| {
        format!(
            "scheduling: {{replicatedJobs: [{{targetReplicatedJobs: [driver], job: {{{job}}}}}, {{targetReplicatedJobs: [worker]}}]}}"
        )
    };
    for (job, fields, gates) in [
        (topology.to_owned(), "schedulingConstraints", "TopologyAwareWorkloadScheduling=true"),
        (claims.to_owned(), "resourceClaims", "DRAWorkloadResourceClaims=true"),
        (
            format!("{topology}, {claims}"),
            "schedulingConstraints and resourceClaims",
            "TopologyAwareWorkloadScheduling=true,DRAWorkloadResourceClaims=true",
        ),
    ] {
        let mut scene = gang(&spec(&job)).executed();
        assert_eq!(scene.plan().problems, [], "{job}");
        for pod_group in &mut scene.record().pod_groups {
            (pod_group.spec.scheduling_constraints, pod_group.spec.resource_claims) = (None, None);
        }
        let notes: Vec<_> =
            scene.plan().problems.into_iter().map(|it| without_hashes(&it.event.note)).collect();
        let note = format!(
            "the API server dropped {fields} of PodGroup train-driver-0, so they have no effect; start kube-apiserver, \
             kube-scheduler and kube-controller-manager with --feature-gates={gates}, then suspend and resume the jobset"
        );
        assert_eq!(notes, [note]);
    }
}

#[test]
fn a_finished_jobset_waits_for_no_scheduler() {
    let done = "driver-0 complete, worker-0 complete, worker-1 complete";
    let of = |scene: &Scene| {
        let conditions = scene.plan().status.unwrap().conditions;
        let it = conditions.into_iter().find(|it| it.type_ == "GangScheduled").unwrap();
        format!("{} {}: {}", it.status, it.reason, it.message)
    };
    let pending = gang(TWO_ENTRIES).executed().grouped(RUNNING).stored();
    let finished = format!(
        "False PodGroupsDeleted: the jobset has finished and has no PodGroups; before: PodGroupsPending: {PENDING}"
    );
    assert_eq!(of(&pending.grouped(done)), finished);
    let scheduled = gang(TWO_ENTRIES).grouped(RUNNING).settled();
    assert!(of(&scheduled.grouped(done)).starts_with("True PodGroupsScheduled"));
}

/// Without its feature gate, kube-controller-manager removes no PodGroup: also not that of a JobSet that does not run.
#[test]
fn a_podgroup_that_never_goes_is_reported_without_a_running_jobset() {
    let suspended = gang(TWO_ENTRIES).executed().suspend(true).jobs("").stored().executed();
    let done = "driver-0 complete, worker-0 complete, worker-1 complete";
    let finished = gang(TWO_ENTRIES).grouped(RUNNING).settled().grouped(done).stored().executed();
    for scene in [suspended, finished] {
        let mut scene = Scene { late: 0, ..scene };
        let problems = |scene: &Scene| -> Vec<String> {
            let notes = scene.plan().problems.into_iter();
            notes.map(|it| format!("{}: {}", it.event.reason, without_hashes(&it.event.note))).collect()
        };
        assert_eq!(problems(&scene), Vec::<String>::new());
        assert_eq!(scene.plan().requeue_after, Some(std::time::Duration::from_mins(1)));
        scene.late = 60_000;
        let missing = "PodGroupProtectionMissing: PodGroup train-driver has been in deletion for over a minute, and no Job \
                       has pods in it; start kube-controller-manager with --feature-gates=GenericWorkload=true";
        assert_eq!(problems(&scene), [missing]);
    }
}

#[test]
fn a_jobset_without_groups_keeps_neither_objects_nor_condition() {
    let mut scene = gang(TWO_ENTRIES).grouped(RUNNING).settled();
    let each = "scheduling: {replicatedJobs: [{targetReplicatedJobs: [driver], job: {}}, {targetReplicatedJobs: [worker], job: {}}]}";
    scene.jobset.spec.scheduling = gang(each).jobset.spec.scheduling;
    for replicated_job in &mut scene.jobset.spec.replicated_jobs {
        replicated_job.replicas = 0;
    }
    let lines = scene.jobs("").outcome_lines();
    for what in ["delete Workload", "delete PodGroup"] {
        assert!(lines.iter().any(|line| line.starts_with(what)), "{lines:#?}");
    }
    assert!(lines.iter().all(|line| !line.starts_with("GangScheduled=")), "{lines:#?}");
}
