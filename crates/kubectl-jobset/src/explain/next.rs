//! Restarts so far, and what happens next.

use super::{Observed, State, count, duration, state::condition};
use jiff::Timestamp;
use jobset_api::{
    conditions::{self, reasons},
    jobset::FailurePolicyAction,
};
use jobset_plan::{Action, Plan};
use std::collections::BTreeMap;

/// Restarts used and left, and the rule of the failure policy that was applied last.
pub(super) fn restarts(observed: &Observed, state: State) -> Vec<String> {
    let jobset = &observed.recorded.jobset;
    let Some(policy) = &jobset.spec.failure_policy else {
        return match state {
            State::Failed => vec!["It has no failure policy, so the first failed Job fails it.".to_owned()],
            _ => Vec::new(),
        };
    };
    let status = jobset.status.clone().unwrap_or_default();
    let single: i64 = status
        .replicated_jobs_status
        .iter()
        .flat_map(|counts| &counts.job_restarts_count_towards_max)
        .map(|restarts| i64::from(*restarts))
        .sum();
    let used = i64::from(status.restarts_count_towards_max) + single;
    let max = i64::from(policy.max_restarts);
    let uncounted = i64::from(status.restarts) - i64::from(status.restarts_count_towards_max);
    let mut sentences = Vec::new();
    if used > 0 || status.restarts > 0 || state == State::Failed {
        let left = (max - used).max(0);
        let others = if uncounted > 0 { format!("; {uncounted} more did not count") } else { String::new() };
        sentences.push(format!("{used} of {} used, {left} left{others}.", count(max, "restart")));
    }
    let applied = [conditions::FAILED, conditions::RESTARTING].into_iter().find_map(|type_| {
        let mut all = status.conditions.iter().filter(|it| it.type_ == type_);
        all.find(|it| type_ == conditions::RESTARTING || it.status == "True")
    });
    if let Some(applied) = applied {
        let rule = applied.reason.strip_prefix(reasons::FAILURE_POLICY_RULE);
        let of_rule = rule.and_then(|name| policy.rules.iter().find(|rule| rule.name == name));
        match (rule, applied.reason.as_str()) {
            (Some(name), _) => {
                let action = of_rule.map_or(&FailurePolicyAction::RestartJobSet, |rule| &rule.action);
                sentences.push(format!("Rule {name} of the failure policy matched: {action}."));
            }
            (None, reasons::DEFAULT_FAILURE_POLICY) => {
                sentences.push("No rule of the failure policy matched: RestartJobSet.".to_owned());
            }
            (None, reasons::REACHED_MAX_RESTARTS) => {
                sentences.push("No restart was left, so the next failure failed it.".to_owned());
            }
            (None, reasons::FAIL_JOB_SET_ACTION) => {
                sentences.push("A rule of the failure policy failed it at once: FailJobSet.".to_owned());
            }
            _ => {}
        }
    }
    sentences
}

/// What happens next.
pub(super) fn steps(observed: &Observed, state: State, plan: &Plan, now: Timestamp) -> Vec<String> {
    let jobset = &observed.recorded.jobset;
    let mut steps = actions(plan);
    match (state, jobset.spec.ttl_seconds_after_finished) {
        (State::Completed | State::Failed, Some(ttl)) => {
            let finished =
                [conditions::COMPLETED, conditions::FAILED].iter().find_map(|it| condition(jobset, it));
            if let Some(finished) = finished {
                let past = now.duration_since(finished.last_transition_time.0).as_secs();
                steps.push(format!(
                    "The controller deletes the JobSet in {} (ttlSecondsAfterFinished: {ttl}).",
                    duration(i64::from(ttl).saturating_sub(past))
                ));
            }
        }
        (State::Completed | State::Failed, None) => {
            steps.push("Nothing: it is finished, and stays until a user deletes it.".to_owned());
        }
        (State::Running, _) => steps.push(match deadline(observed, now) {
            Some(deadline) => deadline,
            None => "It runs until the success policy is met or a Job fails.".to_owned(),
        }),
        _ => steps.extend(deadline(observed, now)),
    }
    steps
}

fn deadline(observed: &Observed, now: Timestamp) -> Option<String> {
    let jobset = &observed.recorded.jobset;
    let seconds = jobset.spec.active_deadline_seconds?;
    let started = jobset.status.as_ref()?.start_time.as_ref()?.0;
    let left = duration(seconds.saturating_sub(now.duration_since(started).as_secs()));
    Some(format!("It fails in {left} if it still runs (activeDeadlineSeconds: {seconds})."))
}

/// The requests that the controller sends next.
fn actions(plan: &Plan) -> Vec<String> {
    let mut verbs: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for action in &plan.actions {
        let what = match action {
            Action::CreateJob(_) => ("creates", "Job"),
            Action::DeleteJob { .. } => ("deletes", "Job"),
            Action::SuspendJob { .. } => ("suspends", "Job"),
            Action::ResumeJob(_) => ("resumes", "Job"),
            Action::ScaleJob { .. } => ("changes the size of", "Job"),
            Action::AddFollowers { .. } => ("adds the other pods to", "Job"),
            Action::CreateClaim(_) => ("creates", "claim"),
            Action::CreateService(_) => ("creates", "Service"),
            Action::DeleteJobSet => ("deletes", "JobSet"),
            Action::SetServicePorts { .. } => ("updates", "Service"),
            Action::Scheduling(_) => ("updates", "object of gang scheduling"),
        };
        *verbs.entry(what).or_default() += 1;
    }
    let sentence = |((verb, noun), number)| format!("The controller {verb} {}.", count(number, noun));
    verbs.into_iter().map(sentence).collect()
}
