//! One run: a new cluster, the controller or none, the steps of a scenario, and the measurements.

use std::time::Duration;

use anyhow::Result;
use devcluster::progress::Progress;
use devcluster::{NodeKind, Settings, SimulatedNodes};
use jobset_tests::cluster::SuiteCluster;
use jobset_tests::controller::Program;

use crate::floor;
use crate::result::{FLOOR, Run};
use crate::scenario::{Load, Scenario};
use crate::surroundings;
use crate::trial::Trial;

/// What runs beside the control plane.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    /// Nothing: plain requests take the place of the controller's.
    Floor,
    /// A controller, by name.
    Controller(String, Program),
}

impl Subject {
    /// Whether it is the floor.
    pub(crate) fn is_floor(&self) -> bool {
        matches!(self, Self::Floor)
    }

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
    soak: Duration,
    progress: &Progress,
) -> Result<Run> {
    let client = cluster.client().await?;
    let load = scenario.load(size);
    surroundings::create(&client, &load, progress).await?;
    let run = match subject {
        Subject::Floor => {
            let bar = progress.step(FLOOR);
            let run = floor::run(&client, scenario, load, &bar).await?;
            bar.done();
            run
        }
        Subject::Controller(_, program) => {
            let mut trial = Trial::start(cluster, &client, scenario, load, program).await?;
            let mut phases = Vec::new();
            for step in &scenario.steps {
                let bar = progress.step(format!("{}: {}", subject.name(), step.name()));
                let phase = trial.perform(step, soak, &bar).await?;
                bar.done_with(format!("{:.1} s, {} requests", phase.time, phase.requests.total()));
                phases.push(phase);
            }
            trial.finish(phases)?
        }
    };
    Ok(Run { scenario: scenario.name.clone(), size, subject: subject.name().to_owned(), ..run })
}
