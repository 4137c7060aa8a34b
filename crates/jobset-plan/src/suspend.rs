//! `spec.suspend`: holding Jobs back, and letting them go with what Kueue changed meanwhile.

use crate::{
    Gates, depends_on,
    elastic::{self, JobSize},
    placement,
    plan::{Action, Draft, EventKind},
    snapshot::JobRecord,
    startup_policy,
};
use jobset_api::{
    JobSet,
    conditions::{self as types, reasons},
    jobset::ReplicatedJob,
    labels,
};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{PodSchedulingGate, Toleration},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How to resume a child Job: what its pod template takes over from the ReplicatedJob's. Map entries are added
/// or replaced, never removed; list entries are added where no equal one exists.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobResume {
    /// Name of the Job.
    pub name: String,
    /// UID of the Job: a Job of the same name and another UID is another Job.
    pub uid: String,
    /// Whether `status.startTime` must be cleared first: the server keeps the template of a started Job.
    pub clear_start_time: bool,
    /// Labels of the pod template.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the pod template.
    pub annotations: BTreeMap<String, String>,
    /// Node selector of the pods.
    pub node_selector: BTreeMap<String, String>,
    /// Tolerations of the pods.
    pub tolerations: Vec<Toleration>,
    /// Scheduling gates of the pods.
    pub scheduling_gates: Vec<PodSchedulingGate>,
    /// How many pods the Job runs from now on, if not as many as before.
    pub size: Option<JobSize>,
}

impl JobResume {
    /// Whether [`Self::patch`] needs to see the Job: what is added to a list must keep what the list holds.
    pub fn needs_current(&self) -> bool {
        !self.tolerations.is_empty() || !self.scheduling_gates.is_empty()
    }

    /// The merge patch that resumes the Job (RFC 7386), and no other Job of its name: the API server refuses another
    /// UID. Where it looked at `now`, it holds only for that state.
    pub fn patch(&self, now: Option<&Job>) -> Value {
        let mut pod = json!({"nodeSelector": self.node_selector});
        let mut patch = json!({"metadata": {"uid": self.uid}, "spec": {"suspend": false}});
        if let Some(now) = now {
            let current = now.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
            let tolerations = current.and_then(|pod| pod.tolerations.as_deref()).unwrap_or_default();
            let gates = current.and_then(|pod| pod.scheduling_gates.as_deref()).unwrap_or_default();
            merge_into(
                &mut pod,
                json!({
                    "tolerations": union(tolerations, &self.tolerations),
                    "schedulingGates": union(gates, &self.scheduling_gates),
                }),
            );
            if let Some(metadata) = patch.get_mut("metadata") {
                merge_into(metadata, json!({"resourceVersion": now.metadata.resource_version}));
            }
        }
        if let (Some(JobSize { parallelism, completions }), Some(spec)) = (self.size, patch.get_mut("spec")) {
            merge_into(spec, json!({"parallelism": parallelism, "completions": completions}));
        }
        let metadata = json!({"labels": self.labels, "annotations": self.annotations});
        let template = json!({"template": {"metadata": metadata, "spec": pod}});
        if let Some(spec) = patch.get_mut("spec") {
            merge_into(spec, template);
        }
        patch
    }
}

/// Adds the fields of one JSON object to another.
fn merge_into(target: &mut Value, fields: Value) {
    if let (Value::Object(target), Value::Object(fields)) = (target, fields) {
        target.extend(fields);
    }
}

/// What `current` holds, then what of `wanted` it lacks.
fn union<T: Clone + PartialEq>(current: &[T], wanted: &[T]) -> Vec<T> {
    let mut all = current.to_vec();
    for item in wanted {
        if !all.contains(item) {
            all.push(item.clone());
        }
    }
    all
}

/// Suspends every Job that runs.
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
        draft.waiting.push(format!("suspended jobs whose pods are still stopping: {stopping}"));
    }
}

/// Resumes every Job that is suspended, in the order that dependencies and start-up policy ask for. The JobSet
/// is called resumed when none of them has to wait for its pods to stop.
pub(crate) fn resume(jobset: &JobSet, active: &[&JobRecord], gates: &Gates, draft: &mut Draft<'_>) {
    let mut resumed = true;
    for replicated_job in &jobset.spec.replicated_jobs {
        // Why these wait was said where Jobs are created.
        if depends_on::is_met(jobset, replicated_job, &draft.status).is_err()
            || startup_policy::has_started(jobset, replicated_job, &draft.status)
        {
            continue;
        }
        let own = |job: &&&JobRecord| job.replicated_job.as_deref() == Some(&replicated_job.name);
        for job in active.iter().filter(own).filter(|job| job.suspended && !job.deleting) {
            if job.active > 0 {
                // The server takes no change of the template before the pods are gone.
                resumed = false;
                draft
                    .waiting
                    .push(format!("job {} resumes when its {} pods have stopped", job.name, job.active));
            } else {
                let resume = of_job(jobset, job, replicated_job, gates);
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

fn of_job(jobset: &JobSet, job: &JobRecord, replicated_job: &ReplicatedJob, gates: &Gates) -> JobResume {
    let template = replicated_job.template.spec.as_ref().map(|spec| &spec.template);
    let metadata = template.and_then(|template| template.metadata.as_ref());
    let pod = template.and_then(|template| template.spec.as_ref());
    // What says which Job this is, and where it may run, stays as it was made.
    let placement = placement::annotations(jobset, replicated_job);
    let ours = |key: &str| labels::RESERVED.contains(&key) || placement.contains_key(key);
    let without = |ours: &dyn Fn(&str) -> bool, map: Option<&BTreeMap<String, String>>| {
        let entries = map.into_iter().flatten().filter(|(key, _)| !ours(key));
        entries.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    JobResume {
        name: job.name.clone(),
        uid: job.uid.clone(),
        clear_start_time: job.started,
        labels: without(&ours, metadata.and_then(|metadata| metadata.labels.as_ref())),
        annotations: without(&ours, metadata.and_then(|metadata| metadata.annotations.as_ref())),
        node_selector: without(
            &|key| key == labels::NAMESPACED_JOB,
            pod.and_then(|pod| pod.node_selector.as_ref()),
        ),
        tolerations: pod.and_then(|pod| pod.tolerations.clone()).unwrap_or_default(),
        scheduling_gates: pod.and_then(|pod| pod.scheduling_gates.clone()).unwrap_or_default(),
        size: elastic::new_size(replicated_job, job, gates),
    }
}
