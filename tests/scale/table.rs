//! The table on the terminal.

use std::fmt::Write as _;

use crate::budget::Measure;
use crate::result::{FLOOR, Results, Run};
use crate::statistics::Statistics;

const HEADER: [&str; 12] = [
    "step", "of", "time", "x floor", "last Job", "x floor", "spread", "CPU", "requests", "409", "status",
    "denied",
];

/// Groups of runs that differ only in their subject and round.
pub(crate) fn groups(results: &Results) -> Vec<(&str, u32, Vec<&Run>)> {
    let mut groups: Vec<(&str, u32, Vec<&Run>)> = Vec::new();
    for run in &results.runs {
        match groups.iter_mut().find(|(name, size, _)| *name == run.scenario && *size == run.size) {
            Some((_, _, runs)) => runs.push(run),
            None => groups.push((&run.scenario, run.size, vec![run])),
        }
    }
    groups
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

/// The table of all results.
pub(crate) fn render(results: &Results) -> String {
    let mut text = String::new();
    for (scenario, size, runs) in groups(results) {
        let _ = writeln!(text, "\n{scenario}, size {size}");
        let mut rows = vec![HEADER.map(str::to_owned)];
        let mut phases: Vec<&str> = Vec::new();
        for phase in runs.iter().flat_map(|run| &run.phases) {
            if !phases.contains(&phase.name.as_str()) {
                phases.push(&phase.name);
            }
        }
        for phase in phases {
            for subject in subjects(&runs) {
                rows.extend(row(&runs, phase, subject));
            }
        }
        align(&mut text, &rows);
        for subject in subjects(&runs) {
            let memory = |measure| over_rounds(&runs, subject, None, measure).map(|it| it.median);
            if let (Some(rest), Some(peak), Some(end), Some(dirty)) = (
                memory(Measure::RestMemory),
                memory(Measure::PeakMemory),
                memory(Measure::EndMemory),
                memory(Measure::PrivateDirty),
            ) {
                let _ = writeln!(
                    text,
                    "  memory of {subject}: {rest:.1} MiB at rest, {peak:.1} at most, {end:.1} at the end, {dirty:.1} of it private and dirty"
                );
            }
            let requests = runs.iter().find(|run| run.subject == subject && subject != FLOOR);
            for phase in requests.iter().flat_map(|run| &run.phases) {
                let counts: Vec<_> =
                    phase.requests.0.iter().map(|(request, count)| format!("{count} {request}")).collect();
                let _ = writeln!(text, "  {subject}, {}: {}", phase.name, counts.join(", "));
            }
        }
    }
    text
}

fn row(runs: &[&Run], phase: &str, subject: &str) -> Option<[String; 12]> {
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

/// Appends the rows, with aligned columns: text to the left, numbers to the right.
fn align<const N: usize>(text: &mut String, rows: &[[String; N]]) {
    for row in rows {
        let _ = write!(text, " ");
        for (column, cell) in row.iter().enumerate() {
            let width = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
            let width = width.unwrap_or_default();
            let _ = match column {
                0 | 1 => write!(text, " {cell:<width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
        let _ = writeln!(text);
    }
}
