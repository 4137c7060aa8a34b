//! `spec.suspend`.

use super::*;
use serde_json::{Value, json};

const SUSPENDED: [&str; 2] =
    ["Suspended=True SuspendedJobs: jobset is suspended", "Normal SuspendedJobs: jobset is suspended"];
const RESUMED: [&str; 2] =
    ["Suspended=False ResumeJobs: jobset is resumed", "Normal ResumeJobs: jobset is resumed"];

#[test]
fn a_jobset_created_suspended_creates_suspended_jobs() {
    let mut scene = jobset(
        "network: {enableDNSHostnames: true}\nvolumeClaimPolicies: [{templates: [{metadata: {name: data}}]}]",
    )
    .suspend(true);
    scene.service = None;
    scene.expect(&[
        "create Service train",
        "create claim data-train",
        "create train-driver-0 suspended",
        "create train-worker-0 suspended",
        "create train-worker-1 suspended",
        SUSPENDED[0],
        SUSPENDED[1],
        WAITS_SUSPENDED,
    ]);
}

#[test]
fn suspending_suspends_running_jobs() {
    let restarting = "RestartingJobSet=True DefaultFailurePolicy: old";
    let running = "driver-0 ready, worker-0 suspended, worker-1 complete";
    let scene = jobset("").jobs(running).condition(restarting).suspend(true);
    scene.expect(&[
        "suspend train-driver-0",
        "RestartingJobSet=False JobSetSuspended: jobset is suspended",
        SUSPENDED[0],
        SUSPENDED[1],
        "Normal JobSetSuspended: jobset is suspended",
        WAITS_SUSPENDED,
    ]);
    let suspended = scene.stored().jobs("driver-0 suspended active=1, worker-0 suspended, worker-1 complete");
    suspended.expect(&[WAITS_SUSPENDED, "waiting: suspended Jobs whose pods are still stopping: 1"]);
    // A Job that is being deleted is not suspended.
    suspended.jobs("driver-0 deleting, worker-0 suspended, worker-1 complete").expect(&[
        "waiting: Jobs that a user deleted keep their names until the deletion completes: 1",
        WAITS_SUSPENDED,
    ]);
}

#[test]
fn resuming_resumes_suspended_jobs() {
    let was = "Suspended=True SuspendedJobs: jobset is suspended";
    let resumed = jobset("").condition(was).jobs("driver-0 suspended, worker-0, worker-1 suspended deleting");
    resumed.expect(&[
        "resume train-driver-0",
        RESUMED[0],
        RESUMED[1],
        "waiting: Jobs that a user deleted keep their names until the deletion completes: 1",
    ]);
    assert_eq!(resumed.stored().jobs(RUNNING).outcome_lines(), Vec::<String>::new());
    // Without the condition there is no event.
    jobset("").jobs("driver-0 suspended, worker-0, worker-1").expect(&["resume train-driver-0"]);
}

/// The API server rejects changes to the template while the Job has pods.
#[test]
fn a_job_is_resumed_after_its_pods_have_stopped() {
    let was = "Suspended=True SuspendedJobs: jobset is suspended";
    let scene = jobset("").condition(was).jobs("driver-0 suspended active=3, worker-0 suspended, worker-1");
    scene.expect(&[
        "resume train-worker-0",
        "waiting: job train-driver-0 resumes when its 3 pods have stopped",
    ]);
    let stopped = scene.stored().jobs("driver-0 suspended, worker-0, worker-1");
    stopped.expect(&["resume train-driver-0", RESUMED[0], RESUMED[1]]);
}

