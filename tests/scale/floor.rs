//! The floor: the steps of a scenario without a controller. Plain parallel requests take the place of the controller's
//! writes.

use anyhow::{Result, bail};
use devcluster::progress::Step as Bar;
use jiff::Timestamp;
use jobset_tests::objects;
use jobset_tests::wait::{TIMEOUT, wait_for};
use kube::Client;
use kube::api::ListParams;
use serde_json::json;

use crate::generator::{self, NAMESPACE};
use crate::requests;
use crate::result::{PhaseResult, Run};
use crate::scenario::{Load, Scenario, Step};
use crate::series::seconds;
use crate::steps::{self, Performed, Workload};

/// Whether this step has a floor.
fn has_floor(step: &Step) -> bool {
    match step {
        Step::Create {}
        | Step::FailOneJob {}
        | Step::Suspend {}
        | Step::Resume {}
        | Step::Complete {}
        | Step::Admission { .. } => true,
        Step::Settle { .. } | Step::RestartController {} | Step::FailOver {} | Step::Churn {} => false,
    }
}

/// Performs those steps that have a floor.
pub(crate) async fn run(client: &Client, scenario: &Scenario, load: Load, bar: &Bar) -> Result<Run> {
    if scenario.steps.iter().any(|step| matches!(step, Step::Admission { .. })) {
        serve_job_sets(client, scenario, &load).await?;
    }
    requests::create(&steps::api_of(client, NAMESPACE, "", "v1", "Service"), &generator::services(&load)?)
        .await?;
    let mut run = Run::default();
    let workload = Workload::of_jobs(client, scenario, load, generator::jobs(scenario, &load)?).await?;
    for step in scenario.steps.iter().filter(|step| has_floor(step)) {
        bar.message(step.name());
        let performed = perform(&workload, step, bar).await?;
        run.phases.push(PhaseResult {
            name: step.name().to_owned(),
            time: seconds(performed.started, performed.ended),
            job_writes_time: performed.last_write.map(|last| seconds(performed.started, last)),
            latency: performed.latency,
            ..PhaseResult::default()
        });
    }
    Ok(run)
}

/// Applies the CRD, without webhooks, and waits until the API server accepts JobSets.
async fn serve_job_sets(client: &Client, scenario: &Scenario, load: &Load) -> Result<()> {
    for object in objects::read_folder(&objects::repository().join("manifests/crds"))? {
        objects::apply(client, &object, "kubectl").await?;
    }
    let job_set = serde_json::from_value(generator::job_set(scenario, load, "first")?)?;
    let create = || async { Ok(objects::create(client, NAMESPACE, &job_set, true).await) };
    wait_for("the API server to accept JobSets", TIMEOUT, create, Result::is_ok).await.map(drop)
}

/// Sends the writes of Jobs that a controller would send, and waits for the same end of the step.
async fn perform(workload: &Workload, step: &Step, bar: &Bar) -> Result<Performed> {
    let jobs = u64::from(workload.load.jobs());
    let names = requests::names(&workload.objects);
    let mut performed = Performed { started: Timestamp::now(), ..Performed::default() };
    match step {
        Step::Create {} => {
            requests::create(&workload.api, &workload.objects).await?;
            performed.last_write = Some(Timestamp::now());
            workload.until("ready Jobs", bar, (jobs, |it| it.ready), |it| it.ready == jobs).await?;
        }
        // The controller cannot create a Job again before the garbage collector has deleted its predecessor.
        Step::FailOneJob {} => {
            requests::delete(&workload.api, &names).await?;
            workload.until("the deletion of the Jobs", bar, (0, |_| 0), |it| it.objects == 0).await?;
            performed.last_write = Some(Timestamp::now());
        }
        Step::Suspend {} => {
            requests::patch(&workload.api, &names, &json!({ "spec": { "suspend": true } })).await?;
            performed.last_write = Some(Timestamp::now());
            workload
                .until("suspended Jobs", bar, (jobs, |it| it.suspended), |it| {
                    it.suspended == jobs && it.ready == 0
                })
                .await?;
        }
        Step::Resume {} => {
            requests::patch(&workload.api, &names, &json!({ "spec": { "suspend": false } })).await?;
            performed.last_write = Some(Timestamp::now());
            workload
                .until("resumed Jobs", bar, (jobs, |it| it.ready), |it| it.suspended == 0 && it.ready == jobs)
                .await?;
        }
        Step::Complete {} => {
            let pods = workload.pod_names(ListParams::default()).await?;
            performed.started = Timestamp::now();
            workload.complete(&pods, jobs, bar).await?;
        }
        Step::Admission { rate, seconds } => {
            performed.latency = Some(workload.admission(*rate, *seconds, bar).await?);
        }
        Step::Settle { .. } | Step::RestartController {} | Step::FailOver {} | Step::Churn {} => {
            bail!("step {} has no floor", step.name())
        }
    }
    performed.ended = Timestamp::now();
    Ok(performed)
}
