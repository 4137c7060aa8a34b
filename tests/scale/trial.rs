//! A run with a controller: performs the steps, and measures the controller.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use devcluster::progress::Step as Bar;
use jiff::Timestamp;
use jobset_tests::cluster::SuiteCluster;
use jobset_tests::controller::{Controller, Program};
use jobset_tests::replicas;
use kube::Client;
use serde_json::json;

use crate::audit::{Follower, Phase, Request};
use crate::generator;
use crate::result::{MemoryResult, PhaseResult, Run, Series};
use crate::scenario::{Load, Scenario, Step};
use crate::series::{self, seconds};
use crate::steps::{Performed, Workload};
use crate::usage::{self, Sampler};

/// A controller is quiet when it has sent no request for this long.
const QUIET: Duration = Duration::from_secs(2);

/// A step ends at the latest after this time without quiet.
const LONGEST_UNREST: Duration = Duration::from_mins(1);

/// A controller on the cluster of a run.
pub(crate) struct Trial {
    workload: Workload,
    controller: Controller,
    standby: Option<Controller>,
    follower: Follower,
    sampler: Sampler,
    rest: f64,
    /// When the first step started.
    started: Timestamp,
}

impl Trial {
    /// Starts the controller, and waits until it is quiet.
    pub(crate) async fn start(
        cluster: &SuiteCluster,
        client: &Client,
        scenario: &Scenario,
        load: Load,
        program: &Program,
    ) -> Result<Self> {
        let mut program = program.clone();
        if !scenario.feature_gates.is_empty() {
            let gates = json!({ "featureGates": scenario.feature_gates });
            json_patch::merge(&mut program.configuration, &gates);
        }
        if scenario.standby {
            let election = json!({ "leaderElect": true, "resourceNamespace": replicas::NAMESPACE });
            json_patch::merge(&mut program.configuration, &json!({ "leaderElection": election }));
        }
        let mut follower = Follower::new(cluster.layout().audit_log());
        let controller = Controller::launch(client, cluster.layout(), &program).await?;
        let standby = if scenario.standby {
            // The API server sends admission requests to the one that starts last. The other one will be killed.
            program.name.push_str("-standby");
            Some(Controller::launch(client, cluster.layout(), &program).await?)
        } else {
            None
        };
        let objects = generator::job_sets(scenario, &load)?;
        let workload = Workload::of_job_sets(client, scenario, load, objects).await?;
        until_quiet(&mut follower, controller.user()).await?;
        Ok(Self {
            workload,
            rest: usage::memory(controller.pid())?.resident,
            sampler: Sampler::start(controller.pid()),
            started: Timestamp::now(),
            controller,
            standby,
            follower,
        })
    }

    /// Performs a step, waits until the controller is quiet, and measures.
    pub(crate) async fn perform(&mut self, step: &Step, soak: Duration, bar: &Bar) -> Result<PhaseResult> {
        let before = usage::cpu_seconds(self.controller.pid())?;
        let pid = self.controller.pid();
        let performed = match step {
            Step::RestartController {} => self.restart_controller(bar).await,
            Step::FailOver {} => self.fail_over(bar).await,
            _ => self.workload.perform(step, soak, bar).await,
        };
        // If the controller has ended, that is the relevant error.
        self.controller.check()?;
        let performed = performed?;
        let ended = Timestamp::now();
        until_quiet(&mut self.follower, self.controller.user()).await?;
        // The CPU time of a new process begins at zero.
        let before = if pid == self.controller.pid() { before } else { 0.0 };
        let cpu = usage::cpu_seconds(self.controller.pid())? - before;
        let requests = self.follower.read()?;
        let phase = Phase::new(requests, self.controller.user(), performed.started, Timestamp::now());
        // The controller's time begins when the API server has stored what the controller reacts to.
        let failed = performed.failed_job.as_deref().and_then(|job| phase.job_failed(job));
        let started = failed.unwrap_or(performed.started);
        let samples = self.sampler.samples();
        let memory_growth = match step {
            Step::Churn {} => series::growth(&samples, performed.started, ended),
            _ => None,
        };
        Ok(PhaseResult {
            name: step.name().to_owned(),
            time: seconds(started, performed.ended),
            job_writes_time: phase.last_job_write().map(|last| seconds(started, last)),
            cpu,
            requests: phase.counts(),
            denied_pods: phase.denied_pods(),
            latency: performed.latency,
            memory_growth,
        })
    }

    /// The measurements of the run.
    pub(crate) fn finish(mut self, phases: Vec<PhaseResult>) -> Result<Run> {
        let memory = usage::memory(self.controller.pid())?;
        let whole = Phase::new(self.follower.read()?, self.controller.user(), self.started, Timestamp::now());
        let memory_result = MemoryResult {
            rest: self.rest,
            peak: memory.peak,
            end: memory.resident,
            private_dirty: memory.private_dirty,
        };
        let series = Series {
            memory: series::since(self.started, &self.sampler.samples()),
            jobs: series::accumulated(self.started, whole.job_creations()),
            ready: series::accumulated(self.started, whole.ready_pods()),
        };
        Ok(Run { phases, memory: Some(memory_result), series, ..Run::default() })
    }

    /// While the controller is stopped, a Job is deleted, so that the new process has something to do.
    async fn restart_controller(&mut self, bar: &Bar) -> Result<Performed> {
        self.controller.stop()?;
        let deleted = self.workload.delete_job(bar).await?;
        let started = Timestamp::now();
        self.controller.start_again()?;
        self.sampler.follow(self.controller.pid());
        self.workload.until_recreated(&deleted).await?;
        Ok(Performed { started, ended: Timestamp::now(), ..Performed::default() })
    }

    async fn fail_over(&mut self, bar: &Bar) -> Result<Performed> {
        let Some(standby) = self.standby.take() else { bail!("there is no standby") };
        let cpu_of_standby = usage::cpu_seconds(standby.pid()).context("the standby has ended")?;
        let started = Timestamp::now();
        self.controller.kill()?;
        bar.message(format!("the standby has used {cpu_of_standby:.1} s of CPU time"));
        self.controller = standby;
        self.sampler.follow(self.controller.pid());
        let deleted = self.workload.delete_job(bar).await?;
        self.workload.until_recreated(&deleted).await?;
        Ok(Performed { started, ended: Timestamp::now(), ..Performed::default() })
    }
}

/// Waits until the controller sends no more requests.
async fn until_quiet(follower: &mut Follower, user: &str) -> Result<()> {
    let work = |requests: &[Request]| {
        requests.iter().filter(|request| request.user == user && request.is_work()).count()
    };
    let begin = Instant::now();
    let (mut seen, mut changed) = (work(follower.read()?), begin);
    while changed.elapsed() < QUIET && begin.elapsed() < LONGEST_UNREST {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let now = work(follower.read()?);
        if now != seen {
            (seen, changed) = (now, Instant::now());
        }
    }
    Ok(())
}
