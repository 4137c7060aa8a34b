//! Rules for a status that a user clears, or restores from a backup.
//!
//! Jobs prove attempts that the lost status does not contain. Every Job that was ever stored proves the attempt in its
//! pod template, which no user changes. The restored counts rise to that attempt and no further.

use crate::{
    invariants::{Ledger, Slot},
    job::Job,
    status_rules::{count, restarts_of},
    world::World,
};
use jobset_api::{JobSet, JobSetStatus};
use std::{collections::BTreeMap, sync::Arc};

/// The rule that restored counts must follow.
pub(crate) const RESTORED: &str = "restored counts rise to what Jobs prove, and no further";

/// The highest attempts of all Jobs that were ever stored, and the statuses that a backup can restore.
#[derive(Default)]
pub(crate) struct Proofs {
    attempt: i32,
    singles: BTreeMap<Slot, i32>,
    stored: Vec<JobSetStatus>,
    /// The number of times that the status was lost.
    pub(crate) losses: u32,
}

impl Proofs {
    /// Records the new state of a Job.
    pub(crate) fn job_was_stored(&mut self, job: &Job, slot: &Slot) {
        let (attempt, own) = job.created_for();
        self.attempt = self.attempt.max(attempt);
        let single = self.singles.entry(slot.clone()).or_default();
        *single = own.max(*single);
    }

    /// Records a status that the controller stored.
    pub(crate) fn status_was_stored(&mut self, jobset: &JobSet) {
        self.stored.extend(jobset.status.clone());
    }

    /// The part of the increase of `restarts` that is restored, not new. An error if it exceeds what Jobs prove.
    pub(crate) fn restored(&self, before: &JobSetStatus, after: &JobSetStatus) -> Result<i32, String> {
        restored_increase(self.losses, before.restarts, after.restarts, self.attempt)
    }

    /// The same for an individual Job.
    pub(crate) fn restored_single(
        &self,
        before: &JobSetStatus,
        after: &JobSetStatus,
        slot: &Slot,
    ) -> Result<i32, String> {
        let of = |status: &JobSetStatus| count(&restarts_of(status, &slot.0).0, slot.1);
        let proven = self.singles.get(slot).copied().unwrap_or(0);
        restored_increase(self.losses, of(before), of(after), proven)
    }
}

fn restored_increase(losses: u32, before: i32, after: i32, proven: i32) -> Result<i32, String> {
    if losses == 0 || after <= before || before >= proven {
        return Ok(0);
    }
    if after > proven {
        return Err(format!("the count rises from {before} to {after}, but Jobs prove only {proven}"));
    }
    Ok(after - before)
}

impl World {
    /// Clears the status of a JobSet, or replaces it with an older one.
    pub(crate) fn lose_status(&mut self, name: &str, older: Option<usize>) {
        let Some(jobset) = self.server.jobsets.get(name).cloned() else { return };
        let Some(uid) = jobset.metadata.uid.as_deref() else { return };
        let Some(ledger) = self.checker.ledgers.get_mut(uid) else { return };
        let Ledger { proofs, finished_at, .. } = ledger;
        let status = older.and_then(|number| proofs.stored.get(number % proofs.stored.len().max(1)).cloned());
        if status == jobset.status {
            return;
        }
        proofs.losses += 1;
        *finished_at = None;
        self.server.update_jobset(JobSet { status, ..JobSet::clone(&jobset) });
    }

    /// Describes a Job of a later attempt than its JobSet. At rest, this means that the status was not restored.
    pub(crate) fn later_job(status: &JobSetStatus, jobs: &[Arc<Job>]) -> Option<String> {
        let later = jobs.iter().find(|job| job.created_for().0 > status.restarts)?;
        Some(format!(
            "Job {} has attempt {}, and restarts is {}",
            later.name,
            later.created_for().0,
            status.restarts
        ))
    }
}
