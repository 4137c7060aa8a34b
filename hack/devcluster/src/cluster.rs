//! Starts and removes clusters. Removal works from every state that a cluster can be in.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::audit::AuditLog;
use crate::binaries;
use crate::context::Context;
use crate::folder::{
    FolderContents, check_name, folder_digest, inspect, layout_of, lock, machine_wide_name, remove_folder,
};
use crate::kubectl::Kubectl;
use crate::options::{NodeKind, Options, Settings, SimulatedNodes};
use crate::pki::Pki;
use crate::process::{self, Record};
use crate::progress::Progress;
use crate::state::{Layout, Network, Phase, State, create_private_dir};
use crate::{addons, control_plane, kwok, node};

pub use crate::folder::names;

/// Another process can take a port after devcluster chose it and before a daemon listens on it.
const PORT_ATTEMPTS: usize = 5;

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    context: Context,
    remove_on_drop: bool,
}

impl Cluster {
    /// Starts the cluster unless it runs already. Removes the remains of a cluster that crashed or did not finish
    /// starting first.
    ///
    /// Returns an error if a cluster of this name runs with other nodes or limits, or if a daemon does not start. In
    /// the second case, it stops all daemons and keeps the folder with the logs until [`down`].
    pub fn up(options: Options) -> Result<Self> {
        let progress = if options.quiet { Progress::quiet() } else { Progress::new() };
        check_name(&options.name)?;
        check_settings(&options.settings)?;
        let layout = layout_of(&options.name, options.dir.as_deref())?;
        let _lock = lock(&layout, &progress)?;
        match inspect(&layout)? {
            FolderContents::Absent => {}
            FolderContents::Unreadable(reason) => {
                progress.note(format!("Removing the remains of cluster {}: {reason}", options.name));
                take_down_unreadable(&layout)?;
            }
            FolderContents::Cluster(state) => match find_problem(&layout, &state, &progress)? {
                None => {
                    if let Some(difference) = difference(&state, &options) {
                        bail!("{difference}");
                    }
                    progress.note(format!("Cluster {} runs already and is healthy", state.name));
                    return Self::open(layout, *state, progress);
                }
                Some(reason) => {
                    progress.note(format!("Cluster {} is not healthy ({reason}): restarting it", state.name));
                    take_down(&layout, &state)?;
                }
            },
        }
        start(&layout, options, &progress).map(|context| Self { context, remove_on_drop: false })
    }

    /// Opens a running cluster by its name or its folder.
    pub fn find(name: &str, dir: Option<&Path>) -> Result<Self> {
        check_name(name)?;
        let layout = layout_of(name, dir)?;
        match inspect(&layout)? {
            FolderContents::Cluster(state) if state.phase == Phase::Running => {
                Self::open(layout, *state, Progress::new())
            }
            FolderContents::Absent => {
                bail!("there is no cluster {name}: start it with `devcluster up --name {name}`")
            }
            _ => bail!("cluster {name} did not finish starting: run `devcluster up --name {name}` again"),
        }
    }

    fn open(layout: Layout, state: State, progress: Progress) -> Result<Self> {
        let pki = Pki::load_or_create(&layout.pki())?;
        let State { name, settings, network, .. } = state;
        Ok(Self {
            context: Context { name, layout, settings, network, pki, progress },
            remove_on_drop: false,
        })
    }

    /// Removes the cluster when this value is dropped, also when a test panics.
    #[must_use]
    pub fn down_on_drop(mut self) -> Self {
        self.remove_on_drop = true;
        self
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.context.layout.kubeconfig()
    }

    /// kubectl as the cluster's administrator.
    pub fn kubectl(&self) -> Result<Kubectl> {
        self.context.kubectl()
    }

    /// The API server's audit log.
    pub fn audit(&self) -> AuditLog {
        AuditLog::new(self.context.layout.audit())
    }

    /// The cluster's context.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Removes the cluster; see [`down`].
    pub fn down(mut self) -> Result<()> {
        self.remove_on_drop = false;
        self.remove()
    }

