//! Creates, finishes and deletes many JobSets while a test disturbs controllers or the API server, and checks their
//! results.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jobset_tests::objects;
use jobset_tests::wait::{TIMEOUT, wait_for};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::Failover;
use crate::jobsets::{Outcome, create, status};

/// Longest time that a JobSet may take to finish. Each killed leader can delay it by a lease duration.
const LONGEST_RUN: Duration = Duration::from_mins(4);
/// Number of Jobs in each JobSet.
const JOBS: u32 = 3;

/// A JobSet that this module creates, and how its pods end.
#[derive(Debug)]
pub(crate) struct Run {
    name: String,
    outcome: Outcome,
}

/// Keeps `concurrency` JobSets running until this time, and waits until the last of them is finished.
pub(crate) async fn run_jobsets(
    suite: &Arc<Failover>,
    namespace: &str,
    concurrency: u32,
    until: Instant,
) -> Result<Vec<Run>> {
    let mut slots = JoinSet::new();
    for slot in 0..concurrency {
        let (suite, namespace) = (Arc::clone(suite), namespace.to_owned());
        slots.spawn(async move {
            let mut runs = Vec::new();
            while Instant::now() < until || runs.is_empty() {
                let number = u32::try_from(runs.len())?;
                let outcome = match (slot + number) % 3 {
                    0 => Outcome::Succeed(1 + slot % 4),
                    1 => Outcome::Fail(1 + slot % 2, 2),
                    _ => Outcome::Fail(1, 1),
                };
                let run = Run { name: format!("js-{slot}-{number}"), outcome };
                run.run_to_end(&suite, &namespace).await.with_context(|| format!("{run:?}"))?;
                runs.push(run);
            }
            anyhow::Ok(runs)
        });
    }
    let mut all = Vec::new();
    while let Some(runs) = slots.join_next().await {
        all.extend(runs??);
    }
    Ok(all)
}

impl Run {
    /// Creates the JobSet, waits until it is finished, and deletes it.
    async fn run_to_end(&self, suite: &Failover, namespace: &str) -> Result<()> {
        create(suite, namespace, &self.name, JOBS, self.outcome).await?;
        // Requests fail while the API server is unavailable. The pause limits the load of many concurrent runs.
        let observe = || async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            Ok(status(suite, namespace, &self.name).await.unwrap_or_default())
        };
        let ended =
            wait_for("a terminal state", LONGEST_RUN, observe, |status| !status["terminalState"].is_null())
                .await?;
        let (state, restarts) = self.expected_end();
        ensure!(ended["terminalState"] == state, "{ended:#}");
        ensure!(ended["restarts"].as_u64().unwrap_or_default() == u64::from(restarts), "{ended:#}");
        let object = json!({
            "apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet",
            "metadata": { "name": self.name, "namespace": namespace },
        });
        let object = serde_json::from_value(object)?;
        let delete =
            || async { Ok(objects::delete(&suite.client, &object).await.map_err(|error| error.to_string())) };
        wait_for("the JobSet to be deleted", TIMEOUT, delete, Result::is_ok).await.map(drop)
    }

    /// Its expected terminal state and number of restarts.
    fn expected_end(&self) -> (&'static str, u32) {
        match self.outcome {
            Outcome::Fail(_, restarts) => ("Failed", restarts),
            Outcome::Stay | Outcome::Succeed(_) => ("Completed", 0),
        }
    }
}

/// Checks in the audit log that no Job was created more often than its JobSet had attempts: once, if the JobSet
/// succeeded.
pub(crate) fn each_job_was_created_once_per_attempt(
    suite: &Failover,
    namespace: &str,
    since: Timestamp,
    runs: &[Run],
) -> Result<()> {
    let audit = suite.cluster.cluster().audit();
    let created = audit.query().user(suite.installation.user()).verb("create").resource("jobs");
    // If the client was killed while it waited for a response, the API server may have executed the request, whatever
    // code the audit log contains.
    let mut counts: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    for entry in created.namespace(namespace).since(since).entries()? {
        let code = entry.code();
        let name = entry.object_ref.map(|object| object.name).unwrap_or_default();
        let (confirmed, unconfirmed) = counts.entry(name).or_default();
        match code {
            201 => *confirmed += 1,
            400..500 => {}
            _ => *unconfirmed += 1,
        }
    }
    let mut total_restarts = 0;
    for run in runs {
        let (_, restarts) = run.expected_end();
        let of_jobs: Vec<(u32, u32)> = (0..JOBS)
            .map(|job| counts.remove(&format!("{}-w-{job}", run.name)).unwrap_or_default())
            .collect();
        total_restarts += restarts;
        let never_too_often = of_jobs.iter().all(|(confirmed, _)| *confirmed <= restarts + 1);
        let was_created = |(confirmed, unconfirmed): &(u32, u32)| confirmed + unconfirmed > 0;
        // An attempt can fail before all its Jobs are created.
        let often_enough = match run.outcome {
            Outcome::Fail(..) => of_jobs.iter().any(was_created),
            Outcome::Stay | Outcome::Succeed(_) => of_jobs.iter().all(was_created),
        };
        let as_expected = never_too_often && often_enough;
        ensure!(as_expected, "{run:?}: creations of its Jobs, confirmed and unconfirmed: {of_jobs:?}");
    }
    ensure!(counts.is_empty(), "Jobs that belong to no JobSet: {counts:?}");
    println!("{} JobSets finished, with {total_restarts} restarts, each counted once", runs.len());
    Ok(())
}

/// The number of restarts in a status.
pub(crate) fn restarts(status: &Value) -> u64 {
    status["restarts"].as_u64().unwrap_or_default()
}
