//! What is to happen, by virtual time. What is due at the same millisecond comes in an order that the seed picks.

use crate::{observe::Kind, requests::RequestId, users::Act, world::Millis};
use fastrand::Rng;
use std::{cmp::Ordering, collections::BinaryHeap};

/// Something that happens.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// A process starts, reads its lists, and leads.
    Start,
    /// The process that leads dies.
    Crash,
    /// Another process takes over, while the old one does not know yet.
    Handover,
    /// A process dies.
    Die { process: usize },
    /// A watch tells a process what comes next of a kind.
    Deliver { process: usize, kind: Kind },
    /// A watch broke, and a new list is asked for.
    ListAsked { process: usize, kind: Kind },
    /// The list comes.
    ListRead { process: usize, kind: Kind },
    /// A process looks at what is in its queue.
    Work { process: usize },
    /// A request reaches the API server.
    Arrive(RequestId),
    /// Its answer reaches the process.
    Answer(RequestId),
    /// The Job controller, a scheduler or a kubelet does its part for a Job.
    Job { uid: String, run: u32, step: JobStep },
    /// The garbage collector has a look.
    Collect,
    /// A user does something.
    User(Act),
}

/// What happens to the pods of a Job; see `job_controller.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobStep {
    /// The Job controller looks at the Job.
    Sync,
    /// Its pods exist.
    PodsCreated,
    /// Its pods are ready.
    Ready,
    /// One of them is not ready for a while.
    Flap,
    /// It is ready again.
    Unflap,
    /// They do what they were going to do.
    PodsEnd,
    /// The Job gets its verdict.
    Ended,
    /// Pods that were told to stop are gone.
    PodsStopped,
    /// A Job that is being deleted fails, as its pods are killed.
    FailsInDeletion,
    /// Nothing holds the Job any more.
    Removed,
}

struct Entry {
    at: Millis,
    tie: u32,
    number: u64,
    what: Happening,
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
    // The heap gives the greatest first, and the earliest is wanted.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

/// See the module.
#[derive(Default)]
pub(crate) struct Agenda {
    heap: BinaryHeap<Entry>,
    number: u64,
}

impl Agenda {
    /// Something is to happen at this time.
    pub(crate) fn put(&mut self, rng: &mut Rng, at: Millis, what: Happening) {
        self.number += 1;
        self.heap.push(Entry { at, tie: rng.u32(..), number: self.number, what });
    }

    /// What happens next, and when.
    pub(crate) fn next(&mut self) -> Option<(Millis, Happening)> {
        self.heap.pop().map(|entry| (entry.at, entry.what))
    }
}
