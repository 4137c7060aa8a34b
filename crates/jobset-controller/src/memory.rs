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

/// The state of all JobSets, by UID.
pub(crate) struct Memory {
    started: Instant,
    jobsets: Mutex<HashMap<String, Remembered>>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { started: Instant::now(), jobsets: Mutex::default() }
    }
}

impl Memory {
    fn of<T>(&self, uid: &str, use_it: impl FnOnce(&mut Remembered) -> T) -> T {
        let mut jobsets = self.jobsets.lock().unwrap_or_else(PoisonError::into_inner);
        use_it(jobsets.entry(uid.to_owned()).or_default())
    }

    /// Removes the state of a deleted JobSet.
    pub(crate) fn forget(&self, uid: &str) {
        self.jobsets.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// Returns the problems that the last plan did not have. A problem with another text is a new problem.
    pub(crate) fn new_problems(&self, uid: &str, problems: Vec<Problem>) -> Vec<Problem> {
        self.of(uid, |jobset| {
            let before = std::mem::replace(&mut jobset.problems, problems.clone());
            let known: HashSet<_> = before.iter().map(Problem::cause).collect();
            problems.into_iter().filter(|problem| !known.contains(&problem.cause())).collect()
        })
    }

    /// Gives access to the known failures.
    pub(crate) fn failures<T>(&self, uid: &str, use_them: impl FnOnce(&mut KnownFailures) -> T) -> T {
        self.of(uid, |jobset| use_them(&mut jobset.failures))
    }

    /// How long the creation of Jobs waits, after this snapshot.
    pub(crate) fn creation_wait(&self, uid: &str, jobs: &[Arc<JobRecord>]) -> Option<Duration> {
        self.of(uid, |jobset| jobset.recreation.wait(jobs, self.started.elapsed()))
    }

    /// Returns the next step of an execution for this JobSet.
    pub(crate) fn next_step(&self, uid: &str, jobset: &JobSet, execution: &mut Execution) -> Step {
        let stored = jobset.status.as_ref();
        self.of(uid, |jobset| execution.next(stored, &mut jobset.status, self.started.elapsed()))
    }

    /// Records that a status was stored.
    pub(crate) fn status_is_stored(&self, uid: &str, execution: &mut Execution) {
        self.of(uid, |jobset| execution.stored(&mut jobset.status, self.started.elapsed()));
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
