//! JobSets of these tests: simulated pods that end by themselves after a while.

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
pub(crate) enum Fate {
    /// They run until they are deleted.
    Stay,
    /// They succeed after so many seconds.
    Succeed(u32),
    /// They fail after so many seconds, in every attempt; the JobSet restarts so often.
    Fail(u32, u32),
}

/// Creates a JobSet of so many Jobs with one pod each.
pub(crate) async fn create(
    suite: &Failover,
    namespace: &str,
    name: &str,
    jobs: u32,
    fate: Fate,
) -> Result<()> {
    let (outcome, after, restarts) = match fate {
        Fate::Stay => ("stay", 0, 0),
        Fate::Succeed(after) => ("succeed", after, 0),
        Fate::Fail(after, restarts) => ("fail", after, restarts),
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
    // Whoever creates JobSets while controllers come and go tries again, too.
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

/// Waits until so many Jobs of a JobSet are there.
pub(crate) async fn jobs(suite: &Failover, namespace: &str, count: usize, limit: Duration) -> Result<()> {
    let jobs: Api<Job> = Api::namespaced(suite.client.clone(), namespace);
    let look = || async { Ok(jobs.list(&ListParams::default()).await?.items.len()) };
    wait_for("the Jobs", limit, look, |found| *found == count).await.map(drop)
}

/// Who holds the Lease.
pub(crate) async fn holder(suite: &Failover) -> Result<String> {
    let leases: Api<Lease> = Api::namespaced(suite.client.clone(), NAMESPACE);
    let lease = leases.get_opt(LEASE).await?;
    Ok(lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default())
}

/// Starts two controllers; nobody waits for the lease of one that an earlier test left.
pub(crate) async fn two(suite: &Failover) -> Result<Vec<Replica>> {
    let leases: Api<Lease> = Api::namespaced(suite.client.clone(), NAMESPACE);
    if leases.get_opt(LEASE).await?.is_some() {
        leases.delete(LEASE, &DeleteParams::default()).await?;
    }
    let (one, other) = tokio::join!(suite.installation.start_ready(), suite.installation.start_ready());
    let replicas = vec![one?, other?];
    suite.installation.balance(&replicas);
    Ok(replicas)
}

/// Waits until one of these leads; returns it and the others.
pub(crate) async fn leader_of(
    suite: &Failover,
    mut replicas: Vec<Replica>,
) -> Result<(Replica, Vec<Replica>)> {
    let identities =
        || replicas.iter().map(|replica| replica.identity().unwrap_or_default()).collect::<Vec<_>>();
    let look = || async {
        let holder = holder(suite).await?;
        Ok(identities().iter().position(|identity| !identity.is_empty() && *identity == holder))
    };
    let at = wait_for("a leader", TIMEOUT, look, Option::is_some).await?.context("a leader")?;
    let leader = replicas.swap_remove(at);
    leader.logs("leader: leading").await?;
    Ok((leader, replicas))
}
