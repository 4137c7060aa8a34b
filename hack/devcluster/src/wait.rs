//! Waiting for a condition, with a deadline and a reason to give when it passes.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// What a probe saw.
#[derive(Debug)]
pub enum Seen<T> {
    /// The condition holds.
    Ready(T),
    /// Not yet, and why: the last such reason is part of the error when the deadline passes.
    NotYet(String),
}

/// Asks `probe` again and again until it is ready, it fails for good, or `limit` has passed.
///
/// `what` completes the sentence "gave up waiting for ...".
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<Seen<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match probe()? {
            Seen::Ready(value) => return Ok(value),
            Seen::NotYet(reason) if Instant::now() >= deadline => {
                bail!("gave up waiting for {what} after {}s: {reason}", limit.as_secs());
            }
            Seen::NotYet(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_what_the_probe_found() {
        let mut calls = 0;
        let value = until("three calls", Duration::from_secs(5), || {
            calls += 1;
            Ok(if calls == 3 { Seen::Ready(calls) } else { Seen::NotYet(format!("call {calls}")) })
        });
        assert_eq!(value.unwrap(), 3);
    }

    #[test]
    fn names_the_last_reason_when_the_deadline_passes() {
        let error =
            until::<()>("the moon", Duration::ZERO, || Ok(Seen::NotYet("clouds".into()))).unwrap_err();
        assert_eq!(error.to_string(), "gave up waiting for the moon after 0s: clouds");
    }

    #[test]
    fn a_failing_probe_ends_the_wait() {
        let error = until::<()>("the moon", Duration::from_mins(1), || bail!("no sky")).unwrap_err();
        assert_eq!(error.to_string(), "no sky");
    }
}
