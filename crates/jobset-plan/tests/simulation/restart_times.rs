//! How long restarts take, from the failure that causes them: what a feature gate gains is measured here.

use crate::{job::Job, world::Millis};
use jobset_api::JobSetStatus;
use std::collections::{BTreeMap, BTreeSet};

/// The restarts of one JobSet.
#[derive(Default)]
pub(crate) struct RestartTimes {
    attempts: BTreeMap<i32, Times>,
}

/// When something happened for the first time, in an attempt.
#[derive(Default)]
struct Times {
    made: BTreeSet<String>,
    complete: Option<Millis>,
    /// When each Job failed, by UID.
    failed: BTreeMap<String, Millis>,
    left: Option<Millis>,
}

/// One restart of a whole JobSet, from the failure on.
#[derive(Clone, Copy)]
pub(crate) struct Restart {
    /// Until it was decided.
    pub(crate) decided: Millis,
    /// Until every Job existed anew.
    pub(crate) made: Millis,
}

impl RestartTimes {
    /// A Job is in a new state.
    pub(crate) fn job_was_stored(&mut self, job: &Job, wanted: usize, now: Millis) {
        let times = self.attempts.entry(job.attempts().0).or_default();
        if job.failure_target.is_some() && !job.deleting {
            times.failed.entry(job.uid.clone()).or_insert(now);
        }
        if times.made.insert(job.name.clone()) && times.made.len() == wanted {
            times.complete.get_or_insert(now);
        }
    }

    /// A status was stored.
    pub(crate) fn status_was_stored(&mut self, before: &JobSetStatus, after: &JobSetStatus, now: Millis) {
        if after.restarts > before.restarts {
            self.attempts.entry(before.restarts).or_default().left.get_or_insert(now);
        }
    }

    /// The restarts of the whole JobSet, by the attempt that failed.
    pub(crate) fn restarts(&self) -> impl Iterator<Item = (i32, Restart)> {
        self.attempts.iter().filter_map(|(attempt, times)| {
            let left = times.left?;
            // Earlier failures had their own consequences.
            let fails = times.failed.values().copied().filter(|at| *at <= left).max()?;
            let complete = self.attempts.get(&(attempt + 1))?.complete?;
            let restart = Restart { decided: left - fails, made: complete.checked_sub(fails)? };
            Some((*attempt, restart))
        })
    }
}
