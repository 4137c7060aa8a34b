//! The state of a work queue, without a clock: the caller passes every time, as the time since the creation of the
//! queue. The simulation of the controller compiles this file too, and runs it in virtual time.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    hash::Hash,
    time::Duration,
};

/// The delay after the first failure.
const FIRST_DELAY: Duration = Duration::from_millis(20);
/// The longest delay after failures.
pub(super) const LONGEST_DELAY: Duration = Duration::from_mins(5);
/// The number of consecutive reconciles that may requeue their key at once. Later ones count as failures: they probably
/// loop.
const IMMEDIATE_REQUEUES: u32 = 16;

/// Receives the measurements of a queue.
pub(super) trait Observer {
    /// A key was added that was not in the queue.
    fn added(&self) {}
    /// A key was scheduled for later.
    fn delayed(&self) {}
    /// A key waited this long before the queue returned it.
    fn waited(&self, _time: Duration) {}
    /// Work on a key took this long.
    fn worked(&self, _time: Duration) {}
}

/// Discards the measurements.
impl Observer for () {}

/// Keys that are ready, keys in work, and keys that are due later.
pub(super) struct State<K, O = ()> {
    ready: VecDeque<K>,
    /// Ready keys, and when they became ready.
    waiting: HashMap<K, Duration>,
    /// Keys in work, and when the work began.
    in_work: HashMap<K, Duration>,
    /// Keys that were added during their work, and when they were first added.
    again: HashMap<K, Duration>,
    delayed: Delayed<K>,
    failures: HashMap<K, u32>,
    immediate_requeues: HashMap<K, u32>,
    observer: O,
}

/// Keys sorted by the time at which they are due, each once.
struct Delayed<K> {
    due: HashMap<K, Duration>,
    in_order: BTreeSet<(Duration, K)>,
}

impl<K: Clone + Ord + Hash> Delayed<K> {
    /// Schedules a key. If the key is already scheduled, the earlier time applies.
    fn schedule(&mut self, key: K, at: Duration) {
        if self.due.get(&key).is_none_or(|due| at < *due) {
            self.remove(&key);
            self.due.insert(key.clone(), at);
            self.in_order.insert((at, key));
        }
    }

    fn remove(&mut self, key: &K) {
        if let Some(due) = self.due.remove(key) {
            self.in_order.remove(&(due, key.clone()));
        }
    }

    fn take_due(&mut self, now: Duration) -> Option<K> {
        self.next_due().filter(|due| *due <= now)?;
        let (_, key) = self.in_order.pop_first()?;
        self.due.remove(&key);
        Some(key)
    }

    fn next_due(&self) -> Option<Duration> {
        self.in_order.first().map(|(due, _)| *due)
    }
}

impl<K, O> State<K, O> {
    pub(super) fn new(observer: O) -> Self {
        Self {
            ready: VecDeque::new(),
            waiting: HashMap::new(),
            in_work: HashMap::new(),
            again: HashMap::new(),
            delayed: Delayed { due: HashMap::new(), in_order: BTreeSet::new() },
            failures: HashMap::new(),
            immediate_requeues: HashMap::new(),
            observer,
        }
    }

    /// Whether a key is ready.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The number of keys that wait, including those that were added during their work.
    pub(super) fn depth(&self) -> usize {
        self.waiting.len() + self.again.len()
    }

    /// The duration of the current work on each key.
    pub(super) fn running(&self, now: Duration) -> impl Iterator<Item = Duration> + Clone {
        self.in_work.values().map(move |since| now.saturating_sub(*since))
    }
}

impl<K: Clone + Ord + Hash, O: Observer> State<K, O> {
    /// Makes a key ready, unless it is already ready. A key in work becomes ready when its work ends.
    pub(super) fn add(&mut self, key: K, now: Duration) {
        self.delayed.remove(&key);
        if self.again.contains_key(&key) || self.waiting.contains_key(&key) {
            return;
        }
        self.observer.added();
        if self.in_work.contains_key(&key) {
            self.again.insert(key, now);
        } else {
            self.make_ready(key, now);
        }
    }

