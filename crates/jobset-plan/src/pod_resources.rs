//! The requests and limits of the containers of a pod, by the name of the container. A queueing system can change them
//! while a JobSet is suspended, with the feature gate `MutablePodResourcesForSuspendedJobSets`.

use crate::validation::semantic_equality::resources_are_equal;
use k8s_openapi::{
    api::core::v1::{Container, PodSpec, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
};
use serde_json::{Map, Value, json};
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
    pub(crate) fn set_in(&self, pod: &mut PodSpec) {
        set_all(&self.containers, &mut pod.containers);
        set_all(&self.init_containers, pod.init_containers.as_deref_mut().unwrap_or_default());
    }

    /// The strategic merge patch of a pod spec that sets them like [`Self::set_in`]. It contains only what changes, so
    /// that fields unknown to this program stay.
    pub(crate) fn patch(&self, pod: &PodSpec) -> Map<String, Value> {
        let init_containers = pod.init_containers.as_deref().unwrap_or_default();
        let lists = [
            ("containers", patch_all(&self.containers, &pod.containers)),
            ("initContainers", patch_all(&self.init_containers, init_containers)),
        ];
        let changed = lists.into_iter().filter(|(_, containers)| !containers.is_empty());
        changed.map(|(field, containers)| (field.to_owned(), containers.into())).collect()
    }
}

impl ContainerResources {
    fn of(container: &Container) -> Self {
        let resources = container.resources.clone().unwrap_or_default();
        Self { name: container.name.clone(), requests: resources.requests, limits: resources.limits }
    }

    /// The resources of the container with these requests and limits. None if it has them.
    fn changed(&self, container: &Container) -> Option<ResourceRequirements> {
        let before = container.resources.clone().unwrap_or_default();
        let after = ResourceRequirements {
            requests: self.requests.clone(),
            limits: self.limits.clone(),
            ..before.clone()
        };
        (!resources_are_equal(&after, &before)).then_some(after)
    }

    fn patch(&self, container: &Container) -> Option<Value> {
        self.changed(container)?;
        let before = Self::of(container);
        let maps = [
            ("requests", entries(before.requests.as_ref(), self.requests.as_ref())),
            ("limits", entries(before.limits.as_ref(), self.limits.as_ref())),
        ];
        let resources: BTreeMap<_, _> = maps.into_iter().filter(|(_, entries)| !entries.is_empty()).collect();
        Some(json!({"name": self.name, "resources": resources}))
    }
}

/// The patch of a map: its new entries, and null for those that it loses.
fn entries(
    before: Option<&BTreeMap<String, Quantity>>,
    after: Option<&BTreeMap<String, Quantity>>,
) -> BTreeMap<String, Option<Quantity>> {
    let lost = before.into_iter().flatten().map(|(name, _)| (name.clone(), None));
    lost.chain(after.into_iter().flatten().map(|(name, value)| (name.clone(), Some(value.clone())))).collect()
}

fn set_all(all: &[ContainerResources], containers: &mut [Container]) {
    let find = finder(all);
    for (index, container) in containers.iter_mut().enumerate() {
        if let Some(resources) = find(index, container).and_then(|it| it.changed(container)) {
            container.resources = Some(resources);
        }
    }
}

fn patch_all(all: &[ContainerResources], containers: &[Container]) -> Vec<Value> {
    let find = finder(all);
    let indexed = containers.iter().enumerate();
    indexed.filter_map(|(index, container)| find(index, container)?.patch(container)).collect()
}

/// Finds the requests and limits for a container. The schema makes names unique. If a name repeats anyway, the index in
/// the list decides.
fn finder<'a>(all: &'a [ContainerResources]) -> impl Fn(usize, &Container) -> Option<&'a ContainerResources> {
    let by_name: BTreeMap<&str, &ContainerResources> = all.iter().map(|it| (it.name.as_str(), it)).collect();
    move |index, container| {
        let same_index = all.get(index).filter(|it| it.name == container.name);
        same_index.or_else(|| by_name.get(container.name.as_str()).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::strategic_merge_patch::apply;

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
            let source = PodResources::of(&pod(source));
            let expected = if expected.is_empty() { target } else { expected };
            let mut result = pod(target);
            source.set_in(&mut result);
            assert_eq!(result, pod(expected), "{what}");

            let patch = source.patch(&pod(target));
            assert_eq!(patch.is_empty(), expected == target, "{what}");
            let mut patched: Value = serde_yaml::from_str(target).unwrap();
            apply(&mut patched, &patch.into());
            let patched: PodSpec = serde_json::from_value(without_empty_maps(patched)).unwrap();
            assert_eq!(patched, pod(expected), "{what}");
        }
    }

    fn without_empty_maps(mut pod: Value) -> Value {
        for list in ["containers", "initContainers"] {
            let containers = pod.get_mut(list).and_then(Value::as_array_mut);
            for resources in containers.into_iter().flatten().filter_map(|it| it.get_mut("resources")) {
                resources.as_object_mut().unwrap().retain(|_, map| *map != json!({}));
            }
        }
        pod
    }

    /// Fields of newer versions of Kubernetes.
    #[test]
    fn the_patch_keeps_unknown_fields() {
        let job = |cpu: Value| {
            json!({
                "containers": [
                    {"name": "a", "fromTheFuture": {"x": 1}, "resources": {"limits": cpu, "pools": ["p"]}},
                    {"name": "b", "fromTheFuture": 2},
                ],
                "initContainers": [{"name": "i", "fromTheFuture": 3, "resources": {"limits": cpu}}],
            })
        };
        let source = PodResources::of(&serde_json::from_value(job(json!({"cpu": "2"}))).unwrap());
        let mut now = job(json!({"cpu": "1", "gpu": "8"}));
        let patch = Value::from(source.patch(&serde_json::from_value(now.clone()).unwrap()));
        let limits = json!({"limits": {"cpu": "2", "gpu": null}});
        let expected = json!({
            "containers": [{"name": "a", "resources": limits}],
            "initContainers": [{"name": "i", "resources": limits}],
        });
        assert_eq!(patch, expected);
        apply(&mut now, &patch);
        assert_eq!(now, job(json!({"cpu": "2"})));
    }
}
