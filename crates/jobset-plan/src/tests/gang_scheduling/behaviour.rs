//! The situations of a JobSet with `spec.scheduling`, and what the controller does.

use super::*;

/// The conditions and events of other policies are not the subject here.
const IS_SUSPENDED: &str = "Suspended=True SuspendedJobs: jobset is suspended";

/// `TWO_ENTRIES`, running for a while.
fn running() -> Scene {
    gang(TWO_ENTRIES).grouped("driver-0 ready, worker-0 ready, worker-1 ready").settled()
}

/// `TWO_ENTRIES` after a suspension of some time.
fn suspended() -> Scene {
    let suspended = running().suspend(true).executed().stored();
    suspended.grouped("driver-0 suspended, worker-0 suspended, worker-1 suspended").pods_gone().stored()
}

#[test]
fn pods_wait_for_the_workload_and_every_podgroup() {
    let scene = gang(TWO_ENTRIES);
    let objects = [
        "create Workload train with driver: basic, worker: gang of 2",
        "create PodGroup train-driver, basic",
        "create PodGroup train-worker, gang of 2",
    ];
    let jobs = ["create train-driver-0", "create train-worker-0", "create train-worker-1"];
    scene.expect_actions(&[objects, jobs].concat());
    let mut execution = Execution::new(scene.plan());
    let Step::Execute(first) =
        execution.next(None, &mut StatusTiming::default(), 0, std::time::Duration::ZERO)
    else {
        panic!("{execution:?}")
    };
    assert!(first.iter().all(|action| matches!(action, Action::Scheduling(_))), "{first:?}");
    assert_eq!(first.len(), 3);

    let mut created = scene.clone().executed();
    created.expect_actions(&jobs);
    // A missing object is created before further Jobs.
    created.record().pod_groups.remove(0);
    created.expect_actions(&[&[objects[1]], &jobs[..]].concat());
    created.record().workloads.clear();
    created.expect_actions(&[&objects[..2], &jobs[..]].concat());
}

#[test]
fn the_plan_of_a_settled_gang_is_empty() {
    assert_eq!(running().plan(), Plan::default());
    for scheduling in [WHOLE, EACH_JOB] {
        for jobs in [
            "driver-0 ready, worker-0 ready, worker-1 ready",
            "driver-0 ready, worker-0 complete, worker-1",
            "driver-0 suspended, worker-0 suspended, worker-1 suspended",
        ] {
            let suspend = jobs.contains("suspended");
            let mut scene = gang(scheduling).suspend(suspend).grouped(jobs).settled();
            scene = scene.settled();
            let Plan { waiting, .. } = &scene.plan();
            let waiting = waiting.clone();
            assert_eq!(scene.plan(), Plan { waiting, ..Plan::default() }, "{scheduling} {jobs}");
        }
    }
}

#[test]
fn no_pod_starts_while_an_object_is_being_deleted() {
    let jobs = "driver-0 ready";
    let mut scene = gang(TWO_ENTRIES).executed().grouped(jobs);
    let pod_groups = scene.record().pod_groups.clone();
    scene.record().pod_groups[1].deleting_since = Some(Timestamp::from_second(NOW).unwrap());
    scene.expect_actions(&[]);
    scene.record().pod_groups[1].deleting_since = None;
    scene.record().workloads[0].deleting = true;
    scene.record().workloads[0].spec.controller_ref = None;
    scene.record().workloads[0].spec.pod_group_templates = None;
    scene.expect_actions(&[]);
    let predecessor = scene.record().workloads.remove(0);
    scene.expect_actions(&[
        "create Workload train with driver: basic, worker: gang of 2",
        "create train-worker-0",
        "create train-worker-1",
    ]);
    let mut scene = scene.executed();
    assert_eq!(scene.record().pod_groups, pod_groups, "the PodGroups stay");
    // The successor has another UID, and later requests name that.
    assert_ne!(scene.record().workloads[0].uid, predecessor.uid);
    let scaled = scene.grouped("driver-0 ready, worker-0 complete, worker-1");
    scaled.expect_actions(&["scale Workload train: worker to 1", "scale PodGroup train-worker to 1"]);
    let mut scaled = scaled.executed();
    let template = &scaled.record().workloads[0].spec.pod_group_templates.as_ref().unwrap()[1];
    assert_eq!(template.scheduling_policy.gang.as_ref().unwrap().min_count, 1);
}

