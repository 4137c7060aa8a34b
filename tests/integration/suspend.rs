//! `spec.suspend`, and the fields that Kueue changes before it resumes a JobSet.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use jobset_tests::wait::{TIMEOUT, wait_for};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use crate::Integration;
use crate::jobset::{LiveJobSet, counts, phase};

const SUSPENDED: [&str; 4] = ["Suspended", "True", "SuspendedJobs", "jobset is suspended"];
const RESUMED: [&str; 4] = ["Suspended", "False", "ResumeJobs", "jobset is resumed"];
const SPEC: &str = "{suspend: true, replicatedJobs: [{name: leader}, {name: w, replicas: 2}]}";

/// A JobSet that is created suspended has its Jobs and its Service, but no pods.
pub(crate) async fn jobs_of_a_suspended_jobset_are_created_suspended(suite: Arc<Integration>) -> Result<()> {
    let jobset = LiveJobSet::create(&suite, "js", SPEC).await?;
    jobset.jobs_stay(&["leader-0@0 suspended", "w-0@0 suspended", "w-1@0 suspended"]).await?;
    jobset.conditions_become(&[SUSPENDED]).await?;
    jobset.counts_become(&[counts("w", [0, 0, 0, 0, 2]), counts("leader", [0, 0, 0, 0, 1])]).await?;
    let services: Api<Service> = Api::namespaced(suite.client.clone(), &jobset.namespace);
    assert!(services.get_opt("js").await?.is_some(), "the suspended JobSet has no Service");
    assert_eq!(pods(&jobset).await?.len(), 0);

    jobset.suspend(false).await?;
    jobset.counts_become(&[counts("w", [2, 0, 0, 2, 0]), counts("leader", [1, 0, 0, 1, 0])]).await?;
    jobset.conditions_become(&[RESUMED]).await?;
    jobset
        .events_become(&["Normal SuspendedJobs: jobset is suspended", "Normal ResumeJobs: jobset is resumed"])
        .await?;
    Ok(())
}

/// A running JobSet can be suspended and resumed on other nodes. Its finished Jobs stay finished.
pub(crate) async fn running_jobset_can_be_suspended_and_moved(suite: Arc<Integration>) -> Result<()> {
    let jobset = LiveJobSet::create(&suite, "js", &SPEC.replace("true", "false")).await?;
    jobset.counts_become(&[counts("w", [2, 0, 0, 2, 0]), counts("leader", [1, 0, 0, 1, 0])]).await?;
    let before = jobset.jobs_become(&["leader-0@0", "w-0@0", "w-1@0"]).await?;
    jobset.succeed("leader-0").await?;
    jobset.jobs_become(&["leader-0@0 complete", "w-0@0", "w-1@0"]).await?;

    jobset.suspend(true).await?;
    jobset.jobs_become(&["leader-0@0 complete", "w-0@0 suspended", "w-1@0 suspended"]).await?;
    jobset.conditions_become(&[SUSPENDED]).await?;
    jobset.counts_become(&[counts("w", [0, 0, 0, 0, 2]), counts("leader", [0, 1, 0, 0, 0])]).await?;
    wait_for("the pods of suspended Jobs to be deleted", TIMEOUT, || pods(&jobset), |pods| pods.len() == 1)
        .await?;

    // The node selector changes in the update that resumes the JobSet. Kubernetes does not allow that for a Job that
    // has a start time.
    let resumed_at = Timestamp::from_second(Timestamp::now().as_second())?;
    jobset
        .edit(|spec| {
            spec["suspend"] = false.into();
            spec["replicatedJobs"][1]["template"]["spec"]["template"]["spec"]["nodeSelector"] =
                json!({ "topology.kubernetes.io/zone": "zone-b" });
        })
        .await?;
    jobset.counts_become(&[counts("w", [2, 0, 0, 2, 0]), counts("leader", [0, 1, 0, 0, 0])]).await?;
    jobset.conditions_become(&[RESUMED]).await?;
    for (name, job) in jobset.jobs_become(&["leader-0@0 complete", "w-0@0", "w-1@0"]).await? {
        assert_eq!(job.metadata.uid, before[&name].metadata.uid, "Job {name} was replaced");
        if name != "leader-0" {
            let start =
                job.status.and_then(|status| status.start_time).context("the Job has no start time")?;
            assert!(start.0 >= resumed_at, "{name} started at {}, before {resumed_at}", start.0);
        }
    }
    for pod in pods(&jobset).await?.iter().filter(|pod| phase(pod) == "Running") {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        assert_eq!(node, Some("kwok-1"), "pod {} is not in zone-b", pod.name_any());
    }
    Ok(())
}

