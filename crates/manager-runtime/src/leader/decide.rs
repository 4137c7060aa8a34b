//! Decides what a replica does with the observed Lease. Pure.

use super::LeaseSettings;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use std::time::Duration;
use tokio::time::Instant;

/// The last observation of the Lease.
#[derive(Clone, Debug, Default)]
pub(super) struct ObservedLease {
    /// None if the Lease does not exist.
    pub(super) lease: Option<Lease>,
    /// When this replica first observed the current content, by its own clock. None before the first observation.
    since: Option<Instant>,
}

impl ObservedLease {
    /// Stores the Lease that was read at `now`. An older response does no harm: a write with its resource version is a
    /// conflict.
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

    /// The holder, or an empty string.
    pub(super) fn holder(&self) -> &str {
        self.spec().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
    }
}

/// What to do.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Write this Lease. If the write succeeds, this replica holds it.
    Write(Box<Lease>),
    /// Another replica holds the Lease. It expires at this time if it does not change.
    Wait(Instant),
    /// Read the Lease: there is no observation yet.
    Read,
}

/// Decides what `settings.identity` does at `now`. A write contains the wall-clock time `clock`.
pub(super) fn decide(
    observed: &ObservedLease,
    settings: &LeaseSettings,
    now: Instant,
    clock: Timestamp,
) -> Step {
    let Some(since) = observed.since else { return Step::Read };
    let holder = observed.holder();
    if !holder.is_empty() && holder != settings.identity {
        let seconds = observed.spec().and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
        let end = since + Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        if now < end {
            return Step::Wait(end);
        }
    }
    Step::Write(Box::new(held(observed, settings, clock)))
}

/// The Lease that this replica writes to acquire or renew it.
fn held(observed: &ObservedLease, settings: &LeaseSettings, clock: Timestamp) -> Lease {
    let mut lease = observed.lease.clone().unwrap_or_else(|| {
        let mut lease = Lease::default();
        lease.metadata.name = Some(settings.name.clone());
        lease.metadata.namespace = Some(settings.namespace.clone());
        lease
    });
    let before = lease.spec.take();
    let own = observed.holder() == settings.identity;
    // The first holder does not count as a transition.
    let transitions = before.as_ref().map_or(0, |spec| {
        let count = spec.lease_transitions.unwrap_or_default();
        if own { count } else { count.saturating_add(1) }
    });
    let acquired = before.as_ref().and_then(|spec| spec.acquire_time.clone()).filter(|_| own);
    // Rounded up to whole seconds, because this replica relies on the full duration.
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

/// The Lease that `identity` writes to release it, or None if another replica holds it.
pub(super) fn released(observed: &ObservedLease, identity: &str, clock: Timestamp) -> Option<Lease> {
    let mut lease = observed.lease.clone().filter(|_| observed.holder() == identity)?;
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(String::new());
    // For clients that check the duration instead of the holder.
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

    fn observed_at(lease: Option<Lease>, now: Instant) -> ObservedLease {
        let mut observed = ObservedLease::default();
        observed.update(lease, now);
        observed
    }

    #[test]
    fn nothing_is_written_before_the_first_observation() {
        assert_eq!(decide(&ObservedLease::default(), &settings(), Instant::now(), clock()), Step::Read);
    }

    #[test]
    fn a_missing_lease_is_created_without_a_transition() {
        let now = Instant::now();
        let spec = written(decide(&observed_at(None, now), &settings(), now, clock()));
        assert_eq!(spec.holder_identity.as_deref(), Some("me"));
        assert_eq!((spec.lease_duration_seconds, spec.lease_transitions), (Some(15), Some(0)));
        assert_eq!(
            (spec.acquire_time, spec.renew_time),
            (Some(MicroTime(clock())), Some(MicroTime(clock())))
        );
    }

    /// The age of the Lease by the wall clock does not count, only how long the replica has observed it unchanged.
    #[test]
    fn a_lease_of_another_replica_is_acquired_after_its_duration_without_a_change() {
        let start = Instant::now();
        let mut observed = observed_at(Some(lease("other", "2020-01-01T00:00:00Z", 3)), start);
        let end = start + Duration::from_secs(30);
        assert_eq!(decide(&observed, &settings(), start + Duration::from_secs(29), clock()), Step::Wait(end));

        let renewed = start + Duration::from_secs(20);
        observed.update(Some(lease("other", "2020-01-01T00:00:02Z", 3)), renewed);
        observed.update(Some(lease("other", "2020-01-01T00:00:02Z", 3)), renewed + Duration::from_secs(9));
        let end = renewed + Duration::from_secs(30);
        assert_eq!(decide(&observed, &settings(), end - Duration::from_millis(1), clock()), Step::Wait(end));
        let spec = written(decide(&observed, &settings(), end, clock()));
        assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("me"), Some(4)));
        assert_eq!(spec.acquire_time, Some(MicroTime(clock())));
    }

    #[test]
    fn the_written_duration_is_rounded_up() {
        let now = Instant::now();
        let mut settings = settings();
        settings.timings.lease_duration = Duration::from_millis(15_900);
        settings.timings.renew_deadline = Duration::from_millis(15_500);
        let spec = written(decide(&observed_at(None, now), &settings, now, clock()));
        assert_eq!(spec.lease_duration_seconds, Some(16));
    }

    #[test]
    fn a_renewal_keeps_the_acquire_time() {
        let now = Instant::now();
        let mine = lease("me", "2029-12-31T00:00:00Z", 3);
        let spec = written(decide(&observed_at(Some(mine.clone()), now), &settings(), now, clock()));
        assert_eq!(spec.lease_transitions, Some(3));
        assert_eq!(spec.acquire_time, mine.spec.unwrap().acquire_time);
        assert_eq!(spec.renew_time, Some(MicroTime(clock())));
    }

    #[test]
    fn a_released_lease_is_acquired_at_once() {
        let now = Instant::now();
        let mine = observed_at(Some(lease("me", "2029-12-31T00:00:00Z", 3)), now);
        let free = released(&mine, "me", clock()).unwrap();
        assert_eq!(free.spec.as_ref().unwrap().lease_duration_seconds, Some(1));
        let other = LeaseSettings { identity: "other".to_owned(), ..settings() };
        let spec = written(decide(&observed_at(Some(free), now), &other, now, clock()));
        assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("other"), Some(4)));
        assert_eq!(released(&mine, "other", clock()), None);
    }
}
