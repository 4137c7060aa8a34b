//! An API server that refuses, loses and delays answers at random.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use jobset_tests::faulty_proxy::{Faults, FaultyProxy};
use jobset_tests::replicas::How;
use k8s_openapi::jiff::Timestamp;

use crate::Failover;
use crate::lives::{each_job_was_created_once_per_attempt, populate};

/// Of a hundred requests, ten are refused with 429, ten with 500, five are carried out and not answered, and three
/// are slow. JobSets live and die as ever, and the controller never ends.
pub(crate) async fn refusals_and_lost_answers_lose_nothing(suite: Arc<Failover>) -> Result<()> {
    let layout = suite.installation.layout();
    let faults = Faults { too_many: 10, internal: 10, lost: 5, slow: 3 };
    let proxy = FaultyProxy::start(&layout.kubeconfig(), &layout.root().join("proxy"), faults).await?;
    let how = How { api_server: Some((proxy.address, proxy.authority.clone())), ..How::default() };
    let since = Timestamp::now();
    let mut replica = suite.installation.start(&how).await?;
    replica.ready().await?;
    suite.installation.balance([&replica]);
    let namespace = suite.cluster.namespace(&suite.client).await?;
    let lives = populate(&suite, &namespace, 20, Instant::now() + Duration::from_secs(30)).await?;
    ensure!(replica.runs()?, "it ended; see {}", replica.log.display());
    let (asked, spoilt) = proxy.counts();
    println!("{asked} requests, of which {spoilt} met a fault");
    ensure!(spoilt > 100);
    each_job_was_created_once_per_attempt(&suite, &namespace, since, &lives)
}
