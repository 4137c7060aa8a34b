//! Options of a cluster.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The nodes of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeKind {
    /// No nodes: pods stay Pending.
    #[default]
    None,
    /// One real node, with containers, network and DNS, in its own network namespace. Needs root.
    Real,
    /// This many simulated nodes. Annotations decide what happens to their pods.
    Kwok(u32),
}

impl NodeKind {
    /// One KWOK process cannot renew the leases of more nodes.
    const MAX_KWOK_NODES: u32 = 10_000;
}

impl fmt::Display for NodeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Real => f.write_str("real"),
            Self::Kwok(nodes) => write!(f, "kwok:{nodes}"),
        }
    }
}

impl FromStr for NodeKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "real" => Ok(Self::Real),
            _ => text
                .strip_prefix("kwok:")
                .and_then(|nodes| nodes.parse().ok())
                .filter(|nodes| (1..=Self::MAX_KWOK_NODES).contains(nodes))
                .map(Self::Kwok)
                .ok_or_else(|| {
                    format!(
                        "\"{text}\" is not a node kind: use none, real, or kwok:N with N from 1 to {}",
                        Self::MAX_KWOK_NODES
                    )
                }),
        }
    }
}

/// Serializes a type as its command line value.
macro_rules! serialize_as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

serialize_as_text!(NodeKind);
serialize_as_text!(Addons);

/// The add-ons of a real node, besides DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addons {
    /// A default StorageClass and its provisioner.
    pub storage: bool,
    /// cert-manager.
    pub cert_manager: bool,
}

impl Addons {
    const STORAGE: &str = "storage";
    const CERT_MANAGER: &str = "cert-manager";
    const NONE: &str = "none";
}

impl Default for Addons {
    fn default() -> Self {
        Self { storage: true, cert_manager: true }
    }
}

impl fmt::Display for Addons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.storage, self.cert_manager) {
            (true, true) => "storage,cert-manager",
            (true, false) => Self::STORAGE,
            (false, true) => Self::CERT_MANAGER,
            (false, false) => Self::NONE,
        })
    }
}

impl FromStr for Addons {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut addons = Self { storage: false, cert_manager: false };
        if text == Self::NONE {
            return Ok(addons);
        }
        for name in text.split(',') {
            match name.trim() {
                Self::STORAGE => addons.storage = true,
                Self::CERT_MANAGER => addons.cert_manager = true,
                other => {
                    return Err(format!(
                        "\"{other}\" is not an add-on: use {}, {}, both with a comma between them, or {}",
                        Self::STORAGE,
                        Self::CERT_MANAGER,
                        Self::NONE
                    ));
                }
            }
        }
        Ok(addons)
    }
}

/// Limits of the control plane. The defaults are high, so that tests measure the controller and not the control plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Requests that the API server serves at once, other than writes and watches
    #[arg(long = "max-requests-inflight", value_name = "N", default_value_t = 800, help_heading = "Limits")]
    pub max_requests_inflight: u32,
    /// Writes that the API server serves at once
    #[arg(
        long = "max-mutating-requests-inflight",
        value_name = "N",
        default_value_t = 400,
        help_heading = "Limits"
    )]
    pub max_mutating_requests_inflight: u32,
    /// Requests per second of each controller in kube-controller-manager, and of kube-scheduler
    #[arg(long = "kube-api-qps", value_name = "N", default_value_t = 500, help_heading = "Limits")]
    pub kube_api_qps: u32,
    /// Burst of requests of each of these clients
    #[arg(long = "kube-api-burst", value_name = "N", default_value_t = 1000, help_heading = "Limits")]
    pub kube_api_burst: u32,
    /// Jobs that the Job controller reconciles at once
    #[arg(long = "concurrent-job-syncs", value_name = "N", default_value_t = 10, help_heading = "Limits")]
    pub concurrent_job_syncs: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_requests_inflight: 800,
            max_mutating_requests_inflight: 400,
            kube_api_qps: 500,
            kube_api_burst: 1000,
            concurrent_job_syncs: 10,
        }
    }
}

/// The simulated nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(rename_all = "camelCase")]
pub struct SimulatedNodes {
    /// CPUs of each simulated node
    #[arg(long = "node-cpu", value_name = "N", default_value_t = 1000, help_heading = "Simulated nodes")]
    pub cpu: u32,
    /// GPUs of each simulated node: its resource nvidia.com/gpu
    #[arg(long = "node-gpus", value_name = "N", default_value_t = 0, help_heading = "Simulated nodes")]
    pub gpus: u32,
    /// Racks of the simulated nodes: values of their label devcluster.jobset.dev/rack
    #[arg(
        long = "racks",
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..),
        help_heading = "Simulated nodes"
    )]
    pub racks: u32,
}

