//! Watches Workloads and PodGroups while the API server serves them and a JobSet needs them.
//!
//! ```text
//! a JobSet has spec.scheduling ──► discovery ──► served ──► watches
//!                                   ▲  every minute            │
//!                                   └──────── not found ◄──────┘
//! ```

use super::{
    decoded::Decoded,
    delivery::{Change, run_watch_on_demand},
    index::Index,
    scheduling::{SchedulingKind, SchedulingObjects},
    versioned::Source,
};
use crate::requeue::Requeue;
use futures::TryStreamExt;
use k8s_openapi::{
    Resource as _,
    api::scheduling::v1beta1::{PodGroup, Workload},
    apimachinery::pkg::apis::meta::v1::APIResourceList,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::Status,
    runtime::watcher::{self, Error as WatchError, watcher},
};
use manager_runtime::{client::WatchBackoff, logging::in_one_line};
use serde::de::DeserializeOwned;
use std::{fmt::Debug, sync::Arc, time::Duration};
use tokio::{
    sync::{
        Notify,
        watch::{self, Receiver},
    },
    time::sleep,
};
use tracing::{info, warn};

/// The time between two discoveries. An administrator who enables the API restarts the API server, so users wait anyway.
const BETWEEN_DISCOVERIES: Duration = Duration::from_mins(1);
/// The shortest time between two discoveries.
const SHORTEST: Duration = Duration::from_secs(1);

/// Starts discovery and the watches. They wait until `needed` becomes true. No readiness depends on them: a plan waits
/// for the lists.
pub(super) fn start(client: &Client, index: &Index, requeue: &Requeue, needed: Receiver<bool>) {
    let (served, is_served) = watch::channel(false);
    let not_found = Arc::new(Notify::new());
    let kinds = Kinds { index: index.clone(), requeue: requeue.clone() };
    let workloads =
        kinds.clone().feed(SchedulingKind::Workloads, |objects: &mut SchedulingObjects, workload, source| {
            objects.apply_workload(workload, source)
        });
    run::<Workload>("Workloads", client, is_served.clone(), &kinds, &not_found, workloads);
    let pod_groups = kinds.clone().feed(SchedulingKind::PodGroups, |objects, pod_group, source| {
        objects.apply_pod_group(pod_group, source)
    });
    run::<PodGroup>("PodGroups", client, is_served, &kinds, &not_found, pod_groups);
    let client = client.clone();
    tokio::spawn(async move { discover(&client, &kinds, needed, &served, &not_found).await });
}

fn run<K>(
    what: &'static str,
    client: &Client,
    is_served: Receiver<bool>,
    kinds: &Kinds,
    not_found: &Arc<Notify>,
    feed: impl FnMut(Change<Decoded<K>>) + Send + 'static,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let (api, kinds, not_found) = (Api::<Decoded<K>>::all(client.clone()), kinds.clone(), not_found.clone());
    let events = move || {
        let (kinds, not_found) = (kinds.clone(), not_found.clone());
        // No label selector: an object without labels belongs to a JobSet too if the JobSet controls it. The index
        // keeps no others.
        watcher(api.clone(), watcher::Config::default()).inspect_err(move |error| match refusal(error) {
            Some(status) if status.is_not_found() => not_found.notify_one(),
            Some(status) if status.is_forbidden() => kinds.forbidden(&status.message),
            _ => {}
        })
    };
    run_watch_on_demand(what, is_served, |served| *served, events, feed);
}

