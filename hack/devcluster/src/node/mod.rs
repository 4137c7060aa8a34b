//! The real node: containerd, kubelet and kube-proxy, with real containers, pod network and Services.
//!
//! Everything that serves or runs pods, the control plane included, lives in one network namespace
//! ([`network`]); containerd and kubelet share a mount namespace besides ([`containerd`]) and keep their pods
//! under one control group ([`cgroups`]). That makes nodes of several clusters strangers to each other and to
//! the host, and makes it possible to take one away without leaving anything ([`remains`]).

pub mod image;
pub mod network;

mod cgroups;
mod containerd;
mod kube_proxy;
mod kubelet;
mod load;
mod packages;
mod remains;

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

/// Addresses of the node's pods: the first part of the cluster's.
const NODE_POD_CIDR: &str = "10.244.0.0/24";

/// Name of the Node object, which is also what its pods see as the node's name.
pub fn node_name(cluster: &str) -> String {
    format!("{cluster}-node")
}

/// Refuses what cannot have a real node, and installs what one needs.
fn install(progress: &Progress) -> Result<()> {
    if !cfg!(target_os = "linux") {
        bail!("a real node needs Linux: use --node kwok:1 here");
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("a real node needs root: run devcluster as root, or use --node kwok:1");
    }
    packages::install(progress)
}

/// Makes what control plane and node live in: packages, network namespace `id`, control group. The first step of
/// all; can be repeated. Returns the addresses by which host and cluster know each other.
pub fn prepare(id: &str, progress: &Progress) -> Result<Addresses> {
    install(progress)?;
    cgroups::create(id)?;
    network::create(id)
}

/// Starts the node and waits until its Node is Ready. After the control plane; what runs already is left alone.
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
    load(context, &image::pause())?;
    load(context, &image::busybox(busybox_tools()?.lines()))?;
    if !is_running(context, kube_proxy::NAME) {
        kube_proxy::start(context)?;
    }
    if !is_running(context, kubelet::NAME) {
        kubelet::start(context)?;
    }
    step.message("the Node");
    kubelet::wait(context)?;
    step.done();
    Ok(())
}

/// Takes the node away, whatever of it there is: processes, containers, mounts, control groups, namespace and
/// interface. Needs no state but the `id` it was prepared with, and does nothing when there is nothing. Files in
/// the cluster's folder `root` stay.
pub fn stop(id: &str, root: &Path) -> Result<()> {
    remains::remove(id, root)
}

/// The name by which this machine knows the cluster: that of its network namespace and of its control groups.
fn id(context: &Context) -> Result<&str> {
    context.netns().ok_or_else(|| anyhow!("cluster {} has no real node", context.name))
}

fn is_running(context: &Context, daemon: &str) -> bool {
    crate::process::Record::find(&context.layout, daemon).is_some_and(|record| record.is_alive())
}

/// Held by one devcluster of the whole machine at a time, until the returned file is dropped.
fn machine_lock(name: &str) -> Result<std::fs::File> {
    let path = format!("/run/devcluster-{name}.lock");
    let file = lock_file(Path::new(&path))?;
    file.lock().with_context(|| format!("cannot lock {path}"))?;
    Ok(file)
}

/// What Debian's busybox can do, one name a line.
fn busybox_tools() -> Result<String> {
    run(Command::new(packages::BUSYBOX).arg("--list"))
}
