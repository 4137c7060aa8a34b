//! What a cluster consists of on disk, and what is written down about it.
//!
//! A cluster is one folder. Everything that it starts is recorded there before it is used, so that `down`
//! finds it again whatever happened to the process that started it.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use serde::{Deserialize, Serialize};

use crate::options::Settings;

/// The files and folders of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The cluster whose folder this is; nothing is created.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The cluster's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `state.json`: see [`State`].
    pub fn state_file(&self) -> PathBuf {
        self.root.join("state.json")
    }

    /// Kubeconfig of the cluster's administrator (group `system:masters`), current context named after the cluster.
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    /// Certificates and keys; see [`crate::pki::Pki`].
    pub fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }

    /// etcd's data.
    pub fn etcd(&self) -> PathBuf {
        self.root.join("etcd")
    }

    /// One log file for each daemon.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The log file of one daemon: standard output and standard error.
    pub fn log(&self, daemon: &str) -> PathBuf {
        self.logs().join(format!("{daemon}.log"))
    }

    /// One file for each daemon; see [`crate::process::Record`].
    pub fn pids(&self) -> PathBuf {
        self.root.join("pids")
    }

    /// Configuration files and kubeconfigs rendered for the daemons.
    pub fn config(&self) -> PathBuf {
        self.root.join("config")
    }

    /// The API server's audit log and its rotated predecessors.
    pub fn audit(&self) -> PathBuf {
        self.root.join("audit")
    }

    /// The file that the API server appends to; see [`crate::audit::AuditLog`].
    pub fn audit_log(&self) -> PathBuf {
        self.audit().join("audit.log")
    }

    /// What belongs to the real node: containerd's and the kubelet's data, sockets, images.
    pub fn node(&self) -> PathBuf {
        self.root.join("node")
    }

    /// Creates the folders, readable by nobody else: they hold keys.
    pub fn create(&self) -> Result<()> {
        for folder in [
            self.root.clone(),
            self.pki(),
            self.etcd(),
            self.logs(),
            self.pids(),
            self.config(),
            self.audit(),
            self.node(),
        ] {
            create_private_dir(&folder)?;
        }
        Ok(())
    }
}

/// How far a cluster got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// `up` began; whatever stands is half a cluster.
    Starting,
    /// `up` finished.
    Running,
}

/// Addresses and ports, chosen once and kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// Name of the network namespace that control plane and node live in; none: they live in the host's.
    pub netns: Option<String>,
    /// Address of the API server and, with a real node, of the node.
    pub node_address: Ipv4Addr,
    /// The host's end of the pair that leads into the namespace, on the same /30.
    pub host_address: Option<Ipv4Addr>,
    /// The API server's port.
    pub api_server_port: u16,
    /// etcd's port for clients, on 127.0.0.1 (of the namespace).
    pub etcd_port: u16,
    /// etcd's port for peers, on 127.0.0.1 (of the namespace).
    pub etcd_peer_port: u16,
}

impl Network {
    /// Addresses of Services.
    pub const SERVICE_CIDR: &'static str = "10.96.0.0/12";
    /// Address of the Service `kubernetes`: the first of [`Self::SERVICE_CIDR`].
    pub const KUBERNETES_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
    /// Address of the cluster's DNS Service.
    pub const DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
    /// Addresses of pods. Each cluster has its own namespace, so that all can use the same.
    pub const POD_CIDR: &'static str = "10.244.0.0/16";
    /// DNS domain of the cluster.
    pub const CLUSTER_DOMAIN: &'static str = "cluster.local";

    /// Where the API server answers, both inside the namespace and from the host.
    pub fn api_server_url(&self) -> String {
        format!("https://{}:{}", self.node_address, self.api_server_port)
    }
}

/// What is known about a cluster, kept in [`Layout::state_file`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Name of the cluster.
    pub name: String,
    /// How far it got.
    pub phase: Phase,
    /// What it was asked to be.
    pub settings: Settings,
    /// Where it is.
    pub network: Network,
}

impl State {
    /// Reads the state of the cluster in this folder; `None` when there is none.
    pub fn load(layout: &Layout) -> Result<Option<Self>> {
        let file = layout.state_file();
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(anyhow!("cannot read {}: {error}", file.display())),
        };
        let state = serde_json::from_str(&text).with_context(|| {
            format!(
                "{} is not a state that this devcluster wrote; `devcluster down` removes the cluster",
                file.display()
            )
        })?;
        Ok(Some(state))
    }

    /// Writes the state whole: a reader sees the old one or the new one.
    pub fn store(&self, layout: &Layout) -> Result<()> {
        write_whole(&layout.state_file(), serde_json::to_string_pretty(self)?.as_bytes())
    }
}

/// Creates a folder, and those that it is in, for this user alone.
pub(crate) fn create_private_dir(folder: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot create folder {}", folder.display()))
}

/// Replaces a file in one step, readable by its owner alone.
pub fn write_whole(file: &Path, content: &[u8]) -> Result<()> {
    let write = || -> Result<()> {
        let folder = file.parent().ok_or_else(|| anyhow!("it has no folder"))?;
        let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
        temporary.write_all(content)?;
        temporary.persist(file)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::NodeKind;

    fn state() -> State {
        State {
            name: "west".into(),
            phase: Phase::Starting,
            settings: Settings { node: NodeKind::Kwok(7), ..Settings::default() },
            network: Network {
                netns: None,
                node_address: Ipv4Addr::LOCALHOST,
                host_address: None,
                api_server_port: 6443,
                etcd_port: 2379,
                etcd_peer_port: 2380,
            },
        }
    }

    #[test]
    fn a_stored_state_is_loaded_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path().join("west"));
        layout.create().unwrap();
        assert_eq!(State::load(&layout).unwrap(), None);
        state().store(&layout).unwrap();
        assert_eq!(State::load(&layout).unwrap(), Some(state()));
    }

    #[test]
    fn a_damaged_state_names_the_file_and_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        fs::write(layout.state_file(), "{\"name\":").unwrap();
        let message = format!("{:#}", State::load(&layout).unwrap_err());
        assert!(message.contains("state.json") && message.contains("devcluster down"), "{message}");
    }

    #[test]
    fn folders_are_closed_to_others() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path().join("east"));
        layout.create().unwrap();
        for path in [layout.root().to_path_buf(), layout.pki(), layout.node()] {
            assert_eq!(
                fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o700,
                "{}",
                path.display()
            );
        }
    }

    #[test]
    fn the_server_url_names_address_and_port() {
        let mut network = state().network;
        network.node_address = Ipv4Addr::new(10, 222, 3, 2);
        assert_eq!(network.api_server_url(), "https://10.222.3.2:6443");
    }
}
