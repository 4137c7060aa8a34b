//! Agent injection: admission adds the agent of in-place restart to the pods of a JobSet that asks for it.
//!
//! ```text
//! annotation on the JobSet   child_job::create copies it to the pods    admission adds the sidecar before other containers
//! ```
//!
//! The agent is the first sidecar, so its startup probe holds the worker. If the agent or a container of the worker
//! fails, all containers of the pod restart (Kubernetes: `RestartAllContainers`, v1.35 and later).

use crate::{
    feature_gates::Gates,
    in_place_restart::restarts_in_place,
    plan::{Event, EventKind, Problem, Subject},
    pod_admission::Refusal,
};
use jobset_api::{JobSet, conditions::reasons, labels};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Name of the sidecar, and of the agent's program.
pub const AGENT: &str = "in-place-restart-agent";
const PROBE_PATH: &str = "/barrier-is-down";
/// The first port to try for the startup probe.
const PROBE_PORT: i32 = 8081;
/// With one probe each second, an agent can wait for the other pods for 68 years.
const PROBE_FAILURES: i32 = i32::MAX;
const RESTART_ALL: &str = "RestartAllContainers";

/// Whether the pods of the JobSet get the agent.
pub fn is_requested(jobset: &JobSet) -> bool {
    let annotations = jobset.metadata.annotations.as_ref();
    restarts_in_place(jobset) && annotations.is_some_and(requests)
}

fn requests(annotations: &BTreeMap<String, String>) -> bool {
    annotations.get(labels::INJECT_AGENT).is_some_and(|value| value == "true")
}

/// Whether the pod gets the agent.
fn is_requested_by(pod: &Pod, gates: &Gates) -> bool {
    let annotations = pod.metadata.annotations.as_ref();
    // Without the gate, the controller never lifts the barrier.
    gates.in_place_restart
        && annotations
            .is_some_and(|annotations| requests(annotations) && annotations.contains_key(labels::JOBSET_NAME))
}

/// Copies the request of the JobSet to its pods.
pub(crate) fn annotate(jobset: &JobSet, gates: &Gates, pod: &mut BTreeMap<String, String>) {
    if gates.in_place_restart && is_requested(jobset) {
        pod.insert(labels::INJECT_AGENT.to_owned(), "true".to_owned());
    }
}

/// The changes that add the agent to a new pod, as JSON patch operations (RFC 6902). A pod that has an agent keeps it.
pub fn inject(pod: &Pod, image: Option<&str>, gates: &Gates) -> Result<Vec<Value>, Refusal> {
    let Some(spec) = pod.spec.as_ref().filter(|_| is_requested_by(pod, gates)) else { return Ok(Vec::new()) };
    if !agents(spec).is_empty() {
        return Ok(Vec::new());
    }
    let Some(image) = image else { return Err(Refusal::Forbidden(no_image())) };
    let mut patch = vec![match &spec.init_containers {
        Some(_) => json!({"op": "add", "path": "/spec/initContainers/0", "value": sidecar(spec, image)}),
        None => json!({"op": "add", "path": "/spec/initContainers", "value": [sidecar(spec, image)]}),
    }];
    for (index, container) in spec.containers.iter().enumerate() {
        // A container with its own policy keeps it.
        if container.restart_policy.is_none() && container.restart_policy_rules.is_none() {
            let add = |field: &str, value: Value| json!({"op": "add", "path": format!("/spec/containers/{index}/{field}"), "value": value});
            patch.push(add("restartPolicy", "Never".into()));
            patch.push(add("restartPolicyRules", json!([restart_all()])));
        }
    }
    Ok(patch)
}

/// Why the controller cannot inject the agent, and the remedy.
pub(crate) fn no_image() -> String {
    format!(
        "annotation {} needs the image of the agent: set inPlaceRestart.agentImage in the controller's configuration, or \
         remove the annotation",
        labels::INJECT_AGENT
    )
}

