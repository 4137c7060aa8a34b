//! The watches that feed the index.

use super::{
    child_job::ChildJob,
    index::{Index, Kind},
    versioned::Source,
};
use futures::StreamExt;
use jobset_api::{JobSet, labels};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Service};
use kube::{
    Api, Client, Resource,
    core::{DeserializeGuard, PartialObjectMeta},
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use manager_runtime::queue::WorkQueue;
use std::{pin::pin, sync::Arc};
use tokio::sync::watch::{self, Receiver, Sender};
use tracing::{info, warn};

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

/// Starts to watch. JobSets that need a look go into the queue.
pub(crate) fn start(client: &Client, index: &Index, queue: &Arc<WorkQueue<String>>) -> Watched {
    let all = watcher::Config::default();
    let of_jobsets = all.clone().labels(labels::JOBSET_NAME);
    let feeder = Feeder { client: client.clone(), index: index.clone(), queue: queue.clone() };

    let (jobsets, jobsets_filled) = watch::channel(false);
    let stream = watcher::watcher(Api::<DeserializeGuard<JobSet>>::all(client.clone()), all.clone());
    tokio::spawn(feeder.clone().run(Kind::JobSets, stream, jobsets, Feeder::jobset));

    let (jobs, jobs_filled) = watch::channel(false);
    let stream = watcher::watcher(Api::<DeserializeGuard<ChildJob>>::all(client.clone()), of_jobsets.clone());
    tokio::spawn(feeder.clone().run(Kind::Jobs, stream, jobs, Feeder::job));

    let (services, services_filled) = watch::channel(false);
    let stream = watcher::watcher(Api::<PartialObjectMeta<Service>>::all(client.clone()), all);
    tokio::spawn(
        feeder
            .clone()
            .run(Kind::Services, stream, services, |feeder, change| feeder.named(Kind::Services, change)),
    );

    let (claims, claims_filled) = watch::channel(false);
    let stream =
        watcher::watcher(Api::<PartialObjectMeta<PersistentVolumeClaim>>::all(client.clone()), of_jobsets);
    tokio::spawn(
        feeder.run(Kind::Claims, stream, claims, |feeder, change| feeder.named(Kind::Claims, change)),
    );

    Watched(vec![jobsets_filled, jobs_filled, services_filled, claims_filled])
}

/// What happened to one object.
enum Change<K> {
    Seen(K),
    Gone(K),
}

#[derive(Clone)]
struct Feeder {
    client: Client,
    index: Index,
    queue: Arc<WorkQueue<String>>,
}

impl Feeder {
    async fn run<K: Resource>(
        self,
        kind: Kind,
        events: impl futures::Stream<Item = watcher::Result<Event<K>>>,
        filled: Sender<bool>,
        feed: fn(&Self, Change<K>),
    ) {
        let mut events = pin!(events.default_backoff());
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => self.index.begin_list(kind),
                Ok(Event::InitApply(object) | Event::Apply(object)) => feed(&self, Change::Seen(object)),
                Ok(Event::Delete(object)) => feed(&self, Change::Gone(object)),
                Ok(Event::InitDone) => {
                    let (look, doubtful) = self.index.finish_list(kind);
                    self.look_at(look);
                    for (namespace, name, uid) in doubtful {
                        tokio::spawn(self.clone().ask_for_job(namespace, name, uid));
                    }
                    filled.send_replace(true);
                    info!(?kind, "list complete, watching");
                }
                Err(error) => warn!(?kind, %error, "watch interrupted, trying again"),
            }
        }
    }

    fn jobset(&self, change: Change<DeserializeGuard<JobSet>>) {
        match change {
            Change::Seen(DeserializeGuard(Ok(jobset))) => {
                self.index
                    .apply_jobset(jobset, Source::Watch)
                    .into_iter()
                    .for_each(|uid| self.queue.add(uid));
            }
            Change::Seen(DeserializeGuard(Err(invalid))) => {
                let (namespace, name) = (invalid.metadata.namespace, invalid.metadata.name);
                warn!(?namespace, ?name, error = %invalid.error, "JobSet cannot be read, left alone until it changes");
            }
            Change::Gone(guard) => {
                if let Some(uid) = &guard.meta().uid {
                    self.index.end_jobset(uid);
                }
            }
        }
    }

    fn job(&self, change: Change<DeserializeGuard<ChildJob>>) {
        let owner = match change {
            Change::Seen(DeserializeGuard(Ok(job))) => self.index.apply_job(&job, Source::Watch),
            Change::Seen(DeserializeGuard(Err(invalid))) => {
                warn!(name = ?invalid.metadata.name, error = %invalid.error, "Job cannot be read");
                None
            }
            Change::Gone(guard) => guard.meta().uid.as_deref().and_then(|uid| self.index.end_job(uid)),
        };
        self.look_at(owner);
    }

    fn named<K>(&self, kind: Kind, change: Change<PartialObjectMeta<K>>) {
        match change {
            Change::Seen(object) => self.index.apply_named(kind, &object.metadata, Source::Watch),
            Change::Gone(object) => {
                let users =
                    object.metadata.uid.map(|uid| self.index.end_named(kind, &uid)).unwrap_or_default();
                self.look_at(users);
            }
        }
    }

    /// A Job that we created was not in a list: either it is younger than the list, or it is gone already.
    async fn ask_for_job(self, namespace: String, name: String, uid: String) {
        let jobs: Api<ChildJob> = Api::namespaced(self.client.clone(), &namespace);
        let exists = match jobs.get_opt(&name).await {
            Ok(found) => found.is_some_and(|job| job.meta().uid.as_deref() == Some(&uid)),
            Err(error) => {
                // The next list asks again.
                warn!(namespace, name, %error, "cannot tell whether the Job exists");
                true
            }
        };
        if !exists {
            self.look_at(self.index.end_job(&uid));
        }
    }

    fn look_at(&self, jobsets: impl IntoIterator<Item = String>) {
        for uid in jobsets {
            self.queue.add(uid);
        }
    }
}
