//! Annotates the pod with its attempt, with server-side apply.

use std::sync::Arc;

use serde_json::json;
use tokio::time::sleep;
use tracing::info;

use crate::api::{Api, Failure};
use crate::jobset::ATTEMPT;
use crate::report::{Purpose, Retries};
use crate::watch::encode;

const PURPOSE: Purpose =
    Purpose { what: "annotate the pod", group: "", resource: "pods", verbs: "\"patch\"" };

/// Retries until the pod has the annotation.
pub(crate) async fn annotate(api: Arc<Api>, pod: String, attempt: i64) {
    let mut retries = Retries::new(PURPOSE, &api.account.namespace);
    while let Err(failure) = apply(&api, &pod, attempt).await {
        sleep(retries.failed(&failure)).await;
    }
    info!("pod \"{pod}\" is annotated with in-place restart attempt {attempt}");
}

async fn apply(api: &Api, pod: &str, attempt: i64) -> Result<(), Failure> {
    let namespace = &api.account.namespace;
    let path = format!(
        "/api/v1/namespaces/{}/pods/{}?fieldManager=in-place-restart-agent&force=true",
        encode(namespace),
        encode(pod)
    );
    let metadata =
        json!({"name": pod, "namespace": namespace, "annotations": {ATTEMPT: attempt.to_string()}});
    let body = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata}).to_string();
    let mut connection = api.connect().await?;
    api.send(&mut connection, api.apply(&path, body)?).await?;
    Ok(())
}
