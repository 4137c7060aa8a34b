//! The API server as something that can be away: frozen, so that nobody gets an answer, or dead.

use std::time::Duration;

use anyhow::{Context as _, Result};
use devcluster::process::{self, Daemon, Record};
use devcluster::state::Layout;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const NAME: &str = "kube-apiserver";

/// The API server of the suite's cluster.
pub(crate) struct ApiServer {
    layout: Layout,
    record: Record,
}

/// While this lives, the API server does not go on.
pub(crate) struct Frozen(Pid);

impl ApiServer {
    pub(crate) fn find(layout: &Layout) -> Result<Self> {
        let record = Record::find(layout, NAME).context("the API server is not recorded")?;
        Ok(Self { layout: layout.clone(), record })
    }

    /// Stops it in its tracks: connections stand, and nothing is answered.
    pub(crate) fn freeze(&self) -> Result<Frozen> {
        let pid = Pid::from_raw(self.record.pid);
        kill(pid, Signal::SIGSTOP).context("cannot stop the API server")?;
        Ok(Frozen(pid))
    }

    /// Ends it; returns what starts it again.
    pub(crate) fn end(self) -> Result<impl FnOnce() -> Result<()>> {
        let read = |file: &str| {
            let text = std::fs::read_to_string(format!("/proc/{}/{file}", self.record.pid));
            text.with_context(|| format!("cannot read {file} of the API server"))
        };
        let command = read("cmdline")?;
        let mut words = command.split('\0').filter(|word| !word.is_empty());
        let program = words.next().context("a process has a program")?;
        let daemon = Daemon::new(NAME, program).args(words);
        process::stop(&self.layout, NAME, Duration::from_secs(10))?;
        Ok(move || daemon.spawn(&self.layout).map(drop))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // It may be gone: then there is nothing to wake.
        let _ = kill(self.0, Signal::SIGCONT);
    }
}
