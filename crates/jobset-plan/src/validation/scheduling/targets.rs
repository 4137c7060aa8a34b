//! The entries of `spec.scheduling.replicatedJobs` and their targets.

use super::{FieldError, entry_path};
use jobset_api::{JobSet, scheduling::Scheduling};
use std::collections::BTreeSet;

/// With entries, each ReplicatedJob must be in one of them.
pub(super) fn untargeted(jobset: &JobSet, scheduling: &Scheduling) -> Vec<FieldError> {
    if scheduling.replicated_jobs.is_empty() {
        return Vec::new();
    }
    let targets: BTreeSet<&String> =
        scheduling.replicated_jobs.iter().flat_map(|entry| &entry.target_replicated_jobs).collect();
    let all = jobset.spec.replicated_jobs.iter().enumerate();
    let missing = all.filter(|(_, replicated_job)| !targets.contains(&replicated_job.name));
    let error = |(index, replicated_job): (usize, &jobset_api::jobset::ReplicatedJob)| {
        FieldError::invalid_text(
            format!("spec.replicatedJobs[{index}].name"),
            &replicated_job.name,
            "must be targeted by a replicatedJobs entry when spec.scheduling does not set a top-level \
             schedulingPolicy, schedulingConstraints, or disruptionMode",
        )
    };
    missing.map(error).collect()
}

/// Each target must exist, and be in one entry only. An entry with `job` has one target and no other settings.
pub(super) fn invalid(jobset: &JobSet, scheduling: &Scheduling) -> Vec<FieldError> {
    let names: BTreeSet<&str> = jobset.spec.replicated_jobs.iter().map(|job| job.name.as_str()).collect();
    let mut seen = BTreeSet::new();
    let mut errors = Vec::new();
    for (index, entry) in scheduling.replicated_jobs.iter().enumerate() {
        let path = entry_path(index);
        for (target, name) in entry.target_replicated_jobs.iter().enumerate() {
            let field = format!("{path}.targetReplicatedJobs[{target}]");
            if !names.contains(name.as_str()) {
                let detail = "does not reference a valid replicatedJob name";
                errors.push(FieldError::invalid_text(field, name, detail));
            } else if !seen.insert(name.as_str()) {
                let detail = "is targeted by more than one replicatedJobs entry";
                errors.push(FieldError::invalid_text(field, name, detail));
            }
        }
        let Some(job) = &entry.job else { continue };
        if entry.target_replicated_jobs.len() != 1 {
            errors.push(FieldError::invalid(
                format!("{path}.targetReplicatedJobs"),
                &entry.target_replicated_jobs,
                "must target exactly one replicatedJob when job is set",
            ));
        }
        if entry.scheduling_policy.is_some()
            || entry.scheduling_constraints.is_some()
            || entry.disruption_mode.is_some()
        {
            errors.push(FieldError::invalid(
                format!("{path}.job"),
                job,
                "cannot be set together with schedulingPolicy, schedulingConstraints, or disruptionMode on the same \
                 replicatedJobs entry; job replaces the single shared PodGroup those fields configure with one \
                 PodGroup per Job",
            ));
        }
    }
    errors
}
