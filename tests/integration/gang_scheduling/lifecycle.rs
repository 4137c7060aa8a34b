//! The Workload and the PodGroups of a JobSet while it starts, restarts, grows, is suspended and ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use jobset_api::labels;
use jobset_tests::controller::Controller;
use jobset_tests::wait::{TIMEOUT, holds_for, wait_for};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{Nodes, active_pods, objects_become, one_gang, pods_become, scheduling_objects, workers};
use crate::Integration;
use crate::jobset::{LiveJobSet, OBSERVATION_TIME, UNREADY, each};

/// Template of the Job's annotation, and PodGroup of its pods.
fn group_of(job: &Job) -> (Option<String>, Option<String>) {
    let template = job.annotations().get("scheduling.k8s.io/group-template-name").cloned();
    let pod = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    (template, pod.and_then(|pod| pod.scheduling_group.clone()?.pod_group_name))
}

/// The group of a ReplicatedJob that waits for another one exists from the start, and is empty.
pub(crate) async fn dependent_gang_starts_after_its_dependency(suite: Arc<Integration>) -> Result<()> {
    let nodes = Nodes::create(&suite, "depends-on", 1, 1, 4).await?;
    let spec = format!(
        "
scheduling: {{replicatedJobs: [{{targetReplicatedJobs: [driver]}}, {{targetReplicatedJobs: [w]}}]}}
replicatedJobs:
- {{name: driver, template: {UNREADY}}}
- {{name: w, dependsOn: [{{name: driver, status: Ready}}], template: {{spec: {{parallelism: 3, completions: 3}}}}}}
"
    );
    let jobset = nodes.jobset("js", &spec).await?;
    let objects = ["Workload js: driver 1, w 3", "PodGroup js-driver 1", "PodGroup js-w 3"];
    objects_become(&jobset, &objects).await?;
    jobset.jobs_stay(&["driver-0@0"]).await?;
    pods_become(&jobset, (1, 0)).await?;
    jobset.make_ready("driver-0").await?;
    pods_become(&jobset, (4, 0)).await?;
    objects_become(&jobset, &objects).await?;
    Ok(())
}

/// A JobSet has its groups only while it runs.
pub(crate) async fn suspended_jobset_has_no_groups(suite: Arc<Integration>) -> Result<()> {
    let nodes = Nodes::create(&suite, "suspend", 1, 1, 4).await?;
    let jobset = nodes.jobset("js", &one_gang(2).replacen('{', "{suspend: true, ", 1)).await?;
    jobset.jobs_stay(&["w-0@0 suspended"]).await?;
    objects_become(&jobset, &[]).await?;
    let running = ["Workload js: js 2", "PodGroup js 2"];
    for _ in 0..2 {
        jobset.suspend(false).await?;
        pods_become(&jobset, (2, 0)).await?;
        objects_become(&jobset, &running).await?;
        jobset.suspend(true).await?;
        objects_become(&jobset, &[]).await?;
        jobset.jobs_become(&["w-0@0 suspended"]).await?;
    }
    // The groups may change while the JobSet is suspended. Then it needs new Jobs.
    let condition = |status: &Value| {
        let mut all = status["conditions"].as_array().into_iter().flatten();
        all.any(|condition| condition["type"] == "Suspended" && condition["status"] == "True")
    };
    jobset.status_when("suspension", condition).await?;
    jobset
        .edit(|spec| {
            spec["scheduling"] = json!({"replicatedJobs": [{"targetReplicatedJobs": ["w"], "job": {}}]});
        })
        .await?;
    jobset.suspend(false).await?;
    pods_become(&jobset, (2, 0)).await?;
    objects_become(&jobset, &["Workload js: w-0 2", "PodGroup js-w-0 2"]).await?;
    let groups = scheduling_groups(&jobset).await?;
    ensure!(groups.iter().all(|group| group.starts_with("js-w-0-")) && groups.len() == 2, "{groups:?}");
    Ok(())
}