    /// Makes a key ready at a later time, unless a caller adds it before.
    pub(super) fn add_at(&mut self, key: K, at: Duration) {
        self.observer.delayed();
        self.delayed.schedule(key, at);
    }

    /// Returns the next key. The queue does not return it again before its work ends.
    pub(super) fn pop(&mut self, now: Duration) -> Option<K> {
        while let Some(key) = self.delayed.take_due(now) {
            self.add(key, now);
        }
        let key = self.ready.pop_front()?;
        if let Some(since) = self.waiting.remove(&key) {
            self.observer.waited(now.saturating_sub(since));
        }
        self.in_work.insert(key.clone(), now);
        Some(key)
    }

    /// The time at which the next delayed key is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.delayed.next_due()
    }

    /// Ends successful work that needs no other reconcile.
    pub(super) fn done(&mut self, key: &K, now: Duration) {
        self.failures.remove(key);
        self.immediate_requeues.remove(key);
        self.leave_work(key, now);
    }

    /// Ends successful work that needs another reconcile. The key is ready at once. After [`IMMEDIATE_REQUEUES`]
    /// consecutive requeues it backs off, and the result is the time at which it is due. `random` is any number.
    pub(super) fn requeue(&mut self, key: &K, now: Duration, random: u8) -> Option<Duration> {
        let requeues = self.immediate_requeues.entry(key.clone()).or_insert(0);
        *requeues = requeues.saturating_add(1);
        if *requeues > IMMEDIATE_REQUEUES {
            return Some(self.retry(key, now, LONGEST_DELAY, random));
        }
        self.failures.remove(key);
        self.leave_work(key, now);
        self.add(key.clone(), now);
        None
    }

    /// Ends failed work. The delay doubles with each consecutive failure, up to `longest` and up to [`LONGEST_DELAY`].
    /// `random`, any number, determines a quarter of it. Returns the time at which the key is due.
    pub(super) fn retry(&mut self, key: &K, now: Duration, longest: Duration, random: u8) -> Duration {
        let failures = self.failures.entry(key.clone()).or_insert(0);
        *failures = failures.saturating_add(1);
        let doublings = (*failures - 1).min(16);
        let delay = FIRST_DELAY.saturating_mul(1 << doublings).min(LONGEST_DELAY.min(longest));
        let due = now + delay * 3 / 4 + delay / 4 * u32::from(random) / 255;
        self.add_at(key.clone(), due);
        self.leave_work(key, now);
        due
    }

    fn make_ready(&mut self, key: K, since: Duration) {
        self.waiting.insert(key.clone(), since);
        self.ready.push_back(key);
    }

    /// Ends the work on a key. The key becomes ready if it was added during the work.
    fn leave_work(&mut self, key: &K, now: Duration) {
        if let Some(since) = self.in_work.remove(key) {
            self.observer.worked(now.saturating_sub(since));
        }
        if let Some(since) = self.again.remove(key) {
            self.delayed.remove(key);
            self.make_ready(key.clone(), since);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn queue() -> State<&'static str> {
        State::new(())
    }

    #[test]
    fn a_key_is_ready_once_and_in_work_once() {
        let mut queue = queue();
        queue.add("a", NOW);
        queue.add("a", NOW);
        assert_eq!(queue.pop(NOW), Some("a"));
        assert_eq!(queue.pop(NOW), None);
        queue.add("a", NOW);
        assert_eq!(queue.pop(NOW), None, "it is in work");
        queue.done(&"a", NOW);
        assert_eq!(queue.pop(NOW), Some("a"), "it was added during the work");
        queue.done(&"a", NOW);
        assert_eq!(queue.pop(NOW), None);
    }

    #[test]
    fn a_delayed_key_is_ready_when_it_is_due_or_added() {
        let (mut queue, due, later) = (queue(), Duration::from_secs(10), Duration::from_secs(20));
        queue.add_at("late", due);
        assert_eq!(queue.pop(NOW), None);
        assert_eq!(queue.pop(later), Some("late"));
        queue.done(&"late", later);
        queue.add_at("late", due);
        queue.add("late", NOW);
        assert_eq!(queue.pop(NOW), Some("late"));
        queue.done(&"late", NOW);
        assert_eq!(queue.pop(later), None, "add removes the delay");
    }

    #[test]
    fn delayed_keys_become_ready_in_the_order_in_which_they_are_due() {
        let (mut queue, seconds) = (queue(), Duration::from_secs);
        for (key, at) in [("late", 30), ("soon", 10), ("sooner", 40), ("sooner", 5), ("sooner", 50)] {
            queue.add_at(key, seconds(at));
        }
        assert_eq!(queue.next_due(), Some(seconds(5)));
        assert_eq!(queue.pop(seconds(4)), None);
        assert_eq!(queue.pop(seconds(20)), Some("sooner"));
        assert_eq!(queue.pop(seconds(20)), Some("soon"));
        assert_eq!(queue.pop(seconds(20)), None);
        assert_eq!(queue.pop(seconds(60)), Some("late"));
        queue.done(&"sooner", seconds(60));
        assert_eq!(queue.pop(seconds(60)), None, "the earlier time applies");
    }

    #[test]
    fn delays_double_with_each_failure_up_to_the_longest() {
        let milliseconds = Duration::from_millis;
        for (random, longest, expected) in [
            (255, LONGEST_DELAY, [20, 40, 80, 160, 320]),
            (0, LONGEST_DELAY, [15, 30, 60, 120, 240]),
            (255, milliseconds(100), [20, 40, 80, 100, 100]),
        ] {
            let mut queue = queue();
            queue.add("a", NOW);
            for delay in expected {
                assert_eq!(queue.pop(milliseconds(500)), Some("a"));
                assert_eq!(queue.retry(&"a", NOW, longest, random), milliseconds(delay));
            }
        }
    }

    #[test]
    fn five_minutes_is_the_longest_delay_and_success_resets_it() {
        let mut queue = queue();
        queue.add("a", NOW);
        let mut now = NOW;
        for _ in 0..40 {
            assert_eq!(queue.pop(now), Some("a"));
            now = queue.retry(&"a", now, Duration::MAX, 255);
        }
        assert_eq!(queue.pop(now), Some("a"));
        assert_eq!(queue.retry(&"a", now, Duration::MAX, 255), now + LONGEST_DELAY);
        now += LONGEST_DELAY;
        assert_eq!(queue.pop(now), Some("a"));
        queue.done(&"a", now);
        queue.add("a", now);
        assert_eq!(queue.pop(now), Some("a"));
        assert_eq!(queue.retry(&"a", now, Duration::MAX, 255), now + FIRST_DELAY);
    }

    #[test]
    fn too_many_immediate_requeues_back_off() {
        let mut queue = queue();
        queue.add("a", NOW);
        for _ in 0..IMMEDIATE_REQUEUES {
            assert_eq!(queue.pop(NOW), Some("a"));
            assert_eq!(queue.requeue(&"a", NOW, 255), None);
        }
        assert_eq!(queue.pop(NOW), Some("a"));
        assert_eq!(queue.requeue(&"a", NOW, 255), Some(FIRST_DELAY));
        assert_eq!(queue.pop(NOW), None, "it backs off");
        assert_eq!(queue.pop(FIRST_DELAY), Some("a"));
        queue.done(&"a", FIRST_DELAY);
        queue.add("a", FIRST_DELAY);
        assert_eq!(queue.pop(FIRST_DELAY), Some("a"));
        assert_eq!(queue.requeue(&"a", FIRST_DELAY, 255), None, "done resets the count");
    }
}
