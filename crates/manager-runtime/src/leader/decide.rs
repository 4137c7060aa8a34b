//! What a replica does with the Lease as it sees it: a pure decision.

use super::LeaseSettings;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use std::time::Duration;
use tokio::time::Instant;

/// The Lease as it was seen last.
#[derive(Clone, Debug, Default)]
pub(super) struct Sight {
    /// What was seen; None when there is no Lease.
    pub(super) lease: Option<Lease>,
    /// When it was first seen so, by our own clock. None when nothing was seen yet.
    since: Option<Instant>,
}

impl Sight {
    /// Takes in what was seen at `now`. An answer that is older than what is known already changes nothing that
    /// a write with its version would not reveal.
    pub(super) fn update(&mut self, lease: Option<Lease>, now: Instant) {
        let spec = |lease: &Option<Lease>| lease.as_ref().and_then(|lease| lease.spec.clone());
        if self.since.is_none() || spec(&self.lease) != spec(&lease) {
            self.since = Some(now);
        }
        self.lease = lease;
    }

    fn spec(&self) -> Option<&LeaseSpec> {
        self.lease.as_ref()?.spec.as_ref()
    }

    /// Who holds it; nobody is the empty text.
    pub(super) fn holder(&self) -> &str {
        self.spec().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
    }
}

/// What to do.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Write this, and hold the Lease when that succeeds.
    Write(Box<Lease>),
    /// Somebody else holds it, until then if it does not change.
    Wait(Instant),
    /// Nothing was seen yet.
    Look,
}

/// Decides what `settings.identity` does, seeing this, at `now` (`clock` is the time of day that is written).
pub(super) fn decide(sight: &Sight, settings: &LeaseSettings, now: Instant, clock: Timestamp) -> Step {
    let Some(since) = sight.since else { return Step::Look };
    let holder = sight.holder();
    if !holder.is_empty() && holder != settings.identity {
        let seconds = sight.spec().and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
        let end = since + Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        if now < end {
            return Step::Wait(end);
        }
    }
    Step::Write(Box::new(held(sight, settings, clock)))
}

/// The Lease as it is when we hold it, or hold it still.
fn held(sight: &Sight, settings: &LeaseSettings, clock: Timestamp) -> Lease {
    let mut lease = sight.lease.clone().unwrap_or_else(|| {
        let mut lease = Lease::default();
        lease.metadata.name = Some(settings.name.clone());
        lease.metadata.namespace = Some(settings.namespace.clone());
        lease
    });
    let before = lease.spec.take();
    let ours = sight.holder() == settings.identity;
    // The first holder is no transition.
    let transitions = before.as_ref().map_or(0, |spec| {
        let count = spec.lease_transitions.unwrap_or_default();
        if ours { count } else { count.saturating_add(1) }
    });
    let acquired = before.as_ref().and_then(|spec| spec.acquire_time.clone()).filter(|_| ours);
    // Whole seconds, and never fewer than we count on.
    let duration = settings.timings.lease_duration;
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    let seconds = i32::try_from(seconds).unwrap_or(i32::MAX);
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(settings.identity.clone()),
        lease_duration_seconds: Some(seconds),
        acquire_time: Some(acquired.unwrap_or(MicroTime(clock))),
        renew_time: Some(MicroTime(clock)),
        lease_transitions: Some(transitions),
        ..before.unwrap_or_default()
    });
    lease
}

/// The Lease as it is when `identity` gives it back; None when it is not its to give.
pub(super) fn given_back(sight: &Sight, identity: &str, clock: Timestamp) -> Option<Lease> {
    let mut lease = sight.lease.clone().filter(|_| sight.holder() == identity)?;
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(String::new());
    // Whoever compares with this instead of the holder need not wait either.
    spec.lease_duration_seconds = Some(1);
    spec.acquire_time = Some(MicroTime(clock));
    spec.renew_time = Some(MicroTime(clock));
    Some(lease)
}

#[cfg(test)]
mod tests {
    use super::super::Timings;
    use super::*;

    fn settings() -> LeaseSettings {
        LeaseSettings {
            name: "lock".to_owned(),
            namespace: "home".to_owned(),
            identity: "me".to_owned(),
            timings: Timings {
                lease_duration: Duration::from_secs(15),
                renew_deadline: Duration::from_secs(10),
                retry_period: Duration::from_secs(2),
            },
        }
    }

