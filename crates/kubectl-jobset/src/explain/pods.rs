//! Why pods do not run.

use super::count;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use std::collections::BTreeMap;

/// Sentences for pods that wait, most pods first. Pods that wait for the same reason have one sentence.
pub(super) fn reasons<'a>(pods: impl Iterator<Item = &'a Pod>) -> Vec<String> {
    let mut groups: BTreeMap<Wait, i64> = BTreeMap::new();
    for wait in pods.filter_map(wait_of) {
        *groups.entry(wait).or_default() += 1;
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    groups.into_iter().map(|(wait, pods)| wait.sentence(pods)).collect()
}

/// What a pod waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wait {
    /// Scheduling gates, by name.
    Gates(String),
    /// A node. The scheduler's words, if it tried.
    Node(Option<String>),
    /// An image, and the kubelet's words.
    Image(String, String),
    /// A container that crashes.
    Crash(String),
    /// A configuration that does not exist, in the kubelet's words.
    Configuration(String),
    /// The kubelet.
    Start,
    /// Readiness.
    Readiness,
}

impl Wait {
    /// In a word, for tables.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Gates(_) => "SchedulingGated",
            Self::Node(_) => "Pending",
            Self::Image(..) => "ImagePullBackOff",
            Self::Crash(_) => "CrashLoopBackOff",
            Self::Configuration(_) => "CreateContainerConfigError",
            Self::Start => "ContainerCreating",
            Self::Readiness => "NotReady",
        }
    }

    fn sentence(&self, pods: i64) -> String {
        let number = count(pods, "pod");
        let one = pods == 1;
        let verb = |singular: &'static str, plural: &'static str| if one { singular } else { plural };
        match self {
            Self::Gates(names) => {
                format!("{number} {} until the scheduling gates {names} are removed.", verb("waits", "wait"))
            }
            Self::Node(None) => format!("{number} {} for the scheduler.", verb("waits", "wait")),
            Self::Node(Some(message)) => format!("{number} {} for a node: {message}", verb("waits", "wait")),
            Self::Image(image, message) => {
                format!("{number} {} no image {image}: {message}", verb("gets", "get"))
            }
            Self::Crash(container) => format!(
                "Container {container} of {number} crashes, and the kubelet waits before it starts the container again."
            ),
            Self::Configuration(message) => format!("{number} cannot start: {message}"),
            Self::Start => {
                format!("{number} {} on {}.", verb("starts", "start"), verb("its node", "their nodes"))
            }
            Self::Readiness => {
                format!("{number} {} and {} not ready.", verb("runs", "run"), verb("is", "are"))
            }
        }
    }
}

fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    let mut conditions = pod.status.iter().filter_map(|status| status.conditions.as_ref()).flatten();
    conditions.find(|condition| condition.type_ == type_)
}

/// Whether a pod is ready.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

/// The statuses of its containers, those of initialization first.
pub(crate) fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.iter();
    status.flat_map(|status| {
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten())
    })
}

/// What a pod waits for, if it does.
pub(crate) fn wait_of(pod: &Pod) -> Option<Wait> {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    if ["Succeeded", "Failed"].contains(&phase) || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let gates = pod.spec.iter().filter_map(|spec| spec.scheduling_gates.as_ref()).flatten();
    let gates: Vec<_> = gates.map(|gate| gate.name.as_str()).collect();
    if !gates.is_empty() {
        return Some(Wait::Gates(gates.join(", ")));
    }
    let has_node = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    if !has_node {
        let refused = condition(pod, "PodScheduled").filter(|condition| condition.status == "False");
        return Some(Wait::Node(refused.and_then(|condition| condition.message.clone())));
    }
    let waiting = containers(pod).find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let message = || waiting.message.clone().unwrap_or_default();
        match waiting.reason.as_deref()? {
            "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
                Some(Wait::Image(container.image.clone(), message()))
            }
            "CrashLoopBackOff" => Some(Wait::Crash(container.name.clone())),
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
                Some(Wait::Configuration(message()))
            }
            _ => None,
        }
    });
    if waiting.is_some() {
        return waiting;
    }
    if phase == "Pending" {
        return Some(Wait::Start);
    }
    (!is_ready(pod)).then_some(Wait::Readiness)
}