fn sidecar(pod: &PodSpec, image: &str) -> Value {
    let port = free_port(pod);
    // A pod of the root user cannot also require another user.
    let runs_as_root = pod.security_context.as_ref().is_some_and(|context| context.run_as_user == Some(0));
    let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
    json!({
        "name": AGENT,
        "image": image,
        "command": [format!("/{AGENT}")],
        "env": [
            {"name": "JOBSET_NAME", "valueFrom": field(&format!("metadata.labels['{}']", labels::JOBSET_NAME))},
            {"name": "POD_NAME", "valueFrom": field("metadata.name")},
            {"name": "STARTUP_PROBE_PATH", "value": PROBE_PATH},
            {"name": "STARTUP_PROBE_PORT", "value": port.to_string()},
        ],
        "restartPolicy": "Always",
        "restartPolicyRules": [restart_all()],
        "startupProbe": {
            "httpGet": {"path": PROBE_PATH, "port": port},
            "periodSeconds": 1,
            "failureThreshold": PROBE_FAILURES,
        },
        "resources": {"requests": {"cpu": "1m", "memory": "10Mi"}, "limits": {"memory": "32Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": !runs_as_root,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    })
}

/// Restarts all containers of the pod after any failure. An agent that crashes forgets its attempt, so that its worker
/// must restart too.
fn restart_all() -> Value {
    json!({"action": RESTART_ALL, "exitCodes": {"operator": "NotIn", "values": [0]}})
}

/// The first port that no container of the pod declares.
fn free_port(pod: &PodSpec) -> i32 {
    let ports = containers(pod).flat_map(|(_, container)| container.ports.iter().flatten());
    let used: BTreeSet<i32> = ports.map(|port| port.container_port).collect();
    (PROBE_PORT..i32::from(u16::MAX)).find(|port| !used.contains(port)).unwrap_or(PROBE_PORT)
}

/// Checks a new pod after its changes: whether the API server kept the rule that restarts all containers. An API server
/// without the feature removes fields that it does not know.
pub fn validate(pod: &Pod, image: Option<&str>, gates: &Gates) -> Result<(), Refusal> {
    let Some(spec) = pod.spec.as_ref().filter(|_| is_requested_by(pod, gates)) else { return Ok(()) };
    let mut sidecars = spec.init_containers.iter().flatten();
    let injected = sidecars.find(|container| container.name == AGENT && container.image.as_deref() == image);
    if injected.is_none_or(|agent| {
        agent.restart_policy_rules.iter().flatten().any(|rule| rule.action == RESTART_ALL)
    }) {
        return Ok(());
    }
    Err(Refusal::Forbidden(format!(
        "the API server removed restartPolicyRules from container {AGENT}: enable the feature gates \
         ContainerRestartRules and RestartAllContainersOnContainerExits of Kubernetes 1.35 or later in the API server and \
         the kubelets, or remove annotation {} from the JobSet",
        labels::INJECT_AGENT
    )))
}

/// The agents of a pod: their fields, such as `containers[0]`.
pub(crate) fn agents(pod: &PodSpec) -> Vec<String> {
    containers(pod).filter(|(_, container)| is_agent(container)).map(|(field, _)| field).collect()
}

fn containers(pod: &PodSpec) -> impl Iterator<Item = (String, &Container)> {
    let of = |field: &'static str| move |(index, it)| (format!("{field}[{index}]"), it);
    let sidecars = pod.init_containers.iter().flatten().enumerate().map(of("initContainers"));
    sidecars.chain(pod.containers.iter().enumerate().map(of("containers")))
}

/// Whether the container runs the agent, as far as its name, its command and its image show.
fn is_agent(container: &Container) -> bool {
    let program = container.command.iter().chain(&container.args).flatten();
    let is_program = |word: &String| word.rsplit('/').next() == Some(AGENT);
    let image = container.image.as_deref().and_then(|image| image.rsplit('/').next());
    container.name == AGENT
        || program.into_iter().any(is_program)
        || image.is_some_and(|image| image.split([':', '@']).next() == Some(AGENT))
}

/// A permission that the agent needs in the namespace of its JobSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentPermission {
    /// API group.
    pub group: &'static str,
    /// Resource.
    pub resource: &'static str,
    /// Verbs.
    pub verbs: &'static [&'static str],
}

/// The permissions that the agent needs.
pub const AGENT_PERMISSIONS: [AgentPermission; 2] = [
    AgentPermission { group: "jobset.x-k8s.io", resource: "jobsets", verbs: &["list", "watch"] },
    AgentPermission { group: "", resource: "pods", verbs: &["patch"] },
];

/// The service accounts of the pods.
pub fn service_accounts(jobset: &JobSet) -> BTreeSet<&str> {
    let pods = jobset.spec.replicated_jobs.iter().map(|replicated_job| {
        let pod = replicated_job.template.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        pod.and_then(|pod| pod.service_account_name.as_deref()).filter(|name| !name.is_empty())
    });
    pods.map(|account| account.unwrap_or("default")).collect()
}

/// The problem of a service account without these permissions.
pub fn missing_permissions(jobset: &JobSet, account: &str, missing: &[AgentPermission]) -> Problem {
    let namespace = jobset.metadata.namespace.as_deref().unwrap_or("");
    let rules: Vec<_> =
        missing.iter().map(|rule| format!("{} {}", rule.verbs.join(", "), rule.resource)).collect();
    let grant = |rule: &AgentPermission| {
        let role = format!("in-place-restart-{}", rule.resource);
        let dot = if rule.group.is_empty() { "" } else { "." };
        format!(
            "kubectl -n {namespace} create role {role} --verb={} --resource={}{dot}{}; kubectl -n {namespace} create \
             rolebinding {role}-{account} --role={role} --serviceaccount={namespace}:{account}",
            rule.verbs.join(","),
            rule.resource,
            rule.group
        )
    };
    let commands: Vec<_> = missing.iter().map(grant).collect();
    Problem {
        subject: Subject::ServiceAccount(account.to_owned()),
        event: Event {
            kind: EventKind::Warning,
            reason: reasons::AGENT_PERMISSION_MISSING.to_owned(),
            note: format!(
                "service account {namespace}/{account} of the pods has no permission to {}, so the {AGENT} cannot work: \
                 {}",
                rules.join(", and to "),
                commands.join("; ")
            ),
        },
    }
}

#[cfg(test)]
#[path = "agent_injection_test.rs"]
mod tests;
