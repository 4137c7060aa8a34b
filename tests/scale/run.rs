//! One run: a new cluster, the controller or none, the steps of a scenario, and the measurements.

use std::time::Duration;

use anyhow::{Context as _, Result};
use devcluster::progress::Progress;
use devcluster::{NodeKind, Settings, SimulatedNodes};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use jobset_tests::cluster::SuiteCluster;
use jobset_tests::controller::{Controller, Program};
use jobset_tests::objects;
use jobset_tests::wait::wait_for;
use kube::Client;
use kube::api::{DynamicObject, ListParams};
use serde_json::{Value, json};

use crate::audit::{Follower, Phase, Request};
use crate::generator::{self, NAMESPACE};
use crate::result::{FLOOR, MemoryResult, PhaseResult, Run, Series};
use crate::scenario::{Load, Scenario, Step};
use crate::steps::{Performed, Workload, api_of};
use crate::usage::{self, Sampler};

/// A controller is quiet when it has sent no request for this long.
const QUIET: Duration = Duration::from_secs(2);

/// A step ends at the latest after this time without quiet.
const LONGEST_UNREST: Duration = Duration::from_mins(1);

/// Largest number of values in a series.
const SERIES_LENGTH: usize = 300;

/// What runs beside the control plane.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    /// Nothing: plain requests take the place of the controller's.
    Floor,
    /// A controller, by name.
    Controller(String, Program),
}

impl Subject {
    /// Its name in results.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Floor => FLOOR,
            Self::Controller(name, _) => name,
        }
    }
}

/// The cluster of a run.
pub(crate) fn settings(load: &Load) -> Settings {
    let simulated_nodes = SimulatedNodes { racks: load.racks, ..SimulatedNodes::default() };
    Settings { simulated_nodes, ..NodeKind::Kwok(load.nodes).into() }
}

/// Performs the steps of a scenario on a new cluster. The result has no round.
pub(crate) async fn run(
    cluster: &SuiteCluster,
    scenario: &Scenario,
    size: u32,
    subject: &Subject,
    progress: &Progress,
) -> Result<Run> {
    let client = cluster.client().await?;
    let load = scenario.load(size);
    let namespaces = [NAMESPACE, UNRELATED];
    for namespace in namespaces {
        let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
        objects::create(&client, "", &serde_json::from_value(object)?, false).await?;
    }
    create_unrelated_pods(&client, load.unrelated_pods, progress).await?;
    let mut follower = Follower::new(cluster.layout().audit_log());
    let mut run =
        Run { scenario: scenario.name.clone(), size, subject: subject.name().to_owned(), ..Run::default() };
    match subject {
        Subject::Floor => {
            let workload = Workload::of_jobs(&client, load, generator::jobs(scenario, &load)?).await?;
            for step in &scenario.steps {
                let bar = progress.step(format!("{FLOOR}: {}", step.name()));
                if let Some(performed) = workload.perform_floor(step, &bar).await? {
                    run.phases.push(of_floor(step, &performed));
                }
                bar.done();
            }
        }
        Subject::Controller(_, program) => {
            let program = with_gates(program, scenario);
            let controller = Controller::launch(&client, cluster.layout(), &program).await?;
            let objects = generator::job_sets(scenario, &load)?;
            let workload = Workload::of_job_sets(&client, load, objects).await?;
            until_quiet(&mut follower, controller.user()).await?;
            let rest = usage::memory(controller.pid())?.resident;
            let sampler = Sampler::start(controller.pid());
            let first = Timestamp::now();
            for step in &scenario.steps {
                let bar = progress.step(format!("{}: {}", subject.name(), step.name()));
                let cpu = usage::cpu_seconds(controller.pid())?;
                let performed = workload.perform(step, &bar).await;
                controller.check()?;
                let performed = performed?;
                let requests = until_quiet(&mut follower, controller.user()).await?;
                let cpu = usage::cpu_seconds(controller.pid())? - cpu;
                let phase = Phase::new(requests, controller.user(), performed.started, Timestamp::now());
                let result = of_controller(step, &performed, &phase, cpu);
                bar.done_with(format!("{:.1} s, {} requests", result.time, result.requests.total()));
                run.phases.push(result);
            }
            let memory = usage::memory(controller.pid())?;
            run.memory = Some(MemoryResult {
                rest,
                peak: memory.peak,
                end: memory.resident,
                private_dirty: memory.private_dirty,
            });
            let whole = Phase::new(follower.read()?, controller.user(), first, Timestamp::now());
            run.series = Series {
                memory: since(first, sampler.finish()?),
                jobs: accumulated(first, whole.job_creations()),
                ready: accumulated(first, whole.ready_pods()),
            };
        }
    }
    Ok(run)
}

