//! What the process remembers of each JobSet beside what it observes. Nothing is lost when it forgets: a status
//! is stored a little sooner, and a complaint told once more.

use jobset_plan::StatusTiming;
use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

#[derive(Default)]
struct Remembered {
    status: StatusTiming,
    /// What was remarked about which Job: its UID, and the reason of the event.
    remarks: HashSet<(String, String)>,
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

    /// Whether nothing was remarked for this reason about this Job before.
    pub(crate) fn is_first_remark(&self, uid: &str, job: &str, reason: &str) -> bool {
        self.of(uid, |jobset| jobset.remarks.insert((job.to_owned(), reason.to_owned())))
    }

    /// The stored status is the right one.
    pub(crate) fn status_is_settled(&self, uid: &str) {
        self.of(uid, |jobset| jobset.status.settled());
    }

    /// The stored status is not the right one: how long that can stay so.
    pub(crate) fn status_can_wait(&self, uid: &str, is_urgent: bool) -> Duration {
        self.of(uid, |jobset| jobset.status.wait(is_urgent, self.started.elapsed()))
    }

    /// A status was stored.
    pub(crate) fn status_is_stored(&self, uid: &str) {
        self.of(uid, |jobset| jobset.status.stored(self.started.elapsed()));
    }
}
