//! Events by virtual time. The seed decides the order of those that are due at the same millisecond.

use crate::{observe::Kind, requests::RequestId, users::Act, world::Millis};
use fastrand::Rng;
use std::{cmp::Ordering, collections::BinaryHeap};

/// An event.
#[derive(Clone, Debug)]
pub(crate) enum ScheduledEvent {
    /// A process starts, reads its lists, and leads.
    Start,
    /// The process that leads dies.
    Crash,
    /// Another process takes over before the old one knows.
    Handover,
    /// A process dies.
    Die { process: usize },
    /// A watch delivers changes of a kind to a process.
    Deliver { process: usize, kind: Kind },
    /// A watch broke, and the process requests a new list.
    ListAsked { process: usize, kind: Kind },
    /// The list arrives.
    ListRead { process: usize, kind: Kind },
    /// A process works on its queue.
    Work { process: usize },
    /// A request reaches the API server.
    Arrive(RequestId),
    /// Its response reaches the process.
    Answer(RequestId),
    /// The Job controller, a scheduler or a kubelet does its part for a Job.
    Job { uid: String, run: u32, step: JobStep },
    /// The garbage collector runs.
    Collect,
    /// A user does something.
    User(Act),
}

/// What happens to the pods of a Job; see `job_controller.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobStep {
    /// The Job controller reconciles the Job.
    Sync,
    /// Its pods exist.
    PodsCreated,
    /// Its pods are ready.
    Ready,
    /// One of them is not ready for a while.
    Flap,
    /// It is ready again.
    Unflap,
    /// They succeed or fail, as their outcome says.
    PodsEnd,
    /// The Job gets its verdict.
    Ended,
    /// Terminating pods are gone.
    PodsStopped,
    /// A Job that is being deleted fails, as its pods are killed.
    FailsInDeletion,
    /// The Job has no finalizer any more.
    Removed,
}

struct Entry {
    at: Millis,
    tie: u32,
    number: u64,
    what: ScheduledEvent,
}

impl Entry {
    fn key(&self) -> (Millis, u32, u64) {
        (self.at, self.tie, self.number)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    // The heap returns the greatest entry first, so the earliest must be the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

/// See the module.
#[derive(Default)]
pub(crate) struct Schedule {
    heap: BinaryHeap<Entry>,
    number: u64,
}

impl Schedule {
    /// Schedules an event.
    pub(crate) fn put(&mut self, rng: &mut Rng, at: Millis, what: ScheduledEvent) {
        self.number += 1;
        self.heap.push(Entry { at, tie: rng.u32(..), number: self.number, what });
    }

    /// The next event, and its time.
    pub(crate) fn next(&mut self) -> Option<(Millis, ScheduledEvent)> {
        self.heap.pop().map(|entry| (entry.at, entry.what))
    }
}
