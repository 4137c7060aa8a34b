//! The parts of a pod that the controller reads.

use jobset_plan::{DISRUPTION_TARGET, POD_SCHEDULED, PodAttempt, PodPhase, pod_admission::controller_uid};
use k8s_openapi::{
    api::core::v1::Pod,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time},
};
use kube::Resource;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A pod without the parts that no decision needs. Decoding skips them, managed fields too.
#[derive(Clone, Debug, Default, Deserialize, Resource)]
#[resource(inherit = "Pod")]
#[serde(from = "Encoded")]
pub(crate) struct ObservedPod {
    /// Name, namespace, UID, resource version, owners, and the times of creation and deletion.
    pub(crate) metadata: ObjectMeta,
    labels: Labels,
    annotations: Annotations,
    spec: Spec,
    status: Status,
}

/// The fields as the API server encodes them.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Encoded {
    metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    owner_references: Option<Vec<OwnerReference>>,
    labels: Option<Labels>,
    annotations: Option<Annotations>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Labels {
    #[serde(rename = "jobset.sigs.k8s.io/jobset-name")]
    jobset_name: Option<String>,
    #[serde(rename = "jobset.sigs.k8s.io/jobset-uid")]
    jobset_uid: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Annotations {
    #[serde(rename = "alpha.jobset.sigs.k8s.io/exclusive-topology")]
    topology: Option<String>,
    #[serde(rename = "alpha.jobset.sigs.k8s.io/node-selector")]
    prepared_nodes: Option<String>,
    #[serde(rename = "batch.kubernetes.io/job-completion-index")]
    index: Option<String>,
    #[serde(rename = "jobset.sigs.k8s.io/in-place-restart-attempt")]
    attempt: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: Option<String>,
    node_selector: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    phase: Option<String>,
    conditions: Option<Vec<Condition>>,
    init_container_statuses: Option<Vec<Container>>,
    container_statuses: Option<Vec<Container>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    r#type: String,
    status: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    restart_count: i32,
}

impl From<Encoded> for ObservedPod {
    fn from(Encoded { metadata, spec, status }: Encoded) -> Self {
        Self {
            metadata: ObjectMeta {
                name: metadata.name,
                namespace: metadata.namespace,
                uid: metadata.uid,
                resource_version: metadata.resource_version,
                creation_timestamp: metadata.creation_timestamp,
                deletion_timestamp: metadata.deletion_timestamp,
                owner_references: metadata.owner_references,
                ..ObjectMeta::default()
            },
            labels: metadata.labels.unwrap_or_default(),
            annotations: metadata.annotations.unwrap_or_default(),
            spec,
            status,
        }
    }
}

impl ObservedPod {
    /// Label: name of the JobSet.
    pub(super) fn jobset(&self) -> &str {
        self.labels.jobset_name.as_deref().unwrap_or("")
    }

    /// Label: UID of the JobSet.
    pub(super) fn jobset_uid(&self) -> Option<&str> {
        self.labels.jobset_uid.as_deref()
    }

    /// UID of the Job that controls the pod.
    pub(super) fn job(&self) -> Option<&str> {
        controller_uid(&self.metadata)
    }

    /// The topology key, if the controller places the pod.
    pub(super) fn topology(&self) -> Option<&str> {
        let Annotations { topology, prepared_nodes, .. } = &self.annotations;
        topology.as_deref().filter(|_| prepared_nodes.is_none())
    }

    /// The node, if the pod is scheduled.
    pub(super) fn node(&self) -> Option<&str> {
        self.spec.node_name.as_deref().filter(|node| !node.is_empty())
    }

    /// The value of the node selector for the topology key.
    pub(super) fn selected(&self) -> Option<&str> {
        self.spec.node_selector.as_ref()?.get(self.topology()?).map(String::as_str)
    }

    /// When the pod was created, in seconds since 1970.
    pub(super) fn created(&self) -> u32 {
        let created = self.metadata.creation_timestamp.as_ref();
        created.and_then(|time| u32::try_from(time.0.as_second()).ok()).unwrap_or(0)
    }

    /// The completion index.
    pub(super) fn index(&self) -> Option<u32> {
        self.annotations.index.as_ref()?.parse().ok()
    }

    pub(super) fn attempt(&self) -> PodAttempt {
        PodAttempt::read(self.annotations.attempt.as_deref())
    }

    /// The first characters of the attempt, for messages about an invalid value.
    pub(super) fn attempt_text(&self) -> Box<str> {
        self.annotations.attempt.iter().flat_map(|text| text.chars()).take(40).collect()
    }

    /// The highest number of restarts of one container.
    pub(super) fn restarts(&self) -> i32 {
        let Status { init_container_statuses, container_statuses, .. } = &self.status;
        let containers = init_container_statuses.iter().chain(container_statuses).flatten();
        containers.map(|container| container.restart_count).max().unwrap_or(0)
    }

    pub(super) fn phase(&self) -> PodPhase {
        match self.status.phase.as_deref() {
            Some("Succeeded") => PodPhase::Succeeded,
            Some("Failed") => PodPhase::Failed,
            _ => PodPhase::Active,
        }
    }

    pub(super) fn deleting(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// Whether the condition `DisruptionTarget` is True.
    pub(super) fn disruption_target(&self) -> bool {
        self.has_condition(DISRUPTION_TARGET, "True")
    }

    /// Whether the condition `PodScheduled` is False.
    pub(super) fn unschedulable(&self) -> bool {
        self.has_condition(POD_SCHEDULED, "False")
    }

    fn has_condition(&self, type_: &str, status: &str) -> bool {
        let mut conditions = self.status.conditions.iter().flatten();
        conditions.any(|condition| condition.r#type == type_ && condition.status == status)
    }
}
