//! Several controllers at the same time, and failures of certificates, leaders and the API server.
// A panic fails only the test in which it occurs.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

mod agent;
mod certificates;
mod churn;
mod election;
mod faults;
mod jobsets;
mod outage;

use std::process::ExitCode;

use anyhow::Result;
use devcluster::NodeKind;
use jobset_tests::api_server::ApiServer;
use jobset_tests::cluster::SuiteCluster;
use jobset_tests::replicas::Installation;
use jobset_tests::{suite, tests};
use kube::Client;

/// State that the tests share.
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
        // Each test needs the controllers, the Secret and the API server for itself.
        1,
        prepare,
        tests![
            certificates::two_replicas_create_one_ca,
            certificates::expiring_certificate_is_renewed_by_the_same_ca,
            certificates::rotation_under_load_fails_no_request,
            certificates::previous_ca_is_removed_after_the_overlap,
            certificates::overwritten_bundle_is_repaired,
            certificates::invalid_secret_is_replaced_and_foreign_secret_is_kept,
            election::killed_leader_is_replaced_when_its_lease_expires,
            election::terminated_leader_releases_its_lease,
            election::paused_leader_writes_nothing_after_its_lease,
            election::leader_exits_if_its_lease_is_taken_but_not_if_it_is_deleted,
            election::second_signal_ends_the_process_at_once,
            election::leader_survives_a_short_freeze_of_the_api_server,
            agent::barrier_and_restart_survive_outages_of_the_api_server,
            faults::jobsets_finish_correctly_despite_faults,
            outage::jobs_survive_an_api_server_outage_of_half_a_minute,
            outage::leaders_killed_repeatedly_lose_no_jobset,
        ],
    )
}

async fn prepare(cluster: SuiteCluster) -> Result<Failover> {
    manager_runtime::install_crypto_provider();
    let client = cluster.client().await?;
    let installation = Installation::new(&client, cluster.layout()).await?;
    Ok(Failover { cluster, client, installation })
}
