//! Exclusive placement: each Job has one topology domain exclusively.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jobset_tests::objects;
use jobset_tests::wait::{TIMEOUT, holds_for, wait_for};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::Integration;
use crate::jobset::LiveJobSet;

/// The Job controller creates the pods of Jobs, and admission denies some of them.
pub(crate) const JOB_CONTROLLER: &str = "system:serviceaccount:kube-system:job-controller";

/// A ReplicatedJob with exclusive placement by this label key, for the nodes of [`racks`].
pub(crate) fn placed(key: &str, replicas: usize, pods: usize, pod_spec: &str) -> String {
    format!(
        "{{name: w, replicas: {replicas}, template: {{
            metadata: {{annotations: {{alpha.jobset.sigs.k8s.io/exclusive-topology: {key}}}}},
            spec: {{parallelism: {pods}, completions: {pods}, completionMode: Indexed, backoffLimit: 6, template: {{
                spec: {{tolerations: [{{key: {key}, operator: Exists}}]{pod_spec}}}}}}}}}}}"
    )
}

/// Containers of which each node has room for one.
const ONE_PER_NODE: &str = ", containers: [{name: c, image: i, ports: [{containerPort: 80, hostPort: 80}]}]";

pub(crate) fn spec(replicated_job: &str) -> String {
    format!("{{network: {{enableDNSHostnames: false}}, replicatedJobs: [{replicated_job}]}}")
}

/// Creates a node in this rack. The key of its label is also a taint, which keeps other pods away.
pub(crate) async fn create_node(
    suite: &Integration,
    key: &str,
    name: String,
    rack: usize,
    gpus: usize,
) -> Result<()> {
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "annotations": {"devcluster.jobset.dev/gpus": gpus.to_string()}, "labels": {
            key: format!("rack-{rack}"),
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
        }},
        "spec": {"taints": [{"key": key, "effect": "NoSchedule"}]},
    });
    objects::create(&suite.client, "", &serde_json::from_value(node)?, false).await?;
    Ok(())
}

/// Creates `nodes` nodes in `racks` racks, and waits until they are Ready.
pub(crate) async fn racks(suite: &Integration, key: &str, racks: usize, nodes: usize) -> Result<()> {
    racks_with_gpus(suite, key, racks, nodes, 0).await
}

/// Like [`racks`], with this number of GPUs on each node.
pub(crate) async fn racks_with_gpus(
    suite: &Integration,
    key: &str,
    racks: usize,
    nodes: usize,
    gpus: usize,
) -> Result<()> {
    let prefix = key.replace(['/', '.'], "-");
    let creations =
        (0..nodes).map(|number| create_node(suite, key, format!("{prefix}-{number}"), number % racks, gpus));
    stream::iter(creations).buffer_unordered(16).try_collect::<Vec<_>>().await?;
    let api: Api<Node> = Api::all(suite.client.clone());
    let ready = || async {
        let nodes = api.list(&ListParams::default().labels(key)).await?.items;
        let is_ready = |node: &&Node| {
            let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
            conditions.clone().any(|condition| condition.type_ == "Ready" && condition.status == "True")
        };
        let own = nodes.iter().filter(|node| node.name_any().starts_with(&prefix));
        Ok(own.filter(is_ready).count())
    };
    wait_for("the nodes of the racks to be Ready", TIMEOUT, ready, |count| *count == nodes).await.map(drop)
}

/// The active pods of a Job: the UID of each, and its rack.
pub(crate) type Placed = BTreeMap<String, BTreeMap<String, String>>;

/// Waits until every pod of `jobs` Jobs is bound. Returns the pods of each Job.
pub(crate) async fn all_bound(
    suite: &Integration,
    jobset: &LiveJobSet,
    key: &str,
    jobs: usize,
    pods: usize,
) -> Result<Placed> {
    let nodes: Api<Node> = Api::all(suite.client.clone());
    let read = || async {
        suite.controller.check()?;
        let racks: BTreeMap<String, String> = nodes
            .list(&ListParams::default().labels(key))
            .await?
            .into_iter()
            .filter_map(|node| Some((node.name_any(), node.labels().get(key)?.clone())))
            .collect();
        let mut placed = Placed::new();
        for pod in jobset.pods.list(&ListParams::default()).await? {
            let job = pod.labels().get("batch.kubernetes.io/job-name").cloned().unwrap_or_default();
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
            let active = pod.metadata.deletion_timestamp.is_none();
            if let Some(rack) = node.and_then(|node| racks.get(node)).filter(|_| active) {
                placed.entry(job).or_default().insert(pod.uid().unwrap_or_default(), rack.clone());
            }
        }
        Ok(placed)
    };
    wait_for("all pods to be bound", TIMEOUT, read, |placed: &Placed| {
        placed.len() == jobs && placed.values().all(|of_job| of_job.len() == pods)
    })
    .await
}

