//! The state of each JobSet between reconciles, in addition to the index. This state is a cache: after a restart, the
//! controller stores a status sooner and repeats an event about a problem.

use crate::failures::KnownFailures;
use jobset_api::JobSet;
use jobset_plan::{Execution, JobRecord, Problem, Recreation, StatusTiming, Step};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

#[derive(Default)]
struct Remembered {
    status: StatusTiming,
    recreation: Recreation,
    /// The problems of the last plan.
    problems: Vec<Problem>,
    failures: KnownFailures,
}

/// The state of all JobSets.
pub(crate) struct Memory {
    started: Instant,
    all: Mutex<All>,
}

#[derive(Default)]
struct All {
    by_uid: HashMap<String, Remembered>,
    /// The number of JobSets whose statuses wait.
    waiting: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self { started: Instant::now(), all: Mutex::default() }
    }
}

impl Memory {
    /// Gives access to the state of a JobSet, and to the number of other JobSets whose statuses wait.
    fn of<T>(&self, uid: &str, use_it: impl FnOnce(&mut Remembered, usize) -> T) -> T {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let All { by_uid, waiting } = &mut *all;
        let jobset = by_uid.entry(uid.to_owned()).or_default();
        *waiting = waiting.saturating_sub(usize::from(jobset.status.is_waiting()));
        let result = use_it(jobset, *waiting);
        *waiting += usize::from(jobset.status.is_waiting());
        result
    }

    /// Removes the state of a deleted JobSet.
    pub(crate) fn forget(&self, uid: &str) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.by_uid.remove(uid).is_some_and(|jobset| jobset.status.is_waiting()) {
            all.waiting = all.waiting.saturating_sub(1);
        }
    }

    /// Returns the problems that the last plan did not have. A problem with another text is a new problem.
    pub(crate) fn new_problems(&self, uid: &str, problems: Vec<Problem>) -> Vec<Problem> {
        self.of(uid, |jobset, _| {
            let before = std::mem::replace(&mut jobset.problems, problems.clone());
            let known: HashSet<_> = before.iter().map(Problem::cause).collect();
            problems.into_iter().filter(|problem| !known.contains(&problem.cause())).collect()
        })
    }

    /// Gives access to the known failures.
    pub(crate) fn failures<T>(&self, uid: &str, use_them: impl FnOnce(&mut KnownFailures) -> T) -> T {
        self.of(uid, |jobset, _| use_them(&mut jobset.failures))
    }

    /// How long the creation of Jobs waits, after this snapshot.
    pub(crate) fn creation_wait(&self, uid: &str, jobs: &[Arc<JobRecord>]) -> Option<Duration> {
        self.of(uid, |jobset, _| jobset.recreation.wait(jobs, self.started.elapsed()))
    }

    /// Returns the next step of an execution for this JobSet.
    pub(crate) fn next_step(&self, uid: &str, jobset: &JobSet, execution: &mut Execution) -> Step {
        let stored = jobset.status.as_ref();
        self.of(uid, |jobset, waiting| {
            execution.next(stored, &mut jobset.status, waiting, self.started.elapsed())
        })
    }

    /// Records that a status was stored.
    pub(crate) fn status_is_stored(&self, uid: &str, execution: &mut Execution) {
        self.of(uid, |jobset, _| execution.stored(&mut jobset.status, self.started.elapsed()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jobset_plan::{Event, EventKind, Subject};

    fn problem(uid: &str, note: &str) -> Problem {
        let subject = Subject::Job { name: uid.to_owned(), uid: uid.to_owned() };
        let event = Event { kind: EventKind::Warning, reason: "ForeignJob".into(), note: note.to_owned() };
        Problem { subject, event }
    }

    #[test]
    fn a_problem_is_new_once_while_it_persists() {
        let memory = Memory::default();
        let [one, other, changed] = [problem("a", "x"), problem("b", "x"), problem("a", "y")];
        for (problems, expected) in [
            (vec![], vec![]),
            (vec![&one], vec![&one]),
            (vec![&one], vec![]),
            (vec![&one, &other], vec![&other]),
            (vec![&changed, &other], vec![&changed]),
            (vec![&other], vec![]),
            (vec![&changed], vec![&changed]),
        ] {
            let new = memory.new_problems("train", problems.iter().map(|it| (*it).clone()).collect());
            assert_eq!(new.iter().collect::<Vec<_>>(), expected, "{problems:?}");
        }
        assert_eq!(memory.new_problems("tune", vec![changed.clone()]), [changed], "another JobSet");
    }
}
