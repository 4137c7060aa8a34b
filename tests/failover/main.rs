//! Several controllers at a time, and what goes wrong around them: certificates, leaders, the API server.
// A panic fails the test that it happens in, and no other.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

mod api_server;
mod certificates;
mod election;
mod faults;
mod jobsets;
mod lives;
mod outage;

use std::process::ExitCode;

use anyhow::Result;
use devcluster::NodeKind;
use jobset_tests::cluster::SuiteCluster;
use jobset_tests::replicas::Installation;
use jobset_tests::{suite, tests};
use kube::Client;

use crate::api_server::ApiServer;

/// What the tests share.
struct Failover {
    cluster: SuiteCluster,
    client: Client,
    installation: Installation,
}

impl Failover {
    fn api_server(&self) -> Result<ApiServer> {
        ApiServer::find(self.installation.layout())
    }
}

fn main() -> ExitCode {
    suite::run(
        "failover",
        NodeKind::Kwok(3),
        // Each has the controllers, the Secret and the API server for itself.
        1,
        prepare,
        tests![
            certificates::are_made_from_nothing_by_two_replicas_at_once,
            certificates::are_renewed_in_time_without_a_new_ca,
            certificates::rotate_under_load_without_a_failure,
            certificates::previous_ca_goes_when_its_time_is_over,
            certificates::overwritten_bundle_is_repaired,
            certificates::garbage_is_replaced_and_foreign_content_is_not,
            election::killed_leader_is_followed_within_the_lease,
            election::leader_that_is_asked_to_end_hands_over,
            election::leader_that_stood_still_writes_no_more,
            election::stolen_lease_ends_the_leader_and_a_deleted_one_does_not,
            election::second_signal_ends_at_once,
            election::short_silence_of_the_api_server_is_survived,
            faults::refusals_and_lost_answers_lose_nothing,
            outage::half_a_minute_without_api_server_loses_nothing,
            outage::leaders_killed_again_and_again_lose_nothing,
        ],
    )
}

async fn prepare(cluster: SuiteCluster) -> Result<Failover> {
    manager_runtime::install_crypto_provider();
    let client = cluster.client().await?;
    let installation = Installation::new(&client, cluster.layout()).await?;
    Ok(Failover { cluster, client, installation })
}
