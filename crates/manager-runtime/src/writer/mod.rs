//! Requests that change something: in turn, bounded in flight and in rate, tried again, and only while we lead.
//!
//! ```text
//! send(request) ──► turn ──► pause that the server asked for ──► place in flight ──► token ──► request
//!                     ▲                                                                         │
//!                     └───────────── passing fault: after a pause with jitter ◄─────────────────┘
//! ```
//!
//! * The client opens one connection per request in flight, so a burst of a thousand creates must not become a
//!   thousand connections: [`Writer::IN_FLIGHT`]. The rate is a token bucket.
//! * Callers take [`fair_queue`]: whoever has one request to send waits for at most one of each other caller.
//! * Passing faults (see [`retry`]) are tried again a few times. A request that got no answer may have had its
//!   effect: the second one then finds it (already exists, not found, conflict), and the caller, who knows what
//!   that means, has to look. A conflict is never tried again, as what was to be written was decided on an older
//!   state.
//! * Nothing is sent, and what is under way is dropped, when the [`Fence`] closes.

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

/// Longest wait for the answer to one request. The API server itself gives up after a minute; admission webhooks
/// take up to 30 seconds.
const PATIENCE: Duration = Duration::from_secs(40);

/// One that took so long is not tried again here: whoever waits for it has waited long enough.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {PATIENCE:?}")]
struct NoAnswer;

/// Sends write requests for one caller. Clones share all bounds.
#[derive(Clone)]
pub struct Writer {
    caller: Arc<str>,
    shared: Arc<Shared>,
}

struct Shared {
    fair_queue: FairQueue,
    in_flight: Arc<Semaphore>,
    rate: DefaultDirectRateLimiter,
    /// The server asked to be left alone until then.
    pause: Mutex<Option<Instant>>,
    fence: Fence,
    metrics: OnceLock<WriterMetrics>,
}

impl Writer {
    /// Requests in flight at a time, over all callers.
    pub const IN_FLIGHT: usize = 64;
    /// Requests that one caller should have waiting or in flight at a time.
    pub const PER_CALLER: usize = 32;

    /// Lets `qps` requests a second through, and `burst` at once after a pause, while `fence` is open.
    /// An infinite rate is as good as none.
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

    /// Measures what it sends, and all that take turns with it.
    #[must_use]
    pub fn measured(self, metrics: &Metrics) -> Self {
        self.shared.metrics.get_or_init(|| metrics.writer().clone());
        self
    }

    /// One that takes turns with those of other callers. A caller is whatever should get its share, such as the
    /// object that is reconciled.
    #[must_use]
    pub fn for_caller(&self, caller: &str) -> Self {
        Self { caller: caller.into(), shared: Arc::clone(&self.shared) }
    }

    /// Sends what `request` makes when it is the caller's turn, again after a passing fault, and returns the last
    /// answer.
    pub async fn send<T, Sending>(&self, request: impl Fn() -> Sending) -> kube::Result<T>
    where
        Sending: Future<Output = kube::Result<T>>,
    {
        let mut backoff = Backoff::default();
        loop {
            let answer = match self.shared.fence.guard(self.send_once(&request)).await {
                Ok(answer) => answer,
                Err(closed) => return Err(kube::Error::Service(closed.into())),
            };
            let Err(error) = answer else { return answer };
            let asked = retry::asked_pause(&error);
            if let Some(pause) = asked {
                self.pause(pause);
            }
            let Some(delay) = backoff.after(&error) else { return Err(error) };
            debug!(%error, ?delay, ?asked, "sending again");
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
        let _place = self.place().await;
        match timeout(PATIENCE, request()).await {
            Ok(answer) => answer,
            Err(_) => Err(kube::Error::Service(NoAnswer.into())),
        }
    }

    /// Waits for the caller's turn, and in it for everything else, so that nobody queues anywhere but there.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        let (shared, since) = (&self.shared, Instant::now());
        let _permit = shared.fair_queue.take(&self.caller).await;
        while let Some(end) = shared.paused_until() {
            sleep_until(end).await;
        }
        // The semaphore is never closed; were it, the rate would still hold.
        let place = Arc::clone(&shared.in_flight).acquire_owned().await.ok();
        shared.rate.until_ready().await;
        if let Some(metrics) = shared.metrics.get() {
            metrics.waited.observe(since.elapsed().as_secs_f64());
        }
        place
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
