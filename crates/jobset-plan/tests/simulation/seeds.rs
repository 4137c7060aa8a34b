//! Runs many worlds, one for each seed, on all CPUs.

use crate::{
    planted_bugs::Bug,
    world::{Violation, World, WorldConfig},
};
use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// A seed whose world broke a rule.
pub(crate) struct Failure {
    pub(crate) seed: u64,
    pub(crate) violation: Violation,
}

fn world(seed: u64, bug: Option<Bug>, with_history: bool) -> World {
    World::new(WorldConfig { bug, ..WorldConfig::from_seed(seed) }, with_history)
}

/// The outcome of many seeds.
#[derive(Default)]
pub(crate) struct Outcome {
    /// The first seed that failed.
    pub(crate) failure: Option<Failure>,
    /// How often each event happened in all worlds.
    pub(crate) tally: BTreeMap<String, u64>,
}

/// Runs these seeds until one fails.
pub(crate) fn run(first: u64, count: u64, bug: Option<Bug>) -> Outcome {
    let next = AtomicU64::new(first);
    let end = AtomicU64::new(first.saturating_add(count));
    let outcome: Mutex<Outcome> = Mutex::default();
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end.load(Ordering::Relaxed) {
                return;
            }
            let mut world = world(seed, bug, false);
            let result = world.run();
            let mut outcome = outcome.lock().unwrap();
            for (what, times) in &world.checker.tally {
                *outcome.tally.entry(what.clone()).or_default() += times;
            }
            if let Err(violation) = result {
                end.fetch_min(seed, Ordering::Relaxed);
                if outcome.failure.as_ref().is_none_or(|before| seed < before.seed) {
                    outcome.failure = Some(Failure { seed, violation });
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    outcome.into_inner().unwrap()
}

/// Runs a seed again and returns its history.
pub(crate) fn history_of(seed: u64) -> String {
    let mut world = world(seed, None, true);
    let _ = world.run();
    world.history()
}

fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a non-negative integer")))
}

/// Events that 10 000 worlds must include. Without them, the test would not cover what it claims to cover.
const REQUIRED_EVENTS: [&str; 42] = [
    "AllJobsCompleted",
    "AlreadyExists",
    "Conflict",
    "Deadline",
    "DeadlineExceeded",
    "DefaultFailurePolicy",
    "Delete",
    "DeleteJob",
    "RemoveOwner",
    "FailJobSetFailurePolicyAction",
    "FailedJobs",
    "InOrderStartupPolicyCompleted",
    "JobsReady",
    "LoseStatus",
    "NoAnswer",
    "NodeSelector",
    "NotFound",
    "ReachedMaxRestarts",
    "Recreate",
    "Resources",
    "RestartJobAndIgnoreMaxRestartsFailurePolicyAction",
    "RestartJobFailurePolicyAction",
    "RestartJobSetAndIgnoreMaxRestartsFailurePolicyAction",
    "RestartJobSetFailurePolicyAction",
    "ResumeJobs",
    "RewindStatus",
    "Scale",
    "EditLabel",
    "EditPorts",
    "StatusRestored",
    "SuspendedJobs",
    "Ttl",
    "Unavailable",
    "DeletePodGroup",
    "PodGroupsDeleted",
    "PodGroupsScheduled",
    "dies",
    "evicted after one has succeeded",
    "followers",
    "gang does not fit",
    "gang placed",
    "list",
];

#[test]
fn all_rules_hold_for_all_seeds() {
    let count = variable("SIMULATION_SEEDS").unwrap_or(if cfg!(debug_assertions) { 300 } else { 10_000 });
    let first = variable("SIMULATION_FIRST_SEED").unwrap_or(0);
    let Outcome { failure, tally } = run(first, count, None);
    if let Some(Failure { seed, violation }) = failure {
        let broken = format!("seed {seed} broke the rule {:?}: {}", violation.rule, violation.how);
        panic!(
            "{broken}\n\n{}\n\n{broken}\nTo replay: SIMULATION_SEEDS=1 SIMULATION_FIRST_SEED={seed} cargo test \
             --profile simulation -p jobset-plan --test simulation",
            history_of(seed),
        );
    }
    println!("{count} seeds from {first}: {tally:#?}");
    let missing: Vec<_> = REQUIRED_EVENTS.iter().filter(|what| !tally.contains_key(**what)).collect();
    assert!(missing.is_empty() || count < 10_000, "{count} worlds never had these events: {missing:?}");
}
