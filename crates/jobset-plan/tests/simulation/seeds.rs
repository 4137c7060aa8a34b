//! Many worlds, one per seed, on all threads.

use crate::{
    planted_bugs::Bug,
    world::{Setting, Violation, World},
};
use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// A seed in whose world something was that must not be.
pub(crate) struct Failure {
    pub(crate) seed: u64,
    pub(crate) violation: Violation,
}

fn world(seed: u64, bug: Option<Bug>, with_history: bool) -> World {
    World::new(Setting { bug, ..Setting::of_seed(seed) }, with_history)
}

/// So many seeds, or fewer where the code is not optimised: that is a first look on the way, not the proof.
pub(crate) fn seeds_until(count: u64) -> u64 {
    count
}

/// The first of these seeds that fails.
pub(crate) fn first_failure(first: u64, count: u64, bug: Option<Bug>) -> Option<Failure> {
    let next = AtomicU64::new(first);
    let found: Mutex<Option<Failure>> = Mutex::new(None);
    let best = AtomicU64::new(first.saturating_add(count));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= best.load(Ordering::Relaxed) {
                        return;
                    }
                    let violation = world(seed, bug, false).run().err();
                    if let Some(violation) = violation {
                        best.fetch_min(seed, Ordering::Relaxed);
                        let mut found = found.lock().unwrap();
                        if found.as_ref().is_none_or(|before| seed < before.seed) {
                            *found = Some(Failure { seed, violation });
                        }
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

/// What happened in the world of a seed.
pub(crate) fn history_of(seed: u64) -> String {
    let mut world = world(seed, None, true);
    let _ = world.run();
    world.history()
}

fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number from 0")))
}

#[test]
fn whatever_happens() {
    let count = variable("SIMULATION_SEEDS").unwrap_or(if cfg!(debug_assertions) { 200 } else { 10_000 });
    let first = variable("SIMULATION_FIRST_SEED").unwrap_or(0);
    if let Some(Failure { seed, violation }) = first_failure(first, count, None) {
        panic!(
            "seed {seed} broke the rule that {}: {}\n\n{}\n\nseed {seed} broke the rule that {}: {}\nAgain: \
             SIMULATION_SEEDS=1 SIMULATION_FIRST_SEED={seed} cargo test --release -p jobset-plan --test simulation",
            violation.rule,
            violation.how,
            history_of(seed),
            violation.rule,
            violation.how,
        );
    }
}
