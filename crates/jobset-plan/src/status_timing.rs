//! When the controller stores a new status.
//!
//! Counts change with every pod that starts or ends. A thousand Jobs would cause thousands of writes, and every watcher
//! of the JobSet receives each write. So the controller stores changes that clients act on immediately, and other
//! counts every few seconds. The controller makes no decision from stored counts.

use jobset_api::{JobSet, JobSetStatus, ReplicatedJobStatus};
use std::time::Duration;

/// How long counts may differ before they are stored. Changes arrive in bursts. The reader is a user who watches the
/// progress of a JobSet.
const BATCH_WINDOW: Duration = Duration::from_secs(1);
/// How much longer counts wait for each other JobSet whose counts wait, so that the controller stores at most 25 such
/// statuses per second. While hundreds of JobSets start together, most get ready before their turn.
const WINDOW_PER_WAITING: Duration = Duration::from_millis(40);
/// The maximum that other JobSets add.
const LONGEST_ADDITION: Duration = Duration::from_secs(25);
/// The minimum interval between two writes of one JobSet's status, if the second changes only counts.
const MIN_INTERVAL: Duration = Duration::from_secs(5);

/// When the status of one JobSet was stored and when it changed. This state is a cache: without it, a process stores
/// counts sooner. Times are from a monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatusTiming {
    stored_at: Option<Duration>,
    differs_since: Option<Duration>,
}

impl StatusTiming {
    /// Whether a changed status waits.
    pub fn is_waiting(&self) -> bool {
        self.differs_since.is_some()
    }

    /// How long the write of a changed status can wait, if the statuses of `waiting` other JobSets wait. Zero means now.
    pub fn wait(&mut self, is_urgent: bool, waiting: usize, now: Duration) -> Duration {
        let differs_since = *self.differs_since.get_or_insert(now);
        if is_urgent {
            return Duration::ZERO;
        }
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        let addition = WINDOW_PER_WAITING.saturating_mul(waiting).min(LONGEST_ADDITION);
        let due = self
            .stored_at
            .map_or(Duration::ZERO, |at| at + MIN_INTERVAL)
            .max(differs_since + BATCH_WINDOW + addition);
        due.saturating_sub(now)
    }

    /// Reports that the status was stored.
    pub fn stored(&mut self, now: Duration) {
        *self = Self { stored_at: Some(now), differs_since: None };
    }

    /// Reports that the stored status is correct again.
    pub fn settled(&mut self) {
        self.differs_since = None;
    }
}

/// Whether clients wait for the counts of `new`. They do when
///
/// - a Job failed, or a restart reset the failures: the other counts are then those of another attempt (users, and
///   tools that follow a restart),
/// - all Jobs have become ready or have succeeded (Kueue: the workload runs; Trainer: the training runs; scripts that
///   wait with kubectl),
/// - all `unfinished` Jobs have become suspended, and when their last pod has stopped (Kueue: the quota is free),
/// - no Job is suspended any more: the condition of the resume was stored earlier (Kueue),
/// - the attempts of in-place restarts changed: agents wait for them,
/// - the start time or the execution attempt changed: the controller decides from the stored values.
pub(crate) fn is_urgent(jobset: &JobSet, new: &JobSetStatus, unfinished: usize) -> bool {
    let nothing = JobSetStatus::default();
    let old = jobset.status.as_ref().unwrap_or(&nothing);
    let total = |status: &JobSetStatus, of: fn(&ReplicatedJobStatus) -> i32| -> i64 {
        status.replicated_jobs_status.iter().map(|entry| i64::from(of(entry))).sum()
    };
    let changed = |of: fn(&ReplicatedJobStatus) -> i32| total(old, of) != total(new, of);

    let suspended = total(new, |entry| entry.suspended);
    let all_suspended = unfinished > 0 && usize::try_from(suspended) == Ok(unfinished);
    let is_all_or_none = suspended == 0 || all_suspended;
    let stopped = total(new, |entry| entry.active) == 0;
    let attempts = |status: &JobSetStatus| {
        (status.current_in_place_restart_attempt, status.previous_in_place_restart_attempt)
    };
    let run = |status: &JobSetStatus| (status.start_time.clone(), status.execution_attempts);
    attempts(old) != attempts(new)
        || run(old) != run(new)
        || changed(|entry| entry.failed)
        || (all_ready(jobset, new) && !all_ready(jobset, old))
        || (is_all_or_none && changed(|entry| entry.suspended))
        || (all_suspended && stopped && changed(|entry| entry.active))
}

/// Whether all replicas of every ReplicatedJob are ready or have succeeded.
fn all_ready(jobset: &JobSet, status: &JobSetStatus) -> bool {
    jobset.spec.replicated_jobs.iter().all(|replicated_job| {
        let entry = status.replicated_jobs_status.iter().find(|entry| entry.name == replicated_job.name);
        let done = entry.map_or(0, |entry| i64::from(entry.ready) + i64::from(entry.succeeded));
        done == i64::from(replicated_job.replicas)
    })
}

/// The stored status with the counts and the start time of `new`, if these differ. Both are correct even if actions
/// failed: the deadline includes the time in which a request fails.
pub(crate) fn only_counts(stored: Option<&JobSetStatus>, new: &JobSetStatus) -> Option<JobSetStatus> {
    let mut status = stored.cloned().unwrap_or_default();
    if status.start_time.is_none() {
        status.start_time.clone_from(&new.start_time);
    }
    let before = std::mem::take(&mut status.replicated_jobs_status);
    let counts = new.replicated_jobs_status.iter().map(|counted| {
        let entry = before.iter().find(|entry| entry.name == counted.name).cloned().unwrap_or_default();
        ReplicatedJobStatus {
            job_restarts: entry.job_restarts,
            job_restarts_count_towards_max: entry.job_restarts_count_towards_max,
            ..counted.clone()
        }
    });
    status.replicated_jobs_status = counts.collect();
    differs(stored, &status).then_some(status)
}

/// Whether a status must be stored. A missing status equals the empty status and needs no write.
pub(crate) fn differs(stored: Option<&JobSetStatus>, status: &JobSetStatus) -> bool {
    stored.map_or(*status != JobSetStatus::default(), |stored| stored != status)
}
