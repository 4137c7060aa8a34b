//! Exclusive placement in the admission of pods: leaders, and followers that wait until their leader is scheduled.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use jobset_tests::objects::{self, Refusal};
use jobset_tests::wait::{TIMEOUT, wait_for};
use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::Api;

/// A namespace in which pods can be created, and a Job in it that no controller reconciles.
async fn job(api: &Api) -> Result<(String, DynamicObject)> {
    let namespace = api.cluster.namespace(&api.client).await?;
    let job = serde_json::from_value(json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "train-worker-1"},
        "spec": {
            "managedBy": "example.com/none",
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}},
        },
    }))?;
    let job = objects::create(&api.client, &namespace, &job, false).await?;
    let account = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": namespace},
    }))?;
    let accounts = objects::api_of(&api.client, &account).await?;
    let read = || async { Ok(accounts.get_opt("default").await?) };
    wait_for("the namespace's service account", TIMEOUT, read, Option::is_some).await?;
    Ok((namespace, job))
}

/// The pod of this index, as the Job controller creates it.
fn pod(owner: &DynamicObject, index: usize, topology: &str, spec: &Value) -> Result<DynamicObject> {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "generateName": format!("train-worker-1-{index}-"),
            "ownerReferences": [{
                "apiVersion": "batch/v1", "kind": "Job", "name": "train-worker-1",
                "uid": owner.metadata.uid, "controller": true,
            }],
            "annotations": {
                "jobset.sigs.k8s.io/jobset-name": "train",
                "alpha.jobset.sigs.k8s.io/exclusive-topology": topology,
                "batch.kubernetes.io/job-completion-index": index.to_string(),
            },
            "labels": {
                "jobset.sigs.k8s.io/jobset-name": "train",
                "jobset.sigs.k8s.io/replicatedjob-name": "worker",
                "jobset.sigs.k8s.io/job-index": "1",
                "jobset.sigs.k8s.io/job-key": "key-of-the-job",
                "batch.kubernetes.io/job-completion-index": index.to_string(),
            },
        },
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]},
    });
    if let (Some(fields), Some(more)) = (pod["spec"].as_object_mut(), spec.as_object()) {
        fields.extend(more.clone());
    }
    Ok(serde_json::from_value(pod)?)
}

async fn node(api: &Api, name: &str, labels: &Value) -> Result<()> {
    let node = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels},
    }))?;
    objects::create(&api.client, "", &node, false).await?;
    Ok(())
}

async fn refused(api: &Api, namespace: &str, pod: &DynamicObject) -> Result<Refusal> {
    objects::create(&api.client, namespace, pod, true).await.err().context("the API server accepted the pod")
}

pub(crate) async fn leader_gets_affinity_to_its_job_and_anti_affinity_to_others(api: Arc<Api>) -> Result<()> {
    let (namespace, job) = job(&api).await?;
    let own_affinity = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": "cache"}}, "topologyKey": "zone"},
    ]}}});
    let created =
        objects::create(&api.client, &namespace, &pod(&job, 0, "rack", &own_affinity)?, true).await?;
    let labels = created.metadata.labels.clone().unwrap_or_default();
    assert_eq!(labels.get("jobset.sigs.k8s.io/priority").map(String::as_str), Some("0"));
    let affinity = &created.data["spec"]["affinity"];
    assert_eq!(
        affinity["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"],
        json!([
            {"labelSelector": {"matchLabels": {"app": "cache"}}, "topologyKey": "zone"},
            {
                "labelSelector": {"matchExpressions": [
                    {"key": "jobset.sigs.k8s.io/job-key", "operator": "In", "values": ["key-of-the-job"]},
                ]},
                "topologyKey": "rack", "namespaceSelector": {},
            },
        ])
    );
    assert_eq!(
        affinity["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"],
        json!([{
            "labelSelector": {"matchExpressions": [
                {"key": "jobset.sigs.k8s.io/job-key", "operator": "Exists"},
                {"key": "jobset.sigs.k8s.io/job-key", "operator": "NotIn", "values": ["key-of-the-job"]},
                {"key": "jobset.sigs.k8s.io/priority", "operator": "In", "values": ["0"]},
            ]},
            "topologyKey": "rack", "namespaceSelector": {},
        }])
    );
    Ok(())
}

