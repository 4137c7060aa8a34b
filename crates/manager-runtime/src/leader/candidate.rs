//! The task that watches, acquires, renews and releases the Lease.

use super::{
    LeaseSettings,
    decide::{ObservedLease, Step, decide, released},
    fence::Gate,
    renewal::{Answer, Kind, Next, Renewal, Request},
};
use crate::client::{WatchBackoff, api_message};
use futures::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{BoxStream, FuturesUnordered},
};
use k8s_openapi::{api::coordination::v1::Lease, jiff::Timestamp};
use kube::{
    Api, Client,
    api::PostParams,
    runtime::{WatchStreamExt, watcher::watch_object},
};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

pub(super) struct Candidate {
    /// One API for each connection.
    apis: [Api<Lease>; 2],
    settings: LeaseSettings,
    gate: Gate,
    observed: ObservedLease,
    /// The last error in the log since the last success.
    reported: String,
    /// The writes since the last renewal: the time of each request, and the `renewTime` in it.
    unanswered: Vec<(Instant, i64)>,
}

/// The outcome of a request.
enum Outcome {
    /// The stored Lease.
    Stored(Box<Option<Lease>>),
    /// The write contains an old resource version.
    Conflict,
    /// An error, or no response. The API server may have executed the request.
    Unknown(String),
}

impl Candidate {
    /// `clients` share no connection.
    pub(super) fn new(clients: [Client; 2], settings: LeaseSettings, gate: Gate) -> Self {
        let apis = clients.map(|client| Api::namespaced(client, &settings.namespace));
        Self {
            apis,
            settings,
            gate,
            observed: ObservedLease::default(),
            reported: String::new(),
            unanswered: Vec::new(),
        }
    }

    /// Takes part in the election until the Lease is lost or released.
    pub(super) async fn run(mut self, release: CancellationToken) {
        let led = release
            .run_until_cancelled(async {
                let sent = self.acquire().await;
                self.hold(sent).await;
            })
            .await;
        // Requests of this leader end before another replica may lead.
        self.gate.close();
        if led.is_none() {
            self.release().await;
        }
    }

    /// Waits until the Lease is free, and acquires it. Returns the time of the write request.
    async fn acquire(&mut self) -> Instant {
        let mut leases = self.watch();
        let mut wake = Instant::now();
        loop {
            tokio::select! {
                Some(lease) = leases.next() => self.observed.update(lease, Instant::now()),
                () = sleep_until(wake) => {}
            }
            let sent = Instant::now();
            wake = match decide(&self.observed, &self.settings, sent, Timestamp::now()) {
                Step::Read => self.read_again().await,
                Step::Wait(end) => end,
                Step::Write(lease) => match self.request(0, Some(*lease)).await {
                    Outcome::Stored(lease) => {
                        self.observed.update(*lease, Instant::now());
                        self.gate.open_until(sent + self.settings.timings.renew_deadline);
                        return sent;
                    }
                    Outcome::Conflict => self.read_again().await,
                    Outcome::Unknown(error) => self.retry_after(&error),
                },
            }
        }
    }

    /// Reads the Lease. Returns when to decide again.
    async fn read_again(&mut self) -> Instant {
        match self.request(0, None).await {
            Outcome::Stored(lease) => {
                self.observed.update(*lease, Instant::now());
                Instant::now()
            }
            Outcome::Conflict => Instant::now(),
            Outcome::Unknown(error) => self.retry_after(&error),
        }
    }

    /// Renews the Lease until the deadline passes without a renewal, or another replica holds it.
    async fn hold(&mut self, acquired: Instant) {
        let mut renewal = Renewal::new(self.settings.timings, acquired);
        let mut requests = FuturesUnordered::<BoxFuture<'static, (Request, Outcome)>>::new();
        loop {
            match renewal.next(Instant::now()) {
                Next::Expired => return warn!("lease lost: no renewal succeeded before the deadline"),
                Next::Taken => {
                    return warn!(holder = self.observed.holder(), "lease lost: another replica acquired it");
                }
                Next::Send(request) => match self.renewing(&request) {
                    Some(outcome) => requests.push(outcome.map(move |outcome| (request, outcome)).boxed()),
                    None => renewal.answered(&request, Answer::Taken, Instant::now()),
                },
                Next::Wait(end) => tokio::select! {
                    Some((request, outcome)) = requests.next() => {
                        let answer = self.answer(&request, outcome, &renewal);
                        renewal.answered(&request, answer, Instant::now());
                        if let Answer::Renewed | Answer::Free { renewed: Some(_) } = answer {
                            self.gate.open_until(renewal.deadline());
                            self.unanswered.clear();
                            self.reported.clear();
                        }
                    }
                    () = sleep_until(end) => {}
                },
            }
        }
    }

