//! How much the controller asks of the API server, counted in its audit log.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use jobset_tests::objects;
use jobset_tests::wait::holds_for;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::Integration;
use crate::children::create;
use crate::lifecycle::{replicated_job, wait_for_status};

/// A JobSet in which nothing happens costs nothing: neither while it runs, nor when it has finished, nor when
/// somebody touches it without a consequence.
pub(crate) async fn settled_jobset_causes_no_write(suite: Arc<Integration>) -> Result<()> {
    for (outcome, settled) in [("stay", "ready"), ("succeed", "succeeded")] {
        let namespace = suite.cluster.namespace(&suite.client).await?;
        let spec = format!("{{replicatedJobs: [{}]}}", replicated_job("w", 3, outcome, "0s"));
        let created = create(&suite, &namespace, "calm", &spec).await?;
        wait_for_status(&suite, &created, "the JobSet to settle", |status| {
            status["replicatedJobsStatus"][0][settled] == 3
                && (outcome == "stay" || !status["terminalState"].is_null())
        })
        .await?;
        // The event of a completion is written after the status.
        let writes = || async {
            let audit = suite.cluster.cluster().audit();
            audit.query().user(suite.controller.user()).writes().namespace(&namespace).count()
        };
        let quiet_before = wait_until_still(&writes).await?;
        let label = Patch::Merge(json!({ "metadata": { "labels": { "touched": "yes" } } }));
        objects::api_of(&suite.client, &created)
            .await?
            .patch("calm", &PatchParams::default(), &label)
            .await?;
        holds_for("a settled JobSet causing no write", Duration::from_secs(5), writes, |now| {
            *now == quiet_before
        })
        .await?;
    }
    Ok(())
}

/// R Jobs and one Service are R + 1 requests, and nothing is created twice or refused.
pub(crate) async fn each_child_is_created_once(suite: Arc<Integration>) -> Result<()> {
    let namespace = suite.cluster.namespace(&suite.client).await?;
    let jobs = 20;
    let spec = format!("{{replicatedJobs: [{}]}}", replicated_job("w", jobs, "stay", "0s"));
    let created = create(&suite, &namespace, "counted", &spec).await?;
    wait_for_status(&suite, &created, "all Jobs to be ready", |status| {
        status["replicatedJobsStatus"][0]["ready"] == jobs
    })
    .await?;
    let audit = suite.cluster.cluster().audit();
    let asked = |resource: &str| {
        audit
            .query()
            .user(suite.controller.user())
            .verb("create")
            .namespace(&namespace)
            .resource(resource)
            .count()
    };
    assert_eq!((asked("jobs")?, asked("services")?), (20, 1));
    let refused = audit.query().user(suite.controller.user()).namespace(&namespace).entries()?;
    let refused: Vec<_> = refused.iter().filter(|entry| entry.code() >= 400).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    Ok(())
}

/// The number of writes when it has not grown for two seconds.
async fn wait_until_still<Counting>(count: &impl Fn() -> Counting) -> Result<usize>
where
    Counting: Future<Output = Result<usize>>,
{
    let mut last = count().await?;
    loop {
        match holds_for("stillness", Duration::from_secs(2), count, |now| *now == last).await {
            Ok(()) => return Ok(last),
            Err(_) => last = count().await?,
        }
    }
}
