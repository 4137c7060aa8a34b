//! How long a server keeps serving after shutdown begins.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// How long a server keeps serving after shutdown begins. Clients of a Service learn with a delay that the pod
/// terminates: from milliseconds to several seconds, if the cluster is busy. As long as requests arrive, some client has
/// not learned it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drain {
    /// The shortest time.
    pub shortest: Duration,
    /// The time without a request that ends the drain.
    pub quiet: Duration,
    /// The longest time.
    pub longest: Duration,
}

impl Drain {
    /// When a drain that began at `began` ends if no further request arrives.
    pub(super) fn end(&self, began: Instant, last_request: Option<Instant>) -> Instant {
        let quiet = last_request.map_or(began, |last| last + self.quiet);
        quiet.max(began + self.shortest).min(began + self.longest)
    }
}

/// The time of the last request.
#[derive(Clone, Default)]
pub(super) struct LastRequest(Arc<Mutex<Option<Instant>>>);

impl LastRequest {
    pub(super) fn set(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    pub(super) fn get(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_ends_when_no_request_arrives() {
        let second = Duration::from_secs;
        let drain = Drain { shortest: second(5), quiet: second(3), longest: second(15) };
        let began = Instant::now() + second(1000);
        for (last_request, expected) in [
            (None, second(5)),
            (Some(began - second(900)), second(5)),
            (Some(began + second(1)), second(5)),
            (Some(began + second(4)), second(7)),
            (Some(began + second(11)), second(14)),
            (Some(began + second(13)), second(15)),
        ] {
            assert_eq!(drain.end(began, last_request) - began, expected, "{last_request:?}");
        }
    }
}
