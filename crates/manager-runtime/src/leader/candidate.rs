//! The task that follows the Lease, takes it, renews it, and gives it back.

use super::{
    LeaseSettings,
    decide::{Sight, Step, decide, given_back},
    fence::Gate,
};
use crate::client::WatchBackoff;
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
                        Ok(Written::Unknown(error)) => self.failed(&error),
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
            Err(error) => warn!(%error, "cannot give the lease back: others wait for its end"),
        }
    }

    async fn look(&mut self) -> Result<(), String> {
        let lease = timeout(self.patience(), self.api.get_opt(&self.settings.name)).await;
        let lease = lease.map_err(|_| self.no_answer())?.map_err(|error| error.to_string())?;
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
            Ok(Err(error)) => Written::Unknown(error.to_string()),
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