    fn remove(&self) -> Result<()> {
        let Context { layout, network, progress, .. } = &self.context;
        let _lock = lock(layout, progress)?;
        stop_everything(layout, network.netns.as_deref())?;
        remove_folder(layout)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.remove_on_drop {
            return;
        }
        if let Err(error) = self.remove() {
            let Context { name, progress, .. } = &self.context;
            progress.note(format!("Cannot take cluster {name} down: {error:#}"));
        }
    }
}

/// Removes a cluster in any state: its processes, mounts, namespace, interface and folder. Returns false if there is
/// no such cluster.
pub fn down(name: &str, dir: Option<&Path>, progress: &Progress) -> Result<bool> {
    check_name(name)?;
    let layout = layout_of(name, dir)?;
    let _lock = lock(&layout, progress)?;
    let contents = inspect(&layout)?;
    let name = match &contents {
        FolderContents::Absent => return Ok(false),
        FolderContents::Cluster(state) => &state.name,
        FolderContents::Unreadable(_) => name,
    };
    let step = progress.step(format!("Taking cluster {name} down"));
    match &contents {
        FolderContents::Cluster(state) => take_down(&layout, state)?,
        FolderContents::Absent | FolderContents::Unreadable(_) => take_down_unreadable(&layout)?,
    }
    step.done();
    Ok(true)
}

/// State and health of a cluster.
#[derive(Debug)]
pub struct Status {
    /// Its folder.
    pub layout: Layout,
    /// Its recorded state.
    pub state: State,
    /// Its daemons, sorted by name.
    pub daemons: Vec<Record>,
    /// Why it is not healthy; `None`: it is healthy.
    pub problem: Option<String>,
}

/// Returns the status of a cluster, or `None` if there is no such cluster.
pub fn status(name: &str, dir: Option<&Path>) -> Result<Option<Status>> {
    check_name(name)?;
    let layout = layout_of(name, dir)?;
    let state = match inspect(&layout)? {
        FolderContents::Absent => return Ok(None),
        FolderContents::Unreadable(reason) => bail!("{reason}"),
        FolderContents::Cluster(state) => *state,
    };
    let mut daemons = Record::all(&layout);
    daemons.sort_by(|one, other| one.name.cmp(&other.name));
    let problem = find_problem(&layout, &state, &Progress::quiet())?;
    Ok(Some(Status { layout, state, daemons, problem }))
}

/// Returns an error if devcluster cannot start a cluster with these settings.
fn check_settings(settings: &Settings) -> Result<()> {
    let Settings { node, simulated_nodes, .. } = settings;
    if *node == NodeKind::Real && !nix::unistd::geteuid().is_root() {
        bail!("--node real needs root: run devcluster as root, or use --node kwok:N, which does not");
    }
    if !matches!(node, NodeKind::Kwok(_)) && *simulated_nodes != SimulatedNodes::default() {
        bail!(
            "{simulated_nodes} needs simulated nodes, and --node is {node}: use --node kwok:N, or leave these flags out"
        );
    }
    Ok(())
}

/// An error message if the running cluster differs from the options.
fn difference(state: &State, options: &Options) -> Option<String> {
    let Settings { node, simulated_nodes, gang, addons, limits, .. } = &options.settings;
    let what = if state.name != options.name {
        format!("in this folder, with the name {}, not {}", state.name, options.name)
    } else if state.settings.node != *node {
        format!("with --node {}, not --node {node}", state.settings.node)
    } else if state.settings.simulated_nodes != *simulated_nodes {
        format!("with {}, not {simulated_nodes}", state.settings.simulated_nodes)
    } else if state.settings.gang != *gang {
        format!("with{} --gang", if *gang { "out" } else { "" })
    } else if *node == NodeKind::Real && state.settings.addons != *addons {
        format!("with --addons {}, not --addons {addons}", state.settings.addons)
    } else if state.settings.limits != *limits {
        "with other limits".to_owned()
    } else {
        return None;
    };
    let name = &state.name;
    Some(format!(
        "cluster {name} runs already, {what}: take it down with `devcluster down` first, or use another --name"
    ))
}

