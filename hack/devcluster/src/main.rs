//! The program `devcluster`: a command line for the library of the same name.

use std::io::{self, Write};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};
use devcluster::cluster::{self, Status};
use devcluster::node::{self, LoadImage};
use devcluster::progress::Progress;
use devcluster::{Addons, Binaries, Cluster, Limits, NodeKind, Options, Settings, SimulatedNodes};

const ABOUT: &str = "\
A real Kubernetes cluster on this machine, for the demo, tests and benchmarks.

The control plane is Kubernetes' own (etcd, kube-apiserver, kube-controller-manager, kube-scheduler), built \
with Go from the modules pinned in hack/controlplane/. The first `up` builds them, which takes minutes; \
later ones take seconds.";

const EXAMPLES: &str = "\
Examples:
  devcluster up                          a control plane without nodes
  devcluster up --node kwok:5            with five simulated nodes, without root
  devcluster up --gang --node kwok:4 --node-gpus 8 --racks 2
                                         with gang scheduling, and nodes that can be full
  sudo devcluster up --node real         with a real node: containers, network, DNS, volumes, cert-manager
  export KUBECONFIG=$(devcluster kubeconfig)
  devcluster kubectl get nodes           kubectl in the cluster's version
  devcluster up --name other             a second cluster next to the first
  devcluster status                      every cluster and its daemons
  devcluster down --all                  remove every cluster";

#[derive(Parser)]
#[command(name = "devcluster", version, about = ABOUT, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a cluster, unless it runs already
    #[command(after_help = "\
A second `up` of a running cluster changes nothing. `up` removes a cluster that crashed or did not finish starting, \
and starts a new one. The cluster runs until `devcluster down`.

With --node kwok:N, annotations of a pod decide what happens to it:
  devcluster.jobset.dev/outcome: succeed | fail    without it, the pod runs until it is deleted
  devcluster.jobset.dev/after: 5s                  how long after Ready the pod ends
  devcluster.jobset.dev/exit-code: \"3\"             exit code of its containers when it fails (default 1)
  devcluster.jobset.dev/pod-condition: DisruptionTarget
                                                   a condition that a failed pod gets
  devcluster.jobset.dev/ready-after: 2s            how long it is Running before it is Ready
  devcluster.jobset.dev/terminate-after: 3s        how long its deletion takes")]
    Up(Box<Up>),
    /// Build the programs of a cluster without starting it
    Build {
        #[command(flatten)]
        spec: Box<ClusterSpec>,
        /// Report progress in lines, also on a terminal
        #[arg(long)]
        plain: bool,
    },
    /// Remove a cluster: its processes, mounts, namespace, interface and folder
    Down {
        #[command(flatten)]
        which: Which,
        /// Remove every cluster of this user in the default location
        #[arg(long, conflicts_with_all = ["name", "dir"])]
        all: bool,
    },
    /// List the clusters, their folders and their health
    Status {
        /// Only this cluster; exit with code 1 if it is not healthy
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// The cluster's folder
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Print the path of the cluster's kubeconfig
    Kubeconfig {
        #[command(flatten)]
        which: Which,
        /// Print the content instead of the path
        #[arg(long)]
        print: bool,
    },
    /// Load a container image into the real node, from an archive or from files
    #[command(
        name = "load-image",
        after_help = "\
Examples:
  devcluster load-image --binaries target/release --tag localhost/jobset:dev
  devcluster load-image --archive image.tar

Pods use it with imagePullPolicy Never or IfNotPresent: no registry serves it."
    )]
    Load {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        image: LoadImage,
    },
    /// Run the cluster's kubectl as its administrator
    Kubectl {
        #[command(flatten)]
        which: Which,
        /// Arguments for kubectl
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<String>,
    },
}

/// Selects a cluster.
#[derive(Args)]
struct Which {
    /// Name of the cluster
    #[arg(long, default_value = "dev", value_name = "NAME")]
    name: String,
    /// Folder of the cluster; default: `devcluster/NAME` under `$XDG_STATE_HOME` or `~/.local/state`
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Args)]
struct Up {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    spec: ClusterSpec,
    /// Gang scheduling: serve the API scheduling.k8s.io/v1beta1, and enable the feature gates that it needs
    #[arg(long)]
    gang: bool,
    #[command(flatten)]
    simulated_nodes: SimulatedNodes,
    #[command(flatten)]
    limits: Limits,
}

