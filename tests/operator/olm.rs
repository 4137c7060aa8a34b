//! What the operator reports to OLM, which the tests simulate.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use jobset_tests::wait::{holds_for, wait_for};
use serde_json::{Value, json};

use crate::cluster_facts::{apply_when_served, remove};
use crate::{DEPLOYMENT, PROMPT, Suite};

const CRD: &str = include_str!("fixtures/operator-condition-crd.yaml");
const OLM: &str = include_str!("fixtures/olm.yaml");
const NAME: &str = "jobset-operator.v0.0.7";

/// OLM sets the name of the `OperatorCondition` in the operator's environment.
pub(crate) async fn upgradeable_is_reported_to_olm(suite: Arc<Suite>) -> Result<()> {
    suite.install(json!({})).await?;
    suite.apply(CRD).await?;
    apply_when_served(&suite, OLM).await?;
    suite.operator.stop()?;
    // With a namespace of users, as in install mode SingleNamespace. The operator manages its own nevertheless.
    suite.operator.start_with(&[("OPERATOR_CONDITION_NAME", NAME), ("WATCH_NAMESPACE", "a-project")])?;
    wait_for_upgradeable(&suite, "True", "AsExpected").await?;

    suite.specify(json!({"unsupportedConfigOverrides": {"webhook": {"port": 9443}}})).await?;
    wait_for_upgradeable(&suite, "False", "UnsupportedConfigOverrides").await?;
    let conditions = conditions(&suite).await?;
    assert_eq!(conditions.as_array().map(Vec::len), Some(2), "{conditions}");
    assert_eq!(conditions[0]["message"], "of another client", "{conditions}");

    suite.install(json!({})).await?;
    wait_for_upgradeable(&suite, "True", "AsExpected").await?;
    let since = jiff::Timestamp::now();
    let writes = || async { suite.writes_since(since) };
    // A change that does not affect the condition.
    suite.specify(json!({"operatorLogLevel": "Debug"})).await?;
    holds_for("no write of an equal condition", Duration::from_secs(3), writes, Vec::is_empty).await?;

    suite.install(json!({"logLevel": "Debug"})).await?;
    let arguments = "/spec/template/spec/containers/0/args/1";
    let deployment = suite.get(DEPLOYMENT.0, DEPLOYMENT.1, DEPLOYMENT.2).await?.unwrap();
    assert_eq!(deployment.data.pointer(arguments), Some(&json!("--zap-log-level=debug")));

    suite.operator.stop()?;
    suite.operator.start()?;
    remove(&suite, OLM).await?;
    remove(&suite, CRD).await?;
    suite.install(json!({})).await
}

async fn wait_for_upgradeable(suite: &Suite, status: &str, reason: &str) -> Result<()> {
    let is_expected = |conditions: &Value| {
        conditions.as_array().into_iter().flatten().any(|condition| {
            condition["type"] == "Upgradeable"
                && condition["status"] == status
                && condition["reason"] == reason
        })
    };
    let what = format!("Upgradeable to be {status}");
    // The start of the operator includes its election.
    wait_for(&what, 4 * PROMPT, || async { conditions(suite).await }, is_expected).await?;
    Ok(())
}

async fn conditions(suite: &Suite) -> Result<Value> {
    let found = suite.get("operators.coreos.com/v2", "OperatorCondition", NAME).await?;
    Ok(found.map(|found| found.data["spec"]["conditions"].clone()).unwrap_or_default())
}
