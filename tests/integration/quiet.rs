//! How much the controller asks of the API server, counted in its audit log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use jobset_tests::wait::{holds_for, wait_for};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::Integration;
use crate::jobset::LiveJobSet;

/// A JobSet in which nothing happens costs nothing: neither while it runs, nor when it has finished, nor when
/// somebody touches it without a consequence.
pub(crate) async fn settled_jobset_causes_no_write(suite: Arc<Integration>) -> Result<()> {
    for (outcome, settled) in [("stay", "ready"), ("succeed", "succeeded")] {
        let spec = format!("{{replicatedJobs: [{}]}}", replicated_job("w", 3, outcome, "0s"));
        let jobset = LiveJobSet::create(&suite, "calm", &spec).await?;
        jobset
            .status_when("three Jobs that settled", |status| {
                status["replicatedJobsStatus"][0][settled] == 3
                    && (outcome == "stay" || !status["terminalState"].is_null())
            })
            .await?;
        // The event of a completion is written after the status.
        let writes = || async {
            let audit = suite.cluster.cluster().audit();
            audit.query().user(suite.controller.user()).writes().namespace(&jobset.namespace).count()
        };
        let quiet_before = wait_until_still(&writes).await?;
        let label = Patch::Merge(json!({ "metadata": { "labels": { "touched": "yes" } } }));
        jobset.api.patch("calm", &PatchParams::default(), &label).await?;
        holds_for("a settled JobSet causing no write", Duration::from_secs(5), writes, |now| {
            *now == quiet_before
        })
        .await?;
    }
    Ok(())
}

/// From creation to completion, R Jobs and one Service are R + 1 creates and at most 4 status writes; nothing is
/// done twice, refused, or found changed by somebody else.
pub(crate) async fn whole_life_of_few_jobs(suite: Arc<Integration>) -> Result<()> {
    whole_life(&suite, 4).await
}

pub(crate) async fn whole_life_of_many_jobs(suite: Arc<Integration>) -> Result<()> {
    whole_life(&suite, 20).await
}

async fn whole_life(suite: &Arc<Integration>, jobs: u32) -> Result<()> {
    let workers = replicated_job("worker", jobs - 1, "succeed", "3s");
    let spec = format!("{{replicatedJobs: [{}, {workers}]}}", replicated_job("leader", 1, "succeed", "3s"));
    let jobset = LiveJobSet::create(suite, "counted", &spec).await?;
    jobset
        .status_when("completion", |status| {
            status["terminalState"] == "Completed"
                && status["replicatedJobsStatus"][0]["succeeded"] == jobs - 1
        })
        .await?;
    let audit = suite.cluster.cluster().audit();
    let asked = || {
        let entries = audit.query().user(suite.controller.user()).namespace(&jobset.namespace).entries()?;
        let counted = entries.iter().fold(BTreeMap::<String, usize>::new(), |mut counted, entry| {
            let object = entry.object_ref.clone().unwrap_or_default();
            let resource = [object.resource, object.subresource].join("/");
            *counted.entry(format!("{} {resource} {}", entry.verb, entry.code())).or_default() += 1;
            counted
        });
        Ok::<_, anyhow::Error>(counted)
    };
    // The event is sent after the status is stored.
    wait_for(
        "the event",
        Duration::from_secs(10),
        || async { asked() },
        |asked| asked.contains_key("create events/ 201"),
    )
    .await?;
    let mut life = asked()?;
    holds_for("stillness after the end", Duration::from_secs(7), || async { asked() }, |now| *now == life)
        .await?;
    println!("{jobs} Jobs: {life:?}");
    let status_writes = life.remove("update jobsets/status 200").unwrap_or_default();
    assert!((1..=4).contains(&status_writes), "{status_writes} status writes");
    let jobs = usize::try_from(jobs)?;
    let expected = [("create jobs/ 201", jobs), ("create services/ 201", 1), ("create events/ 201", 1)];
    assert_eq!(life, expected.map(|(request, count)| (request.to_owned(), count)).into());
    Ok(())
}

/// A ReplicatedJob whose simulated pods end so by themselves, so long after they became Ready.
fn replicated_job(name: &str, replicas: u32, outcome: &str, after: &str) -> String {
    format!(
        "{{name: {name}, replicas: {replicas}, template: {{spec: {{template: {{metadata: {{annotations: {{
            devcluster.jobset.dev/outcome: {outcome}, devcluster.jobset.dev/after: {after}}}}}}}}}}}}}"
    )
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