impl Default for SimulatedNodes {
    fn default() -> Self {
        Self { cpu: 1000, gpus: 0, racks: 1 }
    }
}

impl fmt::Display for SimulatedNodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--node-cpu {} --node-gpus {} --racks {}", self.cpu, self.gpus, self.racks)
    }
}

/// Programs that replace those that devcluster builds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(rename_all = "camelCase")]
pub struct Binaries {
    /// Folder with some or all of the programs below; devcluster builds the others
    #[arg(long, value_name = "DIR", env = "KUBEBUILDER_ASSETS", help_heading = "Programs")]
    pub assets: Option<PathBuf>,
    /// `etcd` to use
    #[arg(long, value_name = "PATH", help_heading = "Programs")]
    pub etcd: Option<PathBuf>,
    /// kube-apiserver to use
    #[arg(long, value_name = "PATH", help_heading = "Programs")]
    pub kube_apiserver: Option<PathBuf>,
    /// kube-controller-manager to use
    #[arg(long, value_name = "PATH", help_heading = "Programs")]
    pub kube_controller_manager: Option<PathBuf>,
    /// kube-scheduler to use
    #[arg(long, value_name = "PATH", help_heading = "Programs")]
    pub kube_scheduler: Option<PathBuf>,
    /// kubectl to use
    #[arg(long, value_name = "PATH", help_heading = "Programs")]
    pub kubectl: Option<PathBuf>,
    /// kubelet to use
    #[arg(long, value_name = "PATH", help_heading = "Programs")]
    pub kubelet: Option<PathBuf>,
    /// kube-proxy to use
    #[arg(long, value_name = "PATH", help_heading = "Programs")]
    pub kube_proxy: Option<PathBuf>,
    /// kwok to use
    #[arg(long, value_name = "PATH", help_heading = "Programs")]
    pub kwok: Option<PathBuf>,
}

/// The settings of a cluster. A second `up` compares them with those of the running cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Nodes.
    pub node: NodeKind,
    /// Capacity and racks of simulated nodes.
    #[serde(default)]
    pub simulated_nodes: SimulatedNodes,
    /// Gang scheduling, and what belongs to it: topology and resource claims of a pod group.
    #[serde(default)]
    pub gang: bool,
    /// Add-ons of a real node.
    #[serde(default)]
    pub addons: Addons,
    /// Limits of the control plane.
    pub limits: Limits,
    /// Programs that devcluster does not build.
    pub binaries: Binaries,
}

impl From<NodeKind> for Settings {
    fn from(node: NodeKind) -> Self {
        Self { node, ..Self::default() }
    }
}

/// Arguments of [`crate::Cluster::up`].
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the cluster: a DNS label.
    pub name: String,
    /// Folder of the cluster; `None`: `devcluster/<name>` under `$XDG_STATE_HOME` or `~/.local/state`.
    pub dir: Option<PathBuf>,
    /// Settings of the cluster.
    pub settings: Settings,
    /// Reports no progress.
    pub quiet: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { name: "dev".into(), dir: None, settings: Settings::default(), quiet: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_kinds_round_trip() {
        for text in ["none", "real", "kwok:1", "kwok:250"] {
            assert_eq!(text.parse::<NodeKind>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn an_unknown_node_kind_is_an_error_that_lists_the_kinds() {
        for text in
            ["", "Real", "kwok", "kwok:", "kwok:0", "kwok:-1", "kwok:10001", "kwok:99999999999", "minikube"]
        {
            let message = text.parse::<NodeKind>().unwrap_err();
            assert!(
                message.starts_with(&format!("\"{text}\" is not")) && message.contains("kwok:N"),
                "{message}"
            );
        }
    }

    #[test]
    fn addons_round_trip() {
        for text in ["none", "storage", "cert-manager", "storage,cert-manager"] {
            assert_eq!(text.parse::<Addons>().unwrap().to_string(), text);
        }
        assert_eq!("cert-manager, storage".parse(), Ok(Addons::default()));
        for text in ["", "dns", "storage,", "storage,none"] {
            let message = text.parse::<Addons>().unwrap_err();
            assert!(message.contains("is not an add-on: use storage, cert-manager"), "{text:?}: {message}");
        }
    }

    #[test]
    fn settings_round_trip_through_json() {
        let simulated_nodes = SimulatedNodes { cpu: 8, gpus: 4, racks: 2 };
        let settings =
            Settings { node: NodeKind::Kwok(3), simulated_nodes, gang: true, ..Settings::default() };
        let json = serde_json::to_string(&settings).unwrap();
        assert!(json.contains("\"kwok:3\""), "{json}");
        assert_eq!(serde_json::from_str::<Settings>(&json).unwrap(), settings);
    }
}
