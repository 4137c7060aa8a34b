//! What a queueing system changes in the pod templates of a suspended JobSet, and what of it a resumed Job has.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use jobset_tests::controller::Controller;
use jobset_tests::wait::{TIMEOUT, wait_for};
use k8s_openapi::api::core::v1::PodSpec;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::Integration;
use crate::jobset::{LiveJobSet, counts};

/// Without the gate, the node selectors of both flavors add up.
pub(crate) async fn flavors_add_up_by_default(suite: Arc<Integration>) -> Result<()> {
    let pod = run_in_two_flavors(suite).await?;
    assert_eq!(json!(pod.node_selector), json!({ "own": "n", "flavor-a": "a", "flavor-b": "b" }));
    assert_eq!(keys(&json!(pod.tolerations), "key"), ["own", "a", "b"]);
    Ok(())
}

/// With the gate, a Job has only the node selector of its last flavor.
pub(crate) async fn flavor_replaces_the_previous_one_behind_its_gate(suite: Arc<Integration>) -> Result<()> {
    let pod = run_in_two_flavors(suite).await?;
    assert_eq!(json!(pod.node_selector), json!({ "own": "n", "flavor-b": "b" }));
    assert_eq!(keys(&json!(pod.tolerations), "key"), ["own", "b"]);
    Ok(())
}

/// Admits a JobSet with flavor `a`, evicts it, and admits it with flavor `b`. Returns the pod template of its Job.
async fn run_in_two_flavors(suite: Arc<Integration>) -> Result<PodSpec> {
    let spec = "
suspend: true
replicatedJobs:
- name: w
  template: {spec: {template: {spec: {nodeSelector: {own: n}, tolerations: [{key: own, operator: Exists}]}}}}
";
    let jobset = LiveJobSet::create(&suite, "js", spec).await?;
    jobset.jobs_become(&["w-0@0 suspended"]).await?;
    for flavor in ["a", "b"] {
        edit_pod(&jobset, false, |pod| {
            pod["nodeSelector"] = json!({ "own": "n" });
            pod["nodeSelector"][format!("flavor-{flavor}")] = flavor.into();
            pod["tolerations"] =
                json!([{ "key": "own", "operator": "Exists" }, { "key": flavor, "operator": "Exists" }]);
        })
        .await?;
        jobset.counts_become(&[counts("w", [0, 0, 0, 1, 0])]).await?;
        if flavor == "a" {
            jobset.suspend(true).await?;
            jobset.counts_become(&[counts("w", [0, 0, 0, 0, 1])]).await?;
        }
    }
    pod_of_job(&jobset).await
}

/// Requests and limits of a suspended JobSet reach its Job with the resume, whether it has run or not.
pub(crate) async fn resources_can_change_while_suspended(suite: Arc<Integration>) -> Result<()> {
    let jobset = LiveJobSet::create(&suite, "js", RESOURCES).await?;
    jobset.jobs_become(&["w-0@0 suspended"]).await?;
    let uid = jobset.jobs.get("js-w-0").await?.metadata.uid;
    for (cpu, init) in [("150m", "200m"), ("250m", "100m")] {
        let new = json!({ "requests": { "cpu": cpu }, "limits": { "cpu": "2" } });
        let prepares = json!({ "requests": { "cpu": init } });
        edit_pod(&jobset, false, |pod| {
            pod["containers"][1]["resources"] = new.clone();
            pod["initContainers"][0]["resources"] = prepares.clone();
        })
        .await?;
        jobset.counts_become(&[counts("w", [1, 0, 0, 1, 0])]).await?;
        let pods = jobset.pods.list(&ListParams::default()).await?.items;
        let running = pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let running = running.filter_map(|pod| pod.spec).map(|pod| (pod.containers, pod.init_containers));
        let of_job = pod_of_job(&jobset).await?;
        for (containers, init) in running.chain([(of_job.containers, of_job.init_containers)]) {
            let resources: Vec<Value> =
                containers.iter().chain(init.iter().flatten()).map(|it| json!(it.resources)).collect();
            assert_eq!(resources, [json!({ "requests": { "cpu": "50m" } }), new.clone(), prepares.clone()]);
        }
        jobset.suspend(true).await?;
        jobset.counts_become(&[counts("w", [0, 0, 0, 0, 1])]).await?;
    }
    assert_eq!(jobset.jobs.get("js-w-0").await?.metadata.uid, uid, "the Job was replaced");
    Ok(())
}

