//! The way to the API server.

use crate::metrics::Metrics;
use kube::{
    Client, Config,
    client::ClientBuilder,
    config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why there is no way.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The file that was named cannot be used.
    #[error("--kubeconfig {0}")]
    Kubeconfig(PathBuf, #[source] KubeconfigError),
    /// No file was named, and nothing else tells of a cluster.
    #[error("found no cluster: give --kubeconfig, set KUBECONFIG, or run in a pod with a service account")]
    NoCluster(#[source] InferConfigError),
    /// What the configuration asks for cannot be done.
    #[error("cannot make a client of the cluster's configuration")]
    Client(#[source] kube::Error),
}

/// A client by the file that is named; without one by `$KUBECONFIG`, by the service account of the pod, or by
/// `~/.kube/config`. Its requests are counted. Nothing is asked of the API server yet.
pub async fn connect(kubeconfig: Option<&Path>, metrics: &Metrics) -> Result<Client, ConnectError> {
    let config = match kubeconfig {
        Some(path) => {
            let unusable = |error| ConnectError::Kubeconfig(path.to_owned(), error);
            let file = Kubeconfig::read_from(path).map_err(unusable)?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(unusable)?
        }
        None => Config::infer().await.map_err(ConnectError::NoCluster)?,
    };
    let counted = metrics.requests(config.cluster_url.authority().map_or("", |host| host.as_str()));
    let builder = ClientBuilder::try_from(config).map_err(ConnectError::Client)?;
    Ok(builder.with_layer(&counted).build())
}
