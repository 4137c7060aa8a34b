//! Management states, transitions between them, and deletion of the JobSetOperator.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use jobset_tests::objects;
use jobset_tests::wait::{TIMEOUT, holds_for, wait_for};
use kube::ResourceExt as _;
use serde_json::json;

use crate::{DEPLOYMENT, JOBSET_API, MUTATING, PROMPT, SERVICE, Suite, VALIDATING};

pub(crate) async fn unmanaged_operand_is_not_changed(suite: Arc<Suite>) -> Result<()> {
    suite.install(json!({})).await?;
    suite.specify(json!({"managementState": "Unmanaged"})).await?;
    suite.wait_for_conditions(&["Available=True", "Progressing=False"], PROMPT).await?;
    assert_eq!(suite.condition("Progressing").await?["reason"], "Unmanaged");
    let since = jiff::Timestamp::now();
    suite.patch(DEPLOYMENT, json!({"spec": {"replicas": 3}})).await?;
    suite.delete(SERVICE).await?;
    holds_for(
        "no write to an unmanaged operand",
        Duration::from_secs(3),
        || async { suite.writes_since(since) },
        Vec::is_empty,
    )
    .await?;
    // The status still reports the operand's state.
    suite.wait_for_conditions(&["Available=False"], TIMEOUT).await?;

    suite.install(json!({"managementState": "Force"})).await?;
    let deployment = suite.get(DEPLOYMENT.0, DEPLOYMENT.1, DEPLOYMENT.2).await?.unwrap();
    assert_eq!(deployment.data["spec"]["replicas"], 1);
    assert!(suite.get(SERVICE.0, SERVICE.1, SERVICE.2).await?.is_some());
    suite.install(json!({"managementState": "Managed"})).await
}

pub(crate) async fn managed_restores_a_removed_operand(suite: Arc<Suite>) -> Result<()> {
    suite.install(json!({})).await?;
    suite.specify(json!({"managementState": "Unmanaged"})).await?;
    suite.wait_for_conditions(&["Available=True"], PROMPT).await?;
    for state in ["Removed", "Managed", "Removed", "Unmanaged", "Removed"] {
        match state {
            "Managed" => suite.install(json!({"managementState": state})).await?,
            "Unmanaged" => {
                suite.specify(json!({"managementState": state})).await?;
                suite.wait_for_conditions(&["Available=False"], PROMPT).await?;
            }
            _ => {
                suite.specify(json!({"managementState": state})).await?;
                suite
                    .wait_for_conditions(&["Available=False", "Progressing=False", "Degraded=False"], TIMEOUT)
                    .await?;
                assert_eq!(suite.condition("Available").await?["reason"], "Removed");
            }
        }
        if state == "Removed" {
            // Without JobSets, the operator also deletes the CRD.
            wait_for(
                "all managed objects to be deleted",
                TIMEOUT,
                || async { suite.managed() },
                Vec::is_empty,
            )
            .await?;
        }
    }
    suite.install(json!({})).await
}

pub(crate) async fn jobsets_outlive_a_deleted_jobset_operator(suite: Arc<Suite>) -> Result<()> {
    suite.install(json!({})).await?;
    create_jobset(&suite, "survivor").await?;
    // In state Removed, JobSets remain.
    suite.specify(json!({"managementState": "Removed"})).await?;
    suite.wait_for_conditions(&["Available=False", "Progressing=False"], TIMEOUT).await?;
    only_the_api_is_left(&suite).await?;
    suite.install(json!({})).await?;

    suite.delete(("operator.openshift.io/v1", "JobSetOperator", "cluster")).await?;
    only_the_api_is_left(&suite).await?;
    let jobset =
        suite.kubectl.run(&["get", "jobset", "survivor", "--namespace", "default", "--output", "name"])?;
    assert_eq!(jobset.trim(), "jobset.jobset.x-k8s.io/survivor");
    suite.kubectl.run(&["delete", "jobset", "survivor", "--namespace", "default"])?;
    wait_for(
        "the CRD to be deleted after the last JobSet",
        TIMEOUT,
        || async { suite.managed() },
        Vec::is_empty,
    )
    .await?;
    suite.install(json!({})).await
}

/// Kubernetes' garbage collector deletes the operand without the operator.
pub(crate) async fn operand_is_deleted_while_the_operator_is_down(suite: Arc<Suite>) -> Result<()> {
    suite.install(json!({})).await?;
    create_jobset(&suite, "kept").await?;
    suite.operator.stop()?;
    suite.delete(("operator.openshift.io/v1", "JobSetOperator", "cluster")).await?;
    only_the_api_is_left(&suite).await?;
    suite.operator.start()?;
    holds_for(
        "the CRD to be kept while a JobSet exists",
        Duration::from_secs(3),
        || async { Ok(suite.get(JOBSET_API.0, JOBSET_API.1, JOBSET_API.2).await?.is_some()) },
        |exists| *exists,
    )
    .await?;
    // A new JobSetOperator adopts the CRD.
    suite.install(json!({})).await?;
    suite.kubectl.run(&["delete", "jobset", "kept", "--namespace", "default"])?;
    suite.install(json!({})).await
}

/// Creates a JobSet. In this suite, no process serves the webhooks, so this deletes their configurations first.
async fn create_jobset(suite: &Suite, name: &str) -> Result<()> {
    suite.specify(json!({"managementState": "Unmanaged"})).await?;
    suite.wait_for_conditions(&["Progressing=False"], PROMPT).await?;
    suite.delete(VALIDATING).await?;
    suite.delete(MUTATING).await?;
    let jobset = objects::suspended_jobset(name)?;
    let created = || async { Ok(objects::create(&suite.client, "default", &jobset, false).await.err()) };
    wait_for("the API server to stop calling webhooks", TIMEOUT, created, Option::is_none).await?;
    suite.install(json!({"managementState": "Managed"})).await
}

async fn only_the_api_is_left(suite: &Suite) -> Result<()> {
    wait_for(
        "only the JobSet API to be left",
        TIMEOUT,
        || async {
            let managed = suite.managed()?;
            Ok(managed
                .iter()
                .map(|object| format!("{} {}", objects::kind(object), object.name_any()))
                .collect())
        },
        |left: &Vec<String>| left.as_slice() == ["CustomResourceDefinition jobsets.jobset.x-k8s.io"],
    )
    .await?;
    Ok(())
}
