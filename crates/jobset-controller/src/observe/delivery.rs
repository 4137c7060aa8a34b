//! Delivers the events of watches, from the first list until the process ends.

use futures::{Stream, StreamExt};
use kube::{
    Resource,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use manager_runtime::{client::WatchBackoff, logging::in_one_line};
use std::{pin::pin, time::Duration};
use tokio::{
    sync::watch::{self, Receiver, Sender},
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

/// The shortest time between two lists of a watch that starts again because of a new demand.
const BETWEEN_LISTS: Duration = Duration::from_secs(1);

/// A change that a watch delivers.
pub(super) enum Change<K> {
    /// A list of all objects begins.
    ListBegins,
    Applied(K),
    Deleted(K),
    /// The list is complete.
    ListEnds,
}

/// Passes the changes of a watch to `feed` until the process ends. The receiver becomes true when the first list is
/// complete.
pub(super) fn run_watch<K: Resource + Send + 'static>(
    what: &'static str,
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
    mut feed: impl FnMut(Change<K>) + Send + 'static,
) -> Receiver<bool> {
    let (filled, is_filled) = watch::channel(false);
    tokio::spawn(async move { deliver(what, events, &mut feed, &filled).await });
    is_filled
}

/// Like [`run_watch`], but starts when `needed` accepts the demand, and starts again with a list when the demand changes.
pub(super) fn run_watch_on_demand<K: Resource + Send + 'static, D: Send + Sync + 'static, Events>(
    what: &'static str,
    mut demand: Receiver<D>,
    needed: impl Fn(&D) -> bool + Send + Sync + 'static,
    events: impl Fn() -> Events + Send + Sync + 'static,
    mut feed: impl FnMut(Change<K>) + Send + 'static,
) -> Receiver<bool>
where
    Events: Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
{
    let (filled, is_filled) = watch::channel(false);
    tokio::spawn(async move {
        // The demand outlives the process's tasks, so waiting for it does not fail.
        while demand.wait_for(&needed).await.is_ok() {
            let next_list = Instant::now() + BETWEEN_LISTS;
            tokio::select! {
                () = deliver(what, events(), &mut feed, &filled) => {}
                _ = demand.changed() => {}
            }
            sleep_until(next_list).await;
        }
    });
    is_filled
}

/// Passes the changes of a watch to `feed` until it ends.
async fn deliver<K>(
    what: &'static str,
    events: impl Stream<Item = watcher::Result<Event<K>>>,
    feed: &mut impl FnMut(Change<K>),
    filled: &Sender<bool>,
) {
    let mut events = pin!(events.backoff(WatchBackoff::default()));
    let mut logged = String::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => feed(Change::ListBegins),
            Ok(Event::InitApply(object) | Event::Apply(object)) => feed(Change::Applied(object)),
            Ok(Event::Delete(object)) => feed(Change::Deleted(object)),
            Ok(Event::InitDone) => {
                feed(Change::ListEnds);
                filled.send_replace(true);
                logged.clear();
                info!("list of {what} complete, watching");
            }
            Err(error) => {
                let error = in_one_line(&error);
                if error != logged {
                    warn!(error, "watch of {what} interrupted, retrying");
                    logged = error;
                }
            }
        }
    }
}
