//! How conditions change. The rules are those that clients of JobSet know, not those of generic libraries.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// Whether the condition `type_` is there and True.
pub(crate) fn is_true(conditions: &[Condition], type_: &str) -> bool {
    conditions.iter().any(|condition| condition.type_ == type_ && condition.status == "True")
}

/// Sets `new` among `conditions`, and tells whether anything changed.
///
/// - An absent condition appears only when it is True.
/// - Another status replaces the condition, with a new transition time.
/// - Another reason or message replaces it too, but keeps the time of the transition.
pub(crate) fn set(conditions: &mut Vec<Condition>, new: Condition) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn condition(status: &str, reason: &str, second: i64) -> Condition {
        Condition {
            type_: "Suspended".into(),
            status: status.into(),
            reason: reason.into(),
            message: String::new(),
            last_transition_time: Time(Timestamp::from_second(second).unwrap()),
            observed_generation: None,
        }
    }

    #[test]
    fn the_rules() {
        let mut all = vec![];
        assert!(!set(&mut all, condition("False", "A", 1)), "False never creates");
        assert!(set(&mut all, condition("True", "A", 2)));
        assert!(!set(&mut all, condition("True", "A", 3)), "the same again");
        assert!(set(&mut all, condition("True", "B", 4)), "another reason");
        assert_eq!(all, [condition("True", "B", 2)], "keeps the time of the transition");
        assert!(set(&mut all, condition("False", "B", 5)));
        assert_eq!(all, [condition("False", "B", 5)]);
    }
}