/// The API server rejects a request above its limit. The Job stays suspended until a user corrects the JobSet.
pub(crate) async fn rejected_resources_are_reported_and_retried(suite: Arc<Integration>) -> Result<()> {
    let jobset = LiveJobSet::create(&suite, "js", RESOURCES).await?;
    jobset.jobs_become(&["w-0@0 suspended"]).await?;
    let resources = |cpu: &str| json!({ "requests": { "cpu": cpu }, "limits": { "cpu": "1" } });
    edit_pod(&jobset, false, |pod| pod["containers"][1]["resources"] = resources("2")).await?;
    let event = jobset.event("FailedResourcePropagation", |event| event.series.is_some()).await?;
    let note = event.note.unwrap_or_default();
    let (first, last) = (
        "Failed to propagate mutated resources to child Job js-w-0: ",
        ". Ensure MutablePodResourcesForSuspendedJobs is enabled on the API server.",
    );
    assert!(note.starts_with(first) && note.ends_with(last), "{note}");
    assert!(note.contains("must be less than or equal to cpu limit"), "{note}");
    jobset.jobs_stay(&["w-0@0 suspended"]).await?;
    edit_pod(&jobset, true, |pod| pod["containers"][1]["resources"] = resources("1")).await?;
    jobset.suspend(false).await?;
    jobset.counts_become(&[counts("w", [1, 0, 0, 1, 0])]).await?;
    Ok(())
}

/// Without the gates, users cannot change resources, and a resume keeps those of the Job. With them again, the next
/// resume corrects the Job. This test starts other controllers.
pub(crate) async fn gates_can_be_disabled_and_enabled_again(suite: Arc<Integration>) -> Result<()> {
    let with = |on: bool| {
        let gates: &[(&str, bool)] = if on {
            &[("MutablePodResourcesForSuspendedJobSets", true), ("ReplaceSchedulingDirectivesOnResume", true)]
        } else {
            &[]
        };
        Controller::start_with(&suite.client, suite.cluster.layout(), gates)
    };
    let on = with(true).await?;
    let jobset = LiveJobSet::create(&suite, "js", RESOURCES).await?;
    let pod = || async {
        let pod = jobset.jobs.get_opt("js-w-0").await?.and_then(|job| job.spec?.template.spec);
        let main = pod.as_ref().and_then(|pod| {
            json!(pod.containers[1].resources)["requests"]["cpu"].as_str().map(str::to_owned)
        });
        Ok((main, pod.and_then(|pod| pod.node_selector).unwrap_or_default().into_keys().collect::<Vec<_>>()))
    };
    let expect = |cpu: &'static str, flavors: &'static [&'static str]| {
        wait_for("the pod template of the Job", TIMEOUT, pod, move |(main, selected)| {
            main.as_deref() == Some(cpu) && selected == flavors
        })
    };
    let change = |suspend: bool, cpu: &'static str, flavor: &'static str| {
        edit_pod(&jobset, suspend, move |pod| {
            pod["containers"][1]["resources"]["requests"]["cpu"] = cpu.into();
            pod["nodeSelector"] = json!({ flavor: "x" });
        })
    };
    let is_suspended =
        || async { Ok(jobset.jobs.get_opt("js-w-0").await?.and_then(|job| job.spec?.suspend) == Some(true)) };
    let stops = || wait_for("the Job to be suspended", TIMEOUT, is_suspended, |suspended| *suspended);
    expect("100m", &[]).await?;
    change(false, "200m", "a").await?;
    expect("200m", &["a"]).await?;
    change(true, "300m", "b").await?;
    stops().await?;
    on.check()?;

    let off = with(false).await?;
    let denied = change(true, "400m", "b").await.err().context("the change was admitted")?;
    assert!(format!("{denied:#}").contains("field is immutable"), "{denied:#}");
    jobset.suspend(false).await?;
    expect("200m", &["a", "b"]).await?;
    jobset.suspend(true).await?;
    stops().await?;
    off.check()?;

    let on = with(true).await?;
    jobset.suspend(false).await?;
    expect("300m", &["b"]).await?;
    on.check()
}

const RESOURCES: &str = "
suspend: true
replicatedJobs:
- name: w
  template:
    spec:
      template:
        spec:
          initContainers: [{name: prepare, image: i, resources: {requests: {cpu: 100m}}}]
          containers:
          - {name: fixed, image: i, resources: {requests: {cpu: 50m}}}
          - {name: main, image: i, resources: {requests: {cpu: 100m}}}
";

/// Changes the pod template of the only ReplicatedJob in the update that suspends or resumes the JobSet.
async fn edit_pod(jobset: &LiveJobSet, suspend: bool, change: impl Fn(&mut Value)) -> Result<()> {
    jobset
        .edit(|spec| {
            spec["suspend"] = suspend.into();
            change(&mut spec["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]);
        })
        .await
}

/// The pod template of the only Job.
async fn pod_of_job(jobset: &LiveJobSet) -> Result<PodSpec> {
    let job = jobset.jobs.get("js-w-0").await?;
    job.spec.and_then(|spec| spec.template.spec).context("a Job has a pod spec")
}

/// The values of a field in the items of a list.
fn keys(list: &Value, field: &str) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    items.map(|item| item[field].as_str().unwrap_or_default().to_owned()).collect()
}
