//! How the pods of each Job end, and when. An outcome depends only on the seed, the Job and its attempt, not on other
//! events. Two worlds with the same seed have the same failures.

use crate::{job::Job, specs::NAMES, world::Millis};
use fastrand::Rng;
use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
};

/// Failure reasons of Jobs (Kubernetes: batch/v1).
pub(crate) const REASONS: [&str; 4] =
    ["BackoffLimitExceeded", "DeadlineExceeded", "PodFailurePolicy", "MaxFailedIndexesExceeded"];
/// Failure messages of Jobs. The rules of [`crate::specs`] match some of them.
pub(crate) const MESSAGES: [&str; 3] =
    ["Job has reached the specified backoff limit", "exit code 42", "disk pressure"];

/// The last attempt that can fail. Later attempts succeed, so that every JobSet finishes.
const LAST_FAILING_ATTEMPT: i32 = 4;

/// How the pods of one Job end, and when.
#[derive(Clone, Debug)]
pub(crate) struct PodOutcome {
    /// Time from scheduling until all pods are ready.
    pub(crate) until_ready: Millis,
    /// Time from then until the pods end.
    pub(crate) runs: Millis,
    /// Time that pods take to terminate.
    pub(crate) stops: Millis,
    /// The reason and message, if the Job fails.
    pub(crate) fails: Option<(&'static str, &'static str)>,
    /// Whether the Job fails before its pods are ready.
    pub(crate) never_ready: bool,
    /// Whether a pod is temporarily unready.
    pub(crate) flaps: bool,
    /// Whether one pod succeeds before the others, which are then evicted and replaced.
    pub(crate) staggered: bool,
}

/// The outcomes of all Jobs of a world.
#[derive(Clone, Debug)]
pub(crate) struct PodOutcomes {
    pub(crate) seed: u64,
    /// Percentage of Jobs that fail.
    pub(crate) failing: u64,
    /// Whether at most one Job fails in each attempt.
    pub(crate) one_slot: bool,
    /// The longest time that pods take to terminate.
    pub(crate) slowest_stop: Millis,
    /// Fixed outcomes of some Jobs, by name and attempts.
    pub(crate) given: Vec<(String, (i32, i32), PodOutcome)>,
}

impl PodOutcomes {
    /// The outcome of a Job of the JobSet `jobset`.
    pub(crate) fn of(&self, jobset: &str, job: &Job) -> PodOutcome {
        let attempts = job.attempts();
        if let Some((_, _, outcome)) =
            self.given.iter().find(|(name, of, _)| *name == job.name && *of == attempts)
        {
            return outcome.clone();
        }
        let mut rng = self.rng(&(jobset, &job.replicated_job, job.index(), attempts));
        let pick = rng.u64(0..100);
        let mut fails = pick < self.failing && attempts.0 + attempts.1 <= LAST_FAILING_ATTEMPT;
        if self.one_slot {
            // The attempt determines the only slot whose Job can fail.
            let slot = self.rng(&(jobset, attempts.0, "slot")).usize(0..3 * NAMES.len());
            let kind = NAMES.iter().position(|name| *name == job.replicated_job);
            fails &= kind.zip(usize::try_from(job.index()).ok()) == Some((slot / 3, slot % 3));
        }
        PodOutcome {
            until_ready: rng.u64(200..8_000),
            runs: if rng.u8(0..4) == 0 { rng.u64(100..2_000) } else { rng.u64(2_000..90_000) },
            stops: if rng.bool() { rng.u64(50..2_000) } else { rng.u64(50..self.slowest_stop.max(51)) },
            fails: fails
                .then(|| (REASONS[rng.usize(0..REASONS.len())], MESSAGES[rng.usize(0..MESSAGES.len())])),
            never_ready: fails && rng.u8(0..4) == 0,
            flaps: rng.u8(0..12) == 0,
            staggered: rng.u8(0..3) == 0,
        }
    }

    fn rng(&self, what: &impl Hash) -> Rng {
        let mut hasher = DefaultHasher::new();
        (self.seed, what).hash(&mut hasher);
        Rng::with_seed(hasher.finish())
    }
}
