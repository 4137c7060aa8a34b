//! `spec.successPolicy`: when a JobSet is complete.

use crate::{draft::Draft, plan::EventKind, snapshot::JobRecord};
use jobset_api::{
    JobSet,
    conditions::{self as types, reasons},
    jobset::Operator,
};

/// Whether enough of the targeted Jobs completed. A JobSet without Jobs never completes. An unknown operator means All.
pub(crate) fn is_met(jobset: &JobSet, successful: &[&JobRecord]) -> bool {
    let policy = jobset.spec.success_policy.as_ref();
    let targets = policy.map_or(&[][..], |policy| &policy.target_replicated_jobs);
    let targeted = |name: &str| targets.is_empty() || targets.iter().any(|target| target == name);

    let completed =
        successful.iter().filter(|job| targeted(job.replicated_job.as_deref().unwrap_or(""))).count();
    let wanted = if policy.is_some_and(|policy| policy.operator == Operator::Any) {
        1
    } else {
        let targets = jobset.spec.replicated_jobs.iter().filter(|rj| targeted(&rj.name));
        targets.map(|rj| usize::try_from(rj.replicas).unwrap_or(0)).sum()
    };
    !successful.is_empty() && completed >= wanted
}

/// Completes the JobSet.
pub(crate) fn complete(draft: &mut Draft<'_>) {
    const MESSAGE: &str = "jobset completed successfully";
    draft.set_condition(EventKind::Normal, types::COMPLETED, true, reasons::ALL_JOBS_COMPLETED, MESSAGE);
    draft.set_condition(EventKind::Normal, types::RESTARTING, false, reasons::JOB_SET_COMPLETED, MESSAGE);
    types::COMPLETED.clone_into(&mut draft.status.terminal_state);
}
