//! The end of the process: asked for by SIGTERM or SIGINT, insisted on by a second one.

use std::time::Duration;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How long work that was begun may go on. With what follows (a lease is given back), the end comes within the ten
/// seconds that a pod gets.
const GRACE: Duration = Duration::from_secs(7);

/// Does `work`, which takes nothing new on when `shutdown` comes, and leaves what of it is not done in time then.
pub async fn finish(shutdown: &CancellationToken, work: impl Future<Output = ()>) {
    let too_late = async {
        shutdown.cancelled().await;
        sleep(GRACE).await;
    };
    tokio::select! {
        () = work => {}
        () = too_late => warn!(after = ?GRACE, "leaving work undone"),
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
    let asked = token.clone();
    tokio::spawn(async move {
        let first = tokio::select! { _ = terminate.recv() => "SIGTERM", _ = interrupt.recv() => "SIGINT" };
        info!(signal = first, "shutting down");
        asked.cancel();
        let second = tokio::select! { _ = terminate.recv() => "SIGTERM", _ = interrupt.recv() => "SIGINT" };
        warn!(signal = second, "second signal: ending at once");
        std::process::exit(1);
    });
    Ok(token)
}
