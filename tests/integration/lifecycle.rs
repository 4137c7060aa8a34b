//! How JobSets go, and come again.

use std::sync::Arc;

use anyhow::Result;
use jobset_tests::wait::{TIMEOUT, wait_for};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use crate::Integration;
use crate::jobset::LiveJobSet;

/// Kubernetes' garbage collector looks for new kinds every half minute only, and JobSet is new to this cluster.
pub(crate) async fn deletion_takes_the_children(suite: Arc<Integration>) -> Result<()> {
    let jobset = LiveJobSet::create(&suite, "gone", "{replicatedJobs: [{name: w, replicas: 2}]}").await?;
    jobset.jobs_become(&["w-0@0", "w-1@0"]).await?;
    jobset.delete().await?;
    let (services, all): (Api<Service>, _) =
        (Api::namespaced(suite.client.clone(), &jobset.namespace), ListParams::default());
    wait_for(
        "nothing to be left",
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

/// A new JobSet of an old name neither waits for nor takes over what the old one had.
pub(crate) async fn recreated_jobset_has_children_of_its_own(suite: Arc<Integration>) -> Result<()> {
    let spec = "{replicatedJobs: [{name: w, replicas: 2}]}";
    let first = LiveJobSet::create(&suite, "twice", spec).await?;
    first.jobs_become(&["w-0@0", "w-1@0"]).await?;
    first.succeed("w-0").await?;
    first.succeed("w-1").await?;
    first.status_when("completion", |status| status["terminalState"] == "Completed").await?;
    first.delete().await?;

    let second = LiveJobSet::create_in(&suite, &first.namespace, "twice", spec).await?;
    assert_ne!(first.uid, second.uid);
    // Those of the first are complete.
    for (name, job) in second.jobs_become(&["w-0@0", "w-1@0"]).await? {
        assert_eq!(job.owner_references()[0].uid, second.uid, "{name} belongs to the first JobSet");
    }
    second.succeed("w-0").await?;
    second.succeed("w-1").await?;
    second.status_when("completion", |status| status["terminalState"] == "Completed").await?;
    Ok(())
}