/// Checks that each Job is in one rack, that no two Jobs share a rack, and that they use this many racks.
pub(crate) fn check_exclusive(placed: &Placed, racks: usize) -> Result<()> {
    let mut used = BTreeSet::new();
    for (job, pods) in placed {
        let own: BTreeSet<&str> = pods.values().map(String::as_str).collect();
        ensure!(own.len() == 1, "{job} is in several racks: {own:?}");
        ensure!(own.iter().all(|rack| used.insert(*rack)), "{job} shares {own:?}");
    }
    ensure!(used.len() == racks, "{used:?}");
    Ok(())
}

/// 20 Jobs of 10 pods on 200 nodes in 20 racks. Then a JobSet of another priority shares the racks, and the node of a
/// leader is replaced.
pub(crate) async fn each_job_has_a_rack_exclusively(suite: Arc<Integration>) -> Result<()> {
    let key = "placement.example/rack";
    racks(&suite, key, 20, 200).await?;
    let jobset = LiveJobSet::create(&suite, "train", &spec(&placed(key, 20, 10, ONE_PER_NODE))).await?;
    let began = Instant::now();
    let before = all_bound(&suite, &jobset, key, 20, 10).await?;
    let audit = suite.cluster.cluster().audit();
    let denied = || {
        audit
            .query()
            .user(JOB_CONTROLLER)
            .verb("create")
            .resource("pods")
            .namespace(&jobset.namespace)
            .filter(|entry| entry.code() >= 400)
            .count()
    };
    println!("20 racks of 10 pods: bound after {:?}, {} pod creations denied", began.elapsed(), denied()?);
    check_exclusive(&before, 20)?;

    // A JobSet of another priority shares the racks, and its own Jobs do not share any.
    let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
        "metadata": {"name": "placement-low"}, "value": -5, "preemptionPolicy": "Never"});
    objects::create(&suite.client, "", &serde_json::from_value(class)?, false).await?;
    let low = placed(key, 5, 2, ", priorityClassName: placement-low");
    let other =
        LiveJobSet::create_in(&suite, &suite.cluster.namespace(&suite.client).await?, "tune", &spec(&low))
            .await?;
    check_exclusive(&all_bound(&suite, &other, key, 5, 2).await?, 5)?;

    // The node of a leader fails.
    let leader = jobset
        .pods
        .list(
            &ListParams::default()
                .labels("batch.kubernetes.io/job-name=train-w-7,batch.kubernetes.io/job-completion-index=0"),
        )
        .await?
        .items
        .pop()
        .context("train-w-7 has a leader")?;
    let node = leader.spec.as_ref().and_then(|spec| spec.node_name.clone()).context("the leader is bound")?;
    Api::<Node>::all(suite.client.clone()).delete(&node, &DeleteParams::default()).await?;
    // As the garbage collector of pods does after a minute.
    jobset.pods.delete(&leader.name_any(), &DeleteParams::default().grace_period(0)).await?;
    let gone = || async { Ok(jobset.pods.get_opt(&leader.name_any()).await?.map(|pod| pod.uid())) };
    wait_for("the leader to be deleted", TIMEOUT, gone, |uid| *uid != Some(leader.uid())).await?;
    let rack = &before["train-w-7"][&leader.uid().unwrap_or_default()];
    let rack = rack.strip_prefix("rack-").context(rack.clone())?.parse()?;
    create_node(&suite, key, "placement-example-replacement".to_owned(), rack, 0).await?;
    let after = all_bound(&suite, &jobset, key, 20, 10).await?;
    check_exclusive(&after, 20)?;
    for (job, pods) in &after {
        ensure!(
            (job == "train-w-7") != (Some(pods) == before.get(job)),
            "{job}: {:?}, then {pods:?}",
            before.get(job)
        );
    }
    Ok(())
}

