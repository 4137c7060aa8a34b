//! What happened, line by line, for whoever has to understand a seed. Written only when a seed is replayed, since
//! most of the time of a run would go into words that nobody reads.

use crate::world::Millis;

/// The lines of one world.
#[derive(Default)]
pub(crate) struct History {
    kept: bool,
    lines: Vec<String>,
}

impl History {
    /// One that keeps what it is told, or forgets it.
    pub(crate) fn new(kept: bool) -> Self {
        Self { kept, lines: Vec::new() }
    }

    /// Says what `who` did.
    pub(crate) fn note(&mut self, now: Millis, who: &str, what: impl FnOnce() -> String) {
        if self.kept {
            let seconds = format!("{}.{:03}", now / 1000, now % 1000);
            self.lines.push(format!("{seconds:>12}  {who:<15} {}", what()));
        }
    }

    /// Everything, one line each.
    pub(crate) fn text(&self) -> String {
        self.lines.join("\n")
    }
}
