//! `spec.activeDeadlineSeconds` and `status.startTime`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use jobset_tests::wait::{TIMEOUT, holds_for, wait_for};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::jobset::{LiveJobSet, counts};
use crate::{Integration, prepare};

const GATE: &[(&str, bool)] = &[("JobSetActiveDeadlineSeconds", true)];

fn start_time(status: &Value) -> Result<Timestamp> {
    Ok(status["startTime"].as_str().context("the JobSet has no start time")?.parse()?)
}

/// The current time in whole seconds, like a time in a status.
fn now() -> Result<Timestamp> {
    Ok(Timestamp::from_second(Timestamp::now().as_second())?)
}

async fn started(jobset: &LiveJobSet, since: Timestamp) -> Result<Timestamp> {
    let is_later = |status: &Value| start_time(status).is_ok_and(|start| start >= since);
    start_time(&jobset.status_when(&format!("a start time since {since}"), is_later).await?)
}

fn exceeded(seconds: u32) -> String {
    format!("JobSet was active for longer than the specified deadline of {seconds} seconds")
}

/// The JobSet fails at its deadline and not before, although nothing else happens. Its Jobs are deleted. The failure
/// policy does not restart it.
pub(crate) async fn running_jobset_fails_at_its_deadline(suite: Arc<Integration>) -> Result<()> {
    let spec = "{activeDeadlineSeconds: 3, failurePolicy: {maxRestarts: 3}, replicatedJobs: [{name: w, replicas: 2}]}";
    let jobset = LiveJobSet::create(&suite, "js", spec).await?;
    let status = jobset.conditions_become(&[["Failed", "True", "DeadlineExceeded", &exceeded(3)]]).await?;
    let failed: Timestamp = status["conditions"][0]["lastTransitionTime"].as_str().unwrap_or("").parse()?;
    let started = start_time(&status)?;
    assert!(failed >= started + Duration::from_secs(3), "started {started}, failed {failed}");
    assert_eq!((&status["terminalState"], &status["restarts"]), (&json!("Failed"), &json!(0)));
    jobset.jobs_become(&[]).await?;
    jobset.events_become(&[&format!("Warning DeadlineExceeded: {}", exceeded(3))]).await
}

/// Suspended time does not count, and a resume begins a new time. A shorter deadline applies at once.
pub(crate) async fn suspension_stops_the_deadline(suite: Arc<Integration>) -> Result<()> {
    let before = now()?;
    let spec = "{activeDeadlineSeconds: 3600, replicatedJobs: [{name: w}]}";
    let jobset = LiveJobSet::create(&suite, "js", spec).await?;
    started(&jobset, before).await?;
    jobset.counts_become(&[counts("w", [1, 0, 0, 1, 0])]).await?;

    jobset.suspend(true).await?;
    jobset.status_when("no start time", |status| status["startTime"].is_null()).await?;
    jobset.edit(|spec| spec["activeDeadlineSeconds"] = 1.into()).await?;
    let terminal = || async {
        Ok(jobset.get().await?.is_some_and(|jobset| !jobset.data["status"]["terminalState"].is_null()))
    };
    holds_for("an unfinished JobSet", Duration::from_secs(2), terminal, |terminal| !terminal).await?;

    jobset.edit(|spec| spec["activeDeadlineSeconds"] = 3600.into()).await?;
    jobset.counts_become(&[counts("w", [0, 0, 0, 0, 1])]).await?;
    let resumed = now()?;
    jobset.suspend(false).await?;
    started(&jobset, resumed).await?;
    jobset.counts_become(&[counts("w", [1, 0, 0, 1, 0])]).await?;

    jobset.edit(|spec| spec["activeDeadlineSeconds"] = 1.into()).await?;
    jobset.status_when("failure", |status| status["terminalState"] == "Failed").await?;
    jobset.event("DeadlineExceeded", |event| event.note == Some(exceeded(1))).await?;
    Ok(())
}

/// The restart of all Jobs begins a new time, and the restart of one Job does not.
pub(crate) async fn restart_of_all_jobs_begins_a_new_time(suite: Arc<Integration>) -> Result<()> {
    let spec = "
activeDeadlineSeconds: 3600
failurePolicy: {maxRestarts: 2, rules: [{name: single, action: RestartJob, targetReplicatedJobs: [w]}]}
replicatedJobs: [{name: leader}, {name: w}]
";
    let jobset = LiveJobSet::create(&suite, "js", spec).await?;
    let ready = [counts("w", [1, 0, 0, 1, 0]), counts("leader", [1, 0, 0, 1, 0])];
    let first = start_time(&jobset.counts_become(&ready).await?)?;
    // A start time is in whole seconds, so the times of the restarts must differ.
    let later = || async { now() };
    wait_for("a later second", TIMEOUT, later, |now| *now > first).await?;

    jobset.fail("w-0").await?;
    let restarted = |status: &Value| status["replicatedJobsStatus"][0]["jobRestarts"] == json!([1]);
    let status = jobset.status_when("the restart of one Job", restarted).await?;
    assert_eq!(start_time(&status)?, first);

    let failed = now()?;
    jobset.fail("leader-0").await?;
    jobset.status_when("the restart of all Jobs", |status| status["restarts"] == 1).await?;
    assert!(started(&jobset, failed).await? > first);
    Ok(())
}

