//! Plain parallel requests, as the floor and the steps send them.

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::Value;

/// Number of requests in flight.
const PARALLEL: usize = 32;

/// Creates objects.
pub(crate) async fn create(api: &Api<DynamicObject>, objects: &[DynamicObject]) -> Result<()> {
    let parameters = PostParams::default();
    let requests = objects.iter().map(|object| {
        let parameters = &parameters;
        async move { api.create(parameters, object).await.map(drop) }
    });
    send(requests, "create").await
}

/// Sends the same merge patch to each of these objects.
pub(crate) async fn patch(api: &Api<DynamicObject>, names: &[String], change: &Value) -> Result<()> {
    let (parameters, change) = (PatchParams::default(), Patch::Merge(change));
    let requests = names.iter().map(|name| {
        let (parameters, change) = (&parameters, &change);
        async move { api.patch(name, parameters, change).await.map(drop) }
    });
    send(requests, "patch").await
}

/// Deletes objects in the foreground.
pub(crate) async fn delete(api: &Api<DynamicObject>, names: &[String]) -> Result<()> {
    let parameters = DeleteParams::foreground();
    let requests = names.iter().map(|name| {
        let parameters = &parameters;
        async move { api.delete(name, parameters).await.map(drop) }
    });
    send(requests, "delete").await
}

async fn send<Request>(requests: impl Iterator<Item = Request>, verb: &str) -> Result<()>
where
    Request: Future<Output = kube::Result<()>>,
{
    stream::iter(requests)
        .buffer_unordered(PARALLEL)
        .try_collect::<()>()
        .await
        .with_context(|| format!("a request of the benchmark failed: {verb}"))
}

/// The names of objects.
pub(crate) fn names(objects: &[DynamicObject]) -> Vec<String> {
    objects.iter().map(ResourceExt::name_any).collect()
}
