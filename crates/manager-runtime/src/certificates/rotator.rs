//! The rotation loop: watches the Secret and the webhook configurations, writes them, and publishes the certificate
//! to serve.

use super::{
    Pair,
    decide::{Decision, DesiredSecret, Material, decide, secret_after},
    inject::{injection, trusted, trusts},
    issue::IssueError,
};
use crate::{client::WatchBackoff, logging::in_one_line};
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use k8s_openapi::{api::core::v1::Secret, jiff::Timestamp};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher::watch_object},
};
use std::time::Duration;
use thiserror::Error;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// How long the API servers have to read a bundle before replicas serve a certificate that needs it. API servers
/// watch webhook configurations, and read a change within a second.
const PROPAGATION: Duration = Duration::from_secs(10);
/// The longest time between two checks, because system clocks change and machines sleep.
const RESYNC: Duration = Duration::from_hours(12);
/// Backoff after a failure: the first delay, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Keeps a certificate Secret current, and the webhook configurations that must trust it.
#[derive(Clone, Debug)]
pub struct Rotator {
    /// The Secret.
    pub desired: DesiredSecret,
    /// The webhook configurations that get the bundle.
    pub targets: Vec<Target>,
    /// The field manager that applies the bundle.
    pub field_manager: String,
}

/// One webhook configuration.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its kind.
    pub resource: ApiResource,
    /// Its name.
    pub name: String,
}

/// The result of the loop so far.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The certificate to serve.
    pub serve: Option<Pair>,
    /// Why clients do not accept the certificate yet. None as soon as they accept it, until the process ends: if
    /// another client overwrites a bundle, the loop repairs it, and the other webhooks keep working.
    pub missing: Option<String>,
}

