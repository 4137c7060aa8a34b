//! Measures how long restarts take after the failure that causes them, with and without a feature gate.

use crate::{job::Job, world::Millis};
use jobset_api::JobSetStatus;
use std::collections::{BTreeMap, BTreeSet};

/// The restarts of one JobSet.
#[derive(Default)]
pub(crate) struct RestartTimes {
    attempts: BTreeMap<i32, Times>,
}

/// Times of one attempt.
#[derive(Default)]
struct Times {
    /// Names of the Jobs that were created.
    created: BTreeSet<String>,
    /// When the last Job was created.
    complete: Option<Millis>,
    /// When each Job failed, by UID.
    failed: BTreeMap<String, Millis>,
    /// When the JobSet restarted.
    restarted: Option<Millis>,
}

/// The durations of one restart of a whole JobSet, from the failure.
#[derive(Clone, Copy)]
pub(crate) struct Restart {
    /// Time until the restart was decided.
    pub(crate) decided: Millis,
    /// Time until every Job was created again.
    pub(crate) recreated: Millis,
}

impl RestartTimes {
    /// Records the new state of a Job.
    pub(crate) fn job_was_stored(&mut self, job: &Job, wanted: usize, now: Millis) {
        let times = self.attempts.entry(job.attempts().0).or_default();
        if job.failure_target.is_some() && !job.deleting {
            times.failed.entry(job.uid.clone()).or_insert(now);
        }
        if times.created.insert(job.name.clone()) && times.created.len() == wanted {
            times.complete.get_or_insert(now);
        }
    }

    /// Records a stored status.
    pub(crate) fn status_was_stored(&mut self, before: &JobSetStatus, after: &JobSetStatus, now: Millis) {
        if after.restarts > before.restarts {
            self.attempts.entry(before.restarts).or_default().restarted.get_or_insert(now);
        }
    }

    /// The restarts of the whole JobSet, each with the attempt that failed.
    pub(crate) fn restarts(&self) -> impl Iterator<Item = (i32, Restart)> {
        self.attempts.iter().filter_map(|(attempt, times)| {
            let restarted = times.restarted?;
            // Earlier failures did not cause this restart.
            let fails = times.failed.values().copied().filter(|at| *at <= restarted).max()?;
            let complete = self.attempts.get(&(attempt + 1))?.complete?;
            let restart = Restart { decided: restarted - fails, recreated: complete.checked_sub(fails)? };
            Some((*attempt, restart))
        })
    }
}
