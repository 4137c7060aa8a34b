//! The holder of a Lease before an API server in virtual time, whose faults come from a seeded generator.

use super::*;
use std::collections::BTreeMap;

/// Time to carry a request out and back.
const ROUND_TRIP: Duration = Duration::from_millis(10);
/// How late a slow answer is.
const SLOW: Duration = Duration::from_secs(3);
/// As in `request_timeout`.
const TIMEOUT: Duration = Duration::from_secs(5);

const fn timings() -> Timings {
    Timings {
        lease_duration: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        retry_period: Duration::from_secs(2),
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Answered,
    /// Not carried out.
    Refused,
    /// Carried out, and answered with an error.
    Lost,
    /// Carried out, and answered late.
    Slow,
    /// Neither carried out nor answered.
    Stuck,
}

/// The mix of the failover suite: of a hundred requests 20 are refused, 5 lost and 3 slow; times `factor`.
fn faults(seed: u64, factor: u32) -> impl FnMut(&Request) -> Fate {
    let mut state = seed;
    move |_| {
        // SplitMix64 (Steele, Lea and Flood 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let lot = u32::try_from((mixed ^ (mixed >> 31)) % 100).unwrap();
        match lot {
            _ if lot < 20 * factor => Fate::Refused,
            _ if lot < 25 * factor => Fate::Lost,
            _ if lot < 28 * factor => Fate::Slow,
            _ => Fate::Answered,
        }
    }
}

/// What came of a run.
#[derive(Debug)]
struct Run {
    lasted: Duration,
    last: Next,
    renewals: u32,
    requests: u32,
    /// Requests since the last renewal.
    requests_at_the_end: u32,
}

/// Renews until `limit` has passed or the Lease is lost. The API server is a version, the moment at which the stored
/// write was sent, and the answers that are on their way.
fn renew(limit: Duration, mut fate: impl FnMut(&Request) -> Fate) -> Run {
    let begin = Instant::now();
    let mut renewal = Renewal::new(timings(), begin);
    let (mut now, mut stored, mut known) = (begin, (1_u64, begin), 1_u64);
    let mut answers = BTreeMap::<(Instant, u32), (Request, Answer, u64)>::new();
    let (mut renewals, mut requests, mut requests_at_the_end) = (0, 0, 0);
    loop {
        let next = renewal.next(now);
        match next {
            Next::Send(request) => {
                requests += 1;
                requests_at_the_end += 1;
                let fate = fate(&request);
                let mut answer = Answer::Failed;
                if !matches!(fate, Fate::Refused | Fate::Stuck) {
                    answer = match request.kind {
                        Kind::Write if known == stored.0 => {
                            stored = (stored.0 + 1, request.sent);
                            Answer::Renewed
                        }
                        Kind::Write => Answer::Conflict,
                        Kind::Read => Answer::Free { renewed: Some(stored.1) },
                    };
                }
                let after = match fate {
                    Fate::Slow => ROUND_TRIP + SLOW,
                    Fate::Stuck => TIMEOUT,
                    _ => ROUND_TRIP,
                };
                let answer = if fate == Fate::Lost { Answer::Failed } else { answer };
                answers.insert((now + after, requests), (request, answer, stored.0));
            }
            Next::Wait(end) => {
                assert!(end > now, "a wait that does not end in the future never ends");
                now = match answers.first_key_value() {
                    Some((&key, &(request, answer, version))) if key.0 <= end => {
                        answers.remove(&key);
                        let deadline = renewal.deadline();
                        renewal.answered(&request, answer, key.0);
                        if let Answer::Renewed | Answer::Free { .. } = answer {
                            known = known.max(version);
                            renewals += 1;
                            requests_at_the_end = 0;
                            assert!(renewal.deadline() >= deadline);
                        } else {
                            assert_eq!(renewal.deadline(), deadline, "only a success extends the deadline");
                        }
                        assert!(renewal.deadline() <= stored.1 + timings().renew_deadline, "{answer:?}");
                        key.0
                    }
                    _ => end,
                };
            }
            Next::Expired | Next::Taken => {
                return Run { lasted: now - begin, last: next, renewals, requests, requests_at_the_end };
            }
        }
        if now - begin >= limit {
            return Run { lasted: now - begin, last: next, renewals, requests, requests_at_the_end };
        }
    }
}

const MINUTE: Duration = Duration::from_mins(1);

/// The run is the same each time, so that it never fails by chance.
#[test]
fn faults_of_28_percent_cost_no_lease_in_10_000_minutes() {
    let run = renew(MINUTE * 10_000, faults(1, 1));
    assert!(run.lasted >= MINUTE * 10_000, "{run:?}");
    assert!(run.renewals > 25 * 10_000, "{run:?}");
    assert!(run.requests > run.renewals, "{run:?}");
}

/// That the test above can fail: with three times the faults the Lease is lost.
#[test]
fn faults_of_84_percent_cost_the_lease() {
    let run = renew(MINUTE * 2_000, faults(1, 3));
    assert_eq!(run.last, Next::Expired, "{run:?}");
    assert!(run.lasted < MINUTE * 1_000, "{run:?}");
}

/// The probability that no renewal succeeds within so many half seconds, for a holder that knows the newest version, for
/// one that does not because an answer was lost, and for one that must read. It is an upper bound: a slow request holds
/// the next one up for four half seconds, or for two when a request failed before, and the requests of the last second,
/// which follow one another faster, count as two.
fn loss(half_seconds: usize) -> f64 {
    let (refused, lost, slow) = (0.20, 0.05, 0.03);
    // [newest version, old version, must read], by half seconds left.
    let mut table = vec![[1.0_f64; 3]];
    for left in 1..=half_seconds {
        let back = |by: usize, state: usize| table[left.saturating_sub(by)][state];
        // A slow request is carried out, so that it succeeds by itself when there is time.
        let late = |by: usize, state: usize| if left > 6 { 0.0 } else { back(by, state) };
        let newest = refused * back(1, 0) + lost * back(1, 1) + slow * late(4, 1);
        let read = (refused + lost) * back(1, 2) + slow * late(2, 2);
        let old = (refused + lost) * back(1, 1) + slow * back(2, 1) + (1.0 - refused - lost - slow) * read;
        table.push([newest, old, read]);
    }
    table[half_seconds][0]
}

#[test]
fn the_lease_is_lost_less_than_once_in_100_000_minutes() {
    let Timings { renew_deadline, retry_period, .. } = timings();
    let half_seconds = renew_deadline.saturating_sub(retry_period).as_millis() / 500;
    let of_a_renewal = loss(usize::try_from(half_seconds).unwrap());
    assert!(of_a_renewal < 3e-7, "{of_a_renewal:e}");
    assert!(of_a_renewal * 30.0 * 100_000.0 < 1.0);
}

#[test]
fn refusals_are_followed_by_many_requests_before_the_deadline() {
    let run = renew(MINUTE, |_| Fate::Refused);
    assert_eq!((run.last, run.lasted), (Next::Expired, timings().renew_deadline));
    assert!((16..=40).contains(&run.requests_at_the_end), "{run:?}");
}

/// A connection that hangs for ever costs nothing but a second request.
#[test]
fn a_stuck_connection_is_hedged_by_the_other_one() {
    for stuck in [0, 1] {
        let fate = |request: &Request| {
            if request.connection == stuck { Fate::Stuck } else { Fate::Answered }
        };
        let run = renew(MINUTE * 60, fate);
        assert!(run.lasted >= MINUTE * 60, "{run:?}");
        assert!(run.renewals >= 15 * 60 - 1, "{run:?}");
    }
    let run = renew(MINUTE, |_| Fate::Stuck);
    assert_eq!((run.last, run.lasted), (Next::Expired, timings().renew_deadline));
}

/// The hedge of a slow write meets the version that the slow one wrote: no loss, and the read counts from when the
/// slow write was sent.
#[test]
fn a_conflict_with_its_own_write_is_no_loss() {
    let begin = Instant::now();
    let at = |seconds: u64| begin + Duration::from_secs(seconds);
    let mut renewal = Renewal::new(timings(), begin);
    assert_eq!(renewal.next(begin), Next::Wait(at(2)));
    let send = |renewal: &mut Renewal, seconds: u64| match renewal.next(at(seconds)) {
        Next::Send(request) => request,
        other => panic!("{other:?}"),
    };
    let slow = send(&mut renewal, 2);
    assert_eq!(renewal.next(at(3)), Next::Wait(at(4)));
    let hedge = send(&mut renewal, 4);
    assert_ne!(slow.connection, hedge.connection);
    renewal.answered(&hedge, Answer::Conflict, at(4));
    let read = send(&mut renewal, 4);
    assert_eq!(read.kind, Kind::Read);
    renewal.answered(&read, Answer::Free { renewed: Some(slow.sent) }, at(4));
    assert_eq!(renewal.deadline(), at(12));
    // What the slow one is answered now says nothing new.
    renewal.answered(&slow, Answer::Renewed, at(5));
    assert_eq!(renewal.deadline(), at(12));

    let write = send(&mut renewal, 5);
    assert_eq!(write.kind, Kind::Write);
    renewal.answered(&write, Answer::Conflict, at(5));
    let read = send(&mut renewal, 5);
    renewal.answered(&read, Answer::Taken, at(5));
    assert_eq!(renewal.next(at(5)), Next::Taken);
}
