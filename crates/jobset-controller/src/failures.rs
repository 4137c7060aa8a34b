//! Decides which failures are new, so that a cause that persists gets one warning and one event. Pure.
//!
//! A cause is an action and a text. Texts are equal when they differ only in numbers, in the order of their words, or
//! in the name of the object of the action. The error of a quota contains the current usage, and each reconcile may try
//! other Jobs first.

use crate::act::{ActError, SchedulingVerb};
use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
};

/// The maximum number of causes to distinguish for one action.
const CAUSES: usize = 16;
/// A cause ends after this number of consecutive failed reconciles without it. With one, two alternating causes would
/// be new each time.
const ABSENT: u8 = 2;

/// One failed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The kind of request.
    pub(crate) action: &'static str,
    /// Name of the object, if the text can contain it.
    pub(crate) object: Option<String>,
    /// What went wrong.
    pub(crate) text: String,
}

impl ActError {
    /// The kind of request, as metrics name it.
    pub(crate) fn action(&self) -> &'static str {
        match self {
            Self::CreateJob { .. } | Self::ForeignJob { .. } | Self::NameHeld { .. } => "CreateJob",
            Self::CreateService(_) => "CreateService",
            Self::CreateClaim { .. } => "CreateClaim",
            Self::DeleteJob { .. } => "DeleteJob",
            Self::ChangeJob { .. } | Self::PropagateResources { .. } => "ChangeJob",
            Self::SetServicePorts { .. } | Self::OtherServicePorts { .. } => "UpdateService",
            Self::VerifyJob { .. } => "VerifyJob",
            Self::DeleteJobSet(_) => "DeleteJobSet",
            Self::SchedulingObject { verb: SchedulingVerb::Create, .. }
            | Self::ForeignSchedulingObject { .. }
            | Self::SchedulingNameHeld { .. }
            | Self::PodGroupHeld { .. } => "CreateSchedulingObject",
            Self::SchedulingObject { verb: SchedulingVerb::Change, .. } => "ChangeSchedulingObject",
            Self::SchedulingObject { verb: SchedulingVerb::Delete, .. } => "DeleteSchedulingObject",
            Self::Status(_) => "StoreStatus",
        }
    }

    /// Every [`ActError::action`].
    pub(crate) const ACTIONS: [&str; 12] = [
        "ChangeJob",
        "ChangeSchedulingObject",
        "CreateClaim",
        "CreateJob",
        "CreateSchedulingObject",
        "CreateService",
        "DeleteJob",
        "DeleteJobSet",
        "DeleteSchedulingObject",
        "StoreStatus",
        "UpdateService",
        "VerifyJob",
    ];

    /// The failure for the comparison with earlier ones.
    pub(crate) fn failure(&self) -> Failure {
        let object = match self {
            Self::CreateJob { name, .. }
            | Self::ForeignJob { name }
            | Self::NameHeld { name }
            | Self::DeleteJob { name, .. }
            | Self::ChangeJob { name, .. }
            | Self::PropagateResources { name, .. }
            | Self::SchedulingObject { name, .. }
            | Self::ForeignSchedulingObject { name, .. }
            | Self::SchedulingNameHeld { name, .. }
            | Self::PodGroupHeld { name }
            | Self::VerifyJob { name, .. }
            | Self::CreateClaim { name, .. } => Some(name.clone()),
            // A JobSet has one Service.
            Self::CreateService(_)
            | Self::SetServicePorts { .. }
            | Self::OtherServicePorts { .. }
            | Self::DeleteJobSet(_)
            | Self::Status(_) => None,
        };
        Failure { action: self.action(), object, text: self.to_string() }
    }
}

/// An event that was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reported {
    pub(crate) note: String,
    /// Resource version of the JobSet in `regarding`: an event with another one starts another series.
    pub(crate) resource_version: Option<String>,
}

/// The current causes of one JobSet.
#[derive(Debug, Default)]
pub(crate) struct KnownFailures(BTreeMap<&'static str, Known>);

#[derive(Debug, Default)]
struct Known {
    /// Each cause, with the number of consecutive failed reconciles without it.
    causes: BTreeMap<u64, u8>,
    reported: Option<Reported>,
}

impl KnownFailures {
    /// Stores the failures of one reconcile. Returns the actions that failed for a new cause.
    pub(crate) fn failed(&mut self, failures: &[Failure]) -> BTreeSet<&'static str> {
        let mut seen = BTreeMap::<&'static str, BTreeSet<u64>>::new();
        for failure in failures {
            seen.entry(failure.action).or_default().insert(fingerprint(failure));
        }
        for known in self.0.values_mut() {
            known.causes.values_mut().for_each(|absent| *absent += 1);
        }
        let mut new = BTreeSet::new();
        for (action, causes) in seen {
            let known = self.0.entry(action).or_default();
            for cause in causes.into_iter().take(CAUSES) {
                if known.causes.insert(cause, 0).is_none() {
                    new.insert(action);
                }
            }
        }
        for known in self.0.values_mut() {
            known.causes.retain(|_, absent| *absent < ABSENT);
        }
        self.0.retain(|_, known| !known.causes.is_empty());
        new
    }

    /// Removes all causes after a successful reconcile: the next failure is new.
    pub(crate) fn succeeded(&mut self) {
        self.0.clear();
    }

    /// Records the event about the failures of this action.
    pub(crate) fn reported(&mut self, action: &str, event: Reported) {
        if let Some(known) = self.0.get_mut(action) {
            known.reported = Some(event);
        }
    }

    /// The last event about the failures of this action.
    pub(crate) fn last_report(&self, action: &str) -> Option<&Reported> {
        self.0.get(action)?.reported.as_ref()
    }
}

