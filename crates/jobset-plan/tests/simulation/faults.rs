//! Faults and their probabilities. After a certain time there are no more faults, so that rules for a world at rest can
//! be checked.

use crate::{
    schedule::ScheduledEvent,
    world::{Millis, World},
};
use fastrand::Rng;

/// How often each fault occurs: per thousand occasions, unless the field says otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Requests that are refused without effect.
    pub(crate) refuses: u32,
    /// Requests that take effect, but whose response is lost.
    pub(crate) loses: u32,
    /// Slow requests and responses.
    pub(crate) slow: u32,
    /// Slow deliveries of a watch.
    pub(crate) stalls: u32,
    /// Deliveries that break the watch.
    pub(crate) relists: u32,
    /// Requests after which the process dies.
    pub(crate) dies: u32,
    /// Total number of crashes at a random time.
    pub(crate) crashes: u32,
    /// Total number of new leaders that start before the old leader notices.
    pub(crate) handovers: u32,
    /// Total number of user requests for each JobSet.
    pub(crate) user_actions: u32,
}

impl Faults {
    /// Random faults: no kind, some kinds or all kinds.
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
            user_actions: rng.u32(1..6),
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
            &mut all.user_actions,
        ] {
            if rng.u8(0..100) >= keep {
                *field = 0;
            }
        }
        all
    }

    /// Whether there are no faults and no user requests. Then no request of the controller fails.
    pub(crate) fn are_none(&self) -> bool {
        let Self { refuses, loses, slow, stalls, relists, dies, crashes, handovers, user_actions } = self;
        [refuses, loses, slow, stalls, relists, dies, crashes, handovers, user_actions]
            .into_iter()
            .all(|count| *count == 0)
    }

    /// Whether an event can be lost after its status is stored, or sent by two processes.
    pub(crate) fn may_lose_events(&self) -> bool {
        let Self { loses, dies, crashes, handovers, .. } = self;
        [loses, dies, crashes, handovers].into_iter().any(|count| *count > 0)
    }
}

impl World {
    /// The faults at the current time.
    pub(crate) fn faults_now(&self) -> Faults {
        if self.now < self.faults_until { self.faults } else { Faults::default() }
    }

    /// Returns true with this probability.
    pub(crate) fn happens(&mut self, per_thousand: u32) -> bool {
        per_thousand > 0 && self.rng.u32(0..1000) < per_thousand
    }

    /// The transit time of a request or response.
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
