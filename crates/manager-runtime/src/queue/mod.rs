//! A queue of the keys that wait for a reconcile.
//!
//! ```text
//! add ──► ready ──► next() ──► in work ──► done(key)
//!            ▲                    │ added during the work: ready again
//!            └── delayed ◄────────┘ retry(key): later, longer each time
//! ```
//!
//! The queue contains a key at most once, and never returns it to two workers at the same time. [`state`] has the
//! rules. This file adds the clock, the waiting and the metrics.

mod state;

use crate::metrics::{Metrics, work_queue::QueueMetrics};
use state::{LONGEST_DELAY, Observer, State};
use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// A queue of keys; see the module documentation.
pub struct WorkQueue<K> {
    state: Mutex<State<K, Option<QueueMetrics>>>,
    changed: Notify,
    created: Instant,
    jitter: RandomState,
}

impl<K> Default for WorkQueue<K> {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Observer for Option<QueueMetrics> {
    fn added(&self) {
        if let Some(metrics) = self {
            metrics.adds.inc();
        }
    }

    fn delayed(&self) {
        if let Some(metrics) = self {
            metrics.retries.inc();
        }
    }

    fn waited(&self, time: Duration) {
        if let Some(metrics) = self {
            metrics.waited.observe(time.as_secs_f64());
        }
    }

    fn worked(&self, time: Duration) {
        if let Some(metrics) = self {
            metrics.worked.observe(time.as_secs_f64());
        }
    }
}

impl<K: Clone + Ord + Hash + Send + Sync + 'static> WorkQueue<K> {
    /// Creates a queue with metrics for the controller `name`.
    pub fn measured(metrics: &Metrics, name: &str) -> Arc<Self> {
        let of_queue = metrics.queue(name);
        let queue = Arc::new(Self::new(Some(of_queue.clone())));
        let measured = Arc::downgrade(&queue);
        metrics.before_scrape(move || {
            if let Some(queue) = measured.upgrade() {
                queue.measure(&of_queue, queue.now());
            }
        });
        queue
    }

    /// Sets the gauges from the state.
    fn measure(&self, metrics: &QueueMetrics, now: Duration) {
        let state = self.state();
        metrics.depth.set(i64::try_from(state.depth()).unwrap_or(i64::MAX));
        let running = state.running(now).map(|time| time.as_secs_f64());
        metrics.longest.set(running.clone().fold(0.0, f64::max));
        // The sum of nothing is -0.
        metrics.unfinished.set(running.sum::<f64>() + 0.0);
    }
}

impl<K: Clone + Ord + Hash + Send + 'static> WorkQueue<K> {
    /// Passes each key to `process`, by this number of workers. After `shutdown`, the workers finish their keys.
    /// `process` ends the work on its key with [`Self::done`], [`Self::requeue`] or [`Self::retry`].
    pub async fn run<F: Future<Output = ()> + Send + 'static>(
        self: Arc<Self>,
        workers: usize,
        shutdown: CancellationToken,
        process: impl Fn(K) -> F + Clone + Send + Sync + 'static,
    ) {
        let mut running = JoinSet::new();
        for _ in 0..workers {
            let (queue, shutdown, process) = (self.clone(), shutdown.clone(), process.clone());
            running.spawn(async move {
                loop {
                    let key = tokio::select! {
                        biased;
                        () = shutdown.cancelled() => return,
                        key = queue.next() => key,
                    };
                    process(key).await;
                }
            });
        }
        running.join_all().await;
    }
}

