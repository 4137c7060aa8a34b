//! Requests that change something: bounded in flight, and in rate by a token bucket.
//!
//! The client opens one connection per request in flight, so a burst of a thousand creates must not become a
//! thousand connections. Requests wait in order of arrival; a caller with many writes keeps only
//! [`Writer::PER_CALLER`] of them waiting, so that other callers come in between.

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use std::{num::NonZeroU32, sync::Arc};
use tokio::sync::Semaphore;

/// Paces and bounds write requests. Clones share the bounds.
#[derive(Clone)]
pub struct Writer {
    in_flight: Arc<Semaphore>,
    rate: Arc<DefaultDirectRateLimiter>,
}

impl Writer {
    /// Requests in flight at a time, over all callers.
    pub const IN_FLIGHT: usize = 64;
    /// Requests that one caller should have waiting or in flight at a time.
    pub const PER_CALLER: usize = 32;

    /// Lets `qps` requests a second through, and `burst` at once after a pause.
    /// Values below one read as one.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before the cast")]
    pub fn new(qps: f32, burst: i32) -> Self {
        let whole = |value: f64| NonZeroU32::new(value.clamp(1.0, 1e6) as u32).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(whole(f64::from(qps))).allow_burst(whole(f64::from(burst)));
        Self {
            in_flight: Arc::new(Semaphore::new(Self::IN_FLIGHT)),
            rate: Arc::new(RateLimiter::direct(quota)),
        }
    }

    /// Sends one request when its turn comes, and returns its answer.
    pub async fn send<T>(&self, request: impl Future<Output = T>) -> T {
        // The semaphore is never closed; were it, the rate would still hold.
        let _place = self.in_flight.acquire().await;
        self.rate.until_ready().await;
        request.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn no_more_than_the_bound_is_in_flight() {
        let writer = Writer::new(1e6, 1_000_000);
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let one = || async {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            now.fetch_sub(1, Ordering::SeqCst);
        };
        futures::future::join_all((0..500).map(|_| writer.send(one()))).await;
        assert_eq!(most.load(Ordering::SeqCst), Writer::IN_FLIGHT);
    }
}
