//! What all pods of a group must have in common, and what all groups of a JobSet must have in common.

use super::{
    FieldError, entry_path,
    groups::{Group, Member, Scope},
    pod_path,
};
use crate::validation::field_error::quote;
use k8s_openapi::api::core::v1::PodSpec;

/// The scheduler of pods that name none (Kubernetes).
const DEFAULT_SCHEDULER: &str = "default-scheduler";

/// A field of the pods of a ReplicatedJob, if it has a known value.
type Field = fn(&PodSpec) -> Option<&str>;

const PRIORITY_CLASS: Field = |pod| Some(pod.priority_class_name.as_deref().unwrap_or(""));

/// All pods of a group must have one priority. The JobSet API does not check this for `basic` at the top level.
pub(super) fn priority_within_group(groups: &[Group<'_>]) -> Vec<FieldError> {
    let error = |group: &Group<'_>, Mismatch { member, value, wanted, .. }: Mismatch<'_>| match group.scope {
        Scope::JobSet(_) if group.is_gang() => Some(FieldError::invalid_text(
            format!("{}.priorityClassName", pod_path(member.index)),
            value,
            format!("must match {} when top-level gang scheduling is used", quote(wanted)),
        )),
        Scope::Targets(entry, _) => Some(FieldError::invalid_text(
            format!("{}.targetReplicatedJobs[{}]", entry_path(entry), member.target),
            &member.replicated_job.name,
            format!(
                "priorityClassName {} must match {} of the other ReplicatedJobs sharing this PodGroup",
                quote(value),
                quote(wanted)
            ),
        )),
        Scope::JobSet(_) | Scope::Job(..) => None,
    };
    let of_group = |group| {
        let mismatches = mismatches(members(group), PRIORITY_CLASS).into_iter();
        mismatches.filter_map(move |mismatch| error(group, mismatch))
    };
    groups.iter().flat_map(of_group).collect()
}

/// All templates of a Workload must have one priority (Kubernetes: `detected multiple priority configurations`), and the
/// pods of a `basic` group that of their template.
pub(super) fn priority_across_groups(groups: &[Group<'_>]) -> Vec<FieldError> {
    let unchecked = groups.iter().flat_map(|group| match group.scope {
        Scope::JobSet(_) if !group.is_gang() => members(group),
        // Without Jobs, there is no template.
        Scope::Job(..) if group.template_count() == 0 => &[],
        // `priority_within_group` compares the others.
        _ => group.members.get(..1).unwrap_or_default(),
    });
    let why = "because all pods of a JobSet with spec.scheduling have one priority; set the same class, or create \
               separate JobSets";
    let mismatches = mismatches(unchecked, PRIORITY_CLASS).into_iter();
    mismatches.map(|mismatch| mismatch.error("priorityClassName", why)).collect()
}

/// All pods of a group must have one scheduler.
pub(super) fn scheduler_name(groups: &[Group<'_>]) -> Vec<FieldError> {
    let name: Field = |pod| {
        let name = pod.scheduler_name.as_deref().filter(|name| !name.is_empty());
        Some(name.unwrap_or(DEFAULT_SCHEDULER))
    };
    within_group(groups, "schedulerName", name)
}

/// All pods of a group must have one preemption policy. A pod without a policy gets that of its priority class, which is
/// unknown here.
pub(super) fn preemption_policy(groups: &[Group<'_>]) -> Vec<FieldError> {
    within_group(groups, "preemptionPolicy", |pod| pod.preemption_policy.as_deref())
}

fn within_group(groups: &[Group<'_>], name: &str, field: Field) -> Vec<FieldError> {
    let why = "because the scheduler places the pods of both as one PodGroup; set the same value, or put them into \
               separate entries of spec.scheduling.replicatedJobs";
    let mismatches = groups.iter().flat_map(|group| mismatches(members(group), field));
    mismatches.map(|mismatch| mismatch.error(name, why)).collect()
}

fn members<'a>(group: &'a Group<'a>) -> &'a [Member<'a>] {
    &group.members
}

/// A ReplicatedJob whose pods have another value of a field than those of the first.
struct Mismatch<'a> {
    member: &'a Member<'a>,
    value: &'a str,
    first: &'a Member<'a>,
    wanted: &'a str,
}

impl Mismatch<'_> {
    fn error(&self, field: &str, why: &str) -> FieldError {
        let field = format!("{}.{field}", pod_path(self.member.index));
        let (wanted, first) = (quote(self.wanted), quote(&self.first.replicated_job.name));
        FieldError::invalid_text(
            field,
            self.value,
            format!("must match {wanted} of replicatedJob {first}, {why}"),
        )
    }
}

/// The members whose value differs from the first value.
fn mismatches<'a>(members: impl IntoIterator<Item = &'a Member<'a>>, field: Field) -> Vec<Mismatch<'a>> {
    let mut values = members.into_iter().filter_map(|member| {
        let pod = member.replicated_job.template.spec.as_ref()?.template.spec.as_ref()?;
        Some((member, field(pod)?))
    });
    let Some((first, wanted)) = values.next() else { return Vec::new() };
    let differing = values.filter(|(_, value)| *value != wanted);
    differing.map(|(member, value)| Mismatch { member, value, first, wanted }).collect()
}
