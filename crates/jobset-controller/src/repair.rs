//! Repairs exclusive placement: takes a Job from the queue and its pods from the index, decides, and evicts followers
//! outside the domain of their leader. Only the leading replica repairs.
//!
//! A Job enters the queue when its leader gets a node, and when a follower with another domain appears. See
//! [`Placement::needs_repair`].

use crate::{
    act::{Eviction, EvictionRequest},
    metrics::RepairMetrics,
    observe::{ObservedPod, Placement, Source},
};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use jobset_plan::{PodGroup, PodRecord, Repair, UnknownDomain, repair};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use manager_runtime::{client::api_message, metrics::controller::Outcome, queue::WorkQueue, writer::Writer};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// The number of Jobs that are repaired at the same time.
const WORKERS: usize = 8;

/// Why a repair is incomplete.
#[derive(Debug, thiserror::Error)]
enum RepairError {
    #[error("{0}")]
    Unknown(UnknownDomain),
    #[error("cannot read leader pod {pod}: {message}")]
    Leader { pod: String, message: String },
    #[error("{failed} of {all} followers not evicted: {first}")]
    Evictions { failed: usize, all: usize, first: String },
}

/// Repairs exclusive placement.
pub(crate) struct Repairer {
    pub(crate) client: Client,
    pub(crate) writer: Writer,
    pub(crate) placement: Placement,
    pub(crate) queue: Arc<WorkQueue<Arc<PodGroup>>>,
    pub(crate) metrics: RepairMetrics,
    /// The Jobs whose last repair failed, so that a cause that persists is one warning.
    pub(crate) failing: Mutex<HashSet<Arc<PodGroup>>>,
}

impl Repairer {
    /// Processes the queue until `shutdown`, then finishes the current repairs.
    pub(crate) async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        self.metrics.workers(WORKERS);
        let queue = self.queue.clone();
        queue.run(WORKERS, shutdown, move |group| self.clone().process(group)).await;
    }

    async fn process(self: Arc<Self>, group: Arc<PodGroup>) {
        let running = self.metrics.begin();
        let result = self.repair(&group).await;
        running.end(if result.is_ok() { Outcome::Success } else { Outcome::Error });
        match result {
            Ok(()) => {
                self.queue.done(&group);
                self.failing().remove(&group);
            }
            Err(error) => {
                let after = self.queue.retry(&group);
                let is_new = self.failing().insert(group.clone());
                let PodGroup { namespace, jobset, job, .. } = &*group;
                if is_new {
                    warn!(%namespace, %jobset, ?job, %error, ?after, "exclusive placement not verified, retrying");
                } else {
                    debug!(%namespace, %jobset, ?job, %error, ?after, "exclusive placement not verified, retrying");
                }
            }
        }
    }

    fn failing(&self) -> std::sync::MutexGuard<'_, HashSet<Arc<PodGroup>>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Repairs one Job.
    async fn repair(&self, group: &PodGroup) -> Result<(), RepairError> {
        let pods: Api<ObservedPod> = Api::namespaced(self.client.clone(), &group.namespace);
        if let Repair::Evict { leader, .. } = self.decide(group)? {
            self.confirm(&pods, &leader).await?;
        }
        let Repair::Evict { leader, domain, followers } = self.decide(group)? else { return Ok(()) };
        let all = followers.len();
        let evictions = stream::iter(followers).map(|pod| self.evict(&pods, group, pod));
        let results = evictions.buffer_unordered(Writer::PER_CALLER).collect::<Vec<_>>().await;
        let mut errors = results.into_iter().filter_map(Result::err);
        let first = errors.next();
        let failed = usize::from(first.is_some()) + errors.count();
        let PodGroup { namespace, jobset, .. } = group;
        info!(
            %namespace, %jobset, leader = %leader.name, domain, pods = all - failed,
            "evicted followers outside the topology domain of their leader"
        );
        first.map_or(Ok(()), |first| Err(RepairError::Evictions { failed, all, first }))
    }

    fn decide(&self, group: &PodGroup) -> Result<Repair, RepairError> {
        let Placement { pods, nodes, .. } = &self.placement;
        match repair(group, &pods.of_group(group), |node, key| nodes.domain(node, key)) {
            Repair::Later(why) => Err(RepairError::Unknown(why)),
            decided => Ok(decided),
        }
    }

    /// Reads the leader into the index. The watch can be late: followers of a newer leader are not outside its domain.
    async fn confirm(&self, pods: &Api<ObservedPod>, leader: &PodRecord) -> Result<(), RepairError> {
        let uid = leader.uid.to_string();
        match pods.get_opt(&leader.name).await {
            Ok(Some(pod)) if pod.metadata.uid.as_deref() == Some(&uid) => {
                self.placement.pods.apply(&pod, Source::Answer);
                Ok(())
            }
            Ok(_) => {
                self.placement.pods.end(&uid);
                Ok(())
            }
            Err(error) => {
                self.metrics.request_failed();
                Err(RepairError::Leader { pod: leader.name.to_string(), message: api_message(&error) })
            }
        }
    }

    /// Evicts a pod. The error is a text.
    async fn evict(
        &self,
        pods: &Api<ObservedPod>,
        group: &PodGroup,
        pod: Arc<PodRecord>,
    ) -> Result<(), String> {
        let job = group.job.as_ref().map(ToString::to_string).unwrap_or_default();
        let writer = self.writer.for_caller(&job);
        let mut eviction = Some(Eviction::new(&pod, Timestamp::now()));
        while let Some(current) = eviction {
            let result = writer.send(|| self.send(pods, &current)).await;
            eviction = current.answered(result).map_err(|error| {
                self.metrics.request_failed();
                error.to_string()
            })?;
        }
        self.placement.pods.deletion_began(&pod.uid);
        self.metrics.evicted();
        debug!(namespace = %group.namespace, pod = %pod.name, "evicted");
        Ok(())
    }

    async fn send(&self, pods: &Api<ObservedPod>, eviction: &Eviction) -> kube::Result<()> {
        let answer = match &eviction.request {
            EvictionRequest::Mark(patch) => {
                let patch = Patch::Strategic(patch);
                Some(pods.patch_status(&eviction.pod, &PatchParams::default(), &patch).await?)
            }
            EvictionRequest::Delete { uid } => {
                let preconditions = Preconditions { uid: Some(uid.clone()), resource_version: None };
                let params = DeleteParams::background().preconditions(preconditions);
                pods.delete(&eviction.pod, &params).await?.left()
            }
        };
        if let Some(pod) = answer {
            self.placement.pods.apply(&pod, Source::Answer);
        }
        Ok(())
    }
}