/// The failure policy also applies while the JobSet is suspended. The Jobs of the next attempt are created suspended.
#[test]
fn a_suspended_jobset_restarts_and_fails() {
    let suspended = jobset("failurePolicy: {maxRestarts: 1}").suspend(true).condition(SUSPENDED[0]);
    let failed = suspended.jobs("driver-0 failed@9, worker-0, worker-1 suspended");
    let message = "applying RestartJobSet failure policy action (first failed job: train-driver-0)";
    failed.expect(&[
        "restarts: 1",
        "restartsCountTowardsMax: 1",
        &format!("RestartingJobSet=True DefaultFailurePolicy: {message}"),
        &format!("Warning DefaultFailurePolicy: {message}"),
        &format!("Warning RestartJobSetFailurePolicyAction: {message}"),
    ]);
    let restarted = failed.stored().jobs("driver-0 failed@9 deleting, worker-0");
    restarted.expect(&[
        "delete train-worker-0",
        "create train-worker-1 suspended",
        "RestartingJobSet=False JobSetSuspended: jobset is suspended",
        "Normal JobSetSuspended: jobset is suspended",
        &deleting(2),
        WAITS_SUSPENDED,
    ]);
    let again = restarted.stored().jobs("driver-0 attempt=1 failed@9");
    let message = "jobset failed due to reaching max number of restarts (first failed job: train-driver-0)";
    again.expect(
        &[
            "RestartingJobSet=False JobSetFailed: jobset failed (since 1000000)",
            &format!("Failed=True ReachedMaxRestarts: {message}"),
            "terminalState: Failed",
            &format!("Warning ReachedMaxRestarts: {message}"),
            "Normal JobSetFailed: jobset failed",
        ]
        .map(|line| line.trim_end_matches(" (since 1000000)")),
    );
    assert_eq!(
        again.stored().jobset.status.unwrap().conditions[0].type_,
        "Suspended",
        "the condition stays unchanged"
    );
}

/// The resume and its patch of the only Job of `solo`, whose pod template is now `template`.
fn resume_patch(annotations: &str, template: &str, job_now: Option<Value>) -> (JobResume, Value) {
    resume_patch_with("", annotations, template, job_now)
}

/// The same with feature gates.
fn resume_patch_with(
    gates: &str,
    annotations: &str,
    template: &str,
    job_now: Option<Value>,
) -> (JobResume, Value) {
    let mut scene =
        jobset(&format!("replicatedJobs: [{{name: solo, template: {{spec: {{template: {template}}}}}}}]"));
    scene.jobset.metadata.annotations = Some(serde_yaml::from_str(annotations).unwrap());
    let plan = scene.gates(gates).jobs("solo-0 suspended").plan();
    let [Action::ResumeJob(resume)] = plan.actions.as_slice() else { panic!("{:?}", plan.actions) };
    let now: Option<Job> = job_now.map(|now| serde_json::from_value(now).unwrap());
    let patch = resume.patch(now.as_ref());
    (*resume.clone(), patch)
}

/// The patch that resumes a Job contains the changes that Kueue made to the template while the Job was suspended.
#[test]
fn a_resume_applies_changes_to_the_template() {
    let template = "{metadata: {labels: {queue: fast}, annotations: {flavor: gpu}}, spec: {containers: [], nodeSelector: {pool: a100}}}";
    let (resume, patch) = resume_patch("{}", template, None);
    assert!(resume.clear_start_time && !resume.needs_current());
    let expected = json!({"metadata": {"uid": "uid-of-solo-0"}, "spec": {"suspend": false, "template": {
        "metadata": {"labels": {"queue": "fast"}, "annotations": {"flavor": "gpu"}},
        "spec": {"nodeSelector": {"pool": "a100"}},
    }}});
    assert_eq!(patch, expected);
}

/// Lists keep their entries and get the missing entries. The resource version protects other changes.
#[test]
fn a_resume_merges_tolerations_and_scheduling_gates_by_value() {
    let template = "{spec: {containers: [], schedulingGates: [{name: b}, {name: a}], tolerations: \
                    [{key: gpu, operator: Exists, tolerationSeconds: 30}, {key: spot, operator: Exists}]}}";
    let now = json!({
        "metadata": {"resourceVersion": "77"},
        "spec": {"template": {"spec": {
            "containers": [],
            "schedulingGates": [{"name": "a"}],
            "tolerations": [{"key": "own"}, {"key": "gpu", "operator": "Exists", "tolerationSeconds": 30}],
        }}},
    });
    let (resume, patch) = resume_patch("{}", template, Some(now));
    assert!(resume.needs_current());
    assert_eq!(patch["metadata"]["resourceVersion"], "77");
    let pod = &patch["spec"]["template"]["spec"];
    assert_eq!(pod["schedulingGates"], json!([{"name": "b"}, {"name": "a"}]), "Kubernetes merges by name");
    assert_eq!(
        pod["tolerations"],
        json!([
            {"key": "own"},
            {"key": "gpu", "operator": "Exists", "tolerationSeconds": 30},
            {"key": "spot", "operator": "Exists"},
        ])
    );
    assert_eq!(patch["spec"]["suspend"], false);
}

