//! What the API server does with our types: CRDs and admission, without nodes.
// A panic fails the test that it happens in, and no other.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

mod admission;
mod crds;

use std::process::ExitCode;

use anyhow::Result;
use devcluster::NodeKind;
use jobset_tests::cluster::SuiteCluster;
use jobset_tests::controller::Controller;
use jobset_tests::{objects, suite, tests};
use kube::Client;

/// What the tests share.
struct Api {
    cluster: SuiteCluster,
    client: Client,
    /// Keeps answering the webhooks.
    controller: Controller,
}

fn main() -> ExitCode {
    suite::run(
        "api",
        NodeKind::None,
        // They wait more than they work.
        8,
        prepare,
        tests![
            crds::are_established,
            crds::jobset_is_listed_and_explained,
            crds::jobset_prints_five_columns,
            crds::jobset_schema_refuses,
            crds::jobset_fields_that_cannot_change,
            crds::jobset_lists_merge_by_name,
            crds::jobset_operator_is_a_singleton,
            crds::jobset_operator_schema_refuses,
            admission::defaults_what_is_left_out,
            admission::keeps_what_is_said,
            admission::accepts_the_examples,
            admission::refuses_what_cannot_be,
            admission::refuses_changes_of_replicated_jobs,
            admission::allows_changes_of_what_may_change,
        ],
    )
}

async fn prepare(cluster: SuiteCluster) -> Result<Api> {
    let client = cluster.client().await?;
    let bundle = objects::read_folder(&objects::repository().join("bundle/manifests"))?;
    for crd in bundle.iter().filter(|object| objects::kind(object) == "CustomResourceDefinition") {
        objects::apply(&client, crd, "olm").await?;
    }
    let controller = Controller::start(&client, cluster.layout()).await?;
    Ok(Api { cluster, client, controller })
}
