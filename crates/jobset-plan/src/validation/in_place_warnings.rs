//! Warnings about JobSets that the API accepts and that cannot restart in place.

use crate::{agent_injection::is_requested, in_place_restart::restarts_in_place};
use jobset_api::{
    JobSet,
    jobset::{DependsOnStatus, ReplicatedJob, StartupPolicyOrder},
};
use k8s_openapi::api::core::v1::{Container, PodSpec};

/// A container restarts only if its pod or the container itself has a restart policy that allows it.
pub(super) fn of_template(jobset: &JobSet, replicated_job: &ReplicatedJob, path: &str) -> Option<String> {
    let pod = pod_of(replicated_job).filter(|_| restarts_in_place(jobset))?;
    if is_requested(jobset) {
        return None;
    }
    let may_restart = |container: &Container| {
        container.restart_policy.as_deref().is_some_and(|policy| policy != "Never")
            || container.restart_policy_rules.as_ref().is_some_and(|rules| !rules.is_empty())
    };
    if pod.restart_policy.as_deref() != Some("Never") || containers(pod).any(may_restart) {
        return None;
    }
    Some(format!(
        "{path}.template.spec.template.spec.restartPolicy: with Never the pods of a JobSet with restartStrategy \
         InPlaceRestart are created again instead of restarted; set it to OnFailure, or add a sidecar with the agent"
    ))
}

/// The agents wait until every pod of the JobSet exists. Pods that wait for the end of other pods would never exist.
pub(super) fn of_order(jobset: &JobSet) -> Option<String> {
    let spec = Some(&jobset.spec).filter(|_| restarts_in_place(jobset))?;
    let is_ready_after_barrier = |replicated_job| is_ready_after_barrier(jobset, replicated_job);
    let waits_for_end = spec.replicated_jobs.iter().enumerate().find_map(|(index, replicated_job)| {
        let mut dependencies = replicated_job.depends_on.iter().flatten();
        let which = dependencies.position(|dependency| {
            let waits_for_ready = dependency.status == DependsOnStatus::Ready;
            let before = spec.replicated_jobs.iter().find(|rj| rj.name == dependency.name);
            dependency.status == DependsOnStatus::Complete
                || (waits_for_ready && before.is_some_and(is_ready_after_barrier))
        })?;
        Some(format!("spec.replicatedJobs[{index}].dependsOn[{which}]"))
    });
    let in_order = || {
        let policy = spec.startup_policy.as_ref()?;
        let is_blocked = policy.startup_policy_order == StartupPolicyOrder::InOrder
            && spec
                .replicated_jobs
                .split_last()
                .is_some_and(|(_, all)| all.iter().any(is_ready_after_barrier));
        is_blocked.then(|| "spec.startupPolicy.startupPolicyOrder".to_owned())
    };
    let field = waits_for_end.or_else(in_order)?;
    Some(format!(
        "{field}: with restartStrategy InPlaceRestart the pods wait until all pods of the JobSet exist, so these pods \
         never start; remove it, or use restartStrategy Recreate"
    ))
}

/// Whether a sidecar keeps the pods unready until all pods exist.
fn is_ready_after_barrier(jobset: &JobSet, replicated_job: &ReplicatedJob) -> bool {
    let sidecars = pod_of(replicated_job).into_iter().flat_map(|pod| pod.init_containers.iter().flatten());
    let mut sidecars = sidecars.into_iter();
    is_requested(jobset)
        || sidecars.any(|container| {
            container.restart_policy.as_deref() == Some("Always") && container.startup_probe.is_some()
        })
}

fn pod_of(replicated_job: &ReplicatedJob) -> Option<&PodSpec> {
    replicated_job.template.spec.as_ref()?.template.spec.as_ref()
}

fn containers(pod: &PodSpec) -> impl Iterator<Item = &Container> {
    pod.containers.iter().chain(pod.init_containers.iter().flatten())
}