    fn lease(holder: &str, renewed: &str, transitions: i32) -> Lease {
        let time = |text: &str| Some(MicroTime(text.parse().unwrap()));
        Lease {
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(30),
                acquire_time: time("2020-01-01T00:00:00Z"),
                renew_time: time(renewed),
                lease_transitions: Some(transitions),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        }
    }

    fn clock() -> Timestamp {
        "2030-01-01T00:00:00Z".parse().unwrap()
    }

    fn written(step: Step) -> LeaseSpec {
        match step {
            Step::Write(lease) => lease.spec.unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn seen(lease: Option<Lease>, now: Instant) -> Sight {
        let mut sight = Sight::default();
        sight.update(lease, now);
        sight
    }

    #[test]
    fn nothing_is_written_before_anything_is_seen() {
        assert_eq!(decide(&Sight::default(), &settings(), Instant::now(), clock()), Step::Look);
    }

    #[test]
    fn a_missing_lease_is_made_and_counts_no_transition() {
        let now = Instant::now();
        let spec = written(decide(&seen(None, now), &settings(), now, clock()));
        assert_eq!(spec.holder_identity.as_deref(), Some("me"));
        assert_eq!((spec.lease_duration_seconds, spec.lease_transitions), (Some(15), Some(0)));
        assert_eq!(
            (spec.acquire_time, spec.renew_time),
            (Some(MicroTime(clock())), Some(MicroTime(clock())))
        );
    }

    /// However old the time in it is by our clock: what counts is how long we have seen it unchanged.
    #[test]
    fn a_lease_of_another_is_taken_when_it_did_not_change_for_its_own_duration() {
        let start = Instant::now();
        let mut sight = seen(Some(lease("other", "2020-01-01T00:00:00Z", 3)), start);
        let end = start + Duration::from_secs(30);
        assert_eq!(decide(&sight, &settings(), start + Duration::from_secs(29), clock()), Step::Wait(end));

        let renewed = start + Duration::from_secs(20);
        sight.update(Some(lease("other", "2020-01-01T00:00:02Z", 3)), renewed);
        sight.update(Some(lease("other", "2020-01-01T00:00:02Z", 3)), renewed + Duration::from_secs(9));
        let end = renewed + Duration::from_secs(30);
        assert_eq!(decide(&sight, &settings(), end - Duration::from_millis(1), clock()), Step::Wait(end));
        let spec = written(decide(&sight, &settings(), end, clock()));
        assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("me"), Some(4)));
        assert_eq!(spec.acquire_time, Some(MicroTime(clock())));
    }

    #[test]
    fn what_is_written_lasts_as_long_as_we_lead() {
        let now = Instant::now();
        let mut settings = settings();
        settings.timings.lease_duration = Duration::from_millis(15_900);
        settings.timings.renew_deadline = Duration::from_millis(15_500);
        let spec = written(decide(&seen(None, now), &settings, now, clock()));
        assert_eq!(spec.lease_duration_seconds, Some(16));
    }

    #[test]
    fn our_own_is_renewed_and_keeps_when_it_was_acquired() {
        let now = Instant::now();
        let mine = lease("me", "2029-12-31T00:00:00Z", 3);
        let spec = written(decide(&seen(Some(mine.clone()), now), &settings(), now, clock()));
        assert_eq!(spec.lease_transitions, Some(3));
        assert_eq!(spec.acquire_time, mine.spec.unwrap().acquire_time);
        assert_eq!(spec.renew_time, Some(MicroTime(clock())));
    }

    #[test]
    fn one_that_was_given_back_is_taken_at_once() {
        let now = Instant::now();
        let mine = seen(Some(lease("me", "2029-12-31T00:00:00Z", 3)), now);
        let free = given_back(&mine, "me", clock()).unwrap();
        assert_eq!(free.spec.as_ref().unwrap().lease_duration_seconds, Some(1));
        let other = LeaseSettings { identity: "other".to_owned(), ..settings() };
        let spec = written(decide(&seen(Some(free), now), &other, now, clock()));
        assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("other"), Some(4)));
        assert_eq!(given_back(&mine, "other", clock()), None);
    }
}
