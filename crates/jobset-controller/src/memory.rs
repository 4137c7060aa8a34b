//! What the process remembers of each JobSet beside what it observes. Nothing is lost when it forgets: a status
//! is stored a little sooner, and a problem is reported once more.

use crate::failures::KnownFailures;
use jobset_api::JobSet;
use jobset_plan::{Execution, Problem, StatusTiming, Step};
use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
};
use tokio::time::Instant;

#[derive(Default)]
struct Remembered {
    status: StatusTiming,
    /// The problems of the last plan: UID of the Job, and reason of the event.
    problems: HashSet<(String, String)>,
    failures: KnownFailures,
}

/// By UID of the JobSet.
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

    /// The JobSet is gone.
    pub(crate) fn forget(&self, uid: &str) {
        self.jobsets.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// Those of the problems of a plan that the plan before did not have.
    pub(crate) fn new_problems(&self, uid: &str, problems: Vec<Problem>) -> Vec<Problem> {
        self.of(uid, |jobset| {
            let key = |problem: &Problem| (problem.uid.clone(), problem.event.reason.clone());
            let known = std::mem::replace(&mut jobset.problems, problems.iter().map(key).collect());
            problems.into_iter().filter(|problem| !known.contains(&key(problem))).collect()
        })
    }

    /// Gives access to the failures that last.
    pub(crate) fn failures<T>(&self, uid: &str, use_them: impl FnOnce(&mut KnownFailures) -> T) -> T {
        self.of(uid, |jobset| use_them(&mut jobset.failures))
    }

    /// The next step of what is being carried out for this JobSet.
    pub(crate) fn next_step(&self, uid: &str, jobset: &JobSet, execution: &mut Execution) -> Step {
        let stored = jobset.status.as_ref();
        self.of(uid, |jobset| execution.next(stored, &mut jobset.status, self.started.elapsed()))
    }

    /// A status was stored.
    pub(crate) fn status_is_stored(&self, uid: &str, execution: &mut Execution) {
        self.of(uid, |jobset| execution.stored(&mut jobset.status, self.started.elapsed()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jobset_plan::{Event, EventKind};

    fn problem(job: &str) -> Problem {
        let event = Event { kind: EventKind::Warning, reason: "ForeignJob".into(), note: String::new() };
        Problem { job: job.to_owned(), uid: format!("uid-of-{job}"), event }
    }

    #[test]
    fn a_problem_is_new_once_and_again_when_it_ended() {
        let memory = Memory::default();
        let new = |uid: &str, jobs: &[&str]| {
            let problems = jobs.iter().map(|job| problem(job)).collect();
            memory.new_problems(uid, problems).into_iter().map(|problem| problem.job).collect::<Vec<_>>()
        };
        assert_eq!(new("u", &["a"]), ["a"]);
        assert_eq!(new("u", &["a", "b"]), ["b"]);
        assert_eq!(new("u", &["b"]), [""; 0]);
        assert_eq!(new("u", &["a", "b"]), ["a"]);
        assert_eq!(new("other", &["a"]), ["a"]);
        memory.forget("u");
        assert_eq!(new("u", &["b"]), ["b"]);
    }
}
