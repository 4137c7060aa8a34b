//! Freezes a process of the cluster: it keeps its connections and does nothing.

use anyhow::{Context as _, Result};
use devcluster::process::Record;
use devcluster::state::Layout;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The process is frozen until this guard is dropped.
pub struct Frozen(Pid);

/// Freezes the daemon with this name, such as `kube-apiserver`.
pub fn freeze(layout: &Layout, daemon: &str) -> Result<Frozen> {
    let record = Record::find(layout, daemon).with_context(|| format!("{daemon} is not recorded"))?;
    let pid = Pid::from_raw(record.pid);
    kill(pid, Signal::SIGSTOP).with_context(|| format!("cannot freeze {daemon}"))?;
    Ok(Frozen(pid))
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // The process may have ended; then there is nothing to resume.
        let _ = kill(self.0, Signal::SIGCONT);
    }
}
