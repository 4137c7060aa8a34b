//! An explanation as text for people.

use super::{Explanation, State};
use anstyle::{AnsiColor, Style};
use std::fmt;

const BOLD: Style = Style::new().bold();

impl State {
    fn style(self) -> Style {
        let color = match self {
            Self::Running | Self::Completed => AnsiColor::Green,
            Self::Failed => AnsiColor::Red,
            Self::Starting | Self::Restarting | Self::Suspended | Self::Deleting => AnsiColor::Yellow,
        };
        color.on_default().bold()
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let style = self.state.style();
        writeln!(f, "{BOLD}JobSet {}/{}{BOLD:#}: {style}{}{style:#}", self.namespace, self.name, self.state)?;
        writeln!(f, "{}", printable(&self.summary))?;
        section(f, "Why it waits", &self.waiting)?;
        if let Some(failure) = &self.failure {
            section(f, "What failed first", [&failure.sentence].into_iter().chain(&failure.hint))?;
            for line in &failure.log {
                writeln!(f, "    | {}", printable(line))?;
            }
        }
        section(f, "Restarts", &self.restarts)?;
        section(f, "What happens next", &self.next)?;
        section(f, "What is unknown", &self.unknown)
    }
}

fn section<'a>(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    sentences: impl IntoIterator<Item = &'a String>,
) -> fmt::Result {
    let mut sentences = sentences.into_iter().peekable();
    if sentences.peek().is_some() {
        writeln!(f, "\n{BOLD}{title}{BOLD:#}")?;
    }
    sentences.try_for_each(|sentence| writeln!(f, "  * {}", printable(sentence)))
}

/// Without the control characters with which a log could change the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() && letter != '\t' { '\u{fffd}' } else { letter })
        .collect()
}
