//! Rules for every status that the controller stores.

use crate::{api_server::version_of, invariants::Slot, job::Job, lost_status::RESTORED, world::World};
use jobset_api::{JobSet, JobSetStatus, conditions as types};
use jobset_plan::LabelValue;
use std::{collections::BTreeMap, sync::Arc};

const TERMINAL: &str = "a terminal state is final";
const ONCE: &str = "each failure causes one restart";

impl World {
    /// Checks a status before the API server stores it.
    pub(crate) fn check_status(&mut self, jobset: &JobSet, uid: &str, after: &JobSetStatus) {
        let nothing = JobSetStatus::default();
        let before = jobset.status.as_ref().unwrap_or(&nothing);
        let Some(ledger) = self.checker.ledgers.get_mut(uid) else { return };
        let mut broken: Vec<(&'static str, String)> = Vec::new();
        ledger.restarts.status_was_stored(before, after, self.now);

        let is = |status: &JobSetStatus, type_: &str| {
            status.conditions.iter().any(|condition| condition.type_ == type_ && condition.status == "True")
        };
        let requests_can_be_late = self.faults.may_lose_events();
        if is(after, types::SUSPENDED) && !is(before, types::SUSPENDED) && !requests_can_be_late {
            let current = LabelValue::Number(before.restarts);
            let runs = |job: &&Arc<Job>| {
                let own = job.restart_attempt == current && !job.is_edited();
                job.unfinished() && !job.suspend && !job.deleting && own
            };
            if let Some(job) = self.server.jobs_of(uid).find(runs) {
                broken.push((
                    "a status reports only completed actions",
                    format!("Job {} is not suspended", job.name),
                ));
            }
        }
        for end in [types::COMPLETED, types::FAILED] {
            if is(before, end) && !is(after, end)
                || !before.terminal_state.is_empty() && is(before, end) != is(after, end)
            {
                broken.push((TERMINAL, format!("{end} changes")));
            }
            if is(after, end) != (after.terminal_state == end) {
                broken
                    .push((TERMINAL, format!("{end} and terminalState {:?} disagree", after.terminal_state)));
            }
        }
        if is(after, types::COMPLETED) && is(after, types::FAILED) {
            broken.push((TERMINAL, "both Completed and Failed are true".to_owned()));
        }
        if !after.terminal_state.is_empty() && ledger.finished_at.is_none() {
            // The stored status has a later version than every existing object.
            ledger.finished_at = Some(version_of(&jobset.metadata) + 1);
        }

        let alone = self.gates.restart_job;
        let current = |slot: &Slot, (attempt, own): (i32, i32)| {
            attempt == before.restarts && (!alone || own >= count(&restarts_of(before, &slot.0).0, slot.1))
        };
        let mut restored = |what: Result<i32, String>| match what {
            Ok(count) => count,
            Err(how) => {
                broken.push((RESTORED, how));
                0
            }
        };
        let whole = restored(ledger.proofs.restored(before, after));
        let mut singles = BTreeMap::new();
        for replicated_job in &jobset.spec.replicated_jobs {
            for index in 0..replicated_job.replicas {
                let slot = (replicated_job.name.clone(), index);
                let single = restored(ledger.proofs.restored_single(before, after, &slot));
                singles.insert(slot, single);
            }
        }
        let mut restarts = after.restarts - before.restarts - whole;
        if restarts != 0 && !ledger.failures.values().any(|(slot, attempts)| current(slot, *attempts)) {
            broken.push((ONCE, "the JobSet restarts, but no Job of its attempt has failed".to_owned()));
        }
        // The controller cannot always determine how many of the restored restarts counted.
        let new = |counted: i32, restored: i32| (counted - restored).max(counted.min(0));
        let mut counted = new(after.restarts_count_towards_max - before.restarts_count_towards_max, whole);
        let mut total = after.restarts_count_towards_max;
        for replicated_job in &jobset.spec.replicated_jobs {
            let name = &replicated_job.name;
            let ((was, was_counted), (is, is_counted)) =
                (restarts_of(before, name), restarts_of(after, name));
            for index in 0..replicated_job.replicas {
                let slot = (name.clone(), index);
                let restored = singles.get(&slot).copied().unwrap_or(0);
                let more = count(&is, index) - count(&was, index) - restored;
                let failed =
                    ledger.failures.values().any(|(of, attempts)| *of == slot && current(of, *attempts));
                if more != 0 && !failed {
                    broken.push((ONCE, format!("Job {index} of {name} restarts, but has not failed")));
                }
                restarts += more.abs();
                counted += new(count(&is_counted, index) - count(&was_counted, index), restored);
                total += count(&is_counted, index);
            }
        }
        if !(0..=1).contains(&restarts) || !(0..=restarts).contains(&counted) {
            broken.push((ONCE, format!("{restarts} restarts at once, {counted} of them counted")));
        }
        if before == after {
            broken.push(("a stored status differs from the previous one", String::new()));
        }
        let rules = jobset.spec.failure_policy.as_ref().map_or(0, |policy| policy.rules.len());
        if rules == 0 && counted != restarts {
            broken.push((ONCE, "a restart does not count, although the policy has no rules".to_owned()));
        }
        let max = jobset.spec.failure_policy.as_ref().map_or(0, |policy| policy.max_restarts.max(0));
        if total > max {
            broken.push(("counted restarts do not exceed maxRestarts", format!("{total} of {max}")));
        }
        for (rule, how) in broken {
            self.violated(rule, format!("JobSet {uid}: {how}"));
        }
    }
}

/// The restarts of individual Jobs of a ReplicatedJob, and how many of them count towards `maxRestarts`.
pub(crate) fn restarts_of(status: &JobSetStatus, name: &str) -> (Vec<i32>, Vec<i32>) {
    let entry = status.replicated_jobs_status.iter().find(|entry| entry.name == name);
    entry.map_or_else(Default::default, |entry| {
        (entry.job_restarts.clone(), entry.job_restarts_count_towards_max.clone())
    })
}

/// The count of the Job with this index.
pub(crate) fn count(counts: &[i32], index: i32) -> i32 {
    usize::try_from(index).ok().and_then(|index| counts.get(index)).copied().unwrap_or(0)
}
