//! The watches that feed the indexes.

use super::{
    child_job::ChildJob,
    index::{Index, Kind},
    placement::{PlacedPod, Placement},
    service::ObservedService,
    versioned::Source,
};
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
use manager_runtime::logging::in_one_line;
use manager_runtime::{client::WatchBackoff, queue::WorkQueue};
use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::watch::{self, Receiver};
use tracing::{info, warn};

/// Label that the Job controller puts on pods of Indexed Jobs (Kubernetes: batch/v1, since 1.28).
const INDEX_LABEL: &str = "batch.kubernetes.io/job-completion-index";

/// Tells when every watch has read its first list.
pub(crate) struct Watched(Vec<Receiver<bool>>);

impl Watched {
    /// Waits until every watch has read its first list.
    pub(crate) async fn filled(mut self) {
        for list in &mut self.0 {
            // A watch ends only with the process.
            let _ = list.wait_for(|filled| *filled).await;
        }
    }
}

/// Starts to watch. JobSets that need a look go into the queue while this replica leads.
pub(crate) fn start(
    client: &Client,
    index: &Index,
    placement: &Placement,
    queue: &Arc<WorkQueue<String>>,
    leads: &Arc<AtomicBool>,
) -> Watched {
    let all = watcher::Config::default();
    let of_jobsets = all.clone().labels(labels::JOBSET_NAME);
    let leaders = all.clone().labels(&format!("{},{INDEX_LABEL}=0", labels::JOBSET_NAME));
    let feeder =
        Feeder { client: client.clone(), index: index.clone(), queue: queue.clone(), leads: leads.clone() };
    let (pods, nodes) = (placement.clone(), placement.clone());

    let jobsets = watcher(Api::<DeserializeGuard<JobSet>>::all(client.clone()), all.clone());
    // Not by label: a Job that lost its labels is a child all the same, as its owner says.
    let jobs = watcher(Api::<DeserializeGuard<ChildJob>>::all(client.clone()), all.clone());
    let services = watcher(Api::<ObservedService>::all(client.clone()), all.clone());
    let claims = watcher(Api::<PartialObjectMeta<PersistentVolumeClaim>>::all(client.clone()), of_jobsets);
    let leaders = watcher(Api::<PlacedPod>::all(client.clone()), leaders);
    let all_nodes = watcher(Api::<PartialObjectMeta<Node>>::all(client.clone()), all);
    Watched(vec![
        follow("JobSets", jobsets, feeder.clone().jobsets()),
        follow("Jobs", jobs, feeder.clone().jobs()),
        follow("Services", services, feeder.clone().services()),
        follow("claims", claims, feeder.claims()),
        follow("leader pods", leaders, move |change| match change {
            Change::ListBegins => pods.begin_pods(),
            Change::Seen(pod) => pods.apply_pod(&pod),
            Change::Gone(pod) => pod.meta().uid.iter().for_each(|uid| pods.end_pod(uid)),
            Change::ListEnds => pods.finish_pods(),
        }),
        follow("nodes", all_nodes, move |change| match change {
            Change::ListBegins => nodes.begin_nodes(),
            Change::Seen(node) => nodes.apply_node(node),
            Change::Gone(node) => node.metadata.name.iter().for_each(|name| nodes.end_node(name)),
            Change::ListEnds => nodes.finish_nodes(),
        }),
    ])
}

/// What a watch tells.
enum Change<K> {
    /// Everything that there is follows.
    ListBegins,
    Seen(K),
    Gone(K),
    /// That was everything.
    ListEnds,
}

/// Hands what a watch tells to `feed`, for ever. The answer turns true when the first list is complete.
fn follow<K: Resource + Send + 'static>(
    what: &'static str,
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
    mut feed: impl FnMut(Change<K>) + Send + 'static,
) -> Receiver<bool> {
    let (filled, is_filled) = watch::channel(false);
    tokio::spawn(async move {
        let mut events = pin!(events.backoff(WatchBackoff::default()));
        let mut told = String::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => feed(Change::ListBegins),
                Ok(Event::InitApply(object) | Event::Apply(object)) => feed(Change::Seen(object)),
                Ok(Event::Delete(object)) => feed(Change::Gone(object)),
                Ok(Event::InitDone) => {
                    feed(Change::ListEnds);
                    filled.send_replace(true);
                    told.clear();
                    info!("list of {what} complete, watching");
                }
                Err(error) => {
                    let error = in_one_line(&error);
                    if error != told {
                        warn!(error, "watch of {what} interrupted, trying again");
                        told = error;
                    }
                }
            }
        }
    });
    is_filled
}

#[derive(Clone)]
struct Feeder {
    client: Client,
    index: Index,
    queue: Arc<WorkQueue<String>>,
    leads: Arc<AtomicBool>,
}

