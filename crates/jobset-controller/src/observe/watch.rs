//! The watches that feed the index and the placement.

use super::{
    child_job::ChildJob,
    index::{Index, Kind, UnconfirmedJob},
    placement::{PlacedPod, Placement},
    service::ObservedService,
    versioned::Source,
};
use crate::requeue::Requeue;
use futures::{Stream, StreamExt};
use jobset_api::{JobSet, labels};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim};
use kube::{
    Api, Client, Resource,
    core::{DeserializeGuard, PartialObjectMeta},
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use manager_runtime::{client::WatchBackoff, logging::in_one_line};
use std::{pin::pin, sync::Arc};
use tokio::sync::watch::{self, Receiver};
use tracing::{info, warn};

/// Label that the Job controller puts on pods of Indexed Jobs (Kubernetes: batch/v1, since 1.28).
const INDEX_LABEL: &str = "batch.kubernetes.io/job-completion-index";

/// The state of the first lists.
pub(crate) struct Watched(Vec<Receiver<bool>>);

impl Watched {
    /// Waits until every watch has read its first list.
    pub(crate) async fn filled(mut self) {
        for list in &mut self.0 {
            // A watch ends only at the end of the process.
            let _ = list.wait_for(|filled| *filled).await;
        }
    }
}

/// Starts the watches. Each event requeues the JobSets that it concerns. `verify` receives the Jobs that a list does
/// not contain and that may exist.
pub(crate) fn start(
    client: &Client,
    index: &Index,
    placement: &Placement,
    requeue: &Requeue,
    verify: impl Fn(UnconfirmedJob) + Send + Sync + 'static,
) -> Watched {
    let all = watcher::Config::default();
    let of_jobsets = all.clone().labels(labels::JOBSET_NAME);
    let leaders = all.clone().labels(&format!("{},{INDEX_LABEL}=0", labels::JOBSET_NAME));
    let feeder = Feeder { index: index.clone(), requeue: requeue.clone(), verify: Arc::new(verify) };
    let (pods, nodes) = (placement.clone(), placement.clone());

    let jobsets = watcher(Api::<DeserializeGuard<JobSet>>::all(client.clone()), all.clone());
    // No label selector: a Job without labels is a child too if a JobSet owns it.
    let jobs = watcher(Api::<DeserializeGuard<ChildJob>>::all(client.clone()), all.clone());
    let services = watcher(Api::<ObservedService>::all(client.clone()), all.clone());
    let claims = watcher(Api::<PartialObjectMeta<PersistentVolumeClaim>>::all(client.clone()), of_jobsets);
    let leaders = watcher(Api::<PlacedPod>::all(client.clone()), leaders);
    let all_nodes = watcher(Api::<PartialObjectMeta<Node>>::all(client.clone()), all);
    Watched(vec![
        run_watch("JobSets", jobsets, feeder.clone().jobsets()),
        run_watch("Jobs", jobs, feeder.clone().jobs()),
        run_watch("Services", services, feeder.clone().services()),
        run_watch("claims", claims, feeder.claims()),
        run_watch("leader pods", leaders, move |change| match change {
            Change::ListBegins => pods.begin_pods(),
            Change::Applied(pod) => pods.apply_pod(&pod),
            Change::Deleted(pod) => pod.meta().uid.iter().for_each(|uid| pods.end_pod(uid)),
            Change::ListEnds => pods.finish_pods(),
        }),
        run_watch("nodes", all_nodes, move |change| match change {
            Change::ListBegins => nodes.begin_nodes(),
            Change::Applied(node) => nodes.apply_node(node),
            Change::Deleted(node) => node.metadata.name.iter().for_each(|name| nodes.end_node(name)),
            Change::ListEnds => nodes.finish_nodes(),
        }),
    ])
}

/// A change that a watch delivers.
enum Change<K> {
    /// A list of all objects begins.
    ListBegins,
    Applied(K),
    Deleted(K),
    /// The list is complete.
    ListEnds,
}

/// Passes the changes of a watch to `feed` until the process ends. The receiver becomes true when the first list is
/// complete.
fn run_watch<K: Resource + Send + 'static>(
    what: &'static str,
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
    mut feed: impl FnMut(Change<K>) + Send + 'static,
) -> Receiver<bool> {
    let (filled, is_filled) = watch::channel(false);
    tokio::spawn(async move {
        let mut events = pin!(events.backoff(WatchBackoff::default()));
        let mut logged = String::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => feed(Change::ListBegins),
                Ok(Event::InitApply(object) | Event::Apply(object)) => feed(Change::Applied(object)),
                Ok(Event::Delete(object)) => feed(Change::Deleted(object)),
                Ok(Event::InitDone) => {
                    feed(Change::ListEnds);
                    filled.send_replace(true);
                    logged.clear();
                    info!("list of {what} complete, watching");
                }
                Err(error) => {
                    let error = in_one_line(&error);
                    if error != logged {
                        warn!(error, "watch of {what} interrupted, retrying");
                        logged = error;
                    }
                }
            }
        }
    });
    is_filled
}

