//! Write requests: ordered fairly, limited in number and rate, retried, and sent only while this replica leads.
//!
//! ```text
//! send(request) ──► fair queue ──► Retry-After ──► slot in flight ──► rate limit ──► request
//!                       ▲                                                               │
//!                       └────────── transient error: after a delay with jitter ◄────────┘
//! ```
//!
//! * The client opens one connection per request in flight, so a burst of a thousand creates must not open a
//!   thousand connections: [`Writer::IN_FLIGHT`]. A token bucket limits the rate.
//! * Callers wait in the [`fair_queue`]: a caller with one request waits for at most one request of each other caller.
//! * The writer retries transient errors (see [`retry`]) a few times. A request without a response may have taken
//!   effect. Its retry then fails (already exists, not found, conflict), and the caller must handle that error. The
//!   writer never retries a conflict, because the request is based on an older state.
//! * When the [`Fence`] closes, the writer sends nothing more and drops the requests in flight.

mod fair_queue;
mod retry;

use crate::{
    leader::Fence,
    metrics::{Metrics, WriterMetrics},
};
use fair_queue::FairQueue;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use retry::Backoff;
use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, sleep_until, timeout},
};
use tracing::debug;

/// Timeout of one request. The API server's own timeout is a minute; admission webhooks take up to 30 seconds.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(40);

/// A request timed out. The writer does not retry it, because the caller has waited long enough.
#[derive(Debug, thiserror::Error)]
#[error("no response within {REQUEST_TIMEOUT:?}")]
struct RequestTimeout;

/// Sends write requests for one caller. Clones share all limits.
#[derive(Clone)]
pub struct Writer {
    caller: Arc<str>,
    shared: Arc<Shared>,
}

struct Shared {
    fair_queue: FairQueue,
    in_flight: Arc<Semaphore>,
    rate: DefaultDirectRateLimiter,
    /// No request before this time: the server requested a delay.
    pause: Mutex<Option<Instant>>,
    fence: Fence,
    metrics: OnceLock<WriterMetrics>,
}

impl Writer {
    /// The maximum number of requests in flight, of all callers together.
    pub const IN_FLIGHT: usize = 64;
    /// The number of requests that one caller should have waiting or in flight.
    pub const PER_CALLER: usize = 32;

    /// A writer that sends `qps` requests a second, with bursts of `burst`, while `fence` is open. An infinite rate
    /// means no limit.
    pub fn new(qps: f32, burst: i32, fence: Fence) -> Self {
        let qps = if qps.is_nan() { 1.0 } else { f64::from(qps).clamp(0.001, 1e6) };
        let period = Duration::from_secs_f64(qps.recip());
        let burst = u32::try_from(burst).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
        let quota =
            Quota::with_period(period).unwrap_or(Quota::per_second(NonZeroU32::MAX)).allow_burst(burst);
        let shared = Shared {
            fair_queue: FairQueue::default(),
            in_flight: Arc::new(Semaphore::new(Self::IN_FLIGHT)),
            rate: RateLimiter::direct(quota),
            pause: Mutex::new(None),
            fence,
            metrics: OnceLock::new(),
        };
        Self { caller: "".into(), shared: Arc::new(shared) }
    }

    /// Adds metrics to this writer and all its clones.
    #[must_use]
    pub fn measured(self, metrics: &Metrics) -> Self {
        self.shared.metrics.get_or_init(|| metrics.writer().clone());
        self
    }

    /// A clone for another caller. Each caller gets an equal share; a caller is for example one object that is
    /// reconciled.
    #[must_use]
    pub fn for_caller(&self, caller: &str) -> Self {
        Self { caller: caller.into(), shared: Arc::clone(&self.shared) }
    }

    /// Sends `request`, retries transient errors, and returns the last result.
    pub async fn send<T, Sending>(&self, request: impl Fn() -> Sending) -> kube::Result<T>
    where
        Sending: Future<Output = kube::Result<T>>,
    {
        let mut backoff = Backoff::default();
        loop {
            let result = match self.shared.fence.guard(self.send_once(&request)).await {
                Ok(result) => result,
                Err(closed) => return Err(kube::Error::Service(closed.into())),
            };
            let Err(error) = result else { return result };
            let retry_after = retry::retry_after(&error);
            if let Some(pause) = retry_after {
                self.pause(pause);
            }
            let Some(delay) = backoff.after(&error) else { return Err(error) };
            debug!(%error, ?delay, ?retry_after, "retrying the request");
            if let Some(metrics) = self.shared.metrics.get() {
                metrics.retries.inc();
            }
            sleep(delay).await;
        }
    }

    async fn send_once<T, Sending>(&self, request: impl Fn() -> Sending) -> kube::Result<T>
    where
        Sending: Future<Output = kube::Result<T>>,
    {
        let _slot = self.slot().await;
        match timeout(REQUEST_TIMEOUT, request()).await {
            Ok(result) => result,
            Err(_) => Err(kube::Error::Service(RequestTimeout.into())),
        }
    }

    /// Waits in the fair queue, and with its lock for all other limits, so that requests queue only there.
    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        let (shared, since) = (&self.shared, Instant::now());
        let _permit = shared.fair_queue.take(&self.caller).await;
        while let Some(end) = shared.paused_until() {
            sleep_until(end).await;
        }
        // The semaphore is never closed. Without it, the rate limit would still apply.
        let slot = Arc::clone(&shared.in_flight).acquire_owned().await.ok();
        shared.rate.until_ready().await;
        if let Some(metrics) = shared.metrics.get() {
            metrics.waited.observe(since.elapsed().as_secs_f64());
        }
        slot
    }

    fn pause(&self, pause: Duration) {
        let end = Instant::now() + pause;
        let mut until = self.shared.pause.lock().unwrap_or_else(PoisonError::into_inner);
        if until.is_none_or(|until| until < end) {
            *until = Some(end);
        }
    }
}

impl Shared {
    fn paused_until(&self) -> Option<Instant> {
        let until = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        until.filter(|until| *until > Instant::now())
    }
}

#[cfg(test)]
#[path = "writer_test.rs"]
mod tests;
