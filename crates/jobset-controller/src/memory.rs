//! What the process remembers of each JobSet beside what it observes. A restart of the process loses nothing: it stores a
//! status a little sooner, and sends an event about a problem once more.

use jobset_api::JobSet;
use jobset_plan::{Execution, StatusTiming, Step};
use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
};
use tokio::time::Instant;

#[derive(Default)]
struct Remembered {
    status: StatusTiming,
    /// Problems that were reported: UID of the Job, and reason of the event.
    problems: HashSet<(String, String)>,
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

    /// Whether no event of this reason was sent about this Job before.
    pub(crate) fn is_new_problem(&self, uid: &str, job: &str, reason: &str) -> bool {
        self.of(uid, |jobset| jobset.problems.insert((job.to_owned(), reason.to_owned())))
    }

    /// The next step of the execution for this JobSet.
    pub(crate) fn next_step(&self, uid: &str, jobset: &JobSet, execution: &mut Execution) -> Step {
        let stored = jobset.status.as_ref();
        self.of(uid, |jobset| execution.next(stored, &mut jobset.status, self.started.elapsed()))
    }

    /// A status was stored.
    pub(crate) fn status_is_stored(&self, uid: &str, execution: &mut Execution) {
        self.of(uid, |jobset| execution.stored(&mut jobset.status, self.started.elapsed()));
    }
}
