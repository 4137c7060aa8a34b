//! The API server unavailable for half a minute, and leaders killed again and again.

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
use crate::election::one_writer_at_a_time;
use crate::jobsets::{Fate, create, holder, status, two};
use crate::lives::{each_job_was_created_once_per_attempt, populate, restarts};

/// How long leaders are killed. Ten minutes find more than this.
const SECONDS: &str = "JOBSET_FAILOVER_SECONDS";
const SECONDS_BY_DEFAULT: u64 = 90;

/// The API server stops, and starts after thirty seconds: every Job is the same as before, no restart is counted, and a
/// new JobSet is reconciled. Nothing is random.
pub(crate) async fn half_a_minute_without_api_server_loses_nothing(suite: Arc<Failover>) -> Result<()> {
    let mut replicas = two(&suite).await?;
    let namespace = suite.cluster.namespace(&suite.client).await?;
    for number in 0..10 {
        create(&suite, &namespace, &format!("steady-{number}"), 4, Fate::Stay).await?;
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

    let start_again = suite.api_server()?.end()?;
    let end = Instant::now() + Duration::from_secs(30);
    let mut ended = 0;
    while Instant::now() < end {
        ended += suite.installation.restart_ended(&mut replicas)?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    start_again()?;
    let back = Instant::now();
    // Until the API server answers, and every controller that ended meanwhile is started again.
    loop {
        ended += suite.installation.restart_ended(&mut replicas)?;
        let mut all_run = true;
        for replica in &mut replicas {
            all_run &= replica.runs()?;
        }
        if all_run && holder(&suite).await.is_ok() {
            break;
        }
        ensure!(back.elapsed() < TIMEOUT, "the API server does not answer, or a controller keeps ending");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    create(&suite, &namespace, "afterwards", 4, Fate::Succeed(1)).await?;
    wait_for(
        "the Jobs of a new JobSet",
        TIMEOUT,
        || job_uids(&suite, &namespace),
        |all| all.len() == before.len() + 4,
    )
    .await?;
    let worked_on = back.elapsed();
    // The other controllers of the cluster take their time.
    wait_for(
        "a new JobSet to complete",
        TIMEOUT,
        || status(&suite, &namespace, "afterwards"),
        |status| status["terminalState"] == "Completed",
    )
    .await?;
    println!(
        "controllers ended {ended} times meanwhile; after the API server was back a new JobSet had its Jobs in \
         {worked_on:?} and completed in {:?}",
        back.elapsed()
    );
    wait_for("all Jobs to be ready still", TIMEOUT, all_ready, |ready| *ready == 40).await?;
    let mut after = job_uids(&suite, &namespace).await?;
    after.retain(|name, _| !name.starts_with("afterwards"));
    ensure!(after == before, "{before:#?} {after:#?}");
    for number in 0..10 {
        let status = status(&suite, &namespace, &format!("steady-{number}")).await?;
        ensure!(restarts(&status) == 0, "{status:#}");
    }
    Ok(())
}

/// Fifty JobSets live and die while the leader is killed every 15 to 25 seconds.
///
/// Nothing here fails by chance. The pauses are random, and the sum of three is at most 75 s: the Lease names a leader that
/// is gone for less than 17 s, which makes at most one pause after a kill idle, and a last try comes at the end, so that
/// 90 s are enough for two kills on any draw. A controller that ends by itself is started again.
pub(crate) async fn leaders_killed_again_and_again_lose_nothing(suite: Arc<Failover>) -> Result<()> {
    let seconds = std::env::var(SECONDS).ok().map(|text| text.parse()).transpose().context(SECONDS)?;
    let until = Instant::now() + Duration::from_secs(seconds.unwrap_or(SECONDS_BY_DEFAULT));
    let since = Timestamp::now();
    let mut replicas = two(&suite).await?;
    let namespace = suite.cluster.namespace(&suite.client).await?;
    let population = {
        let (suite, namespace) = (Arc::clone(&suite), namespace.clone());
        tokio::spawn(async move { populate(&suite, &namespace, 50, until).await })
    };
    let (mut killed, mut ended) = (0, 0);
    while Instant::now() < until && !population.is_finished() {
        let pause = Duration::from_millis(fastrand::u64(15_000..25_000));
        tokio::time::sleep(pause.min(until.saturating_duration_since(Instant::now()))).await;
        let now = holder(&suite).await?;
        let Some(at) = replicas.iter().position(|replica| replica.identity().is_ok_and(|it| it == now))
        else {
            // No leader just now.
            ended += suite.installation.restart_ended(&mut replicas)?;
            continue;
        };
        let mut leader = replicas.swap_remove(at);
        suite.installation.balance(&replicas);
        leader.signal(Signal::SIGKILL)?;
        leader.end(Duration::from_secs(5)).await?;
        killed += 1;
        replicas.push(suite.installation.start_ready().await?);
        suite.installation.balance(&replicas);
        ended += suite.installation.restart_ended(&mut replicas)?;
    }
    // The population lives on after the last kill.
    while !population.is_finished() {
        ended += suite.installation.restart_ended(&mut replicas)?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let lives = population.await??;
    println!("{killed} leaders killed, {ended} controllers ended by themselves");
    ensure!(killed >= 2);
    each_job_was_created_once_per_attempt(&suite, &namespace, since, &lives)?;
    one_writer_at_a_time(&suite, since)
}

async fn job_uids(suite: &Failover, namespace: &str) -> Result<BTreeMap<String, String>> {
    let jobs: Api<Job> = Api::namespaced(suite.client.clone(), namespace);
    let all = jobs.list(&ListParams::default()).await?;
    Ok(all.items.iter().map(|job| (job.name_any(), job.uid().unwrap_or_default())).collect())
}