/// On resume, the controller copies labels, annotations, node selector, tolerations and scheduling gates into the Jobs.
pub(crate) async fn template_changes_reach_jobs_on_resume(suite: Arc<Integration>) -> Result<()> {
    let spec = "
suspend: true
replicatedJobs:
- name: w
  template:
    spec:
      template:
        metadata: {labels: {kept: a}, annotations: {kept: a}}
        spec: {nodeSelector: {kept: a}, tolerations: [{key: kept, operator: Exists}]}
";
    let jobset = LiveJobSet::create(&suite, "js", spec).await?;
    let jobs = jobset.jobs_become(&["w-0@0 suspended"]).await?;
    let template = |spec: &mut Value, change: &dyn Fn(&mut Value)| {
        change(&mut spec["replicatedJobs"][0]["template"]["spec"]["template"]);
    };
    jobset
        .edit(|spec| {
            template(spec, &|template| {
                template["metadata"] = json!({
                    "labels": { "kept": "b", "new": "l", "jobset.sigs.k8s.io/job-index": "9" },
                    "annotations": { "kept": "b", "new": "a" },
                });
                template["spec"]["nodeSelector"] = json!({ "new": "n" });
                template["spec"]["tolerations"] = json!([
                    { "key": "new", "operator": "Equal", "value": "t", "effect": "NoExecute", "tolerationSeconds": 9 },
                    { "key": "kept", "operator": "Exists" },
                ]);
                template["spec"]["schedulingGates"] = json!([{ "name": "example.com/wait" }]);
            });
        })
        .await?;
    // The controller does not change suspended Jobs.
    jobset.jobs_stay(&["w-0@0 suspended"]).await?;
    let waiting = jobset.jobs.get("js-w-0").await?;
    assert_eq!(waiting.metadata.generation, jobs["w-0"].metadata.generation);

    jobset.suspend(false).await?;
    let jobs = jobset.jobs_become(&["w-0@0"]).await?;
    let changed = mutable_fields(&jobs["w-0"])?;
    let expected = json!({
        "labels": { "kept": "b", "new": "l", "jobset.sigs.k8s.io/job-index": "0" },
        "annotations": { "kept": "b", "new": "a" },
        // The controller does not remove entries.
        "nodeSelector": { "kept": "a", "new": "n" },
        "tolerations": [
            { "key": "kept", "operator": "Exists" },
            { "key": "new", "operator": "Equal", "value": "t", "effect": "NoExecute", "tolerationSeconds": 9 },
        ],
        "schedulingGates": [{ "name": "example.com/wait" }],
    });
    assert_eq!(changed, expected);
    let gated = |pods: &Vec<Pod>| {
        let reason = |pod: &Pod| {
            let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
            conditions.filter_map(|it| it.reason.clone()).collect::<Vec<_>>()
        };
        pods.len() == 1 && reason(&pods[0]) == ["SchedulingGated"]
    };
    wait_for("the pod to be gated", TIMEOUT, || pods(&jobset), gated).await?;
    Ok(())
}

/// The fields of a Job's pod template that the test above changes.
fn mutable_fields(job: &Job) -> Result<Value> {
    let template = &job.spec.as_ref().context("a Job has a spec")?.template;
    let metadata = template.metadata.clone().unwrap_or_default();
    let (mut labels, mut annotations) =
        (metadata.labels.unwrap_or_default(), metadata.annotations.unwrap_or_default());
    labels.retain(|key, _| matches!(key.as_str(), "kept" | "new" | "jobset.sigs.k8s.io/job-index"));
    annotations.retain(|key, _| matches!(key.as_str(), "kept" | "new"));
    let pod = template.spec.as_ref().context("a Job has a pod spec")?;
    let mut tolerations = json!(pod.tolerations);
    // The order of tolerations has no meaning.
    if let Some(list) = tolerations.as_array_mut() {
        list.sort_by_key(|it| it["key"].to_string());
    }
    Ok(json!({
        "labels": labels, "annotations": annotations, "nodeSelector": pod.node_selector,
        "tolerations": tolerations, "schedulingGates": pod.scheduling_gates,
    }))
}

/// Suspension interrupts a restart. After the resume, the restart continues.
pub(crate) async fn restart_is_interrupted_by_suspension(suite: Arc<Integration>) -> Result<()> {
    let spec = "{failurePolicy: {maxRestarts: 1}, replicatedJobs: [{name: w, replicas: 2}]}";
    let jobset = LiveJobSet::create(&suite, "js", spec).await?;
    jobset.counts_become(&[counts("w", [2, 0, 0, 2, 0])]).await?;
    jobset.add_finalizer("w-0").await?;
    jobset.fail("w-1").await?;
    jobset.jobs_become(&["w-0@0 deleting", "w-1@1"]).await?;
    let message = "applying RestartJobSet failure policy action (first failed job: js-w-1)";
    jobset.conditions_become(&[["RestartingJobSet", "True", "DefaultFailurePolicy", message]]).await?;

    jobset.suspend(true).await?;
    let interrupted = ["RestartingJobSet", "False", "JobSetSuspended", "jobset is suspended"];
    jobset.jobs_become(&["w-0@0 deleting", "w-1@1 suspended"]).await?;
    jobset.conditions_become(&[interrupted, SUSPENDED]).await?;
    jobset.remove_finalizer("w-0").await?;
    jobset.jobs_become(&["w-0@1 suspended", "w-1@1 suspended"]).await?;

    jobset.suspend(false).await?;
    let status = jobset.counts_become(&[counts("w", [2, 0, 0, 2, 0])]).await?;
    assert_eq!(status["restarts"], 1);
    let ready = ["RestartingJobSet", "False", "JobsReady", "all jobs are ready"];
    jobset.conditions_become(&[ready, RESUMED]).await?;
    Ok(())
}

async fn pods(jobset: &LiveJobSet) -> Result<Vec<Pod>> {
    Ok(jobset.pods.list(&ListParams::default()).await?.items)
}
