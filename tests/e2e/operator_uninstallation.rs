//! Uninstallation in an order that the documents advise against.

use std::sync::Arc;

use anyhow::Result;
use jobset_tests::objects;
use jobset_tests::wait::{TIMEOUT, wait_for};

use crate::E2e;

const API: &str = "customresourcedefinition.apiextensions.k8s.io/jobsets.jobset.x-k8s.io";

/// Uninstalls the operator and its namespace before the JobSetOperator. Kubernetes' garbage collector then deletes the
/// operand and its webhooks, so the API server rejects no requests. Only the JobSet API remains. An operator that still runs
/// when its JobSetOperator is gone deletes this API, too, because it has no JobSets.
pub(crate) async fn uninstalling_the_operator_first_blocks_nothing(e2e: Arc<E2e>) -> Result<()> {
    for object in &e2e.installation.objects {
        objects::delete(&e2e.client, object).await?;
    }
    let left = wait_for(
        "nothing but the JobSet API to be left",
        TIMEOUT,
        || async {
            let kinds = "namespaces,crds,clusterroles,clusterrolebindings,mutatingwebhookconfigurations,\
                         validatingwebhookconfigurations";
            let names = e2e.kubectl.run(&["get", kinds, "--output", "name"])?;
            Ok(names.lines().filter(|name| name.contains("jobset")).map(str::to_owned).collect::<Vec<_>>())
        },
        |left| left.iter().all(|name| name == API),
    )
    .await?;
    if left.is_empty() {
        return Ok(());
    }
    let jobset = objects::one(
        "
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata: {name: without-a-controller}
spec: {suspend: true}
",
    )?;
    objects::create(&e2e.client, "default", &jobset, true).await?;
    e2e.kubectl.run(&["delete", "crd", "jobsets.jobset.x-k8s.io"])?;
    Ok(())
}
