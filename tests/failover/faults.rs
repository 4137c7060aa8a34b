//! An API server that refuses, loses and delays answers at random.

use std::slice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use jobset_tests::faulty_proxy::{Faults, FaultyProxy};
use jobset_tests::replicas::ReplicaOptions;
use k8s_openapi::jiff::Timestamp;

use crate::Failover;
use crate::lives::{each_job_was_created_once_per_attempt, populate};

/// Of a hundred requests, ten are refused with 429, ten with 500, five are carried out and not answered, and three are
/// slow. JobSets live and die as ever, each Job is created once per attempt.
///
/// Which requests meet a fault is random. What this test asserts of the controller holds for every draw: one that loses
/// its lease is started again, as by the kubelet, which happens less than once in 10 000 minutes (see
/// `manager-runtime`, `leader/renewal.rs`) and in this test with a probability below 0.0005. Of at least 300 requests, 84
/// meet a fault on average, with a standard deviation of 8: that no more than 30 do has a probability below 10^-10. A
/// JobSet needs some 20 requests in a row that each fail with a probability of 0.28 to miss its limit of four minutes.
pub(crate) async fn refusals_and_lost_answers_lose_nothing(suite: Arc<Failover>) -> Result<()> {
    let layout = suite.installation.layout();
    let faults = Faults { too_many: 10, internal: 10, lost: 5, slow: 3 };
    let proxy = FaultyProxy::start(&layout.kubeconfig(), &layout.root().join("proxy"), faults).await?;
    let options = ReplicaOptions {
        api_server: Some((proxy.address, proxy.authority.clone())),
        ..ReplicaOptions::default()
    };
    let since = Timestamp::now();
    let mut replica = suite.installation.start(&options).await?;
    replica.ready().await?;
    suite.installation.balance([&replica]);
    let namespace = suite.cluster.namespace(&suite.client).await?;
    let population = {
        let (suite, namespace) = (Arc::clone(&suite), namespace.clone());
        let until = Instant::now() + Duration::from_secs(30);
        tokio::spawn(async move { populate(&suite, &namespace, 20, until).await })
    };
    let mut ended = 0;
    while !population.is_finished() {
        ended += suite.installation.restart_ended(slice::from_mut(&mut replica))?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let lives = population.await??;
    let (requests, failed) = proxy.counts();
    println!("{requests} requests, {failed} of them with a fault; the controller ended {ended} times");
    ensure!(requests >= 300 && failed > requests / 10, "{failed} faults in {requests} requests");
    each_job_was_created_once_per_attempt(&suite, &namespace, since, &lives)
}
