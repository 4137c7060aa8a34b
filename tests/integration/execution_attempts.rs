//! `status.executionAttempts`, and the annotation of Jobs and pods.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Result;
use jobset_tests::wait::{TIMEOUT, wait_for};
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::jobset::{LiveJobSet, counts, phase};
use crate::{Integration, prepare};

const GATE: &[(&str, bool)] = &[("ExecutionAttemptsTracking", true)];
const ANNOTATION: &str = "jobset.sigs.k8s.io/execution-attempt";
const READY: [i32; 5] = [2, 0, 0, 2, 0];
const SUSPENDED: [i32; 5] = [0, 0, 0, 0, 2];

/// Waits for these counters of `w`. Returns the number in the status.
async fn attempts(jobset: &LiveJobSet, of_w: [i32; 5]) -> Result<Value> {
    Ok(jobset.counts_become(&[counts("w", of_w)]).await?["executionAttempts"].clone())
}

/// Waits until two pods run. Returns all numbers of these pods, of the Jobs and of their pod templates.
async fn annotations(jobset: &LiveJobSet) -> Result<BTreeSet<Option<String>>> {
    let running = || async {
        let mut pods = jobset.pods.list(&ListParams::default()).await?.items;
        pods.retain(|pod| phase(pod) == "Running" && pod.metadata.deletion_timestamp.is_none());
        Ok(pods)
    };
    let pods = wait_for("two running pods", TIMEOUT, running, |pods| pods.len() == 2).await?;
    let mut numbers = annotations_of_jobs(jobset).await?;
    numbers.extend(pods.iter().map(|pod| pod.annotations().get(ANNOTATION).cloned()));
    Ok(numbers)
}

async fn annotations_of_jobs(jobset: &LiveJobSet) -> Result<BTreeSet<Option<String>>> {
    let jobs = jobset.jobs.list(&ListParams::default()).await?.items;
    assert_eq!(jobs.len(), 2);
    let of_job = |job: &k8s_openapi::api::batch::v1::Job| {
        let template = job.spec.clone().and_then(|spec| spec.template.metadata);
        let in_template = template.and_then(|template| template.annotations?.remove(ANNOTATION));
        [job.annotations().get(ANNOTATION).cloned(), in_template]
    };
    Ok(jobs.iter().flat_map(of_job).collect())
}

fn only(number: &str) -> BTreeSet<Option<String>> {
    [Some(number.to_owned())].into()
}

/// Each resume and each restart has a number of its own, and all pods of a run have its number.
pub(crate) async fn resumes_and_restarts_count(suite: Arc<Integration>) -> Result<()> {
    let spec = "{suspend: true, failurePolicy: {maxRestarts: 2}, replicatedJobs: [{name: w, replicas: 2}]}";
    let jobset = LiveJobSet::create(&suite, "js", spec).await?;
    assert_eq!(attempts(&jobset, SUSPENDED).await?, Value::Null);
    assert_eq!(annotations_of_jobs(&jobset).await?, [None].into());
    for run in ["0", "1", "2"] {
        jobset.suspend(false).await?;
        let number = run.parse::<i32>()?;
        let resumed = |status: &Value| status["executionAttempts"] == number;
        jobset.status_when(&format!("run {run}"), resumed).await?;
        assert_eq!(attempts(&jobset, READY).await?, number);
        assert_eq!(annotations(&jobset).await?, only(run));
        if run != "2" {
            jobset.suspend(true).await?;
            assert_eq!(attempts(&jobset, SUSPENDED).await?, number);
            assert_eq!(annotations_of_jobs(&jobset).await?, only(run), "suspended Jobs do not change");
        }
    }
    jobset.fail("w-0").await?;
    jobset.status_when("the restart", |status| status["restarts"] == 1).await?;
    assert_eq!(attempts(&jobset, READY).await?, json!(3));
    assert_eq!(annotations(&jobset).await?, only("3"));
    Ok(())
}

/// Without the gate, the number stays as it is. With the gate again, it continues.
pub(crate) async fn gate_can_be_disabled_and_enabled_again(suite: Arc<Integration>) -> Result<()> {
    let suite = Arc::new(prepare(suite.cluster.clone(), GATE).await?);
    let jobset = LiveJobSet::create(&suite, "js", "{replicatedJobs: [{name: w, replicas: 2}]}").await?;
    assert_eq!(attempts(&jobset, READY).await?, 0);
    assert_eq!(annotations(&jobset).await?, only("0"));

    let suite = Arc::new(prepare(suite.cluster.clone(), &[]).await?);
    let jobset = jobset.with(&suite);
    for suspend in [true, false] {
        jobset.suspend(suspend).await?;
        assert_eq!(attempts(&jobset, if suspend { SUSPENDED } else { READY }).await?, 0);
    }
    assert_eq!(annotations(&jobset).await?, only("0"));

    let suite = Arc::new(prepare(suite.cluster.clone(), GATE).await?);
    let jobset = jobset.with(&suite);
    for (suspend, of_w, number) in [(true, SUSPENDED, 0), (false, READY, 1)] {
        jobset.suspend(suspend).await?;
        assert_eq!(attempts(&jobset, of_w).await?, number);
    }
    assert_eq!(annotations(&jobset).await?, only("1"));
    Ok(())
}
