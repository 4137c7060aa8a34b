//! Requests about Workloads and PodGroups.

use k8s_openapi::api::scheduling::v1beta1::{PodGroup, Workload};

/// A request about a Workload or a PodGroup of the JobSet.
#[derive(Clone, Debug, PartialEq)]
pub enum SchedulingAction {
    /// Create the Workload.
    CreateWorkload(Box<Workload>),
    /// Create a PodGroup.
    CreatePodGroup(Box<PodGroup>),
    /// Change minCount in the templates of the Workload.
    ScaleWorkload {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
        /// The templates that change.
        templates: Vec<ScaledTemplate>,
    },
    /// Change minCount of a PodGroup.
    ScalePodGroup {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
        /// The new minCount.
        min_count: i32,
    },
    /// Delete a Workload.
    DeleteWorkload {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
    /// Delete a PodGroup. It exists until its pods have ended.
    DeletePodGroup {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
}

/// The new minCount of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScaledTemplate {
    /// The index in the list of templates. Kubernetes allows no change of the list.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// The new minCount.
    pub min_count: i32,
}