    /// Starts `request`. Returns None if another replica holds the Lease.
    fn renewing(&mut self, request: &Request) -> Option<BoxFuture<'static, Outcome>> {
        let lease = match request.kind {
            Kind::Read => None,
            Kind::Write => match decide(&self.observed, &self.settings, request.sent, Timestamp::now()) {
                Step::Write(lease) => Some(*lease),
                Step::Wait(_) | Step::Read => return None,
            },
        };
        let written = lease.as_ref().and_then(renew_time);
        self.unanswered.extend(written.map(|time| (request.sent, time)));
        Some(self.request(request.connection, lease))
    }

    /// Converts an outcome for the renewal.
    fn answer(&mut self, request: &Request, outcome: Outcome, renewal: &Renewal) -> Answer {
        match outcome {
            Outcome::Stored(lease) => {
                self.observed.update(*lease, Instant::now());
                if request.kind == Kind::Write {
                    return Answer::Renewed;
                }
                let holder = self.observed.holder();
                if holder == self.settings.identity {
                    // The first of equal writes: the deadline must not count from a later one.
                    let stored = self.observed.lease.as_ref().and_then(renew_time);
                    let own = self.unanswered.iter().find(|(_, written)| Some(*written) == stored);
                    Answer::Free { renewed: own.map(|(sent, _)| *sent) }
                } else if holder.is_empty() {
                    Answer::Free { renewed: None }
                } else {
                    Answer::Taken
                }
            }
            Outcome::Conflict => Answer::Conflict,
            Outcome::Unknown(error) => {
                self.report(&error, renewal.is_late(Instant::now()));
                Answer::Failed
            }
        }
    }

    /// Releases the Lease.
    async fn release(&mut self) {
        // A write that was cancelled may have succeeded.
        match self.request(0, None).await {
            Outcome::Stored(lease) => self.observed.update(*lease, Instant::now()),
            Outcome::Conflict => {}
            Outcome::Unknown(error) => {
                return warn!(error, "cannot release the lease: other replicas wait until it expires");
            }
        }
        let Some(free) = released(&self.observed, &self.settings.identity, Timestamp::now()) else { return };
        let [api, _] = &self.apis;
        match api.replace(&self.settings.name, &PostParams::default(), &free).await {
            Ok(_) => info!("released the lease"),
            Err(error) => {
                let error = api_message(&error);
                warn!(error, "cannot release the lease: other replicas wait until it expires");
            }
        }
    }

    /// Writes `lease`, or reads the Lease if `lease` is None.
    fn request(&self, connection: usize, lease: Option<Lease>) -> BoxFuture<'static, Outcome> {
        let [first, second] = &self.apis;
        let api = if connection == 0 { first } else { second }.clone();
        let (name, limit) = (self.settings.name.clone(), self.request_timeout());
        async move {
            let params = PostParams::default();
            let is_replace = lease.as_ref().is_some_and(|lease| lease.metadata.resource_version.is_some());
            let is_write = lease.is_some();
            let answer = async {
                match &lease {
                    None => api.get_opt(&name).await,
                    Some(lease) if is_replace => api.replace(&name, &params, lease).await.map(Some),
                    Some(lease) => api.create(&params, lease).await.map(Some),
                }
            };
            match timeout(limit, answer).await {
                Ok(Ok(lease)) => Outcome::Stored(Box::new(lease)),
                Ok(Err(kube::Error::Api(status)))
                    if is_write && status.code == 409 || is_replace && status.code == 404 =>
                {
                    Outcome::Conflict
                }
                Ok(Err(error)) => Outcome::Unknown(api_message(&error)),
                Err(_) => Outcome::Unknown(format!("no response within {limit:?}")),
            }
        }
        .boxed()
    }

    /// Logs a failure. Returns when to retry.
    fn retry_after(&mut self, error: &str) -> Instant {
        self.report(error, true);
        Instant::now() + self.settings.timings.retry_period
    }

    /// Logs a failure: as a warning if it matters and is new, otherwise as debug.
    fn report(&mut self, error: &str, matters: bool) {
        let LeaseSettings { namespace, name, .. } = &self.settings;
        let lease = format!("{namespace}/{name}");
        if matters && self.reported != error {
            warn!(lease, error, "leader election: request failed, retrying");
            error.clone_into(&mut self.reported);
        } else {
            debug!(lease, error, "leader election: request failed, retrying");
        }
    }

    /// The timeout of one request: half of the time for a renewal.
    fn request_timeout(&self) -> Duration {
        self.settings.timings.renew_deadline / 2
    }

    fn watch(&self) -> BoxStream<'static, Option<Lease>> {
        let [api, _] = &self.apis;
        let leases = watch_object(api.clone(), &self.settings.name).backoff(WatchBackoff::default());
        leases
            .filter_map(|result| async {
                result.inspect_err(|error| debug!(%error, "cannot watch the lease")).ok()
            })
            .boxed()
    }
}

