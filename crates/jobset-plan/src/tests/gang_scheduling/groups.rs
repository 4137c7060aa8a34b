//! From `spec.scheduling` to Workload, PodGroups and child Jobs.

use super::*;
use serde_json::{Value, json};

/// Three Jobs of two pods and one of one pod.
const REPLICATED_JOBS: &str = "replicatedJobs: [{name: driver, template: {spec: {parallelism: 1}}}, \
     {name: worker, replicas: 3, template: {spec: {parallelism: 2}}}]\n";

#[test]
fn each_mode_has_its_groups() {
    let each = |pods| -> Vec<String> {
        (0..3).map(|index| format!("create PodGroup train-worker-{index}, {pods}")).collect()
    };
    for (scheduling, templates, pod_groups) in [
        ("{}", "train: gang of 7", vec!["create PodGroup train, gang of 7".to_owned()]),
        (
            "{schedulingPolicy: {gang: {}}}",
            "train: gang of 7",
            vec!["create PodGroup train, gang of 7".into()],
        ),
        ("{schedulingPolicy: {basic: {}}}", "train: basic", vec!["create PodGroup train, basic".into()]),
        (
            "{replicatedJobs: [{targetReplicatedJobs: [worker, driver]}]}",
            "worker-driver: gang of 7",
            vec!["create PodGroup train-worker-driver, gang of 7".into()],
        ),
        (
            "{replicatedJobs: [{targetReplicatedJobs: [worker]}, \
             {targetReplicatedJobs: [driver], schedulingPolicy: {basic: {}}}]}",
            "worker: gang of 6, driver: basic",
            vec![
                "create PodGroup train-worker, gang of 6".into(),
                "create PodGroup train-driver, basic".into(),
            ],
        ),
        (
            "{replicatedJobs: [{targetReplicatedJobs: [worker], job: {}}]}",
            "worker-0: gang of 2, worker-1: gang of 2, worker-2: gang of 2",
            each("gang of 2"),
        ),
        (
            "{replicatedJobs: [{targetReplicatedJobs: [worker], job: {schedulingPolicy: {gang: {minCount: 1}}}}]}",
            "worker-0: gang of 1, worker-1: gang of 1, worker-2: gang of 1",
            each("gang of 1"),
        ),
        (
            "{replicatedJobs: [{targetReplicatedJobs: [worker], job: {schedulingPolicy: {basic: {}}}}]}",
            "worker-0: basic, worker-1: basic, worker-2: basic",
            each("basic"),
        ),
    ] {
        let scene = gang(&format!("{REPLICATED_JOBS}scheduling: {scheduling}"));
        let mut lines = scene.action_lines();
        lines.retain(|line| !line.starts_with("create train-"));
        let workload = format!("create Workload train with {templates}");
        assert_eq!(lines, [vec![workload], pod_groups].concat(), "{scheduling}");
    }
}

#[test]
fn workload_and_pod_group_are_complete() {
    let scene = gang(
        "replicatedJobs: [{name: workers, template: {spec: {parallelism: 2, template: {spec: \
         {priorityClassName: high}}}}}]\nscheduling: {replicatedJobs: [{targetReplicatedJobs: [workers], job: {\
         schedulingPolicy: {gang: {minCount: 1}}, schedulingConstraints: {topology: [{key: rack}]}, \
         disruptionMode: {all: {}}, resourceClaims: [{name: fabric, resourceClaimTemplateName: nv}, \
         {name: disk, resourceClaimName: shared}]}}]}",
    );
    let scene = Scene { jobset: in_namespace(scene.jobset.clone(), "default"), ..scene };
    let (workload, pod_group) = match &scene.plan().actions[..] {
        [
            Action::Scheduling(SchedulingAction::CreateWorkload(workload)),
            Action::Scheduling(SchedulingAction::CreatePodGroup(pod_group)),
            Action::CreateJob(_),
        ] => (json(workload), json(pod_group)),
        other => panic!("{other:?}"),
    };
    let owner = json!([{
        "apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "name": "train", "uid": "train-uid",
        "controller": true, "blockOwnerDeletion": true,
    }]);
    let metadata = |name: &str| {
        json!({
            "name": name, "namespace": "default", "ownerReferences": owner,
            "labels": {"jobset.sigs.k8s.io/jobset-name": "train"},
        })
    };
    let mut template = json!({
        "schedulingPolicy": {"gang": {"minCount": 1}},
        "schedulingConstraints": {"topology": [{"key": "rack"}]},
        "disruptionMode": {"all": {}},
        "priorityClassName": "high",
        "resourceClaims": [
            {"name": "fabric", "resourceClaimTemplateName": "nv"},
            {"name": "disk", "resourceClaimName": "shared"},
        ],
    });
    let mut spec = template.clone();
    template["name"] = "workers-0-7098129e3a".into();
    spec["workloadRef"] = json!({"workloadName": "train-9820341ee6", "templateName": "workers-0-7098129e3a"});
    assert_eq!(
        workload,
        json!({
            "apiVersion": "scheduling.k8s.io/v1beta1", "kind": "Workload",
            "metadata": metadata("train-9820341ee6"),
            "spec": {
                "controllerRef": {"apiGroup": "jobset.x-k8s.io", "kind": "JobSet", "name": "train"},
                "podGroupTemplates": [template],
            },
        })
    );
    assert_eq!(
        pod_group,
        json!({
            "apiVersion": "scheduling.k8s.io/v1beta1", "kind": "PodGroup",
            "metadata": metadata("train-workers-0-7098129e3a"),
            "spec": spec,
        })
    );
}

