//! Starts the JobSet controller as a process on this machine, for a cluster whose nodes cannot run it.

use std::process::ExitCode;

use anyhow::Result;
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
    let controller = Controller::start(&client_of(&cluster).await?, &cluster.context().layout).await?;
    println!(
        "the JobSet controller runs as {}; its log is {}",
        controller.user(),
        controller.log().display()
    );
    Ok(())
}
