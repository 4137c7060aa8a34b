//! Admission requests in the background, none of which may be rejected.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jobset_tests::objects;
use jobset_tests::wait::TIMEOUT;
use kube::Client;
use kube::api::{Api, DynamicObject, PostParams};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

/// The time between two requests: 50 requests in a second, also while the webhooks do not respond.
const INTERVAL: Duration = Duration::from_millis(20);

/// The number of accepted requests in succession before a load starts.
const ACCEPTED_BEFORE: u32 = 25;

/// An object, and where to create it.
type Target = (Api<DynamicObject>, DynamicObject);

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
    /// When the last accepted request ended.
    accepted: Duration,
    /// The longest time without an accepted request.
    longest_pause: Duration,
}

impl Outcome {
    /// Adds a response that arrived at `now`.
    fn add(&mut self, response: Result<(), String>, now: Duration) {
        match response {
            Ok(()) => {
                self.longest_pause = self.longest_pause.max(now.saturating_sub(self.accepted));
                self.accepted = now;
            }
            Err(message) => self.rejections.push((now, message)),
        }
    }
}

impl Load {
    /// Starts the load. The requests create a JobSet and a pod of a JobSet in turn, as a dry run.
    ///
    /// It starts when requests are accepted in succession: an earlier test can have left a Service whose new pod
    /// kube-proxy does not know yet.
    pub(crate) async fn start(client: &Client) -> Result<Self> {
        let targets = [jobset(client).await?, pod(client).await?];
        let mut accepted = 0;
        let began = Instant::now();
        while accepted < ACCEPTED_BEFORE {
            let answer = request(client).await;
            accepted = if answer.is_ok() { accepted + 1 } else { 0 };
            ensure!(began.elapsed() < TIMEOUT, "the webhooks do not serve before the load: {answer:?}");
            tokio::time::sleep(INTERVAL).await;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let started = Instant::now();
        let task = tokio::spawn(send(targets, started, Arc::clone(&stop)));
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
            "{} of {requests} requests were rejected in {elapsed:?}, and none was accepted for {:?}: {:#?}",
            outcome.rejections.len(),
            outcome.longest_pause,
            outcome.rejections.iter().take(5).collect::<Vec<_>>()
        );
        let pause = outcome.longest_pause;
        eprintln!(
            "figure: {requests} admission requests in {elapsed:.1?}, none rejected, at most {pause:.2?} between responses"
        );
        Ok(())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

async fn send(targets: [Target; 2], started: Instant, stop: Arc<AtomicBool>) -> Outcome {
    let mut targets = targets.iter().cycle();
    let mut outcome = Outcome::default();
    let mut in_flight = JoinSet::new();
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        let response = tokio::select! {
            _ = ticks.tick(), if !stop.load(Ordering::Relaxed) => {
                let Some((api, object)) = targets.next().cloned() else { return outcome };
                in_flight.spawn(async move { create(&api, &object).await });
                outcome.requests += 1;
                continue;
            }
            Some(joined) = in_flight.join_next() => joined,
            else => return outcome,
        };
        outcome.add(response.unwrap_or_else(|error| Err(error.to_string())), started.elapsed());
    }
}

/// Creates a JobSet as a dry run. The error is the API server's.
pub(crate) async fn request(client: &Client) -> Result<(), String> {
    let (api, object) = jobset(client).await.map_err(|error| format!("{error:#}"))?;
    create(&api, &object).await
}

async fn jobset(client: &Client) -> Result<Target> {
    target(client, objects::suspended_jobset("of-the-load")?).await
}

async fn pod(client: &Client) -> Result<Target> {
    let labels = "{jobset.sigs.k8s.io/jobset-name: of-the-load}";
    let spec = "{containers: [{name: c, image: busybox}]}";
    let text =
        format!("{{apiVersion: v1, kind: Pod, metadata: {{name: load, labels: {labels}}}, spec: {spec}}}");
    target(client, objects::one(&text)?).await
}

async fn target(client: &Client, mut object: DynamicObject) -> Result<Target> {
    object.metadata.namespace = Some("default".to_owned());
    Ok((objects::api_of(client, &object).await?, object))
}

async fn create(api: &Api<DynamicObject>, object: &DynamicObject) -> Result<(), String> {
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    api.create(&dry_run, object).await.map(drop).map_err(|error| objects::Refusal::from(error).to_string())
}
