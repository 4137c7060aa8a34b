//! Gangs that compete for nodes, and gangs that do not fit.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Result, ensure};
use jobset_tests::objects;
use jobset_tests::wait::{TIMEOUT, wait_for};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::{
    Nodes, bound_and_unbound, gang_condition, objects_become, one_gang, pods_become, pods_stay, ungate,
    workers,
};
use crate::Integration;
use crate::jobset::{LiveJobSet, each};
use crate::placement::{all_bound, check_exclusive, create_node};

/// Ten pods, which wait for the test before the scheduler sees them.
const TEN_GATED: &str = "replicatedJobs: [{name: w, template: {spec: {parallelism: 10, completions: 10, template: {spec: {schedulingGates: [{name: gang.example/arrival}]}}}}}]";

/// Two JobSets of ten pods each share 16 GPUs. One starts whole, and the other when the first has ended. Without
/// `spec.scheduling`, both wait for each other.
pub(crate) async fn one_jobset_starts_whole_and_the_other_waits(suite: Arc<Integration>) -> Result<()> {
    let nodes = Nodes::create(&suite, "two-jobsets", 1, 4, 4).await?;
    // In each run, eight pods of each JobSet arrive before the last two of both.
    let arrive = async |pair: [&LiveJobSet; 2], first: (usize, usize)| -> Result<()> {
        for jobset in pair {
            pods_become(jobset, (0, 10)).await?;
            ungate(jobset, 8).await?;
        }
        for jobset in pair {
            pods_stay(jobset, first).await?;
        }
        for jobset in pair {
            ungate(jobset, 10).await?;
        }
        Ok(())
    };

    let [one, other] = [
        nodes.jobset("one", &format!("{{{TEN_GATED}}}")).await?,
        nodes.jobset("other", &format!("{{{TEN_GATED}}}")).await?,
    ];
    arrive([&one, &other], (8, 2)).await?;
    pods_stay(&one, (8, 2)).await?;
    pods_stay(&other, (8, 2)).await?;
    one.delete().await?;
    other.delete().await?;
    pods_become(&one, (0, 0)).await?;
    pods_become(&other, (0, 0)).await?;

    let [one, other] = [
        nodes.jobset("one", &format!("{{scheduling: {{}}, {TEN_GATED}}}")).await?,
        nodes.jobset("other", &format!("{{scheduling: {{}}, {TEN_GATED}}}")).await?,
    ];
    arrive([&one, &other], (0, 10)).await?;
    let read = || async { Ok([bound_and_unbound(&one).await?, bound_and_unbound(&other).await?]) };
    let started =
        wait_for("one JobSet to start whole", TIMEOUT, read, |pair| pair.contains(&(10, 0))).await?;
    let (running, waiting) = if started[0] == (10, 0) { (one, other) } else { (other, one) };
    gang_condition(&running, "True", "PodGroupsScheduled").await?;
    let message = gang_condition(&waiting, "False", "Unschedulable").await?;
    ensure!(message.contains("minCount (10) cannot be satisfied"), "{message}");
    pods_stay(&waiting, (0, 10)).await?;

    running.succeed("w-0").await?;
    pods_become(&waiting, (10, 0)).await?;
    gang_condition(&waiting, "True", "PodGroupsScheduled").await?;
    Ok(())
}

/// The JobSet reports why its gang does not start, until the cluster grows.
pub(crate) async fn gang_that_does_not_fit_is_reported(suite: Arc<Integration>) -> Result<()> {
    let nodes = Nodes::create(&suite, "too-large", 1, 2, 1).await?;
    let jobset = nodes.jobset("js", &one_gang(3)).await?;
    pods_become(&jobset, (0, 3)).await?;
    let message = gang_condition(&jobset, "False", "Unschedulable").await?;
    ensure!(message.contains("minCount (3) cannot be satisfied"), "{message}");
    pods_stay(&jobset, (0, 3)).await?;
    create_node(&suite, &nodes.key, "gang-example-too-large-2".to_owned(), 0, 1).await?;
    pods_become(&jobset, (3, 0)).await?;
    gang_condition(&jobset, "True", "PodGroupsScheduled").await?;
    let event = jobset.event("Unschedulable", |_| true).await?;
    ensure!(event.type_.as_deref() == Some("Warning"), "{:?}", event.type_);
    ensure!(event.note.as_ref().is_some_and(|note| note.contains("minCount (3)")), "{:?}", event.note);
    jobset.event("PodGroupsScheduled", |event| event.type_.as_deref() == Some("Normal")).await?;
    ensure!(jobset.events_of("PodGroupsScheduled").await?.len() == 1, "the event is repeated");
    Ok(())
}

/// A JobSet with a higher priority evicts all pods of a gang with `disruptionMode: {all: {}}`, although it needs only
/// two of their three GPUs. The evicted JobSet starts again whole.
pub(crate) async fn higher_priority_evicts_a_whole_gang(suite: Arc<Integration>) -> Result<()> {
    let nodes = Nodes::create(&suite, "priority", 1, 3, 1).await?;
    let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
        "metadata": {"name": "gang-high"}, "value": 1000});
    objects::create(&suite.client, "", &serde_json::from_value(class)?, false).await?;
    let low = "
