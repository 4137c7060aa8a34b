//! A queue of events by virtual time. The seed determines the order of events that are due in the same millisecond.

use crate::{api_server::Watched, requests::RequestId, users::UserRequest, world::Millis};
use fastrand::Rng;
use std::{cmp::Ordering, collections::BinaryHeap};

/// An event.
#[derive(Clone, Debug)]
pub(crate) enum ScheduledEvent {
    /// A process starts, reads its lists, and acquires the lease.
    Start,
    /// The leader dies.
    Crash,
    /// Another process acquires the lease before the old leader notices.
    Handover,
    /// A process dies.
    Die { process: usize },
    /// A watch delivers changes of a kind to a process.
    Deliver { process: usize, kind: Watched },
    /// A watch breaks, and the process requests a new list.
    ListRequested { process: usize, kind: Watched },
    /// The list arrives.
    ListReceived { process: usize, kind: Watched },
    /// A process starts reconciles from its queue.
    Work { process: usize },
    /// A request reaches the API server.
    Arrive(RequestId),
    /// Its response reaches the process.
    Answer(RequestId),
    /// The Job controller, the scheduler or a kubelet acts on a Job.
    Job { uid: String, run: u32, step: JobStep },
    /// The watch of pods delivers the leader of the Job with this UID to a process.
    ObserveLeader { process: usize, uid: String },
    /// The garbage collector runs.
    Collect,
    /// The finalizers of PodGroups without pods are removed.
    ReleasePodGroups,
    /// A user sends a request.
    User(UserRequest),
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
    /// One of its pods becomes unready.
    Flap,
    /// That pod becomes ready again.
    Unflap,
    /// One of its pods succeeds.
    OneSucceeds,
    /// Its other pods are evicted and replaced.
    Evicted,
    /// Its pods succeed or fail, as their outcome determines.
    PodsEnd,
    /// The Job gets the condition Complete or Failed.
    Ended,
    /// Its terminating pods have stopped.
    PodsStopped,
    /// A Job fails during its deletion, because its pods are killed.
    FailsInDeletion,
    /// The last finalizer is removed, and the Job is deleted.
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

/// A priority queue of events.
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

    /// Removes the next event. Returns its time and the event.
    pub(crate) fn next(&mut self) -> Option<(Millis, ScheduledEvent)> {
        self.heap.pop().map(|entry| (entry.at, entry.what))
    }
}
