//! Validation of the annotation that asks for the agent of in-place restart.

use super::{FieldError, warnings};
use crate::{
    agent_injection::{agents, is_requested, no_image},
    feature_gates::Gates,
    in_place_restart::restarts_in_place,
};
use jobset_api::{JobSet, jobset::ReplicatedJob, labels};
use k8s_openapi::api::core::v1::PodSpec;

/// The error of a new JobSet that asks for the agent, if the controller has no image of the agent.
pub fn validate_injection(jobset: &JobSet, has_image: bool, gates: &Gates) -> Option<FieldError> {
    let fails = gates.in_place_restart && is_requested(jobset) && !has_image;
    fails.then(|| FieldError::forbidden(field(), no_image()))
}

/// Warnings about the annotation, and about pods that cannot have an injected agent.
pub fn injection_warnings(jobset: &JobSet, has_image: bool, gates: &Gates) -> Vec<String> {
    let annotations = jobset.metadata.annotations.as_ref();
    let value = annotations.and_then(|annotations| annotations.get(labels::INJECT_AGENT));
    let mut found: Vec<String> =
        value.and_then(|value| ineffective(jobset, value, has_image, gates)).into_iter().collect();
    for (index, replicated_job) in jobset.spec.replicated_jobs.iter().enumerate() {
        let path = format!("spec.replicatedJobs[{index}].template.spec.template.spec");
        found.extend(pod_of(replicated_job).and_then(|pod| of_pod(jobset, pod, &path)));
    }
    found.into_iter().map(warnings::as_header).collect()
}

fn field() -> String {
    format!("metadata.annotations[{}]", labels::INJECT_AGENT)
}

/// Why the annotation has no effect.
fn ineffective(jobset: &JobSet, value: &str, has_image: bool, gates: &Gates) -> Option<String> {
    let why = match value {
        "true" if !restarts_in_place(jobset) => {
            "has no effect without spec.failurePolicy.restartStrategy InPlaceRestart; set this strategy, or remove the \
             annotation"
                .to_owned()
        }
        "true" if !gates.in_place_restart => {
            "has no effect without feature gate InPlaceRestart of the controller; enable the gate".to_owned()
        }
        "true" if !has_image => {
            "pods are denied without inPlaceRestart.agentImage in the controller's configuration; set it".to_owned()
        }
        "true" | "false" => return None,
        _ => format!("{} has no effect; set \"true\", or remove the annotation", warnings::shown(value)),
    };
    Some(format!("{}: {why}", field()))
}

fn of_pod(jobset: &JobSet, pod: &PodSpec, path: &str) -> Option<String> {
    match &agents(pod)[..] {
        [first, second, ..] => {
            return Some(format!(
                "{path}: {first} and {second} are both in-place-restart-agents; keep one of them"
            ));
        }
        [agent] if is_requested(jobset) => {
            return Some(format!(
                "{path}.{agent}: this container is an in-place-restart-agent, so none is injected; remove the container, or \
                 the annotation of the JobSet"
            ));
        }
        _ => {}
    }
    (is_requested(jobset) && pod.automount_service_account_token == Some(false)).then(|| {
        format!(
            "{path}.automountServiceAccountToken: false: the injected agent needs the token of the service account; \
             remove the field"
        )
    })
}

fn pod_of(replicated_job: &ReplicatedJob) -> Option<&PodSpec> {
    replicated_job.template.spec.as_ref()?.template.spec.as_ref()
}
