//! Progress of long steps: bars and spinners on a terminal, plain lines in a log.
//!
//! All output goes to standard error, so that `$(devcluster kubeconfig)` works.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Interval of progress lines in a log.
const REPORT_INTERVAL: Duration = Duration::from_secs(20);

/// Reports steps. Cheap to clone; clones share the screen.
#[derive(Clone, Debug)]
pub struct Progress {
    mode: Mode,
}

#[derive(Clone, Debug)]
enum Mode {
    Terminal(MultiProgress),
    Lines,
    Quiet,
}

impl Progress {
    /// Uses bars and spinners if standard error is a terminal, otherwise lines.
    pub fn new() -> Self {
        let mode =
            if std::io::stderr().is_terminal() { Mode::Terminal(MultiProgress::new()) } else { Mode::Lines };
        Self { mode }
    }

    /// Uses lines, also on a terminal: for a command that runs beside another one.
    pub fn lines() -> Self {
        Self { mode: Mode::Lines }
    }

    /// Reports nothing, for tests that start many clusters.
    pub fn quiet() -> Self {
        Self { mode: Mode::Quiet }
    }

    /// Starts a step that takes noticeable time, such as `Building Kubernetes v1.37.2`.
    ///
    /// [`Step::done`] reports the step as done. A step that is dropped before that is reported as failed.
    pub fn step(&self, title: impl Into<String>) -> Step {
        let title = title.into();
        let display = match &self.mode {
            Mode::Terminal(screen) => {
                let bar = screen.add(ProgressBar::new_spinner().with_style(spinner_style()));
                bar.set_prefix(title.clone());
                bar.enable_steady_tick(Duration::from_millis(120));
                Display::Bar(bar, screen.clone())
            }
            Mode::Lines => {
                print_line(&format!("{title} ..."));
                Display::Line(Mutex::new(Parts { done: 0, total: 0, reported: Duration::ZERO }))
            }
            Mode::Quiet => Display::Nothing,
        };
        Step { title, display, started: Instant::now(), finished: false }
    }

    /// Prints a line that belongs to no step.
    pub fn note(&self, line: impl AsRef<str>) {
        match &self.mode {
            Mode::Terminal(screen) => screen.suspend(|| print_line(line.as_ref())),
            Mode::Lines => print_line(line.as_ref()),
            Mode::Quiet => {}
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug)]
enum Display {
    Bar(ProgressBar, MultiProgress),
    Line(Mutex<Parts>),
    Nothing,
}

/// Progress of a step.
#[derive(Clone, Copy, Debug)]
struct Parts {
    done: u64,
    total: u64,
    /// Time of the last progress line, since the start of the step.
    reported: Duration,
}

impl Parts {
    /// Formats progress as in `43 %, about 4 min left`.
    fn report(&self, elapsed: Duration) -> String {
        let percent = self.done.min(self.total) * 100 / self.total.max(1);
        // The first parts are too few for an estimate.
        if percent < 5 {
            return format!("{percent} %");
        }
        let left = elapsed.as_secs() * (100 - percent) / percent;
        if left < 60 {
            format!("{percent} %, less than a minute left")
        } else {
            format!("{percent} %, about {} min left", left.div_ceil(60))
        }
    }
}

/// A running step; see [`Progress::step`].
#[derive(Debug)]
pub struct Step {
    title: String,
    display: Display,
    started: Instant,
    finished: bool,
}

impl Step {
    /// Shows the current activity of the step, on a terminal only.
    pub fn message(&self, text: impl Into<String>) {
        if let Display::Bar(bar, _) = &self.display {
            bar.set_message(text.into());
        }
    }

    /// Sets the number of parts of the step. Parts should take about the same time each.
    pub fn total(&self, parts: u64) {
        match &self.display {
            Display::Bar(bar, _) => {
                bar.set_length(parts);
                bar.set_style(bar_style());
            }
            Display::Line(state) => state.lock().unwrap_or_else(PoisonError::into_inner).total = parts,
            Display::Nothing => {}
        }
    }

    /// Adds completed parts. In a log, prints a progress line from time to time.
    pub fn advance(&self, parts: u64) {
        match &self.display {
            Display::Bar(bar, _) => bar.inc(parts),
            Display::Line(state) => {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                let elapsed = self.started.elapsed();
                state.done += parts;
                if elapsed >= state.reported + REPORT_INTERVAL {
                    state.reported = elapsed;
                    print_line(&format!("  {}", state.report(elapsed)));
                }
            }
            Display::Nothing => {}
        }
    }

    /// Reports the step as done.
    pub fn done(mut self) {
        self.finish("done");
    }

    /// Reports the step as done, with details.
    pub fn done_with(mut self, outcome: impl AsRef<str>) {
        self.finish(outcome.as_ref());
    }

    fn finish(&mut self, outcome: &str) {
        self.finished = true;
        let line = format!("{}: {outcome} ({:.1}s)", self.title, self.started.elapsed().as_secs_f64());
        match &self.display {
            Display::Bar(bar, screen) => {
                bar.finish_and_clear();
                screen.suspend(|| print_line(&line));
            }
            Display::Line(_) => print_line(&line),
            Display::Nothing => {}
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.finished {
            self.finish("failed");
        }
    }
}

/// Writes the line with one call, because several processes may share a log.
fn print_line(line: &str) {
    use std::io::Write as _;
    // A closed pipe does not stop the work.
    drop(std::io::stderr().write_all(format!("{line}\n").as_bytes()));
}

// The fallbacks are unreachable: the templates are constants.
fn spinner_style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {prefix} {elapsed:.dim} {wide_msg:.dim}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn bar_style() -> ProgressStyle {
    ProgressStyle::with_template(
        "{spinner} {prefix} {bar:30} {percent} %, {eta} left {elapsed:.dim} {wide_msg:.dim}",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_time_is_estimated_from_elapsed_time() {
        for (done, total, elapsed, expected) in [
            (0, 0, 9, "0 %"),
            (4, 100, 9, "4 %"),
            (10, 100, 60, "10 %, about 9 min left"),
            (50, 200, 61, "25 %, about 4 min left"),
            (90, 100, 300, "90 %, less than a minute left"),
            // More parts than the total.
            (300, 200, 61, "100 %, less than a minute left"),
        ] {
            let parts = Parts { done, total, reported: Duration::ZERO };
            assert_eq!(parts.report(Duration::from_secs(elapsed)), expected, "{done} of {total}");
        }
    }
}
