//! The context that every step of `up` and `down` receives.

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

/// A cluster that is being started, used or removed.
#[derive(Clone, Debug)]
pub struct Context {
    /// Name of the cluster.
    pub name: String,
    /// Its folder.
    pub layout: Layout,
    /// Its settings.
    pub settings: Settings,
    /// Its addresses and ports.
    pub network: Network,
    /// Its certificates.
    pub pki: Pki,
    /// Reports the steps.
    pub progress: Progress,
}

impl Context {
    /// The network namespace of the control plane and the node, if the node is real.
    pub fn netns(&self) -> Option<&str> {
        self.network.netns.as_deref()
    }

    /// Address of the API server and the node.
    pub fn node_address(&self) -> Ipv4Addr {
        self.network.node_address
    }

    /// Path of a program such as `kubelet`: the one from the settings, otherwise the one that devcluster builds.
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

    /// A daemon in the cluster's network namespace, or in the host's if the cluster has none.
    pub fn daemon(&self, name: &str, program: impl Into<PathBuf>) -> Daemon {
        Daemon::new(name, program).netns(self.netns())
    }
}