#[derive(Clone)]
struct Feeder {
    index: Index,
    requeue: Requeue,
    verify: Arc<dyn Fn(UnconfirmedJob) + Send + Sync>,
}

impl Feeder {
    fn jobsets(self) -> impl FnMut(Change<DeserializeGuard<JobSet>>) {
        move |change| match change {
            Change::ListBegins => self.index.begin_list(Kind::JobSets),
            Change::ListEnds => self.finish_list(Kind::JobSets),
            Change::Applied(DeserializeGuard(Ok(jobset))) => {
                self.requeue.add(self.index.apply_jobset(jobset, Source::Watch));
            }
            Change::Applied(DeserializeGuard(Err(invalid))) => {
                let (namespace, name) = (invalid.metadata.namespace, invalid.metadata.name);
                invalid.metadata.uid.iter().for_each(|uid| self.index.unreadable_jobset(uid));
                let error = invalid.error;
                warn!(?namespace, ?name, %error, "cannot decode the JobSet, ignoring it until it changes");
            }
            Change::Deleted(guard) => {
                if let Some(uid) = &guard.meta().uid {
                    self.index.end_jobset(uid);
                    self.requeue.add([uid.clone()]);
                }
            }
        }
    }

    fn jobs(self) -> impl FnMut(Change<DeserializeGuard<ChildJob>>) {
        move |change| match change {
            Change::ListBegins => self.index.begin_list(Kind::Jobs),
            Change::ListEnds => self.finish_list(Kind::Jobs),
            Change::Applied(DeserializeGuard(Ok(job))) => {
                self.requeue.add(self.index.apply_job(&job, Source::Watch));
            }
            Change::Applied(DeserializeGuard(Err(invalid))) => {
                invalid.metadata.uid.iter().for_each(|uid| self.index.unreadable_job(uid));
                let (name, error) = (invalid.metadata.name, invalid.error);
                warn!(?name, %error, "cannot decode the Job, keeping its last record");
            }
            Change::Deleted(guard) => {
                self.requeue.add(guard.meta().uid.as_deref().and_then(|uid| self.index.end_job(uid)));
            }
        }
    }

    fn services(self) -> impl FnMut(Change<ObservedService>) {
        move |change| match change {
            Change::ListBegins => self.index.begin_list(Kind::Services),
            Change::ListEnds => self.finish_list(Kind::Services),
            Change::Applied(service) => {
                let changed = self.index.apply_service(&service, Source::Watch);
                // A cluster has many Services, so only the leader searches for the JobSets that use one.
                if let Some(key) = changed.filter(|_| self.requeue.leads()) {
                    self.requeue.add(self.index.users_of(Kind::Services, &key));
                }
            }
            Change::Deleted(service) => self.end_named(Kind::Services, service.metadata.uid.as_deref()),
        }
    }

    fn claims(self) -> impl FnMut(Change<PartialObjectMeta<PersistentVolumeClaim>>) {
        move |change| match change {
            Change::ListBegins => self.index.begin_list(Kind::Claims),
            Change::ListEnds => self.finish_list(Kind::Claims),
            Change::Applied(claim) => self.index.apply_claim(&claim.metadata, Source::Watch),
            Change::Deleted(claim) => self.end_named(Kind::Claims, claim.metadata.uid.as_deref()),
        }
    }

    fn end_named(&self, kind: Kind, uid: Option<&str>) {
        self.requeue.add(uid.map(|uid| self.index.end_named(kind, uid)).unwrap_or_default());
    }

    fn finish_list(&self, kind: Kind) {
        let (requeue, unconfirmed) = self.index.finish_list(kind);
        self.requeue.add(requeue);
        for job in unconfirmed {
            (self.verify)(job);
        }
    }
}
