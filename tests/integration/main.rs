//! What the controller makes of JobSets: a control plane, simulated nodes, and the controller as a process.
// A panic fails the test that it happens in, and no other.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

mod children;
mod lifecycle;
mod quiet;

use std::process::ExitCode;

use anyhow::Result;
use devcluster::NodeKind;
use jobset_tests::cluster::SuiteCluster;
use jobset_tests::controller::Controller;
use jobset_tests::{suite, tests};
use kube::Client;

/// What the tests share.
struct Integration {
    cluster: SuiteCluster,
    client: Client,
    controller: Controller,
}

fn main() -> ExitCode {
    suite::run(
        "integration",
        NodeKind::Kwok(3),
        // They wait more than they work.
        8,
        prepare,
        tests![
            children::jobs_are_as_documented,
            children::pods_have_stable_names,
            children::coordinator_is_named_on_jobs_and_pods,
            children::service_makes_host_names,
            children::no_service_without_host_names,
            lifecycle::completes_when_every_job_has,
            lifecycle::fails_with_the_first_failed_job,
            lifecycle::deletion_takes_the_children,
            lifecycle::recreated_jobset_has_children_of_its_own,
            lifecycle::foreign_manager_is_left_alone,
            quiet::settled_jobset_causes_no_write,
            quiet::whole_life_of_few_jobs,
            quiet::whole_life_of_many_jobs,
        ],
    )
}

async fn prepare(cluster: SuiteCluster) -> Result<Integration> {
    let client = cluster.client().await?;
    let controller = Controller::start(&client, cluster.layout()).await?;
    Ok(Integration { cluster, client, controller })
}
