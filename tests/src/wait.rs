//! Waits for a condition, with a timeout and the last observation in the error.

use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Default timeout. It is long because machines can be slow, and because Kubernetes' controllers need a minute to
/// recover after an outage of the API server.
pub const TIMEOUT: Duration = Duration::from_mins(5);

/// Calls `observe` until its result satisfies `condition`, and returns that result.
///
/// An error of `observe` ends the wait. The error of a timeout contains the last observation. `what` completes the
/// sentence "timed out waiting for ...".
pub async fn wait_for<T, Observe, Observation>(
    what: &str,
    timeout: Duration,
    mut observe: Observe,
    condition: impl Fn(&T) -> bool,
) -> Result<T>
where
    T: Debug,
    Observe: FnMut() -> Observation,
    Observation: Future<Output = Result<T>>,
{
    let deadline = Instant::now() + timeout;
    loop {
        let observed = observe().await?;
        if condition(&observed) {
            return Ok(observed);
        }
        if Instant::now() >= deadline {
            bail!("timed out waiting for {what} after {}s; last observed: {observed:#?}", timeout.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Calls `observe` for as long as `span`, and returns an error as soon as `condition` does not hold.
///
/// Use it to check that something does *not* happen. `what` completes the sentence "expected ... for 5s".
pub async fn holds_for<T, Observe, Observation>(
    what: &str,
    span: Duration,
    mut observe: Observe,
    condition: impl Fn(&T) -> bool,
) -> Result<()>
where
    T: Debug,
    Observe: FnMut() -> Observation,
    Observation: Future<Output = Result<T>>,
{
    let end = Instant::now() + span;
    while Instant::now() < end {
        let observed = observe().await?;
        if !condition(&observed) {
            bail!("expected {what} for {span:?}; observed: {observed:#?}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn wait_for_returns_the_first_satisfying_observation() {
        let mut calls = 0;
        let seen = wait_for(
            "a third call",
            Duration::from_secs(5),
            || {
                calls += 1;
                let now = calls;
                async move { Ok(now) }
            },
            |calls| *calls >= 3,
        );
        assert_eq!(seen.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_timeout_reports_the_last_observation() {
        let error =
            wait_for("the pod", Duration::ZERO, || async { Ok("Pending") }, |seen| *seen == "Running")
                .await
                .unwrap_err();
        assert_eq!(error.to_string(), "timed out waiting for the pod after 0s; last observed: \"Pending\"");
    }

    #[tokio::test]
    async fn an_error_ends_the_wait() {
        let error =
            wait_for("the pod", Duration::from_mins(1), || async { bail!("not found") }, |(): &()| true)
                .await
                .unwrap_err();
        assert_eq!(error.to_string(), "not found");
    }

    #[tokio::test]
    async fn holds_for_reports_the_observation_that_violates_the_condition() {
        let error = holds_for("no write", Duration::from_mins(1), || async { Ok(1) }, |writes| *writes == 0)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "expected no write for 60s; observed: 1");
    }
}
