//! Exclusive placement with feature gate `LeaderFirstPlacement`: a Job starts with its leader pod.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use jobset_tests::wait::{TIMEOUT, wait_for};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams};

use crate::Integration;
use crate::jobset::LiveJobSet;
use crate::placement::{JOB_CONTROLLER, all_bound, check_exclusive, placed, racks, spec};

const LEADER_FIRST: &str = "jobset.sigs.k8s.io/leader-first";

/// Deletes the nodes of [`racks`], which other tests do not need.
async fn delete_racks(suite: &Integration, key: &str) -> Result<()> {
    let api: Api<Node> = Api::all(suite.client.clone());
    api.delete_collection(&DeleteParams::default(), &ListParams::default().labels(key)).await?;
    Ok(())
}

/// Places Jobs, prints the time until all pods are bound, and returns the number of denied creations.
async fn place(suite: &Arc<Integration>, gate: &str, jobs: usize, pods: usize) -> Result<usize> {
    let key = format!("leader-first.example/{gate}-{jobs}-{pods}");
    racks(suite, &key, jobs, jobs * 10).await?;
    let jobset = LiveJobSet::create(suite, "train", &spec(&placed(&key, jobs, pods, ""))).await?;
    let began = Instant::now();
    let bound = all_bound(suite, &jobset, &key, jobs, pods).await?;
    let time = began.elapsed();
    check_exclusive(&bound, jobs)?;
    let audit = suite.cluster.cluster().audit();
    let creations = audit.query().user(JOB_CONTROLLER).verb("create").resource("pods");
    let denied = creations.namespace(&jobset.namespace).filter(|entry| entry.code() >= 400).count()?;
    println!("{jobs} racks of {pods} pods, gate {gate}: bound after {time:?}, {denied} pod creations denied");
    jobset.delete().await?;
    delete_racks(suite, &key).await?;
    Ok(denied)
}

/// Without the gate, the creation of a follower waits for the leader. Without that wait, admission denies followers of
/// almost every Job. On a busy machine, a leader can take longer.
pub(crate) async fn followers_wait_for_leaders_without_the_gate(suite: Arc<Integration>) -> Result<()> {
    let denied = place(&suite, "off", 20, 10).await?;
    ensure!(denied <= 10, "{denied} creations of 20 Jobs were denied");
    Ok(())
}

pub(crate) async fn followers_are_never_denied(suite: Arc<Integration>) -> Result<()> {
    for (jobs, pods) in [(20, 10), (20, 50)] {
        let denied = place(&suite, "on", jobs, pods).await?;
        ensure!(denied == 0, "{denied} creations of {jobs} Jobs with {pods} pods were denied");
    }
    Ok(())
}

/// `parallelism` and `completions` of each Job, and whether it has its leader alone.
async fn sizes(jobset: &LiveJobSet) -> Result<Vec<(Option<i32>, Option<i32>, bool)>> {
    let size = |job: Job| {
        let marked = job.annotations().contains_key(LEADER_FIRST);
        let spec = job.spec.unwrap_or_default();
        (spec.parallelism, spec.completions, marked)
    };
    Ok(jobset.jobs.list(&ListParams::default()).await?.into_iter().map(size).collect())
}

/// The leaders wait for a node. Meanwhile, a user suspends and resumes the JobSet, and changes its size.
pub(crate) async fn waiting_jobs_can_be_suspended_and_scaled(suite: Arc<Integration>) -> Result<()> {
    let key = "leader-first.example/waiting";
    let jobset = LiveJobSet::create(&suite, "js", &spec(&placed(key, 2, 3, ""))).await?;
    let become_size = async |what: &str, expected: (i32, i32, bool)| {
        let expected = vec![(Some(expected.0), Some(expected.1), expected.2); 2];
        let read = || sizes(&jobset);
        wait_for(what, TIMEOUT, read, |sizes| *sizes == expected).await.map(drop)
    };
    become_size("Jobs with their leader alone", (1, 3, true)).await?;
    jobset.jobs_become(&["w-0@0", "w-1@0"]).await?;
    let leaders = || async { Ok(jobset.pods.list(&ListParams::default()).await?.items.len()) };
    wait_for("the leaders", TIMEOUT, leaders, |count| *count == 2).await?;

    jobset.suspend(true).await?;
    jobset.jobs_become(&["w-0@0 suspended", "w-1@0 suspended"]).await?;
    jobset.suspend(false).await?;
    jobset.jobs_become(&["w-0@0", "w-1@0"]).await?;
    become_size("Jobs with their leader alone", (1, 3, true)).await?;
    jobset
        .edit(|spec| {
            let job = &mut spec["replicatedJobs"][0]["template"]["spec"];
            (job["parallelism"], job["completions"]) = (4.into(), 4.into());
        })
        .await?;
    racks(&suite, key, 2, 4).await?;
    check_exclusive(&all_bound(&suite, &jobset, key, 2, 4).await?, 2)?;
    become_size("all pods, and no annotation", (4, 4, false)).await?;
    jobset.delete().await?;
    delete_racks(&suite, key).await
}
