//! Compares the results with the budgets.

use std::fmt;

use crate::budget::{Bound, Budget};
use crate::result::{Results, Run, over_rounds};
use crate::scenario::{Load, Scenario};

/// `relativeTo` of budgets for growth.
const SMALLEST_SIZE: &str = "smallest-size";

/// A budget and its value in one size of a scenario.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    /// Name of the scenario.
    pub(crate) scenario: String,
    /// Size.
    pub(crate) size: u32,
    /// What is measured, such as `create: requests`.
    pub(crate) what: String,
    /// The range, such as `at most 505`.
    pub(crate) range: String,
    /// The value.
    pub(crate) outcome: Outcome,
}

/// A value of a budget.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// In the range.
    Kept(f64),
    /// Outside of the range.
    Exceeded(f64),
    /// The run does not contain what the budget needs, such as the other controller.
    NotMeasured,
}

impl Verdict {
    /// Whether the value is outside of the range.
    pub(crate) fn is_exceeded(&self) -> bool {
        matches!(self.outcome, Outcome::Exceeded(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, size, what, range, outcome } = self;
        write!(f, "{scenario}, size {size}: {what}: ")?;
        match outcome {
            Outcome::Kept(value) => write!(f, "{}, {range}", number(*value)),
            Outcome::Exceeded(value) => write!(f, "{}, but must be {range}", number(*value)),
            Outcome::NotMeasured => write!(f, "not measured, {range}"),
        }
    }
}

/// Checks the budgets of one subject in every size that ran. The short version runs debug builds.
pub(crate) fn check(
    results: &Results,
    scenarios: &[Scenario],
    subject: &str,
    is_short: bool,
) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for (name, size, runs) in results.groups() {
        let Some(scenario) = scenarios.iter().find(|scenario| scenario.name == name) else { continue };
        if !runs.iter().any(|run| run.subject == subject) {
            continue;
        }
        let smallest = results.groups().into_iter().find(|(other, _, _)| *other == name);
        let is_checked = |budget: &&Budget| !is_short || !budget.measure.depends_on_the_build();
        for budget in scenario.budgets.iter().filter(is_checked) {
            let load = scenario.load(size);
            let value = match budget.relative_to.as_deref() {
                None => measured(&runs, subject, budget),
                Some(SMALLEST_SIZE) => smallest.as_ref().and_then(|(_, smallest_size, smallest)| {
                    let growth =
                        ratio(measured(&runs, subject, budget)?, measured(smallest, subject, budget)?)?;
                    let jobs = |size: u32| f64::from(scenario.load(size).jobs().max(1));
                    (*smallest_size < size).then_some(growth * jobs(*smallest_size) / jobs(size))
                }),
                Some(other) => measured(&runs, subject, budget)
                    .zip(measured(&runs, other, budget))
                    .and_then(|(value, reference)| ratio(value, reference)),
            };
            verdicts.push(Verdict {
                scenario: name.to_owned(),
                size,
                what: describe(budget),
                range: range(budget, &load),
                outcome: value.map_or(Outcome::NotMeasured, |value| judge(budget, &load, value)),
            });
        }
    }
    verdicts
}

/// The median over the rounds.
fn measured(runs: &[&Run], subject: &str, budget: &Budget) -> Option<f64> {
    over_rounds(runs, subject, budget.phase.as_deref(), budget.measure).map(|it| it.median)
}

fn ratio(value: f64, reference: f64) -> Option<f64> {
    (reference > 0.0).then(|| value / reference)
}

fn judge(budget: &Budget, load: &Load, value: f64) -> Outcome {
    let is_below = |bound: Option<Bound>| bound.is_some_and(|bound| value < bound.at(load));
    let is_above = |bound: Option<Bound>| bound.is_some_and(|bound| value > bound.at(load));
    if is_below(budget.min) || is_above(budget.max) { Outcome::Exceeded(value) } else { Outcome::Kept(value) }
}

fn describe(budget: &Budget) -> String {
    let mut text = String::new();
    if let Some(phase) = &budget.phase {
        text = format!("{phase}: ");
    }
    text.push_str(budget.measure.name());
    match budget.relative_to.as_deref() {
        None => {}
        Some(SMALLEST_SIZE) => text.push_str(" per Job, relative to the smallest size"),
        Some(other) => {
            text.push_str(" relative to ");
            text.push_str(other);
        }
    }
    text
}

fn range(budget: &Budget, load: &Load) -> String {
    let bound = |bound: Bound| number(bound.at(load));
    match (budget.min, budget.max) {
        (Some(min), Some(max)) => format!("between {} and {}", bound(min), bound(max)),
        (Some(min), None) => format!("at least {}", bound(min)),
        (None, Some(max)) => format!("at most {}", bound(max)),
        (None, None) => String::new(),
    }
}

