//! The condition Degraded and its parts, from the causes that hold now.
//!
//! ```text
//! a cause                                       part condition    Degraded
//! waits for the administrator                   at once           at once
//! can pass: a failed request or watch           at once           after INERTIA
//! can pass, with a clock of its own: a pod      after INERTIA     after INERTIA
//! ```
//!
//! As in OpenShift's own operators, only a cause that persists makes Degraded True. The clock of a failed request or
//! watch is the transition time of its part condition. That time is in the status, so a restart of the operator does
//! not restart the clock.

use super::condition_types::{DEGRADED, Finding, STATIC_DEGRADED, TARGET_DEGRADED};
use super::problem::Problem;
use super::settings::Mode;
use crate::reasons;
use jobset_api::jobset_operator::JobSetOperatorStatus;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// How long a cause that can pass must persist until Degraded is True. The default of OpenShift's library.
pub const INERTIA: SignedDuration = SignedDuration::from_mins(2);

/// Since when a cause counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    /// The cause waits for the administrator, and counts at once.
    None,
    /// The cause can pass. It persists since the transition of its part condition.
    Part,
    /// The cause can pass. It persists since this time. Condition Progressing reports it until it counts.
    Own(Timestamp),
}

/// A cause for Degraded.
#[derive(Clone, Debug)]
pub(super) struct Cause {
    pub reason: &'static str,
    pub message: String,
    /// The part condition that reports the cause: [`TARGET_DEGRADED`] or [`STATIC_DEGRADED`].
    pub part: &'static str,
    pub clock: Clock,
}

impl Cause {
    /// A cause of the operand.
    pub(super) fn of_operand(problem: Problem, clock: Clock) -> Self {
        Self { reason: problem.reason, message: problem.message, part: TARGET_DEGRADED, clock }
    }
}

/// The conditions, and when they change if nothing else does.
pub(super) struct Degradation {
    pub degraded: Finding,
    pub of_target: Finding,
    pub of_static_resources: Finding,
    pub reconcile_at: Option<Timestamp>,
}

/// Decides on the conditions. `old` is the stored status.
pub(super) fn degradation(
    mode: Mode,
    causes: &[Cause],
    old: Option<&JobSetOperatorStatus>,
    now: Timestamp,
) -> Degradation {
    let counts_at = |cause: &Cause| match cause.clock {
        Clock::None => now,
        Clock::Part => true_since(old, cause.part).unwrap_or(now) + INERTIA,
        Clock::Own(since) => since + INERTIA,
    };
    let counting: Vec<&Cause> = causes.iter().filter(|cause| counts_at(cause) <= now).collect();
    let part = |kind: &'static str| {
        let is_shown = |cause: &&Cause| {
            cause.part == kind && (!matches!(cause.clock, Clock::Own(_)) || counts_at(cause) <= now)
        };
        let shown: Vec<&Cause> = causes.iter().filter(is_shown).collect();
        let reason = if shown.is_empty() { reasons::AS_EXPECTED } else { reasons::SYNC_ERROR };
        Finding::new(kind, !shown.is_empty(), reason, messages(&shown))
    };
    let degraded = match counting.first() {
        Some(first) => Finding::new(DEGRADED, true, first.reason, messages(&counting)),
        None if mode == Mode::Unmanaged => Finding::new(DEGRADED, false, reasons::UNMANAGED, ""),
        None => Finding::new(DEGRADED, false, reasons::AS_EXPECTED, ""),
    };
    Degradation {
        degraded,
        of_target: part(TARGET_DEGRADED),
        of_static_resources: part(STATIC_DEGRADED),
        reconcile_at: causes.iter().map(counts_at).filter(|at| *at > now).min(),
    }
}

/// Since when the stored condition is True.
fn true_since(old: Option<&JobSetOperatorStatus>, kind: &str) -> Option<Timestamp> {
    let found = old?.conditions.iter().find(|condition| condition.type_ == kind)?;
    (found.status == "True").then_some(found.last_transition_time.0)
}

fn messages(causes: &[&Cause]) -> String {
    causes.iter().map(|cause| cause.message.as_str()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn stored(kind: &str, status: &str, since: i64) -> JobSetOperatorStatus {
        let condition = json!({"type": kind, "status": status, "lastTransitionTime": at(since).to_string()});
        serde_json::from_value(json!({ "conditions": [condition] })).unwrap()
    }

    fn cause(part: &'static str, clock: Clock) -> Cause {
        Cause { reason: "Red", message: "it is red".into(), part, clock }
    }

    /// One cause at second 1000: Degraded, its part condition, and the time of the next change.
    #[test]
    fn only_a_cause_that_persists_makes_degraded_true() {
        let part_true = |since| Some(stored(TARGET_DEGRADED, "True", since));
        let own = |since| Clock::Own(at(since));
        for (clock, old, degraded, part, next) in [
            (Clock::None, None, true, true, None),
            (Clock::Part, None, false, true, Some(1120)),
            (Clock::Part, part_true(881), false, true, Some(1001)),
            (Clock::Part, part_true(880), true, true, None),
            // Another condition, or one that is not True, is no clock.
            (Clock::Part, Some(stored(TARGET_DEGRADED, "False", 1)), false, true, Some(1120)),
            (Clock::Part, Some(stored(STATIC_DEGRADED, "True", 1)), false, true, Some(1120)),
            (Clock::Part, Some(stored("Progressing", "True", 1)), false, true, Some(1120)),
            (own(1000), part_true(1), false, false, Some(1120)),
            (own(880), None, true, true, None),
        ] {
            let causes = [cause(TARGET_DEGRADED, clock)];
            let found = degradation(Mode::Managed, &causes, old.as_ref(), at(1000));
            assert_eq!(found.degraded.status, degraded, "{clock:?} {old:?}");
            assert_eq!(found.of_target.status, part, "{clock:?} {old:?}");
            assert_eq!(found.reconcile_at, next.map(at), "{clock:?} {old:?}");
            assert!(!found.of_static_resources.status);
        }
    }

    #[test]
    fn the_reason_is_that_of_the_first_cause_that_counts() {
        let mut causes = [cause(TARGET_DEGRADED, Clock::Own(at(1000))), cause(STATIC_DEGRADED, Clock::None)];
        causes[1].reason = "Blue";
        causes[1].message = "it is blue".into();
        let found = degradation(Mode::Managed, &causes, None, at(1000));
        assert_eq!((found.degraded.reason.as_str(), found.degraded.message.as_str()), ("Blue", "it is blue"));
        let found = degradation(Mode::Managed, &causes, None, at(1120));
        assert_eq!(found.degraded.message, "it is red\nit is blue");
        assert_eq!(found.of_static_resources.message, "it is blue");
    }

    #[test]
    fn without_a_cause_degraded_is_false() {
        let found = degradation(Mode::Unmanaged, &[], None, at(1000));
        assert_eq!((found.degraded.status, found.degraded.reason.as_str()), (false, "Unmanaged"));
        assert_eq!(found.reconcile_at, None);
    }
}
