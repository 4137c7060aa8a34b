//! `spec.scheduling`: kube-scheduler binds all pods of a group, or none.
//!
//! Each test has its own nodes. Their taint keeps the pods of other tests away, and each pod needs a GPU, so that a gang
//! can be too large.

pub(crate) mod capacity;
pub(crate) mod conflicts;
pub(crate) mod examples;
pub(crate) mod lifecycle;
pub(crate) mod requests;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use jobset_tests::wait::{TIMEOUT, holds_for, wait_for};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::scheduling::v1beta1::{PodGroup, PodGroupSchedulingPolicy, Workload};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::Integration;
use crate::jobset::{LiveJobSet, OBSERVATION_TIME, merge, phase};
use crate::placement::racks_with_gpus;

/// The nodes of one test.
pub(crate) struct Nodes {
    suite: Arc<Integration>,
    /// The label whose values are the racks. It is also the key of the taint.
    key: String,
}

impl Nodes {
    /// Creates nodes with this number of GPUs each, spread over the racks.
    async fn create(
        suite: &Arc<Integration>,
        test: &str,
        racks: usize,
        nodes: usize,
        gpus: usize,
    ) -> Result<Self> {
        Self::with_key(suite, &format!("gang.example/{test}"), racks, nodes, gpus).await
    }

    /// Like [`Self::create`], with this label.
    async fn with_key(
        suite: &Arc<Integration>,
        key: &str,
        racks: usize,
        nodes: usize,
        gpus: usize,
    ) -> Result<Self> {
        racks_with_gpus(suite, key, racks, nodes, gpus).await?;
        Ok(Self { suite: Arc::clone(suite), key: key.to_owned() })
    }

    fn tolerations(&self) -> Value {
        json!([{"key": self.key, "operator": "Exists"}])
    }

    /// Creates a JobSet in a new namespace. Each of its pods needs one of the GPUs.
    async fn jobset(&self, name: &str, spec: &str) -> Result<LiveJobSet> {
        let containers = json!([{"name": "c", "image": "i", "resources": {"limits": {"nvidia.com/gpu": 1}}}]);
        let pod = json!({"tolerations": self.tolerations(), "containers": containers});
        self.jobset_with(name, spec, &pod).await
    }

    /// Creates a JobSet whose pods have these fields.
    async fn jobset_with(&self, name: &str, spec: &str, pod: &Value) -> Result<LiveJobSet> {
        let mut spec: Value = serde_yaml::from_str(spec).with_context(|| spec.to_owned())?;
        for own in spec["replicatedJobs"].as_array_mut().context("a JobSet has ReplicatedJobs")? {
            merge(own, json!({"template": {"spec": {"template": {"spec": pod}}}}));
        }
        LiveJobSet::create(&self.suite, name, &spec.to_string()).await
    }
}

/// A ReplicatedJob `w` with one Job of this number of pods, in a JobSet that is one gang.
fn one_gang(pods: usize) -> String {
    format!("{{scheduling: {{}}, replicatedJobs: [{}]}}", workers(pods))
}

fn workers(pods: usize) -> String {
    format!("{{name: w, template: {{spec: {{parallelism: {pods}, completions: {pods}}}}}}}")
}

/// Numbers of pods that are neither finished nor terminating: bound ones and unbound ones.
async fn bound_and_unbound(jobset: &LiveJobSet) -> Result<(usize, usize)> {
    let pods = active_pods(jobset).await?;
    let bound = pods.iter().filter(|pod| node_of(pod).is_some()).count();
    Ok((bound, pods.len().saturating_sub(bound)))
}

async fn active_pods(jobset: &LiveJobSet) -> Result<Vec<Pod>> {
    let mut pods = jobset.pods.list(&ListParams::default()).await?.items;
    pods.retain(|pod| {
        pod.metadata.deletion_timestamp.is_none() && !matches!(phase(pod), "Succeeded" | "Failed")
    });
    Ok(pods)
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref())
}

/// Waits for these numbers of [`bound_and_unbound`] pods.
async fn pods_become(jobset: &LiveJobSet, expected: (usize, usize)) -> Result<()> {
    let what = format!("{} bound and {} unbound pods of {}", expected.0, expected.1, jobset.name);
    let read = || bound_and_unbound(jobset);
    let seen = wait_for(&what, TIMEOUT, read, |counts| *counts == expected).await.map(drop);
    match seen {
        Ok(()) => Ok(()),
        Err(error) => {
            let status = jobset.get().await?.map(|jobset| jobset.data["status"].clone());
            let objects = scheduling_objects(jobset).await?;
            Err(error.context(format!("{objects:?}; status: {status:#?}")))
        }
    }
}