pub(crate) async fn follower_is_denied_until_its_leader_is_scheduled(api: Arc<Api>) -> Result<()> {
    let (namespace, job) = job(&api).await?;
    let denied = |text: &str| Refusal {
        code: 403,
        message: format!("admission webhook \"vpod.kb.io\" denied the request: {text}"),
    };
    let follower = pod(&job, 1, "rack", &json!({}))?;
    let none = "expected 1 leader pod (train-worker-1-0), but got 0. this is an expected, transient error";
    let selecting = |selector: Value| pod(&job, 1, "rack", &json!({"nodeSelector": selector}));
    for leaderless in [follower.clone(), selecting(json!({"zone": "z"}))?, selecting(json!({"rack": "r1"}))?]
    {
        assert_eq!(refused(&api, &namespace, &leaderless).await?, denied(none));
    }

    // A leader that is not scheduled, because its scheduler does not exist.
    let waiting = pod(&job, 0, "rack", &json!({"schedulerName": "example.com/none"}))?;
    let waiting = objects::create(&api.client, &namespace, &waiting, false).await?;
    let unscheduled =
        "leader pod not yet scheduled, not creating follower pod. this is an expected, transient error";
    let attempt = || async { refused(&api, &namespace, &follower).await };
    wait_for("the controller to observe the leader", TIMEOUT, attempt, |refusal| {
        *refusal == denied(unscheduled)
    })
    .await?;
    objects::delete(&api.client, &waiting).await?;

    // A leader that is scheduled.
    let name = format!("node-of-{namespace}");
    node(&api, &name, &json!({"rack": "r7", "example.com/with-slash": "s7"})).await?;
    let placed = pod(&job, 0, "rack", &json!({"nodeName": name}))?;
    objects::create(&api.client, &namespace, &placed, false).await?;
    let attempt = || async { Ok(objects::create(&api.client, &namespace, &follower, true).await) };
    let admitted = wait_for("the follower to be admitted", TIMEOUT, attempt, Result::is_ok).await??;
    assert_eq!(admitted.data["spec"]["nodeSelector"], json!({"rack": "r7"}));

    let keyed = pod(&job, 2, "example.com/with-slash", &json!({"nodeSelector": {"disk": "ssd"}}))?;
    // With a new topology key, the controller lists the nodes again.
    let attempt = || async { Ok(objects::create(&api.client, &namespace, &keyed, true).await) };
    let admitted = wait_for("the follower to be admitted", TIMEOUT, attempt, Result::is_ok).await??;
    assert_eq!(admitted.data["spec"]["nodeSelector"], json!({"disk": "ssd", "example.com/with-slash": "s7"}));

    let unlabelled = pod(&job, 3, "row", &json!({}))?;
    let attempt = || async { refused(&api, &namespace, &unlabelled).await };
    let expected =
        "admission webhook \"mpod.kb.io\" denied the request: node does not have topology label: row";
    wait_for("the nodes to be listed", TIMEOUT, attempt, |refusal| {
        (refusal.code, refusal.message.as_str()) == (403, expected)
    })
    .await?;

    let mut of_another_job = follower.clone();
    of_another_job
        .metadata
        .owner_references
        .iter_mut()
        .flatten()
        .for_each(|owner| owner.uid = "another-uid".into());
    let refusal = refused(&api, &namespace, &of_another_job).await?;
    let owners = format!(
        "follower pod owner UID (another-uid) != leader pod owner UID ({})",
        job.metadata.uid.unwrap_or_default()
    );
    assert_eq!(refusal, denied(&owners), "a follower without leader in its Job");
    Ok(())
}

pub(crate) async fn leader_on_a_missing_node_blocks_followers(api: Arc<Api>) -> Result<()> {
    let (namespace, job) = job(&api).await?;
    let missing = format!("missing-node-of-{namespace}");
    objects::create(&api.client, &namespace, &pod(&job, 0, "rack", &json!({"nodeName": missing}))?, false)
        .await?;
    let follower = pod(&job, 1, "rack", &json!({}))?;
    let attempt = || async { refused(&api, &namespace, &follower).await };
    let expected =
        format!("admission webhook \"mpod.kb.io\" denied the request: Node \"{missing}\" not found");
    wait_for("the controller to observe the leader", TIMEOUT, attempt, |refusal| {
        (refusal.code, &refusal.message) == (404, &expected)
    })
    .await?;
    Ok(())
}

/// Admission does not change pods without exclusive placement. The API server calls no webhook for pods without the
/// label.
pub(crate) async fn other_pods_are_unchanged(api: Arc<Api>) -> Result<()> {
    let (namespace, job) = job(&api).await?;
    let follower = pod(&job, 1, "rack", &json!({}))?;
    let change = |change: &dyn Fn(&mut DynamicObject)| {
        let mut changed = follower.clone();
        change(&mut changed);
        changed
    };
    for (what, other) in [
        (
            "with node selector",
            change(&|pod| {
                let annotations = pod.metadata.annotations.get_or_insert_default();
                annotations.insert("alpha.jobset.sigs.k8s.io/node-selector".into(), "true".into());
            }),
        ),
        (
            "without exclusive placement",
            change(&|pod| {
                pod.metadata
                    .annotations
                    .iter_mut()
                    .for_each(|all| drop(all.remove("alpha.jobset.sigs.k8s.io/exclusive-topology")));
            }),
        ),
        ("without JobSet", change(&|pod| pod.metadata.labels = None)),
    ] {
        let created = objects::create(&api.client, &namespace, &other, true).await.context(what)?;
        assert_eq!(created.data["spec"].get("nodeSelector"), None, "{what}");
        assert_eq!(created.data["spec"].get("affinity"), None, "{what}");
    }
    Ok(())
}
