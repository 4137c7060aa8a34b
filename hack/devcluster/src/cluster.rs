//! A cluster's life: up, and down again from whatever state it is found in.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::audit::AuditLog;
use crate::binaries;
use crate::context::Context;
use crate::folder::{
    Found, check_name, folder_digest, found, layout_of, lock, machine_wide_name, remove_folder,
};
use crate::kubectl::Kubectl;
use crate::options::{NodeKind, Options, Settings};
use crate::pki::Pki;
use crate::process::{self, Record};
use crate::progress::Progress;
use crate::state::{Layout, Network, Phase, State, create_private_dir};
use crate::{addons, control_plane, kwok, node};

pub use crate::folder::names;

/// A port that was free when it was chosen may be taken when it is used.
const PORT_ATTEMPTS: usize = 5;

/// A standing cluster.
#[derive(Debug)]
pub struct Cluster {
    context: Context,
    remove_on_drop: bool,
}

impl Cluster {
    /// Makes the cluster stand: starts it, or finds that it stands already. What is left of one that crashed, or
    /// was killed while it started, is cleared away first.
    ///
    /// Fails when a cluster of this name stands with other nodes or limits, and when a daemon does not start;
    /// then everything is stopped again and the folder stays, with the logs, until [`down`].
    pub fn up(options: Options) -> Result<Self> {
        let progress = if options.quiet { Progress::quiet() } else { Progress::new() };
        check_name(&options.name)?;
        if options.settings.node == NodeKind::Real && !nix::unistd::geteuid().is_root() {
            bail!("--node real needs root: run devcluster as root, or use --node kwok:N, which does not");
        }
        let layout = layout_of(&options.name, options.dir.as_deref())?;
        let _lock = lock(&layout, &progress)?;
        match found(&layout)? {
            Found::Nothing => {}
            Found::Unreadable(reason) => {
                progress.note(format!("Clearing away what is left of cluster {}: {reason}", options.name));
                take_unknown_down(&layout)?;
            }
            Found::State(state) => match unhealthy(&layout, &state, &progress)? {
                None => {
                    if let Some(difference) = difference(&state, &options) {
                        bail!("{difference}");
                    }
                    progress.note(format!("Cluster {} stands already, and is healthy", state.name));
                    return Self::standing(layout, *state, progress);
                }
                Some(reason) => {
                    progress
                        .note(format!("Cluster {} is not whole ({reason}): starting it anew", state.name));
                    take_down(&layout, &state)?;
                }
            },
        }
        start(&layout, options, &progress).map(|context| Self { context, remove_on_drop: false })
    }

    /// The cluster in this folder, which must be standing; see [`Cluster::up`] for `name` and `dir`.
    pub fn find(name: &str, dir: Option<&Path>) -> Result<Self> {
        check_name(name)?;
        let layout = layout_of(name, dir)?;
        match found(&layout)? {
            Found::State(state) if state.phase == Phase::Running => {
                Self::standing(layout, *state, Progress::new())
            }
            Found::Nothing => {
                bail!("there is no cluster {name}: start it with `devcluster up --name {name}`")
            }
            _ => bail!("cluster {name} did not finish starting: run `devcluster up --name {name}` again"),
        }
    }

    fn standing(layout: Layout, state: State, progress: Progress) -> Result<Self> {
        let pki = Pki::load_or_create(&layout.pki())?;
        let State { name, settings, network, .. } = state;
        Ok(Self {
            context: Context { name, layout, settings, network, pki, progress },
            remove_on_drop: false,
        })
    }

    /// Takes the cluster down when this value is dropped, also when a test panics.
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

    /// What the API server was asked.
    pub fn audit(&self) -> AuditLog {
        AuditLog::new(self.context.layout.audit())
    }

    /// Everything about the cluster.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Takes the cluster down; see [`down`].
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
            progress.note(format!("Cluster {name} could not be taken down: {error:#}"));
        }
    }
}

/// Takes a cluster down, whatever state it is in: its processes, mounts, namespace, interface and folder are gone
/// when this returns. False: there was none.
pub fn down(name: &str, dir: Option<&Path>, progress: &Progress) -> Result<bool> {
    check_name(name)?;
    let layout = layout_of(name, dir)?;
    let _lock = lock(&layout, progress)?;
    let found = found(&layout)?;
    let name = match &found {
        Found::Nothing => return Ok(false),
        Found::State(state) => &state.name,
        Found::Unreadable(_) => name,
    };
    let step = progress.step(format!("Taking cluster {name} down"));
    match &found {
        Found::State(state) => take_down(&layout, state)?,
        Found::Nothing | Found::Unreadable(_) => take_unknown_down(&layout)?,
    }
    step.done();
    Ok(true)
}