/// Checks the health of a cluster. Returns the first problem.
fn find_problem(layout: &Layout, state: &State, progress: &Progress) -> Result<Option<String>> {
    if state.phase != Phase::Running {
        return Ok(Some("it did not finish starting".into()));
    }
    let records = Record::all(layout);
    let missing =
        control_plane::DAEMONS.iter().find(|name| !records.iter().any(|record| record.name == **name));
    if let Some(name) = missing {
        return Ok(Some(format!("{name} did not start")));
    }
    if let Some(record) = records.iter().find(|record| !record.is_alive()) {
        return Ok(Some(format!("{} is not running", record.name)));
    }
    let context = Cluster::open(layout.clone(), state.clone(), progress.clone())?.context.clone();
    Ok(context
        .kubectl()?
        .run(&["get", "--raw", "/readyz", "--request-timeout=10s"])
        .err()
        .map(|error| format!("{error:#}")))
}

/// The programs of a cluster with these settings.
fn programs(settings: &Settings) -> Vec<&'static str> {
    let mut programs: Vec<&str> = control_plane::DAEMONS.to_vec();
    programs.push("kubectl");
    match settings.node {
        NodeKind::None => {}
        NodeKind::Kwok(_) => programs.push("kwok"),
        NodeKind::Real => {
            programs.extend(["kubelet", "kube-proxy"]);
            programs.extend(addons::programs(settings.addons));
        }
    }
    programs
}

/// Builds the missing programs of a cluster with these settings.
pub fn build(settings: &Settings, progress: &Progress) -> Result<()> {
    binaries::ensure_programs(&programs(settings), &settings.binaries, progress)
}

fn start(layout: &Layout, options: Options, progress: &Progress) -> Result<Context> {
    // The build takes minutes and can fail: it comes before there is anything to clean up.
    build(&options.settings, progress)?;
    let mut state = State {
        phase: Phase::Starting,
        network: Network {
            netns: (options.settings.node == NodeKind::Real)
                .then(|| machine_wide_name(layout, &options.name)),
            node_address: Ipv4Addr::LOCALHOST,
            host_address: None,
            api_server_port: 6443,
            etcd_port: 2379,
            etcd_peer_port: 2380,
        },
        name: options.name,
        settings: options.settings,
    };
    let root = layout.root();
    create_private_dir(root)?;
    state.store(layout)?;
    layout.create()?;
    let outcome = start_daemons(layout, &mut state, progress);
    if outcome.is_err() {
        // The user needs the first error. An error of the cleanup would hide it.
        drop(stop_everything(layout, state.network.netns.as_deref()));
    }
    let context = outcome?;
    state.phase = Phase::Running;
    state.store(layout)?;
    Ok(context)
}

fn start_daemons(layout: &Layout, state: &mut State, progress: &Progress) -> Result<Context> {
    let pki = Pki::load_or_create(&layout.pki())?;
    if let Some(netns) = state.network.netns.clone() {
        let addresses = node::prepare(&netns, progress)?;
        state.network.node_address = addresses.node;
        state.network.host_address = Some(addresses.host);
        state.store(layout)?;
    }
    for attempt in 1.. {
        if state.network.netns.is_none() {
            let [api_server, etcd, etcd_peer] = free_ports()?;
            state.network.api_server_port = api_server;
            state.network.etcd_port = etcd;
            state.network.etcd_peer_port = etcd_peer;
            state.store(layout)?;
        }
        let context = Context {
            name: state.name.clone(),
            layout: layout.clone(),
            settings: state.settings.clone(),
            network: state.network.clone(),
            pki: pki.clone(),
            progress: progress.clone(),
        };
        match control_plane::start(&context) {
            Ok(()) => {
                start_nodes(&context)?;
                return Ok(context);
            }
            Err(error) if attempt < PORT_ATTEMPTS && is_port_in_use(&error) => {
                progress.note("Another process took a port: trying other ports");
                process::kill_all(layout)?;
                for folder in [layout.etcd(), layout.logs(), layout.pids()] {
                    fs::remove_dir_all(&folder)
                        .with_context(|| format!("cannot remove {}", folder.display()))?;
                }
                layout.create()?;
            }
            Err(error) => return Err(error),
        }
    }
    bail!("no free ports on 127.0.0.1 after {PORT_ATTEMPTS} attempts")
}

