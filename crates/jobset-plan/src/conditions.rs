//! How conditions change. The rules are those that clients of JobSet expect, and differ from those of generic
//! libraries.

use jiff::Timestamp;
use jobset_api::conditions as types;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// When the JobSet finished, if it did: the transition time of its first terminal condition that is True.
pub(crate) fn finished(conditions: &[Condition]) -> Option<Timestamp> {
    let terminal =
        |condition: &&Condition| [types::COMPLETED, types::FAILED].contains(&condition.type_.as_str());
    let mut terminal = conditions.iter().filter(terminal).filter(|condition| condition.status == "True");
    terminal.next().map(|condition| condition.last_transition_time.0)
}

/// Whether the condition `type_` is True.
pub(crate) fn is_true(conditions: &[Condition], type_: &str) -> bool {
    conditions.iter().any(|condition| condition.type_ == type_ && condition.status == "True")
}

/// Sets `new` in `conditions`. Returns whether a condition changed.
///
/// - An absent condition is added only if it is True. `GangScheduled` is also added if it is False.
/// - A new status replaces the condition and sets a new transition time.
/// - A new reason or message replaces the condition and keeps the transition time.
/// - The two conditions of the startup policy exclude each other: when one becomes True, the status of the other
///   becomes False. The reason, message and time of the other stay.
pub(crate) fn set(conditions: &mut Vec<Condition>, new: Condition) -> bool {
    if new.status == "True"
        && let Some(other) = opposite(&new.type_)
    {
        for condition in conditions.iter_mut().filter(|condition| condition.type_ == other) {
            "False".clone_into(&mut condition.status);
        }
    }
    match conditions.iter_mut().find(|condition| condition.type_ == new.type_) {
        None => {
            let appears = new.status == "True" || new.type_ == types::GANG_SCHEDULED;
            if appears {
                conditions.push(new);
            }
            appears
        }
        Some(old) => {
            let status = old.status != new.status;
            let text = old.reason != new.reason || old.message != new.message;
            if status {
                *old = new;
            } else if text {
                *old = Condition { last_transition_time: old.last_transition_time.clone(), ..new };
            }
            status || text
        }
    }
}

/// The condition that cannot be True at the same time as `type_`.
fn opposite(type_: &str) -> Option<&'static str> {
    match type_ {
        types::STARTUP_POLICY_IN_PROGRESS => Some(types::STARTUP_POLICY_COMPLETED),
        types::STARTUP_POLICY_COMPLETED => Some(types::STARTUP_POLICY_IN_PROGRESS),
        _ => None,
    }
}