#[derive(Debug, Error)]
enum RotateError {
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error("cannot write Secret {0}: {1}")]
    Secret(String, #[source] kube::Error),
    #[error("cannot read Secret {0}: {1}")]
    Read(String, #[source] kube::Error),
    #[error("cannot set the CA bundle of {0} {1}: {2}")]
    Inject(String, String, #[source] kube::Error),
}

/// An object as the watch reports it; None until the first report.
type Observed<K> = Option<Option<K>>;

enum Event {
    Secret(Option<Secret>),
    Target(usize, Option<DynamicObject>),
}

struct Loop {
    client: Client,
    rotator: Rotator,
    secret: Observed<Secret>,
    targets: Vec<Observed<DynamicObject>>,
    /// The CA that every webhook trusts, and when this was first observed.
    trusted: Option<(String, Instant)>,
    last_refusal: String,
    state: watch::Sender<State>,
}

impl Rotator {
    /// Starts the loop. It ends with `shutdown`, or when every receiver is dropped.
    pub fn start(self, client: Client, shutdown: CancellationToken) -> watch::Receiver<State> {
        let missing = Some("the API server has not responded yet".to_owned());
        let (state, receiver) = watch::channel(State { serve: None, missing });
        let targets = vec![None; self.targets.len()];
        let run = Loop {
            client,
            rotator: self,
            secret: None,
            targets,
            trusted: None,
            last_refusal: String::new(),
            state,
        };
        tokio::spawn(async move { shutdown.run_until_cancelled(run.run()).await });
        receiver
    }
}

impl Loop {
    async fn run(mut self) {
        let mut events = self.watch();
        let mut wake = Instant::now();
        let mut retry = BACKOFF.0;
        loop {
            tokio::select! {
                () = self.state.closed() => return,
                Some(event) = events.next() => self.observe(event),
                () = sleep_until(wake) => {}
            }
            match self.reconcile().await {
                Ok(next) => (wake, retry) = (next, BACKOFF.0),
                Err(error) => {
                    let error = in_one_line(&error);
                    warn!(error, retry_in = ?retry, "cannot rotate certificates");
                    self.report_missing(error);
                    (wake, retry) = (Instant::now() + retry, (retry * 2).min(BACKOFF.1));
                }
            }
        }
    }

    fn watch(&self) -> BoxStream<'static, Event> {
        let desired = &self.rotator.desired;
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &desired.namespace);
        let what = format!("Secret {}/{}", desired.namespace, desired.secret);
        let secret = retried(watch_object(secrets, &desired.secret), what).map(Event::Secret);
        let targets = self.rotator.targets.iter().enumerate().map(|(at, target)| {
            let api = Api::all_with(self.client.clone(), &target.resource);
            let what = format!("{} {}", target.resource.kind, target.name);
            retried(watch_object(api, &target.name), what).map(move |seen| Event::Target(at, seen)).boxed()
        });
        stream::select_all(targets.chain([secret.boxed()])).boxed()
    }

    fn observe(&mut self, event: Event) {
        match event {
            Event::Secret(secret) => self.secret = Some(secret),
            Event::Target(at, target) => {
                if let Some(slot) = self.targets.get_mut(at) {
                    *slot = Some(target);
                }
            }
        }
    }

    /// Makes the next change, and returns the time of the next reconcile if nothing changes.
    async fn reconcile(&mut self) -> Result<Instant, RotateError> {
        // A new bundle contains the CAs that the webhooks trust now, so the loop waits until all of them are known.
        let Some(secret) = self.secret.clone() else { return Ok(Instant::now() + RESYNC) };
        if self.targets.iter().any(Option::is_none) {
            return Ok(Instant::now() + RESYNC);
        }
        let now = Timestamp::now();
        let decision = decide(secret.as_ref(), &self.rotator.desired, now);
        let next = match &decision {
            Decision::Keep { until } => {
                let pause = Duration::try_from(until.duration_since(now)).unwrap_or_default();
                Instant::now() + pause.clamp(Duration::from_secs(1), RESYNC)
            }
            Decision::Refuse { reason } => {
                if self.last_refusal != *reason {
                    warn!("{reason}");
                    self.last_refusal.clone_from(reason);
                }
                self.report_missing(reason.clone());
                return Ok(Instant::now() + RESYNC);
            }
            Decision::NewServer { .. } | Decision::NewAuthority { .. } | Decision::DropPrevious => {
                let written = self.write(&decision, secret.as_ref(), now).await;
                if let Some(usable) = secret.as_ref().and_then(|secret| self.usable(secret, now))
                    && written.is_err()
                {
                    // The certificate is still valid, so webhooks work while the write is retried.
                    self.inject_and_serve(&usable, Instant::now()).await?;
                }
                // The next reconcile uses the new content.
                return written.map(|()| Instant::now());
            }
        };
        match secret.as_ref().and_then(|secret| Material::read(secret).ok()) {
            Some(material) => self.inject_and_serve(&material, next).await,
            None => Ok(next),
        }
    }

    /// The contents of the Secret, if clients accept them.
    fn usable(&self, secret: &Secret, now: Timestamp) -> Option<Material> {
        Material::read(secret)
            .ok()
            .filter(|material| material.check(&self.rotator.desired.dns_names, now).is_ok())
    }

    /// Injects the CA and publishes the certificate. Returns the time of the next reconcile: `next` or earlier.
    async fn inject_and_serve(&mut self, material: &Material, next: Instant) -> Result<Instant, RotateError> {
        let injected = self.inject(&material.bundle).await;
        let blocked_until = self.serve(material);
        injected.map(|()| blocked_until.map_or(next, |blocked_until| blocked_until.min(next)))
    }

    /// Writes the Secret. After a conflict, reads what another replica wrote.
    async fn write(
        &mut self,
        decision: &Decision,
        found: Option<&Secret>,
        now: Timestamp,
    ) -> Result<(), RotateError> {
        let desired = &self.rotator.desired;
        let trusted: String = self.targets.iter().flatten().flatten().map(trusted).collect();
        let Some(secret) = secret_after(decision, found, &trusted, desired, now)? else { return Ok(()) };
        let title = format!("{}/{}", desired.namespace, desired.secret);
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &desired.namespace);
        let written = match found {
            None => api.create(&PostParams::default(), &secret).await,
            Some(_) => api.replace(&desired.secret, &PostParams::default(), &secret).await,
        };
        self.secret = Some(match written {
            Ok(written) => {
                match decision {
                    Decision::NewServer { reason } => {
                        info!(secret = title, reason, "issued a server certificate");
                    }
                    Decision::NewAuthority { reason } => {
                        info!(secret = title, reason, "issued a CA and a server certificate");
                    }
                    Decision::DropPrevious => info!(secret = title, "removed the previous CAs"),
                    Decision::Keep { .. } | Decision::Refuse { .. } => {}
                }
                Some(written)
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                debug!(secret = title, "another replica wrote the Secret first");
                api.get_opt(&desired.secret).await.map_err(|error| RotateError::Read(title, error))?
            }
            Err(error) => return Err(RotateError::Secret(title, error)),
        });
        Ok(())
    }

    /// Writes the bundle to every webhook configuration without it.
    async fn inject(&mut self, bundle: &str) -> Result<(), RotateError> {
        for (target, seen) in self.rotator.targets.iter().zip(&mut self.targets) {
            let Some(Some(configuration)) = seen else { continue };
            let Some(patch) = injection(&target.resource, configuration, bundle) else { continue };
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &target.resource);
            let params = PatchParams::apply(&self.rotator.field_manager).force();
            match api.patch(&target.name, &params, &Patch::Apply(&patch)).await {
                Ok(patched) => {
                    info!(
                        kind = target.resource.kind,
                        name = target.name,
                        "set the CA bundle of the webhooks"
                    );
                    *configuration = patched;
                }
                // The configuration was deleted, or replaced by another one. The watch reports that.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => *seen = Some(None),
                Err(error) => {
                    let (kind, name) = (target.resource.kind.clone(), target.name.clone());
                    return Err(RotateError::Inject(kind, name, error));
                }
            }
        }
        Ok(())
    }

    /// Publishes the certificate to serve. Returns a time if it must wait until the API servers trust its CA.
    fn serve(&mut self, material: &Material) -> Option<Instant> {
        let authority = material.authorities().into_iter().next().unwrap_or_default();
        let present: Vec<_> = self.targets.iter().flatten().flatten().collect();
        let everywhere = present.iter().all(|configuration| trusts(configuration, &authority));
        self.trusted = match self.trusted.take() {
            Some((of, since)) if everywhere && of == authority => Some((of, since)),
            _ => everywhere.then(|| (authority, Instant::now())),
        };
        let targets = self.rotator.targets.iter().zip(&self.targets);
        let absent =
            targets.filter(|(_, seen)| !matches!(seen, Some(Some(_)))).map(|(target, _)| target).next();
        let missing = match absent {
            Some(target) => Some(format!("{} {} does not exist", target.resource.kind, target.name)),
            None if self.trusted.is_none() => Some("not every webhook trusts the CA".to_owned()),
            None => None,
        };
        let current = self.state.borrow().clone();
        let serve_after = self.trusted.as_ref().map(|(_, since)| *since + PROPAGATION);
        let names = &self.rotator.desired.dns_names;
        let still_accepted = |served: &Pair| {
            let with_served = Material { server: served.clone(), ..material.clone() };
            with_served.check(names, Timestamp::now()).is_ok()
        };
        // Serve the certificate if it is the first one, if it is served already, if the API servers had time to trust
        // it, or if they do not trust the current one.
        let now = Instant::now();
        let may_serve = current.serve.as_ref().is_none_or(|served| {
            *served == material.server || serve_after.is_some_and(|at| at <= now) || !still_accepted(served)
        });
        self.state.send_if_modified(|state| {
            let before = state.clone();
            if may_serve {
                state.serve = Some(material.server.clone());
            }
            state.missing = current.missing.as_ref().and(missing);
            *state != before
        });
        if may_serve && current.serve.as_ref() != Some(&material.server) {
            info!("serving the new certificate");
        }
        if may_serve { None } else { serve_after }
    }

    fn report_missing(&self, reason: String) {
        self.state.send_if_modified(|state| {
            let changes = state.missing.as_ref().is_some_and(|missing| *missing != reason);
            if changes {
                state.missing = Some(reason);
            }
            changes
        });
    }
}

/// A watch that retries, and logs each new error once.
fn retried<K: Send + 'static>(
    objects: impl stream::Stream<Item = kube::runtime::watcher::Result<Option<K>>> + Send + 'static,
    what: String,
) -> impl stream::Stream<Item = Option<K>> + Send {
    let mut last_error = String::new();
    objects
        .inspect_err(move |error| {
            let error = in_one_line(error);
            if error != last_error {
                warn!(what, error, "watch failed, retrying");
                last_error = error;
            }
        })
        .backoff(WatchBackoff::default())
        .filter_map(|result| async { result.ok() })
}
