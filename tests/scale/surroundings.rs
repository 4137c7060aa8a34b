//! What a cluster contains before the first step: namespaces, permissions, and pods of no JobSet.

use std::time::Duration;

use anyhow::{Context as _, Result};
use devcluster::progress::Progress;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jobset_tests::wait::wait_for;
use jobset_tests::{objects, replicas};
use kube::Client;
use kube::api::{DynamicObject, ListParams};
use serde_json::{Value, json};

use crate::generator::NAMESPACE;
use crate::scenario::Load;
use crate::steps::api_of;

/// Namespace of the pods of no JobSet.
const UNRELATED: &str = "unrelated";

/// Creates the namespaces, the permissions and the unrelated pods.
pub(crate) async fn create(client: &Client, load: &Load, progress: &Progress) -> Result<()> {
    objects::apply(client, &serde_json::from_value(all_permissions())?, "scale").await?;
    for namespace in [NAMESPACE, UNRELATED] {
        let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
        objects::create(client, "", &serde_json::from_value(object)?, false).await?;
    }
    create_unrelated_pods(client, load.unrelated_pods, progress)
        .await
        .context("cannot create the unrelated pods")
}

async fn create_unrelated_pods(client: &Client, number: u32, progress: &Progress) -> Result<()> {
    if number == 0 {
        return Ok(());
    }
    let bar = progress.step(format!("Creating {number} pods of no JobSet"));
    bar.total(u64::from(number));
    let creations = (0..number).map(|index| {
        let bar = &bar;
        async move {
            objects::create(client, UNRELATED, &unrelated_pod(index)?, false).await?;
            bar.advance(1);
            anyhow::Ok(())
        }
    });
    stream::iter(creations).buffer_unordered(32).try_collect::<Vec<_>>().await?;
    let api = api_of(client, UNRELATED, "", "v1", "Pod");
    let pending = ListParams::default().fields("status.phase!=Running").limit(1);
    let waiting = || async { Ok(api.list_metadata(&pending).await?.items.len()) };
    wait_for("the unrelated pods to run", Duration::from_mins(20), waiting, |pending| *pending == 0).await?;
    bar.done();
    Ok(())
}

fn unrelated_pod(index: u32) -> Result<DynamicObject> {
    let spec: Value = json!({ "containers": [{ "name": "c", "image": "registry.example/server:v1" }] });
    let metadata = json!({ "name": format!("pod-{index}"), "labels": { "app": "server" } });
    let object = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec });
    Ok(serde_json::from_value(object)?)
}

/// Controllers of other projects need other permissions than those in `manifests/`.
fn all_permissions() -> Value {
    let group = format!("system:serviceaccounts:{}", replicas::NAMESPACE);
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": { "name": "scale-controllers" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group }],
    })
}
