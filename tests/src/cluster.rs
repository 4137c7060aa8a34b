//! The cluster of a suite.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};
use devcluster::kubectl::Kubectl;
use devcluster::progress::Progress;
use devcluster::state::Layout;
use devcluster::{Binaries, Cluster, Options, Settings};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// If this environment variable is set, the cluster of a suite keeps running after the last test.
pub const KEEP: &str = "JOBSET_TEST_KEEP";

/// The cluster of one suite.
#[derive(Clone, Debug)]
pub struct SuiteCluster {
    suite: &'static str,
    cluster: Arc<Cluster>,
    namespaces: Arc<AtomicU32>,
}

impl SuiteCluster {
    /// Starts the cluster, with the programs in the folder `KUBEBUILDER_ASSETS` if that is set.
    pub fn up(suite: &'static str, settings: Settings) -> Result<Self> {
        let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(Into::into);
        let settings = Settings { binaries: Binaries { assets, ..Binaries::default() }, ..settings };
        let cluster = Cluster::up(Options { name: name_of(suite), settings, ..Options::default() })?;
        Ok(Self { suite, cluster: Arc::new(cluster), namespaces: Arc::default() })
    }

    /// Takes the suite's cluster down, in any state, if there is one.
    pub fn take_down(suite: &str) -> Result<()> {
        devcluster::cluster::down(&name_of(suite), None, &Progress::quiet()).map(drop)
    }

    /// Prints the kubeconfig of the suite's cluster, and the command that takes the cluster down.
    pub fn print_instructions(suite: &str) {
        let name = name_of(suite);
        if let Ok(cluster) = Cluster::find(&name, None) {
            eprintln!("the cluster is running: export KUBECONFIG={}", cluster.kubeconfig().display());
            eprintln!("take it down with: cargo run --package devcluster -- down --name {name}");
        }
    }

    /// Copies the logs of the cluster and of the programs under test to [`kept_logs`], because `down` removes them.
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
            eprintln!("warning: cannot copy the logs in {}: {error:#}", from.display());
        }
    }

    /// Folder of this cluster's logs after the suite has ended.
    pub fn kept_logs(&self) -> PathBuf {
        kept_logs(self.suite)
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Its folder.
    pub fn layout(&self) -> &Layout {
        &self.cluster.context().layout
    }

    /// kubectl as the administrator.
    pub fn kubectl(&self) -> Result<Kubectl> {
        self.cluster.kubectl()
    }

    /// A client with the administrator's rights.
    pub async fn client(&self) -> Result<Client> {
        client_of(&self.cluster).await
    }

    /// Creates a namespace. Tests run in parallel, and each uses its own namespace.
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
    Client::try_from(config).context("cannot create a client from the cluster's kubeconfig")
}

/// Name of the cluster. It differs between copies of the repository, so that their tests can run at the same time.
fn name_of(suite: &str) -> String {
    let mut hasher = DefaultHasher::new();
    env!("CARGO_MANIFEST_DIR").hash(&mut hasher);
    format!("test-{suite}-{:06x}", hasher.finish() & 0x00ff_ffff)
}

/// `target/test-logs/<suite>`, next to the output of the suite.
fn kept_logs(suite: &str) -> PathBuf {
    let this = std::env::current_exe().unwrap_or_default();
    // Cargo marks its target folder with this file.
    let target = this.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    let target = target.map_or_else(std::env::temp_dir, PathBuf::from);
    target.join("test-logs").join(suite)
}
