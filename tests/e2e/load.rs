//! Admission requests in the background, none of which may be rejected.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jobset_tests::objects;
use kube::Client;
use kube::api::{Api, DynamicObject, PostParams};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

/// The time between two requests: 50 requests in a second, also while the webhooks do not respond.
const INTERVAL: Duration = Duration::from_millis(20);

/// The load. It ends when this value is dropped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Outcome>,
    started: Instant,
}

#[derive(Default)]
struct Outcome {
    requests: usize,
    /// The rejections, each with the time since the start.
    rejections: Vec<(Duration, String)>,
}

impl Load {
    /// Starts the load. Each request creates the demo JobSet as a dry run.
    pub(crate) async fn start(client: &Client) -> Result<Self> {
        let (api, jobset) = target(client).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let started = Instant::now();
        let task = tokio::spawn(send(api, jobset, started, Arc::clone(&stop)));
        Ok(Self { stop, task, started })
    }

    /// Stops the load, and returns an error if a request was rejected.
    pub(crate) async fn end(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let outcome = (&mut self.task).await.context("the load panicked")?;
        let elapsed = self.started.elapsed();
        let requests = outcome.requests;
        ensure!(
            outcome.rejections.is_empty(),
            "{} of {requests} requests were rejected in {elapsed:?}: {:#?}",
            outcome.rejections.len(),
            outcome.rejections.iter().take(5).collect::<Vec<_>>()
        );
        eprintln!("figure: {requests} admission requests in {elapsed:.1?}, none rejected");
        Ok(())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

async fn send(
    api: Api<DynamicObject>,
    jobset: DynamicObject,
    started: Instant,
    stop: Arc<AtomicBool>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut in_flight = JoinSet::new();
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        let rejection = tokio::select! {
            _ = ticks.tick(), if !stop.load(Ordering::Relaxed) => {
                let (api, jobset) = (api.clone(), jobset.clone());
                in_flight.spawn(async move { create(&api, &jobset).await.err().map(|it| (started.elapsed(), it)) });
                outcome.requests += 1;
                continue;
            }
            Some(result) = in_flight.join_next() => result.ok().flatten(),
            else => return outcome,
        };
        outcome.rejections.extend(rejection);
    }
}

/// Sends one request. The error is the API server's.
pub(crate) async fn request(client: &Client) -> Result<(), String> {
    let (api, jobset) = target(client).await.map_err(|error| format!("{error:#}"))?;
    create(&api, &jobset).await
}

async fn target(client: &Client) -> Result<(Api<DynamicObject>, DynamicObject)> {
    let mut jobset = objects::read(&objects::repository().join("docs/examples/demo-jobset.yaml"))?.remove(0);
    jobset.metadata.namespace = Some("default".to_owned());
    Ok((objects::api_of(client, &jobset).await?, jobset))
}

async fn create(api: &Api<DynamicObject>, jobset: &DynamicObject) -> Result<(), String> {
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    api.create(&dry_run, jobset).await.map(drop).map_err(|error| objects::Refusal::from(error).to_string())
}
