//! Tables of the results, for the terminal and the report.

use std::fmt::Write as _;

use crate::budget::Measure;
use crate::result::{FLOOR, Results, Run, over_rounds, subjects};

/// Number of columns.
pub(crate) const COLUMNS: usize = 12;

/// Titles of the columns. Times are in seconds. "last Job" is the time of the last write of a Job.
pub(crate) const HEADER: [&str; COLUMNS] = [
    "step",
    "subject",
    "time",
    "× floor",
    "last Job",
    "× floor",
    "spread",
    "CPU",
    "requests",
    "conflicts",
    "status",
    "denied pods",
];

/// The table of all results.
pub(crate) fn render(results: &Results) -> String {
    let mut text = String::new();
    for (scenario, size, runs) in results.groups() {
        let _ = writeln!(text, "\n{scenario}, size {size}");
        let mut table = vec![HEADER.map(str::to_owned)];
        table.extend(rows(&runs));
        align(&mut text, &table);
        for note in notes(&runs) {
            let _ = writeln!(text, "  {note}");
        }
    }
    text
}

/// A row for each step and subject.
pub(crate) fn rows(runs: &[&Run]) -> Vec<[String; COLUMNS]> {
    let mut phases: Vec<&str> = Vec::new();
    for phase in runs.iter().flat_map(|run| &run.phases) {
        if !phases.contains(&phase.name.as_str()) {
            phases.push(&phase.name);
        }
    }
    let subjects = subjects(runs);
    let rows =
        phases.iter().flat_map(|phase| subjects.iter().filter_map(|subject| row(runs, phase, subject)));
    rows.collect()
}

fn row(runs: &[&Run], phase: &str, subject: &str) -> Option<[String; COLUMNS]> {
    let value = |subject: &str, measure| over_rounds(runs, subject, Some(phase), measure);
    let time = value(subject, Measure::Time)?;
    let median = |subject: &str, measure| value(subject, measure).map(|it| it.median);
    let seconds = |value: Option<f64>| value.map_or(String::new(), |it| format!("{it:.2}"));
    let ratio = |measure| {
        let ratio = median(subject, measure).zip(median(FLOOR, measure)).map(|(it, floor)| it / floor);
        seconds(ratio.filter(|ratio| ratio.is_finite() && subject != FLOOR))
    };
    let count = |measure| match median(subject, measure) {
        Some(count) if subject != FLOOR => format!("{count:.0}"),
        _ => String::new(),
    };
    Some([
        phase.to_owned(),
        subject.to_owned(),
        seconds(Some(time.median)),
        ratio(Measure::Time),
        seconds(median(subject, Measure::JobWritesTime)),
        ratio(Measure::JobWritesTime),
        format!("{:.0} %", time.spread() * 100.0),
        if subject == FLOOR { String::new() } else { seconds(median(subject, Measure::Cpu)) },
        count(Measure::Requests),
        count(Measure::Conflicts),
        count(Measure::StatusWrites),
        count(Measure::DeniedPods),
    ])
}

/// Sentences about memory, latency and requests.
pub(crate) fn notes(runs: &[&Run]) -> Vec<String> {
    let mut notes = Vec::new();
    for subject in subjects(runs) {
        let median = |phase, measure| over_rounds(runs, subject, phase, measure).map(|it| it.median);
        let memory = [Measure::RestMemory, Measure::PeakMemory, Measure::EndMemory, Measure::PrivateDirty];
        if let [Some(rest), Some(peak), Some(end), Some(dirty)] = memory.map(|it| median(None, it)) {
            notes.push(format!(
                "{subject}: {rest:.1} MiB at rest, at most {peak:.1} MiB, {end:.1} MiB at the end, of which {dirty:.1} MiB are private and dirty"
            ));
        }
        let Some(run) = runs.iter().find(|run| run.subject == subject) else { continue };
        for phase in &run.phases {
            let name = phase.name.as_str();
            let latency = [Measure::LatencyMedian, Measure::LatencyP99, Measure::Rejected];
            if let [Some(middle), Some(p99), Some(rejected)] = latency.map(|it| median(Some(name), it)) {
                notes.push(format!(
                    "{subject}, {name}: median {:.1} ms, 99th percentile {:.1} ms, {rejected:.0} rejected",
                    middle * 1000.0,
                    p99 * 1000.0
                ));
            }
            if let Some(growth) = median(Some(name), Measure::MemoryGrowth) {
                notes.push(format!("{subject}, {name}: memory grew by the factor {growth:.2}"));
            }
            let counts: Vec<_> =
                phase.requests.0.iter().map(|(request, count)| format!("{count} {request}")).collect();
            if !counts.is_empty() {
                notes.push(format!("{subject}, {name}: {}", counts.join(", ")));
            }
        }
    }
    notes
}

/// Appends the rows, with aligned columns: text to the left, numbers to the right.
fn align<const N: usize>(text: &mut String, rows: &[[String; N]]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = width(column);
            let _ = match column {
                0 | 1 => write!(line, "  {cell:<width$}"),
                _ => write!(line, "  {cell:>width$}"),
            };
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
}
