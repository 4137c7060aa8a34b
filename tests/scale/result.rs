//! The measurements of runs, as the JSON file of results contains them.

use serde::{Deserialize, Serialize};

use crate::audit::Counts;
use crate::budget::Measure;
use crate::statistics::Statistics;

/// Name of the runs without a controller.
pub(crate) const FLOOR: &str = "floor";

/// All runs of one call of the program.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Results {
    /// When the runs started.
    pub(crate) started: String,
    /// CPUs of the machine.
    pub(crate) cpus: usize,
    /// The runs, in their order.
    pub(crate) runs: Vec<Run>,
}

/// One run of a scenario.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Run {
    /// Name of the scenario.
    pub(crate) scenario: String,
    /// Size.
    pub(crate) size: u32,
    /// Number of the round, from 1.
    pub(crate) round: u32,
    /// `floor`, or the name of the controller.
    pub(crate) subject: String,
    /// The steps.
    pub(crate) phases: Vec<PhaseResult>,
    /// Memory of the controller; none in the floor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<MemoryResult>,
    /// Values over time.
    pub(crate) series: Series,
}

/// The measurements of one step.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PhaseResult {
    /// Name of the step.
    pub(crate) name: String,
    /// Seconds until the end of the step.
    pub(crate) time: f64,
    /// Seconds until the last write of a Job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) job_writes_time: Option<f64>,
    /// CPU seconds of the controller.
    pub(crate) cpu: f64,
    /// Requests of the controller.
    pub(crate) requests: Counts,
    /// Creations of pods by the Job controller that were denied.
    pub(crate) denied_pods: u64,
    /// Latency of admission.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency: Option<Latency>,
    /// Resident memory in the last quarter of the step, divided by that in the second one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory_growth: Option<f64>,
}

/// Latency of the requests of a step, in seconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// Median.
    pub(crate) median: f64,
    /// 99th percentile.
    pub(crate) p99: f64,
    /// Requests.
    pub(crate) requests: u64,
    /// Requests that the API server rejected.
    pub(crate) rejected: u64,
}

/// Memory of a controller in one run, in MiB.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemoryResult {
    /// Resident before the first step.
    pub(crate) rest: f64,
    /// Largest resident.
    pub(crate) peak: f64,
    /// Resident after the last step.
    pub(crate) end: f64,
    /// Private and dirty after the last step.
    pub(crate) private_dirty: f64,
}

/// Values over time. Times are seconds since the start of the first step.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Series {
    /// Resident memory of the controller in MiB.
    pub(crate) memory: Vec<(f64, f64)>,
    /// Jobs created.
    pub(crate) jobs: Vec<(f64, f64)>,
    /// Pods that became ready.
    pub(crate) ready: Vec<(f64, f64)>,
}

/// Runs of one size of a scenario: its name, the size, and the runs of all subjects and rounds.
pub(crate) type Group<'a> = (&'a str, u32, Vec<&'a Run>);

impl Results {
    /// Groups of runs that differ only in their subject and round.
    pub(crate) fn groups(&self) -> Vec<Group<'_>> {
        let mut groups: Vec<Group<'_>> = Vec::new();
        for run in &self.runs {
            match groups.iter_mut().find(|(name, size, _)| *name == run.scenario && *size == run.size) {
                Some((_, _, runs)) => runs.push(run),
                None => groups.push((&run.scenario, run.size, vec![run])),
            }
        }
        groups
    }
}

impl Run {
    /// A measurement of a phase, or of the run if the phase is `None`.
    pub(crate) fn value(&self, phase: Option<&str>, measure: Measure) -> Option<f64> {
        let memory = |value: fn(&MemoryResult) -> f64| self.memory.as_ref().map(value);
        match measure {
            Measure::RestMemory => return memory(|it| it.rest),
            Measure::PeakMemory => return memory(|it| it.peak),
            Measure::EndMemory => return memory(|it| it.end),
            Measure::PrivateDirty => return memory(|it| it.private_dirty),
            _ => {}
        }
        let phase = self.phases.iter().find(|it| Some(it.name.as_str()) == phase)?;
        Some(match measure {
            Measure::Time => phase.time,
            Measure::JobWritesTime => return phase.job_writes_time,
            Measure::Cpu => phase.cpu,
            Measure::Requests => count(phase.requests.total()),
            Measure::Conflicts => count(phase.requests.conflicts()),
            Measure::StatusWrites => count(phase.requests.status_writes()),
            Measure::Events => count(phase.requests.events()),
            Measure::DeniedPods => count(phase.denied_pods),
            Measure::LatencyMedian => phase.latency?.median,
            Measure::LatencyP99 => phase.latency?.p99,
            Measure::Rejected => count(phase.latency?.rejected),
            Measure::MemoryGrowth => return phase.memory_growth,
            Measure::RestMemory | Measure::PeakMemory | Measure::EndMemory | Measure::PrivateDirty => {
                return None;
            }
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
fn count(number: u64) -> f64 {
    number as f64
}

/// Subjects of some runs, in their order.
pub(crate) fn subjects<'a>(runs: &[&'a Run]) -> Vec<&'a str> {
    let mut subjects: Vec<&str> = Vec::new();
    for run in runs {
        if !subjects.contains(&run.subject.as_str()) {
            subjects.push(&run.subject);
        }
    }
    subjects
}

/// Statistics of a measurement over the rounds of a subject.
pub(crate) fn over_rounds(
    runs: &[&Run],
    subject: &str,
    phase: Option<&str>,
    measure: Measure,
) -> Option<Statistics> {
    let of_subject = runs.iter().filter(|run| run.subject == subject);
    Statistics::of(of_subject.filter_map(|run| run.value(phase, measure)))
}
