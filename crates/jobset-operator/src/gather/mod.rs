//! `jobset-operator must-gather`: collects what support needs to explain a problem.
//!
//! ```text
//! targets   which objects          pure
//! redact    what must not leave    pure
//! collect   list, log and metrics requests of the API; nothing that it writes
//! archive   a folder or a tar archive, with an index of what is missing
//! ```
//!
//! `oc adm must-gather --image IMAGE` runs the program as `/usr/bin/gather`.

mod archive;
mod collect;
mod metrics;
pub mod redact;
mod targets;

use crate::names;
use anyhow::Context;
use archive::Archive;
use clap::Args;
use collect::Collector;
use manager_runtime::client::connect;
use manager_runtime::metrics::Metrics;
use manager_runtime::shutdown;
use std::path::{Path, PathBuf};
use tracing::info;

/// The name by which `oc adm must-gather` calls this program.
const GATHER: &str = "gather";
/// The name of the subcommand.
const SUBCOMMAND: &str = "must-gather";

/// Options of `must-gather`.
#[derive(Args, Debug)]
pub struct GatherOptions {
    /// Kubeconfig of the cluster. Defaults to the pod's service account, $KUBECONFIG or ~/.kube/config.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Folder for the collected files.
    #[arg(long, value_name = "FOLDER", default_value = "/must-gather")]
    dest_dir: PathBuf,
    /// Write a tar archive to standard output instead of files.
    #[arg(long, conflicts_with = "dest_dir")]
    tar: bool,
    /// Collect the JobSets of this namespace only. The option can be repeated.
    #[arg(long = "namespace", value_name = "NAMESPACE")]
    namespaces: Vec<String>,
    /// The most objects of one kind.
    #[arg(long, value_name = "NUMBER", default_value_t = 5000)]
    max_objects: usize,
    /// The most lines of one log, from its end.
    #[arg(long, value_name = "NUMBER", default_value_t = 20_000)]
    log_lines: i64,
    /// Collect nothing, and wait for a signal, in a pod in which `kubectl exec` runs this program.
    #[arg(long)]
    wait: bool,
}

/// The arguments of the process. As `gather`, the program runs `must-gather`.
pub fn arguments(arguments: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut arguments: Vec<_> = arguments.into_iter().collect();
    let program = arguments.first().and_then(|path| Path::new(path).file_name());
    if program.is_some_and(|name| name == GATHER) {
        arguments.insert(1, SUBCOMMAND.to_owned());
    }
    arguments
}

/// Collects everything. What it cannot collect is in the file `index.yaml`.
///
/// # Errors
/// When no API server is configured, or the output cannot be written.
pub async fn run(options: GatherOptions) -> anyhow::Result<()> {
    if options.wait {
        let shutdown = shutdown::on_signal().context("cannot listen for signals")?;
        info!("waiting for a signal: run `gather --tar` in this pod");
        shutdown.cancelled().await;
        return Ok(());
    }
    let metrics = Metrics::new().context("cannot register the metrics")?;
    let client = connect(options.kubeconfig.as_deref(), &metrics, names::OPERATOR).await?;
    let folder = &options.dest_dir;
    let mut archive = if options.tar {
        Archive::tar(std::io::stdout())
    } else {
        Archive::folder(folder).with_context(|| {
            format!("cannot create --dest-dir {}: use another folder, or --tar", folder.display())
        })?
    };
    let written = Collector::new(client, &options, &mut archive).run().await;
    let (files, missing) = archive.counts();
    written.and_then(|()| archive.finish()).context("cannot write the output")?;
    info!(files, missing, "collected; index.yaml lists the files, and what is missing");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_gather_runs_the_subcommand() {
        let run = |line: &str| arguments(line.split(' ').map(str::to_owned)).join(" ");
        assert_eq!(run("/usr/bin/gather --tar"), "/usr/bin/gather must-gather --tar");
        assert_eq!(run("gather"), "gather must-gather");
        assert_eq!(run("/usr/bin/jobset-operator operator"), "/usr/bin/jobset-operator operator");
        assert_eq!(arguments([]), Vec::<String>::new());
    }
}
