//! The resume of a suspended child Job.

use crate::{job_size::JobSize, placement, pod_resources::PodResources};
use jobset_api::labels;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{PodSchedulingGate, PodSpec, Toleration},
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// How to resume a child Job: the fields that its pod template takes from the ReplicatedJob's template. The patch adds
/// or replaces map entries and never removes them. It adds list entries that have no equal entry. With
/// [`Self::replaces_directives`], it also removes what the ReplicatedJob's template does not contain. Of a container, it
/// contains only requests and limits: fields of newer versions of Kubernetes stay.
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
    /// Whether node selector, tolerations and scheduling gates replace those of the Job, except for what
    /// exclusive placement added.
    pub replaces_directives: bool,
    /// Requests and limits of the containers, if they can change while a JobSet is suspended.
    pub resources: Option<PodResources>,
    /// The new size of the Job, if it changes.
    pub size: Option<JobSize>,
    /// Whether it starts with its leader: the Job gets the annotation.
    pub leader_first: bool,
    /// Annotations of the Job and of its pod template that no template sets.
    pub job_annotations: BTreeMap<String, String>,
}

impl JobResume {
    /// Whether [`Self::patch`] needs the current Job.
    pub fn needs_current(&self) -> bool {
        self.replaces_directives || self.resources.is_some() || !self.tolerations.is_empty()
    }

    /// The strategic merge patch that resumes this Job. The UID in it protects a successor with the same name. With
    /// `now`, the resource version in it protects later changes.
    pub fn patch(&self, now: Option<&Job>) -> Value {
        let pod = now
            .and_then(pod_of)
            .map_or_else(|| self.pod_patch(&PodSpec::default()), |pod| self.pod_patch(pod));
        let mut patch = json!({"metadata": {"uid": self.uid}, "spec": {"suspend": false}});
        if let (Some(now), Some(metadata)) = (now, patch.get_mut("metadata")) {
            merge_into(metadata, json!({"resourceVersion": now.metadata.resource_version}));
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

    /// Whether the patch changes requests or limits of this Job.
    pub fn changes_resources(&self, now: &Job) -> bool {
        let (resources, current) = (self.resources.as_ref(), pod_of(now));
        resources.zip(current).is_some_and(|(resources, current)| !resources.patch(current).is_empty())
    }

    /// The changes of the pod. Kubernetes merges containers and scheduling gates by name, and replaces the list of
    /// tolerations. Null removes an entry of the node selector.
    fn pod_patch(&self, current: &PodSpec) -> Value {
        let current_tolerations = current.tolerations.as_deref().unwrap_or_default();
        let (mut selector, mut gates) = (Map::new(), Vec::new());
        let tolerations = if self.replaces_directives {
            let kept = placement::of_prepared_nodes(current);
            selector
                .extend(current.node_selector.iter().flatten().map(|(key, _)| (key.clone(), Value::Null)));
            selector.extend(kept.node_selector.into_iter().map(|(key, value)| (key, value.into())));
            let stale = current
                .scheduling_gates
                .iter()
                .flatten()
                .filter(|gate| !self.scheduling_gates.contains(gate));
            gates.extend(stale.map(|gate| json!({"$patch": "delete", "name": gate.name})));
            union(&self.tolerations, &kept.tolerations)
        } else {
            union(current_tolerations, &self.tolerations)
        };
        selector.extend(self.node_selector.iter().map(|(key, value)| (key.clone(), value.as_str().into())));
        gates.extend(self.scheduling_gates.iter().map(|gate| json!(gate)));
        let mut patch = self.resources.as_ref().map(|resources| resources.patch(current)).unwrap_or_default();
        patch.insert("nodeSelector".to_owned(), selector.into());
        if tolerations != current_tolerations {
            patch.insert("tolerations".to_owned(), json!(tolerations));
        }
        if !gates.is_empty() {
            patch.insert("schedulingGates".to_owned(), gates.into());
        }
        patch.into()
    }
}

fn pod_of(job: &Job) -> Option<&PodSpec> {
    job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref())
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
