//! Which child Jobs are missing, and the content of each.

use super::*;

/// Appendix A of the specification: one Job of `rj`, two Jobs of `w`.
#[test]
fn jobs_match_appendix_a() {
    let golden: JobSet = serde_yaml::from_str(
        "
metadata: {name: js, namespace: default, uid: U}
spec:
  network: {enableDNSHostnames: true, publishNotReadyAddresses: true}
  replicatedJobs:
  - name: rj
    template: {spec: {completionMode: Indexed, template: {spec: {restartPolicy: OnFailure, containers: [{name: one}]}}}}
  - name: w
    replicas: 2
    template: {spec: {completionMode: Indexed, template: {spec: {restartPolicy: OnFailure, containers: [{name: two}]}}}}
",
    )
    .unwrap();
    let plan = Scene { jobset: golden, ..jobset("") }.plan();
    let expected: Job = serde_yaml::from_str(
        r#"
metadata:
  name: js-w-1
  namespace: default
  ownerReferences:
  - {apiVersion: jobset.x-k8s.io/v1alpha2, kind: JobSet, name: js, uid: U, controller: true, blockOwnerDeletion: true}
  labels: &m
    jobset.sigs.k8s.io/jobset-name: js
    jobset.sigs.k8s.io/jobset-uid: U
    jobset.sigs.k8s.io/replicatedjob-name: w
    jobset.sigs.k8s.io/restart-attempt: "0"
    jobset.sigs.k8s.io/replicatedjob-replicas: "2"
    jobset.sigs.k8s.io/global-replicas: "3"
    jobset.sigs.k8s.io/job-index: "1"
    jobset.sigs.k8s.io/job-key: 7c2f7dec9c9e27a2c52afd400be98d053137dcdf
    jobset.sigs.k8s.io/job-global-index: "2"
    jobset.sigs.k8s.io/group-name: default
    jobset.sigs.k8s.io/group-replicas: "3"
    jobset.sigs.k8s.io/job-group-index: "2"
  annotations: *m
spec:
  completionMode: Indexed
  suspend: false
  template:
    metadata: {labels: *m, annotations: *m}
    spec: {subdomain: js, restartPolicy: OnFailure, containers: [{name: two}]}
"#,
    )
    .unwrap();
    let names: Vec<_> = created(&plan).iter().map(|job| job.metadata.name.clone().unwrap()).collect();
    assert_eq!(names, ["js-rj-0", "js-w-0", "js-w-1"]);
    assert_eq!(created(&plan)[2], &expected);
}

#[test]
fn the_job_key_matches_the_specification() {
    assert_eq!(crate::child_job::job_key("default", "js-rjob-0"), "594cb5c93756409379daf5f78db3fa5c78663cd1");
}

/// A JobSet that bypassed admission has the same Jobs as a defaulted JobSet.
#[test]
fn jobs_of_a_jobset_without_defaults_are_defaulted() {
    let template = "spec: {template: {spec: {containers: [{name: c}]}}}";
    let scene = jobset(&format!("replicatedJobs: [{{name: solo, template: {{{template}}}}}]"));
    let plan = scene.plan();
    let spec = created(&plan)[0].spec.as_ref().unwrap();
    assert_eq!(spec.completion_mode.as_deref(), Some("Indexed"));
    let pod = spec.template.spec.as_ref().unwrap();
    assert_eq!((pod.restart_policy.as_deref(), pod.subdomain.as_deref()), (Some("OnFailure"), Some("train")));
    let unnamed =
        jobset("failurePolicy: {maxRestarts: 1, rules: [{action: RestartJobSet}]}").jobs("driver-0 failed@9");
    assert_eq!(unnamed.plan().events[0].reason, "FailurePolicy_failurePolicyRule0");
}

