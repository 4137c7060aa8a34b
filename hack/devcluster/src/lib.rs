//! A real Kubernetes cluster on this machine, for the demo, tests and benchmarks.
//!
//! The control plane is Kubernetes' own: etcd, kube-apiserver, kube-controller-manager and kube-scheduler, as
//! processes of this machine. A cluster has no nodes, one real node in its own network namespace, or any number of
//! simulated nodes. A cluster is one folder, see [`state::Layout`].
//!
//! ```no_run
//! use devcluster::{Cluster, NodeKind, Options, Settings};
//!
//! let settings = Settings { node: NodeKind::Kwok(5), ..Settings::default() };
//! let cluster = Cluster::up(Options { name: "mine".into(), settings, ..Options::default() })?;
//! println!("export KUBECONFIG={}", cluster.kubeconfig().display());
//! cluster.down()?;
//! # anyhow::Ok(())
//! ```

pub mod addons;
pub mod audit;
pub mod binaries;
pub mod cluster;
pub mod kubectl;
pub mod node;
pub mod options;
pub mod pki;
pub mod process;
pub mod progress;
pub mod state;
pub mod wait;

mod context;
mod control_plane;
mod digest;
mod folder;
mod kwok;

pub use audit::AuditLog;
pub use cluster::Cluster;
pub use context::Context;
pub use options::{Addons, Binaries, Limits, NodeKind, Options, Settings, SimulatedNodes};
