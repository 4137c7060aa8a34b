//! The number of requests that the controller sends, counted in the API server's audit log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use jobset_tests::wait::{holds_for, wait_for};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::Integration;
use crate::jobset::LiveJobSet;

/// A settled JobSet causes no write, whether it runs or is finished, and also when a user changes one of its labels.
pub(crate) async fn settled_jobset_causes_no_write(suite: Arc<Integration>) -> Result<()> {
    for (outcome, settled) in [("stay", "ready"), ("succeed", "succeeded")] {
        let spec = format!("{{replicatedJobs: [{}]}}", replicated_job("w", 3, outcome, "0s"));
        let jobset = LiveJobSet::create(&suite, "settled", &spec).await?;
        jobset
            .status_when("three Jobs that settled", |status| {
                status["replicatedJobsStatus"][0][settled] == 3
                    && (outcome == "stay" || !status["terminalState"].is_null())
            })
            .await?;
        // The controller sends the event of a completion after it has stored the status.
        let writes = || async {
            let audit = suite.cluster.cluster().audit();
            audit.query().user(suite.controller.user()).writes().namespace(&jobset.namespace).count()
        };
        let before = wait_until_settled(&writes).await?;
        let label = Patch::Merge(json!({ "metadata": { "labels": { "touched": "yes" } } }));
        jobset.api.patch("settled", &PatchParams::default(), &label).await?;
        holds_for("no write for a settled JobSet", Duration::from_secs(5), writes, |now| *now == before)
            .await?;
    }
    Ok(())
}

/// From creation to completion, a JobSet with R Jobs and one Service causes R + 1 creations, one event, and two status
/// writes that cannot wait: when all Jobs are ready, and at the end. No request is repeated or rejected, and no update
/// has a conflict.
pub(crate) async fn small_jobset_causes_minimal_writes(suite: Arc<Integration>) -> Result<()> {
    expect_minimal_writes(&suite, 4, "", 2, 0).await
}

pub(crate) async fn large_jobset_causes_minimal_writes(suite: Arc<Integration>) -> Result<()> {
    expect_minimal_writes(&suite, 20, "", 2, 0).await
}

/// With the gates of deadlines and execution attempts, one more status write stores the start.
pub(crate) async fn jobset_with_a_deadline_causes_minimal_writes(suite: Arc<Integration>) -> Result<()> {
    expect_minimal_writes(&suite, 4, "activeDeadlineSeconds: 3600, ", 3, 0).await
}

/// `fields` are part of the spec, and cause this number of PodGroups. The controller sends `urgent_status_writes` at
/// once. Other counts are stored after at least five seconds without a write, however long the Jobs take.
pub(crate) async fn expect_minimal_writes(
    suite: &Arc<Integration>,
    jobs: u32,
    fields: &str,
    urgent_status_writes: usize,
    groups: usize,
) -> Result<()> {
    let workers = replicated_job("worker", jobs - 1, "succeed", "3s");
    let leader = replicated_job("leader", 1, "succeed", "3s");
    let spec = format!("{{{fields}replicatedJobs: [{leader}, {workers}]}}");
    let created = Instant::now();
    let jobset = LiveJobSet::create(suite, "counted", &spec).await?;
    jobset
        .status_when("completion", |status| {
            status["terminalState"] == "Completed"
                && status["replicatedJobsStatus"][0]["succeeded"] == jobs - 1
        })
        .await?;
    let intervals = usize::try_from(created.elapsed().as_secs() / 5)?;
    let most_status_writes = urgent_status_writes + 1 + intervals;
    let audit = suite.cluster.cluster().audit();
    let requests = || {
        let entries = audit.query().user(suite.controller.user()).namespace(&jobset.namespace).entries()?;
        let counted = entries.iter().fold(BTreeMap::<String, usize>::new(), |mut counted, entry| {
            let object = entry.object_ref.clone().unwrap_or_default();
            let resource = [object.resource, object.subresource].join("/");
            *counted.entry(format!("{} {resource} {}", entry.verb, entry.code())).or_default() += 1;
            counted
        });
        Ok::<_, anyhow::Error>(counted)
    };
    // The controller sends the event after it has stored the status.
    wait_for(
        "the event",
        Duration::from_secs(10),
        || async { requests() },
        |requests| requests.contains_key("create events/ 201"),
    )
    .await?;
    let mut sent = requests()?;
    holds_for("no more requests", Duration::from_secs(7), || async { requests() }, |now| *now == sent)
        .await?;
    println!("{jobs} Jobs: {sent:?}");
    let status_writes = sent.remove("update jobsets/status 200").unwrap_or_default();
    assert!(
        (1..=most_status_writes).contains(&status_writes),
        "{status_writes} of {most_status_writes} status writes"
    );
    // Condition GangScheduled causes an event when it is False, and when it is True.
    let events = sent.remove("create events/ 201").unwrap_or_default();
    let workloads = groups.min(1);
    assert!((1..=1 + 2 * workloads).contains(&events), "{events} events");
    let jobs = usize::try_from(jobs)?;
    let expected = [
        ("create jobs/ 201", jobs),
        ("create services/ 201", 1),
        ("create workloads/ 201", workloads),
        ("create podgroups/ 201", groups),
        ("delete workloads/ 200", workloads),
        ("delete podgroups/ 200", groups),
    ];
    let expected = expected.into_iter().filter(|(_, count)| *count > 0);
    assert_eq!(sent, expected.map(|(request, count)| (request.to_owned(), count)).collect());
    Ok(())
}

/// A ReplicatedJob whose simulated pods end with this outcome, this time after they become Ready.
fn replicated_job(name: &str, replicas: u32, outcome: &str, after: &str) -> String {
    format!(
        "{{name: {name}, replicas: {replicas}, template: {{spec: {{template: {{metadata: {{annotations: {{
            devcluster.jobset.dev/outcome: {outcome}, devcluster.jobset.dev/after: {after}}}}}}}}}}}}}"
    )
}

/// Waits until the count does not change for two seconds. Returns the count.
async fn wait_until_settled<Counting>(count: &impl Fn() -> Counting) -> Result<usize>
where
    Counting: Future<Output = Result<usize>>,
{
    let mut last = count().await?;
    loop {
        match holds_for("a constant count", Duration::from_secs(2), count, |now| *now == last).await {
            Ok(()) => return Ok(last),
            Err(_) => last = count().await?,
        }
    }
}