impl<K> WorkQueue<K> {
    fn new(metrics: Option<QueueMetrics>) -> Self {
        Self {
            state: Mutex::new(State::new(metrics)),
            changed: Notify::new(),
            created: Instant::now(),
            jitter: RandomState::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<K, Option<QueueMetrics>>> {
        // No code panics while it holds the lock. Even after a panic, the state would be consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.created.elapsed()
    }

    fn random(&self, now: Duration) -> u8 {
        let [random, ..] = self.jitter.hash_one(now).to_le_bytes();
        random
    }
}

impl<K: Clone + Ord + Hash> WorkQueue<K> {
    /// Adds a key that needs a reconcile now.
    pub fn add(&self, key: K) {
        self.state().add(key, self.now());
        self.changed.notify_one();
    }

    /// Adds a key that needs a reconcile after `delay`, unless a caller adds it before.
    pub fn add_after(&self, key: K, delay: Duration) {
        self.state().add_at(key, self.now().saturating_add(delay));
        self.changed.notify_one();
    }

    /// Waits for the next key. The queue does not return it again before [`Self::done`], [`Self::requeue`] or
    /// [`Self::retry`].
    pub async fn next(&self) -> K {
        loop {
            let wake = {
                let mut state = self.state();
                if let Some(key) = state.pop(self.now()) {
                    if state.has_ready() {
                        self.changed.notify_one();
                    }
                    return key;
                }
                state.next_due()
            };
            // A time beyond the range of the clock means never.
            match wake.and_then(|due| self.created.checked_add(due)) {
                Some(at) => tokio::select! { () = self.changed.notified() => {} () = sleep_until(at) => {} },
                None => self.changed.notified().await,
            }
        }
    }

    /// Ends successful work on the key.
    pub fn done(&self, key: &K) {
        self.state().done(key, self.now());
        self.changed.notify_one();
    }

    /// Ends successful work on the key whose changes need another reconcile. The key is ready at once, except after
    /// many consecutive requeues: another client may revert each change, so the queue backs off as after failures.
    pub fn requeue(&self, key: &K) {
        let now = self.now();
        self.state().requeue(key, now, self.random(now));
        self.changed.notify_one();
    }

    /// Ends failed work on the key. The key is ready again after a delay that doubles with each consecutive failure,
    /// from 20 ms to five minutes, with a random part of a quarter. Returns the delay.
    pub fn retry(&self, key: &K) -> Duration {
        self.retry_within(key, LONGEST_DELAY)
    }

    /// Like [`Self::retry`], with a shorter maximum delay.
    pub fn retry_within(&self, key: &K, longest: Duration) -> Duration {
        let now = self.now();
        let due = self.state().retry(key, now, longest, self.random(now));
        self.changed.notify_one();
        due.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_measure_waiting_and_work() {
        let metrics = Metrics::new().unwrap();
        let queue: Arc<WorkQueue<&'static str>> = WorkQueue::measured(&metrics, "frob");
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert_eq!(queue.state().pop(queue.now()), Some("a"));
        queue.add("a");
        let text = metrics.text().unwrap();
        let value = |name: &str| {
            let head = format!("workqueue_{name}{{controller=\"frob\",name=\"frob\"}} ");
            text.lines().find_map(|line| line.strip_prefix(&head)).unwrap().parse::<u64>().unwrap()
        };
        assert_eq!(value("adds_total"), 3, "a key in the queue is not added again");
        assert_eq!(value("depth"), 2, "b, and a again");
        assert_eq!(value("queue_duration_seconds_count"), 1);
        assert_eq!(value("work_duration_seconds_count"), 0);
        queue.retry(&"a");
        let text = metrics.text().unwrap();
        assert!(text.contains("workqueue_work_duration_seconds_count{controller=\"frob\",name=\"frob\"} 1"));
        assert!(text.contains("workqueue_retries_total{controller=\"frob\",name=\"frob\"} 1"));
        assert!(
            text.contains("workqueue_longest_running_processor_seconds{controller=\"frob\",name=\"frob\"} 0")
        );
        assert!(text.contains("workqueue_unfinished_work_seconds{controller=\"frob\",name=\"frob\"} 0\n"));
    }

    #[tokio::test]
    async fn an_added_key_wakes_a_worker() {
        let queue = std::sync::Arc::new(WorkQueue::default());
        let worker = tokio::spawn({
            let queue = queue.clone();
            async move { queue.next().await }
        });
        tokio::task::yield_now().await;
        queue.add_after("soon", Duration::from_millis(1));
        assert_eq!(worker.await.unwrap(), "soon");
    }
}
