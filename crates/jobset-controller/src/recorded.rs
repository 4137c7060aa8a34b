//! The plan for objects that another program read, such as the plugin for kubectl: what the controller does with these
//! objects, and why it waits.

use crate::observe::{
    ChildJob, Index, ObservedPod, ObservedService, Placement, PlanInputs, SchedulingKind, Source,
};
use jiff::Timestamp;
use jobset_api::JobSet;
use jobset_plan::{Gates, Plan, topology_keys};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Node, PersistentVolumeClaim, Pod, Service},
    scheduling::v1beta1::{PodGroup, Workload},
};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeSet;

/// A JobSet and the objects that its plan depends on, with UID and resource version. Objects of other JobSets do not
/// matter.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// The JobSet.
    pub jobset: JobSet,
    /// The Jobs of its namespace.
    pub jobs: Vec<Job>,
    /// Its pods.
    pub pods: Vec<Pod>,
    /// The Services of its namespace.
    pub services: Vec<Service>,
    /// The claims of its namespace.
    pub claims: Vec<PersistentVolumeClaim>,
    /// All nodes, if it has exclusive placement.
    pub nodes: Vec<Node>,
    /// What is known about its Workloads and PodGroups.
    pub scheduling: RecordedScheduling,
}

/// What is known about Workloads and PodGroups.
#[derive(Clone, Debug, Default)]
pub enum RecordedScheduling {
    /// Nothing.
    #[default]
    Unknown,
    /// The API server does not serve them.
    NotServed,
    /// Those of the namespace.
    Served(Vec<Workload>, Vec<PodGroup>),
}

impl Recorded {
    /// The plan of the controller at the time `now`.
    ///
    /// # Errors
    /// When an object has a form that the controller cannot read.
    pub fn plan(&self, now: Timestamp, gates: &Gates) -> serde_json::Result<Plan> {
        let Self { jobset, .. } = self;
        let uid = jobset.metadata.uid.as_deref().unwrap_or_default();
        let index = self.index()?;
        let placement = self.placement()?;
        let Some(observed) = index.observe(uid) else {
            // Without UID or resource version, the index does not take it.
            return Ok(Plan::default());
        };
        let inputs = PlanInputs::of(uid, &observed, &placement);
        Ok(jobset_plan::plan(&inputs.snapshot(None), now, gates))
    }

    fn index(&self) -> serde_json::Result<Index> {
        let index = Index::default();
        index.apply_jobset(&self.jobset, Source::Watch);
        for job in &self.jobs {
            index.apply_job(&converted::<ChildJob>(job)?, Source::Watch);
        }
        for service in &self.services {
            index.apply_service(&converted::<ObservedService>(service)?, Source::Watch);
        }
        for claim in &self.claims {
            index.apply_claim(&claim.metadata, Source::Watch);
        }
        match &self.scheduling {
            RecordedScheduling::Unknown => {}
            RecordedScheduling::NotServed => {
                index.scheduling(|objects| objects.set_served(false));
            }
            RecordedScheduling::Served(workloads, pod_groups) => index.scheduling(|objects| {
                objects.set_served(true);
                objects.begin_list(SchedulingKind::Workloads);
                for workload in workloads {
                    objects.apply_workload(workload.clone(), Source::Watch);
                }
                objects.finish_list(SchedulingKind::Workloads);
                objects.begin_list(SchedulingKind::PodGroups);
                for pod_group in pod_groups {
                    objects.apply_pod_group(pod_group.clone(), Source::Watch);
                }
                objects.finish_list(SchedulingKind::PodGroups);
            }),
        }
        Ok(index)
    }

    fn placement(&self) -> serde_json::Result<Placement> {
        let placement = Placement::default();
        placement.pods.keep_all();
        placement.pods.begin_list();
        for pod in &self.pods {
            placement.pods.apply(&converted::<ObservedPod>(pod)?, Source::Watch);
        }
        placement.pods.finish_list();
        let keys: BTreeSet<_> = topology_keys(&self.jobset).map(str::to_owned).collect();
        placement.nodes.begin_list(&keys);
        for node in &self.nodes {
            placement.nodes.apply(converted(node)?);
        }
        placement.nodes.finish_list();
        Ok(placement)
    }
}

/// The parts of an object that the controller reads.
fn converted<T: DeserializeOwned>(object: &impl Serialize) -> serde_json::Result<T> {
    serde_json::from_value(serde_json::to_value(object)?)
}