fn fingerprint(failure: &Failure) -> u64 {
    let mut text = failure.text.clone();
    if let Some(object) = failure.object.as_deref().filter(|object| !object.is_empty()) {
        text = text.replace(object, "");
    }
    let mut words: Vec<String> =
        text.split(|c: char| c.is_whitespace() || c == ',').map(without_numbers).collect();
    words.sort_unstable();
    let mut hasher = DefaultHasher::new();
    words.hash(&mut hasher);
    hasher.finish()
}

/// Replaces each number of a word, with its unit, by `#`. Digits within a name stay: `full-2` differs from `full-1`.
fn without_numbers(word: &str) -> String {
    let (mut out, mut before, mut in_number) = (String::new(), ' ', false);
    for c in word.chars() {
        if in_number {
            in_number = c.is_alphanumeric() || ".:+-".contains(c);
        } else if c.is_ascii_digit() && !before.is_alphanumeric() && !"-._".contains(before) {
            in_number = true;
            out.push('#');
        }
        if !in_number {
            out.push(c);
        }
        before = c;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(job: u32, used: &str) -> Failure {
        let name = format!("train-w-{job}");
        Failure {
            action: "CreateJob",
            text: format!(
                "job {name:?} creation failed with error: jobs.batch {name:?} is forbidden: exceeded quota: full-1, \
                 requested: count/jobs.batch=1, used: {used}, limited: count/jobs.batch=10"
            ),
            object: Some(name),
        }
    }

    fn failure(action: &'static str, text: &str) -> Failure {
        Failure { action, object: None, text: text.to_owned() }
    }

    /// Whether a second failure is new after a first one.
    fn differs(first: Failure, second: Failure) -> bool {
        let mut known = KnownFailures::default();
        assert!(!known.failed(&[first]).is_empty());
        !known.failed(&[second]).is_empty()
    }

    #[test]
    fn texts_that_differ_in_numbers_order_and_object_are_one_cause() {
        assert!(!differs(quota(0, "count/jobs.batch=9"), quota(14, "count/jobs.batch=10")));
        assert!(!differs(quota(0, "cpu=1500m,memory=2Gi"), quota(0, "memory=3Mi,cpu=2")));
        for (first, second, new) in [
            ("connection to 10.0.0.1:4431 refused", "connection to 10.0.0.1:52 refused", false),
            ("timeout after 1.5s", "timeout after 30s", false),
            ("exceeded quota: full-1", "exceeded quota: full-2", true),
            ("exceeded quota: full, used: pods=1", "exceeded quota: full, used: cpu=1", true),
            ("denied by a, b", "denied by b, a", false),
            ("denied", "forbidden", true),
        ] {
            assert_eq!(differs(failure("CreateJob", first), failure("CreateJob", second)), new, "{second}");
        }
        assert!(differs(failure("CreateJob", "denied"), failure("DeleteJob", "denied")), "another action");
    }

    #[test]
    fn a_cause_that_persists_is_new_once() {
        let mut known = KnownFailures::default();
        let refused: Vec<_> = (0..500).map(|job| quota(job, "count/jobs.batch=10")).collect();
        assert_eq!(known.failed(&refused), ["CreateJob"].into());
        for begin in 0..20 {
            assert_eq!(known.failed(&refused[begin..begin + 3]), [].into());
        }
        assert_eq!(known.0["CreateJob"].causes.len(), 1);
    }

    #[test]
    fn a_cause_that_ends_and_begins_again_is_new() {
        let (quota, denied) = (quota(0, "a=1"), failure("CreateJob", "denied"));
        let mut known = KnownFailures::default();
        let mut is_new = |failures: &[Failure]| {
            if failures.is_empty() {
                known.succeeded();
            }
            !known.failed(failures).is_empty()
        };
        let both = [quota.clone(), denied.clone()];
        for (failures, new) in [
            (&both[..1], true),
            (&[], false),
            (&both[..1], true),
            // Another cause joins it, and they alternate.
            (&both[..], true),
            (&both[1..], false),
            (&both[..1], false),
            (&both[1..], false),
            // One ends.
            (&both[1..], false),
            (&both[..1], true),
        ] {
            assert_eq!(is_new(failures), new, "{failures:?}");
        }
    }

    #[test]
    fn the_event_of_a_cause_is_stored_until_the_cause_ends() {
        let mut known = KnownFailures::default();
        let event = Reported { note: "denied".to_owned(), resource_version: Some("7".to_owned()) };
        known.failed(&[failure("CreateJob", "denied")]);
        assert_eq!(known.last_report("CreateJob"), None);
        known.reported("CreateJob", event.clone());
        known.failed(&[failure("CreateJob", "denied")]);
        assert_eq!(known.last_report("CreateJob"), Some(&event));
        known.succeeded();
        assert_eq!(known.last_report("CreateJob"), None);
    }

    #[test]
    fn the_number_of_stored_causes_is_bounded() {
        let mut known = KnownFailures::default();
        let causes = |from: usize| {
            (from..from + 100).map(|n| failure("CreateJob", &format!("cause-{n}"))).collect::<Vec<_>>()
        };
        for round in 0..50 {
            known.failed(&causes(round * 100));
            assert!(known.0["CreateJob"].causes.len() <= CAUSES * usize::from(ABSENT));
        }
        assert!(known.failed(&causes(4900)).is_empty(), "more causes than the maximum, and none is new");
    }
}
