//! Exclusive placement without denied pods (feature gate LeaderFirstPlacement): a Job starts with its leader alone.
//!
//! With exclusive placement, admission denies every follower until the leader has a node, and the Job controller
//! creates denied pods again with a growing delay. A Job with `parallelism: 1` has no followers:
//!
//! ```text
//! create or resume   parallelism 1, annotation on the Job     the Job controller creates the pod of index 0, the leader
//! leader has a node  parallelism of the template, no annotation     it creates the followers, and admission places them
//! ```
//!
//! The annotation marks these Jobs, so that a Job which a user scales to 1 is not one of them. A Job with the annotation
//! gets its followers even after the gate is switched off.

use crate::{
    draft::Draft,
    elastic,
    feature_gates::Gates,
    job_size::{JobSize, is_indexed, pods_of_template},
    placement,
    plan::Action,
    snapshot::{JobRecord, Snapshot},
};
use jobset_api::{JobSet, jobset::ReplicatedJob, labels};
use k8s_openapi::api::batch::v1::{Job, JobSpec};

/// Whether new Jobs of the ReplicatedJob start with their leader alone: other pods follow the pod of index 0.
fn applies(jobset: &JobSet, replicated_job: &ReplicatedJob, gates: &Gates) -> bool {
    let has_followers = |job: &JobSpec| is_indexed(job) && pods_of_template(Some(job)) > 1;
    gates.leader_first_placement
        && placement::follows_leader(&placement::annotations(jobset, replicated_job))
        && replicated_job.template.spec.as_ref().is_some_and(has_followers)
}

/// Makes a new Job start with its leader. A suspended Job has no pods, and its resume starts with the leader.
pub(crate) fn start(jobset: &JobSet, replicated_job: &ReplicatedJob, gates: &Gates, job: &mut Job) {
    if !applies(jobset, replicated_job, gates) {
        return;
    }
    if let Some(spec) = job.spec.as_mut().filter(|spec| spec.suspend != Some(true)) {
        spec.parallelism = Some(1);
        let annotations = job.metadata.annotations.get_or_insert_default();
        annotations.insert(labels::LEADER_FIRST.to_owned(), "true".to_owned());
    }
}

/// The size of a Job that is resumed with its leader alone. None if it is resumed with all pods, or already has the
/// annotation.
pub(crate) fn resumed_size(
    jobset: &JobSet,
    replicated_job: &ReplicatedJob,
    job: &JobRecord,
    gates: &Gates,
) -> Option<JobSize> {
    let completions = job.completions?;
    (!job.leader_first && job.exclusive && job.parallelism > 1 && applies(jobset, replicated_job, gates))
        .then_some(JobSize { parallelism: 1, completions })
}

/// Adds the followers of Jobs whose leader has a node.
pub(crate) fn add_followers(
    snapshot: &Snapshot<'_>,
    active: &[&JobRecord],
    gates: &Gates,
    draft: &mut Draft<'_>,
) {
    let changed = draft.changed_jobs();
    let is_started = |job: &&&JobRecord| {
        job.leader_first && !job.suspended && !job.deleting && !changed.contains(&job.uid)
    };
    let mut waiting = 0;
    for job in active.iter().filter(is_started) {
        let replicated_jobs = &snapshot.jobset.spec.replicated_jobs;
        let Some(template) = replicated_jobs.iter().find(|rj| Some(&rj.name) == job.replicated_job.as_ref())
        else {
            continue;
        };
        // A leader that has succeeded may be gone.
        let has_node = snapshot.placed_leaders.contains(&job.uid) || job.succeeded > 0;
        // Pods without exclusive placement have no leader.
        if !has_node && job.exclusive && applies(snapshot.jobset, template, gates) {
            waiting += 1;
        } else if let Some(size) = full_size(template, job, gates) {
            draft.actions.push(Action::AddFollowers { name: job.name.clone(), uid: job.uid.clone(), size });
        }
    }
    if waiting > 0 {
        draft
            .waiting
            .push(format!("Jobs whose leader pod has no node yet, without their other pods: {waiting}"));
    }
}

/// The size of a Job with all its pods.
fn full_size(template: &ReplicatedJob, job: &JobRecord, gates: &Gates) -> Option<JobSize> {
    let parallelism = parallelism_of(template);
    let completions = job.completions?;
    Some(elastic::new_size(template, job, gates).unwrap_or(JobSize { parallelism, completions }))
}

fn parallelism_of(template: &ReplicatedJob) -> i32 {
    template.template.spec.as_ref().and_then(|spec| spec.parallelism).unwrap_or(1)
}

/// The parallelism of a Job with all its pods.
pub(crate) fn full_parallelism(jobset: &JobSet, job: &JobRecord) -> i32 {
    let mut templates = jobset.spec.replicated_jobs.iter();
    let template = templates.find(|rj| job.leader_first && Some(&rj.name) == job.replicated_job.as_ref());
    template.map_or(job.parallelism, parallelism_of)
}
