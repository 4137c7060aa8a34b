//! The in-place-restart-agent and an API server that stops and starts again.

use std::sync::Arc;

use anyhow::Result;
use jobset_tests::agent::Workload;
use jobset_tests::wait::{TIMEOUT, wait_for};

use crate::Failover;
use crate::jobsets::start_two;

pub(crate) async fn barrier_and_restart_survive_outages_of_the_api_server(
    suite: Arc<Failover>,
) -> Result<()> {
    // They serve the webhooks.
    let _replicas = start_two(&suite).await?;
    let workload = Workload::with_jobset(&suite.cluster, &suite.client).await?;
    let mut agent = workload.start(&suite.cluster, &[("IN_PLACE_RESTART_EXIT_CODE", "77")])?;
    workload.wait_for_annotation("0").await?;

    let start_again = suite.api_server()?.stop()?;
    agent.wait_for_log("cannot watch the JobSet: ").await?;
    assert!(agent.probe().await.is_err(), "the barrier holds while the API server is unavailable");
    start_again()?;
    set_status(&workload, None, Some(0)).await?;
    agent.wait_until_lifted().await?;

    let start_again = suite.api_server()?.stop()?;
    start_again()?;
    set_status(&workload, Some(0), Some(0)).await?;
    assert_eq!(agent.exit_code().await?, 77);

    // An agent that starts without an API server.
    let start_again = suite.api_server()?.stop()?;
    let agent = workload.start(&suite.cluster, &[])?;
    agent.wait_for_log("cannot connect to the API server at ").await?;
    start_again()?;
    wait_for(
        "attempt 1",
        TIMEOUT,
        || async { Ok(workload.annotation().await.ok().flatten()) },
        |it| it.as_deref() == Some("1"),
    )
    .await?;
    Ok(())
}

/// Sets the status as soon as the API server responds.
async fn set_status(workload: &Workload, previous: Option<i32>, current: Option<i32>) -> Result<()> {
    let set =
        || async { Ok(workload.set_status(previous, current).await.map_err(|error| error.to_string())) };
    wait_for("the API server to accept the status", TIMEOUT, set, Result::is_ok).await.map(drop)
}