impl Feeder {
    fn jobsets(self) -> impl FnMut(Change<DeserializeGuard<JobSet>>) {
        move |change| match change {
            Change::ListBegins => self.index.begin_list(Kind::JobSets),
            Change::ListEnds => self.finish_list(Kind::JobSets),
            Change::Seen(DeserializeGuard(Ok(jobset))) => {
                self.look_at(self.index.apply_jobset(jobset, Source::Watch));
            }
            Change::Seen(DeserializeGuard(Err(invalid))) => {
                let (namespace, name) = (invalid.metadata.namespace, invalid.metadata.name);
                invalid.metadata.uid.iter().for_each(|uid| self.index.unreadable_jobset(uid));
                warn!(?namespace, ?name, error = %invalid.error, "JobSet cannot be read, left alone until it changes");
            }
            Change::Gone(guard) => {
                if let Some(uid) = &guard.meta().uid {
                    self.index.end_jobset(uid);
                    self.look_at([uid.clone()]);
                }
            }
        }
    }

    fn jobs(self) -> impl FnMut(Change<DeserializeGuard<ChildJob>>) {
        move |change| match change {
            Change::ListBegins => self.index.begin_list(Kind::Jobs),
            Change::ListEnds => self.finish_list(Kind::Jobs),
            Change::Seen(DeserializeGuard(Ok(job))) => {
                self.look_at(self.index.apply_job(&job, Source::Watch));
            }
            Change::Seen(DeserializeGuard(Err(invalid))) => {
                invalid.metadata.uid.iter().for_each(|uid| self.index.unreadable_job(uid));
                warn!(name = ?invalid.metadata.name, error = %invalid.error, "Job cannot be read");
            }
            Change::Gone(guard) => {
                self.look_at(guard.meta().uid.as_deref().and_then(|uid| self.index.end_job(uid)));
            }
        }
    }

    fn services(self) -> impl FnMut(Change<ObservedService>) {
        move |change| match change {
            Change::ListBegins => self.index.begin_list(Kind::Services),
            Change::ListEnds => self.finish_list(Kind::Services),
            Change::Seen(service) => {
                let changed = self.index.apply_service(&service.metadata, service.record(), Source::Watch);
                // A cluster has many Services: only the leader searches for the JobSets that use one.
                if let Some(key) = changed.filter(|_| self.leads.load(Ordering::SeqCst)) {
                    self.look_at(self.index.users_of(Kind::Services, &key));
                }
            }
            Change::Gone(service) => self.end_named(Kind::Services, service.metadata.uid.as_deref()),
        }
    }

    fn claims(self) -> impl FnMut(Change<PartialObjectMeta<PersistentVolumeClaim>>) {
        move |change| match change {
            Change::ListBegins => self.index.begin_list(Kind::Claims),
            Change::ListEnds => self.finish_list(Kind::Claims),
            Change::Seen(claim) => self.index.apply_claim(&claim.metadata, Source::Watch),
            Change::Gone(claim) => self.end_named(Kind::Claims, claim.metadata.uid.as_deref()),
        }
    }

    fn end_named(&self, kind: Kind, uid: Option<&str>) {
        self.look_at(uid.map(|uid| self.index.end_named(kind, uid)).unwrap_or_default());
    }

    fn finish_list(&self, kind: Kind) {
        let (look, doubtful) = self.index.finish_list(kind);
        self.look_at(look);
        for (namespace, name, uid) in doubtful {
            tokio::spawn(self.clone().ask_for_job(namespace, name, uid));
        }
    }

    /// A Job that we created was not in a list: either it is younger than the list, or it is gone already. Asks until
    /// it is told: no watch may ever tell of a Job whose whole life lies before its list.
    async fn ask_for_job(self, namespace: String, name: String, uid: String) {
        let jobs: Api<ChildJob> = Api::namespaced(self.client.clone(), &namespace);
        let mut delays = WatchBackoff::default();
        let found = loop {
            match jobs.get_opt(&name).await {
                Ok(found) => break found,
                Err(error) => {
                    let after = delays.next().unwrap_or_default();
                    warn!(
                        namespace,
                        name,
                        error = in_one_line(&error),
                        ?after,
                        "cannot tell whether the Job exists, asking again"
                    );
                    tokio::time::sleep(after).await;
                }
            }
        };
        if found.is_none_or(|job| job.meta().uid.as_deref() != Some(&uid)) {
            self.look_at(self.index.end_job(&uid));
        }
    }

    fn look_at(&self, jobsets: impl IntoIterator<Item = String>) {
        // Nobody takes from the queue of a standby. Whoever becomes the leader looks at everything.
        if !self.leads.load(Ordering::SeqCst) {
            return;
        }
        for uid in jobsets {
            self.queue.add(uid);
        }
    }
}
