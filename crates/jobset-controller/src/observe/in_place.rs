//! What the pods of one JobSet report about in-place restarts, as counts.
//!
//! A JobSet can have thousands of pods, and each of them reports every attempt. Counts make the cost of one report
//! independent of the number of pods.

use jobset_plan::{InPlacePods, MalformedAttempt, PodAttempt, PodPhase, PodRecord, Uid};
use std::collections::BTreeMap;

/// The counts of one JobSet.
#[derive(Debug, Default, PartialEq)]
pub(super) struct InPlaceCounts {
    /// The number of pods at each attempt.
    attempts: BTreeMap<i32, usize>,
    /// The number of pods with each number of restarts, which is not 0.
    restarts: BTreeMap<i32, usize>,
    /// The pods with an invalid attempt: name and value.
    malformed: BTreeMap<Uid, (Box<str>, Box<str>)>,
}

/// What a pod reports: its attempt, and the highest number of restarts of a container.
pub(super) fn report(pod: Option<&PodRecord>) -> (PodAttempt, i32) {
    match pod {
        None => (PodAttempt::Missing, 0),
        Some(PodRecord { phase: PodPhase::Failed, restarts, .. }) => (PodAttempt::Missing, *restarts),
        Some(PodRecord { attempt, restarts, .. }) => (*attempt, *restarts),
    }
}

impl InPlaceCounts {
    /// Adds a pod.
    pub(super) fn add(&mut self, pod: &PodRecord) {
        let (attempt, restarts) = report(Some(pod));
        match attempt {
            PodAttempt::Missing => {}
            PodAttempt::Number(number) => *self.attempts.entry(number).or_default() += 1,
            PodAttempt::Malformed => {
                self.malformed.insert(pod.uid.clone(), (pod.name.clone(), Box::default()));
            }
        }
        if restarts > 0 {
            *self.restarts.entry(restarts).or_default() += 1;
        }
    }

    /// Stores the invalid value of a pod, which its record does not contain.
    pub(super) fn set_malformed(&mut self, pod: &Uid, text: Box<str>) {
        if let Some((_, value)) = self.malformed.get_mut(pod) {
            *value = text;
        }
    }

    /// Removes a pod.
    pub(super) fn remove(&mut self, pod: &PodRecord) {
        let (attempt, restarts) = report(Some(pod));
        match attempt {
            PodAttempt::Missing => {}
            PodAttempt::Number(number) => decrement(&mut self.attempts, number),
            PodAttempt::Malformed => drop(self.malformed.remove(&pod.uid)),
        }
        decrement(&mut self.restarts, restarts);
    }

    /// Whether no pod reports anything.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The counts, for the planner.
    pub(super) fn pods(&self) -> InPlacePods {
        let malformed = self.malformed.first_key_value();
        InPlacePods {
            attempts: self.attempts.clone(),
            malformed: malformed.map(|(uid, (name, value))| MalformedAttempt {
                pod: name.to_string(),
                uid: uid.to_string(),
                value: value.to_string(),
            }),
            container_restarts: self.restarts.last_key_value().map_or(0, |(restarts, _)| *restarts),
        }
    }
}

fn decrement(counts: &mut BTreeMap<i32, usize>, key: i32) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

#[cfg(test)]
#[path = "in_place_test.rs"]
mod tests;