/// The memory of a plan does not grow with the number of Jobs.
#[test]
fn many_jobs_are_created_by_several_plans() {
    use crate::child_job::CREATED_AT_ONCE;
    let all = CREATED_AT_ONCE + 7;
    for order in ["AnyOrder", "InOrder"] {
        let spec = format!(
            "startupPolicy: {{startupPolicyOrder: {order}}}\nreplicatedJobs: [{{name: a, replicas: {all}}}, {{name: b}}]"
        );
        let mut scene = jobset(&spec);
        let first = scene.plan();
        let names = |plan: &Plan| -> Vec<_> {
            created(plan).iter().map(|job| job.metadata.name.clone().unwrap()).collect()
        };
        let name = |index| format!("train-a-{index}");
        assert_eq!(names(&first), (0..CREATED_AT_ONCE).map(name).collect::<Vec<_>>(), "{order}");
        assert!(first.waiting.iter().any(|why| why.contains("the next plan creates more Jobs")));
        let conditions = first.status.unwrap().conditions;
        let in_progress = conditions.iter().any(|condition| condition.type_ == "StartupPolicyInProgress");
        assert_eq!(in_progress, order == "InOrder");
        assert!(!conditions.iter().any(|condition| condition.type_ == "StartupPolicyCompleted"));

        scene.jobs = (0..CREATED_AT_ONCE).map(|index| Arc::new(job(&format!("a-{index}")))).collect();
        let mut expected: Vec<_> = (CREATED_AT_ONCE..all).map(name).collect();
        expected.extend((order == "AnyOrder").then(|| "train-b-0".to_owned()));
        assert_eq!(names(&scene.plan()), expected, "{order}");
    }
}

/// A plan creates a Job only if no other Job has its name.
#[test]
fn missing_jobs_are_created() {
    for (jobs, expected) in [
        ("", vec!["create train-driver-0", "create train-worker-0", "create train-worker-1"]),
        ("driver-0, worker-1", vec!["create train-worker-0"]),
        ("driver-0, worker-0 deleting, worker-1 complete", vec![]),
        ("driver-0, worker-0 attempt=two, worker-1", vec![]),
        ("driver-0, worker-0 attempt=none, worker-1", vec![]),
        // A Job with an index beyond the replicas occupies no name that the JobSet needs.
        ("driver-0, worker-0, worker-1, worker-2", vec![]),
        ("driver-0 complete, worker-0 complete", vec!["create train-worker-1"]),
    ] {
        assert_eq!(actions(&jobset("").jobs(jobs).plan()), expected, "{jobs}");
    }
    assert_eq!(actions(&jobset("replicatedJobs: [{name: none, replicas: 0}]").plan()), Vec::<String>::new());
    assert_eq!(jobset("replicatedJobs: []").plan(), Plan::default(), "the JobSet never completes");
}

/// A deleted Job of any outcome occupies its name until it is gone. The plan explains the delay.
#[test]
fn deleted_jobs_occupy_their_names() {
    let occupied = |count: u8| {
        format!("waiting: Jobs that a user deleted keep their names until the deletion completes: {count}")
    };
    for (jobs, expected) in [
        ("driver-0 deleting, worker-0, worker-1", occupied(1)),
        ("driver-0, worker-0 complete deleting, worker-1 ready deleting", occupied(2)),
    ] {
        jobset("").jobs(jobs).expect(&[&expected]);
    }
}

/// Asserts labels and annotations of a Job that the plan creates.
#[track_caller]
fn expect_labels(scene: &Scene, job: usize, expected: &[(&str, Option<&str>)]) {
    let plan = scene.plan();
    let job = created(&plan)[job];
    let pod = job.spec.as_ref().unwrap().template.metadata.as_ref().unwrap();
    for metadata in [&job.metadata, pod] {
        for map in [metadata.labels.as_ref().unwrap(), metadata.annotations.as_ref().unwrap()] {
            for (key, value) in expected {
                assert_eq!(map.get(*key).map(String::as_str), *value, "{key}");
            }
        }
    }
}

#[test]
fn each_group_has_its_own_indices() {
    let scene = jobset(
        "replicatedJobs: [{name: a, groupName: front}, {name: b, groupName: back, replicas: 3}, {name: c, groupName: front, replicas: 2}]",
    );
    // Job, index, global index, group index, group replicas
    for (job, of) in [
        (0, ["0", "0", "0", "3"]),
        (1, ["0", "1", "0", "3"]),
        (3, ["2", "3", "2", "3"]),
        (4, ["0", "4", "1", "3"]),
        (5, ["1", "5", "2", "3"]),
    ] {
        let [index, global, group, replicas] = of.map(Some);
        expect_labels(
            &scene,
            job,
            &[
                (labels::JOB_INDEX, index),
                (labels::JOB_GLOBAL_INDEX, global),
                (labels::JOB_GROUP_INDEX, group),
                (labels::GROUP_REPLICAS, replicas),
                (labels::GLOBAL_REPLICAS, Some("6")),
            ],
        );
    }
}