/// The pods of other groups keep their minCount correct while one PodGroup is being deleted.
#[test]
fn other_groups_are_scaled_while_an_object_is_being_deleted() {
    let mut scene = running();
    scene.record().pod_groups[0].deleting_since = Some(Timestamp::from_second(NOW).unwrap());
    let mut scene = scene.grouped("driver-0 ready, worker-0 complete, worker-1");
    scene.expect_actions(&["scale Workload train: worker to 1", "scale PodGroup train-worker to 1"]);
    scene.record().workloads[0].deleting = true;
    scene.expect_actions(&["scale PodGroup train-worker to 1"]);
}

#[test]
fn objects_that_differ_from_the_spec_are_created_again() {
    type Edit = fn(&mut SchedulingRecord);
    let delete = ["delete PodGroup train-driver", "delete PodGroup train-worker", "delete Workload train"];
    let edits: [(&str, Edit); 13] = [
        ("name of the Workload", |it| it.workloads[0].name = "other".into()),
        ("controllerRef", |it| it.workloads[0].spec.controller_ref = None),
        ("a template less", |it| {
            it.workloads[0].spec.pod_group_templates.as_mut().unwrap().pop();
        }),
        ("a template more", |it| {
            let templates = it.workloads[0].spec.pod_group_templates.as_mut().unwrap();
            templates.push(PodGroupTemplate { name: "more".into(), ..templates[0].clone() });
        }),
        ("another template", |it| template(it).name = "other".into()),
        ("policy of a template", |it| template(it).scheduling_policy.gang = None),
        ("constraints of a template", |it| template(it).scheduling_constraints = Some(constraints("zone"))),
        ("priority class of a template", |it| template(it).priority_class_name = Some("low".into())),
        ("a PodGroup more", |it| {
            let more = PodGroupRecord { name: "more".into(), ..it.pod_groups[1].clone() };
            it.pod_groups.push(more);
        }),
        ("workloadRef", |it| it.pod_groups[1].spec.workload_ref = None),
        ("policy of a PodGroup", |it| it.pod_groups[1].spec.scheduling_policy.gang = None),
        ("constraints of a PodGroup", |it| {
            it.pod_groups[1].spec.scheduling_constraints = Some(constraints("zone"));
        }),
        ("disruption mode of a PodGroup", |it| {
            it.pod_groups[1].spec.disruption_mode = Some(mode("single"));
        }),
    ];
    for (what, edit) in edits {
        let mut scene = with_all_fields();
        scene.expect_actions(&[]);
        edit(scene.record());
        // Requests name objects by a UID with their name, and edits changed names.
        for it in &mut scene.record().workloads {
            it.uid = format!("0-of-{}", it.name);
        }
        for it in &mut scene.record().pod_groups {
            it.uid = format!("0-of-{}", it.name);
        }
        let lines = scene.action_lines();
        assert!(lines.iter().all(|line| line.starts_with("delete ")), "{what}: {lines:?}");
        assert!(lines.len() >= delete.len(), "{what}: {lines:?}");
        // A later plan creates them, and no Job before.
        let again = Scene { jobs: Vec::new(), ..scene.executed() };
        again.expect_actions(if again.scheduling.as_ref().unwrap().workloads.is_empty() {
            &["create Workload train with driver: basic, worker: gang of 2"]
        } else {
            &[]
        });
        let lines = again.pods_gone().action_lines();
        assert!(lines.contains(&"create PodGroup train-worker, gang of 2".to_owned()), "{what}: {lines:?}");
        assert!(lines.contains(&"create train-worker-1".to_owned()), "{what}: {lines:?}");
    }
}

/// Only groups of single Jobs have claims.
#[test]
fn other_claims_are_a_difference() {
    let of = |claim: &str| {
        gang(&format!(
            "scheduling: {{replicatedJobs: [{{targetReplicatedJobs: [driver]}}, {{targetReplicatedJobs: [worker], \
             job: {{resourceClaims: [{{name: disk, resourceClaimName: {claim}}}]}}}}]}}"
        ))
    };
    let scene = of("first").grouped("driver-0 ready, worker-0 ready, worker-1 ready").settled();
    scene.expect_actions(&[]);
    let mut changed = scene;
    changed.jobset.spec.scheduling = of("second").jobset.spec.scheduling;
    assert_eq!(changed.action_lines().len(), 4);
    assert!(
        changed.action_lines().iter().all(|line| line.starts_with("delete ")),
        "{:?}",
        changed.action_lines()
    );
}