/// A number with at most two decimals.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Counts;
    use crate::result::{FLOOR, MemoryResult, PhaseResult};

    fn scenario(budgets: &str) -> Scenario {
        let text = format!(
            "{{name: fan, description: d, sizes: [10, 20], jobs: size, steps: [{{step: create}}], budgets: {budgets}}}"
        );
        Scenario::parse(&text).unwrap()
    }

    fn run(subject: &str, size: u32, time: f64, requests: u64) -> Run {
        let phase = PhaseResult {
            name: "create".into(),
            time,
            cpu: time,
            requests: Counts([("create jobs 201".to_owned(), requests)].into()),
            ..PhaseResult::default()
        };
        Run {
            scenario: "fan".into(),
            size,
            subject: subject.into(),
            phases: vec![phase],
            memory: Some(MemoryResult { rest: 8.0, peak: 31.0, ..MemoryResult::default() }),
            ..Run::default()
        }
    }

    /// The only verdict of this budget.
    fn outcome(budget: &str, runs: Vec<Run>) -> Verdict {
        let results = Results { runs, ..Results::default() };
        check(&results, &[scenario(&format!("[{budget}]"))], "rust", false).pop().unwrap()
    }

    #[test]
    fn bounds_grow_with_the_objects_of_the_run() {
        let budget = "{phase: create, measure: requests, max: {perJob: 1, constant: 5}}";
        let kept = outcome(budget, vec![run("rust", 20, 1.0, 25)]);
        assert_eq!((kept.outcome, kept.range.as_str()), (Outcome::Kept(25.0), "at most 25"));
        let exceeded = outcome(budget, vec![run("rust", 20, 1.0, 26)]);
        assert!(exceeded.is_exceeded());
        assert_eq!(exceeded.to_string(), "fan, size 20: create: requests: 26, but must be at most 25");
        let too_few =
            outcome("{phase: create, measure: requests, min: {perJob: 2}}", vec![run("rust", 20, 1.0, 39)]);
        assert_eq!(too_few.to_string(), "fan, size 20: create: requests: 39, but must be at least 40");
    }

    #[test]
    fn times_are_compared_with_the_floor_by_their_medians() {
        let runs = || {
            let times = [("rust", 1.0), ("rust", 9.0), ("rust", 3.0), (FLOOR, 2.0), ("go", 12.0)];
            times.map(|(subject, time)| run(subject, 10, time, 1)).to_vec()
        };
        let relative_to = |other: &str, max: f64| {
            outcome(&format!("{{phase: create, measure: time, relativeTo: {other}, max: {max}}}"), runs())
                .outcome
        };
        assert_eq!(relative_to(FLOOR, 1.5), Outcome::Kept(1.5));
        assert_eq!(relative_to(FLOOR, 1.4), Outcome::Exceeded(1.5));
        assert_eq!(relative_to("go", 0.25), Outcome::Kept(0.25));
        assert_eq!(relative_to("other", 1.0), Outcome::NotMeasured);
    }

    #[test]
    fn growth_is_compared_for_each_job() {
        let budget = "{phase: create, measure: cpu, relativeTo: smallest-size, max: 1.2}";
        let at =
            |large: f64| outcome(budget, vec![run("rust", 10, 1.0, 1), run("rust", 20, large, 1)]).outcome;
        assert_eq!(at(2.0), Outcome::Kept(1.0));
        assert_eq!(at(3.0), Outcome::Exceeded(1.5));
        assert_eq!(outcome(budget, vec![run("rust", 20, 3.0, 1)]).outcome, Outcome::NotMeasured);
    }

    #[test]
    fn memory_is_a_value_of_the_run() {
        assert_eq!(
            outcome("{measure: restMemory, max: 8}", vec![run("rust", 10, 1.0, 1)]).outcome,
            Outcome::Kept(8.0)
        );
        let peak = outcome("{measure: peakMemory, max: 30.5}", vec![run("rust", 10, 1.0, 1)]);
        assert_eq!(peak.to_string(), "fan, size 10: peakMemory: 31, but must be at most 30.5");
    }

    #[test]
    fn the_short_version_does_not_check_resident_memory() {
        let results = Results { runs: vec![run("rust", 10, 1.0, 1)], ..Results::default() };
        let budgets = scenario("[{measure: peakMemory, max: 1}, {measure: privateDirty, max: 1}]");
        let verdicts = check(&results, &[budgets], "rust", true);
        assert_eq!(verdicts.iter().map(|it| it.what.as_str()).collect::<Vec<_>>(), ["privateDirty"]);
    }

    #[test]
    fn only_the_subject_is_checked() {
        let results = Results { runs: vec![run("go", 10, 1.0, 99)], ..Results::default() };
        let budgets = scenario("[{phase: create, measure: requests, max: 1}]");
        assert_eq!(check(&results, &[budgets], "rust", false), []);
    }
}
