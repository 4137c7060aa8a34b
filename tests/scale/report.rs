//! The report: one HTML page without other files.

use anyhow::{Context as _, Result};
use askama::Template;

use crate::budget::Measure;
use crate::checker::{Outcome, Verdict};
use crate::plot::{self, Line};
use crate::result::{FLOOR, Results, Run, over_rounds, subjects};
use crate::scenario::Scenario;
use crate::table;

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    started: &'a str,
    cpus: usize,
    /// Names, in the order of their colours.
    subjects: Vec<&'a str>,
    exceeded: Vec<&'a Verdict>,
    kept: usize,
    not_measured: usize,
    sections: Vec<Section<'a>>,
}

/// A scenario.
struct Section<'a> {
    name: &'a str,
    description: &'a str,
    tables: Vec<Table>,
    budgets: Vec<Row>,
    plots: Vec<Plot>,
}

/// The measurements of one size.
struct Table {
    size: u32,
    header: [&'static str; table::COLUMNS],
    rows: Vec<[String; table::COLUMNS]>,
    notes: Vec<String>,
}

/// A budget.
struct Row {
    size: u32,
    what: String,
    range: String,
    class: &'static str,
    value: String,
}

struct Plot {
    title: String,
    svg: String,
}

/// Renders the report.
pub(crate) fn render(results: &Results, scenarios: &[Scenario], verdicts: &[Verdict]) -> Result<String> {
    let all: Vec<&Run> = results.runs.iter().collect();
    let names = subjects(&all);
    let mut sections: Vec<Section<'_>> = Vec::new();
    for scenario in scenarios {
        let groups: Vec<_> =
            results.groups().into_iter().filter(|(name, _, _)| *name == scenario.name).collect();
        let Some((_, _, largest)) = groups.iter().max_by_key(|(_, size, _)| *size) else { continue };
        let tables = groups.iter().map(|(_, size, runs)| Table {
            size: *size,
            header: table::HEADER,
            rows: table::rows(runs),
            notes: table::notes(runs),
        });
        let mut plots = growth_plots(scenario, &groups, &names);
        plots.extend(series_plots(largest, &names));
        let budgets = verdicts.iter().filter(|verdict| verdict.scenario == scenario.name);
        sections.push(Section {
            name: &scenario.name,
            description: &scenario.description,
            tables: tables.collect(),
            budgets: budgets.map(row).collect(),
            plots,
        });
    }
    let count = |condition: fn(&Outcome) -> bool| {
        verdicts.iter().filter(|verdict| condition(&verdict.outcome)).count()
    };
    let page = Page {
        started: &results.started,
        cpus: results.cpus,
        subjects: names,
        exceeded: verdicts.iter().filter(|verdict| verdict.is_exceeded()).collect(),
        kept: count(|outcome| matches!(outcome, Outcome::Kept(_))),
        not_measured: count(|outcome| *outcome == Outcome::NotMeasured),
        sections,
    };
    page.render().context("cannot render the report")
}

fn row(verdict: &Verdict) -> Row {
    let (class, value) = match verdict.outcome {
        Outcome::Kept(value) => ("kept", format!("{value:.2}")),
        Outcome::Exceeded(value) => ("exceeded", format!("{value:.2}")),
        Outcome::NotMeasured => ("missing", "not measured".to_owned()),
    };
    Row { size: verdict.size, what: verdict.what.clone(), range: verdict.range.clone(), class, value }
}

/// Measurements over the number of Jobs, for each step.
fn growth_plots(scenario: &Scenario, groups: &[(&str, u32, Vec<&Run>)], names: &[&str]) -> Vec<Plot> {
    if groups.len() < 2 {
        return Vec::new();
    }
    let mut plots = Vec::new();
    let mut add = |title: String, phase: Option<&str>, measure: Measure| {
        let points: Vec<Vec<(f64, f64)>> = names
            .iter()
            .map(|subject| {
                let values = groups.iter().filter_map(|(_, size, runs)| {
                    let median = over_rounds(runs, subject, phase, measure)?.median;
                    Some((f64::from(scenario.load(*size).jobs()), median))
                });
                let mut points: Vec<_> = values.collect();
                points.sort_by(|one, other| one.0.total_cmp(&other.0));
                points
            })
            .collect();
        let lines = names.iter().zip(&points).enumerate();
        let lines: Vec<_> = lines
            .map(|(number, (name, points))| Line { name, number, points, marked: true })
            .filter(|line| line.name != FLOOR || measure.depends_on_the_machine() && measure != Measure::Cpu)
            .collect();
        plots.push(Plot { title, svg: plot::svg("Jobs", &lines) });
    };
    for step in &scenario.steps {
        let name = step.name();
        add(format!("{name}: time, in seconds"), Some(name), Measure::Time);
        add(
            format!("{name}: time of the last write of a Job, in seconds"),
            Some(name),
            Measure::JobWritesTime,
        );
        add(format!("{name}: requests"), Some(name), Measure::Requests);
        add(format!("{name}: CPU time, in seconds"), Some(name), Measure::Cpu);
    }
    add("largest resident memory, in MiB".to_owned(), None, Measure::PeakMemory);
    plots.retain(|plot| !plot.svg.is_empty());
    plots
}

/// Values over the time of the last run of each controller.
fn series_plots(runs: &[&Run], names: &[&str]) -> Vec<Plot> {
    let plot = |title: &str, values: fn(&Run) -> &[(f64, f64)]| {
        let last = |name: &str| runs.iter().rfind(|run| run.subject == name).map(|run| values(run));
        let lines: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(number, name)| Line {
                name,
                number,
                points: last(name).unwrap_or_default(),
                marked: false,
            })
            .collect();
        let size = runs.first().map_or(0, |run| run.size);
        Plot { title: format!("{title}, size {size}"), svg: plot::svg("seconds", &lines) }
    };
    let mut plots = vec![
        plot("resident memory over time, in MiB", |run| &run.series.memory),
        plot("Jobs created over time", |run| &run.series.jobs),
        plot("pods that became ready over time", |run| &run.series.ready),
    ];
    plots.retain(|plot| !plot.svg.is_empty());
    plots
}