/// A client creates a follower that selects another rack than that of the leader. All followers of the Job are evicted.
pub(crate) async fn followers_in_another_rack_are_evicted(suite: Arc<Integration>) -> Result<()> {
    let key = "misplaced.example/rack";
    racks(&suite, key, 2, 2).await?;
    let namespace = suite.cluster.namespace(&suite.client).await?;
    // A Job that the Job controller ignores: it would delete pods that it did not create.
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "train-w-0"},
        "spec": {
            "managedBy": "example.com/none",
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}},
        },
    });
    let job = objects::create(&suite.client, &namespace, &serde_json::from_value(job)?, false).await?;
    let uid = job.uid().context("a created object has a UID")?;
    let pods: Api<Pod> = Api::namespaced(suite.client.clone(), &namespace);
    let create = async |name: &str, index: &str, annotations: Value, place: Value| -> Result<()> {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": name,
                // The pod stays visible after its deletion.
                "finalizers": ["jobset.dev/test"],
                "labels": {
                    "jobset.sigs.k8s.io/jobset-name": "train", "jobset.sigs.k8s.io/replicatedjob-name": "w",
                    "jobset.sigs.k8s.io/job-index": "0", "jobset.sigs.k8s.io/job-key": uid,
                },
                "annotations": {
                    "alpha.jobset.sigs.k8s.io/exclusive-topology": key,
                    "batch.kubernetes.io/job-completion-index": index,
                },
                "ownerReferences": [
                    {"apiVersion": "batch/v1", "kind": "Job", "name": "train-w-0", "uid": uid, "controller": true},
                ],
            },
            "spec": {
                "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}],
                "tolerations": [{"key": key, "operator": "Exists"}],
            },
        });
        for (part, more) in [("/metadata/annotations", annotations), ("/spec", place)] {
            let fields = pod.pointer_mut(part).and_then(Value::as_object_mut).context(part)?;
            fields.extend(more.as_object().cloned().unwrap_or_default());
        }
        let account = || async {
            Ok(objects::create(&suite.client, &namespace, &serde_json::from_value(pod.clone())?, false).await)
        };
        wait_for(&format!("pod {name} to be created"), TIMEOUT, account, Result::is_ok)
            .await?
            .map_err(anyhow::Error::from)
            .map(drop)
    };
    let selects = |rack: &str| json!({"nodeSelector": {key: rack}});
    let by_jobset = json!({"jobset.sigs.k8s.io/jobset-name": "train"});
    let leader = json!({"nodeName": "misplaced-example-rack-0"});
    create("train-w-0-0-aaaaa", "0", by_jobset.clone(), leader).await?;
    create("train-w-0-1-aaaaa", "1", by_jobset, json!({})).await?;
    let prepared = json!({"alpha.jobset.sigs.k8s.io/node-selector": "true"});
    create("train-w-0-2-aaaaa", "2", prepared, selects("rack-1")).await?;
    let states = || async {
        let state = |pod: Pod| {
            let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
            let reasons = conditions
                .filter(|condition| condition.type_ == "DisruptionTarget" && condition.status == "True");
            let reasons: Vec<_> = reasons
                .map(|it| {
                    format!("{}: {}", it.reason.as_deref().unwrap_or(""), it.message.as_deref().unwrap_or(""))
                })
                .collect();
            let deleting = if pod.metadata.deletion_timestamp.is_some() { " deleted" } else { "" };
            format!("{} {}{deleting}", pod.name_any(), reasons.concat())
        };
        Ok(pods.list(&ListParams::default()).await?.into_iter().map(state).collect::<Vec<_>>())
    };
    let all_stay = ["train-w-0-0-aaaaa ", "train-w-0-1-aaaaa ", "train-w-0-2-aaaaa "];
    holds_for("no eviction", Duration::from_secs(2), states, |now| *now == all_stay).await?;

    // Without the annotation of its JobSet, admission does not place the pod.
    create("train-w-0-3-aaaaa", "3", json!({}), selects("rack-1")).await?;
    let why = "ExclusivePlacementViolation: Pod violated JobSet exclusive placement policy deleted";
    let evicted = [
        "train-w-0-0-aaaaa ".to_owned(),
        format!("train-w-0-1-aaaaa {why}"),
        "train-w-0-2-aaaaa ".to_owned(),
        format!("train-w-0-3-aaaaa {why}"),
    ];
    wait_for("the followers to be evicted", TIMEOUT, states, |now| *now == evicted).await?;
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    for pod in pods.list(&ListParams::default()).await? {
        pods.patch(&pod.name_any(), &PatchParams::default(), &release).await?;
    }
    Ok(())
}

/// The leader of a JobSet whose topology key no node has stays pending. One event names the key.
pub(crate) async fn missing_topology_key_is_reported(suite: Arc<Integration>) -> Result<()> {
    let key = "missing.example/rack";
    let jobset = LiveJobSet::create(&suite, "misspelled", &spec(&placed(key, 2, 2, ""))).await?;
    let event = jobset.event("TopologyKeyNotFound", |_| true).await?;
    let note = event.note.unwrap_or_default();
    let head =
        format!("annotation alpha.jobset.sigs.k8s.io/exclusive-topology: \"{key}\" is a label of 0 of ");
    ensure!(note.starts_with(&head), "{note}");
    ensure!(event.type_.as_deref() == Some("Warning"), "{:?}", event.type_);
    let count = || async { Ok(jobset.events_of("TopologyKeyNotFound").await?.len()) };
    holds_for("one event", Duration::from_secs(2), count, |count| *count == 1).await
}