fn json(object: &impl serde::Serialize) -> Value {
    serde_json::to_value(object).unwrap()
}

fn in_namespace(mut jobset: JobSet, namespace: &str) -> JobSet {
    jobset.metadata.namespace = Some(namespace.into());
    jobset
}

#[test]
fn a_shared_entry_and_the_whole_jobset_have_their_fields() {
    for scheduling in [
        "{schedulingConstraints: {topology: [{key: rack}]}, disruptionMode: {single: {}}}",
        "{replicatedJobs: [{targetReplicatedJobs: [driver, worker], \
         schedulingConstraints: {topology: [{key: rack}]}, disruptionMode: {single: {}}}]}",
    ] {
        let plan = gang(&format!("scheduling: {scheduling}")).plan();
        let Action::Scheduling(SchedulingAction::CreatePodGroup(pod_group)) = &plan.actions[1] else {
            panic!("{plan:?}")
        };
        let mut spec = json(&pod_group.spec);
        spec.as_object_mut().unwrap().remove("workloadRef");
        assert_eq!(
            spec,
            json!({
                "schedulingPolicy": {"gang": {"minCount": 3}},
                "schedulingConstraints": {"topology": [{"key": "rack"}]},
                "disruptionMode": {"single": {}},
            }),
            "{scheduling}"
        );
    }
}

/// Of several members, the first in the group's own order.
#[test]
fn a_group_has_the_priority_class_of_its_first_member() {
    let jobs = |driver: &str, worker: &str| {
        let job = |name: &str, class: &str| {
            format!("{{name: {name}, template: {{spec: {{template: {{spec: {{{class}}}}}}}}}}}")
        };
        format!("replicatedJobs: [{}, {}]\n", job("driver", driver), job("worker", worker))
    };
    let (low, high) = ("priorityClassName: low", "priorityClassName: high");
    for (driver, worker, scheduling, expected) in [
        (low, high, "{}", Some("low")),
        ("", high, "{}", None),
        ("priorityClassName: ''", high, "{}", None),
        (low, high, "{replicatedJobs: [{targetReplicatedJobs: [worker, driver]}]}", Some("high")),
        (low, high, "{replicatedJobs: [{targetReplicatedJobs: [worker], job: {}}]}", Some("high")),
    ] {
        let plan = gang(&format!("{}scheduling: {scheduling}", jobs(driver, worker))).plan();
        let Action::Scheduling(SchedulingAction::CreatePodGroup(pod_group)) = &plan.actions[1] else {
            panic!("{plan:?}")
        };
        assert_eq!(pod_group.spec.priority_class_name.as_deref(), expected, "{driver} {worker} {scheduling}");
    }
}

/// With the annotation on pods, or without the schedulingGroup, the Job controller could create a group of its own.
#[test]
fn a_job_has_an_annotation_and_its_pods_have_the_group() {
    for (scheduling, template, pod_group) in [
        (WHOLE, "train", "train"),
        (TWO_ENTRIES, "worker", "train-worker"),
        (EACH_JOB, "worker-1", "train-worker-1"),
    ] {
        for suspend in [false, true] {
            let plan = gang(scheduling).suspend(suspend).plan();
            let job = created(&plan)[2];
            assert_eq!(job.metadata.name.as_deref(), Some("train-worker-1"));
            let pod = &job.spec.as_ref().unwrap().template;
            let annotation = |of: &Option<std::collections::BTreeMap<String, String>>| {
                of.as_ref()
                    .and_then(|of| of.get(labels::GROUP_TEMPLATE_NAME))
                    .map(|name| without_hashes(name))
            };
            assert_eq!(annotation(&job.metadata.annotations).as_deref(), Some(template), "{scheduling}");
            assert_eq!(annotation(&pod.metadata.as_ref().unwrap().annotations), None, "{scheduling}");
            let group = pod.spec.as_ref().unwrap().scheduling_group.as_ref().unwrap();
            let name = group.pod_group_name.as_ref().map(|name| without_hashes(name));
            assert_eq!(name.as_deref(), Some(pod_group), "{scheduling}");
        }
    }
}

/// Kubeflow Trainer creates the Workload of its JobSets, and sets the schedulingGroup of the templates.
#[test]
fn a_schedulinggroup_of_the_template_stays_without_spec_scheduling() {
    let spec = "replicatedJobs: [{name: solo, template: {metadata: {annotations: \
                {scheduling.k8s.io/group-template-name: theirs}}, spec: {template: {spec: \
                {schedulingGroup: {podGroupName: their-group}}}}}}]";
    let scene = gang(spec);
    scene.expect_lines(&["create train-solo-0"]);
    let plan = scene.plan();
    let job = created(&plan)[0];
    assert_eq!(job.metadata.annotations.as_ref().unwrap()[labels::GROUP_TEMPLATE_NAME], "theirs");
    let pod = job.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
    assert_eq!(pod.scheduling_group.as_ref().unwrap().pod_group_name.as_deref(), Some("their-group"));
    let suspended = scene.jobs("solo-0 suspended template=theirs group=their-group");
    suspended.expect_lines(&["resume train-solo-0"]);
}
