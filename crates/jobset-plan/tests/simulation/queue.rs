//! The queue of the controller, in virtual time: the same rules as `manager_runtime::queue`, without the waiting.

use crate::world::Millis;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const FIRST_DELAY: Millis = 20;
const LONGEST_DELAY: Millis = 300_000;
const STEPS_AT_ONCE: u32 = 16;

/// See the module.
#[derive(Default)]
pub(crate) struct Queue {
    ready: VecDeque<String>,
    in_work: BTreeSet<String>,
    again: BTreeSet<String>,
    delayed: BTreeMap<String, Millis>,
    failures: BTreeMap<String, u32>,
    steps: BTreeMap<String, u32>,
}

impl Queue {
    /// The key needs a look now.
    pub(crate) fn add(&mut self, key: String) {
        self.delayed.remove(&key);
        if self.in_work.contains(&key) {
            self.again.insert(key);
        } else if !self.ready.contains(&key) {
            self.ready.push_back(key);
        }
    }

    /// The key needs a look then, unless something adds it before.
    pub(crate) fn add_at(&mut self, key: String, at: Millis) {
        let slot = self.delayed.entry(key).or_insert(at);
        *slot = (*slot).min(at);
    }

    /// The next key to work on.
    pub(crate) fn next(&mut self, now: Millis) -> Option<String> {
        let due: Vec<String> =
            self.delayed.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        for key in due {
            self.add(key);
        }
        let key = self.ready.pop_front()?;
        self.in_work.insert(key.clone());
        Some(key)
    }

    /// Work on the key succeeded, and there is nothing more to do.
    pub(crate) fn done(&mut self, key: &str) {
        self.failures.remove(key);
        self.steps.remove(key);
        self.leave_work(key);
    }

    /// Work on the key succeeded, and calls for another look. Returns when, if not at once.
    pub(crate) fn go_on(&mut self, key: &str, now: Millis) -> Option<Millis> {
        let steps = self.steps.entry(key.to_owned()).or_insert(0);
        *steps += 1;
        if *steps > STEPS_AT_ONCE {
            return Some(self.retry(key, now));
        }
        self.failures.remove(key);
        self.in_work.remove(key);
        self.again.remove(key);
        self.add(key.to_owned());
        None
    }

    /// Work on the key failed. Returns when it comes back.
    fn retry(&mut self, key: &str, now: Millis) -> Millis {
        self.retry_within(key, now, LONGEST_DELAY)
    }

    /// Like [`Self::retry`], with a shorter longest delay.
    pub(crate) fn retry_within(&mut self, key: &str, now: Millis, longest: Millis) -> Millis {
        let failures = self.failures.entry(key.to_owned()).or_insert(0);
        *failures += 1;
        let at = now + (FIRST_DELAY << (*failures - 1).min(16)).min(LONGEST_DELAY.min(longest));
        self.add_at(key.to_owned(), at);
        self.leave_work(key);
        at
    }

    fn leave_work(&mut self, key: &str) {
        self.in_work.remove(key);
        if self.again.remove(key) {
            self.add(key.to_owned());
        }
    }
}
