//! Reads logs, and with `--follow` those of pods that come later.

use crate::cluster::Cluster;
use crate::explain::{State, state_of};
use crate::logs::{Selection, Source, new_sources, style};
use anstream::println;
use anyhow::{Context, bail};
use futures::{AsyncBufReadExt, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, LogParams};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::task::JoinSet;

/// How often to look for new pods and containers.
const PERIOD: Duration = Duration::from_secs(1);
/// The most logs to follow at the same time: each needs a connection to the API server.
const MOST_STREAMS: usize = 200;

/// What to print of each log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extent {
    /// The log of the container before its last restart.
    pub(crate) previous: bool,
    /// The number of lines from the end.
    pub(crate) tail: Option<i64>,
}

/// Prints the logs of a JobSet's pods.
pub(crate) async fn logs(
    cluster: &Cluster,
    name: &str,
    selection: &Selection,
    extent: &Extent,
    follow: bool,
) -> anyhow::Result<()> {
    cluster.jobset(name).await?;
    let pods: Api<Pod> = cluster.pods();
    let params = ListParams::default().labels(&selection.labels(name));
    let mut seen = BTreeSet::new();
    let mut streams = JoinSet::new();
    loop {
        let listed = pods.list(&params).await.context("cannot list pods")?;
        let sources = listed.items.iter().flat_map(|pod| selection.sources(name, pod)).collect();
        let new = new_sources(&mut seen, sources);
        if !follow {
            if new.is_empty() {
                bail!("no container of these pods has started: `kubectl jobset explain {name}` says why");
            }
            for source in new {
                print(&pods, &source, extent, false).await;
            }
            return Ok(());
        }
        for source in new {
            if streams.len() >= MOST_STREAMS {
                bail!(
                    "more than {MOST_STREAMS} containers: choose some with --role, --job-index and --pod-index"
                );
            }
            let (pods, extent) = (pods.clone(), extent.clone());
            streams.spawn(async move { print(&pods, &source, &extent, true).await });
        }
        while streams.try_join_next().is_some() {}
        let ended = matches!(state_of(&cluster.jobset(name).await?), State::Completed | State::Failed);
        if ended && streams.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Prints a log, line by line, each with the prefix of its source.
async fn print(pods: &Api<Pod>, source: &Source, extent: &Extent, follow: bool) {
    let params = LogParams {
        container: Some(source.container.clone()),
        follow,
        previous: extent.previous,
        tail_lines: extent.tail,
        ..LogParams::default()
    };
    let style = style(source);
    let prefix = &source.prefix;
    match pods.log_stream(&source.pod, &params).await {
        Ok(stream) => {
            let lines = stream.lines().into_stream();
            lines
                .for_each(|line| async move {
                    match line {
                        Ok(line) => println!("{style}{prefix}{style:#} {line}"),
                        Err(error) => anstream::eprintln!("{prefix} the log ended: {error}"),
                    }
                })
                .await;
        }
        Err(error) => {
            anstream::eprintln!("{prefix} no log: {}", manager_runtime::client::api_message(&error));
        }
    }
}
