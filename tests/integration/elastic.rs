//! Jobs that grow and shrink with feature gate `ElasticJobSet`.

use std::sync::Arc;

use anyhow::Result;
use jobset_tests::wait::{TIMEOUT, wait_for};

use crate::Integration;
use crate::jobset::{LiveJobSet, counts};

pub(crate) async fn running_jobs_follow_their_template(suite: Arc<Integration>) -> Result<()> {
    let spec = "
replicatedJobs:
- {name: w, replicas: 2, template: {spec: {parallelism: 2, completions: 2}}}
- {name: fixed, template: {spec: {parallelism: 1, completions: 1}}}
";
    let jobset = LiveJobSet::create(&suite, "js", spec).await?;
    let ready = [counts("w", [2, 0, 0, 2, 0]), counts("fixed", [1, 0, 0, 1, 0])];
    jobset.counts_become(&ready).await?;
    let before = jobset.jobs_become(&["fixed-0@0", "w-0@0", "w-1@0"]).await?;
    // Without `parallelism` and `completions`, a Job has one pod.
    for (written, size) in [(Some(4), 4), (None, 1)] {
        jobset
            .edit(|spec| {
                let job = &mut spec["replicatedJobs"][0]["template"]["spec"];
                job["parallelism"] = written.into();
                job["completions"] = written.into();
            })
            .await?;
        let read = || jobset.jobs_become(&["fixed-0@0", "w-0@0", "w-1@0"]);
        let jobs = wait_for(&format!("{size} pods in each Job"), TIMEOUT, read, |jobs| {
            ["w-0", "w-1"].iter().all(|name| {
                let spec = jobs[*name].spec.clone().unwrap_or_default();
                let ready = jobs[*name].status.as_ref().and_then(|status| status.ready);
                [spec.parallelism, spec.completions, ready] == [Some(size); 3]
            })
        })
        .await?;
        for (name, job) in &jobs {
            assert_eq!(job.metadata.uid, before[name].metadata.uid, "Job {name} was replaced");
        }
        assert_eq!(jobs["fixed-0"].metadata.generation, before["fixed-0"].metadata.generation);
        jobset.counts_become(&ready).await?;
    }
    // A Job with one completion completes when its one pod succeeds.
    for job in ["w-0", "w-1", "fixed-0"] {
        jobset.succeed(job).await?;
    }
    jobset.status_when("completion", |status| status["terminalState"] == "Completed").await?;
    Ok(())
}
