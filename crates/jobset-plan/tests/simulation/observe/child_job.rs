//! The Job as the controller's index takes it in. The controller decodes it from JSON; here it comes as it is.

use crate::job::Job;
use jobset_plan::JobRecord;
use k8s_openapi::{api::batch::v1 as batch, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::Deserialize;
use std::sync::Arc;

/// See the module.
// Decoded only by the index's own tests, which read nothing but metadata.
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

    /// UID of the JobSet that controls this Job.
    pub(crate) fn owner(&self) -> Option<&str> {
        self.metadata.owner_references.iter().flatten().next().map(|owner| owner.uid.as_str())
    }

    /// Whether no user has to delete it; the simulation has no other owners than JobSets.
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

    /// What decisions need to know of it.
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
