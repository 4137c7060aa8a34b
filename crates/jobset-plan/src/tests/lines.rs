//! Plans as text.

use super::*;

/// A plan as lines: actions, changes of the status, events, requeue, problems, reasons to wait.
pub(super) fn outcome_lines(before: Option<&JobSetStatus>, plan: &Plan) -> Vec<String> {
    let mut lines = actions(plan);
    if let Some(now) = &plan.status {
        let before = before.cloned().unwrap_or_default();
        let mut changed = |what: &str, was: String, is: String| {
            if was != is {
                lines.push(format!("{what}: {is}"));
            }
        };
        changed("restarts", before.restarts.to_string(), now.restarts.to_string());
        let counted = |status: &JobSetStatus| status.restarts_count_towards_max.to_string();
        changed("restartsCountTowardsMax", counted(&before), counted(now));
        let attempt = |attempt: Option<i32>| attempt.map_or("none".to_owned(), |attempt| attempt.to_string());
        let of = |of: fn(&JobSetStatus) -> Option<i32>| (attempt(of(&before)), attempt(of(now)));
        let (was, is) = of(|status| status.previous_in_place_restart_attempt);
        changed("previous attempt in place", was, is);
        let (was, is) = of(|status| status.current_in_place_restart_attempt);
        changed("current attempt in place", was, is);
        let of = |of: fn(&JobSetStatus) -> Option<i32>| (attempt(of(&before)), attempt(of(now)));
        let (was, is) = of(|status| status.execution_attempts);
        changed("executionAttempts", was, is);
        let start = |status: &JobSetStatus| {
            let start = status.start_time.as_ref().map(|time| time.0.as_second() - NOW);
            start.map_or("none".to_owned(), |second| format!("{second:+}s"))
        };
        changed("startTime", start(&before), start(now));
        for entry in &now.replicated_jobs_status {
            let was = before.replicated_jobs_status.iter().find(|was| was.name == entry.name);
            let was = was.cloned().unwrap_or_default();
            let what = |field: &str| format!("{field} of {}", entry.name);
            let list = |list: &[i32]| format!("{list:?}");
            changed(&what("jobRestarts"), list(&was.job_restarts), list(&entry.job_restarts));
            changed(
                &what("jobRestartsCountTowardsMax"),
                list(&was.job_restarts_count_towards_max),
                list(&entry.job_restarts_count_towards_max),
            );
        }
        for condition in now.conditions.iter().filter(|condition| !before.conditions.contains(condition)) {
            let Condition { type_, status, reason, message, last_transition_time, .. } = condition;
            let since = match last_transition_time.0.as_second() {
                NOW => String::new(),
                second => format!(" (since {second})"),
            };
            lines.push(format!("{type_}={status} {reason}: {message}{since}"));
        }
        let gone = before.conditions.iter().map(|condition| &condition.type_);
        for type_ in gone.filter(|type_| !now.conditions.iter().any(|now| now.type_ == **type_)) {
            lines.push(format!("{type_} is gone"));
        }
        if before.terminal_state != now.terminal_state {
            lines.push(format!("terminalState: {}", now.terminal_state));
        }
    }
    lines.extend(plan.events.iter().map(|Event { kind, reason, note }| format!("{kind:?} {reason}: {note}")));
    lines.extend(plan.requeue_after.map(|after| format!("again in {after:?}")));
    let problem = |Problem { subject, event }: &Problem| {
        let (Subject::Job { uid, .. }
        | Subject::Pod { uid, .. }
        | Subject::Service { uid, .. }
        | Subject::PodGroup { uid, .. }
        | Subject::TopologyKey(uid)
        | Subject::ServiceAccount(uid)) = subject;
        format!("of {uid}: {} {}", event.reason, event.note)
    };
    lines.extend(plan.problems.iter().map(problem));
    lines.extend(plan.waiting.iter().map(|why| format!("waiting: {why}")));
    lines
}

pub(super) fn actions(plan: &Plan) -> Vec<String> {
    let name = |name: &Option<String>| name.clone().unwrap();
    let size = |JobSize { parallelism, completions }| format!("{parallelism}/{completions}");
    let line = |action: &Action| match action {
        Action::CreateJob(job) => {
            let suspended = if job.spec.as_ref().unwrap().suspend == Some(true) { " suspended" } else { "" };
            format!("create {}{suspended}", name(&job.metadata.name))
        }
        Action::DeleteJob { name, uid } => {
            assert_eq!(*uid, name.replace("train-", "uid-of-"), "the UID belongs to the Job");
            format!("delete {name}")
        }
        Action::SuspendJob { name, uid } => {
            assert_eq!(*uid, name.replace("train-", "uid-of-"), "the UID belongs to the Job");
            format!("suspend {name}")
        }
        Action::ResumeJob(resume) => {
            let size = resume.size.map(size).map(|size| format!(" as {size}")).unwrap_or_default();
            let leader_first = if resume.leader_first { ", leader first" } else { "" };
            format!("resume {}{size}{leader_first}", resume.name)
        }
        Action::ScaleJob { name, size: new, .. } => format!("scale {name} to {}", size(*new)),
        Action::AddFollowers { name, size: new, .. } => format!("add followers to {name}: {}", size(*new)),
        Action::CreateClaim(claim) => format!("create claim {}", name(&claim.metadata.name)),
        Action::DeleteJobSet => "delete JobSet".into(),
        Action::CreateService(service) => format!("create Service {}", name(&service.metadata.name)),
        Action::SetServicePorts { name, uid, ports } => {
            assert_eq!(uid, "uid-of-service");
            let ports: Vec<_> = ports.iter().map(|port| port.name.as_str()).collect();
            format!("set ports of Service {name}: {}", ports.join(", "))
        }
        Action::Scheduling(action) => gang_scheduling::line(action),
    };
    plan.actions.iter().map(line).collect()
}

/// The Jobs that a plan creates.
pub(super) fn created(plan: &Plan) -> Vec<&Job> {
    let jobs = plan.actions.iter().filter_map(|action| match action {
        Action::CreateJob(job) => Some(job.as_ref()),
        _ => None,
    });
    jobs.collect()
}

/// The line of a plan that waits until Jobs of an earlier attempt are deleted.
pub(super) fn deleting(count: u8) -> String {
    format!("waiting: Jobs of an earlier attempt occupy their names until they are deleted: {count}")
}

/// The same with the restart strategy BlockingRecreate.
pub(super) fn blocked(count: u8) -> String {
    format!(
        "waiting: restart strategy BlockingRecreate: no Job is created until the Jobs of an earlier attempt are \
         deleted: {count}"
    )
}

/// The line of a plan that deletes Jobs of a finished JobSet.
pub(super) fn stopping(count: u8) -> String {
    format!("waiting: the JobSet has finished; Jobs still being deleted: {count}")
}

/// The line of a plan of a suspended JobSet.
pub(super) const WAITS_SUSPENDED: &str = "waiting: jobset is suspended";
