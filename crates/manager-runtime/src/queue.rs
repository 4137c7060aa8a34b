//! The keys that wait for a reconcile.
//!
//! ```text
//! add ──► ready ──► next() ──► in work ──► done(key)
//!            ▲                    │ added meanwhile: ready again
//!            └── delayed ◄────────┘ retry(key): later, longer each time
//! ```
//!
//! A key waits once, however often it is added, and is never handed out twice at a time.

use crate::metrics::{Metrics, work_queue::QueueMetrics};
use std::{
    collections::{BTreeSet, HashMap, VecDeque, hash_map::RandomState},
    hash::{BuildHasher, Hash},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// First delay after a failure.
const FIRST_DELAY: Duration = Duration::from_millis(20);
/// How often in a row work may go on at once from what it did itself, before that counts as running in circles.
const STEPS_AT_ONCE: u32 = 16;
/// Longest delay after failures.
const LONGEST_DELAY: Duration = Duration::from_mins(5);

/// A queue of keys; see the module.
pub struct WorkQueue<K> {
    state: Mutex<State<K>>,
    changed: Notify,
}

struct State<K> {
    ready: VecDeque<K>,
    /// What is ready, since when.
    waiting: HashMap<K, Instant>,
    /// What is in work, since when.
    in_work: HashMap<K, Instant>,
    /// What was added while it was in work, when first.
    again: HashMap<K, Instant>,
    delayed: Delayed<K>,
    failures: HashMap<K, u32>,
    steps: HashMap<K, u32>,
    jitter: RandomState,
    metrics: Option<QueueMetrics>,
}

/// Keys in the order of the time at which they are due, each once.
struct Delayed<K> {
    due: HashMap<K, Instant>,
    in_order: BTreeSet<(Instant, K)>,
}

impl<K> Default for Delayed<K> {
    fn default() -> Self {
        Self { due: HashMap::new(), in_order: BTreeSet::new() }
    }
}

impl<K: Clone + Ord + Hash> Delayed<K> {
    /// Delays a key, no longer than it is delayed already.
    fn delay(&mut self, key: K, until: Instant) {
        if self.due.get(&key).is_none_or(|due| until < *due) {
            self.remove(&key);
            self.due.insert(key.clone(), until);
            self.in_order.insert((until, key));
        }
    }

    fn remove(&mut self, key: &K) {
        if let Some(due) = self.due.remove(key) {
            self.in_order.remove(&(due, key.clone()));
        }
    }

    fn take_due(&mut self, now: Instant) -> Option<K> {
        self.next_due().filter(|due| *due <= now)?;
        let (_, key) = self.in_order.pop_first()?;
        self.due.remove(&key);
        Some(key)
    }

    fn next_due(&self) -> Option<Instant> {
        self.in_order.first().map(|(due, _)| *due)
    }
}

impl<K: Clone + Ord + Hash> Default for WorkQueue<K> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                ready: VecDeque::new(),
                waiting: HashMap::new(),
                in_work: HashMap::new(),
                again: HashMap::new(),
                delayed: Delayed::default(),
                failures: HashMap::new(),
                steps: HashMap::new(),
                jitter: RandomState::new(),
                metrics: None,
            }),
            changed: Notify::new(),
        }
    }
}

impl<K: Clone + Ord + Hash> State<K> {
    fn add(&mut self, key: K, now: Instant) {
        self.delayed.remove(&key);
        if self.again.contains_key(&key) || self.waiting.contains_key(&key) {
            return;
        }
        self.count(|metrics| metrics.adds.inc());
        if self.in_work.contains_key(&key) {
            self.again.insert(key, now);
        } else {
            self.make_ready(key, now);
        }
    }

    fn make_ready(&mut self, key: K, since: Instant) {
        self.waiting.insert(key.clone(), since);
        self.ready.push_back(key);
    }

    fn count(&self, count: impl FnOnce(&QueueMetrics)) {
        if let Some(metrics) = &self.metrics {
            count(metrics);
        }
    }

    fn pop(&mut self, now: Instant) -> Option<K> {
        while let Some(key) = self.delayed.take_due(now) {
            self.add(key, now);
        }
        let key = self.ready.pop_front()?;
        if let Some(since) = self.waiting.remove(&key) {
            self.count(|metrics| metrics.waited.observe(seconds(since, now)));
        }
        self.in_work.insert(key.clone(), now);
        Some(key)
    }

    /// Work on the key ended. What was added meanwhile is ready.
    fn leave_work(&mut self, key: &K, now: Instant) {
        if let Some(since) = self.in_work.remove(key) {
            self.count(|metrics| metrics.worked.observe(seconds(since, now)));
        }
        if let Some(since) = self.again.remove(key) {
            self.delayed.remove(key);
            self.make_ready(key.clone(), since);
        }
    }

