//! Starts the JobSet controller as a process on this machine, for a cluster whose nodes cannot run it.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use devcluster::Cluster;
use jobset_tests::cluster::client_of;
use jobset_tests::controller::Controller;

/// Installs `manifests/` on a cluster of devcluster, and starts the JobSet controller as a process on this machine. The
/// controller runs until the cluster is taken down.
#[derive(Parser)]
struct Arguments {
    /// Name of the cluster
    #[arg(long, value_name = "NAME", default_value = "dev")]
    name: String,
    /// Feature gates to enable or disable
    #[arg(long, value_name = "GATE=BOOL", value_delimiter = ',', value_parser = gate)]
    feature_gates: Vec<(String, bool)>,
}

fn gate(text: &str) -> Result<(String, bool)> {
    let (name, on) = text.split_once('=').context("write GATE=true or GATE=false")?;
    Ok((name.to_owned(), on.parse().context("write true or false after the =")?))
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<()> {
    let cluster = Cluster::find(&arguments.name, None)?;
    let gates: Vec<_> = arguments.feature_gates.iter().map(|(name, on)| (name.as_str(), *on)).collect();
    let (client, layout) = (client_of(&cluster).await?, &cluster.context().layout);
    let controller = Controller::start_with(&client, layout, &gates).await?;
    println!(
        "the JobSet controller runs as {}; its log is {}",
        controller.user(),
        controller.log().display()
    );
    Ok(())
}