/// A scene whose group `worker` has every field.
fn with_all_fields() -> Scene {
    let scheduling = "scheduling: {replicatedJobs: [{targetReplicatedJobs: [driver], schedulingPolicy: {basic: {}}}, \
                      {targetReplicatedJobs: [worker], schedulingConstraints: {topology: [{key: rack}]}, \
                      disruptionMode: {all: {}}}]}";
    let pod = "template: {spec: {template: {spec: {priorityClassName: high}}}}";
    let replicated_jobs =
        format!("replicatedJobs: [{{name: driver, {pod}}}, {{name: worker, replicas: 2, {pod}}}]\n");
    gang(&format!("{replicated_jobs}{scheduling}")).grouped("driver-0 ready, worker-0, worker-1").settled()
}

fn template(record: &mut SchedulingRecord) -> &mut PodGroupTemplate {
    &mut record.workloads[0].spec.pod_group_templates.as_mut().unwrap()[1]
}

fn constraints(key: &str) -> k8s_openapi::api::scheduling::v1beta1::PodGroupSchedulingConstraints {
    serde_json::from_value(serde_json::json!({"topology": [{"key": key}]})).unwrap()
}

fn mode(mode: &str) -> k8s_openapi::api::scheduling::v1beta1::DisruptionMode {
    serde_json::from_value(serde_json::json!({mode: {}})).unwrap()
}

/// New objects would have the same differences.
#[test]
fn fields_that_the_api_server_drops_or_fills_in_are_no_difference() {
    let mut scene = with_all_fields();
    let SchedulingRecord { workloads, pod_groups } = scene.record();
    let worker = &mut workloads[0].spec.pod_group_templates.as_mut().unwrap()[1];
    (worker.scheduling_constraints, worker.priority) = (None, Some(7));
    worker.preemption_policy = Some("Never".into());
    let worker = &mut pod_groups[1].spec;
    (worker.scheduling_constraints, worker.resource_claims) = (None, None);
    (worker.priority, worker.preemption_policy) = (Some(7), Some("Never".into()));
    scene.expect_actions(&[]);

    let mut scene = running();
    let SchedulingRecord { workloads, pod_groups } = scene.record();
    for template in workloads[0].spec.pod_group_templates.as_mut().unwrap() {
        (template.priority, template.priority_class_name) = (Some(0), Some("default".into()));
        template.disruption_mode = Some(mode("single"));
    }
    for pod_group in pod_groups {
        (pod_group.spec.priority, pod_group.spec.priority_class_name) = (Some(0), Some("default".into()));
        pod_group.spec.disruption_mode = Some(mode("single"));
    }
    scene.expect_actions(&[]);
    // A change of minCount names nothing else.
    let scaled = scene.grouped("driver-0, worker-0 complete, worker-1 active=0");
    let actions = scaled.plan().actions;
    let Action::Scheduling(SchedulingAction::ScaleWorkload { templates, .. }) = &actions[0] else {
        panic!("{actions:?}")
    };
    let [ScaledTemplate { index: 1, name, min_count: 1 }] = &templates[..] else { panic!("{templates:?}") };
    assert_eq!(without_hashes(name), "worker");
}

/// Another client stored it while the webhooks did not run.
#[test]
fn more_groups_than_a_workload_can_have_are_reported() {
    let scene = |replicas: i32| {
        gang(&format!(
            "replicatedJobs: [{{name: driver}}, {{name: worker, replicas: {replicas}}}]\nscheduling: \
             {{replicatedJobs: [{{targetReplicatedJobs: [driver], job: {{}}}}, {{targetReplicatedJobs: [worker], job: {{}}}}]}}"
        ))
    };
    assert_eq!(scene(7).action_lines().len(), 1 + 8 + 8);
    for replicas in [8, i32::MAX] {
        let message = "spec.scheduling has more than 8 groups, and a Workload has at most 8 templates, so no Job \
                       starts; delete the jobset, and create it with fewer replicas of the replicatedJobs whose entry \
                       has job, or without job";
        scene(replicas).expect_lines(&[
            &format!("GangScheduled=False SchedulingObjectsReconcileFailed: {message}"),
            &format!("Warning SchedulingObjectsReconcileFailed: {message}"),
            &format!("waiting: {message}"),
        ]);
    }
}

#[test]
fn a_jobset_created_suspended_has_no_groups() {
    let scene = gang(TWO_ENTRIES).suspend(true);
    scene.expect_lines(&[
        "create train-driver-0 suspended",
        "create train-worker-0 suspended",
        "create train-worker-1 suspended",
        IS_SUSPENDED,
        "Normal SuspendedJobs: jobset is suspended",
        WAITS_SUSPENDED,
    ]);
    let created = scene.stored().grouped("driver-0 suspended, worker-0 suspended, worker-1 suspended");
    created.expect_lines(&[WAITS_SUSPENDED]);
    created.suspend(false).expect_actions(&[
        "create Workload train with driver: basic, worker: gang of 2",
        "create PodGroup train-driver, basic",
        "create PodGroup train-worker, gang of 2",
        "resume train-driver-0",
        "resume train-worker-0",
        "resume train-worker-1",
    ]);
}