fn start_nodes(context: &Context) -> Result<()> {
    match context.settings.node {
        NodeKind::None => Ok(()),
        NodeKind::Real => {
            node::start(context)?;
            addons::install(context)
        }
        NodeKind::Kwok(nodes) => kwok::start(context, nodes),
    }
}

/// Chooses distinct free ports of 127.0.0.1.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut ports = [0; N];
    // Open listeners keep the ports distinct.
    let mut listeners = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port of 127.0.0.1 is free")?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

fn is_port_in_use(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("address already in use")
}

/// Stops the processes and removes mounts, namespace and interface, but not the folder.
fn stop_everything(layout: &Layout, netns: Option<&str>) -> Result<()> {
    if let Some(netns) = netns {
        node::stop(netns, layout.root())?;
    }
    process::kill_all(layout)
}

fn take_down(layout: &Layout, state: &State) -> Result<()> {
    stop_everything(layout, state.network.netns.as_deref())?;
    remove_folder(layout)
}

/// Takes down a cluster whose state is unreadable. It may have a real node. The namespace of that node is found by the
/// digest in its name.
fn take_down_unreadable(layout: &Layout) -> Result<()> {
    let suffix = format!("-{}", folder_digest(layout));
    let netns = fs::read_dir(process::NETNS_FOLDER)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find(|name| name.starts_with("devcluster-") && name.ends_with(&suffix));
    stop_everything(layout, netns.as_deref())?;
    remove_folder(layout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Limits;

    #[test]
    fn a_second_up_with_other_settings_is_an_error() {
        let mut options = Options::default();
        let mut state = State {
            name: "dev".into(),
            phase: Phase::Running,
            settings: options.settings.clone(),
            network: Network {
                netns: None,
                node_address: Ipv4Addr::LOCALHOST,
                host_address: None,
                api_server_port: 1,
                etcd_port: 2,
                etcd_peer_port: 3,
            },
        };
        assert_eq!(difference(&state, &options), None);
        state.settings.limits = Limits { kube_api_qps: 1, ..Limits::default() };
        assert!(difference(&state, &options).unwrap().contains("with other limits"));
        state.settings.gang = true;
        assert!(difference(&state, &options).unwrap().contains("runs already, with --gang:"));
        state.settings.simulated_nodes.cpu = 4;
        let message = difference(&state, &options).unwrap();
        let sizes = "with --node-cpu 4 --node-gpus 0 --racks 1, not --node-cpu 1000 --node-gpus 0 --racks 1:";
        assert!(message.contains(sizes), "{message}");
        (state.settings.gang, state.settings.simulated_nodes) = (false, SimulatedNodes::default());
        state.settings.node = NodeKind::Kwok(5);
        assert!(difference(&state, &options).unwrap().contains("with --node kwok:5, not --node none"));
        (state.settings.node, options.settings.node) = (NodeKind::Real, NodeKind::Real);
        state.settings.addons.storage = false;
        let message = difference(&state, &options).unwrap();
        assert!(
            message.contains("with --addons cert-manager, not --addons storage,cert-manager"),
            "{message}"
        );
    }

    #[test]
    fn a_capacity_without_simulated_nodes_is_an_error() {
        let simulated_nodes = SimulatedNodes { gpus: 8, ..SimulatedNodes::default() };
        let mut settings = Settings { simulated_nodes, ..Settings::default() };
        let message = check_settings(&settings).unwrap_err().to_string();
        assert!(message.contains("--node-gpus 8") && message.contains("--node is none"), "{message}");
        settings.node = NodeKind::Kwok(2);
        check_settings(&settings).unwrap();
    }

    #[test]
    fn free_ports_are_distinct() {
        let [one, other, third] = free_ports().unwrap();
        assert!(one != other && other != third && third != one && one != 0);
    }
}
