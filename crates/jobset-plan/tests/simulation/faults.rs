//! How hostile a world is. Of a thousand occasions each fault takes so many; from a certain time on there are none,
//! so that what should happen in the end can be asked for.

use crate::{
    schedule::ScheduledEvent,
    world::{Millis, World},
};
use fastrand::Rng;

/// See the module. Numbers are in a thousand, where nothing else is said.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Requests that are refused without effect.
    pub(crate) refuses: u32,
    /// Requests that take effect, and whose answer never comes.
    pub(crate) loses: u32,
    /// Requests, and answers, that take long.
    pub(crate) slow: u32,
    /// Deliveries of a watch that take long.
    pub(crate) stalls: u32,
    /// Deliveries that break the watch.
    pub(crate) relists: u32,
    /// Requests behind which the process dies.
    pub(crate) dies: u32,
    /// Crashes at any time; not in a thousand.
    pub(crate) crashes: u32,
    /// New leaders before the old one knows; not in a thousand.
    pub(crate) handovers: u32,
    /// Changes that users make to each JobSet; not in a thousand.
    pub(crate) acts: u32,
}

impl Faults {
    /// The faults of one seed: often none or one kind, sometimes all.
    pub(crate) fn random(rng: &mut Rng) -> Self {
        let mut all = Self {
            refuses: rng.u32(0..150),
            loses: rng.u32(0..120),
            slow: rng.u32(0..150),
            stalls: rng.u32(0..200),
            relists: rng.u32(0..60),
            dies: rng.u32(0..25),
            crashes: rng.u32(0..3),
            handovers: rng.u32(0..3),
            acts: rng.u32(1..6),
        };
        let keep = match rng.u8(0..10) {
            0 => 0,
            1..=6 => 30,
            _ => 100,
        };
        for field in [
            &mut all.refuses,
            &mut all.loses,
            &mut all.slow,
            &mut all.stalls,
            &mut all.relists,
            &mut all.dies,
            &mut all.crashes,
            &mut all.handovers,
            &mut all.acts,
        ] {
            if rng.u8(0..100) >= keep {
                *field = 0;
            }
        }
        all
    }

    /// Whether there is no fault at all: then no request of the controller is ever refused.
    pub(crate) fn leave_controller_alone(&self) -> bool {
        let Self { refuses, loses, slow, stalls, relists, dies, crashes, handovers, acts } = self;
        [refuses, loses, slow, stalls, relists, dies, crashes, handovers, acts]
            .into_iter()
            .all(|count| *count == 0)
    }

    /// Whether an event can get lost between storing its status and sending it, or two processes can send it.
    pub(crate) fn may_lose_events(&self) -> bool {
        let Self { loses, dies, crashes, handovers, .. } = self;
        [loses, dies, crashes, handovers].into_iter().any(|count| *count > 0)
    }
}

impl World {
    /// The faults at this time.
    pub(crate) fn faults_now(&self) -> Faults {
        if self.now < self.faults_until { self.faults } else { Faults::default() }
    }

    /// Whether something happens that happens so many times in a thousand.
    pub(crate) fn happens(&mut self, in_a_thousand: u32) -> bool {
        in_a_thousand > 0 && self.rng.u32(0..1000) < in_a_thousand
    }

    /// How long a message takes.
    pub(crate) fn travel(&mut self) -> Millis {
        let slow = self.faults_now().slow;
        if self.happens(slow) { self.rng.u64(100..40_000) } else { self.rng.u64(1..40) }
    }

    /// Schedules crashes and handovers.
    pub(crate) fn schedule_faults(&mut self) {
        for _ in 0..self.faults.crashes {
            let at = self.rng.u64(0..self.faults_until);
            self.at(at, ScheduledEvent::Crash);
        }
        for _ in 0..self.faults.handovers {
            let at = self.rng.u64(0..self.faults_until);
            self.at(at, ScheduledEvent::Handover);
        }
    }
}
