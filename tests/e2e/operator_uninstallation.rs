//! Taking the operator away in an order that the documents advise against.

use std::sync::Arc;

use anyhow::Result;
use jobset_tests::objects;
use jobset_tests::wait::{PATIENCE, wait_for};

use crate::E2e;

/// The operator goes first, with its namespace, and nobody is left to look after the operand. Kubernetes' garbage
/// collector takes it and its webhooks away all the same, so that nothing is refused; only the JobSet API stays.
pub(crate) async fn wrong_order_blocks_nothing(e2e: Arc<E2e>) -> Result<()> {
    for object in &e2e.installation.objects {
        objects::delete(&e2e.client, object).await?;
    }
    wait_for(
        "only the JobSet API to be left",
        PATIENCE,
        || async {
            let kinds = "namespaces,crds,clusterroles,clusterrolebindings,mutatingwebhookconfigurations,\
                         validatingwebhookconfigurations";
            let names = e2e.kubectl.run(&["get", kinds, "--output", "name"])?;
            Ok(names.lines().filter(|name| name.contains("jobset")).map(str::to_owned).collect::<Vec<_>>())
        },
        |left| left.as_slice() == ["customresourcedefinition.apiextensions.k8s.io/jobsets.jobset.x-k8s.io"],
    )
    .await?;
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
