//! The watches that feed the [`Index`].
//!
//! Watches of optional APIs run while their CRD is served: without the API a watch could only fail over and over.

use super::index::is_served;
use super::kinds::{Feeds, Selection, WATCHES, Watch};
use super::{Index, ObjectKey};
use crate::names;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use kube::api::{ApiResource, DynamicObject};
use kube::core::{GroupVersionKind, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use manager_runtime::client::WatchBackoff;
use manager_runtime::logging::in_one_line;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// Runs the watches.
#[derive(Clone)]
pub struct Observer {
    client: Client,
    namespace: String,
    index: Arc<Index>,
    /// Running watches that may have to end before the process does, by API or purpose.
    running: Arc<Mutex<HashMap<String, CancellationToken>>>,
    shutdown: CancellationToken,
}

/// Key in `running` of the watch on JobSets.
const JOBSETS: &str = "jobsets";

impl Observer {
    /// Starts all watches of APIs that every cluster has; the others follow their CRDs. All end with `shutdown`.
    pub fn start(client: Client, namespace: &str, index: Arc<Index>, shutdown: CancellationToken) -> Self {
        let observer =
            Self { client, namespace: namespace.to_owned(), index, running: Arc::default(), shutdown };
        for watch in WATCHES.iter().filter(|watch| watch.api.is_none()) {
            observer.spawn(watch, observer.shutdown.clone());
        }
        observer
    }

    /// Has the end of every JobSet wake the queue, or no longer. Only needed while the JobSet API waits to be
    /// deleted; at all other times JobSets are none of the operator's business.
    pub fn follow_jobsets(&self, follow: bool) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if !follow {
            if let Some(token) = running.remove(JOBSETS) {
                token.cancel();
            }
        } else if !running.contains_key(JOBSETS) {
            let token = self.shutdown.child_token();
            running.insert(JOBSETS.to_owned(), token.clone());
            tokio::spawn(wake_on_deleted_jobsets(self.client.clone(), Arc::clone(&self.index), token));
        }
    }

    fn spawn(&self, watch: &'static Watch, token: CancellationToken) {
        self.index.starting(watch);
        tokio::spawn(self.clone().follow(watch, token));
    }

    /// Starts or ends the watches of an optional API.
    fn api_is(&self, crd: &str, served: bool) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let watches = || WATCHES.iter().filter(|watch| watch.api == Some(crd));
        if served && !running.contains_key(crd) {
            info!(api = crd, "watching");
            let token = self.shutdown.child_token();
            running.insert(crd.to_owned(), token.clone());
            for watch in watches() {
                self.spawn(watch, token.clone());
            }
        } else if !served && let Some(token) = running.remove(crd) {
            info!(api = crd, "no longer served");
            token.cancel();
            for watch in watches() {
                self.index.ended(watch);
            }
        }
    }

    /// Follows one watch until `token` is cancelled. Boxed, because watches of CRDs start other watches.
    fn follow(self, watch: &'static Watch, token: CancellationToken) -> BoxFuture<'static, ()> {
        async move {
            let resource = watch.resource();
            let api: Api<DynamicObject> = if watch.namespaced {
                Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
            } else {
                Api::all_with(self.client.clone(), &resource)
            };
            let config = match watch.selection {
                Selection::OurLabel => watcher::Config::default().labels(&format!(
                    "{}={}",
                    names::MANAGED_BY_LABEL,
                    names::OPERATOR
                )),
                Selection::Labels(selector) => watcher::Config::default().labels(selector),
                Selection::Name(name) => watcher::Config::default().fields(&format!("metadata.name={name}")),
            };
            let mut events = watcher::watcher(api, config).backoff(WatchBackoff::default()).boxed();
            let mut listed = Vec::new();
            loop {
                let event = tokio::select! {
                    () = token.cancelled() => return,
                    event = events.next() => event,
                };
                match event {
                    Some(Ok(Event::Init)) => listed.clear(),
                    Some(Ok(Event::InitApply(object))) => listed.push(typed(object, &resource)),
                    Some(Ok(Event::InitDone)) => {
                        let objects = std::mem::take(&mut listed);
                        if let (Feeds::Apis, Selection::Name(name)) = (watch.feeds, watch.selection) {
                            self.api_is(name, objects.iter().any(is_served));
                        }
                        self.index.replace(watch, objects);
                    }
                    Some(Ok(Event::Apply(object))) => {
                        let object = typed(object, &resource);
                        if watch.feeds == Feeds::Apis {
                            self.api_is(&object.name_any(), is_served(&object));
                        }
                        debug!(object = %ObjectKey::of(&object), "changed");
                        self.index.apply(watch, object);
                    }
                    Some(Ok(Event::Delete(object))) => {
                        let object = typed(object, &resource);
                        if watch.feeds == Feeds::Apis {
                            self.api_is(&object.name_any(), false);
                        }
                        debug!(object = %ObjectKey::of(&object), "deleted");
                        self.index.delete(watch, &object);
                    }
                    Some(Err(error)) => {
                        let error = describe(&error);
                        warn!(watch = watch.title(), error, "watch failed; trying again");
                        self.index.failed(watch, error);
                    }
                    None => return,
                }
            }
        }
        .boxed()
    }
}

/// Objects of a list do not say what they are.
fn typed(mut object: DynamicObject, resource: &ApiResource) -> DynamicObject {
    object.types =
        Some(kube::core::TypeMeta { api_version: resource.api_version.clone(), kind: resource.kind.clone() });
    object
}

/// A watch's error in a sentence; the library's own text holds the same twice.
fn describe(error: &watcher::Error) -> String {
    use watcher::Error;
    match error {
        Error::WatchError(status)
        | Error::InitialListFailed(kube::Error::Api(status))
        | Error::WatchStartFailed(kube::Error::Api(status))
        | Error::WatchFailed(kube::Error::Api(status)) => status.message.clone(),
        other => in_one_line(other),
    }
}

async fn wake_on_deleted_jobsets(client: Client, index: Arc<Index>, token: CancellationToken) {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("jobset.x-k8s.io", "v1alpha2", "JobSet"));
    // Their metadata tells enough, and is all that is sent.
    let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client, &resource);
    let mut events =
        watcher::watcher(api, watcher::Config::default()).backoff(WatchBackoff::default()).boxed();
    loop {
        let event = tokio::select! {
            () = token.cancelled() => return,
            event = events.next() => event,
        };
        match event {
            Some(Ok(Event::Delete(_) | Event::InitDone)) => index.queue.add(()),
            Some(Ok(_)) => {}
            Some(Err(error)) => debug!(error = describe(&error), "watch on JobSets failed; trying again"),
            None => return,
        }
    }
}