scheduling: {schedulingPolicy: {gang: {}}, disruptionMode: {all: {}}}
replicatedJobs:
- name: w
  template:
    spec:
      parallelism: 3
      completions: 3
      podFailurePolicy: {rules: [{action: Ignore, onPodConditions: [{type: DisruptionTarget}]}]}
";
    let low = nodes.jobset("low", low).await?;
    pods_become(&low, (3, 0)).await?;
    let high = "
scheduling: {}
replicatedJobs:
- {name: w, template: {spec: {parallelism: 2, completions: 2, template: {spec: {priorityClassName: gang-high}}}}}
";
    let high = nodes.jobset("high", high).await?;
    pods_become(&high, (2, 0)).await?;
    pods_stay(&low, (0, 3)).await?;
    high.succeed("w-0").await?;
    pods_become(&low, (3, 0)).await?;
    low.jobs_become(&["w-0@0"]).await?;
    Ok(())
}

/// Each replica is a gang of its own, in one rack.
pub(crate) async fn each_replica_is_a_gang_in_one_rack(suite: Arc<Integration>) -> Result<()> {
    let nodes = Nodes::create(&suite, "rack", 3, 9, 1).await?;
    let spec = format!(
        "
scheduling: {{replicatedJobs: [{{targetReplicatedJobs: [w], job: {{schedulingConstraints: {{topology: [{{key: {}}}]}}}}}}]}}
replicatedJobs: [{{name: w, replicas: 3, template: {{spec: {{parallelism: 3, completions: 3}}}}}}]
",
        nodes.key
    );
    let jobset = nodes.jobset("js", &spec).await?;
    for (job, pods) in all_bound(&suite, &jobset, &nodes.key, 3, 3).await? {
        let racks: BTreeSet<_> = pods.into_values().collect();
        ensure!(racks.len() == 1, "{job} is in {racks:?}");
    }
    objects_become(
        &jobset,
        &["Workload js: w-0 3, w-1 3, w-2 3", "PodGroup js-w-0 3", "PodGroup js-w-1 3", "PodGroup js-w-2 3"],
    )
    .await?;
    gang_condition(&jobset, "True", "PodGroupsScheduled").await?;
    Ok(())
}

/// Exclusive placement whose Jobs select labelled nodes works in a gang.
pub(crate) async fn gang_starts_on_the_nodes_of_its_jobs(suite: Arc<Integration>) -> Result<()> {
    let nodes = Nodes::create(&suite, "node-selector", 2, 4, 1).await?;
    let spec = format!(
        "
scheduling: {{}}
replicatedJobs:
- name: w
  replicas: 2
  template:
    metadata:
      annotations:
        alpha.jobset.sigs.k8s.io/exclusive-topology: {}
        alpha.jobset.sigs.k8s.io/node-selector: \"true\"
    spec: {{parallelism: 2, completions: 2}}
",
        nodes.key
    );
    let jobset = nodes.jobset("js", &spec).await?;
    pods_become(&jobset, (0, 4)).await?;
    for number in 0..4 {
        let job = format!("{}_js-w-{}", jobset.namespace, number % 2);
        let label = json!({"metadata": {"labels": {"alpha.jobset.sigs.k8s.io/namespaced-job": job}}});
        let api: Api<Node> = Api::all(suite.client.clone());
        let name = format!("gang-example-node-selector-{number}");
        api.patch(&name, &PatchParams::default(), &Patch::Merge(label)).await?;
    }
    check_exclusive(&all_bound(&suite, &jobset, &nodes.key, 2, 2).await?, 2)
}

/// Without pods, there is no gang that could wait.
pub(crate) async fn replicated_job_without_pods_blocks_no_other(suite: Arc<Integration>) -> Result<()> {
    let nodes = Nodes::create(&suite, "zero", 1, 2, 4).await?;
    let none = "{name: none, replicas: 0}";
    let idle = "{name: idle, template: {spec: {parallelism: 0, completions: 1}}}";
    let workers = workers(2);
    let per_job = "{targetReplicatedJobs: [none], job: {}}";
    let cases = [
        (
            "a gang for each Job",
            (
                format!(
                    "{{scheduling: {{replicatedJobs: [{per_job}, {{targetReplicatedJobs: [w]}}]}}, replicatedJobs: [{none}, {workers}]}}"
                ),
                ["Workload js: w 2", "PodGroup js-w 2"],
            ),
        ),
        (
            "one gang",
            (
                format!("{{scheduling: {{}}, replicatedJobs: [{none}, {idle}, {workers}]}}"),
                ["Workload js: js 2", "PodGroup js 2"],
            ),
        ),
    ];
    let nodes = &nodes;
    each(cases, |_, (spec, objects)| async move {
        let jobset = nodes.jobset("js", &spec).await?;
        pods_become(&jobset, (2, 0)).await?;
        objects_become(&jobset, &objects).await.map(drop)
    })
    .await?;
    let empty = format!(
        "{{scheduling: {{replicatedJobs: [{{targetReplicatedJobs: [none], job: {{}}}}]}}, replicatedJobs: [{none}]}}"
    );
    let empty = nodes.jobset("js", &empty).await?;
    pods_stay(&empty, (0, 0)).await?;
    objects_become(&empty, &[]).await?;
    empty.events_become(&[]).await
}