/// A resume right after a suspension waits until the terminating pods release the old PodGroup.
pub(crate) async fn resume_right_after_a_suspension_starts_the_gang_again(
    suite: Arc<Integration>,
) -> Result<()> {
    let nodes = Nodes::create(&suite, "resume", 1, 1, 2).await?;
    let jobset = nodes.jobset("js", &one_gang(2)).await?;
    pods_become(&jobset, (2, 0)).await?;
    jobset.annotate_pods("w-0", &json!({"terminate-after": "1h"})).await?;
    let objects = ["Workload js: js 2", "PodGroup js 2"];
    let before = objects_become(&jobset, &objects).await?;
    let pods = jobset.running_pods("w-0").await?;
    jobset.suspend(true).await?;
    let is_deleting = |objects: &BTreeMap<String, String>| objects.contains_key("PodGroup js 2 deleting");
    let read = || scheduling_objects(&jobset);
    wait_for("the PodGroup to be deleted", TIMEOUT, read, is_deleting).await?;
    jobset.suspend(false).await?;
    holds_for("the PodGroup to wait for its pods", OBSERVATION_TIME, read, is_deleting).await?;
    for pod in &pods {
        jobset.annotate_pod(pod, &json!({"terminate-after": "0s"})).await?;
    }
    pods_become(&jobset, (2, 0)).await?;
    let after = objects_become(&jobset, &objects).await?;
    ensure!(after.iter().all(|uid| !before.contains(uid)), "{before:?}, then {after:?}");
    Ok(())
}

/// A resumed gang needs only the pods of the Jobs that are not complete.
pub(crate) async fn completed_jobs_do_not_count_after_a_resume(suite: Arc<Integration>) -> Result<()> {
    let nodes = Nodes::create(&suite, "completed", 1, 1, 4).await?;
    let spec = format!("{{scheduling: {{}}, replicatedJobs: [{{name: a}}, {}]}}", workers(2));
    let jobset = nodes.jobset("js", &spec).await?;
    pods_become(&jobset, (3, 0)).await?;
    objects_become(&jobset, &["Workload js: js 3", "PodGroup js 3"]).await?;
    jobset.succeed("a-0").await?;
    jobset.jobs_become(&["a-0@0 complete", "w-0@0"]).await?;
    jobset.suspend(true).await?;
    objects_become(&jobset, &[]).await?;
    jobset.suspend(false).await?;
    pods_become(&jobset, (2, 0)).await?;
    objects_become(&jobset, &["Workload js: js 2", "PodGroup js 2"]).await.map(drop)
}

/// A restart keeps the groups, and the pods of the new Jobs belong to them.
pub(crate) async fn restart_keeps_the_groups(suite: Arc<Integration>) -> Result<()> {
    let nodes = &Nodes::create(&suite, "restart", 1, 2, 4).await?;
    let cases = [("Recreate", "Recreate"), ("BlockingRecreate", "BlockingRecreate")];
    each(cases, |_, strategy| async move {
        let spec = format!(
            "
scheduling: {{}}
failurePolicy: {{maxRestarts: 2, restartStrategy: {strategy}}}
replicatedJobs: [{{name: w, replicas: 2, template: {{spec: {{parallelism: 2, completions: 2}}}}}}]
"
        );
        let jobset = nodes.jobset("js", &spec).await?;
        pods_become(&jobset, (4, 0)).await?;
        let objects = ["Workload js: js 4", "PodGroup js 4"];
        let before = objects_become(&jobset, &objects).await?;
        let groups: Vec<_> = jobset.jobs_become(&["w-0@0", "w-1@0"]).await?.values().map(group_of).collect();
        for restarts in 1..=2 {
            jobset.fail("w-1").await?;
            let jobs = [0, 1].map(|index| format!("w-{index}@{restarts}"));
            let jobs = jobset.jobs_become(&jobs.each_ref().map(String::as_str)).await?;
            ensure!(jobs.values().map(group_of).eq(groups.iter().cloned()), "the groups of the Jobs changed");
            pods_become(&jobset, (4, 0)).await?;
            ensure!(objects_become(&jobset, &objects).await? == before, "the groups were replaced");
        }
        Ok(())
    })
    .await
}

/// A Job that grows or shrinks changes `minCount` of its Workload and its PodGroup in place.
pub(crate) async fn min_count_follows_an_elastic_job(suite: Arc<Integration>) -> Result<()> {
    let nodes = Nodes::create(&suite, "elastic", 1, 1, 4).await?;
    let jobset = nodes.jobset("js", &one_gang(2)).await?;
    pods_become(&jobset, (2, 0)).await?;
    let before = objects_become(&jobset, &["Workload js: js 2", "PodGroup js 2"]).await?;
    for size in [4, 1] {
        jobset
            .edit(|spec| {
                let job = &mut spec["replicatedJobs"][0]["template"]["spec"];
                (job["parallelism"], job["completions"]) = (size.into(), size.into());
            })
            .await?;
        pods_become(&jobset, (size, 0)).await?;
        let objects = [format!("Workload js: js {size}"), format!("PodGroup js {size}")];
        let after = objects_become(&jobset, &objects.each_ref().map(String::as_str)).await?;
        ensure!(after == before, "{before:?}, then {after:?}");
    }
    Ok(())
}

