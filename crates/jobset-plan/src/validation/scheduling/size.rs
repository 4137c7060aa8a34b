//! Limits of numbers and names in `spec.scheduling`.

use super::{
    FIELD, FieldError, entry_path,
    groups::{Group, Scope},
};
use crate::{gang_scheduling::TEMPLATES_MAX, validation::field_error::quote};
use jobset_api::{JobSet, jobset::ReplicatedJob};
use std::collections::BTreeSet;

/// A Job never has more pods than its parallelism.
pub(super) fn min_count_above_parallelism(groups: &[Group<'_>]) -> Vec<FieldError> {
    let error = |(field, min_count, replicated_job): (String, i32, &ReplicatedJob)| {
        let parallelism = parallelism(replicated_job);
        (min_count > parallelism).then(|| {
            let detail = format!(
                "cannot exceed the per-Job pod count (parallelism) of replicatedJob {} ({parallelism})",
                quote(&replicated_job.name)
            );
            FieldError::invalid(field, &min_count, detail)
        })
    };
    min_counts(groups).filter_map(error).collect()
}

/// A Job also never has more pods than its completions.
pub(super) fn min_count_above_completions(groups: &[Group<'_>]) -> Vec<FieldError> {
    let error = |(field, min_count, replicated_job): (String, i32, &ReplicatedJob)| {
        let completions = replicated_job.template.spec.as_ref()?.completions?;
        (min_count > completions && min_count <= parallelism(replicated_job)).then(|| {
            let detail = format!(
                "cannot exceed completions of replicatedJob {} ({completions}), because its Jobs never have more \
                 pods; decrease minCount, or increase completions",
                quote(&replicated_job.name)
            );
            FieldError::invalid(field, &min_count, detail)
        })
    };
    min_counts(groups).filter_map(error).collect()
}

/// Field, value and ReplicatedJob of each `minCount`.
fn min_counts<'a>(groups: &'a [Group<'a>]) -> impl Iterator<Item = (String, i32, &'a ReplicatedJob)> {
    groups.iter().filter_map(|group| {
        let (Scope::Job(entry, _), Some(min_count), [member]) =
            (group.scope, group.min_count(), group.members.as_slice())
        else {
            return None;
        };
        let field = format!("{}.job.schedulingPolicy.gang.minCount", entry_path(entry));
        Some((field, min_count, member.replicated_job))
    })
}

/// The templates of the Workload must be few, and have different names.
pub(super) fn template_names(jobset: &JobSet, jobset_name: &str, groups: &[Group<'_>]) -> Option<FieldError> {
    let count: i64 = groups.iter().map(Group::template_count).sum();
    let max = i64::try_from(TEMPLATES_MAX).unwrap_or(i64::MAX);
    if count > max {
        return Some(FieldError::too_many(FIELD, count, max));
    }
    let namespace = jobset.metadata.namespace.as_deref().unwrap_or("");
    let mut seen = BTreeSet::new();
    let mut names = groups.iter().flat_map(|group| group.template_names(namespace, jobset_name));
    let name = names.find(|name| !seen.insert(name.clone()))?;
    let detail = format!(
        "generated scheduling group name {} is not unique: rename the colliding ReplicatedJob or \
         replicatedJobs targetReplicatedJobs grouping so generated PodGroupTemplate names don't collide",
        quote(&name)
    );
    Some(FieldError::invalid_text(format!("{FIELD}.replicatedJobs"), &name, detail))
}

/// The number of pods in a group has 32 bits.
pub(super) fn total_pods(groups: &[Group<'_>]) -> Vec<FieldError> {
    let max = i32::MAX;
    let error = |group: &Group<'_>| {
        let members = group.members.iter().map(|member| pods(member.replicated_job));
        let pods = members.fold(0, i64::saturating_add);
        if pods <= i64::from(max) || !group.is_gang() {
            return None;
        }
        match group.scope {
            Scope::JobSet(_) => Some(FieldError::invalid(
                "spec.replicatedJobs",
                &pods,
                format!(
                    "the total represented pod count across all replicatedJobs must not exceed {max} when top-level \
                     gang scheduling is used"
                ),
            )),
            Scope::Targets(index, entry) => Some(FieldError::invalid(
                format!("{}.targetReplicatedJobs", entry_path(index)),
                &entry.target_replicated_jobs,
                format!(
                    "the number of pods in their PodGroup is {pods} and must not exceed {max}; put the \
                     replicatedJobs into separate entries"
                ),
            )),
            Scope::Job(..) => None,
        }
    };
    groups.iter().filter_map(error).collect()
}

fn parallelism(replicated_job: &ReplicatedJob) -> i32 {
    replicated_job.template.spec.as_ref().and_then(|job| job.parallelism).unwrap_or(1)
}

fn pods(replicated_job: &ReplicatedJob) -> i64 {
    i64::from(parallelism(replicated_job).max(0)) * i64::from(replicated_job.replicas.max(0))
}
