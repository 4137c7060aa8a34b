//! Budgets: ranges of measurements, as ratios and counts. Absolute times are no budgets, because they depend on the
//! machine.

use anyhow::{Result, ensure};
use serde::Deserialize;

use crate::scenario::Load;

/// A range of one measurement.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Budget {
    /// The step; without it, the measurement is that of the whole run.
    pub(crate) phase: Option<String>,
    /// What is measured.
    pub(crate) measure: Measure,
    /// Divides by the same measurement of `floor`, of another controller by its name, or (`smallest-size`) of the
    /// smallest size in this run, each per Job.
    pub(crate) relative_to: Option<String>,
    /// The smallest value.
    pub(crate) min: Option<Bound>,
    /// The largest value.
    pub(crate) max: Option<Bound>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Measure {
    /// Time until the end of the step.
    Time,
    /// Time until the controller's last write of a Job.
    JobWritesTime,
    /// CPU seconds of the controller.
    Cpu,
    /// Requests of the controller, without watches.
    Requests,
    /// Its requests with answer 409.
    Conflicts,
    /// Its writes of `jobsets/status`.
    StatusWrites,
    /// Its events.
    Events,
    /// Creations of pods by the Job controller that were denied.
    DeniedPods,
    /// Median latency of admission.
    LatencyMedian,
    /// 99th percentile of the latency of admission.
    LatencyP99,
    /// Rejected requests of the step `admission`.
    Rejected,
    /// Resident memory in the last quarter of the step, divided by that in the second one.
    MemoryGrowth,
    /// Resident memory before the first step, in MiB.
    RestMemory,
    /// Largest resident memory, in MiB.
    PeakMemory,
    /// Resident memory after the last step, in MiB.
    EndMemory,
    /// Private dirty memory after the last step, in MiB.
    PrivateDirty,
}

impl Measure {
    /// Its name in scenarios.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::JobWritesTime => "jobWritesTime",
            Self::Cpu => "cpu",
            Self::Requests => "requests",
            Self::Conflicts => "conflicts",
            Self::StatusWrites => "statusWrites",
            Self::Events => "events",
            Self::DeniedPods => "deniedPods",
            Self::LatencyMedian => "latencyMedian",
            Self::LatencyP99 => "latencyP99",
            Self::Rejected => "rejected",
            Self::MemoryGrowth => "memoryGrowth",
            Self::RestMemory => "restMemory",
            Self::PeakMemory => "peakMemory",
            Self::EndMemory => "endMemory",
            Self::PrivateDirty => "privateDirty",
        }
    }

    /// Whether the value depends on the speed of the machine.
    pub(crate) fn depends_on_the_machine(self) -> bool {
        matches!(self, Self::Time | Self::JobWritesTime | Self::Cpu | Self::LatencyMedian | Self::LatencyP99)
    }

    /// Whether the value depends on the build of the controller: resident memory contains the code of the program.
    pub(crate) fn depends_on_the_build(self) -> bool {
        matches!(self, Self::RestMemory | Self::PeakMemory | Self::EndMemory)
    }

    /// Whether the value belongs to the whole run, and not to a phase.
    fn is_of_the_run(self) -> bool {
        matches!(self, Self::RestMemory | Self::PeakMemory | Self::EndMemory | Self::PrivateDirty)
    }
}

/// A number, or a number that grows with the objects of the run.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(untagged, expecting = "expected a number, or a map of constant, perJobSet, perJob and perPod")]
pub(crate) enum Bound {
    /// This number.
    Number(f64),
    /// A sum.
    Sum(Sum),
}

/// A sum of a constant and of a number for each object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Sum {
    /// Constant.
    pub(crate) constant: f64,
    /// For each JobSet.
    pub(crate) per_job_set: f64,
    /// For each Job.
    pub(crate) per_job: f64,
    /// For each pod of a JobSet.
    pub(crate) per_pod: f64,
}

impl Bound {
    /// The value for this load.
    pub(crate) fn at(self, load: &Load) -> f64 {
        match self {
            Self::Number(number) => number,
            Self::Sum(sum) => {
                sum.constant
                    + sum.per_job_set * f64::from(load.job_sets)
                    + sum.per_job * f64::from(load.jobs())
                    + sum.per_pod * f64::from(load.pods())
            }
        }
    }
}

impl Budget {
    /// Returns an error if the budget has no meaning.
    pub(crate) fn validate(&self) -> Result<()> {
        let measure = self.measure;
        ensure!(self.min.is_some() || self.max.is_some(), "budget {measure:?} has no range: set min or max");
        ensure!(
            !measure.depends_on_the_machine() || self.relative_to.is_some(),
            "budget {measure:?} is absolute, but this value depends on the machine: set relativeTo"
        );
        ensure!(
            measure.is_of_the_run() != self.phase.is_some(),
            "budget {measure:?} {}",
            if measure.is_of_the_run() {
                "is a value of the whole run: remove phase"
            } else {
                "is a value of a step: set phase"
            }
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(text: &str) -> Result<Budget> {
        let budget: Budget = serde_yaml::from_str(text)?;
        budget.validate()?;
        Ok(budget)
    }

    #[test]
    fn bounds_are_numbers_or_sums() {
        let load = Load { job_sets: 2, jobs_each: 5, pods_each: 3, ..Load::default() };
        for (text, expected) in [
            ("7", 7.0),
            ("0.5", 0.5),
            ("{constant: 4}", 4.0),
            ("{perJobSet: 3, constant: 1}", 7.0),
            ("{perJob: 1.5}", 15.0),
            ("{perPod: 1, perJob: 1, perJobSet: 1}", 42.0),
        ] {
            let bound: Bound = serde_yaml::from_str(text).unwrap();
            assert!((bound.at(&load) - expected).abs() < 1e-9, "{text}: {}", bound.at(&load));
        }
    }

    #[test]
    fn a_budget_without_meaning_is_an_error() {
        for (text, expected) in [
            ("{phase: create, measure: requests}", "Requests has no range: set min or max"),
            (
                "{phase: create, measure: time, max: 3}",
                "Time is absolute, but this value depends on the machine",
            ),
            ("{phase: create, measure: latencyP99, max: 3}", "LatencyP99 is absolute"),
            ("{measure: requests, max: 3}", "Requests is a value of a step: set phase"),
            (
                "{phase: create, measure: peakMemory, max: 3}",
                "PeakMemory is a value of the whole run: remove phase",
            ),
            ("{phase: create, measure: seconds, max: 3}", "unknown variant `seconds`"),
            ("{phase: create, measure: requests, most: 3}", "unknown field `most`"),
            (
                "{phase: create, measure: requests, max: {perNode: 3}}",
                "expected a number, or a map of constant",
            ),
        ] {
            let message = format!("{:#}", budget(text).unwrap_err());
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn names_are_those_of_scenarios() {
        for name in ["time", "jobWritesTime", "latencyP99", "memoryGrowth", "deniedPods", "statusWrites"] {
            let measure: Measure = serde_yaml::from_str(name).unwrap();
            assert_eq!(measure.name(), name);
        }
    }
}
