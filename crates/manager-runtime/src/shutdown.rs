//! Graceful shutdown after SIGTERM or SIGINT, and immediate exit after a second signal.

use std::time::Duration;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How long work in progress may continue. Together with the release of the Lease, the process ends within the ten
/// seconds that its pod has.
const GRACE: Duration = Duration::from_secs(7);

/// Runs `work`, which starts nothing new after `shutdown`, and drops it if it takes too long then.
pub async fn finish(shutdown: &CancellationToken, work: impl Future<Output = ()>) {
    let deadline = async {
        shutdown.cancelled().await;
        sleep(GRACE).await;
    };
    tokio::select! {
        () = work => {}
        () = deadline => warn!(after = ?GRACE, "shutdown deadline exceeded, dropping unfinished work"),
    }
}

/// A token that the first SIGTERM or SIGINT cancels. A second signal ends the process at once with status 1.
///
/// # Errors
/// When the process cannot listen for signals.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        let first = tokio::select! { _ = terminate.recv() => "SIGTERM", _ = interrupt.recv() => "SIGINT" };
        info!(signal = first, "shutting down");
        cancelled.cancel();
        let second = tokio::select! { _ = terminate.recv() => "SIGTERM", _ = interrupt.recv() => "SIGINT" };
        warn!(signal = second, "second signal, exiting at once");
        std::process::exit(1);
    });
    Ok(token)
}