/// The `renewTime` of a Lease in microseconds, which is the precision of the API.
fn renew_time(lease: &Lease) -> Option<i64> {
    Some(lease.spec.as_ref()?.renew_time.as_ref()?.0.as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leader::{Leadership, Timings};
    use axum::http::{Method, Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};
    use std::sync::{Arc, Mutex, OnceLock};
    use tower::service_fn;

    /// An API server with one Lease. It is unavailable during `outage`, which counts from the first write.
    fn api_server(outage: std::ops::Range<Duration>) -> Client {
        let (begun, stored) = (Arc::new(OnceLock::<Instant>::new()), Arc::new(Mutex::new(Value::Null)));
        let service = service_fn(move |request: Request<Body>| {
            let (begun, stored) = (Arc::clone(&begun), Arc::clone(&stored));
            let is_down = begun.get().is_some_and(|begun| outage.contains(&begun.elapsed()));
            async move {
                // Lists and watches fail, so the candidate must read the Lease.
                let is_write = [Method::POST, Method::PUT].contains(request.method());
                let is_list = !is_write && request.uri().path().ends_with("/leases");
                let body = request.into_body().collect_bytes().await?;
                let mut stored = stored.lock().unwrap();
                if is_write && !is_down {
                    begun.get_or_init(Instant::now);
                    *stored = serde_json::from_slice(&body).unwrap();
                    stored["metadata"]["resourceVersion"] = json!("1");
                }
                let (code, answer) = match stored.clone() {
                    _ if is_down || is_list => (500, json!({"code": 500})),
                    Value::Null => (404, json!({"code": 404, "reason": "NotFound"})),
                    lease => (200, lease),
                };
                let answer = Body::from(serde_json::to_vec(&answer).unwrap());
                Ok::<_, kube::Error>(Response::builder().status(code).body(answer).unwrap())
            }
        });
        Client::new(service, "default")
    }

    fn settings() -> LeaseSettings {
        let [lease_duration, renew_deadline, retry_period] =
            [16_000, 12_000, 4_800].map(Duration::from_millis);
        LeaseSettings {
            name: "lock".to_owned(),
            namespace: "home".to_owned(),
            identity: "me".to_owned(),
            timings: Timings { lease_duration, renew_deadline, retry_period },
        }
    }

    /// Whether the candidate still holds the Lease some seconds after the first deadline.
    async fn outlives(outage: std::ops::Range<u64>) -> bool {
        let outage = Duration::from_secs(outage.start)..Duration::from_secs(outage.end);
        let mut leadership = {
            let client = api_server(outage);
            Leadership::run_for([client.clone(), client], settings())
        }
        .unwrap();
        timeout(Duration::from_secs(20), leadership.elected()).await.expect("elected");
        timeout(Duration::from_secs(16), leadership.lost()).await.is_err()
    }

    /// The candidate retries more often shortly before the deadline after 12 seconds.
    #[tokio::test]
    async fn a_candidate_renews_if_the_api_server_is_back_before_the_deadline() {
        let (short, long) = tokio::join!(outlives(2..10), outlives(2..36));
        assert!(short && !long, "{short} {long}");
    }
}
