//! `wait`: when a JobSet has reached a state, and when it never will.

use crate::explain::State;

/// What a state means for somebody who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The state is one of those that are wanted.
    Reached,
    /// None of them can come any more.
    Never,
    /// One of them can still come.
    NotYet,
}

/// The verdict about a state. Without wanted states, the end of the JobSet is wanted, however it ends.
pub(crate) fn verdict(state: Option<State>, wanted: &[State]) -> Verdict {
    let has_ended = matches!(state, None | Some(State::Completed | State::Failed | State::Deleting));
    let is_wanted = match state {
        Some(state) if wanted.is_empty() => matches!(state, State::Completed | State::Failed),
        Some(state) => wanted.contains(&state),
        None => false,
    };
    match (is_wanted, has_ended) {
        (true, _) => Verdict::Reached,
        (false, true) => Verdict::Never,
        (false, false) => Verdict::NotYet,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::{Completed, Failed, Restarting, Running, Starting};

    #[test]
    fn an_end_decides() {
        for (state, wanted, expected) in [
            (Some(Completed), &[][..], Verdict::Reached),
            (Some(Failed), &[], Verdict::Reached),
            (Some(Running), &[], Verdict::NotYet),
            (Some(Failed), &[Completed], Verdict::Never),
            (None, &[Completed], Verdict::Never),
            (Some(State::Deleting), &[], Verdict::Never),
            (Some(Restarting), &[Running], Verdict::NotYet),
            (Some(Starting), &[Running, Starting], Verdict::Reached),
            (Some(Completed), &[Running], Verdict::Never),
        ] {
            assert_eq!(verdict(state, wanted), expected, "{state:?} {wanted:?}");
        }
    }
}
