//! Which errors are transient, and when to retry.

use super::RequestTimeout;
use governor::Jitter;
use kube::Error;
use std::time::Duration;

/// Attempts in all, with the first one.
const ATTEMPTS: u32 = 6;
/// Delay after the first failure. Each further delay is twice as long.
const FIRST: Duration = Duration::from_millis(100);
/// The longest `Retry-After` that the writer obeys.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(1);

/// Counts failures. All attempts take about three seconds; after that, the reconcile backs off instead.
#[derive(Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The delay before the next attempt, or None if no attempt should follow.
    pub(super) fn after(&mut self, error: &Error) -> Option<Duration> {
        self.failures += 1;
        if !is_transient(error) || self.failures >= ATTEMPTS {
            return None;
        }
        let whole = FIRST * 2_u32.pow(self.failures - 1);
        // Jitter spreads the retries of requests that failed together.
        Some(Jitter::new(whole / 2, whole / 2) + Duration::ZERO)
    }
}

/// Whether the same request may succeed later.
fn is_transient(error: &Error) -> bool {
    match error {
        Error::Api(status) => status.code == 429 || status.code >= 500,
        // The connection failed.
        Error::HyperError(_) | Error::ReadEvents(_) | Error::HttpError(_) => true,
        Error::Service(error) => !error.is::<crate::leader::Closed>() && !error.is::<RequestTimeout>(),
        _ => false,
    }
}

/// The delay that the server requests.
pub(super) fn retry_after(error: &Error) -> Option<Duration> {
    let Error::Api(status) = error else { return None };
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (matches!(status.code, 429 | 503) && seconds > 0)
        .then(|| Duration::from_secs(u64::from(seconds)).min(MAX_RETRY_AFTER))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use kube::core::{Status, response::StatusDetails};
    use serde_json::json;

    pub(in crate::writer) fn refusal(code: u16, retry_after_seconds: u32) -> Error {
        let details: StatusDetails =
            serde_json::from_value(json!({"retryAfterSeconds": retry_after_seconds})).unwrap();
        Error::Api(Box::new(Status { code, details: Some(details), ..Status::default() }))
    }

    #[test]
    fn only_transient_errors_are_retried_a_few_times() {
        for code in [400, 403, 404, 409, 422] {
            assert_eq!(Backoff::default().after(&refusal(code, 0)), None, "{code}");
        }
        assert_eq!(Backoff::default().after(&Error::Service(crate::leader::Closed.into())), None);
        assert_eq!(Backoff::default().after(&Error::Service(RequestTimeout.into())), None);
        let mut backoff = Backoff::default();
        let delays: Vec<_> = std::iter::from_fn(|| backoff.after(&refusal(500, 0))).collect();
        assert_eq!(delays.len(), 5);
        for (delay, whole) in delays.iter().zip([100, 200, 400, 800, 1600]) {
            assert!((whole / 2..=whole).contains(&delay.as_millis()), "{delays:?}");
        }
        assert!(Backoff::default().after(&Error::Service("connection refused".into())).is_some());
    }

    #[test]
    fn retry_after_is_limited() {
        assert_eq!(retry_after(&refusal(429, 3)), Some(Duration::from_secs(3)));
        assert_eq!(retry_after(&refusal(503, 900)), Some(MAX_RETRY_AFTER));
        assert_eq!(retry_after(&refusal(429, 0)), None);
        assert_eq!(retry_after(&refusal(500, 3)), None);
    }
}
