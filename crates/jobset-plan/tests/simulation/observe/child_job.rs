//! A Job in the form that the controller's index stores. The controller decodes it from JSON. The simulation converts
//! its own [`Job`].

use crate::job::Job;
use jobset_plan::JobRecord;
use k8s_openapi::{api::batch::v1 as batch, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::Deserialize;
use std::sync::Arc;

/// A Job of the simulation.
// Only the tests of the index decode it, and they read only the metadata.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ChildJob {
    pub(crate) metadata: ObjectMeta,
    #[serde(skip)]
    job: Option<Arc<Job>>,
}

impl ChildJob {
    pub(crate) fn new(job: &Arc<Job>) -> Self {
        Self { metadata: job.metadata(), job: Some(job.clone()) }
    }

    /// The UID of the JobSet that controls this Job.
    pub(crate) fn owner(&self) -> Option<&str> {
        self.metadata.owner_references.iter().flatten().next().map(|owner| owner.uid.as_str())
    }

    /// Whether the Job is deleted without a user's action. In the simulation, every owner is a JobSet.
    pub(crate) fn will_be_deleted(&self, successor: &str) -> bool {
        self.job.as_ref().is_some_and(|job| job.deleting)
            || self
                .metadata
                .owner_references
                .iter()
                .flatten()
                .next()
                .is_some_and(|owner| owner.name == successor)
    }

    /// The fields that decisions read.
    pub(crate) fn record(&self) -> JobRecord {
        let Some(job) = &self.job else {
            return JobRecord {
                name: self.metadata.name.clone().unwrap_or_default(),
                uid: self.metadata.uid.clone().unwrap_or_default(),
                ..Job::sent(&batch::Job::default()).record()
            };
        };
        job.record()
    }
}