/// Finished pods do not count for kube-scheduler. `minCount` follows, so that the replacement of a failed pod starts.
pub(crate) async fn failed_pod_is_replaced_after_another_has_finished(suite: Arc<Integration>) -> Result<()> {
    let nodes = Nodes::create(&suite, "finished", 1, 1, 3).await?;
    let spec = one_gang(3).replace("parallelism", "backoffLimit: 6, parallelism");
    let jobset = nodes.jobset("js", &spec).await?;
    pods_become(&jobset, (3, 0)).await?;
    let before = objects_become(&jobset, &["Workload js: js 3", "PodGroup js 3"]).await?;
    let pods = jobset.running_pods("w-0").await?;
    let [done, failing, _] = pods.as_slice() else { bail!("expected three pods: {pods:?}") };
    jobset.annotate_pod(done, &json!({"outcome": "succeed"})).await?;
    pods_become(&jobset, (2, 0)).await?;
    jobset.annotate_pod(failing, &json!({"outcome": "fail"})).await?;
    let is_replaced = |pods: &Vec<String>| !pods.contains(failing) && pods.len() == 2;
    let read = || async {
        let pods = active_pods(&jobset).await?;
        let bound = pods.iter().filter(|pod| super::node_of(pod).is_some());
        Ok(bound.map(ResourceExt::name_any).collect::<Vec<_>>())
    };
    wait_for("the replacement to be bound", TIMEOUT, read, is_replaced).await?;
    let after = objects_become(&jobset, &["Workload js: js 2", "PodGroup js 2"]).await?;
    ensure!(after == before, "{before:?}, then {after:?}");
    Ok(())
}

/// A finished JobSet has no groups. The garbage collector deletes the groups of a deleted JobSet.
pub(crate) async fn groups_are_deleted_with_their_jobset(suite: Arc<Integration>) -> Result<()> {
    let nodes = Nodes::create(&suite, "end", 1, 1, 4).await?;
    let objects = ["Workload js: js 2", "PodGroup js 2"];
    let finished = nodes.jobset("js", &one_gang(2)).await?;
    let deleted = nodes.jobset("js", &one_gang(2)).await?;
    for jobset in [&finished, &deleted] {
        pods_become(jobset, (2, 0)).await?;
        objects_become(jobset, &objects).await?;
    }
    deleted.delete().await?;
    finished.succeed("w-0").await?;
    finished.status_when("completion", |status| status["terminalState"] == "Completed").await?;
    objects_become(&finished, &[]).await?;
    objects_become(&deleted, &[]).await?;
    Ok(())
}

/// Without the gate, the controller ignores the field: it neither changes the groups nor uses them in new Jobs.
pub(crate) async fn gate_can_be_disabled_and_enabled_again(suite: Arc<Integration>) -> Result<()> {
    let nodes = Nodes::create(&suite, "gate", 1, 1, 2).await?;
    let spec = one_gang(2).replacen('{', "{failurePolicy: {maxRestarts: 2}, ", 1);
    let jobset = nodes.jobset("js", &spec).await?;
    pods_become(&jobset, (2, 0)).await?;
    let objects = ["Workload js: js 2", "PodGroup js 2"];
    let before = objects_become(&jobset, &objects).await?;
    let restart = async |attempt: &str| -> Result<usize> {
        jobset.fail("w-0").await?;
        let read = || async { Ok(jobset.jobs.get_opt("js-w-0").await?.map(|job| job.labels().clone())) };
        let is_new = |labels: &Option<BTreeMap<String, String>>| {
            labels.as_ref().is_some_and(|it| it[labels::RESTART_ATTEMPT] == attempt)
        };
        wait_for("the Job of the next attempt", TIMEOUT, read, is_new).await?;
        pods_become(&jobset, (2, 0)).await?;
        Ok(scheduling_groups(&jobset).await?.len())
    };
    let with = |gates: &'static [(&'static str, bool)]| {
        Controller::start_with(&suite.client, suite.cluster.layout(), gates)
    };
    let without_gate = with(&[]).await?;
    ensure!(restart("1").await? == 0, "pods of a new Job are in the group");
    ensure!(objects_become(&jobset, &objects).await? == before, "the groups were replaced");
    without_gate.check()?;
    let with_gate = with(crate::GANG).await?;
    ensure!(restart("2").await? == 2, "pods of a new Job are not in the group");
    ensure!(objects_become(&jobset, &objects).await? == before, "the groups were replaced");
    with_gate.check()
}

/// The PodGroup names of the pods that run or will run.
async fn scheduling_groups(jobset: &LiveJobSet) -> Result<Vec<String>> {
    let pods = active_pods(jobset).await?.into_iter();
    let group = |pod: Pod| pod.spec?.scheduling_group?.pod_group_name;
    Ok(pods.filter_map(group).collect())
}
