//! Creates JobSets whose simulated pods end after a set time, and starts the controllers that reconcile them.

use std::time::Duration;

use anyhow::{Context as _, Result};
use jobset_tests::objects;
use jobset_tests::wait::{TIMEOUT, wait_for};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams};
use serde_json::{Value, json};

use jobset_tests::replicas::{LEASE, NAMESPACE, Replica};

use crate::Failover;

/// How the pods of a JobSet end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// They run until they are deleted.
    Stay,
    /// They succeed after this number of seconds.
    Succeed(u32),
    /// In every attempt, they fail after the first number of seconds. The second number is `maxRestarts`.
    Fail(u32, u32),
}

/// Creates a JobSet with this number of Jobs, each with one pod.
pub(crate) async fn create(
    suite: &Failover,
    namespace: &str,
    name: &str,
    jobs: u32,
    outcome: Outcome,
) -> Result<()> {
    let (outcome, after, restarts) = match outcome {
        Outcome::Stay => ("stay", 0, 0),
        Outcome::Succeed(after) => ("succeed", after, 0),
        Outcome::Fail(after, restarts) => ("fail", after, restarts),
    };
    let annotations = json!({
        "devcluster.jobset.dev/outcome": outcome, "devcluster.jobset.dev/after": format!("{after}s"),
    });
    let pod = json!({ "restartPolicy": "Never", "containers": [{ "name": "c", "image": "i" }] });
    let object = json!({
        "apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "metadata": { "name": name },
        "spec": {
            "failurePolicy": { "maxRestarts": restarts },
            "replicatedJobs": [{ "name": "w", "replicas": jobs, "template": { "spec": {
                "backoffLimit": 0, "template": { "metadata": { "annotations": annotations }, "spec": pod },
            } } }],
        },
    });
    let object: DynamicObject = serde_json::from_value(object)?;
    // Creation fails while no controller serves the webhooks, so it is retried, as other clients do.
    let create = || async { Ok(objects::create(&suite.client, namespace, &object, false).await) };
    let created = wait_for("the JobSet to be accepted", TIMEOUT, create, |created| {
        created.as_ref().map_or_else(|refusal| refusal.code == 409, |_| true)
    });
    created.await.map(drop)
}

/// The status of a JobSet.
pub(crate) async fn status(suite: &Failover, namespace: &str, name: &str) -> Result<Value> {
    let kind = GroupVersionKind::gvk("jobset.x-k8s.io", "v1alpha2", "JobSet");
    let jobsets: Api<DynamicObject> =
        Api::namespaced_with(suite.client.clone(), namespace, &ApiResource::from_gvk(&kind));
    let found = jobsets.get(name).await?;
    Ok(found.data.get("status").cloned().unwrap_or_default())
}

/// Waits until the namespace contains this number of Jobs.
pub(crate) async fn wait_for_jobs(
    suite: &Failover,
    namespace: &str,
    count: usize,
    limit: Duration,
) -> Result<()> {
    let jobs: Api<Job> = Api::namespaced(suite.client.clone(), namespace);
    let observe = || async { Ok(jobs.list(&ListParams::default()).await?.items.len()) };
    wait_for("the Jobs", limit, observe, |found| *found == count).await.map(drop)
}

/// The holder of the Lease.
pub(crate) async fn holder(suite: &Failover) -> Result<String> {
    let leases: Api<Lease> = Api::namespaced(suite.client.clone(), NAMESPACE);
    let lease = leases.get_opt(LEASE).await?;
    Ok(lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default())
}

/// Starts two controllers. Deletes the Lease first, so that they do not wait for a leader of an earlier test.
pub(crate) async fn start_two(suite: &Failover) -> Result<Vec<Replica>> {
    let leases: Api<Lease> = Api::namespaced(suite.client.clone(), NAMESPACE);
    if leases.get_opt(LEASE).await?.is_some() {
        leases.delete(LEASE, &DeleteParams::default()).await?;
    }
    let (one, other) = tokio::join!(suite.installation.start_ready(), suite.installation.start_ready());
    let replicas = vec![one?, other?];
    suite.installation.balance(&replicas);
    Ok(replicas)
}

/// Waits until one of these replicas leads. Returns the leader and the other replicas.
pub(crate) async fn leader_of(
    suite: &Failover,
    mut replicas: Vec<Replica>,
) -> Result<(Replica, Vec<Replica>)> {
    let identities =
        || replicas.iter().map(|replica| replica.identity().unwrap_or_default()).collect::<Vec<_>>();
    let observe = || async {
        let holder = holder(suite).await?;
        Ok(identities().iter().position(|identity| !identity.is_empty() && *identity == holder))
    };
    let at = wait_for("a leader", TIMEOUT, observe, Option::is_some).await?.context("a leader")?;
    let leader = replicas.swap_remove(at);
    leader.wait_for_log("leader: leading").await?;
    Ok((leader, replicas))
}
