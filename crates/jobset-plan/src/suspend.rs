//! `spec.suspend`: suspends Jobs, and resumes them with the changes that Kueue made while they were suspended.

use crate::{
    depends_on,
    draft::Draft,
    elastic, execution_attempts,
    feature_gates::Gates,
    job_resume::JobResume,
    leader_first, placement,
    plan::{Action, EventKind},
    pod_resources::PodResources,
    snapshot::JobRecord,
    startup_policy,
};
use jobset_api::{
    JobSet,
    conditions::{self as types, reasons},
    jobset::ReplicatedJob,
    labels,
};
use std::collections::BTreeMap;

/// Suspends every running Job.
pub(crate) fn suspend(active: &[&JobRecord], draft: &mut Draft<'_>) {
    const MESSAGE: &str = "jobset is suspended";
    let running = active.iter().filter(|job| !job.suspended && !job.deleting);
    let suspend = |job: &&JobRecord| Action::SuspendJob { name: job.name.clone(), uid: job.uid.clone() };
    draft.actions.extend(running.map(suspend));
    draft.set_condition(EventKind::Normal, types::SUSPENDED, true, reasons::SUSPENDED_JOBS, MESSAGE);
    draft.set_condition(EventKind::Normal, types::RESTARTING, false, reasons::JOB_SET_SUSPENDED, MESSAGE);
    draft.waiting.push(MESSAGE.to_owned());
    let stopping = active.iter().filter(|job| job.suspended && job.active > 0).count();
    if stopping > 0 {
        draft.waiting.push(format!("suspended Jobs whose pods are still stopping: {stopping}"));
    }
}

/// Resumes every suspended Job, in the order of dependencies and startup policy. The JobSet is resumed when no Job
/// waits for its pods to stop.
pub(crate) fn resume(jobset: &JobSet, active: &[&JobRecord], gates: &Gates, draft: &mut Draft<'_>) {
    let mut resumed = true;
    for replicated_job in &jobset.spec.replicated_jobs {
        // child_job::create_missing adds the reason to `waiting`.
        if depends_on::is_met(jobset, replicated_job, &draft.status).is_err()
            || startup_policy::has_started(jobset, replicated_job, &draft.status)
        {
            continue;
        }
        let own = |job: &&&JobRecord| job.replicated_job.as_deref() == Some(&replicated_job.name);
        for job in active.iter().filter(own).filter(|job| job.suspended && !job.deleting) {
            if job.active > 0 {
                // The API server rejects changes to the template until the pods are gone.
                resumed = false;
                draft
                    .waiting
                    .push(format!("job {} resumes when its {} pods have stopped", job.name, job.active));
            } else {
                let attempt = execution_attempts::annotation(gates, &draft.status);
                let resume = job_resume(jobset, job, replicated_job, attempt, gates);
                draft.actions.push(Action::ResumeJob(Box::new(resume)));
            }
        }
        if startup_policy::must_wait_for(jobset, replicated_job, draft) {
            return;
        }
    }
    if resumed {
        const MESSAGE: &str = "jobset is resumed";
        draft.set_condition(EventKind::Normal, types::SUSPENDED, false, reasons::RESUME_JOBS, MESSAGE);
    }
}

fn job_resume(
    jobset: &JobSet,
    job: &JobRecord,
    replicated_job: &ReplicatedJob,
    execution_attempt: Option<(String, String)>,
    gates: &Gates,
) -> JobResume {
    let template = replicated_job.template.spec.as_ref().map(|spec| &spec.template);
    let metadata = template.and_then(|template| template.metadata.as_ref());
    let pod = template.and_then(|template| template.spec.as_ref());
    // A resume does not change the keys that identify the Job, and those of its placement.
    let placement = placement::annotations(jobset, replicated_job);
    let is_fixed = |key: &str| labels::RESERVED.contains(&key) || placement.contains_key(key);
    let without = |is_fixed: &dyn Fn(&str) -> bool, map: Option<&BTreeMap<String, String>>| {
        let entries = map.into_iter().flatten().filter(|(key, _)| !is_fixed(key));
        entries.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    // A new number of completions requires the same parallelism.
    let scaled = elastic::new_size(replicated_job, job, gates).filter(|_| !job.leader_first);
    let with_leader =
        scaled.is_none().then(|| leader_first::resumed_size(jobset, replicated_job, job, gates)).flatten();
    let (size, leader_first) = (scaled.or(with_leader), with_leader.is_some());
    JobResume {
        name: job.name.clone(),
        uid: job.uid.clone(),
        clear_start_time: job.started,
        labels: without(&is_fixed, metadata.and_then(|metadata| metadata.labels.as_ref())),
        annotations: without(&is_fixed, metadata.and_then(|metadata| metadata.annotations.as_ref())),
        node_selector: without(
            &|key| key == labels::NAMESPACED_JOB,
            pod.and_then(|pod| pod.node_selector.as_ref()),
        ),
        tolerations: pod.and_then(|pod| pod.tolerations.clone()).unwrap_or_default(),
        scheduling_gates: pod.and_then(|pod| pod.scheduling_gates.clone()).unwrap_or_default(),
        replaces_directives: gates.replace_on_resume,
        resources: pod.filter(|_| gates.mutable_pod_resources).map(PodResources::of),
        size,
        leader_first,
        job_annotations: execution_attempt.into_iter().collect(),
    }
}
