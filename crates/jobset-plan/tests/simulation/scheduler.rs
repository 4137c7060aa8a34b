//! The scheduler: so many pods fit on the nodes, and pods of one Job are placed together or wait.

use std::collections::BTreeMap;

/// See the module. Pods are known by the UID of their Job, and which of its runs they are of.
pub(crate) struct Scheduler {
    free: i32,
    held: BTreeMap<(String, u32), i32>,
    waiting: Vec<(String, u32, i32)>,
}

impl Scheduler {
    /// Nodes with room for so many pods.
    pub(crate) fn new(room: i32) -> Self {
        Self { free: room, held: BTreeMap::new(), waiting: Vec::new() }
    }

    /// Pods want a place.
    pub(crate) fn ask(&mut self, uid: &str, run: u32, pods: i32) {
        self.waiting.push((uid.to_owned(), run, pods));
    }

    /// They want none any more.
    pub(crate) fn withdraw(&mut self, uid: &str) {
        self.waiting.retain(|(of, _, _)| of != uid);
    }

    /// Places the pods of one Job, if any fit.
    pub(crate) fn place(&mut self) -> Option<(String, u32)> {
        let fits = self.waiting.iter().position(|(_, _, pods)| *pods <= self.free)?;
        let (uid, run, pods) = self.waiting.remove(fits);
        self.free -= pods;
        self.held.insert((uid.clone(), run), pods);
        Some((uid, run))
    }

    /// Pods are gone.
    pub(crate) fn release(&mut self, uid: &str, run: u32) {
        self.free += self.held.remove(&(uid.to_owned(), run)).unwrap_or(0);
    }

    /// All pods of a Job are gone.
    pub(crate) fn release_all(&mut self, uid: &str) {
        self.withdraw(uid);
        let runs: Vec<u32> = self.held.keys().filter(|(of, _)| of == uid).map(|(_, run)| *run).collect();
        for run in runs {
            self.release(uid, run);
        }
    }
}