/// A patch replaces the list of tolerations, so the resume repeats the current ones.
#[test]
fn a_resume_with_tolerations_needs_the_current_job() {
    let (gate, toleration) = ("schedulingGates: [{name: b}]", "tolerations: [{key: spot}]");
    for (lists, needs_current) in [
        (String::new(), false),
        (gate.into(), false),
        (toleration.into(), true),
        (format!("{gate}, {toleration}"), true),
    ] {
        let (resume, _) = resume_patch("{}", &format!("{{spec: {{containers: [], {lists}}}}}"), None);
        assert_eq!(resume.needs_current(), needs_current, "{lists}");
    }
}

/// A resume does not change the keys that identify a Job, and those of its placement.
#[test]
fn reserved_keys_stay() {
    let template = "{metadata: {labels: {jobset.sigs.k8s.io/job-index: '9', tier: low}, \
                    annotations: {jobset.sigs.k8s.io/restart-attempt: '9', \
                    alpha.jobset.sigs.k8s.io/exclusive-topology: row, note: hot}}, \
                    spec: {containers: [], nodeSelector: {alpha.jobset.sigs.k8s.io/namespaced-job: other, pool: a}}}";
    let placed =
        "{alpha.jobset.sigs.k8s.io/exclusive-topology: rack, alpha.jobset.sigs.k8s.io/node-selector: 'true'}";
    let (resume, _) = resume_patch(placed, template, None);
    let text = |map: &std::collections::BTreeMap<String, String>| serde_json::to_value(map).unwrap();
    assert_eq!(text(&resume.labels), json!({"tier": "low"}));
    assert_eq!(text(&resume.annotations), json!({"note": "hot"}));
    assert_eq!(text(&resume.node_selector), json!({"pool": "a"}));
}

#[test]
fn a_job_that_never_started_keeps_its_status() {
    let scene = jobset("replicatedJobs: [{name: solo}]").jobs("solo-0 suspended started=false");
    let plan = scene.plan();
    assert!(matches!(&plan.actions[..], [Action::ResumeJob(resume)] if !resume.clear_start_time));
}

/// The Job of flavor `a`, and the template of flavor `b`.
const FLAVOR_B: &str = "{metadata: {labels: {flavor: b}}, spec: {containers: [], nodeSelector: {pool: b, arch: arm}, \
     tolerations: [{key: b}, {key: both}], schedulingGates: [{name: b}]}}";

fn job_of_flavor_a() -> Value {
    json!({
        "metadata": {"resourceVersion": "77"},
        "spec": {"template": {"metadata": {"labels": {"flavor": "a", "gone": "x"}}, "spec": {
            "containers": [],
            "nodeSelector": {"pool": "a", "zone": "a"},
            "tolerations": [{"key": "a"}, {"key": "both"}],
            "schedulingGates": [{"name": "a"}],
        }}},
    })
}

/// The pod template of a Job after a patch.
fn template_after(job: Value, patch: &Value) -> Value {
    let mut job = job;
    strategic_merge_patch::apply(&mut job, patch);
    job["spec"]["template"].clone()
}

/// A queueing system can admit a JobSet with one flavor, evict it, and admit it with another one. Labels and annotations
/// do not determine nodes, so they are always merged.
#[test]
fn a_resume_replaces_scheduling_directives_with_the_gate() {
    let (resume, merged) = resume_patch_with("", "{}", FLAVOR_B, Some(job_of_flavor_a()));
    assert!(!resume.replaces_directives);
    let (resume, replaced) =
        resume_patch_with("ReplaceSchedulingDirectivesOnResume", "{}", FLAVOR_B, Some(job_of_flavor_a()));
    assert!(resume.needs_current());
    assert_eq!(replaced["metadata"], json!({"uid": "uid-of-solo-0", "resourceVersion": "77"}));
    for (patch, spec) in [
        (
            merged,
            json!({
                "containers": [],
                "nodeSelector": {"pool": "b", "zone": "a", "arch": "arm"},
                "tolerations": [{"key": "a"}, {"key": "both"}, {"key": "b"}],
                "schedulingGates": [{"name": "a"}, {"name": "b"}],
            }),
        ),
        (
            replaced,
            json!({
                "containers": [],
                "nodeSelector": {"pool": "b", "arch": "arm"},
                "tolerations": [{"key": "b"}, {"key": "both"}],
                "schedulingGates": [{"name": "b"}],
            }),
        ),
    ] {
        let after = template_after(job_of_flavor_a(), &patch);
        assert_eq!(
            after,
            json!({"metadata": {"labels": {"flavor": "b", "gone": "x"}, "annotations": {}}, "spec": spec})
        );
    }
    let (_, emptied) = resume_patch_with(
        "ReplaceSchedulingDirectivesOnResume",
        "{}",
        "{spec: {containers: []}}",
        Some(job_of_flavor_a()),
    );
    let none = json!({"containers": [], "nodeSelector": {}, "tolerations": [], "schedulingGates": []});
    assert_eq!(template_after(job_of_flavor_a(), &emptied)["spec"], none);
}

