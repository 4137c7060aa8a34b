//! Which faults pass, and when to try again.

use super::NoAnswer;
use governor::Jitter;
use kube::Error;
use std::time::Duration;

/// Tries in all.
const TRIES: u32 = 6;
/// Pause after the first failure; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(100);
/// Longest pause that a server may ask for.
const LONGEST_ASKED: Duration = Duration::from_mins(1);

/// Counts tries. In all they take some three seconds, after which the reconcile backs off instead.
#[derive(Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// When to try again after `error`; None when that is of no use.
    pub(super) fn after(&mut self, error: &Error) -> Option<Duration> {
        self.failures += 1;
        if !passes(error) || self.failures >= TRIES {
            return None;
        }
        let whole = FIRST * 2_u32.pow(self.failures - 1);
        // Half of it at random, so that what failed together does not come back together.
        Some(Jitter::new(whole / 2, whole / 2) + Duration::ZERO)
    }
}

/// Whether the same request may succeed a moment later.
fn passes(error: &Error) -> bool {
    match error {
        Error::Api(status) => status.code == 429 || status.code >= 500,
        // No connection, or one that broke.
        Error::HyperError(_) | Error::ReadEvents(_) | Error::HttpError(_) => true,
        Error::Service(error) => !error.is::<crate::leader::Closed>() && !error.is::<NoAnswer>(),
        _ => false,
    }
}

/// How long the server asked to be left alone.
pub(super) fn asked_pause(error: &Error) -> Option<Duration> {
    let Error::Api(status) = error else { return None };
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (matches!(status.code, 429 | 503) && seconds > 0)
        .then(|| Duration::from_secs(u64::from(seconds)).min(LONGEST_ASKED))
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
    fn only_what_passes_is_tried_again_and_not_for_ever() {
        for code in [400, 403, 404, 409, 422] {
            assert_eq!(Backoff::default().after(&refusal(code, 0)), None, "{code}");
        }
        assert_eq!(Backoff::default().after(&Error::Service(crate::leader::Closed.into())), None);
        assert_eq!(Backoff::default().after(&Error::Service(NoAnswer.into())), None);
        let mut backoff = Backoff::default();
        let delays: Vec<_> = std::iter::from_fn(|| backoff.after(&refusal(500, 0))).collect();
        assert_eq!(delays.len(), 5);
        for (delay, whole) in delays.iter().zip([100, 200, 400, 800, 1600]) {
            assert!((whole / 2..=whole).contains(&delay.as_millis()), "{delays:?}");
        }
        assert!(Backoff::default().after(&Error::Service("connection refused".into())).is_some());
    }

    #[test]
    fn a_server_may_ask_for_a_pause() {
        assert_eq!(asked_pause(&refusal(429, 3)), Some(Duration::from_secs(3)));
        assert_eq!(asked_pause(&refusal(503, 900)), Some(LONGEST_ASKED));
        assert_eq!(asked_pause(&refusal(429, 0)), None);
        assert_eq!(asked_pause(&refusal(500, 3)), None);
    }
}
