//! Scenarios. Each is a YAML file: the objects that a run creates, its steps, and the budgets of its measurements.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::budget::Budget;
use crate::result::FLOOR;

/// A scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Scenario {
    /// Name, as in `--scenario`.
    pub(crate) name: String,
    /// One sentence.
    pub(crate) description: String,
    /// Order in tables and reports.
    #[serde(default)]
    pub(crate) position: u32,
    /// Sizes of a benchmark, in ascending order. Amounts that are `size` have this value.
    pub(crate) sizes: Vec<u32>,
    /// Sizes that only `--full` adds.
    #[serde(default)]
    pub(crate) full_sizes: Vec<u32>,
    /// Size of the short version; without it, the scenario is not part of the short version.
    pub(crate) short_size: Option<u32>,
    /// Simulated nodes.
    #[serde(default = "twenty")]
    pub(crate) nodes: Amount,
    /// Racks of the simulated nodes.
    #[serde(default = "one")]
    pub(crate) racks: Amount,
    /// Pods of no JobSet, which run before the controller starts.
    #[serde(default)]
    pub(crate) unrelated_pods: Amount,
    /// Feature gates of the controller.
    #[serde(default)]
    pub(crate) feature_gates: BTreeMap<String, bool>,
    /// Runs a second controller. The two elect a leader.
    #[serde(default)]
    pub(crate) standby: bool,
    /// Number of JobSets.
    #[serde(default = "one")]
    pub(crate) job_sets: Amount,
    /// Jobs of each JobSet.
    #[serde(default = "one")]
    pub(crate) jobs: Amount,
    /// Pods of each Job.
    #[serde(default = "one")]
    pub(crate) pods: Amount,
    /// A JSON merge patch for the JobSet in `jobset.yaml`.
    #[serde(default)]
    pub(crate) job_set: Value,
    /// The steps.
    pub(crate) steps: Vec<Step>,
    /// The budgets.
    pub(crate) budgets: Vec<Budget>,
}

fn one() -> Amount {
    Amount::Number(1)
}

fn twenty() -> Amount {
    Amount::Number(20)
}

/// A number, or the size of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected a number or the word size")]
pub(crate) enum Amount {
    /// This number.
    Number(u32),
    /// The size of the run.
    Size(SizeWord),
}

/// The word `size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SizeWord {
    /// The size of the run.
    Size,
}

impl Default for Amount {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl Amount {
    /// The number at this size.
    pub(crate) fn at(self, size: u32) -> u32 {
        match self {
            Self::Number(number) => number,
            Self::Size(SizeWord::Size) => size,
        }
    }
}

/// A step of a scenario. Each step is one phase of the measurement.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub(crate) enum Step {
    /// Creates the JobSets, and waits until all Jobs are ready.
    Create {},
    /// Fails one pod, and waits until the JobSet has restarted and all Jobs are ready again.
    FailOneJob {},
    /// Suspends all JobSets.
    Suspend {},
    /// Resumes all JobSets, and waits until all Jobs are ready.
    Resume {},
    /// All pods succeed at the same time. Waits until all JobSets are completed.
    Complete {},
    /// Waits, while nothing changes.
    Settle {
        /// How long.
        seconds: u64,
    },
    /// Stops the controller, deletes one Job, and starts the controller. Waits until the Job is recreated.
    RestartController {},
    /// Kills the controller, which has the lease, and deletes one Job. Waits until the standby has recreated the Job.
    FailOver {},
    /// Sends JobSets to admission, as dry runs.
    Admission {
        /// Requests per second.
        rate: Amount,
        /// How long.
        seconds: u32,
    },
    /// Replaces each JobSet that finishes by a new one, as long as `--soak-minutes`. The JobSets must finish by
    /// themselves, and have a TTL.
    Churn {},
}

impl Step {
    /// Name of the phase.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Create {} => "create",
            Self::FailOneJob {} => "fail-one-job",
            Self::Suspend {} => "suspend",
            Self::Resume {} => "resume",
            Self::Complete {} => "complete",
            Self::Settle { .. } => "settle",
            Self::RestartController {} => "restart-controller",
            Self::FailOver {} => "fail-over",
            Self::Admission { .. } => "admission",
            Self::Churn {} => "churn",
        }
    }
}

/// Numbers of objects of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// The size of the run.
    pub(crate) size: u32,
    /// Simulated nodes.
    pub(crate) nodes: u32,
    /// Racks of the nodes.
    pub(crate) racks: u32,
    /// Pods of no JobSet.
    pub(crate) unrelated_pods: u32,
    /// JobSets.
    pub(crate) job_sets: u32,
    /// Jobs of each JobSet.
    pub(crate) jobs_each: u32,
    /// Pods of each Job.
    pub(crate) pods_each: u32,
}

impl Load {
    /// Jobs of all JobSets.
    pub(crate) fn jobs(&self) -> u32 {
        self.job_sets * self.jobs_each
    }

    /// Pods of all JobSets.
    pub(crate) fn pods(&self) -> u32 {
        self.jobs() * self.pods_each
    }
}

