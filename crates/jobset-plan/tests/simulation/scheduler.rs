//! The scheduler: the nodes have room for a number of pods. The pods of a Job are placed all together, or wait.

use std::collections::BTreeMap;

/// The scheduler. It identifies pods by the UID of their Job and the run of that Job.
pub(crate) struct Scheduler {
    free: i32,
    held: BTreeMap<(String, u32), i32>,
    waiting: Vec<(String, u32, i32)>,
}

impl Scheduler {
    /// A scheduler for nodes with room for this number of pods.
    pub(crate) fn new(room: i32) -> Self {
        Self { free: room, held: BTreeMap::new(), waiting: Vec::new() }
    }

    /// Adds the pods of a Job to the queue.
    pub(crate) fn enqueue(&mut self, uid: &str, run: u32, pods: i32) {
        self.waiting.push((uid.to_owned(), run, pods));
    }

    /// Removes the pods of a Job from the queue.
    pub(crate) fn withdraw(&mut self, uid: &str) {
        self.waiting.retain(|(of, _, _)| of != uid);
    }

    /// Places the first pods in the queue that fit.
    pub(crate) fn place(&mut self) -> Option<(String, u32)> {
        let fits = self.waiting.iter().position(|(_, _, pods)| *pods <= self.free)?;
        let (uid, run, pods) = self.waiting.remove(fits);
        self.free -= pods;
        self.held.insert((uid.clone(), run), pods);
        Some((uid, run))
    }

    /// Frees the room of one run of a Job.
    pub(crate) fn release(&mut self, uid: &str, run: u32) {
        self.free += self.held.remove(&(uid.to_owned(), run)).unwrap_or(0);
    }

    /// Frees the room of all pods of a Job.
    pub(crate) fn release_all(&mut self, uid: &str) {
        self.withdraw(uid);
        let runs: Vec<u32> = self.held.keys().filter(|(of, _)| of == uid).map(|(_, run)| *run).collect();
        for run in runs {
            self.release(uid, run);
        }
    }
}
