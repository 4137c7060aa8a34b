//! Exclusive placement: the part that the controller decides when it creates a Job.

use jobset_api::{JobSet, jobset::ReplicatedJob, labels};
use k8s_openapi::api::core::v1::{PodSpec, Toleration};
use std::collections::BTreeMap;

type Annotations = BTreeMap<String, String>;

/// The exclusive placement annotations of a Job and its pods. Annotations of the ReplicatedJob override those of the
/// JobSet. A strategy applies only if the same object also has a topology.
pub(crate) fn annotations(jobset: &JobSet, replicated_job: &ReplicatedJob) -> Annotations {
    let of_job = replicated_job.template.metadata.as_ref().and_then(|metadata| metadata.annotations.as_ref());
    let mut result = Annotations::new();
    for level in [jobset.metadata.annotations.as_ref(), of_job].into_iter().flatten() {
        if let Some(topology) = level.get(labels::EXCLUSIVE_TOPOLOGY) {
            result.insert(labels::EXCLUSIVE_TOPOLOGY.to_owned(), topology.clone());
            if let Some(strategy) = level.get(labels::NODE_SELECTOR_STRATEGY) {
                result.insert(labels::NODE_SELECTOR_STRATEGY.to_owned(), strategy.clone());
            }
        }
    }
    result
}

/// Whether, by these annotations of a Job, its other pods follow the pod of index 0.
pub(crate) fn follows_leader(annotations: &Annotations) -> bool {
    annotations.contains_key(labels::EXCLUSIVE_TOPOLOGY)
        && !annotations.contains_key(labels::NODE_SELECTOR_STRATEGY)
}

/// The topology keys of the pods of a JobSet that the controller places.
pub fn topology_keys(jobset: &JobSet) -> impl Iterator<Item = &str> {
    fn levels<'a>(jobset: &'a JobSet, replicated_job: &'a ReplicatedJob) -> [Option<&'a Annotations>; 3] {
        let job = &replicated_job.template;
        let pod = job.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
        [pod, job.metadata.as_ref(), Some(&jobset.metadata)]
            .map(|metadata| metadata.and_then(|metadata| metadata.annotations.as_ref()))
    }
    jobset
        .spec
        .replicated_jobs
        .iter()
        .flat_map(|replicated_job| levels(jobset, replicated_job))
        .flatten()
        .filter(|annotations| follows_leader(annotations))
        .filter_map(|annotations| annotations.get(labels::EXCLUSIVE_TOPOLOGY).map(String::as_str))
}

/// Restricts the pods of a Job to the nodes that an administrator prepared for it, if the strategy asks for it.
pub(crate) fn select_prepared_nodes(
    job_annotations: &Annotations,
    namespace: &str,
    job: &str,
    pod: &mut PodSpec,
) {
    if !job_annotations.contains_key(labels::EXCLUSIVE_TOPOLOGY)
        || !job_annotations.contains_key(labels::NODE_SELECTOR_STRATEGY)
    {
        return;
    }
    pod.node_selector
        .get_or_insert_default()
        .insert(labels::NAMESPACED_JOB.to_owned(), format!("{namespace}_{job}"));
    pod.tolerations.get_or_insert_default().push(toleration_of_prepared_nodes());
}

fn toleration_of_prepared_nodes() -> Toleration {
    Toleration {
        key: Some(labels::NO_SCHEDULE_TAINT.to_owned()),
        operator: Some("Exists".to_owned()),
        effect: Some("NoSchedule".to_owned()),
        ..Default::default()
    }
}

/// What [`select_prepared_nodes`] added to a pod.
#[derive(Default)]
pub(crate) struct PreparedNodes {
    pub(crate) node_selector: BTreeMap<String, String>,
    pub(crate) tolerations: Vec<Toleration>,
}

/// What [`select_prepared_nodes`] added to the pod of an existing Job. The annotations can have changed since.
pub(crate) fn of_prepared_nodes(pod: &PodSpec) -> PreparedNodes {
    let selector =
        pod.node_selector.as_ref().and_then(|selector| selector.get_key_value(labels::NAMESPACED_JOB));
    let Some((key, job)) = selector else { return PreparedNodes::default() };
    let own = toleration_of_prepared_nodes();
    let is_tolerated = pod.tolerations.iter().flatten().any(|toleration| *toleration == own);
    PreparedNodes {
        node_selector: BTreeMap::from([(key.clone(), job.clone())]),
        tolerations: is_tolerated.then_some(own).into_iter().collect(),
    }
}
