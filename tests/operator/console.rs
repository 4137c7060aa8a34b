//! What the operator adds to the console of OpenShift, where its APIs and the namespace of its dashboards exist.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use jobset_tests::wait::{TIMEOUT, holds_for, wait_for};
use jobset_tests::{objects, objects::api_of};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::json;

use crate::cluster_facts::remove;
use crate::{PROMPT, Suite};

const CONSOLE: &str = include_str!("fixtures/console.yaml");
const QUICK_START: (&str, &str) = ("ConsoleQuickStart", "jobset-first-run");
const SAMPLES: [&str; 4] =
    ["jobset-demo", "jobset-coordinator", "jobset-failure-policy", "jobset-volume-claims"];

pub(crate) async fn the_console_shows_jobsets(suite: Arc<Suite>) -> Result<()> {
    suite.install(json!({})).await?;
    remove(&suite, CONSOLE).await?;
    suite.apply(CONSOLE).await?;
    wait_for_objects(&suite, 6, TIMEOUT).await?;
    suite.install(json!({})).await?;
    let created = console_objects(&suite).await?;
    for object in &created {
        let owners = object.metadata.owner_references.clone().unwrap_or_default();
        assert_eq!(owners.len(), 1, "{}", objects::title(object));
        assert_eq!((owners[0].kind.as_str(), owners[0].block_owner_deletion), ("JobSetOperator", None));
    }

    // Each object is repaired, also that in another namespace.
    for object in &created {
        let api = api_of(&suite.client, object).await?;
        api.delete(&object.name_any(), &DeleteParams::background()).await?;
        wait_for_objects(&suite, 6, PROMPT).await?;
        let (field, value) = match objects::kind(object) {
            "ConfigMap" => ("/data/jobset.json", json!("{}")),
            _ => ("/spec/description", json!("another one")),
        };
        let patch: Patch<()> =
            Patch::Json(serde_json::from_value(json!([{"op": "replace", "path": field, "value": value}]))?);
        api.patch(&object.name_any(), &PatchParams::default(), &patch).await?;
        let content = || async { Ok(api.get(&object.name_any()).await?.data) };
        wait_for("a repaired object", PROMPT, content, |data| *data == object.data).await?;
    }
    let since = jiff::Timestamp::now();
    holds_for("no write", Duration::from_secs(3), || async { suite.writes_since(since) }, Vec::is_empty)
        .await?;

    suite.specify(json!({"managementState": "Removed"})).await?;
    wait_for_objects(&suite, 0, TIMEOUT).await?;
    suite.install(json!({})).await?;
    wait_for_objects(&suite, 6, PROMPT).await?;

    remove(&suite, CONSOLE).await?;
    suite.install(json!({})).await
}

async fn wait_for_objects(suite: &Suite, count: usize, limit: Duration) -> Result<()> {
    let what = format!("{count} objects of the console");
    wait_for(&what, limit, || async { console_objects(suite).await }, |all| all.len() == count).await?;
    Ok(())
}

/// The objects of the console that exist.
async fn console_objects(suite: &Suite) -> Result<Vec<DynamicObject>> {
    let mut keys = vec![("console.openshift.io/v1", QUICK_START.0, QUICK_START.1)];
    keys.extend(SAMPLES.map(|name| ("console.openshift.io/v1", "ConsoleYAMLSample", name)));
    keys.push(("v1", "ConfigMap", "grafana-dashboard-jobset"));
    let mut found = Vec::new();
    for (api_version, kind, name) in keys {
        let namespace = (kind == "ConfigMap").then_some("openshift-config-managed");
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": namespace},
        }))?;
        let Ok(api) = api_of(&suite.client, &object).await else { continue };
        found.extend(api.get_opt(name).await?);
    }
    Ok(found)
}