#[test]
fn jobs_have_the_current_attempt() {
    let scene = jobset("").restarted(3, 1);
    expect_labels(&scene, 0, &[(labels::RESTART_ATTEMPT, Some("3")), (labels::JOB_RESTART_ATTEMPT, None)]);
    let scene = scene.gates("RestartJob").jobs_restarted("worker", &[0, 7], &[0, 2]);
    for (job, own) in [(0, "0"), (1, "0"), (2, "7")] {
        expect_labels(
            &scene,
            job,
            &[(labels::RESTART_ATTEMPT, Some("3")), (labels::JOB_RESTART_ATTEMPT, Some(own))],
        );
    }
}

#[test]
fn jobs_name_the_coordinator_and_pods_the_subdomain() {
    let coordinator = "coordinator: {replicatedJob: worker, jobIndex: 1, podIndex: 4}";
    for (network, endpoint, subdomain) in [
        ("", "train-worker-1-4.train", Some("train")),
        ("network: {enableDNSHostnames: false}", "train-worker-1-4.train", None),
        ("network: {enableDNSHostnames: true}", "train-worker-1-4.train", Some("train")),
        ("network: {enableDNSHostnames: true, subdomain: net}", "train-worker-1-4.net", Some("net")),
    ] {
        let scene = jobset(&format!("{coordinator}\n{network}"));
        for (index, job) in created(&scene.plan()).into_iter().enumerate() {
            expect_labels(&scene, index, &[(labels::COORDINATOR, Some(endpoint))]);
            let pod = job.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
            assert_eq!(pod.subdomain.as_deref(), subdomain, "{network}");
        }
    }
    expect_labels(&jobset(""), 0, &[(labels::COORDINATOR, None)]);
}

/// Jobs keep the labels, annotations and spec of their templates, except for the keys that identify the Job, its name,
/// and `suspend`.
#[test]
fn jobs_keep_the_content_of_their_templates() {
    let scene = jobset(
        r#"
network: {enableDNSHostnames: false}
replicatedJobs:
- name: solo
  template:
    metadata: {name: mine, namespace: elsewhere, finalizers: [a/b], labels: {team: red, jobset.sigs.k8s.io/job-index: "9"}, annotations: {note: hot}}
    spec: {suspend: true, backoffLimit: 3, template: {metadata: {labels: {tier: low}}, spec: {subdomain: own, containers: [{name: c}]}}}
"#,
    );
    let plan = scene.plan();
    let job = created(&plan)[0];
    let metadata = &job.metadata;
    assert_eq!(metadata.name.as_deref(), Some("train-solo-0"));
    assert_eq!((metadata.namespace.as_deref(), &metadata.finalizers), (Some("team"), &None));
    assert_eq!(metadata.labels.as_ref().unwrap()["team"], "red");
    assert_eq!(metadata.annotations.as_ref().unwrap()["note"], "hot");
    expect_labels(&scene, 0, &[(labels::JOB_INDEX, Some("0"))]);
    let spec = job.spec.as_ref().unwrap();
    assert_eq!((spec.suspend, spec.backoff_limit), (Some(false), Some(3)));
    let pod = &spec.template;
    let labels = pod.metadata.as_ref().unwrap().labels.as_ref().unwrap();
    assert_eq!((labels["tier"].as_str(), labels.get("team")), ("low", None));
    assert_eq!(pod.spec.as_ref().unwrap().subdomain.as_deref(), Some("own"), "without DNS host names");

    let suspended = scene.suspend(true).plan();
    assert_eq!(created(&suspended)[0].spec.as_ref().unwrap().suspend, Some(true));
}

