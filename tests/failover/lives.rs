//! Many JobSets that live and die, and what must be true of them afterwards, whatever happened to controllers and
//! API server meanwhile.

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
use crate::jobsets::{Fate, create, status};

/// Longest that one may take: a leader that is killed in the worst moment costs a lease, again and again.
const LONGEST_LIFE: Duration = Duration::from_mins(4);
/// Jobs of each.
const JOBS: u32 = 3;

/// One that has ended.
#[derive(Debug)]
pub(crate) struct Life {
    name: String,
    fate: Fate,
}

/// Keeps so many JobSets alive until then, and waits for the last of them to end.
pub(crate) async fn populate(
    suite: &Arc<Failover>,
    namespace: &str,
    at_a_time: u32,
    until: Instant,
) -> Result<Vec<Life>> {
    let mut places = JoinSet::new();
    for place in 0..at_a_time {
        let (suite, namespace) = (Arc::clone(suite), namespace.to_owned());
        places.spawn(async move {
            let mut lives = Vec::new();
            while Instant::now() < until || lives.is_empty() {
                let number = u32::try_from(lives.len())?;
                let fate = match (place + number) % 3 {
                    0 => Fate::Succeed(1 + place % 4),
                    1 => Fate::Fail(1 + place % 2, 2),
                    _ => Fate::Fail(1, 1),
                };
                let life = Life { name: format!("js-{place}-{number}"), fate };
                life.live(&suite, &namespace).await.with_context(|| format!("{life:?}"))?;
                lives.push(life);
            }
            anyhow::Ok(lives)
        });
    }
    let mut all = Vec::new();
    while let Some(lives) = places.join_next().await {
        all.extend(lives??);
    }
    Ok(all)
}

impl Life {
    /// Creates it, waits for its end, and deletes it.
    async fn live(&self, suite: &Failover, namespace: &str) -> Result<()> {
        create(suite, namespace, &self.name, JOBS, self.fate).await?;
        // While the API server is away nothing is seen. Many look: each takes its time.
        let look = || async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            Ok(status(suite, namespace, &self.name).await.unwrap_or_default())
        };
        let ended =
            wait_for("its end", LONGEST_LIFE, look, |status| !status["terminalState"].is_null()).await?;
        let (state, restarts) = self.end();
        ensure!(ended["terminalState"] == state, "{ended:#}");
        ensure!(ended["restarts"].as_u64().unwrap_or_default() == u64::from(restarts), "{ended:#}");
        let object = json!({
            "apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet",
            "metadata": { "name": self.name, "namespace": namespace },
        });
        let object = serde_json::from_value(object)?;
        let delete =
            || async { Ok(objects::delete(&suite.client, &object).await.map_err(|error| error.to_string())) };
        wait_for("its deletion", TIMEOUT, delete, Result::is_ok).await.map(drop)
    }

    /// How it has to end, and after how many restarts.
    fn end(&self) -> (&'static str, u32) {
        match self.fate {
            Fate::Fail(_, restarts) => ("Failed", restarts),
            Fate::Stay | Fate::Succeed(_) => ("Completed", 0),
        }
    }
}

/// From the audit log: no Job was created more often than its JobSet had attempts, and none of a JobSet that
/// succeeded more than once.
pub(crate) fn each_job_was_created_once_per_attempt(
    suite: &Failover,
    namespace: &str,
    since: Timestamp,
    lives: &[Life],
) -> Result<()> {
    let audit = suite.cluster.cluster().audit();
    let created = audit.query().user(suite.installation.user()).verb("create").resource("jobs");
    // A request whose client was killed while it waited may have had its effect, whatever the log says of it.
    let mut counts: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    for entry in created.namespace(namespace).since(since).entries()? {
        let code = entry.code();
        let name = entry.object_ref.map(|object| object.name).unwrap_or_default();
        let (surely, perhaps) = counts.entry(name).or_default();
        match code {
            201 => *surely += 1,
            400..500 => {}
            _ => *perhaps += 1,
        }
    }
    let mut restarts_seen = 0;
    for life in lives {
        let (_, restarts) = life.end();
        let of_jobs: Vec<(u32, u32)> = (0..JOBS)
            .map(|job| counts.remove(&format!("{}-w-{job}", life.name)).unwrap_or_default())
            .collect();
        restarts_seen += restarts;
        let never_too_often = of_jobs.iter().all(|(surely, _)| *surely <= restarts + 1);
        let was_created = |(surely, perhaps): &(u32, u32)| surely + perhaps > 0;
        // An attempt may fail before all its Jobs are there.
        let often_enough = match life.fate {
            Fate::Fail(..) => of_jobs.iter().any(was_created),
            Fate::Stay | Fate::Succeed(_) => of_jobs.iter().all(was_created),
        };
        let fits = never_too_often && often_enough;
        ensure!(fits, "{life:?}: its Jobs were created so often, surely and perhaps: {of_jobs:?}");
    }
    ensure!(counts.is_empty(), "created for no JobSet: {counts:?}");
    println!("{} JobSets lived and died, with {restarts_seen} restarts, each counted once", lives.len());
    Ok(())
}

/// What a status says of restarts.
pub(crate) fn restarts(status: &Value) -> u64 {
    status["restarts"].as_u64().unwrap_or_default()
}
