//! Files and recorded state of a cluster.
//!
//! A cluster is one folder. `up` records addresses, ports and the namespace there before it uses them, so that `down`
//! finds them even after `up` was killed.

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
    /// The layout below this folder. Creates nothing.
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

    /// Kubeconfig of the cluster's administrator (group `system:masters`). Its context has the cluster's name.
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

    /// Folder of the API server's audit log and its rotated files.
    pub fn audit(&self) -> PathBuf {
        self.root.join("audit")
    }

    /// The file that the API server appends to; see [`crate::audit::AuditLog`].
    pub fn audit_log(&self) -> PathBuf {
        self.audit().join("audit.log")
    }

    /// Data of the real node: files of containerd and the kubelet, sockets, images.
    pub fn node(&self) -> PathBuf {
        self.root.join("node")
    }

    /// Creates the folders. Only the owner can read them, because they contain keys.
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

/// Progress of a cluster's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// `up` has not finished.
    Starting,
    /// `up` has finished.
    Running,
}

/// Addresses and ports. They do not change after the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// Name of the network namespace of control plane and node; `None`: that of the host.
    pub netns: Option<String>,
    /// Address of the API server and, with a real node, of the node.
    pub node_address: Ipv4Addr,
    /// The host's address on the pair of interfaces into the namespace, in the same /30.
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
    /// Addresses of pods. Clusters use the same range, because each has its own network namespace.
    pub const POD_CIDR: &'static str = "10.244.0.0/16";
    /// DNS domain of the cluster.
    pub const CLUSTER_DOMAIN: &'static str = "cluster.local";

    /// URL of the API server, from the namespace and from the host.
    pub fn api_server_url(&self) -> String {
        format!("https://{}:{}", self.node_address, self.api_server_port)
    }
}

/// Recorded state of a cluster, in [`Layout::state_file`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Name of the cluster.
    pub name: String,
    /// Progress of its start.
    pub phase: Phase,
    /// Its settings.
    pub settings: Settings,
    /// Its addresses and ports.
    pub network: Network,
}

impl State {
    /// Reads the state of the cluster in this folder; `None` if there is no state file.
    pub fn load(layout: &Layout) -> Result<Option<Self>> {
        let file = layout.state_file();
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(anyhow!("cannot read {}: {error}", file.display())),
        };
        let state = serde_json::from_str(&text).with_context(|| {
            format!("{} is not a valid state file: remove the cluster with `devcluster down`", file.display())
        })?;
        Ok(Some(state))
    }

    /// Replaces the state file atomically.
    pub fn store(&self, layout: &Layout) -> Result<()> {
        write_atomically(&layout.state_file(), serde_json::to_string_pretty(self)?.as_bytes())
    }
}

/// Creates a folder and its parents, readable only by the owner.
pub(crate) fn create_private_dir(folder: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot create folder {}", folder.display()))
}

/// Replaces a file atomically. Only the owner can read it.
pub fn write_atomically(file: &Path, content: &[u8]) -> Result<()> {
    let write = || -> Result<()> {
        let folder = file.parent().ok_or_else(|| anyhow!("the path has no parent folder"))?;
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
    fn state_round_trips_through_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path().join("west"));
        layout.create().unwrap();
        assert_eq!(State::load(&layout).unwrap(), None);
        state().store(&layout).unwrap();
        assert_eq!(State::load(&layout).unwrap(), Some(state()));
    }

    #[test]
    fn an_invalid_state_is_an_error_with_file_and_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        fs::write(layout.state_file(), "{\"name\":").unwrap();
        let message = format!("{:#}", State::load(&layout).unwrap_err());
        assert!(message.contains("state.json") && message.contains("devcluster down"), "{message}");
    }

    #[test]
    fn only_the_owner_can_read_the_folders() {
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
    fn server_url_contains_address_and_port() {
        let mut network = state().network;
        network.node_address = Ipv4Addr::new(10, 222, 3, 2);
        assert_eq!(network.api_server_url(), "https://10.222.3.2:6443");
    }
}