impl Scenario {
    /// Parses and validates a scenario.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let scenario: Self = serde_yaml::from_str(text)?;
        ensure!(!scenario.sizes.is_empty(), "sizes is empty: list at least one size");
        ensure!(
            scenario.sizes.is_sorted(),
            "sizes is {:?}: list the sizes in ascending order",
            scenario.sizes
        );
        ensure!(!scenario.steps.is_empty(), "steps is empty: list at least one step");
        let fails_over = scenario.steps.contains(&Step::FailOver {});
        ensure!(
            scenario.standby || !fails_over,
            "step fail-over needs a second controller: set standby: true"
        );
        for budget in &scenario.budgets {
            let phases: Vec<_> = scenario.steps.iter().map(Step::name).collect();
            if let Some(phase) = budget.phase.as_deref().filter(|phase| !phases.contains(phase)) {
                bail!("a budget has phase {phase}: use a step of this scenario: {}", phases.join(", "));
            }
            budget.validate()?;
        }
        Ok(scenario)
    }

    /// Whether a budget is relative to the floor.
    pub(crate) fn needs_floor(&self) -> bool {
        self.budgets.iter().any(|budget| budget.relative_to.as_deref() == Some(FLOOR))
    }

    /// The numbers of objects at this size.
    pub(crate) fn load(&self, size: u32) -> Load {
        Load {
            size,
            nodes: self.nodes.at(size).max(1),
            racks: self.racks.at(size).max(1),
            unrelated_pods: self.unrelated_pods.at(size),
            job_sets: self.job_sets.at(size),
            jobs_each: self.jobs.at(size),
            pods_each: self.pods.at(size),
        }
    }
}

/// Reads the scenarios in a folder, in the order of their positions.
pub(crate) fn read_folder(folder: &Path) -> Result<Vec<Scenario>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut scenarios = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = std::fs::read_to_string(&path);
            let text = text.with_context(|| format!("cannot read {}", path.display()))?;
            scenarios.push(
                Scenario::parse(&text).with_context(|| format!("{} is not a scenario", path.display()))?,
            );
        }
    }
    scenarios.sort_by(|one, other| (one.position, &one.name).cmp(&(other.position, &other.name)));
    Ok(scenarios)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "{name: n, description: d, sizes: [5, 10], steps: [{step: create}], budgets: []}";

    #[test]
    fn every_scenario_is_valid() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scale/scenarios");
        let scenarios = read_folder(&folder).unwrap();
        assert_eq!(scenarios.len(), std::fs::read_dir(&folder).unwrap().count());
        for scenario in &scenarios {
            assert!(folder.join(format!("{}.yaml", scenario.name)).is_file(), "{}", scenario.name);
            let others = scenarios.iter().filter(|other| other.position == scenario.position);
            assert_eq!(others.count(), 1, "{}", scenario.name);
            assert!(scenario.budgets.iter().any(|budget| budget.max.is_some()), "{}", scenario.name);
        }
    }

    #[test]
    fn amounts_are_numbers_or_the_size() {
        let text =
            MINIMAL.replace("budgets", "jobSets: size, jobs: 3, pods: 2, nodes: 4, racks: size, budgets");
        let load = Scenario::parse(&text).unwrap().load(10);
        assert_eq!((load.job_sets, load.jobs(), load.pods()), (10, 30, 60));
        assert_eq!((load.nodes, load.racks, load.unrelated_pods), (4, 10, 0));
        let default = Scenario::parse(MINIMAL).unwrap().load(10);
        assert_eq!((default.job_sets, default.jobs(), default.pods(), default.nodes), (1, 1, 1, 20));
    }

    #[test]
    fn an_invalid_scenario_is_an_error_that_names_the_field() {
        for (from, to, expected) in [
            ("name: n", "name: n, size: 3", "unknown field `size`"),
            ("description: d, ", "", "missing field `description`"),
            ("[5, 10]", "[10, 5]", "sizes is [10, 5]: list the sizes in ascending order"),
            ("[5, 10]", "[]", "sizes is empty"),
            ("step: create", "step: fan", "unknown variant `fan`"),
            ("step: create", "step: create, seconds: 3", "unknown field `seconds`"),
            ("step: create", "step: settle", "missing field `seconds`"),
            ("{step: create}", "", "steps is empty"),
            ("{step: create}", "{step: fail-over}", "set standby: true"),
            ("budgets: []", "jobs: all, budgets: []", "expected a number or the word size"),
            (
                "budgets: []",
                "budgets: [{phase: resume, measure: requests, max: 1}]",
                "a budget has phase resume: use a step of this scenario: create",
            ),
            ("budgets: []", "budgets: [{phase: create, measure: time, max: 1}]", "set relativeTo"),
        ] {
            let text = MINIMAL.replace(from, to);
            let message = format!("{:#}", Scenario::parse(&text).unwrap_err());
            assert!(message.contains(expected), "{text}: {message}");
        }
    }
}