    /// What has to be looked up rather than counted.
    fn measure(&self, now: Instant) {
        self.count(|metrics| {
            metrics.depth.set(i64::try_from(self.waiting.len() + self.again.len()).unwrap_or(i64::MAX));
            let running = self.in_work.values().map(|since| seconds(*since, now));
            metrics.longest.set(running.clone().fold(0.0, f64::max));
            // The sum of nothing is -0.
            metrics.unfinished.set(running.sum::<f64>() + 0.0);
        });
    }
}

fn seconds(since: Instant, now: Instant) -> f64 {
    now.saturating_duration_since(since).as_secs_f64()
}

impl<K: Clone + Ord + Hash + Send + Sync + 'static> WorkQueue<K> {
    /// A queue that is measured, as that of the controller `name`.
    pub fn measured(metrics: &Metrics, name: &str) -> Arc<Self> {
        let queue = Arc::new(Self::default());
        queue.state().metrics = Some(metrics.queue(name));
        let measured = Arc::downgrade(&queue);
        metrics.before_scrape(move || {
            if let Some(queue) = measured.upgrade() {
                queue.state().measure(Instant::now());
            }
        });
        queue
    }
}

impl<K: Clone + Ord + Hash> WorkQueue<K> {
    fn state(&self) -> MutexGuard<'_, State<K>> {
        // Nothing panics while it holds the lock; were it so, the state would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key needs a look now.
    pub fn add(&self, key: K) {
        self.state().add(key, Instant::now());
        self.changed.notify_one();
    }

    /// The key needs a look after `delay`, unless something adds it before.
    pub fn add_after(&self, key: K, delay: Duration) {
        let mut state = self.state();
        state.count(|metrics| metrics.retries.inc());
        state.delayed.delay(key, Instant::now() + delay);
        drop(state);
        self.changed.notify_one();
    }

    /// The next key to work on. It is not handed out again before [`Self::done`] or [`Self::retry`].
    pub async fn next(&self) -> K {
        loop {
            let wake = {
                let mut state = self.state();
                if let Some(key) = state.pop(Instant::now()) {
                    if !state.ready.is_empty() {
                        self.changed.notify_one();
                    }
                    return key;
                }
                state.delayed.next_due()
            };
            match wake {
                Some(at) => tokio::select! { () = self.changed.notified() => {} () = sleep_until(at) => {} },
                None => self.changed.notified().await,
            }
        }
    }

    /// Work on the key succeeded, and there is nothing more to do.
    pub fn done(&self, key: &K) {
        let mut state = self.state();
        state.failures.remove(key);
        state.steps.remove(key);
        state.leave_work(key, Instant::now());
        self.changed.notify_one();
    }

    /// Work on the key succeeded, and what it did calls for another look: at once, unless it has been so many times
    /// in a row. Somebody may be undoing what we do; then it is as with failures.
    pub fn go_on(&self, key: &K) {
        let mut state = self.state();
        let steps = state.steps.entry(key.clone()).or_insert(0);
        *steps = steps.saturating_add(1);
        if *steps > STEPS_AT_ONCE {
            drop(state);
            self.retry(key);
            return;
        }
        state.failures.remove(key);
        let now = Instant::now();
        state.leave_work(key, now);
        state.add(key.clone(), now);
        self.changed.notify_one();
    }

    /// Work on the key failed. It comes back after a delay that doubles with each failure in a row, from 20 ms
    /// to five minutes, a quarter of it at random. Returns the delay.
    pub fn retry(&self, key: &K) -> Duration {
        self.retry_within(key, LONGEST_DELAY)
    }