#[test]
fn suspending_deletes_the_groups() {
    let scene = running().suspend(true);
    scene.expect_actions(&[
        "delete PodGroup train-driver",
        "delete PodGroup train-worker",
        "delete Workload train",
        "suspend train-driver-0",
        "suspend train-worker-0",
        "suspend train-worker-1",
    ]);
    // PodGroups wait for their pods, and a Workload can wait for a finalizer.
    let mut deleting =
        scene.clone().executed().grouped("driver-0 suspended, worker-0 suspended, worker-1 suspended");
    deleting.record().workloads.push(WorkloadRecord { deleting: true, ..WorkloadRecord::default() });
    deleting.expect_actions(&[]);
    suspended().expect_lines(&[WAITS_SUSPENDED]);
}

/// Trap 8: a PodGroup is deleted after its last pod.
#[test]
fn a_resume_waits_until_the_old_podgroups_are_deleted() {
    let scene = running().suspend(true).executed().stored().suspend(false);
    let scene = scene.grouped("driver-0 suspended active=1, worker-0 suspended, worker-1 suspended");
    scene.expect_actions(&["create Workload train with driver: basic, worker: gang of 2"]);
    let scene = scene.executed().pods_gone();
    scene.grouped("driver-0 suspended, worker-0 suspended, worker-1 suspended").expect_actions(&[
        "create PodGroup train-driver, basic",
        "create PodGroup train-worker, gang of 2",
        "resume train-driver-0",
        "resume train-worker-0",
        "resume train-worker-1",
    ]);
}

/// `spec.scheduling` can change while the JobSet is suspended.
#[test]
fn a_resume_creates_jobs_of_other_groups_again() {
    let mut scene = suspended();
    scene.jobset.spec.scheduling = gang(EACH_JOB).jobset.spec.scheduling;
    scene.expect_lines(&[WAITS_SUSPENDED]);
    let scene = scene.suspend(false);
    let objects = [
        "create Workload train with driver: gang of 1, worker-0: gang of 1, worker-1: gang of 1",
        "create PodGroup train-driver, gang of 1",
        "create PodGroup train-worker-0, gang of 1",
        "create PodGroup train-worker-1, gang of 1",
    ];
    let jobs = ["delete train-worker-0", "delete train-worker-1"];
    scene.expect_actions(&[&objects[..], &jobs[..], &["resume train-driver-0"]].concat());
    let waiting = &scene.plan().waiting;
    let expected = "Jobs whose scheduling group changed occupy their names until they are deleted: 2";
    assert!(waiting.contains(&expected.to_owned()), "{waiting:?}");
    // The Jobs are gone.
    let created = scene.executed().grouped("driver-0");
    created.expect_actions(&["create train-worker-0", "create train-worker-1"]);
}

/// The group of a Job: annotation and PodGroup. The Jobs of a ReplicatedJob without group stay.
#[test]
fn a_suspended_job_with_another_annotation_or_group_is_created_again() {
    for (words, is_replaced) in
        [("", false), ("template=other", true), ("group=other", true), ("template=none group=none", true)]
    {
        let scene =
            gang(EACH_JOB).executed().grouped(&format!("driver-0, worker-0 suspended {words}, worker-1"));
        let expected = if is_replaced { "delete train-worker-0" } else { "resume train-worker-0" };
        let actions = scene.action_lines();
        assert_eq!(actions.iter().filter(|line| line.contains("train-worker-0")).count(), 1, "{actions:?}");
        assert!(actions.contains(&expected.to_owned()), "{words}: {actions:?}");
        // A running Job keeps its pods.
        let running = gang(EACH_JOB).executed().grouped(&format!("driver-0, worker-0 {words}, worker-1"));
        running.expect_actions(&[]);
    }
    // Jobs of unknown ReplicatedJobs have no group.
    gang(EACH_JOB).executed().grouped("driver-0, worker-0, worker-1, x-0 suspended").expect_actions(&[]);
}

/// A group whose Jobs are not due yet is empty.
#[test]
fn groups_of_dependent_replicatedjobs_exist_from_the_start() {
    let spec = format!(
        "replicatedJobs: [{{name: driver}}, {{name: worker, replicas: 2, dependsOn: [{{name: driver, status: Ready}}]}}]\n\
         {TWO_ENTRIES}"
    );
    let objects = [
        "create Workload train with driver: basic, worker: gang of 2",
        "create PodGroup train-driver, basic",
        "create PodGroup train-worker, gang of 2",
    ];
    gang(&spec).expect_actions(&[&objects[..], &["create train-driver-0"]].concat());
    let in_order = format!("startupPolicy: {{startupPolicyOrder: InOrder}}\n{TWO_ENTRIES}");
    gang(&in_order).expect_actions(&[&objects[..], &["create train-driver-0"]].concat());
}

