//! Candidates and an API server with one Lease, in virtual time. All times are milliseconds since the first write.

use super::*;
use crate::leader::{Fence, Leadership, Timings};
use axum::http::{Method, Request as HttpRequest, Response};
use kube::client::Body;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::{task::JoinHandle, time::sleep};
use tower::service_fn;

/// The time between the execution of a request and its response.
const LATENCY: u64 = 10;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// The API server does not execute the request, and returns an error.
    Refused,
    /// The API server executes the request and returns an error.
    Lost,
    /// The API server executes the request at once and responds late.
    Slow(u64),
    /// The API server executes the request late, also if the client has cancelled it.
    Delayed(u64),
    /// The API server neither executes the request nor responds.
    Stuck,
}

/// A request to get, create or replace the Lease.
#[derive(Clone, Copy, Debug)]
struct Call {
    /// When it was sent. 0 before the first write.
    at: u64,
    connection: usize,
}

/// When, over which connection, the verb, and the status code of the execution: 0 before it.
type Logged = (u64, usize, &'static str, u16);

struct State {
    lease: Value,
    version: u64,
    faults: Box<dyn FnMut(&Call) -> Fault + Send>,
    /// When the first write was sent.
    begun: Option<Instant>,
    /// When the stored write was sent.
    sent: Option<Instant>,
    /// The requests since the first write.
    log: Vec<Logged>,
}

impl State {
    fn store(&mut self, mut lease: Value) -> (u16, Value) {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.lease = lease.clone();
        (200, lease)
    }

    fn execute(&mut self, method: &Method, body: &[u8], sent: Instant) -> (u16, Value) {
        let failure = |code: u16| {
            let reason = if code == 404 { "NotFound" } else { "Conflict" };
            (code, json!({"code": code, "reason": reason}))
        };
        if method == Method::GET {
            return if self.lease.is_null() { failure(404) } else { (200, self.lease.clone()) };
        }
        let written: Value = serde_json::from_slice(body).unwrap();
        let version = |lease: &Value| lease["metadata"]["resourceVersion"].clone();
        if method == Method::PUT && self.lease.is_null() {
            return failure(404);
        }
        if version(&written) != version(&self.lease) {
            return failure(409);
        }
        self.sent = Some(sent);
        self.store(written)
    }
}

#[derive(Clone)]
struct ApiServer(Arc<Mutex<State>>);

impl ApiServer {
    fn new(faults: impl FnMut(&Call) -> Fault + Send + 'static) -> Self {
        let faults = Box::new(faults);
        let state =
            State { lease: Value::Null, version: 0, faults, begun: None, sent: None, log: Vec::new() };
        Self(Arc::new(Mutex::new(state)))
    }

    fn clients(&self) -> [Client; 2] {
        [0, 1].map(|connection| {
            let server = self.clone();
            let service = service_fn(move |request| server.clone().serve(connection, request));
            Client::new(service, "default")
        })
    }

    async fn serve(self, connection: usize, request: HttpRequest<Body>) -> kube::Result<Response<Body>> {
        let (sent, method, path) =
            (Instant::now(), request.method().clone(), request.uri().path().to_owned());
        let body = request.into_body().collect_bytes().await?;
        // The task continues if the client cancels the request.
        let execution = tokio::spawn(async move {
            // Lists and watches fail, so the candidate must read the Lease.
            if method == Method::GET && path.ends_with("/leases") {
                return (500, json!({"code": 500}));
            }
            let (fault, index) = self.receive(connection, &method, sent);
            if fault == Fault::Stuck {
                std::future::pending::<()>().await;
            }
            if let Fault::Delayed(delay) = fault {
                sleep(Duration::from_millis(delay)).await;
            }
            let executed = {
                let mut state = self.0.lock().unwrap();
                let executed = if fault == Fault::Refused {
                    (500, json!({"code": 500, "message": "refused"}))
                } else {
                    state.execute(&method, &body, sent)
                };
                if let Some(index) = index {
                    state.log[index].3 = executed.0;
                }
                executed
            };
            let slow = if let Fault::Slow(slow) = fault { slow } else { 0 };
            sleep(Duration::from_millis(LATENCY + slow)).await;
            if fault == Fault::Lost { (504, json!({"code": 504, "message": "lost"})) } else { executed }
        });
        let (code, answer) = execution.await.unwrap();
        let answer = Body::from(serde_json::to_vec(&answer).unwrap());
        Ok(Response::builder().status(code).body(answer).unwrap())
    }

    /// Logs a request. Returns its fault, and its place in the log.
    fn receive(&self, connection: usize, method: &Method, sent: Instant) -> (Fault, Option<usize>) {
        let mut state = self.0.lock().unwrap();
        if method != Method::GET {
            state.begun.get_or_insert(sent);
        }
        let at = state.begun.map(|begun| millis(begun, sent));
        let fault = (state.faults)(&Call { at: at.unwrap_or_default(), connection });
        let Some(at) = at else { return (fault, None) };
        let verb = match *method {
            Method::GET => "get",
            Method::POST => "create",
            _ => "replace",
        };
        state.log.push((at, connection, verb, 0));
        (fault, Some(state.log.len() - 1))
    }

    /// Sleeps until a time after the first write.
    async fn sleep_until(&self, at: u64) {
        let begun = self.0.lock().unwrap().begun.unwrap();
        sleep_until(begun + Duration::from_millis(at)).await;
    }

    /// Another client changes the Lease, which gets a new resource version.
    fn edit(&self, edit: impl FnOnce(&mut Value)) {
        let mut state = self.0.lock().unwrap();
        let mut lease = state.lease.clone();
        edit(&mut lease);
        state.store(lease);
    }

    /// Another client deletes the Lease.
    fn delete(&self) {
        self.0.lock().unwrap().lease = Value::Null;
    }

    fn holder(&self) -> String {
        self.0.lock().unwrap().lease["spec"]["holderIdentity"].as_str().unwrap().to_owned()
    }

    /// The requests from `at`.
    fn log_from(&self, at: u64) -> Vec<Logged> {
        let log = self.0.lock().unwrap().log.clone();
        log.into_iter().filter(|logged| logged.0 >= at).collect()
    }

    /// Records the ends of the fence. The fence must close at most `renew_deadline` after the stored write was sent.
    fn record(&self, fence: &Fence) -> JoinHandle<Vec<u64>> {
        let (server, mut ends, mut recorded) = (self.clone(), fence.ends(), Vec::new());
        tokio::spawn(async move {
            while ends.changed().await.is_ok() {
                let Some(end) = *ends.borrow_and_update() else { continue };
                let (begun, sent) = {
                    let state = server.0.lock().unwrap();
                    (state.begun.unwrap(), state.sent.unwrap())
                };
                let limit = sent + settings().timings.renew_deadline;
                assert!(end <= limit, "{} is later than {}", millis(begun, end), millis(begun, limit));
                recorded.push(millis(begun, end));
            }
            recorded.dedup();
            recorded
        })
    }
}

fn millis(begun: Instant, at: Instant) -> u64 {
    u64::try_from(at.duration_since(begun).as_millis()).unwrap()
}

/// Faults of the requests that are sent at these times.
fn at<const N: usize>(faults: [(u64, Fault); N]) -> impl FnMut(&Call) -> Fault {
    move |call| faults.iter().find(|(at, _)| *at == call.at).map_or(Fault::None, |(_, fault)| *fault)
}

fn settings() -> LeaseSettings {
    let [lease_duration, renew_deadline, retry_period] = [15, 10, 2].map(Duration::from_secs);
    LeaseSettings {
        name: "lock".to_owned(),
        namespace: "home".to_owned(),
        identity: "me".to_owned(),
        timings: Timings { lease_duration, renew_deadline, retry_period },
    }
}

/// Starts a candidate and waits until it leads.
async fn elected(server: &ApiServer) -> (Leadership, JoinHandle<Vec<u64>>) {
    let mut leadership = Leadership::run_for(server.clients(), settings()).unwrap();
    let ends = server.record(&leadership.fence());
    timeout(Duration::from_mins(1), leadership.elected()).await.expect("elected");
    (leadership, ends)
}

/// Leads until `end`, and while another client calls `edit` at 1000. Returns the ends of the fence.
async fn lead(server: &ApiServer, end: u64, edit: impl FnOnce()) -> Vec<u64> {
    let (leadership, ends) = elected(server).await;
    server.sleep_until(1_000).await;
    edit();
    server.sleep_until(end).await;
    assert!(leadership.fence().is_open());
    drop(leadership);
    ends.await.unwrap()
}

/// The slow write is stored, so its hedge is a conflict. The deadline counts from when the slow write was sent. Its late
/// response does not move the deadline back, and the write after it conflicts and finds no own write without response.
#[tokio::test(start_paused = true)]
async fn a_slow_write_and_its_hedge_keep_the_lease() {
    let server = ApiServer::new(at([(2_000, Fault::Slow(2_990))]));
    let ends = lead(&server, 7_000, || {}).await;
    let log = [
        (0, 0, "create", 200),
        (2_000, 0, "replace", 200),
        (4_000, 1, "replace", 409),
        (4_010, 0, "get", 200),
        (4_020, 1, "replace", 200),
        (6_020, 1, "replace", 409),
        (6_030, 1, "get", 200),
        (6_040, 1, "replace", 200),
    ];
    assert_eq!(server.log_from(0), log);
    assert_eq!(ends, [10_000, 12_000, 14_020, 16_040]);
}

/// Three writes get no response, and only the second one is stored. The deadline counts from the second one.
#[tokio::test(start_paused = true)]
async fn a_lost_response_keeps_the_lease() {
    let server = ApiServer::new(at([(2_000, Fault::Refused), (2_510, Fault::Lost), (3_020, Fault::Refused)]));
    let ends = lead(&server, 5_000, || {}).await;
    let log = [
        (2_000, 0, "replace", 500),
        (2_510, 1, "replace", 200),
        (3_020, 0, "replace", 500),
        (3_530, 1, "replace", 409),
        (3_540, 1, "get", 200),
        (4_510, 1, "replace", 200),
    ];
    assert_eq!(server.log_from(1), log);
    assert_eq!(ends, [10_000, 12_510, 14_510]);
}

/// The stored Lease contains no write without response, so the deadline stays until the next write.
#[tokio::test(start_paused = true)]
async fn a_change_by_another_client_does_not_count_as_a_renewal() {
    let server = ApiServer::new(at([]));
    let edit = || server.edit(|lease| lease["metadata"]["annotations"] = json!({"edited": "yes"}));
    let ends = lead(&server, 3_000, edit).await;
    let log = [(2_000, 0, "replace", 409), (2_010, 0, "get", 200), (2_020, 0, "replace", 200)];
    assert_eq!(server.log_from(1), log);
    assert_eq!(ends, [10_000, 12_020]);
}

#[tokio::test(start_paused = true)]
async fn the_holder_creates_a_deleted_lease_again() {
    let server = ApiServer::new(at([]));
    let ends = lead(&server, 3_000, || server.delete()).await;
    let log = [(2_000, 0, "replace", 404), (2_010, 0, "get", 404), (2_020, 0, "create", 200)];
    assert_eq!(server.log_from(1), log);
    assert_eq!(ends, [10_000, 12_020]);
}

/// The response to the first read is older than the renewal after the second one. The next write conflicts, and the
/// deadline does not change until a write succeeds.
#[tokio::test(start_paused = true)]
async fn a_late_older_response_keeps_the_lease() {
    let server = ApiServer::new(at([(2_000, Fault::Lost), (2_520, Fault::Slow(2_990))]));
    let ends = lead(&server, 6_000, || {}).await;
    let log = [
        (2_000, 0, "replace", 200),
        (2_510, 1, "replace", 409),
        (2_520, 1, "get", 200),
        (3_520, 0, "get", 200),
        (4_000, 1, "replace", 200),
        (5_520, 1, "replace", 409),
        (5_530, 1, "get", 200),
        (5_540, 1, "replace", 200),
    ];
    assert_eq!(server.log_from(1), log);
    assert_eq!(ends, [10_000, 12_000, 14_000, 15_540]);
}

/// The fence closes when the holder reads the Lease of another replica. The holder sends no further request.
#[tokio::test(start_paused = true)]
async fn a_lease_of_another_replica_ends_the_leadership() {
    let server = ApiServer::new(at([]));
    let (leadership, ends) = elected(&server).await;
    server.sleep_until(1_000).await;
    server.edit(|lease| lease["spec"]["holderIdentity"] = json!("other"));
    leadership.lost().await;
    server.sleep_until(60_000).await;
    assert_eq!(server.log_from(1), [(2_000, 0, "replace", 409), (2_010, 0, "get", 200)]);
    assert_eq!(ends.await.unwrap(), [10_000]);
}

/// Two writes may contain the same `renewTime`, if the wall clock of the machine changes. Only the first one may be the
/// stored one for sure.
#[tokio::test(start_paused = true)]
async fn the_deadline_counts_from_the_first_of_equal_writes() {
    let (gate, _fence) = Gate::closed();
    let mut candidate = Candidate::new(ApiServer::new(at([])).clients(), settings(), gate);
    let begin = Instant::now();
    let at = |seconds: u64| begin + Duration::from_secs(seconds);
    let time = Timestamp::from_microsecond(7).unwrap();
    candidate.observed.update(None, begin);
    let Step::Write(lease) = decide(&candidate.observed, &candidate.settings, begin, time) else { panic!() };
    candidate.unanswered = vec![(at(1), 6), (at(2), 7), (at(3), 7), (at(4), 8)];
    let mut renewal = Renewal::new(candidate.settings.timings, begin, 0);
    let Next::Send(mut read) = renewal.next(at(5)) else { panic!() };
    read.kind = Kind::Read;
    let answer = candidate.answer(&read, Outcome::Stored(Box::new(Some(*lease))), &renewal);
    assert_eq!(answer, Answer::Free { renewed: Some(at(2)) });
}

/// Half of the requests have some fault, and another client changes the Lease now and then. [`ApiServer::record`]
/// compares each end of the fence with the stored write. The candidate may lose the Lease, and then runs again.
#[tokio::test(start_paused = true)]
async fn the_fence_closes_in_time_after_the_stored_write_under_faults() {
    let mut state = 1_u64;
    let server = ApiServer::new(move |_| {
        // SplitMix64 (Steele, Lea and Flood 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let lot = (mixed ^ (mixed >> 31)) % 100;
        match lot {
            0..12 => Fault::Refused,
            12..24 => Fault::Lost,
            24..36 => Fault::Slow(lot * 100),
            36..46 => Fault::Delayed(lot * 100),
            46..50 => Fault::Stuck,
            _ => Fault::None,
        }
    });
    let editor = tokio::spawn({
        let server = server.clone();
        async move {
            loop {
                sleep(Duration::from_secs(17)).await;
                server.edit(|lease| lease["metadata"]["annotations"] = json!({"edited": "yes"}));
            }
        }
    });
    let (begin, mut renewals) = (Instant::now(), 0);
    while begin.elapsed() < Duration::from_mins(100) {
        let (leadership, ends) = elected(&server).await;
        let _ = timeout(Duration::from_mins(10), leadership.lost()).await;
        drop(leadership);
        renewals += ends.await.unwrap().len();
    }
    assert!(!editor.is_finished(), "the editor panicked");
    editor.abort();
    assert!(renewals > 1_000, "{renewals}");
    let conflicts = server.log_from(0).iter().filter(|logged| logged.3 == 409).count();
    assert!(conflicts > 100, "{conflicts}");
}

/// The candidate retries more often shortly before the deadline.
#[tokio::test(start_paused = true)]
async fn a_candidate_renews_if_the_api_server_is_back_before_the_deadline() {
    for (end, outlives) in [(9_500, true), (11_000, false)] {
        let down = 1_000..end;
        let server =
            ApiServer::new(move |call| if down.contains(&call.at) { Fault::Refused } else { Fault::None });
        let (leadership, _ends) = elected(&server).await;
        let lost = timeout(Duration::from_secs(20), leadership.lost()).await;
        assert_eq!(lost.is_err(), outlives, "{:?}", server.log_from(0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_candidate_reads_the_lease_if_another_one_creates_it_first() {
    let server = ApiServer::new(at([]));
    let other = async {
        sleep(Duration::from_millis(LATENCY / 2)).await;
        server.edit(|lease| {
            *lease = json!({
                "metadata": {"name": "lock"},
                "spec": {"holderIdentity": "other", "leaseDurationSeconds": 15},
            });
        });
    };
    let ((_leadership, _ends), ()) = tokio::join!(elected(&server), other);
    let log = [(0, 0, "create", 409), (10, 0, "get", 200), (15_020, 0, "replace", 200)];
    assert_eq!(server.log_from(0), log);
    assert_eq!(server.holder(), "me");
}

/// The first request has a timeout of 5 s. The candidate then uses the other connection, also for its renewals.
#[tokio::test(start_paused = true)]
async fn a_candidate_acquires_the_lease_over_the_other_connection_if_one_hangs() {
    for stuck in [0, 1] {
        let server =
            ApiServer::new(move |call| if call.connection == stuck { Fault::Stuck } else { Fault::None });
        let (_leadership, _ends) = elected(&server).await;
        server.sleep_until(3_000).await;
        let log = [(0, 1 - stuck, "create", 200), (2_000, 1 - stuck, "replace", 200)];
        assert_eq!(server.log_from(0), log);
    }
}

/// Releases the Lease at `end`. Returns how long it takes, in milliseconds.
async fn release(server: &ApiServer, end: u64) -> u64 {
    let (leadership, _ends) = elected(server).await;
    server.sleep_until(end).await;
    assert!(leadership.fence().is_open());
    let begin = Instant::now();
    leadership.release().await;
    millis(begin, Instant::now())
}

/// Connection 0 hangs some time before the release.
#[tokio::test(start_paused = true)]
async fn the_holder_releases_the_lease_over_the_connection_that_answered_last() {
    let hangs = |call: &Call| if call.connection == 0 && call.at > 0 { Fault::Stuck } else { Fault::None };
    let server = ApiServer::new(hangs);
    assert_eq!(release(&server, 5_000).await, 2 * LATENCY);
    assert_eq!(server.log_from(5_000), [(5_000, 1, "get", 200), (5_010, 1, "replace", 200)]);
    assert_eq!(server.holder(), "");
}

/// The connection that answered last hangs since the release, at the read or at the write.
#[tokio::test(start_paused = true)]
async fn the_holder_releases_the_lease_over_the_other_connection_if_one_hangs() {
    for hangs in [3_000, 3_010] {
        let server = ApiServer::new(at([(hangs, Fault::Stuck)]));
        assert_eq!(release(&server, 3_000).await, hangs - 3_000 + 1_000 + 2 * LATENCY);
        assert_eq!(server.holder(), "");
        let log = [(hangs + 1_000, 1, "get", 200), (hangs + 1_010, 1, "replace", 200)];
        assert_eq!(server.log_from(hangs + 1), log);
    }
    let server = ApiServer::new(|call| if call.at >= 3_000 { Fault::Stuck } else { Fault::None });
    assert_eq!(release(&server, 3_000).await, 2_000);
}

/// The release cancels a renewal, and the API server executes the renewal between the read and the write of the release.
#[tokio::test(start_paused = true)]
async fn a_cancelled_write_does_not_prevent_the_release() {
    let server = ApiServer::new(at([(2_000, Fault::Delayed(1_005))]));
    assert_eq!(release(&server, 3_000).await, 4 * LATENCY);
    let log = [
        (2_000, 0, "replace", 200),
        (3_000, 0, "get", 200),
        (3_010, 0, "replace", 409),
        (3_020, 0, "get", 200),
        (3_030, 0, "replace", 200),
    ];
    assert_eq!(server.log_from(1), log);
    assert_eq!(server.holder(), "");
}

/// The API server stores the release and returns an error. The next read finds the Lease released.
#[tokio::test(start_paused = true)]
async fn a_release_with_a_lost_response_is_not_repeated() {
    let server = ApiServer::new(at([(3_010, Fault::Lost)]));
    release(&server, 3_000).await;
    let log = [(3_000, 0, "get", 200), (3_010, 0, "replace", 200), (3_020, 1, "get", 200)];
    assert_eq!(server.log_from(3_000), log);
    assert_eq!(server.holder(), "");
}
