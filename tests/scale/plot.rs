//! Line plots as SVG, for the report.

use std::fmt::Write as _;

/// Size of a plot, in CSS pixels.
const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 240.0;
/// Space for the labels around the lines.
const LEFT: f64 = 56.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;

/// A line of a plot.
pub(crate) struct Line<'a> {
    /// Name of the subject, whose number is the class `line-N` in the style sheet.
    pub(crate) name: &'a str,
    /// Number of the subject in the report.
    pub(crate) number: usize,
    /// Points, in ascending order of x.
    pub(crate) points: &'a [(f64, f64)],
    /// Marks each point.
    pub(crate) marked: bool,
}

/// A plot; empty if no line has a point.
pub(crate) fn svg(x_label: &str, lines: &[Line<'_>]) -> String {
    let points = || lines.iter().flat_map(|line| line.points);
    if points().next().is_none() {
        return String::new();
    }
    let x = Axis::new(points().map(|(x, _)| *x));
    let y = Axis::new(points().map(|(_, y)| *y));
    let to_x = |value: f64| LEFT + x.position(value) * (WIDTH - LEFT - RIGHT);
    let to_y = |value: f64| HEIGHT - BOTTOM - y.position(value) * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">"#);
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for tick in y.ticks() {
        let at = to_y(tick);
        let _ = write!(
            svg,
            r#"<path class="grid" d="M{LEFT} {at:.1}H{right}"/><text class="y" x="{:.1}" y="{:.1}">{}</text>"#,
            LEFT - 6.0,
            at + 4.0,
            label(tick)
        );
    }
    for tick in x.ticks() {
        let at = to_x(tick);
        let _ = write!(svg, r#"<text class="x" x="{at:.1}" y="{:.1}">{}</text>"#, bottom + 16.0, label(tick));
    }
    let middle = f64::midpoint(LEFT, right);
    let _ = write!(svg, r#"<text class="x" x="{middle:.1}" y="{:.1}">{x_label}</text>"#, HEIGHT - 6.0);
    for Line { name, number, points, marked } in lines {
        let path: Vec<_> = points.iter().map(|(x, y)| format!("{:.1} {:.1}", to_x(*x), to_y(*y))).collect();
        if path.is_empty() {
            continue;
        }
        let _ = write!(
            svg,
            r#"<path class="line line-{number}" d="M{}"><title>{name}</title></path>"#,
            path.join("L")
        );
        for (x, y) in points.iter().filter(|_| *marked) {
            let _ = write!(
                svg,
                r#"<circle class="mark mark-{number}" cx="{:.1}" cy="{:.1}" r="3.5"><title>{name}: {}</title></circle>"#,
                to_x(*x),
                to_y(*y),
                label(*y)
            );
        }
    }
    svg.push_str("</svg>");
    svg
}

/// An axis from zero to a round number.
struct Axis {
    end: f64,
    step: f64,
}

impl Axis {
    fn new(values: impl Iterator<Item = f64>) -> Self {
        let largest = values.fold(0.0, f64::max);
        let largest = if largest > 0.0 { largest } else { 1.0 };
        // About four steps, each 1, 2, 2.5 or 5 times a power of ten.
        let rough = largest / 4.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|factor| factor * power);
        let step = step.into_iter().find(|step| *step >= rough * 0.999).unwrap_or(rough);
        Self { end: (largest / step * 0.999).ceil().max(1.0) * step, step }
    }

    fn position(&self, value: f64) -> f64 {
        value / self.end
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        (0_u32..).map(|number| f64::from(number) * self.step).take_while(|tick| *tick <= self.end * 1.001)
    }
}

/// A number for an axis.
fn label(value: f64) -> String {
    let text = if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        for (largest, expected) in [
            (0.0, "0 0.25 0.5 0.75 1"),
            (0.37, "0 0.1 0.2 0.3 0.4"),
            (1.0, "0 0.25 0.5 0.75 1"),
            (7.0, "0 2 4 6 8"),
            (505.0, "0 200 400 600"),
            (10_000.0, "0 2500 5000 7500 10000"),
        ] {
            let labels: Vec<_> = Axis::new([largest].into_iter()).ticks().map(label).collect();
            assert_eq!(labels.join(" "), expected, "{largest}");
        }
    }

    #[test]
    fn lines_are_within_the_plot() {
        let line = Line { name: "rust", number: 1, points: &[(0.0, 0.0), (100.0, 8.0)], marked: true };
        let svg = svg("Jobs", &[line]);
        assert!(svg.contains(r#"class="line line-1" d="M56.0 200.0L428.0 12.0""#), "{svg}");
        assert!(svg.contains("<title>rust: 8</title>") && svg.contains(">Jobs</text>"), "{svg}");
    }

    #[test]
    fn a_plot_without_points_is_empty() {
        assert_eq!(svg("s", &[Line { name: "rust", number: 0, points: &[], marked: false }]), "");
    }
}