/// New Jobs have the same names of groups.
#[test]
fn a_restart_keeps_the_objects() {
    for strategy in ["Recreate", "BlockingRecreate"] {
        let spec = format!("failurePolicy: {{maxRestarts: 1, restartStrategy: {strategy}}}\n{TWO_ENTRIES}");
        let scene = gang(&spec).grouped("driver-0 ready, worker-0 ready, worker-1 ready").settled();
        let failed = scene.grouped("driver-0 ready, worker-0 failed@7, worker-1 ready");
        failed.expect_actions(&[]);
        let restarted = failed.stored();
        restarted.expect_actions(&[
            "delete train-driver-0",
            "delete train-worker-0",
            "delete train-worker-1",
        ]);
        let again = restarted.jobs("");
        again.expect_actions(&["create train-driver-0", "create train-worker-0", "create train-worker-1"]);
    }
}

#[test]
fn a_finished_jobset_has_no_groups() {
    let delete = ["delete PodGroup train-driver", "delete PodGroup train-worker", "delete Workload train"];
    for (jobs, in_first_plan, later) in [
        ("driver-0 complete, worker-0 complete, worker-1 complete", "Completed=True", &[][..]),
        (
            "driver-0, worker-0 failed@7, worker-1",
            "Failed=True",
            &["delete train-driver-0", "delete train-worker-1"][..],
        ),
    ] {
        let scene = running().grouped(jobs);
        // In the plan that finishes it.
        scene.expect_actions(&delete);
        assert!(scene.outcome_lines().iter().any(|line| line.starts_with(in_first_plan)));
        let finished = scene.clone().stored();
        finished.expect_actions(&[later, &delete].concat());
        finished.executed().pods_gone().expect_actions(later);
        // Suspended, too.
        scene.stored().suspend(true).expect_actions(&[later, &delete].concat());
    }
}

/// In the same plan, in-place restart can create or scale groups first.
#[test]
fn a_plan_that_finishes_the_jobset_only_deletes_groups() {
    let spec = format!("failurePolicy: {{maxRestarts: 0, restartStrategy: InPlaceRestart}}\n{TWO_ENTRIES}");
    let mut scene = gang(&spec).gates("InPlaceRestart").executed();
    scene.record().pod_groups.pop();
    scene.pods.container_restarts = 1;
    let scene = scene.grouped("driver-0, worker-0, worker-1");
    scene.expect_actions(&["delete PodGroup train-driver", "delete Workload train"]);
}

#[test]
fn a_gate_switched_off_changes_nothing() {
    let off = |spec: &str| Scene { gates: Gates::default(), scheduling: None, ..gang(spec) };
    for jobs in [
        "",
        "driver-0, worker-0, worker-1",
        "driver-0 complete, worker-0 complete, worker-1 complete",
        "driver-0 suspended, worker-0 suspended, worker-1 suspended",
    ] {
        for suspend in [false, true] {
            let mut with = off(TWO_ENTRIES).suspend(suspend).jobs(jobs);
            let without = off("").suspend(suspend).jobs(jobs).plan();
            assert_eq!(with.plan(), without, "{jobs}");
            // The objects of a time when the gate was on stay, and the condition, too.
            with.scheduling = running().scheduling;
            assert_eq!(with.plan().actions, without.actions, "{jobs}");
        }
    }
}

/// Nothing creates their PodGroup, so their pods would wait for ever.
#[test]
fn jobs_of_a_group_are_created_again_if_the_gate_is_switched_off_before_a_resume() {
    let jobs = "driver-0 suspended, worker-0 suspended, worker-1 suspended";
    let mut scene =
        gang(TWO_ENTRIES).condition("Suspended=True SuspendedJobs: jobset is suspended").grouped(jobs);
    (scene.gates, scene.scheduling) = (Gates::default(), None);
    scene.clone().suspend(true).expect_actions(&[]);
    scene.expect_actions(&["delete train-driver-0", "delete train-worker-0", "delete train-worker-1"]);
    // The template of a JobSet without spec.scheduling can name a PodGroup of somebody else.
    scene.jobset.spec.scheduling = None;
    scene.expect_actions(&["resume train-driver-0", "resume train-worker-0", "resume train-worker-1"]);
}