/// Annotations of the JobSet and of the ReplicatedJob, and the resulting topology and strategy of the Job.
#[test]
fn jobs_inherit_exclusive_placement() {
    const TOPOLOGY: &str = "alpha.jobset.sigs.k8s.io/exclusive-topology";
    const STRATEGY: &str = "alpha.jobset.sigs.k8s.io/node-selector";
    for (of_jobset, of_template, topology, strategy) in [
        (format!("{TOPOLOGY}: rack"), String::new(), Some("rack"), false),
        (
            format!("{TOPOLOGY}: rack, {STRATEGY}: 'true', other: kept-away"),
            String::new(),
            Some("rack"),
            true,
        ),
        (format!("{TOPOLOGY}: rack"), format!("{TOPOLOGY}: row"), Some("row"), false),
        (String::new(), format!("{TOPOLOGY}: row, {STRATEGY}: ''"), Some("row"), true),
        (format!("{TOPOLOGY}: rack, {STRATEGY}: 'true'"), format!("{TOPOLOGY}: row"), Some("row"), true),
        (format!("{STRATEGY}: 'true'"), String::new(), None, false),
        (format!("{STRATEGY}: 'true'"), format!("{TOPOLOGY}: row"), Some("row"), false),
    ] {
        let mut scene = jobset(&format!(
            "replicatedJobs: [{{name: solo, template: {{metadata: {{annotations: {{{of_template}}}}}}}}}]"
        ));
        scene.jobset.metadata.annotations = Some(serde_yaml::from_str(&format!("{{{of_jobset}}}")).unwrap());
        let plan = scene.plan();
        let job = created(&plan)[0];
        let template = &job.spec.as_ref().unwrap().template;
        for metadata in [&job.metadata, template.metadata.as_ref().unwrap()] {
            let annotations = metadata.annotations.as_ref().unwrap();
            assert_eq!(annotations.get(labels::EXCLUSIVE_TOPOLOGY).map(String::as_str), topology);
            assert_eq!(annotations.contains_key(labels::NODE_SELECTOR_STRATEGY), strategy);
            assert!(!annotations.contains_key("other"));
            assert!(!metadata.labels.as_ref().unwrap().contains_key(labels::EXCLUSIVE_TOPOLOGY));
        }
        let pod = template.spec.as_ref().unwrap();
        let selected = pod.node_selector.as_ref().map(|selector| selector[labels::NAMESPACED_JOB].as_str());
        assert_eq!(selected, strategy.then_some("team_train-solo-0"));
        let tolerations = serde_json::to_value(&pod.tolerations).unwrap();
        let tolerated = serde_json::json!([
            {"key": "alpha.jobset.sigs.k8s.io/no-schedule", "operator": "Exists", "effect": "NoSchedule"}
        ]);
        assert_eq!(tolerations, if strategy { tolerated } else { serde_json::Value::Null });
    }
}

/// Only Jobs of earlier attempts are deleted. Jobs of any attempt occupy their names. No failure of another attempt
/// counts.
#[test]
fn only_jobs_of_earlier_attempts_are_deleted() {
    for (gates, jobs, expected) in [
        ("", "driver-0 attempt=1, worker-0 attempt=2, worker-1 attempt=2", vec!["delete train-driver-0"]),
        (
            "",
            "driver-0 attempt=1 failed@7, worker-0 attempt=2, worker-1 attempt=2",
            vec!["delete train-driver-0"],
        ),
        ("", "driver-0 attempt=1 deleting, worker-0 attempt=2, worker-1 attempt=2", vec![]),
        ("", "driver-0 edited-attempt=3 failed@7, worker-0 attempt=2, worker-1 attempt=2", vec![]),
        ("", "driver-0 attempt=2 edited-attempt=1 failed@7, worker-0 attempt=2, worker-1 attempt=2", vec![]),
        ("", "driver-0 attempt=two failed@7, worker-0 attempt=2, worker-1 attempt=2", vec![]),
        ("", "driver-0 attempt=-1 failed@7, worker-0 attempt=2, worker-1 attempt=2", vec![]),
        ("", "driver-0 attempt=none failed@7, worker-0 attempt=2, worker-1 attempt=2", vec![]),
        // Single Jobs: the controller restarted worker-1 four times.
        ("RestartJob", "driver-0 attempt=2, worker-0 attempt=2, worker-1 attempt=2 restart=4", vec![]),
        (
            "RestartJob",
            "driver-0 attempt=2, worker-0 attempt=2, worker-1 attempt=2 restart=3",
            vec!["delete train-worker-1"],
        ),
        (
            "RestartJob",
            "driver-0 attempt=2, worker-0 attempt=2, worker-1 attempt=2",
            vec!["delete train-worker-1"],
        ),
        (
            "RestartJob",
            "driver-0 attempt=1 edited-restart=9, worker-0 attempt=2, worker-1 attempt=2 restart=4",
            vec!["delete train-driver-0"],
        ),
        (
            "RestartJob",
            "driver-0 attempt=2, worker-0 attempt=2, worker-1 failed@7 attempt=2 restart=x",
            vec![],
        ),
        (
            "RestartJob",
            "driver-0 attempt=2, worker-0 attempt=2, worker-1 failed@7 attempt=2 restart=4 index=x",
            vec![],
        ),
        (
            "RestartJob",
            "driver-0 attempt=2, worker-0 attempt=2, worker-1 failed@7 attempt=2 restart=4 of=none",
            vec![],
        ),
        (
            "RestartJob",
            "driver-0 attempt=2, worker-0 attempt=2, worker-1 failed@7 attempt=2 restart=4 edited-restart=3",
            vec![],
        ),
        ("", "driver-0 attempt=2, worker-0 attempt=2, worker-1 attempt=2 restart=0", vec![]),
    ] {
        let scene = jobset("").restarted(2, 2).gates(gates).jobs_restarted("worker", &[0, 4], &[0, 0]);
        let plan = scene.jobs(jobs).plan();
        assert_eq!(actions(&plan), expected, "{gates} {jobs}");
        assert_eq!(plan.events, [], "{gates} {jobs}");
    }
}