/// Like [`pods_become`], and checks that the numbers do not change for [`OBSERVATION_TIME`].
async fn pods_stay(jobset: &LiveJobSet, expected: (usize, usize)) -> Result<()> {
    pods_become(jobset, expected).await?;
    let what = format!("{} bound and {} unbound pods of {}", expected.0, expected.1, jobset.name);
    holds_for(&what, OBSERVATION_TIME, || bound_and_unbound(jobset), |counts| *counts == expected).await
}

fn workloads(jobset: &LiveJobSet) -> Api<Workload> {
    Api::namespaced(jobset.api.clone().into_client(), &jobset.namespace)
}

fn pod_groups(jobset: &LiveJobSet) -> Api<PodGroup> {
    Api::namespaced(jobset.api.clone().into_client(), &jobset.namespace)
}

/// The Workloads and PodGroups in the namespace of the JobSet, and the UID of each. The key is such as
/// "Workload js: js 4, w 2" with the `minCount` of each template, "PodGroup js-w 2" or "PodGroup js-w 2 deleting". It
/// does not contain the hashes at the end of names.
async fn scheduling_objects(jobset: &LiveJobSet) -> Result<BTreeMap<String, String>> {
    let mut objects = BTreeMap::new();
    for workload in workloads(jobset).list(&ListParams::default()).await? {
        let templates: Vec<_> = workload
            .spec
            .pod_group_templates
            .iter()
            .flatten()
            .map(|template| {
                format!("{}{}", without_hash(&template.name), policy(&template.scheduling_policy))
            })
            .collect();
        let deleting = if workload.metadata.deletion_timestamp.is_some() { " deleting" } else { "" };
        let key =
            format!("Workload {}: {}{deleting}", without_hash(&workload.name_any()), templates.join(", "));
        objects.insert(key, workload.uid().unwrap_or_default());
    }
    for group in pod_groups(jobset).list(&ListParams::default()).await? {
        let deleting = if group.metadata.deletion_timestamp.is_some() { " deleting" } else { "" };
        let name = group.name_any();
        let policy = policy(&group.spec.scheduling_policy);
        objects.insert(
            format!("PodGroup {}{policy}{deleting}", without_hash(&name)),
            group.uid().unwrap_or_default(),
        );
    }
    Ok(objects)
}

fn policy(policy: &PodGroupSchedulingPolicy) -> String {
    policy.gang.as_ref().map_or_else(|| " basic".to_owned(), |gang| format!(" {}", gang.min_count))
}

/// The name without "-" and ten hexadecimal digits at its end.
fn without_hash(name: &str) -> &str {
    let is_hash = |end: &str| end.len() == 10 && end.chars().all(|it| it.is_ascii_hexdigit());
    name.rsplit_once('-').filter(|(_, end)| is_hash(end)).map_or(name, |(start, _)| start)
}

/// Waits for exactly these [`scheduling_objects`]. Returns their UIDs.
async fn objects_become(jobset: &LiveJobSet, expected: &[&str]) -> Result<Vec<String>> {
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    let what = format!("{expected:?} of {}/{}", jobset.namespace, jobset.name);
    let read = || scheduling_objects(jobset);
    let is_expected =
        |objects: &BTreeMap<String, String>| objects.keys().map(String::as_str).eq(expected.iter().copied());
    let seen = wait_for(&what, TIMEOUT, read, is_expected).await?;
    Ok(seen.into_values().collect())
}

/// Waits until the condition `GangScheduled` of the JobSet has this status and reason. Returns its message.
async fn gang_condition(jobset: &LiveJobSet, status: &str, reason: &str) -> Result<String> {
    let find = |all: &Value| {
        let conditions = all["conditions"].as_array().map_or(&[][..], Vec::as_slice);
        conditions.iter().find(|condition| condition["type"] == "GangScheduled").cloned()
    };
    let what = format!("condition GangScheduled with status {status} and reason {reason}");
    let seen = jobset
        .status_when(&what, |seen| {
            find(seen).is_some_and(|condition| condition["status"] == status && condition["reason"] == reason)
        })
        .await?;
    let condition = find(&seen).context("the condition is missing")?;
    Ok(condition["message"].as_str().unwrap_or_default().to_owned())
}

/// Removes the scheduling gates of pods of the JobSet until this number of them has none.
async fn ungate(jobset: &LiveJobSet, count: usize) -> Result<()> {
    let is_gated = |pod: &Pod| {
        pod.spec.as_ref().is_some_and(|spec| spec.scheduling_gates.as_ref().is_some_and(|it| !it.is_empty()))
    };
    let pods = jobset.pods.list(&ListParams::default()).await?.items;
    let (gated, ungated): (Vec<Pod>, Vec<Pod>) = pods.into_iter().partition(is_gated);
    let none = Patch::Merge(json!({"spec": {"schedulingGates": []}}));
    for pod in gated.iter().take(count.saturating_sub(ungated.len())) {
        jobset.pods.patch(&pod.name_any(), &PatchParams::default(), &none).await?;
    }
    Ok(())
}
