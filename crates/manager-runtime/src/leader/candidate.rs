//! The task that follows the Lease, takes it, renews it, and gives it back.

use super::{
    LeaseSettings,
    decide::{Sight, Step, decide, given_back},
    fence::Gate,
};
use crate::client::{WatchBackoff, api_message};
use futures::{StreamExt, stream::BoxStream};
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
    api: Api<Lease>,
    settings: LeaseSettings,
    gate: Gate,
    sight: Sight,
    told: String,
}

/// What became of a write.
enum Written {
    /// We hold the Lease.
    Held,
    /// Somebody else wrote in between: what he wrote is seen now.
    Outrun,
    /// Nobody knows.
    Unknown(String),
}

impl Candidate {
    pub(super) fn new(client: Client, settings: LeaseSettings, gate: Gate) -> Self {
        let api = Api::namespaced(client, &settings.namespace);
        Self { api, settings, gate, sight: Sight::default(), told: String::new() }
    }

    /// Takes part until the Lease is lost, or is given back.
    pub(super) async fn run(mut self, give_back: CancellationToken) {
        let led = give_back
            .run_until_cancelled(async {
                self.acquire().await;
                self.hold().await;
            })
            .await;
        // Whatever was sent under this lease is over before anybody else may begin.
        self.gate.close();
        if led.is_none() {
            self.give_back().await;
        }
    }

    /// Waits for the Lease to be free, and takes it.
    async fn acquire(&mut self) {
        let mut sights = self.watch();
        let mut wake = Instant::now();
        loop {
            tokio::select! {
                Some(lease) = sights.next() => self.sight.update(lease, Instant::now()),
                () = sleep_until(wake) => {}
            }
            wake = match decide(&self.sight, &self.settings, Instant::now(), Timestamp::now()) {
                Step::Look => match self.look().await {
                    Ok(()) => Instant::now(),
                    Err(error) => self.failed(&error),
                },
                Step::Wait(end) => end,
                Step::Write(lease) => match self.write(*lease).await {
                    Written::Held => return,
                    Written::Outrun => Instant::now(),
                    Written::Unknown(error) => self.failed(&error),
                },
            }
        }
    }

    /// Renews the Lease until that has not succeeded for too long, or somebody else has it.
    async fn hold(&mut self) {
        let pause = self.settings.timings.retry_period;
        let mut wake = Instant::now() + pause;
        while let Some(end) = self.gate.end() {
            sleep_until(wake.min(end)).await;
            if Instant::now() >= end {
                warn!("the lease could not be renewed in time");
                return;
            }
            wake = match decide(&self.sight, &self.settings, Instant::now(), Timestamp::now()) {
                Step::Write(lease) => {
                    match timeout(end.duration_since(Instant::now()), self.write(*lease)).await {
                        Ok(Written::Held) => Instant::now() + pause,
                        // Still ours, or nobody's because somebody deleted it.
                        Ok(Written::Outrun)
                            if ["", self.settings.identity.as_str()].contains(&self.sight.holder()) =>
                        {
                            Instant::now()
                        }
                        Ok(Written::Outrun) => {
                            warn!(holder = self.sight.holder(), "somebody else took the lease");
                            return;
                        }
                        // The end is approached by halves: the API server may be back just before it.
                        Ok(Written::Unknown(error)) => self.failed(&error).min(halfway(Instant::now(), end)),
                        Err(_) => Instant::now(),
                    }
                }
                // Somebody else wrote himself into it, though it was ours.
                Step::Wait(_) | Step::Look => return,
            };
        }
    }

    /// Lets others have the Lease.
    async fn give_back(&mut self) {
        // A write that was cut off may have succeeded.
        if let Err(error) = self.look().await {
            return warn!(error, "cannot give the lease back: others wait for its end");
        }
        let Some(free) = given_back(&self.sight, &self.settings.identity, Timestamp::now()) else { return };
        match self.api.replace(&self.settings.name, &PostParams::default(), &free).await {
            Ok(_) => info!("gave the lease back"),
            Err(error) => {
                warn!(error = api_message(&error), "cannot give the lease back: others wait for its end");
            }
        }
    }

