//! Objects of other owners, and a cluster without gang scheduling.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use jobset_tests::wait::{TIMEOUT, holds_for, wait_for};
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams};

use super::{
    Nodes, gang_condition, objects_become, one_gang, pod_groups, pods_become, pods_stay, scheduling_objects,
    workloads,
};
use crate::Integration;
use crate::jobset::{LiveJobSet, OBSERVATION_TIME, counts};

/// The controller changes no Workload and no PodGroup of another owner. It creates no Jobs until the name is free.
pub(crate) async fn objects_of_other_owners_are_untouched(suite: Arc<Integration>) -> Result<()> {
    let nodes = Nodes::create(&suite, "foreign", 1, 1, 2).await?;
    // The names depend only on namespace and name of the JobSet.
    let jobset = nodes.jobset("js", &one_gang(2)).await?;
    pods_become(&jobset, (2, 0)).await?;
    objects_become(&jobset, &["Workload js: js 2", "PodGroup js 2"]).await?;
    let (workloads, groups) = (workloads(&jobset), pod_groups(&jobset));
    let mut workload = workloads.list(&ListParams::default()).await?.items.pop().context("a Workload")?;
    let mut group = groups.list(&ListParams::default()).await?.items.pop().context("a PodGroup")?;
    for metadata in [&mut workload.metadata, &mut group.metadata] {
        *metadata = ObjectMeta { name: metadata.name.take(), ..ObjectMeta::default() };
    }
    jobset.suspend(true).await?;
    objects_become(&jobset, &[]).await?;
    jobset.jobs_become(&["w-0@0 suspended"]).await?;

    let path = |name: String| format!("{}/{name}", jobset.namespace);
    let refusal = |kind: &str, name: String| {
        let jobset = path("js".to_owned());
        format!("{kind} {} already exists and is not controlled by JobSet {jobset}", path(name))
    };
    let foreign_workload = workloads.create(&PostParams::default(), &workload).await?;
    let foreign_group = groups.create(&PostParams::default(), &group).await?;
    jobset.suspend(false).await?;
    let both = [refusal("workload", workload.name_any()), refusal("podgroup", group.name_any())];
    let names_both = |event: &Event| {
        let note = event.note.as_deref().unwrap_or_default();
        both.iter().all(|refusal| note.lines().any(|line| line.starts_with(refusal)))
    };
    let reason = "SchedulingObjectsReconcileFailed";
    jobset.event(reason, names_both).await?;
    let message = gang_condition(&jobset, "False", reason).await?;
    ensure!(both.iter().any(|refusal| message.starts_with(refusal)), "{message}");
    pods_stay(&jobset, (0, 0)).await?;
    let found = workloads.get(&workload.name_any()).await?;
    ensure!(found.metadata.resource_version == foreign_workload.metadata.resource_version, "{found:?}");

    workloads.delete(&workload.name_any(), &DeleteParams::default()).await?;
    let read = || scheduling_objects(&jobset);
    let is_created = |objects: &BTreeMap<String, String>| {
        objects
            .get("Workload js: js 2")
            .is_some_and(|uid| Some(uid) != foreign_workload.metadata.uid.as_ref())
    };
    wait_for("a Workload of the JobSet", TIMEOUT, read, is_created).await?;
    pods_stay(&jobset, (0, 0)).await?;
    let found = groups.get(&group.name_any()).await?;
    // kube-scheduler writes the status.
    ensure!(
        (&found.metadata.uid, &found.spec) == (&foreign_group.metadata.uid, &foreign_group.spec),
        "{found:?}"
    );
    ensure!(found.metadata.deletion_timestamp.is_none() && found.owner_references().is_empty(), "{found:?}");

    groups.delete(&group.name_any(), &DeleteParams::default()).await?;
    pods_become(&jobset, (2, 0)).await
}

/// The feature gate is enabled, and the API server does not serve Workloads. The JobSet that asks for a gang reports
/// which flags the API server needs. Other JobSets run.
pub(crate) async fn missing_api_is_reported(suite: Arc<Integration>) -> Result<()> {
    let gang = LiveJobSet::create(&suite, "gang", &one_gang(2)).await?;
    let reason = "SchedulingAPINotServed";
    let message = gang_condition(&gang, "False", reason).await?;
    for flag in ["--feature-gates=GenericWorkload=true", "--runtime-config=scheduling.k8s.io/v1beta1=true"] {
        ensure!(message.contains(flag), "{message}");
    }
    gang.events_become(&[&format!("Warning {reason}: {message}")]).await?;
    let other = LiveJobSet::create(&suite, "other", "{replicatedJobs: [{name: w}]}").await?;
    other.counts_become(&[counts("w", [1, 0, 0, 1, 0])]).await?;
    let jobs = || async { Ok(gang.jobs.list(&ListParams::default()).await?.items.len()) };
    holds_for("no Job", OBSERVATION_TIME, jobs, |count| *count == 0).await?;
    gang.events_become(&[&format!("Warning {reason}: {message}")]).await
}
