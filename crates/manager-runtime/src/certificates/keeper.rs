//! The loop: watches the Secret and the webhook configurations, writes what they lack, tells what to serve.

use super::{
    Pair,
    decide::{Decision, Material, Wanted, carried_out, decide},
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

/// How long the API servers get to read a bundle before a certificate is served that needs it. They follow
/// webhook configurations by watch, within a second.
const HOLD: Duration = Duration::from_secs(10);
/// Certificates are looked at this often even if nothing changes, as clocks are set and machines sleep.
const LONGEST_PAUSE: Duration = Duration::from_hours(12);
/// Pauses after a failure: the first, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// What to keep, and who has to trust it.
#[derive(Clone, Debug)]
pub struct Keeper {
    /// The Secret.
    pub wanted: Wanted,
    /// The webhook configurations that get the bundle.
    pub targets: Vec<Target>,
    /// In whose name the bundle is applied.
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

/// What the loop has come to.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct State {
    /// What to serve.
    pub serve: Option<Pair>,
    /// What is missing before clients accept it. None once they did, and for good: a bundle that somebody
    /// overwrites is repaired, and takes nothing from the other webhooks meanwhile.
    pub missing: Option<String>,
}

#[derive(Debug, Error)]
enum KeepError {
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error("cannot write Secret {0}: {1}")]
    Secret(String, #[source] kube::Error),
    #[error("cannot read Secret {0}: {1}")]
    Read(String, #[source] kube::Error),
    #[error("cannot put the CA into {0} {1}: {2}")]
    Inject(String, String, #[source] kube::Error),
}

/// An object as the watch tells it; None until the first answer.
type Seen<K> = Option<Option<K>>;

enum Event {
    Secret(Option<Secret>),
    Target(usize, Option<DynamicObject>),
}

struct Loop {
    client: Client,
    keeper: Keeper,
    secret: Seen<Secret>,
    targets: Vec<Seen<DynamicObject>>,
    /// The CA that every webhook trusts, and since when.
    trusted: Option<(String, Instant)>,
    refused: String,
    state: watch::Sender<State>,
}

impl Keeper {
    /// Starts the loop; it ends with `shutdown`, or when nobody looks at its state any more.
    pub fn start(self, client: Client, shutdown: CancellationToken) -> watch::Receiver<State> {
        let missing = Some("the API server has not answered yet".to_owned());
        let (state, receiver) = watch::channel(State { serve: None, missing });
        let targets = vec![None; self.targets.len()];
        let run = Loop {
            client,
            keeper: self,
            secret: None,
            targets,
            trusted: None,
            refused: String::new(),
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
        let mut retry = RETRY.0;
        loop {
            tokio::select! {
                () = self.state.closed() => return,
                Some(event) = events.next() => self.see(event),
                () = sleep_until(wake) => {}
            }
            match self.pass().await {
                Ok(next) => (wake, retry) = (next, RETRY.0),
                Err(error) => {
                    let error = in_one_line(&error);
                    warn!(error, again_in = ?retry, "certificates");
                    self.miss(error);
                    (wake, retry) = (Instant::now() + retry, (retry * 2).min(RETRY.1));
                }
            }
        }
    }

    fn watch(&self) -> BoxStream<'static, Event> {
        let wanted = &self.keeper.wanted;
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &wanted.namespace);
        let what = format!("Secret {}/{}", wanted.namespace, wanted.secret);
        let secret = followed(watch_object(secrets, &wanted.secret), what).map(Event::Secret);
        let targets = self.keeper.targets.iter().enumerate().map(|(at, target)| {
            let api = Api::all_with(self.client.clone(), &target.resource);
            let what = format!("{} {}", target.resource.kind, target.name);
            followed(watch_object(api, &target.name), what).map(move |seen| Event::Target(at, seen)).boxed()
        });
        stream::select_all(targets.chain([secret.boxed()])).boxed()
    }

    fn see(&mut self, event: Event) {
        match event {
            Event::Secret(secret) => self.secret = Some(secret),
            Event::Target(at, target) => {
                if let Some(slot) = self.targets.get_mut(at) {
                    *slot = Some(target);
                }
            }
        }
    }

    /// Brings everything one step further; returns when to look again if nothing changes.
    async fn pass(&mut self) -> Result<Instant, KeepError> {
        // What is trusted now decides what a new bundle must hold, so that nothing is made before that is known.
        let Some(secret) = self.secret.clone() else { return Ok(Instant::now() + LONGEST_PAUSE) };
        if self.targets.iter().any(Option::is_none) {
            return Ok(Instant::now() + LONGEST_PAUSE);
        }
        let now = Timestamp::now();
        let decision = decide(secret.as_ref(), &self.keeper.wanted, now);
        let next = match &decision {
            Decision::Keep { until } => {
                let pause = Duration::try_from(until.duration_since(now)).unwrap_or_default();
                Instant::now() + pause.clamp(Duration::from_secs(1), LONGEST_PAUSE)
            }
            Decision::Refuse { reason } => {
                if self.refused != *reason {
                    warn!("{reason}");
                    self.refused.clone_from(reason);
                }
                self.miss(reason.clone());
                return Ok(Instant::now() + LONGEST_PAUSE);
            }
            Decision::NewServer { .. } | Decision::NewAuthority { .. } | Decision::DropPrevious => {
                let written = self.write(&decision, secret.as_ref(), now).await;
                if let Some(usable) = secret.as_ref().and_then(|secret| self.usable(secret, now))
                    && written.is_err()
                {
                    // It is valid for weeks yet, and better than nothing.
                    self.use_it(&usable, Instant::now()).await?;
                }
                // The new content is looked at at once.
                return written.map(|()| Instant::now());
            }
        };
        match secret.as_ref().and_then(|secret| Material::read(secret).ok()) {
            Some(material) => self.use_it(&material, next).await,
            None => Ok(next),
        }
    }

    /// What the Secret holds, if clients accept it.
    fn usable(&self, secret: &Secret, now: Timestamp) -> Option<Material> {
        Material::read(secret)
            .ok()
            .filter(|material| material.check(&self.keeper.wanted.dns_names, now).is_ok())
    }

    /// Injects and serves; returns when to look again, at `next` or before.
    async fn use_it(&mut self, material: &Material, next: Instant) -> Result<Instant, KeepError> {
        let injected = self.inject(&material.bundle).await;
        let held_until = self.serve(material);
        injected.map(|()| held_until.map_or(next, |held_until| held_until.min(next)))
    }

    /// Writes the Secret; whoever else was faster is read instead.
    async fn write(
        &mut self,
        decision: &Decision,
        found: Option<&Secret>,
        now: Timestamp,
    ) -> Result<(), KeepError> {
        let wanted = &self.keeper.wanted;
        let trusted: String = self.targets.iter().flatten().flatten().map(trusted).collect();
        let Some(secret) = carried_out(decision, found, &trusted, wanted, now)? else { return Ok(()) };
        let title = format!("{}/{}", wanted.namespace, wanted.secret);
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &wanted.namespace);
        let written = match found {
            None => api.create(&PostParams::default(), &secret).await,
            Some(_) => api.replace(&wanted.secret, &PostParams::default(), &secret).await,
        };
        self.secret = Some(match written {
            Ok(written) => {
                match decision {
                    Decision::NewServer { reason } => {
                        info!(secret = title, reason, "made a server certificate");
                    }
                    Decision::NewAuthority { reason } => {
                        info!(secret = title, reason, "made a CA and a server certificate");
                    }
                    Decision::DropPrevious => info!(secret = title, "dropped the previous CAs"),
                    Decision::Keep { .. } | Decision::Refuse { .. } => {}
                }
                Some(written)
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                debug!(secret = title, "another replica was faster");
                api.get_opt(&wanted.secret).await.map_err(|error| KeepError::Read(title, error))?
            }
            Err(error) => return Err(KeepError::Secret(title, error)),
        });
        Ok(())
    }

    /// Writes the bundle to where it is not.
    async fn inject(&mut self, bundle: &str) -> Result<(), KeepError> {
        for (target, seen) in self.keeper.targets.iter().zip(&mut self.targets) {
            let Some(Some(configuration)) = seen else { continue };
            let Some(patch) = injection(&target.resource, configuration, bundle) else { continue };
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &target.resource);
            let params = PatchParams::apply(&self.keeper.field_manager).force();
            match api.patch(&target.name, &params, &Patch::Apply(&patch)).await {
                Ok(patched) => {
                    info!(kind = target.resource.kind, name = target.name, "put the CA into the webhooks");
                    *configuration = patched;
                }
                // Deleted, or another one of its name: the watch tells.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => *seen = Some(None),
                Err(error) => {
                    let (kind, name) = (target.resource.kind.clone(), target.name.clone());
                    return Err(KeepError::Inject(kind, name, error));
                }
            }
        }
        Ok(())
    }

    /// Publishes what to serve. When that has to wait for the API servers, returns until when.
    fn serve(&mut self, material: &Material) -> Option<Instant> {
        let authority = material.authorities().into_iter().next().unwrap_or_default();
        let present: Vec<_> = self.targets.iter().flatten().flatten().collect();
        let everywhere = present.iter().all(|configuration| trusts(configuration, &authority));
        self.trusted = match self.trusted.take() {
            Some((of, since)) if everywhere && of == authority => Some((of, since)),
            _ => everywhere.then(|| (authority, Instant::now())),
        };
        let targets = self.keeper.targets.iter().zip(&self.targets);
        let absent =
            targets.filter(|(_, seen)| !matches!(seen, Some(Some(_)))).map(|(target, _)| target).next();
        let missing = match absent {
            Some(target) => Some(format!("there is no {} {}", target.resource.kind, target.name)),
            None if self.trusted.is_none() => Some("the CA is not in every webhook".to_owned()),
            None => None,
        };
        let current = self.state.borrow().clone();
        let trusted_at = self.trusted.as_ref().map(|(_, since)| *since + HOLD);
        let names = &self.keeper.wanted.dns_names;
        let still_accepted = |served: &Pair| {
            let with_served = Material { server: served.clone(), ..material.clone() };
            with_served.check(names, Timestamp::now()).is_ok()
        };
        // What is served already, or the first to be served, or one that everybody had time to trust, or in the
        // place of one that nobody trusts.
        let now = Instant::now();
        let may_serve = current.serve.as_ref().is_none_or(|served| {
            *served == material.server || trusted_at.is_some_and(|at| at <= now) || !still_accepted(served)
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
            info!("serving a new certificate");
        }
        if may_serve { None } else { trusted_at }
    }

    fn miss(&self, reason: String) {
        self.state.send_if_modified(|state| {
            let changes = state.missing.as_ref().is_some_and(|missing| *missing != reason);
            if changes {
                state.missing = Some(reason);
            }
            changes
        });
    }
}

/// A watch that goes on after errors, told once each.
fn followed<K: Send + 'static>(
    objects: impl stream::Stream<Item = kube::runtime::watcher::Result<Option<K>>> + Send + 'static,
    what: String,
) -> impl stream::Stream<Item = Option<K>> + Send {
    let mut told = String::new();
    objects
        .inspect_err(move |error| {
            let error = in_one_line(error);
            if error != told {
                warn!(what, error, "cannot watch");
                told = error;
            }
        })
        .backoff(WatchBackoff::default())
        .filter_map(|result| async { result.ok() })
}