/// A Job with invalid labels blocks only its own name, and the plan reports it.
#[test]
fn foreign_jobs_are_ignored_and_reported() {
    let restart_attempt = labels::RESTART_ATTEMPT;
    let driver = format!(
        "job train-driver-0 is ignored because its label {restart_attempt} is \"two\", which is not a non-negative \
         integer; correct the label or delete the Job"
    );
    let worker = format!(
        "job train-worker-1 is ignored because its label {restart_attempt} is 7, but the value in the pod template is \
         0; correct the label or delete the Job"
    );
    let scene = jobset("").jobs("driver-0 attempt=two failed@9, worker-1 edited-attempt=7");
    scene.expect(&[
        "create train-worker-0",
        &format!("of uid-of-driver-0: ForeignJob {driver}"),
        &format!("of uid-of-worker-1: ForeignJob {worker}"),
        &format!("waiting: {driver}"),
        &format!("waiting: {worker}"),
    ]);
    for Problem { subject, event } in scene.plan().problems {
        let Subject::Job { name, uid } = subject else { panic!("{subject:?} is not a Job") };
        assert_eq!((name, event.kind), (uid.replace("uid-of-", "train-"), EventKind::Warning));
    }
}

/// The plan reports a foreign Job in every state of the JobSet, and never changes the Job.
#[test]
fn foreign_jobs_are_reported_in_every_state() {
    for (gates, job, label) in [
        ("", "worker-0 attempt=none", format!("{} is missing", labels::RESTART_ATTEMPT)),
        (
            "",
            "worker-0 attempt=-1",
            format!("{} is \"-1\", which is not a non-negative integer", labels::RESTART_ATTEMPT),
        ),
        ("RestartJob", "worker-0 of=none", format!("{} is missing", labels::REPLICATED_JOB_NAME)),
        ("RestartJob", "worker-0 index=none", format!("{} is missing", labels::JOB_INDEX)),
        (
            "RestartJob",
            "worker-0 index=x",
            format!("{} is \"x\", which is not a non-negative integer", labels::JOB_INDEX),
        ),
        (
            "RestartJob",
            "worker-0 restart=x",
            format!("{} is \"x\", which is not a non-negative integer", labels::JOB_RESTART_ATTEMPT),
        ),
    ] {
        for scene in
            [jobset(""), jobset("").suspend(true), jobset("").condition("Completed=True AllJobsCompleted: x")]
        {
            for others in ["", ", driver-0 failed@9"] {
                let plan = scene.clone().gates(gates).jobs(&format!("{job}{others}")).plan();
                let notes: Vec<_> = plan.problems.iter().map(|problem| problem.event.note.as_str()).collect();
                let expected = format!(
                    "job train-worker-0 is ignored because its label {label}; correct the label or delete the Job"
                );
                assert_eq!(notes, [expected], "{job}{others}");
                assert!(!actions(&plan).iter().any(|action| action.ends_with("worker-0")), "{plan:?}");
            }
        }
    }
    for (of, why) in
        [("none", "is missing"), ("other", "is \"other\", which is not a replicatedJob of this JobSet")]
    {
        for state in ["", "complete", "failed@9"] {
            let plan = jobset("").jobs(&format!("driver-0, worker-0 of={of} {state}, worker-1")).plan();
            let notes: Vec<_> = plan.problems.iter().map(|problem| problem.event.note.as_str()).collect();
            let label = labels::REPLICATED_JOB_NAME;
            let expected = format!(
                "job train-worker-0 is not counted in replicatedJobsStatus because its label {label} {why}; correct \
                 the label or delete the Job"
            );
            assert_eq!(notes, [expected], "{state}");
        }
    }
    let mut unmanaged = jobset("managedBy: example.com/other").jobs("worker-0 attempt=none");
    assert_eq!(unmanaged.plan().problems, []);
    unmanaged = jobset("").jobs("worker-0 attempt=none");
    unmanaged.jobset.metadata.deletion_timestamp = Some(Time(Timestamp::from_second(NOW).unwrap()));
    assert_eq!(unmanaged.plan().problems, []);
}
