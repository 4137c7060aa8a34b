//! Installs the OLM bundle on a cluster without OLM, as OLM does.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use jobset_tests::{bundle, objects};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// Installs an OLM bundle on a cluster without OLM, as OLM does.
///
/// Applies the CRDs of the bundle and, from the `ClusterServiceVersion`, the namespace, the service accounts, the roles
/// with their bindings (permissions and clusterPermissions) and the Deployments (install strategy).
#[derive(Parser)]
struct Arguments {
    /// Kubeconfig of the cluster
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    kubeconfig: PathBuf,
    /// Folder of the bundle, which contains manifests/
    #[arg(long, value_name = "DIR", default_value = "bundle")]
    bundle: PathBuf,
    /// Image that replaces every image in the bundle
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Delete the installed objects, except for CRDs and the namespace, which OLM keeps as well
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
        .with_context(|| format!("{} is not a kubeconfig", arguments.kubeconfig.display()))?;
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
