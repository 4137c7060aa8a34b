//! `suspend` and `resume`: what they change, and when they refuse.

use crate::explain::{State, queue, state_of};
use anyhow::bail;
use jobset_api::JobSet;
use serde_json::{Value, json};

/// The merge patch that suspends or resumes a JobSet. None if it has that state already.
///
/// # Errors
/// For a JobSet that has ended, and for one that Kueue suspends and resumes, unless `force` is set.
pub(crate) fn patch(jobset: &JobSet, suspend: bool, force: bool) -> anyhow::Result<Option<Value>> {
    let name = jobset.metadata.name.as_deref().unwrap_or_default();
    let state = state_of(jobset);
    if matches!(state, State::Completed | State::Failed | State::Deleting) {
        bail!("JobSet {name} is {state}: it can be neither suspended nor resumed");
    }
    if jobset.spec.is_suspended() == suspend {
        return Ok(None);
    }
    if let Some(queue) = queue(jobset).filter(|_| !force) {
        let verb = if suspend { "suspends" } else { "resumes" };
        bail!(
            "Kueue {verb} JobSet {name}, because it is in the queue {queue}: change the queue or its quota, or set \
             --force to change spec.suspend although Kueue can change it back"
        );
    }
    Ok(Some(json!({"spec": {"suspend": suspend}})))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobset(object: Value) -> JobSet {
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn only_a_change_is_sent() {
        let running = jobset(json!({"metadata": {"name": "a"}, "spec": {"replicatedJobs": []}}));
        assert_eq!(patch(&running, true, false).unwrap(), Some(json!({"spec": {"suspend": true}})));
        assert_eq!(patch(&running, false, false).unwrap(), None);
    }

    #[test]
    fn a_queued_jobset_needs_force() {
        let queued = jobset(json!({"metadata": {"name": "a", "labels": {"kueue.x-k8s.io/queue-name": "q"}},
            "spec": {"suspend": true, "replicatedJobs": []}}));
        let error = patch(&queued, false, false).unwrap_err().to_string();
        assert!(
            error.contains("Kueue resumes JobSet a")
                && error.contains("queue q")
                && error.contains("--force")
        );
        assert!(patch(&queued, false, true).unwrap().is_some());
    }

    #[test]
    fn a_finished_jobset_cannot_be_suspended() {
        let failed = jobset(json!({"metadata": {"name": "a"}, "spec": {"replicatedJobs": []}, "status": {
            "conditions": [{"type": "Failed", "status": "True", "reason": "r", "message": "",
                "lastTransitionTime": "2026-03-01T12:00:00Z"}]}}));
        let error = patch(&failed, true, true).unwrap_err().to_string();
        assert_eq!(error, "JobSet a is Failed: it can be neither suspended nor resumed");
    }
}