    async fn look(&mut self) -> Result<(), String> {
        let lease = timeout(self.patience(), self.api.get_opt(&self.settings.name)).await;
        let lease = lease.map_err(|_| self.no_answer())?.map_err(|error| api_message(&error))?;
        self.sight.update(lease, Instant::now());
        Ok(())
    }

    /// Writes the Lease as ours. The time of holding it counts from before the request was sent.
    async fn write(&mut self, lease: Lease) -> Written {
        let sent = Instant::now();
        let params = PostParams::default();
        let is_new = lease.metadata.resource_version.is_none();
        let answer = async {
            if is_new {
                self.api.create(&params, &lease).await
            } else {
                self.api.replace(&self.settings.name, &params, &lease).await
            }
        };
        match timeout(self.patience(), answer).await {
            Ok(Ok(written)) => {
                self.sight.update(Some(written), Instant::now());
                self.gate.open_until(sent + self.settings.timings.renew_deadline);
                self.told.clear();
                Written::Held
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 409 || status.code == 404 && !is_new => {
                match self.look().await {
                    Ok(()) => Written::Outrun,
                    Err(error) => Written::Unknown(error),
                }
            }
            Ok(Err(error)) => Written::Unknown(api_message(&error)),
            Err(_) => Written::Unknown(self.no_answer()),
        }
    }

    /// Tells of a failure, once; returns when to try again.
    fn failed(&mut self, error: &str) -> Instant {
        if self.told != error {
            let LeaseSettings { namespace, name, .. } = &self.settings;
            warn!(lease = format!("{namespace}/{name}"), error, "leader election: trying again");
            error.clone_into(&mut self.told);
        }
        Instant::now() + self.settings.timings.retry_period
    }

    /// How long one request may take: two fit before the deadline.
    fn patience(&self) -> Duration {
        self.settings.timings.renew_deadline / 2
    }

    fn no_answer(&self) -> String {
        format!("no answer within {:?}", self.patience())
    }

    fn watch(&self) -> BoxStream<'static, Option<Lease>> {
        let sights = watch_object(self.api.clone(), &self.settings.name).backoff(WatchBackoff::default());
        sights
            .filter_map(|result| async {
                result.inspect_err(|error| debug!(%error, "cannot watch the lease")).ok()
            })
            .boxed()
    }
}

/// Shortest pause between two tries.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// The middle of the time that is left, or a little later.
fn halfway(now: Instant, end: Instant) -> Instant {
    now + (end.saturating_duration_since(now) / 2).max(SHORTEST_PAUSE)
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

    /// An API server for one Lease that is away during `outage`, counted from the first time it was written.
    fn api_server(outage: std::ops::Range<Duration>) -> Client {
        let (begun, stored) = (Arc::new(OnceLock::<Instant>::new()), Arc::new(Mutex::new(Value::Null)));
        let service = service_fn(move |request: Request<Body>| {
            let (begun, stored) = (Arc::clone(&begun), Arc::clone(&stored));
            let away = begun.get().is_some_and(|begun| outage.contains(&begun.elapsed()));
            async move {
                // Lists and watches fail: the Lease is looked at as well.
                let is_write = [Method::POST, Method::PUT].contains(request.method());
                let is_list = !is_write && request.uri().path().ends_with("/leases");
                let body = request.into_body().collect_bytes().await?;
                let mut stored = stored.lock().unwrap();
                if is_write && !away {
                    begun.get_or_init(Instant::now);
                    *stored = serde_json::from_slice(&body).unwrap();
                    stored["metadata"]["resourceVersion"] = json!("1");
                }
                let (code, answer) = match stored.clone() {
                    _ if away || is_list => (500, json!({"code": 500})),
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
        let mut leadership = Leadership::run_for(api_server(outage), settings()).unwrap();
        timeout(Duration::from_secs(20), leadership.elected()).await.expect("elected");
        timeout(Duration::from_secs(16), leadership.lost()).await.is_err()
    }

    /// With pauses of 4.8 seconds there would be a try after 9.6, and none before the end after 12.
    #[tokio::test]
    async fn an_api_server_that_is_back_before_the_deadline_is_back_in_time() {
        let (short, long) = tokio::join!(outlives(2..10), outlives(2..36));
        assert!(short && !long, "{short} {long}");
    }
}
