//! The watches that update the [`Index`].
//!
//! A watch of an optional API runs while the API server serves its CRD. Without the API, the watch would always fail.

use super::kinds::{IndexPart, Selection, WATCHES, Watch};
use super::served_apis::is_served;
use super::{Index, ObjectKey, WatchError};
use crate::names;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use kube::api::{ApiResource, DynamicObject};
use kube::core::{GroupVersionKind, PartialObjectMeta, Status};
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
    /// Tokens of the watches that can end before the process, by API or purpose.
    running: Arc<Mutex<HashMap<String, CancellationToken>>>,
    shutdown: CancellationToken,
}

/// Key of the watch on JobSets in `running`.
const JOBSETS: &str = "jobsets";

impl Observer {
    /// Starts the watches of APIs that every cluster has. The others start with their CRDs. All end with `shutdown`.
    pub fn start(client: Client, namespace: &str, index: Arc<Index>, shutdown: CancellationToken) -> Self {
        let observer =
            Self { client, namespace: namespace.to_owned(), index, running: Arc::default(), shutdown };
        for watch in WATCHES.iter().filter(|watch| watch.api.is_none()) {
            observer.spawn(watch, observer.shutdown.clone());
        }
        observer
    }

    /// Starts or stops the watch on JobSets, which requeues after each deletion. The operator needs it only while the
    /// deletion of the JobSet CRD is pending.
    pub fn watch_jobsets(&self, active: bool) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if !active {
            if let Some(token) = running.remove(JOBSETS) {
                token.cancel();
            }
        } else if !running.contains_key(JOBSETS) {
            let token = self.shutdown.child_token();
            running.insert(JOBSETS.to_owned(), token.clone());
            tokio::spawn(requeue_after_jobset_deletions(self.client.clone(), Arc::clone(&self.index), token));
        }
    }

    fn spawn(&self, watch: &'static Watch, token: CancellationToken) {
        self.index.starting(watch);
        tokio::spawn(self.clone().run(watch, token));
    }

    /// Starts or stops the watches of an optional API, whose CRD changed or does not exist.
    fn set_api_served(&self, crd: &str, object: Option<&DynamicObject>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let served = object.is_some_and(|object| is_served(object, running.contains_key(crd)));
        let watches = || WATCHES.iter().filter(|watch| watch.api == Some(crd));
        if served && !running.contains_key(crd) {
            info!(api = crd, "API served, starting its watches");
            let token = self.shutdown.child_token();
            running.insert(crd.to_owned(), token.clone());
            for watch in watches() {
                self.spawn(watch, token.clone());
            }
        } else if !served && let Some(token) = running.remove(crd) {
            info!(api = crd, "API no longer served, stopping its watches");
            token.cancel();
            for watch in watches() {
                self.index.ended(watch);
            }
        }
    }

    /// Runs one watch until `token` is cancelled. Boxed, because watches of CRDs start other watches.
    fn run(self, watch: &'static Watch, token: CancellationToken) -> BoxFuture<'static, ()> {
        async move {
            let resource = watch.resource();
            let api: Api<DynamicObject> = if watch.namespaced {
                let namespace = watch.namespace.unwrap_or(&self.namespace);
                Api::namespaced_with(self.client.clone(), namespace, &resource)
            } else {
                Api::all_with(self.client.clone(), &resource)
            };
            let config = match watch.selection {
                Selection::Installation => watcher::Config::default().labels(names::INSTALLATION_SELECTOR),
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
                        if let (IndexPart::Apis, Selection::Name(name)) = (watch.part, watch.selection) {
                            self.set_api_served(name, objects.first());
                        }
                        self.index.replace(watch, objects);
                    }
                    Some(Ok(Event::Apply(object))) => {
                        let object = typed(object, &resource);
                        if watch.part == IndexPart::Apis {
                            self.set_api_served(&object.name_any(), Some(&object));
                        }
                        debug!(object = %ObjectKey::of(&object), "changed");
                        self.index.apply(watch, object);
                    }
                    Some(Ok(Event::Delete(object))) => {
                        let object = typed(object, &resource);
                        if watch.part == IndexPart::Apis {
                            self.set_api_served(&object.name_any(), None);
                        }
                        debug!(object = %ObjectKey::of(&object), "deleted");
                        self.index.delete(watch, &object);
                    }
                    Some(Err(error)) => {
                        let forbidden = status(&error).is_some_and(|status| status.code == 403);
                        let error = WatchError { message: describe(&error), forbidden };
                        warn!(watch = watch.title(), error = error.message, "watch failed, retrying");
                        self.index.failed(watch, error);
                    }
                    None => return,
                }
            }
        }
        .boxed()
    }
}

/// Sets the kind, which list items do not have.
fn typed(mut object: DynamicObject, resource: &ApiResource) -> DynamicObject {
    object.types =
        Some(kube::core::TypeMeta { api_version: resource.api_version.clone(), kind: resource.kind.clone() });
    object
}

/// The API server's response, if it rejected the watch.
fn status(error: &watcher::Error) -> Option<&Status> {
    use watcher::Error;
    match error {
        Error::WatchError(status)
        | Error::InitialListFailed(kube::Error::Api(status))
        | Error::WatchStartFailed(kube::Error::Api(status))
        | Error::WatchFailed(kube::Error::Api(status)) => Some(status),
        _ => None,
    }
}

/// The message of a watch error. The library's own text contains the message twice.
fn describe(error: &watcher::Error) -> String {
    status(error).map_or_else(|| in_one_line(error), |status| status.message.clone())
}

async fn requeue_after_jobset_deletions(client: Client, index: Arc<Index>, token: CancellationToken) {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("jobset.x-k8s.io", "v1alpha2", "JobSet"));
    // The metadata is sufficient.
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
            Some(Err(error)) => debug!(error = describe(&error), "watch on JobSets failed, retrying"),
            None => return,
        }
    }
}
