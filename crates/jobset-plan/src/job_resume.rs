//! The resume of a suspended child Job.

use crate::{job_size::JobSize, placement, pod_resources::PodResources};
use jobset_api::labels;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{PodSchedulingGate, PodSpec, Toleration},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How to resume a child Job: the fields that its pod template takes from the ReplicatedJob's template. The patch adds
/// or replaces map entries and never removes them. It adds list entries that have no equal entry. With
/// [`Self::replaces_directives`], it also removes what the ReplicatedJob's template does not contain.
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
    /// Whether [`Self::patch`] needs the current Job. A merge patch replaces lists, so it must repeat their entries.
    pub fn needs_current(&self) -> bool {
        self.replaces_directives
            || self.resources.is_some()
            || !self.tolerations.is_empty()
            || !self.scheduling_gates.is_empty()
    }

    /// The merge patch (RFC 7386) that resumes this Job. The UID in it protects a successor with the same name. With
    /// `now`, the resource version in it protects later changes.
    pub fn patch(&self, now: Option<&Job>) -> Value {
        let mut pod = json!({"nodeSelector": self.node_selector});
        let mut patch = json!({"metadata": {"uid": self.uid}, "spec": {"suspend": false}});
        if let Some(now) = now {
            let current = pod_of(now);
            let lists = match current {
                Some(current) if self.replaces_directives => self.replaced(current),
                _ => self.merged(current),
            };
            merge_into(&mut pod, lists);
            merge_into(&mut pod, self.changed_containers(current));
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

    /// Whether the patch changes requests or limits of this Job.
    pub fn changes_resources(&self, now: &Job) -> bool {
        pod_of(now).is_some_and(|current| self.with_resources(current).is_some())
    }

    /// The lists of the Job with the entries that they lack.
    fn merged(&self, current: Option<&PodSpec>) -> Value {
        let tolerations = current.and_then(|pod| pod.tolerations.as_deref()).unwrap_or_default();
        let gates = current.and_then(|pod| pod.scheduling_gates.as_deref()).unwrap_or_default();
        json!({
            "tolerations": union(tolerations, &self.tolerations),
            "schedulingGates": union(gates, &self.scheduling_gates),
        })
    }

    /// The fields that replace those of the Job. Null removes an entry.
    fn replaced(&self, current: &PodSpec) -> Value {
        let kept = placement::of_prepared_nodes(current);
        let stale = current.node_selector.iter().flatten().map(|(key, _)| (key, Value::Null));
        let own = kept.node_selector.iter().chain(&self.node_selector);
        let selector: BTreeMap<_, _> = stale.chain(own.map(|(key, value)| (key, json!(value)))).collect();
        json!({
            "nodeSelector": selector,
            "tolerations": union(&self.tolerations, &kept.tolerations),
            "schedulingGates": self.scheduling_gates,
        })
    }

    /// The containers with their new requests and limits. Empty if none of them changes.
    fn changed_containers(&self, current: Option<&PodSpec>) -> Value {
        let Some(pod) = current.and_then(|current| self.with_resources(current)) else { return json!({}) };
        let mut changed = json!({"containers": pod.containers});
        if let Some(init_containers) = pod.init_containers {
            merge_into(&mut changed, json!({"initContainers": init_containers}));
        }
        changed
    }

    /// The pod with the new requests and limits. None if it has them.
    fn with_resources(&self, current: &PodSpec) -> Option<PodSpec> {
        let mut pod = current.clone();
        self.resources.as_ref()?.set_in(&mut pod).then_some(pod)
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