/// The nodes that an administrator prepared for a Job stay selected, even if the annotations of the JobSet are gone.
#[test]
fn replaced_directives_keep_the_prepared_nodes() {
    let prepared = json!({"alpha.jobset.sigs.k8s.io/namespaced-job": "team_train-solo-0"});
    let tolerated =
        json!({"key": "alpha.jobset.sigs.k8s.io/no-schedule", "operator": "Exists", "effect": "NoSchedule"});
    let job = |selector: &Value| {
        let mut job = job_of_flavor_a();
        let pod = &mut job["spec"]["template"]["spec"];
        pod["nodeSelector"] = selector.clone();
        pod["nodeSelector"]["pool"] = "a".into();
        pod["tolerations"] = json!([{"key": "a"}, tolerated]);
        job
    };
    let placed =
        "{alpha.jobset.sigs.k8s.io/exclusive-topology: rack, alpha.jobset.sigs.k8s.io/node-selector: 'true'}";
    let template =
        "{spec: {containers: [], nodeSelector: {alpha.jobset.sigs.k8s.io/namespaced-job: x, pool: b}}}";
    for (annotations, selector, selects, tolerates) in [
        (placed, &prepared, &prepared, json!([tolerated])),
        ("{}", &prepared, &prepared, json!([tolerated])),
        // Another client added the toleration.
        (placed, &json!({}), &json!({}), json!([])),
    ] {
        let gate = "ReplaceSchedulingDirectivesOnResume";
        let (_, patch) = resume_patch_with(gate, annotations, template, Some(job(selector)));
        let after = template_after(job(selector), &patch);
        let mut selected = selects.clone();
        selected["pool"] = "b".into();
        assert_eq!(after["spec"]["nodeSelector"], selected);
        assert_eq!(after["spec"]["tolerations"], tolerates);
    }
}

/// With the gate, requests and limits of a suspended JobSet reach the Job when it resumes.
#[test]
fn a_resume_copies_requests_and_limits_with_the_gate() {
    let template = "{spec: {containers: [{name: main, image: new, resources: {requests: {cpu: 2}}}], \
                    initContainers: [{name: init, resources: {limits: {cpu: 1}}}]}}";
    let gate = "MutablePodResourcesForSuspendedJobSets";
    let job = |main: Value, init: Value| {
        json!({"metadata": {"resourceVersion": "77"}, "spec": {"template": {"spec": {
            "containers": [{"name": "main", "image": "old", "resources": main}, {"name": "injected"}],
            "initContainers": [{"name": "init", "resources": init}],
        }}}})
    };
    let old = || job(json!({"requests": {"cpu": "1", "memory": "1Gi"}}), json!({}));
    let settled = || job(json!({"requests": {"cpu": "2"}}), json!({"limits": {"cpu": "1"}}));
    let parse = |job: Value| serde_json::from_value::<Job>(job).unwrap();

    let (resume, patch) = resume_patch_with(gate, "{}", template, Some(old()));
    assert!(resume.needs_current() && resume.changes_resources(&parse(old())));
    assert_eq!(patch["metadata"]["resourceVersion"], "77");
    let after = parse(json!({"spec": {"template": template_after(old(), &patch)}}));
    let pod = |job: Job| {
        let pod = job.spec.unwrap().template.spec.unwrap();
        (pod.containers, pod.init_containers)
    };
    assert_eq!(pod(after), pod(parse(settled())));

    let (resume, patch) = resume_patch_with(gate, "{}", template, Some(settled()));
    assert!(!resume.changes_resources(&parse(settled())));
    let spec = &patch["spec"]["template"]["spec"];
    assert!(spec.get("containers").is_none() && spec.get("initContainers").is_none(), "{patch}");

    let (resume, patch) = resume_patch_with("", "{}", template, Some(old()));
    assert!(!resume.needs_current() && !resume.changes_resources(&parse(old())));
    assert_eq!(
        template_after(old(), &patch)["spec"]["containers"],
        old()["spec"]["template"]["spec"]["containers"]
    );
}
