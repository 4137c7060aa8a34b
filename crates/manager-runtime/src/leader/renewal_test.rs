//! The holder of a Lease and an API server in virtual time. A seeded generator decides the faults.

use super::*;
use std::collections::BTreeMap;

/// The round-trip time of a request.
const ROUND_TRIP: Duration = Duration::from_millis(10);
/// The delay of a slow response.
const SLOW: Duration = Duration::from_secs(3);
/// The timeout of a request, as in `request_timeout`.
const TIMEOUT: Duration = Duration::from_secs(5);

const fn timings() -> Timings {
    Timings {
        lease_duration: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        retry_period: Duration::from_secs(2),
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// The API server does not execute the request.
    Refused,
    /// The API server executes the request and returns an error.
    Lost,
    /// The API server executes the request and responds late.
    Slow,
    /// The API server neither executes the request nor responds.
    Stuck,
}

/// The faults of the failover suite: of 100 requests, 20 are refused, 5 lost and 3 slow, multiplied by `factor`.
fn faults(seed: u64, factor: u32) -> impl FnMut(&Request) -> Fault {
    let mut state = seed;
    move |_| {
        // SplitMix64 (Steele, Lea and Flood 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let lot = u32::try_from((mixed ^ (mixed >> 31)) % 100).unwrap();
        match lot {
            _ if lot < 20 * factor => Fault::Refused,
            _ if lot < 25 * factor => Fault::Lost,
            _ if lot < 28 * factor => Fault::Slow,
            _ => Fault::None,
        }
    }
}

/// The result of a run.
#[derive(Debug)]
struct Run {
    lasted: Duration,
    last: Next,
    renewals: u32,
    requests: u32,
    /// Requests since the last renewal.
    requests_at_the_end: u32,
}

/// Renews until `limit` has passed or the Lease is lost. The state of the API server is a version, the time at which
/// the stored write was sent, and the responses in flight.
fn renew(limit: Duration, mut fault: impl FnMut(&Request) -> Fault) -> Run {
    let begin = Instant::now();
    let mut renewal = Renewal::new(timings(), begin, 0);
    let (mut now, mut stored, mut known) = (begin, (1_u64, begin), 1_u64);
    let mut answers = BTreeMap::<(Instant, u32), (Request, Answer, u64)>::new();
    let (mut renewals, mut requests, mut requests_at_the_end) = (0, 0, 0);
    loop {
        let next = renewal.next(now);
        match next {
            Next::Send(request) => {
                requests += 1;
                requests_at_the_end += 1;
                let fault = fault(&request);
                let mut answer = Answer::Failed;
                if !matches!(fault, Fault::Refused | Fault::Stuck) {
                    answer = match request.kind {
                        Kind::Write if known == stored.0 => {
                            stored = (stored.0 + 1, request.sent);
                            Answer::Renewed
                        }
                        Kind::Write => Answer::Conflict,
                        Kind::Read => Answer::Free { renewed: Some(stored.1) },
                    };
                }
                let after = match fault {
                    Fault::Slow => ROUND_TRIP + SLOW,
                    Fault::Stuck => TIMEOUT,
                    _ => ROUND_TRIP,
                };
                let answer = if fault == Fault::Lost { Answer::Failed } else { answer };
                answers.insert((now + after, requests), (request, answer, stored.0));
            }
            Next::Wait(end) => {
                assert!(end > now, "the wait ends in the future");
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

/// The seed is fixed, so the test never fails by chance.
#[test]
fn faults_of_28_percent_cost_no_lease_in_10_000_minutes() {
    let run = renew(MINUTE * 10_000, faults(1, 1));
    assert!(run.lasted >= MINUTE * 10_000, "{run:?}");
    assert!(run.renewals > 25 * 10_000, "{run:?}");
    assert!(run.requests > run.renewals, "{run:?}");
}

/// Proves that the test above can fail: three times the faults lose the Lease.
#[test]
fn faults_of_84_percent_cost_the_lease() {
    let run = renew(MINUTE * 2_000, faults(1, 3));
    assert_eq!(run.last, Next::Expired, "{run:?}");
    assert!(run.lasted < MINUTE * 1_000, "{run:?}");
}

/// The probability that no renewal succeeds within this number of half seconds: for a holder with the newest version,
/// for a holder with an old version because a response was lost, and for a holder that must read. It is an upper bound:
/// a slow request delays the next one by four half seconds, or by two if a request failed before, and the more frequent
/// requests of the last second count as two.
fn loss(half_seconds: usize) -> f64 {
    let (refused, lost, slow) = (0.20, 0.05, 0.03);
    // [newest version, old version, must read], by half seconds left.
    let mut table = vec![[1.0_f64; 3]];
    for left in 1..=half_seconds {
        let back = |by: usize, state: usize| table[left.saturating_sub(by)][state];
        // The API server executes a slow request, so it succeeds if there is time.
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
fn the_holder_retries_refused_requests_until_the_deadline() {
    let run = renew(MINUTE, |_| Fault::Refused);
    assert_eq!((run.last, run.lasted), (Next::Expired, timings().renew_deadline));
    assert!((16..=40).contains(&run.requests_at_the_end), "{run:?}");
}

/// A connection that hangs permanently costs only a second request.
#[test]
fn a_stuck_connection_is_hedged_by_the_other_one() {
    for stuck in [0, 1] {
        let fault = |request: &Request| {
            if request.connection == stuck { Fault::Stuck } else { Fault::None }
        };
        let run = renew(MINUTE * 60, fault);
        assert!(run.lasted >= MINUTE * 60, "{run:?}");
        assert!(run.renewals >= 15 * 60 - 1, "{run:?}");
    }
    let run = renew(MINUTE, |_| Fault::Stuck);
    assert_eq!((run.last, run.lasted), (Next::Expired, timings().renew_deadline));
}

/// The hedge of a slow write conflicts with the version of the slow write. The Lease is not lost, and the deadline
/// counts from the time of the slow request.
#[test]
fn a_conflict_with_its_own_write_does_not_lose_the_lease() {
    let begin = Instant::now();
    let at = |seconds: u64| begin + Duration::from_secs(seconds);
    let mut renewal = Renewal::new(timings(), begin, 0);
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
    // The response to the slow request is not relevant any more.
    renewal.answered(&slow, Answer::Renewed, at(5));
    assert_eq!(renewal.deadline(), at(12));

    let write = send(&mut renewal, 5);
    assert_eq!(write.kind, Kind::Write);
    renewal.answered(&write, Answer::Conflict, at(5));
    let read = send(&mut renewal, 5);
    renewal.answered(&read, Answer::Taken, at(5));
    assert_eq!(renewal.next(at(5)), Next::Taken);
}
