//! The real node: containerd, kubelet and kube-proxy, with real containers, pod network and Services.
//!
//! The node and the control plane are in one network namespace ([`network`]). containerd and kubelet share a mount
//! namespace ([`containerd`]), and their pods are below one control group ([`cgroups`]). This isolates nodes of
//! different clusters from each other and from the host, and allows a complete removal ([`cleanup`]).

pub mod images;
pub mod network;

mod cgroups;
mod cleanup;
mod containerd;
mod kube_proxy;
mod kubelet;
mod load;
mod packages;

pub use containerd::VOLUMES;
pub use load::{LoadImage, Loaded, load, load_cached, load_image};
pub use network::Addresses;

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::binaries::lock_file;
use crate::context::Context;
use crate::process::run;
use crate::progress::Progress;

/// Addresses of the node's pods: the first /24 of the cluster's pod addresses.
const NODE_POD_CIDR: &str = "10.244.0.0/24";

/// Name of the Node object.
pub fn node_name(cluster: &str) -> String {
    format!("{cluster}-node")
}

/// Checks that this machine can run a real node, and installs the packages that it needs.
fn install(progress: &Progress) -> Result<()> {
    if !cfg!(target_os = "linux") {
        bail!("--node real needs Linux: use --node kwok:1");
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("--node real needs root: run devcluster as root, or use --node kwok:1");
    }
    packages::install(progress)
}

/// Installs packages and creates the network namespace and the control groups `id`. Comes before the control plane.
/// Idempotent. Returns the addresses of host and node.
pub fn prepare(id: &str, progress: &Progress) -> Result<Addresses> {
    install(progress)?;
    cgroups::create(id)?;
    network::create(id)
}

/// Starts the node's daemons, unless they run, and waits until the Node is Ready. Comes after the control plane.
pub fn start(context: &Context) -> Result<()> {
    let kubelet = context.binary("kubelet")?;
    let kube_proxy = context.binary("kube-proxy")?;
    let step = context.progress.step("Starting the node");
    drop((kubelet, kube_proxy));
    if !is_running(context, containerd::NAME) {
        step.message("containerd");
        containerd::start(context)?;
    }
    step.message("images");
    load(context, &images::pause())?;
    load(context, &images::busybox(busybox_tools()?.lines()))?;
    if !is_running(context, kube_proxy::NAME) {
        kube_proxy::start(context)?;
    }
    if !is_running(context, kubelet::NAME) {
        kubelet::start(context)?;
    }
    step.message("Node");
    kubelet::wait_until_ready(context)?;
    step.done();
    Ok(())
}

/// Removes the node's processes, containers, mounts, control groups, namespace and interface. Needs only the `id` that
/// `prepare` received. Idempotent. Keeps the files in the cluster's folder `root`.
pub fn stop(id: &str, root: &Path) -> Result<()> {
    cleanup::remove(id, root)
}

/// Name of the cluster's network namespace and control groups.
fn id(context: &Context) -> Result<&str> {
    context.netns().ok_or_else(|| anyhow!("cluster {} has no real node", context.name))
}

fn is_running(context: &Context, daemon: &str) -> bool {
    crate::process::Record::find(&context.layout, daemon).is_some_and(|record| record.is_alive())
}

/// Takes a lock of the machine. The lock is held until the returned file is dropped.
fn machine_lock(name: &str) -> Result<std::fs::File> {
    let path = format!("/run/devcluster-{name}.lock");
    let file = lock_file(Path::new(&path))?;
    file.lock().with_context(|| format!("cannot lock {path}"))?;
    Ok(file)
}

/// The tools in Debian's busybox, one name in each line.
fn busybox_tools() -> Result<String> {
    run(Command::new(packages::BUSYBOX).arg("--list"))
}