    /// Like [`Self::retry`], with a shorter longest delay.
    pub fn retry_within(&self, key: &K, longest: Duration) -> Duration {
        let mut state = self.state();
        let failures = state.failures.entry(key.clone()).or_insert(0);
        *failures = failures.saturating_add(1);
        let doublings = (*failures - 1).min(16);
        let delay = FIRST_DELAY.saturating_mul(1 << doublings).min(LONGEST_DELAY.min(longest));
        let now = Instant::now();
        let random = state.jitter.hash_one((now, doublings)) % 256;
        let delay = delay * 3 / 4 + delay / 4 * u32::try_from(random).unwrap_or(0) / 255;
        state.count(|metrics| metrics.retries.inc());
        state.delayed.delay(key.clone(), now + delay);
        state.leave_work(key, now);
        self.changed.notify_one();
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The state without the waiting: time is what the test says it is.
    fn pop(queue: &WorkQueue<&'static str>, now: Instant) -> Option<&'static str> {
        queue.state().pop(now)
    }

    #[test]
    fn a_key_waits_once_and_is_worked_on_once() {
        let (queue, now) = (WorkQueue::default(), Instant::now());
        queue.add("a");
        queue.add("a");
        assert_eq!(pop(&queue, now), Some("a"));
        assert_eq!(pop(&queue, now), None);
        queue.add("a");
        assert_eq!(pop(&queue, now), None, "it is in work");
        queue.done(&"a");
        assert_eq!(pop(&queue, now), Some("a"), "it was added meanwhile");
        queue.done(&"a");
        assert_eq!(pop(&queue, now), None);
    }

    #[test]
    fn a_delayed_key_comes_when_due_or_when_added() {
        let (queue, now) = (WorkQueue::default(), Instant::now());
        let later = now + Duration::from_secs(20);
        queue.add_after("late", Duration::from_secs(10));
        assert_eq!(pop(&queue, now), None);
        assert_eq!(pop(&queue, later), Some("late"));
        queue.done(&"late");
        queue.add_after("late", Duration::from_secs(10));
        queue.add("late");
        assert_eq!(pop(&queue, now), Some("late"));
        queue.done(&"late");
        assert_eq!(pop(&queue, later), None, "it came before");
    }

    #[test]
    fn delayed_keys_come_in_the_order_in_which_they_are_due() {
        let (queue, now) = (WorkQueue::default(), Instant::now());
        let seconds = Duration::from_secs;
        for (key, delay) in [("late", 30), ("soon", 10), ("sooner", 40), ("sooner", 5), ("sooner", 50)] {
            queue.add_after(key, seconds(delay));
        }
        assert_eq!(pop(&queue, now + seconds(4)), None);
        assert_eq!(pop(&queue, now + seconds(20)), Some("sooner"));
        assert_eq!(pop(&queue, now + seconds(20)), Some("soon"));
        assert_eq!(pop(&queue, now + seconds(20)), None);
        assert_eq!(pop(&queue, now + seconds(60)), Some("late"));
        queue.done(&"sooner");
        assert_eq!(pop(&queue, now + seconds(60)), None, "the longer delays are forgotten");
    }

    #[test]
    fn failures_wait_longer_each_time() {
        let (queue, mut now) = (WorkQueue::default(), Instant::now());
        queue.add("a");
        let mut last = Duration::ZERO;
        for _ in 0..6 {
            now += LONGEST_DELAY;
            assert_eq!(pop(&queue, now), Some("a"));
            let delay = queue.retry(&"a");
            assert!(delay > last, "{delay:?} after {last:?}");
            last = delay;
        }
        assert_eq!(pop(&queue, now + LONGEST_DELAY), Some("a"));
        queue.done(&"a");
        queue.add("a");
        assert_eq!(pop(&queue, now), Some("a"));
        assert!(queue.retry(&"a") <= FIRST_DELAY, "success forgets failures");
    }

    #[test]
    fn going_on_for_ever_is_slowed_down() {
        let (queue, now) = (WorkQueue::default(), Instant::now());
        queue.add("a");
        for _ in 0..STEPS_AT_ONCE {
            assert_eq!(pop(&queue, now), Some("a"));
            queue.go_on(&"a");
        }
        assert_eq!(pop(&queue, now), Some("a"));
        queue.go_on(&"a");
        assert_eq!(pop(&queue, now), None, "in circles");
        assert_eq!(pop(&queue, now + LONGEST_DELAY), Some("a"));
        queue.done(&"a");
        queue.add("a");
        assert_eq!(pop(&queue, now), Some("a"));
        queue.go_on(&"a");
        assert_eq!(pop(&queue, now), Some("a"), "done forgets steps");
    }

    #[test]
    fn waiting_and_work_are_measured() {
        let metrics = Metrics::new().unwrap();
        let queue: Arc<WorkQueue<&'static str>> = WorkQueue::measured(&metrics, "frob");
        queue.add("a");
        queue.add("a");
        queue.add("b");
        let start = Instant::now();
        assert_eq!(pop(&queue, start), Some("a"));
        queue.add("a");
        queue.state().measure(start + Duration::from_secs(7));
        let text = crate::metrics::Metrics::text(&metrics).unwrap();
        let value = |name: &str| {
            let head = format!("workqueue_{name}{{controller=\"frob\",name=\"frob\"}} ");
            text.lines().find_map(|line| line.strip_prefix(&head)).unwrap().parse::<u64>().unwrap()
        };
        assert_eq!(value("adds_total"), 3, "a key that waits already is not added");
        assert_eq!(value("depth"), 2, "b, and a once more");
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
    async fn a_waiting_worker_wakes() {
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
