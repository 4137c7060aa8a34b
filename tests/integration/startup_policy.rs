//! `spec.startupPolicy` with order InOrder: each ReplicatedJob waits for the previous one.

use std::sync::Arc;

use anyhow::Result;

use crate::Integration;
use crate::jobset::{LiveJobSet, UNREADY};

const MESSAGE: &str = "in order startup policy is in progress";
const COMPLETE: &str = "in order startup policy has completed";
const IN_PROGRESS: [&str; 4] = ["StartupPolicyInProgress", "True", "InOrderStartupPolicyInProgress", MESSAGE];
const NO_MORE: [&str; 4] = ["StartupPolicyInProgress", "False", "InOrderStartupPolicyInProgress", MESSAGE];
const COMPLETED: [&str; 4] = ["StartupPolicyCompleted", "True", "InOrderStartupPolicyCompleted", COMPLETE];
const NOT_YET: [&str; 4] = ["StartupPolicyCompleted", "False", "InOrderStartupPolicyCompleted", COMPLETE];

fn spec(more: &str) -> String {
    format!(
        "
{more}
startupPolicy: {{startupPolicyOrder: InOrder}}
replicatedJobs:
- {{name: leader, template: {UNREADY}}}
- {{name: w, replicas: 2, template: {UNREADY}}}
- {{name: tail}}
"
    )
}

pub(crate) async fn replicated_jobs_start_in_order(suite: Arc<Integration>) -> Result<()> {
    let jobset = LiveJobSet::create(&suite, "js", &spec("failurePolicy: {maxRestarts: 1}")).await?;
    start(&jobset, 0, &[], &[]).await?;
    jobset.conditions_become(&[NO_MORE, COMPLETED]).await?;
    jobset
        .events_become(&[
            &format!("Normal InOrderStartupPolicyInProgress: {MESSAGE}"),
            &format!("Normal InOrderStartupPolicyCompleted: {COMPLETE}"),
        ])
        .await?;

    // A restart begins with the first ReplicatedJob.
    jobset.fail("w-0").await?;
    let message = "applying RestartJobSet failure policy action (first failed job: js-w-0)";
    let restarting = ["RestartingJobSet", "True", "DefaultFailurePolicy", message];
    start(&jobset, 1, &[NOT_YET], &[restarting]).await?;
    let ready = ["RestartingJobSet", "False", "JobsReady", "all jobs are ready"];
    jobset.conditions_become(&[NO_MORE, COMPLETED, ready]).await?;
    Ok(())
}

/// Makes the Jobs ready in order. Meanwhile, the JobSet has the conditions `IN_PROGRESS`, `before` and `after`.
async fn start(jobset: &LiveJobSet, attempt: u32, before: &[[&str; 4]], after: &[[&str; 4]]) -> Result<()> {
    let jobs = |names: &[&str]| names.iter().map(|name| format!("{name}@{attempt}")).collect::<Vec<_>>();
    let conditions = [&[IN_PROGRESS], before, after].concat();
    let mut existing = vec!["leader-0"];
    for (ready, next) in [("leader-0", &["w-0", "w-1"][..]), ("w-1", &[]), ("w-0", &["tail-0"])] {
        let expected = jobs(&existing);
        jobset.jobs_stay(&expected.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        jobset.conditions_become(&conditions).await?;
        jobset.make_ready(ready).await?;
        existing.extend(next);
        existing.sort_unstable();
    }
    let expected = jobs(&existing);
    jobset.jobs_become(&expected.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    Ok(())
}

/// All Jobs of a suspended JobSet exist. The controller resumes them in order. The JobSet has condition Suspended until
/// all Jobs are resumed.
pub(crate) async fn suspended_jobset_resumes_in_order(suite: Arc<Integration>) -> Result<()> {
    let jobset = LiveJobSet::create(&suite, "js", &spec("suspend: true")).await?;
    let suspended = ["Suspended", "True", "SuspendedJobs", "jobset is suspended"];
    jobset
        .jobs_stay(&["leader-0@0 suspended", "tail-0@0 suspended", "w-0@0 suspended", "w-1@0 suspended"])
        .await?;
    jobset.conditions_become(&[suspended]).await?;

    jobset.suspend(false).await?;
    jobset.jobs_stay(&["leader-0@0", "tail-0@0 suspended", "w-0@0 suspended", "w-1@0 suspended"]).await?;
    jobset.conditions_become(&[suspended, IN_PROGRESS]).await?;
    jobset.make_ready("leader-0").await?;
    jobset.jobs_stay(&["leader-0@0", "tail-0@0 suspended", "w-0@0", "w-1@0"]).await?;
    jobset.conditions_become(&[suspended, IN_PROGRESS]).await?;
    jobset.make_ready("w-0").await?;
    jobset.make_ready("w-1").await?;
    jobset.jobs_become(&["leader-0@0", "tail-0@0", "w-0@0", "w-1@0"]).await?;
    let resumed = ["Suspended", "False", "ResumeJobs", "jobset is resumed"];
    jobset.conditions_become(&[resumed, NO_MORE, COMPLETED]).await?;
    Ok(())
}
