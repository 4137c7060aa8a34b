//! The requests and limits of the containers of a pod, by the name of the container. A queueing system can change them
//! while a JobSet is suspended, with the feature gate `MutablePodResourcesForSuspendedJobSets`.

use crate::validation::semantic_equality::resources_are_equal;
use k8s_openapi::{
    api::core::v1::{Container, PodSpec},
    apimachinery::pkg::api::resource::Quantity,
};
use std::collections::BTreeMap;

/// The requests and limits of the containers of a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodResources {
    containers: Vec<ContainerResources>,
    init_containers: Vec<ContainerResources>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct ContainerResources {
    name: String,
    requests: Option<BTreeMap<String, Quantity>>,
    limits: Option<BTreeMap<String, Quantity>>,
}

impl PodResources {
    /// The requests and limits of this pod.
    pub fn of(pod: &PodSpec) -> Self {
        Self {
            containers: pod.containers.iter().map(ContainerResources::of).collect(),
            init_containers: pod.init_containers.iter().flatten().map(ContainerResources::of).collect(),
        }
    }

    /// Sets them in the containers with the same names. Resource claims stay, and so do containers with other names.
    /// Returns whether a value changed.
    pub(crate) fn set_in(&self, pod: &mut PodSpec) -> bool {
        let containers = set_all(&self.containers, &mut pod.containers);
        let init_containers = pod.init_containers.as_mut();
        containers | init_containers.is_some_and(|list| set_all(&self.init_containers, list))
    }
}

impl ContainerResources {
    fn of(container: &Container) -> Self {
        let resources = container.resources.clone().unwrap_or_default();
        Self { name: container.name.clone(), requests: resources.requests, limits: resources.limits }
    }

    fn set_in(&self, container: &mut Container) -> bool {
        let before = container.resources.as_ref();
        let mut resources = before.cloned().unwrap_or_default();
        (resources.requests, resources.limits) = (self.requests.clone(), self.limits.clone());
        let changed = !resources_are_equal(&resources, &before.cloned().unwrap_or_default());
        if changed {
            container.resources = Some(resources);
        }
        changed
    }
}

fn set_all(all: &[ContainerResources], containers: &mut [Container]) -> bool {
    let by_name: BTreeMap<&str, &ContainerResources> = all.iter().map(|it| (it.name.as_str(), it)).collect();
    let mut changed = false;
    for (index, container) in containers.iter_mut().enumerate() {
        // The schema makes names unique. If a name repeats anyway, the index in the list decides.
        let same_index = all.get(index).filter(|it| it.name == container.name);
        let resources = same_index.or_else(|| by_name.get(container.name.as_str()).copied());
        changed |= resources.is_some_and(|resources| resources.set_in(container));
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(yaml: &str) -> PodSpec {
        serde_yaml::from_str(yaml).unwrap()
    }

    /// Rows: the containers of the target, those of the source, and the result. An empty result is no change.
    #[test]
    fn requests_and_limits_are_set_by_name() {
        for (what, target, source, expected) in [
            (
                "another value",
                "{containers: [{name: a, resources: {requests: {cpu: 1}, limits: {cpu: 2}}}]}",
                "{containers: [{name: a, resources: {requests: {cpu: 3}, limits: {cpu: 2}}}]}",
                "{containers: [{name: a, resources: {requests: {cpu: 3}, limits: {cpu: 2}}}]}",
            ),
            (
                "removed and added",
                "{containers: [{name: a, resources: {requests: {cpu: 1, gpu: 1}}}]}",
                "{containers: [{name: a, resources: {limits: {cpu: 1}}}]}",
                "{containers: [{name: a, resources: {limits: {cpu: 1}}}]}",
            ),
            (
                "all removed",
                "{containers: [{name: a, resources: {requests: {cpu: 1}}}]}",
                "{containers: [{name: a}]}",
                "{containers: [{name: a, resources: {}}]}",
            ),
            (
                "another order, and another container",
                "{containers: [{name: a}, {name: b}, {name: c}]}",
                "{containers: [{name: b, resources: {limits: {cpu: 2}}}, {name: a, resources: {limits: {cpu: 1}}}]}",
                "{containers: [{name: a, resources: {limits: {cpu: 1}}}, {name: b, resources: {limits: {cpu: 2}}}, {name: c}]}",
            ),
            (
                "init containers",
                "{containers: [{name: a}], initContainers: [{name: i}]}",
                "{containers: [{name: a}], initContainers: [{name: i, resources: {requests: {cpu: 1}}}]}",
                "{containers: [{name: a}], initContainers: [{name: i, resources: {requests: {cpu: 1}}}]}",
            ),
            (
                "other fields stay",
                "{containers: [{name: a, image: old, resources: {claims: [{name: gpu}]}}]}",
                "{containers: [{name: a, image: new, resources: {limits: {cpu: 1}, claims: [{name: x}]}}]}",
                "{containers: [{name: a, image: old, resources: {limits: {cpu: 1}, claims: [{name: gpu}]}}]}",
            ),
            (
                "a name among the other kind of containers",
                "{containers: [{name: a}], initContainers: [{name: i}]}",
                "{containers: [{name: i, resources: {limits: {cpu: 1}}}], initContainers: [{name: a, resources: {limits: {cpu: 1}}}]}",
                "",
            ),
            (
                "the same values",
                "{containers: [{name: a, resources: {requests: {cpu: 1}}}, {name: b, resources: {}}]}",
                "{containers: [{name: a, resources: {requests: {cpu: 1000m}}}, {name: b}]}",
                "",
            ),
            (
                "repeated names",
                "{containers: [{name: a, resources: {limits: {cpu: 1}}}, {name: a, resources: {limits: {cpu: 2}}}]}",
                "{containers: [{name: a, resources: {limits: {cpu: 1}}}, {name: a, resources: {limits: {cpu: 2}}}]}",
                "",
            ),
        ] {
            let mut result = pod(target);
            let changed = PodResources::of(&pod(source)).set_in(&mut result);
            assert_eq!(changed, !expected.is_empty(), "{what}");
            let expected = if expected.is_empty() { target } else { expected };
            assert_eq!(result, pod(expected), "{what}");
        }
    }
}
