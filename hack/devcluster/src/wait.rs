//! Waits for a condition, with a timeout.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Result of a probe.
#[derive(Debug)]
pub enum ProbeResult<T> {
    /// The condition holds.
    Ready(T),
    /// The condition does not hold yet, and why. The error of a timeout contains the last reason.
    Pending(String),
}

/// Calls `probe` until it returns [`ProbeResult::Ready`] or an error, or until `timeout` has passed.
///
/// `what` completes the sentence "timed out waiting for ...".
pub fn until<T>(
    what: &str,
    timeout: Duration,
    mut probe: impl FnMut() -> Result<ProbeResult<T>>,
) -> Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        match probe()? {
            ProbeResult::Ready(value) => return Ok(value),
            ProbeResult::Pending(reason) if Instant::now() >= deadline => {
                bail!("timed out waiting for {what} after {}s: {reason}", timeout.as_secs());
            }
            ProbeResult::Pending(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn until_returns_the_value_of_the_probe() {
        let mut calls = 0;
        let value = until("three calls", Duration::from_secs(5), || {
            calls += 1;
            Ok(if calls == 3 {
                ProbeResult::Ready(calls)
            } else {
                ProbeResult::Pending(format!("call {calls}"))
            })
        });
        assert_eq!(value.unwrap(), 3);
    }

    #[test]
    fn a_timeout_names_the_last_reason() {
        let error = until::<()>("the Node", Duration::ZERO, || Ok(ProbeResult::Pending("no network".into())))
            .unwrap_err();
        assert_eq!(error.to_string(), "timed out waiting for the Node after 0s: no network");
    }

    #[test]
    fn an_error_of_the_probe_ends_the_wait() {
        let error = until::<()>("the Node", Duration::from_mins(1), || bail!("kubelet died")).unwrap_err();
        assert_eq!(error.to_string(), "kubelet died");
    }
}