/// The program, with the feature gates of the scenario.
fn with_gates(program: &Program, scenario: &Scenario) -> Program {
    let mut program = program.clone();
    if !scenario.feature_gates.is_empty() {
        json_patch::merge(&mut program.configuration, &json!({ "featureGates": scenario.feature_gates }));
    }
    program
}

/// Waits until the controller sends no more requests. Returns all requests so far.
async fn until_quiet<'a>(follower: &'a mut Follower, user: &str) -> Result<&'a [Request]> {
    let work = |requests: &[Request]| {
        requests.iter().filter(|request| request.user == user && request.is_work()).count()
    };
    let begin = std::time::Instant::now();
    let (mut seen, mut changed) = (work(follower.read()?), begin);
    while changed.elapsed() < QUIET && begin.elapsed() < LONGEST_UNREST {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let now = work(follower.read()?);
        if now != seen {
            (seen, changed) = (now, std::time::Instant::now());
        }
    }
    follower.read()
}

fn of_floor(step: &Step, performed: &Performed) -> PhaseResult {
    PhaseResult {
        name: step.name().to_owned(),
        time: seconds(performed.started, performed.ended),
        job_writes_time: performed.last_write.map(|last| seconds(performed.started, last)),
        ..PhaseResult::default()
    }
}

fn of_controller(step: &Step, performed: &Performed, phase: &Phase<'_>, cpu: f64) -> PhaseResult {
    // The controller's time begins when the API server has stored what the controller reacts to.
    let failed = performed.failed_job.as_deref().and_then(|job| phase.job_failed(job));
    let started = failed.unwrap_or(performed.started);
    PhaseResult {
        name: step.name().to_owned(),
        time: seconds(started, performed.ended),
        job_writes_time: phase.last_job_write().map(|last| seconds(started, last)),
        cpu,
        requests: phase.counts(),
        denied_pods: phase.denied_pods(),
    }
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

fn since(start: Timestamp, samples: Vec<(Timestamp, f64)>) -> Vec<(f64, f64)> {
    thinned(samples.into_iter().map(|(time, value)| (seconds(start, time), value)).collect())
}

/// The number of these times up to each time.
fn accumulated(start: Timestamp, mut times: Vec<Timestamp>) -> Vec<(f64, f64)> {
    times.sort();
    let numbers = (1_u32..).map(f64::from);
    thinned(times.into_iter().map(|time| seconds(start, time)).zip(numbers).collect())
}

/// At most [`SERIES_LENGTH`] values, with the last one.
fn thinned(values: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let step = values.len().div_ceil(SERIES_LENGTH).max(1);
    let last = values.len().saturating_sub(1);
    let kept = values.into_iter().enumerate().filter(|(index, _)| index % step == 0 || *index == last);
    kept.map(|(_, value)| value).collect()
}

/// Namespace of the pods of no JobSet.
const UNRELATED: &str = "unrelated";

/// Creates pods that belong to no JobSet, and waits until they run.
async fn create_unrelated_pods(client: &Client, number: u32, progress: &Progress) -> Result<()> {
    if number == 0 {
        return Ok(());
    }
    let bar = progress.step(format!("Creating {number} pods of no JobSet"));
    bar.total(u64::from(number));
    let pod = |index: u32| -> Result<DynamicObject> {
        let spec: Value = json!({ "containers": [{ "name": "c", "image": "registry.example/server:v1" }] });
        let metadata = json!({ "name": format!("pod-{index}"), "labels": { "app": "server" } });
        let object = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec });
        Ok(serde_json::from_value(object)?)
    };
    let creations = (0..number).map(|index| {
        let bar = &bar;
        async move {
            objects::create(client, UNRELATED, &pod(index)?, false).await?;
            bar.advance(1);
            anyhow::Ok(())
        }
    });
    stream::iter(creations).buffer_unordered(32).try_collect::<Vec<_>>().await?;
    let api = api_of(client, UNRELATED, "", "v1", "Pod");
    let pending = ListParams::default().fields("status.phase!=Running").limit(1);
    let waiting = || async { Ok(api.list_metadata(&pending).await?.items.len()) };
    wait_for("the unrelated pods to run", Duration::from_mins(20), waiting, |pending| *pending == 0)
        .await
        .context("cannot create the unrelated pods")?;
    bar.done();
    Ok(())
}
