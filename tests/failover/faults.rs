//! Faults at random: requests that the API server rejects, and responses that are lost or late.

use std::slice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use jobset_tests::faulty_proxy::{Faults, FaultyProxy};
use jobset_tests::replicas::ReplicaOptions;
use k8s_openapi::jiff::Timestamp;

use crate::Failover;
use crate::churn::{each_job_was_created_once_per_attempt, run_jobsets};

/// Of 100 requests, 10 are rejected with 429, 10 are rejected with 500, 5 are executed but their response is lost, and
/// 3 are slow. All JobSets still finish as expected, and each Job is created once per attempt.
///
/// The faults are random. The assertions about the controller hold for every draw: the test restarts a controller that
/// loses its lease, as the kubelet does. A lease is lost less than once in 100 000 minutes (see `manager-runtime`,
/// `leader/renewal.rs`), in this test with a probability below 0.0001. Of at least 300 requests, 84 have a fault on
/// average, with a standard deviation of 8. The probability that at most 30 have a fault is below 10^-10. A JobSet
/// misses its limit of four minutes only if some 20 requests in a row fail, each with a probability of 0.28.
pub(crate) async fn jobsets_finish_correctly_despite_faults(suite: Arc<Failover>) -> Result<()> {
    let layout = suite.installation.layout();
    let faults = Faults { too_many: 10, internal: 10, lost: 5, slow: 3 };
    let proxy = FaultyProxy::start(&layout.kubeconfig(), &layout.root().join("proxy"), faults).await?;
    let options = ReplicaOptions {
        api_server: Some((proxy.address, proxy.authority.clone())),
        ..ReplicaOptions::default()
    };
    let since = Timestamp::now();
    let mut replica = suite.installation.start(&options).await?;
    replica.wait_until_ready().await?;
    suite.installation.balance([&replica]);
    let namespace = suite.cluster.namespace(&suite.client).await?;
    let run = {
        let (suite, namespace) = (Arc::clone(&suite), namespace.clone());
        let until = Instant::now() + Duration::from_secs(30);
        tokio::spawn(async move { run_jobsets(&suite, &namespace, 20, until).await })
    };
    let mut ended = 0;
    while !run.is_finished() {
        ended += suite.installation.restart_ended(slice::from_mut(&mut replica))?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let finished = run.await??;
    ensure!(ended == 0, "the controller ended {ended} times: see {}", replica.log.display());
    let (requests, failed) = proxy.counts();
    println!("{requests} requests, {failed} of them with a fault; the controller ended {ended} times");
    ensure!(requests >= 300 && failed > requests / 10, "{failed} faults in {requests} requests");
    each_job_was_created_once_per_attempt(&suite, &namespace, since, &finished)
}
