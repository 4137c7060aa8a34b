//! The resume of a suspended child Job.

use crate::job_size::JobSize;
use jobset_api::labels;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{PodSchedulingGate, Toleration},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How to resume a child Job: the fields that its pod template takes from the ReplicatedJob's template. The patch adds
/// or replaces map entries and never removes them. It adds list entries that have no equal entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobResume {
    /// Name of the Job.
    pub name: String,
    /// UID of the Job. A Job with the same name and another UID is another Job.
    pub uid: String,
    /// Whether `status.startTime` must be cleared first: the API server rejects changes to the template of a started
    /// Job.
    pub clear_start_time: bool,
    /// Labels of the pod template.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the pod template.
    pub annotations: BTreeMap<String, String>,
    /// Node selector of the pods.
    pub node_selector: BTreeMap<String, String>,
    /// Tolerations of the pods.
    pub tolerations: Vec<Toleration>,
    /// Scheduling gates of the pods.
    pub scheduling_gates: Vec<PodSchedulingGate>,
    /// The new size of the Job, if it changes.
    pub size: Option<JobSize>,
    /// Whether it starts with its leader: the Job gets the annotation.
    pub leader_first: bool,
    /// Annotations of the Job and of its pod template that no template sets.
    pub job_annotations: BTreeMap<String, String>,
}

impl JobResume {
    /// Whether [`Self::patch`] needs the current Job. A merge patch replaces lists, so it must repeat their entries.
    pub fn needs_current(&self) -> bool {
        !self.tolerations.is_empty() || !self.scheduling_gates.is_empty()
    }

    /// The merge patch (RFC 7386) that resumes this Job. The UID in it protects a successor with the same name. With
    /// `now`, the resource version in it protects later changes.
    pub fn patch(&self, now: Option<&Job>) -> Value {
        let mut pod = json!({"nodeSelector": self.node_selector});
        let mut patch = json!({"metadata": {"uid": self.uid}, "spec": {"suspend": false}});
        if let Some(now) = now {
            let current = now.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
            let tolerations = current.and_then(|pod| pod.tolerations.as_deref()).unwrap_or_default();
            let gates = current.and_then(|pod| pod.scheduling_gates.as_deref()).unwrap_or_default();
            merge_into(
                &mut pod,
                json!({
                    "tolerations": union(tolerations, &self.tolerations),
                    "schedulingGates": union(gates, &self.scheduling_gates),
                }),
            );
            if let Some(metadata) = patch.get_mut("metadata") {
                merge_into(metadata, json!({"resourceVersion": now.metadata.resource_version}));
            }
        }
        let mut own = self.job_annotations.clone();
        own.extend(self.leader_first.then(|| (labels::LEADER_FIRST.to_owned(), "true".to_owned())));
        if let (false, Some(metadata)) = (own.is_empty(), patch.get_mut("metadata")) {
            merge_into(metadata, json!({"annotations": own}));
        }
        if let (Some(JobSize { parallelism, completions }), Some(spec)) = (self.size, patch.get_mut("spec")) {
            merge_into(spec, json!({"parallelism": parallelism, "completions": completions}));
        }
        let mut annotations = self.annotations.clone();
        annotations.extend(self.job_annotations.clone());
        let metadata = json!({"labels": self.labels, "annotations": annotations});
        let template = json!({"template": {"metadata": metadata, "spec": pod}});
        if let Some(spec) = patch.get_mut("spec") {
            merge_into(spec, template);
        }
        patch
    }
}

/// Adds the fields of one JSON object to another.
fn merge_into(target: &mut Value, fields: Value) {
    if let (Value::Object(target), Value::Object(fields)) = (target, fields) {
        target.extend(fields);
    }
}

/// The items of `current`, then those of `wanted` that it lacks.
fn union<T: Clone + PartialEq>(current: &[T], wanted: &[T]) -> Vec<T> {
    let mut all = current.to_vec();
    for item in wanted {
        if !all.contains(item) {
            all.push(item.clone());
        }
    }
    all
}
