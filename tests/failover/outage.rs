//! An API server that is unavailable for half a minute, and leaders that are killed repeatedly.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jobset_tests::wait::{TIMEOUT, wait_for};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use nix::sys::signal::Signal;

use crate::Failover;
use crate::churn::{each_job_was_created_once_per_attempt, restarts, run_jobsets};
use crate::election::only_the_leader_wrote;
use crate::jobsets::{Outcome, create, holder, start_two, status};

/// Environment variable for the duration in seconds of the test that kills leaders. Ten minutes find more errors than
/// the default.
const SECONDS: &str = "JOBSET_FAILOVER_SECONDS";
const SECONDS_BY_DEFAULT: u64 = 90;

/// The API server stops, and starts again after 30 seconds. Every Job keeps its UID, no restart is counted, and the
/// controllers reconcile a new JobSet. Nothing in this test is random.
pub(crate) async fn jobs_survive_an_api_server_outage_of_half_a_minute(suite: Arc<Failover>) -> Result<()> {
    let mut replicas = start_two(&suite).await?;
    let namespace = suite.cluster.namespace(&suite.client).await?;
    for number in 0..10 {
        create(&suite, &namespace, &format!("steady-{number}"), 4, Outcome::Stay).await?;
    }
    let all_ready = || async {
        let mut ready = 0;
        for number in 0..10 {
            let status = status(&suite, &namespace, &format!("steady-{number}")).await?;
            ready += status["replicatedJobsStatus"][0]["ready"].as_u64().unwrap_or_default();
        }
        Ok(ready)
    };
    wait_for("all Jobs to be ready", TIMEOUT, all_ready, |ready| *ready == 40).await?;
    let before = job_uids(&suite, &namespace).await?;

    let start_again = suite.api_server()?.stop()?;
    let end = Instant::now() + Duration::from_secs(30);
    let mut ended = 0;
    while Instant::now() < end {
        ended += suite.installation.restart_ended(&mut replicas)?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    start_again()?;
    let back = Instant::now();
    // Waits until the API server responds, and until every controller that ended in the meantime is restarted.
    loop {
        ended += suite.installation.restart_ended(&mut replicas)?;
        let mut all_run = true;
        for replica in &mut replicas {
            all_run &= replica.runs()?;
        }
        if all_run && holder(&suite).await.is_ok() {
            break;
        }
        ensure!(back.elapsed() < TIMEOUT, "the API server does not respond, or a controller ends repeatedly");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    create(&suite, &namespace, "afterwards", 4, Outcome::Succeed(1)).await?;
    wait_for(
        "the Jobs of a new JobSet",
        TIMEOUT,
        || job_uids(&suite, &namespace),
        |all| all.len() == before.len() + 4,
    )
    .await?;
    let reconciled_after = back.elapsed();
    // Completion takes longer: it also depends on Kubernetes' controllers.
    wait_for(
        "a new JobSet to complete",
        TIMEOUT,
        || status(&suite, &namespace, "afterwards"),
        |status| status["terminalState"] == "Completed",
    )
    .await?;
    println!(
        "controllers ended {ended} times; after the API server started again, a new JobSet had its Jobs after \
         {reconciled_after:?} and completed after {:?}",
        back.elapsed()
    );
    wait_for("all Jobs to be ready again", TIMEOUT, all_ready, |ready| *ready == 40).await?;
    let mut after = job_uids(&suite, &namespace).await?;
    after.retain(|name, _| !name.starts_with("afterwards"));
    ensure!(after == before, "{before:#?} {after:#?}");
    for number in 0..10 {
        let status = status(&suite, &namespace, &format!("steady-{number}")).await?;
        ensure!(restarts(&status) == 0, "{status:#}");
    }
    Ok(())
}

/// The leader is killed every 15 to 25 seconds while 50 JobSets at a time run to their end.
///
/// This test does not fail by chance. The pauses are random, and the sum of three is at most 75 s. The Lease names a
/// killed leader for less than 17 s, so that after each kill at most one pause passes without a kill. One more attempt
/// follows at the end, so that 90 s are enough for two kills on any draw. The test restarts a controller that ends by
/// itself.
pub(crate) async fn leaders_killed_repeatedly_lose_no_jobset(suite: Arc<Failover>) -> Result<()> {
    let seconds = std::env::var(SECONDS).ok().map(|text| text.parse()).transpose().context(SECONDS)?;
    let until = Instant::now() + Duration::from_secs(seconds.unwrap_or(SECONDS_BY_DEFAULT));
    let since = Timestamp::now();
    let mut replicas = start_two(&suite).await?;
    let namespace = suite.cluster.namespace(&suite.client).await?;
    let run = {
        let (suite, namespace) = (Arc::clone(&suite), namespace.clone());
        tokio::spawn(async move { run_jobsets(&suite, &namespace, 50, until).await })
    };
    let (mut killed, mut ended) = (0, 0);
    while Instant::now() < until && !run.is_finished() {
        let pause = Duration::from_millis(fastrand::u64(15_000..25_000));
        tokio::time::sleep(pause.min(until.saturating_duration_since(Instant::now()))).await;
        let now = holder(&suite).await?;
        let Some(at) = replicas.iter().position(|replica| replica.identity().is_ok_and(|it| it == now))
        else {
            // There is no leader at the moment.
            ended += suite.installation.restart_ended(&mut replicas)?;
            continue;
        };
        let mut leader = replicas.swap_remove(at);
        suite.installation.balance(&replicas);
        leader.signal(Signal::SIGKILL)?;
        leader.wait_for_exit(Duration::from_secs(5)).await?;
        killed += 1;
        replicas.push(suite.installation.start_ready().await?);
        suite.installation.balance(&replicas);
        ended += suite.installation.restart_ended(&mut replicas)?;
    }
    // The JobSets that still run after the last kill must finish.
    while !run.is_finished() {
        ended += suite.installation.restart_ended(&mut replicas)?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let finished = run.await??;
    println!("{killed} leaders killed; {ended} controllers ended by themselves");
    ensure!(killed >= 2);
    each_job_was_created_once_per_attempt(&suite, &namespace, since, &finished)?;
    only_the_leader_wrote(&suite, since)
}

async fn job_uids(suite: &Failover, namespace: &str) -> Result<BTreeMap<String, String>> {
    let jobs: Api<Job> = Api::namespaced(suite.client.clone(), namespace);
    let all = jobs.list(&ListParams::default()).await?;
    Ok(all.items.iter().map(|job| (job.name_any(), job.uid().unwrap_or_default())).collect())
}