/// Asks the API server whether it serves both kinds, again and again.
async fn discover(
    client: &Client,
    kinds: &Kinds,
    mut needed: Receiver<bool>,
    served: &watch::Sender<bool>,
    not_found: &Notify,
) {
    if needed.wait_for(|needed| *needed).await.is_err() {
        return;
    }
    let mut delays = WatchBackoff::default();
    let mut logged = String::new();
    loop {
        let discovered = match client.list_api_group_resources(Workload::API_VERSION).await {
            Ok(resources) => Ok(serves_both(&resources)),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
            Err(error) => Err(error),
        };
        let wait = match discovered {
            Ok(is_served) => {
                logged.clear();
                delays = WatchBackoff::default();
                kinds.discovered(is_served, served);
                BETWEEN_DISCOVERIES
            }
            Err(error) => {
                let error = in_one_line(&error);
                if error != logged {
                    warn!(
                        error,
                        "cannot discover whether the API server serves {}, retrying",
                        Workload::API_VERSION
                    );
                    logged = error;
                }
                delays.next().unwrap_or(SHORTEST)
            }
        };
        let again = async {
            not_found.notified().await;
            sleep(SHORTEST).await;
        };
        tokio::select! {
            () = sleep(wait) => {}
            () = again => {}
        }
    }
}

/// Whether the resources of the API version contain both kinds.
fn serves_both(resources: &APIResourceList) -> bool {
    [Workload::KIND, PodGroup::KIND]
        .iter()
        .all(|kind| resources.resources.iter().any(|resource| resource.kind == *kind))
}

/// Why the API server refused a list or a watch.
fn refusal(error: &WatchError) -> Option<&Status> {
    match error {
        WatchError::InitialListFailed(kube::Error::Api(status))
        | WatchError::WatchStartFailed(kube::Error::Api(status))
        | WatchError::WatchError(status) => Some(status),
        _ => None,
    }
}

#[derive(Clone)]
struct Kinds {
    index: Index,
    requeue: Requeue,
}

impl Kinds {
    /// Stores the result of a discovery, and starts or stops the watches.
    fn discovered(&self, is_served: bool, served: &watch::Sender<bool>) {
        if !self.index.scheduling(|objects| objects.set_served(is_served)) {
            return;
        }
        let version = Workload::API_VERSION;
        if is_served {
            info!("the API server serves {version}");
        } else {
            warn!("the API server does not serve {version}, which JobSets with spec.scheduling need");
        }
        served.send_replace(is_served);
        self.requeue.add(self.index.jobsets_with_scheduling());
    }

    /// Stores that the API server forbids a list.
    fn forbidden(&self, message: &str) {
        if self.index.scheduling(|objects| objects.set_forbidden(message.to_owned())) {
            self.requeue.add(self.index.jobsets_with_scheduling());
        }
    }

    /// Stores the changes of a kind, and requeues the JobSets that they concern.
    fn feed<K: Resource<DynamicType = ()>>(
        self,
        kind: SchedulingKind,
        apply: impl Fn(&mut SchedulingObjects, K, Source) -> Option<String>,
    ) -> impl FnMut(Change<Decoded<K>>) {
        let Self { index, requeue } = self;
        move |change| match change {
            Change::ListBegins => index.scheduling(|objects| objects.begin_list(kind)),
            Change::ListEnds => {
                let (concerned, complete) = index.scheduling(|objects| objects.finish_list(kind));
                requeue.add(concerned);
                if complete {
                    requeue.add(index.jobsets_with_scheduling());
                }
            }
            Change::Applied(Decoded(Ok(object))) => {
                requeue.add(index.scheduling(|objects| apply(objects, object, Source::Watch)));
            }
            Change::Applied(Decoded(Err(invalid))) => {
                invalid
                    .metadata
                    .uid
                    .iter()
                    .for_each(|uid| index.scheduling(|objects| objects.unreadable(kind, uid)));
                let (namespace, name, error) =
                    (invalid.metadata.namespace, invalid.metadata.name, invalid.error);
                warn!(?namespace, ?name, %error, "cannot decode the {kind}, keeping its last record");
            }
            Change::Deleted(guard) => {
                requeue.add(guard.uid().and_then(|uid| index.scheduling(|objects| objects.end(kind, &uid))));
            }
        }
    }
}

#[cfg(test)]
#[path = "scheduling_watch_test.rs"]
mod tests;
