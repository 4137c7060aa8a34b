//! Delays before retries. Thousands of agents lose the same API server at the same moment, so delays are random.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// The longest `Retry-After` that the agent accepts.
const LONGEST_REQUESTED: Duration = Duration::from_mins(1);

/// Exponential backoff. It knows no clock: the caller sleeps, and resets it after a success.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The delay after another failure: a random part of an upper limit that doubles from 1 second to 30 seconds, after
    /// the delay that the API server requested. `random` is in `0.0..1.0`.
    pub(crate) fn delay(&mut self, random: f64, requested: Option<Duration>) -> Duration {
        let limit = FIRST.saturating_mul(2_u32.saturating_pow(self.failures)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        // Never zero: no loop without a pause.
        let random = 0.1 + 0.9 * random.clamp(0.0, 1.0);
        requested.unwrap_or_default().min(LONGEST_REQUESTED) + limit.mul_f64(random)
    }

    /// Forgets the failures.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_doubles_up_to_30_seconds() {
        let mut backoff = Backoff::default();
        let delays: Vec<_> = (0..7).map(|_| backoff.delay(1.0, None).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 30, 30]);
        backoff.reset();
        assert_eq!(backoff.delay(1.0, None), FIRST);
        backoff.failures = u32::MAX;
        assert_eq!(backoff.delay(1.0, None), LONGEST);
    }

    #[test]
    fn delays_are_spread_over_the_limit_and_never_zero() {
        let delay = |random| Backoff { failures: 5 }.delay(random, None);
        assert_eq!((delay(0.0), delay(0.5)), (Duration::from_secs(3), Duration::from_millis(16_500)));
    }

    #[test]
    fn the_api_server_can_request_a_delay() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.delay(1.0, Some(Duration::from_secs(5))), Duration::from_secs(6));
        assert_eq!(backoff.delay(1.0, Some(Duration::MAX)), Duration::from_secs(62));
    }
}
