//! The task that watches, acquires, renews and releases the Lease.

use super::{
    LeaseSettings, RELEASE_TIMEOUT,
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

/// How often the holder tries to release the Lease: once over each connection, and once more after a conflict.
const RELEASE_ATTEMPTS: usize = 3;

pub(super) struct Candidate {
    /// One API for each connection.
    apis: [Api<Lease>; 2],
    /// The connection that answered last. After a failure, the other one.
    connection: usize,
    /// The timeout of one request.
    request_timeout: Duration,
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
            connection: 0,
            // Half of the time for a renewal.
            request_timeout: settings.timings.renew_deadline / 2,
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
                Step::Write(lease) => match self.request(self.connection, Some(*lease)).await {
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
        match self.request(self.connection, None).await {
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
        let mut renewal = Renewal::new(self.settings.timings, acquired, self.connection);
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
        if !matches!(outcome, Outcome::Unknown(_)) {
            self.connection = request.connection;
        }
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

    /// Releases the Lease. After a failure, retries over the other connection.
    async fn release(&mut self) {
        // One connection that hangs leaves time for the other one.
        self.request_timeout = self.request_timeout.min(RELEASE_TIMEOUT / 2);
        let (mut sent, mut error) = (false, String::new());
        for _ in 0..RELEASE_ATTEMPTS {
            // A write that was cancelled may have succeeded, and may still change the Lease after this read.
            let mut outcome = self.request(self.connection, None).await;
            if let Outcome::Stored(lease) = outcome {
                self.observed.update(*lease, Instant::now());
                let Some(free) = released(&self.observed, &self.settings.identity, Timestamp::now()) else {
                    if sent {
                        info!("released the lease");
                    }
                    return;
                };
                sent = true;
                outcome = self.request(self.connection, Some(free)).await;
            }
            match outcome {
                Outcome::Stored(_) => return info!("released the lease"),
                Outcome::Conflict => "the lease changes at the same time".clone_into(&mut error),
                Outcome::Unknown(failure) => {
                    error = failure;
                    self.connection = 1 - self.connection;
                }
            }
        }
        warn!(error, "cannot release the lease: other replicas wait until it expires");
    }

    /// Writes `lease`, or reads the Lease if `lease` is None.
    fn request(&self, connection: usize, lease: Option<Lease>) -> BoxFuture<'static, Outcome> {
        let [first, second] = &self.apis;
        let api = if connection == 0 { first } else { second }.clone();
        let (name, limit) = (self.settings.name.clone(), self.request_timeout);
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

    /// Logs a failure and changes to the other connection. Returns when to retry.
    fn retry_after(&mut self, error: &str) -> Instant {
        self.report(error, true);
        self.connection = 1 - self.connection;
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
#[path = "candidate_test.rs"]
mod tests;
