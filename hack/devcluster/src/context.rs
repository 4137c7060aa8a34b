//! What every part of `up` and `down` is given.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::Result;

use crate::binaries;
use crate::kubectl::Kubectl;
use crate::options::Settings;
use crate::pki::Pki;
use crate::process::Daemon;
use crate::progress::Progress;
use crate::state::{Layout, Network};

/// One cluster at work: its folder, what it shall be, and the means to make it so.
#[derive(Clone, Debug)]
pub struct Context {
    /// Name of the cluster.
    pub name: String,
    /// Its folder.
    pub layout: Layout,
    /// What it was asked to be.
    pub settings: Settings,
    /// Where it is.
    pub network: Network,
    /// Its certificates.
    pub pki: Pki,
    /// Where steps are reported.
    pub progress: Progress,
}

impl Context {
    /// The network namespace of control plane and node, when there is a real node.
    pub fn netns(&self) -> Option<&str> {
        self.network.netns.as_deref()
    }

    /// Address of API server and node.
    pub fn node_address(&self) -> Ipv4Addr {
        self.network.node_address
    }

    /// The program of this name, such as `kubelet`: the one that was given, or else the one that devcluster
    /// builds.
    pub fn binary(&self, name: &str) -> Result<PathBuf> {
        binaries::find(name, &self.settings.binaries, &self.progress)
    }

    /// kubectl as the cluster's administrator.
    pub fn kubectl(&self) -> Result<Kubectl> {
        Ok(Kubectl::new(
            self.binary("kubectl")?,
            self.layout.kubeconfig(),
            self.layout.root().join("kubectl-cache"),
        ))
    }

    /// A daemon that runs in the cluster's network namespace, if it has one.
    pub fn daemon(&self, name: &str, program: impl Into<PathBuf>) -> Daemon {
        Daemon::new(name, program).netns(self.netns())
    }
}
