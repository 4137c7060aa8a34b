//! Jobs and pods that the controller creates for a JobSet.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use jobset_tests::objects;
use jobset_tests::wait::{TIMEOUT, wait_for};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::json;

use crate::Integration;
use crate::jobset::{LiveJobSet, phase};

/// Labels, annotations and owner reference of each Job are an interface that other programs read.
pub(crate) async fn jobs_have_the_documented_metadata(suite: Arc<Integration>) -> Result<()> {
    // The namespace is part of the job key below.
    let jobset = objects::one(
        "
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata: {name: js, labels: {stays: here}, annotations: {stays: here}}
spec:
  replicatedJobs:
  - name: rjob
    template:
      metadata: {labels: {of: job}, annotations: {about: job}}
      spec:
        template:
          metadata: {labels: {of: pod}, annotations: {about: pod}}
          spec: {containers: [{name: c, image: i}]}
  - name: w
    replicas: 2
    template: {spec: {template: {spec: {containers: [{name: c, image: i}]}}}}
",
    )?;
    let created = objects::create(&suite.client, "default", &jobset, false).await?;
    let uid = created.uid().context("a created object has a uid")?;
    let jobs = jobs_of(&suite, "default", "js", 3).await?;
    assert_eq!(jobs.keys().collect::<Vec<_>>(), ["js-rjob-0", "js-w-0", "js-w-1"]);

    for (name, job_key, replicated_job, replicas, index, global_index) in [
        ("js-rjob-0", "594cb5c93756409379daf5f78db3fa5c78663cd1", "rjob", "1", "0", "0"),
        ("js-w-0", "4ff81fd931645b5111ec7c7532e38adf82a24c26", "w", "2", "0", "1"),
        ("js-w-1", "7c2f7dec9c9e27a2c52afd400be98d053137dcdf", "w", "2", "1", "2"),
    ] {
        let ours = json!({
            "jobset.sigs.k8s.io/jobset-name": "js",
            "jobset.sigs.k8s.io/jobset-uid": uid,
            "jobset.sigs.k8s.io/replicatedjob-name": replicated_job,
            "jobset.sigs.k8s.io/restart-attempt": "0",
            "jobset.sigs.k8s.io/replicatedjob-replicas": replicas,
            "jobset.sigs.k8s.io/global-replicas": "3",
            "jobset.sigs.k8s.io/job-index": index,
            "jobset.sigs.k8s.io/job-key": job_key,
            "jobset.sigs.k8s.io/job-global-index": global_index,
            "jobset.sigs.k8s.io/group-name": "default",
            "jobset.sigs.k8s.io/group-replicas": "3",
            "jobset.sigs.k8s.io/job-group-index": global_index,
        });
        let with = |key: &str, value: &str| {
            let mut map = ours.clone();
            if replicated_job == "rjob" {
                map[key] = value.into();
            }
            map
        };
        let job = &jobs[name];
        assert_eq!(json!(job.labels()), with("of", "job"), "labels of {name}");
        assert_eq!(json!(job.annotations()), with("about", "job"), "annotations of {name}");
        assert_eq!(
            json!(job.metadata.owner_references),
            json!([{
                "apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "name": "js", "uid": uid,
                "controller": true, "blockOwnerDeletion": true,
            }])
        );
        let spec = job.spec.as_ref().context("a Job has a spec")?;
        assert_eq!((spec.completion_mode.as_deref(), spec.suspend), (Some("Indexed"), Some(false)), "{name}");
        let template = spec.template.metadata.clone().unwrap_or_default();
        let mut labels = template.labels.unwrap_or_default();
        // Kubernetes adds these labels.
        labels.retain(|key, _| {
            !key.starts_with("batch.kubernetes.io/") && key != "controller-uid" && key != "job-name"
        });
        assert_eq!(json!(labels), with("of", "pod"), "pod labels of {name}");
        assert_eq!(json!(template.annotations), with("about", "pod"), "pod annotations of {name}");
        let pod = spec.template.spec.as_ref().context("a Job has a pod spec")?;
        assert_eq!(
            (pod.subdomain.as_deref(), pod.restart_policy.as_deref()),
            (Some("js"), Some("OnFailure")),
            "{name}"
        );
    }
    objects::delete(&suite.client, &created).await
}

