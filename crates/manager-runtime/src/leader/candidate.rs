//! The task that watches the Lease, acquires it, renews it, and gives it back.

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
    /// One for each connection.
    apis: [Api<Lease>; 2],
    settings: LeaseSettings,
    gate: Gate,
    observed: ObservedLease,
    /// The error that was logged last, since the last success.
    reported: String,
    /// Writes since the last renewal: when each was sent, and the `renewTime` in it.
    unanswered: Vec<(Instant, i64)>,
}

/// The outcome of a request.
enum Outcome {
    /// The Lease as it is stored now.
    Stored(Box<Option<Lease>>),
    /// The write names a version that is not the newest.
    Conflict,
    /// The request may have been carried out.
    Unknown(String),
}

impl Candidate {
    /// `clients` have no connection in common.
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

    /// Takes part until the Lease is lost, or is given back.
    pub(super) async fn run(mut self, give_back: CancellationToken) {
        let led = give_back
            .run_until_cancelled(async {
                let sent = self.acquire().await;
                self.hold(sent).await;
            })
            .await;
        // Whatever was sent under this lease ends before another replica may begin.
        self.gate.close();
        if led.is_none() {
            self.give_back().await;
        }
    }

    /// Waits until the Lease is free, and acquires it. Returns when that was sent.
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

    /// Reads the Lease; returns when to decide again.
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

    /// Renews the Lease until no renewal succeeded for too long, or another replica has it.
    async fn hold(&mut self, acquired: Instant) {
        let mut renewal = Renewal::new(self.settings.timings, acquired);
        let mut requests = FuturesUnordered::<BoxFuture<'static, (Request, Outcome)>>::new();
        loop {
            match renewal.next(Instant::now()) {
                Next::Expired => return warn!("the lease could not be renewed in time"),
                Next::Taken => {
                    return warn!(holder = self.observed.holder(), "another replica took the lease");
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

    /// Begins `request`. None when another replica holds the Lease.
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

    /// What an outcome means for the renewal.
    fn answer(&mut self, request: &Request, outcome: Outcome, renewal: &Renewal) -> Answer {
        match outcome {
            Outcome::Stored(lease) => {
                self.observed.update(*lease, Instant::now());
                if request.kind == Kind::Write {
                    return Answer::Renewed;
                }
                let holder = self.observed.holder();
                if holder == self.settings.identity {
                    // The first of equal ones: the time of holding the Lease must not count from a later one.
                    let stored = self.observed.lease.as_ref().and_then(renew_time);
                    let ours = self.unanswered.iter().find(|(_, written)| Some(*written) == stored);
                    Answer::Free { renewed: ours.map(|(sent, _)| *sent) }
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

    /// Lets others have the Lease.
    async fn give_back(&mut self) {
        // A write that was cancelled may have succeeded.
        match self.request(0, None).await {
            Outcome::Stored(lease) => self.observed.update(*lease, Instant::now()),
            Outcome::Conflict => {}
            Outcome::Unknown(error) => {
                return warn!(error, "cannot give the lease back: others wait until it expires");
            }
        }
        let Some(free) = released(&self.observed, &self.settings.identity, Timestamp::now()) else { return };
        let [api, _] = &self.apis;
        match api.replace(&self.settings.name, &PostParams::default(), &free).await {
            Ok(_) => info!("gave the lease back"),
            Err(error) => {
                let error = api_message(&error);
                warn!(error, "cannot give the lease back: others wait until it expires");
            }
        }
    }

    /// Writes `lease`, or reads the Lease when that is None.
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
                Err(_) => Outcome::Unknown(format!("no answer within {limit:?}")),
            }
        }
        .boxed()
    }

    /// Logs a failure; returns when to retry.
    fn retry_after(&mut self, error: &str) -> Instant {
        self.report(error, true);
        Instant::now() + self.settings.timings.retry_period
    }

    /// Logs a failure: as a warning once, and only when it matters.
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

    /// How long one request may take: half of the time that a renewal has.
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

/// The `renewTime` of a Lease in microseconds, the precision of the API.
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

    /// An API server for one Lease that is unavailable during `outage`, counted from the first time it was written.
    fn api_server(outage: std::ops::Range<Duration>) -> Client {
        let (begun, stored) = (Arc::new(OnceLock::<Instant>::new()), Arc::new(Mutex::new(Value::Null)));
        let service = service_fn(move |request: Request<Body>| {
            let (begun, stored) = (Arc::clone(&begun), Arc::clone(&stored));
            let is_away = begun.get().is_some_and(|begun| outage.contains(&begun.elapsed()));
            async move {
                // Lists and watches fail: the candidate reads the Lease as well.
                let is_write = [Method::POST, Method::PUT].contains(request.method());
                let is_list = !is_write && request.uri().path().ends_with("/leases");
                let body = request.into_body().collect_bytes().await?;
                let mut stored = stored.lock().unwrap();
                if is_write && !is_away {
                    begun.get_or_init(Instant::now);
                    *stored = serde_json::from_slice(&body).unwrap();
                    stored["metadata"]["resourceVersion"] = json!("1");
                }
                let (code, answer) = match stored.clone() {
                    _ if is_away || is_list => (500, json!({"code": 500})),
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

    /// Whether the lease is still held some seconds after its first deadline.
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

    /// Retries come closer together as the deadline after 12 seconds comes near.
    #[tokio::test]
    async fn an_api_server_that_is_back_before_the_deadline_is_back_in_time() {
        let (short, long) = tokio::join!(outlives(2..10), outlives(2..36));
        assert!(short && !long, "{short} {long}");
    }
}
