//! Deletion of JobSets, and their recreation with the same name.

use std::sync::Arc;

use anyhow::Result;
use jobset_tests::wait::{TIMEOUT, wait_for};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use crate::Integration;
use crate::jobset::LiveJobSet;

/// This can take half a minute: Kubernetes' garbage collector discovers new kinds only every 30 seconds.
pub(crate) async fn children_are_deleted_with_their_jobset(suite: Arc<Integration>) -> Result<()> {
    let jobset = LiveJobSet::create(&suite, "deleted", "{replicatedJobs: [{name: w, replicas: 2}]}").await?;
    jobset.jobs_become(&["w-0@0", "w-1@0"]).await?;
    jobset.delete().await?;
    let (services, all): (Api<Service>, _) =
        (Api::namespaced(suite.client.clone(), &jobset.namespace), ListParams::default());
    wait_for(
        "all children to be deleted",
        TIMEOUT,
        || async {
            let jobs = jobset.jobs.list(&all).await?.items;
            let pods = jobset.pods.list(&all).await?.items;
            let services = services.list(&all).await?.items;
            Ok((
                jobs.iter().map(ResourceExt::name_any).collect::<Vec<_>>(),
                pods.iter().map(ResourceExt::name_any).collect::<Vec<_>>(),
                services.iter().map(ResourceExt::name_any).collect::<Vec<_>>(),
            ))
        },
        |(jobs, pods, services)| jobs.is_empty() && pods.is_empty() && services.is_empty(),
    )
    .await?;
    Ok(())
}

/// A recreated JobSet neither waits for nor adopts the children of its predecessor.
pub(crate) async fn recreated_jobset_gets_new_children(suite: Arc<Integration>) -> Result<()> {
    let spec = "{replicatedJobs: [{name: w, replicas: 2}]}";
    let first = LiveJobSet::create(&suite, "twice", spec).await?;
    first.jobs_become(&["w-0@0", "w-1@0"]).await?;
    first.succeed("w-0").await?;
    first.succeed("w-1").await?;
    first.status_when("completion", |status| status["terminalState"] == "Completed").await?;
    first.delete().await?;

    let second = LiveJobSet::create_in(&suite, &first.namespace, "twice", spec).await?;
    assert_ne!(first.uid, second.uid);
    // These are new Jobs: the Jobs of the first JobSet are complete.
    for (name, job) in second.jobs_become(&["w-0@0", "w-1@0"]).await? {
        assert_eq!(job.owner_references()[0].uid, second.uid, "{name} belongs to the first JobSet");
    }
    second.succeed("w-0").await?;
    second.succeed("w-1").await?;
    second.status_when("completion", |status| status["terminalState"] == "Completed").await?;
    Ok(())
}