/// What is known about a cluster, and whether it is well.
#[derive(Debug)]
pub struct Status {
    /// Its folder.
    pub layout: Layout,
    /// What was written down about it.
    pub state: State,
    /// Its daemons, by name.
    pub daemons: Vec<Record>,
    /// Why it is not healthy; none: it is.
    pub trouble: Option<String>,
}

/// Looks at a cluster; `None` when there is none.
pub fn status(name: &str, dir: Option<&Path>) -> Result<Option<Status>> {
    check_name(name)?;
    let layout = layout_of(name, dir)?;
    let state = match found(&layout)? {
        Found::Nothing => return Ok(None),
        Found::Unreadable(reason) => bail!("{reason}"),
        Found::State(state) => *state,
    };
    let mut daemons = Record::all(&layout);
    daemons.sort_by(|one, other| one.name.cmp(&other.name));
    let trouble = unhealthy(&layout, &state, &Progress::quiet())?;
    Ok(Some(Status { layout, state, daemons, trouble }))
}

/// How a standing cluster differs from what was asked for, in one sentence.
fn difference(state: &State, options: &Options) -> Option<String> {
    let Settings { node, addons, limits, .. } = &options.settings;
    let what = if state.name != options.name {
        format!("in this folder, with the name {}, not {}", state.name, options.name)
    } else if state.settings.node != *node {
        format!("with --node {}, not --node {node}", state.settings.node)
    } else if *node == NodeKind::Real && state.settings.addons != *addons {
        format!("with --addons {}, not --addons {addons}", state.settings.addons)
    } else if state.settings.limits != *limits {
        "with other limits".to_owned()
    } else {
        return None;
    };
    let name = &state.name;
    Some(format!(
        "cluster {name} stands already, {what}: take it down with `devcluster down` first, or give the other one another --name"
    ))
}

/// Why the cluster is not whole; none: it is.
fn unhealthy(layout: &Layout, state: &State, progress: &Progress) -> Result<Option<String>> {
    if state.phase != Phase::Running {
        return Ok(Some("its start was broken off".into()));
    }
    let records = Record::all(layout);
    let missing =
        control_plane::DAEMONS.iter().find(|name| !records.iter().any(|record| record.name == **name));
    if let Some(name) = missing {
        return Ok(Some(format!("{name} was never started")));
    }
    if let Some(record) = records.iter().find(|record| !record.is_alive()) {
        return Ok(Some(format!("{} does not run", record.name)));
    }
    let context = Cluster::standing(layout.clone(), state.clone(), progress.clone())?.context.clone();
    Ok(context
        .kubectl()?
        .run(&["get", "--raw", "/readyz", "--request-timeout=10s"])
        .err()
        .map(|error| format!("{error:#}")))
}

/// The programs that a cluster with these settings consists of.
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

/// Builds the programs that a cluster with these settings consists of, as far as they are missing.
pub fn build(settings: &Settings, progress: &Progress) -> Result<()> {
    binaries::ensure_programs(&programs(settings), &settings.binaries, progress)
}

fn start(layout: &Layout, options: Options, progress: &Progress) -> Result<Context> {
    // What takes minutes, and may fail, comes before there is anything to clear away.
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
        // The error is what the user needs; a second one, of tidying up, would hide it.
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
            Err(error) if attempt < PORT_ATTEMPTS && is_port_taken(&error) => {
                progress.note("A port was taken meanwhile: trying others");
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
    bail!("no free ports were found on 127.0.0.1")
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

/// Ports of 127.0.0.1 that are free at this moment, and differ from each other.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut ports = [0; N];
    let mut held = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port of 127.0.0.1 is free")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

fn is_port_taken(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("address already in use")
}

/// Ends processes and takes mounts, namespace and interface away; leaves the folder.
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

/// Takes down a cluster whose state cannot be read: it may have had a real node, under whatever name.
fn take_unknown_down(layout: &Layout) -> Result<()> {
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
    fn a_second_up_with_other_settings_is_refused() {
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
    fn free_ports_differ() {
        let [one, other, third] = free_ports().unwrap();
        assert!(one != other && other != third && third != one && one != 0);
    }
}
