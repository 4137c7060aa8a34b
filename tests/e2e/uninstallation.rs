//! Uninstallation of the operand and the operator.

use std::sync::Arc;

use anyhow::Result;
use jobset_tests::objects;
use jobset_tests::wait::{TIMEOUT, wait_for};

use crate::E2e;

/// Deleting the JobSetOperator removes the operand, but no JobSets, nor their CRD as long as there are any.
pub(crate) async fn jobsets_outlive_the_operand(e2e: Arc<E2e>) -> Result<()> {
    // A failed test may have left JobSets.
    e2e.kubectl.run(&["delete", "jobsets", "--all", "--all-namespaces"])?;
    let jobset = e2e.create_suspended("survivor").await?;
    delete_operator_resource(&e2e).await?;
    let jobsets = objects::api_of(&e2e.client, &jobset).await?;
    assert!(jobsets.get("survivor").await?.metadata.deletion_timestamp.is_none());

    objects::delete(&e2e.client, &jobset).await?;
    wait_for(
        "the CRD to be deleted after the last JobSet",
        TIMEOUT,
        || async { e2e.kubectl.run(&["get", "crds", "--output", "name"]) },
        |crds| !crds.contains("jobsets.jobset.x-k8s.io"),
    )
    .await?;
    Ok(())
}

pub(crate) async fn new_jobset_operator_reinstalls_the_operand(e2e: Arc<E2e>) -> Result<()> {
    e2e.install_operand().await.inspect_err(|_| e2e.keep_program_logs())?;
    for example in objects::examples()? {
        objects::create(&e2e.client, "default", &example, true).await?;
    }
    Ok(())
}

pub(crate) async fn nothing_is_left(e2e: Arc<E2e>) -> Result<()> {
    delete_operator_resource(&e2e).await?;
    for object in e2e.installation.objects.iter().rev() {
        objects::delete(&e2e.client, object).await?;
    }
    wait_for(
        "all objects with jobset in their names to be deleted",
        TIMEOUT,
        || async {
            let kinds = "namespaces,crds,clusterroles,clusterrolebindings,mutatingwebhookconfigurations,validatingwebhookconfigurations";
            let names = e2e.kubectl.run(&["get", kinds, "--output", "name"])?;
            Ok(names.lines().filter(|name| name.contains("jobset")).map(str::to_owned).collect::<Vec<_>>())
        },
        Vec::is_empty,
    )
    .await?;
    Ok(())
}

/// Deletes the JobSetOperator, and waits until only the operator is left.
async fn delete_operator_resource(e2e: &E2e) -> Result<()> {
    objects::delete(&e2e.client, &e2e.operator).await?;
    let namespace = &e2e.installation.namespace;
    let deleted = wait_for(
        "the operand to be deleted",
        TIMEOUT,
        || async {
            let namespaced = "deployments,pods,services,configmaps,roles,certificates,issuers";
            let cluster_wide = "clusterroles,mutatingwebhookconfigurations,validatingwebhookconfigurations";
            let mut names =
                e2e.kubectl.run(&["get", namespaced, "--namespace", namespace, "--output", "name"])?;
            names += &e2e.kubectl.run(&["get", cluster_wide, "--output", "name"])?;
            // The names of objects that OLM installs start with the operator's name.
            let rest =
                names.lines().filter(|name| name.contains("jobset") && !name.contains("/jobset-operator"));
            Ok(rest.map(str::to_owned).collect::<Vec<_>>())
        },
        Vec::is_empty,
    );
    deleted.await.inspect_err(|_| e2e.keep_program_logs())?;
    Ok(())
}
