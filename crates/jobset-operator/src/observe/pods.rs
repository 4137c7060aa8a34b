//! The operand's pods: why a pod does not run.

use k8s_openapi::jiff::Timestamp;
use kube::api::DynamicObject;
use serde_json::Value;

/// Why a pod does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodTrouble {
    /// The message, without the pod's name.
    pub message: String,
    /// Whether the problem probably needs a change by a user, if it persists.
    pub lasting: bool,
    /// Since when the pod is not ready, if known.
    pub since: Option<Timestamp>,
}

/// Reasons of a waiting container that starts normally.
const STARTING: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// The problem of a pod, or None if it is ready, terminating, or starting normally.
pub(super) fn trouble(pod: &DynamicObject) -> Option<PodTrouble> {
    let status = pod.data.get("status")?;
    if pod.metadata.deletion_timestamp.is_some() || is_true(status, "Ready") {
        return None;
    }
    container_trouble(status).or_else(|| unschedulable(status))
}

/// Since when the pod is not ready. The kubelet sets the condition when the pod starts.
fn since(status: &Value) -> Option<Timestamp> {
    let ready = conditions(status).find(|found| found["type"] == "Ready")?;
    ready["lastTransitionTime"].as_str()?.parse().ok()
}

fn is_true(status: &Value, condition: &str) -> bool {
    conditions(status).any(|found| found["type"] == condition && found["status"] == "True")
}

fn conditions(status: &Value) -> impl Iterator<Item = &Value> {
    status["conditions"].as_array().into_iter().flatten()
}

fn container_trouble(status: &Value) -> Option<PodTrouble> {
    let container = status["containerStatuses"].as_array()?.first()?;
    let terminated = ["/state/terminated", "/lastState/terminated"]
        .into_iter()
        .find_map(|state| container.pointer(state))
        .map(describe_termination);
    let waiting = container.pointer("/state/waiting").and_then(|waiting| {
        let reason = waiting["reason"].as_str().filter(|reason| !STARTING.contains(reason))?;
        let message = waiting["message"].as_str().map(|message| format!(": {}", message.trim()));
        Some(format!("{reason}{}", message.unwrap_or_default()))
    });
    let message = match (waiting, terminated) {
        (Some(waiting), Some(terminated)) => format!("{waiting}; {terminated}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => return None,
    };
    Some(PodTrouble { message, lasting: true, since: since(status) })
}

fn describe_termination(terminated: &Value) -> String {
    let reason = terminated["reason"].as_str().unwrap_or("Error");
    let last_line = terminated["message"].as_str().map(str::trim).and_then(|message| message.lines().last());
    let message = last_line.map_or(String::new(), |line| format!(" with message: {line}"));
    format!("the container terminated ({reason}, exit code {}){message}", terminated["exitCode"])
}

fn unschedulable(status: &Value) -> Option<PodTrouble> {
    let condition = conditions(status)
        .find(|condition| condition["type"] == "PodScheduled" && condition["status"] == "False")?;
    let text = |field: &str| condition[field].as_str().unwrap_or_default();
    // A node may become available, for example from an autoscaler.
    let message = format!("{}: {}", text("reason"), text("message"));
    Some(PodTrouble { message, lasting: false, since: since(status) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[allow(clippy::needless_pass_by_value)]
    fn trouble_of(status: Value) -> Option<PodTrouble> {
        let mut pod: DynamicObject = serde_json::from_value(json!({"metadata": {"name": "p"}})).unwrap();
        pod.data = json!({ "status": status });
        trouble(&pod)
    }

    #[test]
    fn a_starting_or_running_pod_has_no_problem() {
        for status in [
            json!({}),
            json!({"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}),
            json!({"containerStatuses": [{"state": {"running": {}}}]}),
            json!({
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"state": {"running": {}}, "lastState": {"terminated": {"exitCode": 1}}}],
            }),
        ] {
            assert_eq!(trouble_of(status.clone()), None, "{status}");
        }
    }

    #[test]
    fn the_message_of_a_waiting_container_is_reported() {
        let waiting = json!({"reason": "ImagePullBackOff", "message": "no such image"});
        let ready = json!({"type": "Ready", "status": "False", "lastTransitionTime": "2030-01-01T00:00:00Z"});
        let status = json!({"conditions": [ready], "containerStatuses": [{"state": {"waiting": waiting}}]});
        let message = "ImagePullBackOff: no such image".into();
        let since = Some("2030-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(trouble_of(status).unwrap(), PodTrouble { message, lasting: true, since });
    }

    #[test]
    fn the_termination_message_of_a_crashing_container_is_reported() {
        let status = |state: Value| {
            json!({"containerStatuses": [{
                "state": state,
                "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "message": "first\nno such gate\n"}},
            }]})
        };
        let terminated = "the container terminated (Error, exit code 1) with message: no such gate";
        let backing_off = trouble_of(status(json!({"waiting": {"reason": "CrashLoopBackOff"}}))).unwrap();
        assert_eq!(backing_off.message, format!("CrashLoopBackOff: {terminated}").replace(": the", "; the"));
        let running_again = trouble_of(status(json!({"running": {}}))).unwrap();
        assert_eq!(running_again.message, terminated, "the problem persists until the pod is ready");
    }

    #[test]
    fn the_message_of_an_unschedulable_pod_is_reported() {
        let condition = json!({
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"
        });
        let trouble = trouble_of(json!({"conditions": [condition]})).unwrap();
        assert_eq!(trouble.message, "Unschedulable: 0/3 nodes are available");
        assert!(!trouble.lasting);
    }
}