#[derive(Args)]
struct ClusterSpec {
    /// Nodes: none, real (needs Linux and root), or kwok:N for N simulated nodes
    #[arg(long, default_value = "none", value_name = "KIND")]
    node: NodeKind,
    /// Add-ons of a real node, besides DNS: storage (a default StorageClass), cert-manager, both, or none
    #[arg(long, default_value_t, value_name = "LIST")]
    addons: Addons,
    #[command(flatten)]
    binaries: Binaries,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader closed the pipe, as in `devcluster status | head`.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Display, because Debug adds a backtrace.
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn run(command: Command) -> Result<()> {
    let mut out = io::stdout().lock();
    match command {
        Command::Up(up) => {
            let Up { which: Which { name, dir }, spec, gang, simulated_nodes, limits } = *up;
            let ClusterSpec { node, addons, binaries } = spec;
            let settings = Settings { node, simulated_nodes, gang, addons, limits, binaries };
            let cluster = Cluster::up(Options { name, dir, settings, quiet: false })?;
            eprintln!("export KUBECONFIG={}", cluster.kubeconfig().display());
            Ok(())
        }
        Command::Build { spec, plain } => {
            let ClusterSpec { node, addons, binaries } = *spec;
            let settings = Settings { node, addons, binaries, ..Settings::default() };
            let progress = if plain { Progress::lines() } else { Progress::new() };
            cluster::build(&settings, &progress)
        }
        Command::Down { which, all } => {
            let progress = Progress::new();
            if !all {
                if !cluster::down(&which.name, which.dir.as_deref(), &progress)? {
                    eprintln!("There is no cluster {}", which.name);
                }
                return Ok(());
            }
            let names = cluster::names()?;
            if names.is_empty() {
                eprintln!("There is no cluster");
            }
            for name in names {
                cluster::down(&name, None, &progress)?;
            }
            Ok(())
        }
        Command::Status { name, dir } => status(&mut out, name, dir.as_deref()),
        Command::Kubeconfig { which, print } => {
            let file = Cluster::find(&which.name, which.dir.as_deref())?.kubeconfig();
            if print {
                write!(out, "{}", std::fs::read_to_string(&file)?)?;
            } else {
                writeln!(out, "{}", file.display())?;
            }
            Ok(())
        }
        Command::Load { which, image } => load_image(&which, &image),
        Command::Kubectl { which, args } => {
            let mut kubectl = Cluster::find(&which.name, which.dir.as_deref())?.kubectl()?.command();
            // `exec` returns only when it fails.
            bail!("cannot run kubectl: {}", kubectl.args(args).exec())
        }
    }
}

fn load_image(which: &Which, image: &LoadImage) -> Result<()> {
    let cluster = Cluster::find(&which.name, which.dir.as_deref())?;
    let context = cluster.context();
    if context.settings.node != NodeKind::Real {
        bail!(
            "cluster {} has --node {}, which runs no containers: load images into a cluster with --node real",
            context.name,
            context.settings.node
        );
    }
    let step = context.progress.step("Loading the image");
    let loaded = node::load_image(context, image)?;
    let size = loaded.size.map(|bytes| format!(", {} MB", bytes.div_ceil(1_000_000))).unwrap_or_default();
    step.done_with(format!("{}{size}", loaded.tags.join(", ")));
    Ok(())
}

fn status(out: &mut impl Write, name: Option<String>, dir: Option<&Path>) -> Result<()> {
    let is_one = name.is_some() || dir.is_some();
    let names = if is_one { vec![name.unwrap_or_else(|| "dev".into())] } else { cluster::names()? };
    if names.is_empty() {
        writeln!(out, "There is no cluster")?;
    }
    for name in names {
        match cluster::status(&name, dir) {
            Err(error) if is_one => return Err(error),
            // One broken cluster does not hide the others.
            Err(error) => writeln!(out, "{name}\n  health      {error:#}")?,
            Ok(None) if is_one => bail!("there is no cluster {name}"),
            Ok(None) => {}
            Ok(Some(status)) => {
                print_status(out, &status)?;
                if let (true, Some(problem)) = (is_one, &status.problem) {
                    bail!("cluster {name} is not healthy: {problem}");
                }
            }
        }
    }
    Ok(())
}

fn print_status(out: &mut impl Write, status: &Status) -> io::Result<()> {
    let Status { layout, state, daemons, problem } = status;
    writeln!(out, "{}", state.name)?;
    writeln!(out, "  health      {}", problem.as_deref().unwrap_or("healthy"))?;
    let Settings { node, simulated_nodes, gang, .. } = &state.settings;
    write!(out, "  node        {node}")?;
    if matches!(node, NodeKind::Kwok(_)) {
        write!(out, " {simulated_nodes}")?;
    }
    writeln!(out, "{}", if *gang { "\n  scheduling  --gang" } else { "" })?;
    writeln!(out, "  server      {}", state.network.api_server_url())?;
    writeln!(out, "  folder      {}", layout.root().display())?;
    writeln!(out, "  kubeconfig  {}", layout.kubeconfig().display())?;
    for daemon in daemons {
        let state = if daemon.is_alive() { "running" } else { "DEAD   " };
        writeln!(
            out,
            "  {state}     {} (process {}, {})",
            daemon.name,
            daemon.pid,
            layout.log(&daemon.name).display()
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_definition_is_valid() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn command_line_and_library_have_the_same_default_limits() {
        let Command::Up(up) = Cli::try_parse_from(["devcluster", "up", "--node", "kwok:2"]).unwrap().command
        else {
            panic!("not up");
        };
        assert_eq!((up.spec.node, up.limits), (NodeKind::Kwok(2), Limits::default()));
        assert_eq!((up.simulated_nodes, up.gang), (SimulatedNodes::default(), false));
    }

    #[test]
    fn kubectl_receives_its_arguments_unchanged() {
        let line = ["devcluster", "kubectl", "--name", "west", "get", "pods", "-A", "--name", "x"];
        let Command::Kubectl { which, args } = Cli::try_parse_from(line).unwrap().command else {
            panic!("not kubectl");
        };
        assert_eq!(which.name, "west");
        assert_eq!(args, ["get", "pods", "-A", "--name", "x"]);
    }
}