/// Both happen while no controller runs: a Job succeeds, and the deadline passes.
pub(crate) async fn expired_jobset_that_succeeded_completes(suite: Arc<Integration>) -> Result<()> {
    let spec = "{activeDeadlineSeconds: 3600, successPolicy: {operator: Any}, replicatedJobs: [{name: w, replicas: 2}]}";
    let succeeds = LiveJobSet::create(&suite, "succeeds", spec).await?;
    let fails = LiveJobSet::create(&suite, "fails", spec).await?;
    let both = [(&succeeds, "succeeds-w-0"), (&fails, "fails-w-0")];
    for (jobset, _) in both {
        jobset.counts_become(&[counts("w", [2, 0, 0, 2, 0])]).await?;
    }
    suite.controller.stop()?;
    succeeds.succeed("w-0").await?;
    fails.fail("w-0").await?;
    for (jobset, job) in both {
        let conditions = || async { Ok(json!(jobset.jobs.get(job).await?.status)) };
        wait_for("the Job to finish", TIMEOUT, conditions, |status| {
            let conditions = status["conditions"].as_array().into_iter().flatten();
            conditions.into_iter().any(|it| it["type"] == "Complete" || it["type"] == "Failed")
        })
        .await?;
        let two_hours_ago = now()? - Duration::from_hours(2);
        let status = Patch::Merge(json!({"status": {"startTime": two_hours_ago}}));
        jobset.api.patch_status(&jobset.name, &PatchParams::default(), &status).await?;
    }
    let suite = prepare(suite.cluster.clone(), GATE).await?.into();
    let completed = ["Completed", "True", "AllJobsCompleted", "jobset completed successfully"];
    succeeds.with(&suite).conditions_become(&[completed]).await?;
    // The failed Job alone would fail the JobSet, too, for another reason.
    let exceeded = exceeded(3600);
    fails.with(&suite).conditions_become(&[["Failed", "True", "DeadlineExceeded", &exceeded]]).await?;
    Ok(())
}

/// Without the gate, a stored deadline has no effect and can only stay or be removed. With the gate again, a new time
/// begins.
pub(crate) async fn gate_can_be_disabled_and_enabled_again(suite: Arc<Integration>) -> Result<()> {
    let suite = Arc::new(prepare(suite.cluster.clone(), GATE).await?);
    let spec = "{activeDeadlineSeconds: 3600, replicatedJobs: [{name: w}]}";
    let jobset = LiveJobSet::create(&suite, "js", spec).await?;
    started(&jobset, Timestamp::UNIX_EPOCH).await?;

    let suite = Arc::new(prepare(suite.cluster.clone(), &[]).await?);
    let jobset = jobset.with(&suite);
    jobset.status_when("no start time", |status| status["startTime"].is_null()).await?;
    let shorter = json!({"spec": {"activeDeadlineSeconds": 1}});
    let refused = jobset.api.patch(&jobset.name, &PatchParams::default(), &Patch::Merge(&shorter)).await;
    let message = refused.err().context("the API server accepted the deadline")?.to_string();
    let expected = "spec.activeDeadlineSeconds: Invalid value: 1: cannot be set when JobSetActiveDeadlineSeconds \
                    feature gate is disabled";
    assert!(message.contains(expected), "{message}");
    let other = json!({"spec": {"activeDeadlineSeconds": 3600, "ttlSecondsAfterFinished": 3600}});
    jobset.api.patch(&jobset.name, &PatchParams::default(), &Patch::Merge(&other)).await?;
    jobset.jobs_stay(&["w-0@0"]).await?;

    let enabled = now()?;
    let suite = Arc::new(prepare(suite.cluster.clone(), GATE).await?);
    let jobset = jobset.with(&suite);
    started(&jobset, enabled).await?;
    jobset.edit(|spec| spec["activeDeadlineSeconds"] = 1.into()).await?;
    jobset.status_when("failure", |status| status["terminalState"] == "Failed").await?;
    Ok(())
}
