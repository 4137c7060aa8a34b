//! Installs the OLM bundle on a cluster without OLM, the way OLM would.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use jobset_tests::{bundle, objects};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// Installs an OLM bundle on a cluster without OLM, the way OLM would.
///
/// From the `ClusterServiceVersion` come the namespace, service accounts, roles with their bindings (permissions
/// and clusterPermissions) and Deployments (install strategy); from beside it, the CRDs.
#[derive(Parser)]
struct Arguments {
    /// How to reach the cluster
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    kubeconfig: PathBuf,
    /// The bundle: a folder with manifests/
    #[arg(long, value_name = "DIR", default_value = "bundle")]
    bundle: PathBuf,
    /// Image to use instead of every image that the bundle names
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Take away what an installation put there; like OLM, leaves CRDs and namespace
    #[arg(long)]
    uninstall: bool,
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
    let installation = bundle::plan(&arguments.bundle, arguments.image.as_deref())?;
    let kubeconfig = Kubeconfig::read_from(&arguments.kubeconfig)
        .with_context(|| format!("{} is no kubeconfig", arguments.kubeconfig.display()))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;
    if arguments.uninstall {
        for object in installation.objects.iter().rev() {
            if !matches!(objects::kind(object), "CustomResourceDefinition" | "Namespace") {
                objects::delete(&client, object).await?;
                println!("deleted  {}", objects::title(object));
            }
        }
    } else {
        for object in &installation.objects {
            objects::apply(&client, object, bundle::FIELD_MANAGER).await?;
            println!("applied  {}", objects::title(object));
        }
    }
    Ok(())
}
