//! Makes the API server unavailable: a test can freeze its process, so that clients get no response, or stop it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use devcluster::process::{self, Daemon, Record};
use devcluster::state::Layout;

use crate::freeze::{Frozen, freeze};

const NAME: &str = "kube-apiserver";

/// The API server of the suite's cluster.
#[derive(Debug)]
pub struct ApiServer {
    layout: Layout,
    record: Record,
}

impl ApiServer {
    /// The API server of the cluster in this folder.
    pub fn find(layout: &Layout) -> Result<Self> {
        let record = Record::find(layout, NAME).context("the API server is not recorded")?;
        Ok(Self { layout: layout.clone(), record })
    }

    /// Freezes the process: connections stay open, and the API server does not respond.
    pub fn freeze(&self) -> Result<Frozen> {
        freeze(&self.layout, NAME)
    }

    /// Stops the API server. Returns a function that starts it again.
    pub fn stop(self) -> Result<impl FnOnce() -> Result<()>> {
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
