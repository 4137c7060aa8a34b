//! How conditions change. The rules are those that clients of JobSet know, not those of generic libraries.

use jiff::Timestamp;
use jobset_api::conditions as types;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// When the JobSet finished, if it did: the transition of the first of its terminal conditions that is True.
pub(crate) fn finished(conditions: &[Condition]) -> Option<Timestamp> {
    let terminal =
        |condition: &&Condition| [types::COMPLETED, types::FAILED].contains(&condition.type_.as_str());
    let mut terminal = conditions.iter().filter(terminal).filter(|condition| condition.status == "True");
    terminal.next().map(|condition| condition.last_transition_time.0)
}

/// Sets `new` among `conditions`. Returns whether anything changed.
///
/// - An absent condition appears only when it is True.
/// - Another status replaces the condition, with a new transition time.
/// - Another reason or message replaces it too, but keeps the time of the transition.
/// - Of the two conditions of the startup policy, one that becomes True sets the status of the other to False. Its
///   reason, message and time stay.
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
            let appears = new.status == "True";
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

/// The condition that cannot be True at the same time.
fn opposite(type_: &str) -> Option<&'static str> {
    match type_ {
        types::STARTUP_POLICY_IN_PROGRESS => Some(types::STARTUP_POLICY_COMPLETED),
        types::STARTUP_POLICY_COMPLETED => Some(types::STARTUP_POLICY_IN_PROGRESS),
        _ => None,
    }
}
