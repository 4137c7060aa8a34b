//! The load of step `admission`: dry runs of creations at a constant rate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use devcluster::progress::Step as Bar;
use kube::api::{Api, DynamicObject, PostParams};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::result::Latency;

/// Largest number of requests in flight. A machine that cannot keep up sends fewer requests, and does not collapse.
const IN_FLIGHT: usize = 100;

/// Creates this object as a dry run, `rate` times a second.
pub(crate) async fn load(
    api: &Api<DynamicObject>,
    object: &DynamicObject,
    rate: u32,
    seconds: u32,
    bar: &Bar,
) -> Result<Latency> {
    let total = rate * seconds;
    ensure!(total > 0, "the step admission has no requests: set rate and seconds to at least 1");
    bar.total(u64::from(total));
    let object = Arc::new(object.clone());
    let mut ticks = interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut in_flight = JoinSet::new();
    let (mut latencies, mut rejected) = (Vec::new(), 0);
    let mut sent = 0;
    while sent < total || !in_flight.is_empty() {
        tokio::select! {
            _ = ticks.tick(), if sent < total && in_flight.len() < IN_FLIGHT => {
                sent += 1;
                let (api, object) = (api.clone(), Arc::clone(&object));
                in_flight.spawn(async move {
                    let started = Instant::now();
                    let parameters = PostParams { dry_run: true, ..PostParams::default() };
                    let response = api.create(&parameters, &object).await;
                    (started.elapsed(), response.is_ok())
                });
            }
            Some(response) = in_flight.join_next() => {
                let (latency, accepted) = response.context("a request of the benchmark panicked")?;
                latencies.push(latency.as_secs_f64());
                rejected += u64::from(!accepted);
                bar.advance(1);
            }
        }
    }
    latencies.sort_by(f64::total_cmp);
    let at =
        |percent: usize| latencies.get((latencies.len() * percent / 100).min(latencies.len() - 1)).copied();
    let latency =
        at(50).zip(at(99)).map(|(median, p99)| Latency { median, p99, requests: total.into(), rejected });
    latency.context("the step admission sent no request")
}
