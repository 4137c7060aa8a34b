//! The operand's pods: what keeps each from running, in words, and nothing else of them.

use kube::api::DynamicObject;
use serde_json::Value;

/// What keeps a pod from running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodTrouble {
    /// A sentence, without the pod's name.
    pub message: String,
    /// Whether it will hardly go away by itself.
    pub lasting: bool,
}

/// Reasons of a waiting container that say no more than that it is about to start.
const STARTING: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// Looks at a pod.
pub(super) fn trouble(pod: &DynamicObject) -> Option<PodTrouble> {
    let status = pod.data.get("status")?;
    if pod.metadata.deletion_timestamp.is_some() || is_true(status, "Ready") {
        return None;
    }
    container_trouble(status).or_else(|| unschedulable(status))
}

fn is_true(status: &Value, condition: &str) -> bool {
    conditions(status).any(|found| found["type"] == condition && found["status"] == "True")
}

fn conditions(status: &Value) -> impl Iterator<Item = &Value> {
    status["conditions"].as_array().into_iter().flatten()
}

fn container_trouble(status: &Value) -> Option<PodTrouble> {
    let container = status["containerStatuses"].as_array()?.first()?;
    let ended = ["/state/terminated", "/lastState/terminated"]
        .into_iter()
        .find_map(|state| container.pointer(state))
        .map(describe_end);
    let waiting = container.pointer("/state/waiting").and_then(|waiting| {
        let reason = waiting["reason"].as_str().filter(|reason| !STARTING.contains(reason))?;
        let message = waiting["message"].as_str().map(|message| format!(": {}", message.trim()));
        Some(format!("{reason}{}", message.unwrap_or_default()))
    });
    let message = match (waiting, ended) {
        (Some(waiting), Some(ended)) => format!("{waiting}; {ended}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => return None,
    };
    Some(PodTrouble { message, lasting: true })
}

fn describe_end(ended: &Value) -> String {
    let reason = ended["reason"].as_str().unwrap_or("Error");
    let said = ended["message"].as_str().map(str::trim).and_then(|said| said.lines().last());
    let said = said.map_or(String::new(), |said| format!(", and its last words were: {said}"));
    format!("the container ended ({reason}, exit code {}){said}", ended["exitCode"])
}

fn unschedulable(status: &Value) -> Option<PodTrouble> {
    let condition = conditions(status)
        .find(|condition| condition["type"] == "PodScheduled" && condition["status"] == "False")?;
    let text = |field: &str| condition[field].as_str().unwrap_or_default();
    // A node may come, or be made by an autoscaler.
    Some(PodTrouble { message: format!("{}: {}", text("reason"), text("message")), lasting: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[allow(clippy::needless_pass_by_value)]
    fn told(status: Value) -> Option<PodTrouble> {
        let mut pod: DynamicObject = serde_json::from_value(json!({"metadata": {"name": "p"}})).unwrap();
        pod.data = json!({ "status": status });
        trouble(&pod)
    }

    #[test]
    fn a_pod_that_starts_or_runs_has_no_trouble() {
        for status in [
            json!({}),
            json!({"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}),
            json!({"containerStatuses": [{"state": {"running": {}}}]}),
            json!({
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"state": {"running": {}}, "lastState": {"terminated": {"exitCode": 1}}}],
            }),
        ] {
            assert_eq!(told(status.clone()), None, "{status}");
        }
    }

    #[test]
    fn a_container_that_waits_is_quoted() {
        let waiting = json!({"reason": "ImagePullBackOff", "message": "no such image"});
        let told = told(json!({"containerStatuses": [{"state": {"waiting": waiting}}]})).unwrap();
        assert_eq!(told, PodTrouble { message: "ImagePullBackOff: no such image".into(), lasting: true });
    }

    #[test]
    fn a_container_that_ends_again_and_again_is_quoted_with_its_last_words() {
        let status = |state: Value| {
            json!({"containerStatuses": [{
                "state": state,
                "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "message": "first\nno such gate\n"}},
            }]})
        };
        let ended = "the container ended (Error, exit code 1), and its last words were: no such gate";
        let backing_off = told(status(json!({"waiting": {"reason": "CrashLoopBackOff"}}))).unwrap();
        assert_eq!(backing_off.message, format!("CrashLoopBackOff: {ended}").replace(": the", "; the"));
        let running_again = told(status(json!({"running": {}}))).unwrap();
        assert_eq!(running_again.message, ended, "until it is ready it is the same trouble");
    }

    #[test]
    fn a_pod_without_a_node_is_quoted() {
        let condition = json!({
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"
        });
        let told = told(json!({"conditions": [condition]})).unwrap();
        assert_eq!(told.message, "Unschedulable: 0/3 nodes are available");
        assert!(!told.lasting);
    }
}
