//! Waiting for a condition, with a deadline and a report of what was seen last.

use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long to wait for what has no limit of its own. It is no measure of speed: a machine may be slow, and after the
/// API server was away the cluster's own controllers come back only after a minute.
pub const PATIENCE: Duration = Duration::from_mins(5);

/// Asks `look` again and again until what it returns satisfies `condition`, and returns that.
///
/// An error of `look` ends the wait. When `limit` has passed, the error tells what was seen last; `what`
/// completes the sentence "gave up waiting for ...".
pub async fn wait_for<T, Look, Looking>(
    what: &str,
    limit: Duration,
    mut look: Look,
    condition: impl Fn(&T) -> bool,
) -> Result<T>
where
    T: Debug,
    Look: FnMut() -> Looking,
    Looking: Future<Output = Result<T>>,
{
    let deadline = Instant::now() + limit;
    loop {
        let seen = look().await?;
        if condition(&seen) {
            return Ok(seen);
        }
        if Instant::now() >= deadline {
            bail!("gave up waiting for {what} after {}s; last seen: {seen:#?}", limit.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Looks at something `look` returns for as long as `span`, and fails as soon as `condition` does not hold.
///
/// For what must *not* happen: the span is the test's patience, not a guess at how long something takes.
pub async fn holds_for<T, Look, Looking>(
    what: &str,
    span: Duration,
    mut look: Look,
    condition: impl Fn(&T) -> bool,
) -> Result<()>
where
    T: Debug,
    Look: FnMut() -> Looking,
    Looking: Future<Output = Result<T>>,
{
    let end = Instant::now() + span;
    while Instant::now() < end {
        let seen = look().await?;
        if !condition(&seen) {
            bail!("{what} did not hold; seen: {seen:#?}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn returns_the_first_sight_that_satisfies() {
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
    async fn tells_what_was_seen_last() {
        let error = wait_for("dawn", Duration::ZERO, || async { Ok("stars") }, |seen| *seen == "sun")
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "gave up waiting for dawn after 0s; last seen: \"stars\"");
    }

    #[tokio::test]
    async fn an_error_ends_the_wait() {
        let error = wait_for("dawn", Duration::from_mins(1), || async { bail!("fog") }, |(): &()| true)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "fog");
    }

    #[tokio::test]
    async fn a_broken_condition_is_reported_with_what_broke_it() {
        let error = holds_for("silence", Duration::from_mins(1), || async { Ok(1) }, |noise| *noise == 0)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "silence did not hold; seen: 1");
    }
}