/// Pods have the documented names `<jobset>-<replicatedJob>-<job>-<pod>-<random>`. Host names are the same without the
/// random part.
pub(crate) async fn pods_have_stable_names(suite: Arc<Integration>) -> Result<()> {
    let spec = "{replicatedJobs: [{name: workers, template: {spec: {parallelism: 3, completions: 3}}}]}";
    let jobset = LiveJobSet::create(&suite, "pytorch", spec).await?;
    let pods = wait_for(
        "three pods to run",
        TIMEOUT,
        || async { Ok(jobset.pods.list(&ListParams::default()).await?.items) },
        |pods| pods.iter().filter(|pod| phase(pod) == "Running").count() == 3,
    )
    .await?;
    let mut seen: Vec<_> = pods
        .iter()
        .map(|pod| {
            let spec = pod.spec.as_ref().unwrap();
            let name = pod.name_any();
            let (stem, random) = name.rsplit_once('-').unwrap();
            assert_eq!(random.len(), 5, "{name}");
            (
                stem.to_owned(),
                spec.hostname.clone().unwrap_or_default(),
                spec.subdomain.clone().unwrap_or_default(),
            )
        })
        .collect();
    seen.sort();
    let expected = |index| {
        let name = format!("pytorch-workers-0-{index}");
        (name.clone(), name, "pytorch".to_owned())
    };
    assert_eq!(seen, [expected(0), expected(1), expected(2)]);
    Ok(())
}

pub(crate) async fn jobs_and_pods_name_the_coordinator(suite: Arc<Integration>) -> Result<()> {
    let namespace = suite.cluster.namespace(&suite.client).await?;
    let mut example = objects::read(&objects::repository().join("docs/examples/coordinator.yaml"))?.remove(0);
    example.data["spec"]["network"] = json!({ "subdomain": "meeting" });
    objects::create(&suite.client, &namespace, &example, false).await?;
    let name = "coordinator-driver-0-0.meeting";
    for (job, object) in jobs_of(&suite, &namespace, "coordinator", 2).await? {
        let key = "jobset.sigs.k8s.io/coordinator";
        assert_eq!(object.labels().get(key).map(String::as_str), Some(name), "label of {job}");
        assert_eq!(object.annotations().get(key).map(String::as_str), Some(name), "annotation of {job}");
    }
    let pods: Api<Pod> = Api::namespaced(suite.client.clone(), &namespace);
    let selector = ListParams::default().labels(&format!("jobset.sigs.k8s.io/coordinator={name}"));
    wait_for(
        "the four pods that name their coordinator",
        TIMEOUT,
        || async {
            Ok(pods.list(&selector).await?.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>())
        },
        |pods| pods.len() == 4,
    )
    .await?;
    Ok(())
}

/// Waits until a JobSet has this number of Jobs. Returns them by name.
async fn jobs_of(
    suite: &Integration,
    namespace: &str,
    jobset: &str,
    number: usize,
) -> Result<BTreeMap<String, Job>> {
    let jobs: Api<Job> = Api::namespaced(suite.client.clone(), namespace);
    let selector = ListParams::default().labels(&format!("jobset.sigs.k8s.io/jobset-name={jobset}"));
    wait_for(
        &format!("{number} Jobs of JobSet {jobset}"),
        TIMEOUT,
        || async {
            suite.controller.check()?;
            Ok(jobs
                .list(&selector)
                .await?
                .items
                .into_iter()
                .map(|job| (job.name_any(), job))
                .collect::<BTreeMap<_, _>>())
        },
        |jobs| jobs.len() == number,
    )
    .await
}
