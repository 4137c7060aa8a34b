//! The cluster of a suite.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};
use devcluster::kubectl::Kubectl;
use devcluster::progress::Progress;
use devcluster::state::Layout;
use devcluster::{Binaries, Cluster, NodeKind, Options, Settings};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// Set to anything, it leaves the cluster of a suite standing after the last test, to look at.
pub const KEEP: &str = "JOBSET_TEST_KEEP";

/// A cluster that one suite has for itself.
#[derive(Clone, Debug)]
pub struct SuiteCluster {
    suite: &'static str,
    cluster: Arc<Cluster>,
    namespaces: Arc<AtomicU32>,
}

impl SuiteCluster {
    /// Starts it, with the programs in the folder `KUBEBUILDER_ASSETS` if it is set.
    pub fn up(suite: &'static str, node: NodeKind) -> Result<Self> {
        let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(Into::into);
        let binaries = Binaries { assets, ..Binaries::default() };
        let settings = Settings { node, binaries, ..Settings::default() };
        let cluster = Cluster::up(Options { name: name_of(suite), settings, ..Options::default() })?;
        Ok(Self { suite, cluster: Arc::new(cluster), namespaces: Arc::default() })
    }

    /// Takes the suite's cluster down, if there is one, in whatever state it is.
    pub fn take_down(suite: &str) -> Result<()> {
        devcluster::cluster::down(&name_of(suite), None, &Progress::quiet()).map(drop)
    }

    /// Says where the suite's cluster is and how to get rid of it.
    pub fn tell_how_to_use(suite: &str) {
        let name = name_of(suite);
        if let Ok(cluster) = Cluster::find(&name, None) {
            eprintln!("the cluster stands: export KUBECONFIG={}", cluster.kubeconfig().display());
            eprintln!("take it down with: cargo run --package devcluster -- down --name {name}");
        }
    }

    /// Copies the logs of the cluster and of our programs to where they outlive it; see [`kept_logs`].
    pub fn keep_logs(suite: &str) {
        let Ok(cluster) = Cluster::find(&name_of(suite), None) else { return };
        let (from, to) = (cluster.context().layout.logs(), kept_logs(suite));
        drop(std::fs::remove_dir_all(&to));
        let copy = || -> Result<()> {
            std::fs::create_dir_all(&to)?;
            for entry in std::fs::read_dir(&from)? {
                let path = entry?.path();
                if let Some(name) = path.file_name().filter(|_| path.is_file()) {
                    std::fs::copy(&path, to.join(name))?;
                }
            }
            Ok(())
        };
        if let Err(error) = copy() {
            eprintln!("warning: the logs in {} cannot be kept: {error:#}", from.display());
        }
    }

    /// Where this cluster's logs are when the suite has ended.
    pub fn logs_kept_in(&self) -> PathBuf {
        kept_logs(self.suite)
    }

    /// The cluster itself.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Its folder.
    pub fn layout(&self) -> &Layout {
        &self.cluster.context().layout
    }

    /// kubectl as administrator.
    pub fn kubectl(&self) -> Result<Kubectl> {
        self.cluster.kubectl()
    }

    /// A client with the administrator's rights.
    pub async fn client(&self) -> Result<Client> {
        client_of(&self.cluster).await
    }

    /// A new namespace; tests run side by side and share nothing below cluster scope.
    pub async fn namespace(&self, client: &Client) -> Result<String> {
        let name = format!("test-{}", self.namespaces.fetch_add(1, Ordering::Relaxed));
        let namespace = Namespace {
            metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        Api::all(client.clone()).create(&PostParams::default(), &namespace).await?;
        Ok(name)
    }
}

/// A client with the rights of the cluster's administrator.
pub async fn client_of(cluster: &Cluster) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig())?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Client::try_from(config).context("no client can be made from the cluster's kubeconfig")
}

/// Differs between copies of the repository, so that their tests can run at the same time.
fn name_of(suite: &str) -> String {
    let mut hasher = DefaultHasher::new();
    env!("CARGO_MANIFEST_DIR").hash(&mut hasher);
    format!("test-{suite}-{:06x}", hasher.finish() & 0x00ff_ffff)
}

/// `target/test-logs/<suite>`, beside the suites' own output.
fn kept_logs(suite: &str) -> PathBuf {
    let this = std::env::current_exe().unwrap_or_default();
    // target/debug/deps/<suite>-<hash>
    let target = this.ancestors().nth(3).map_or_else(std::env::temp_dir, PathBuf::from);
    target.join("test-logs").join(suite)
}
