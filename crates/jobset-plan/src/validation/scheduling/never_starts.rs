//! Gangs that never start, because some of their pods are created only after others run.

use super::{
    FieldError, entry_path,
    groups::{Group, Member, Scope},
};
use crate::{job_size::pods_of_template, placement, validation::field_error::quote};
use jobset_api::{
    JobSet,
    jobset::{ReplicatedJob, StartupPolicyOrder},
    labels,
};
use std::collections::{BTreeMap, BTreeSet};

/// Exclusive placement creates the other pods of a Job after the pod of index 0 has a node. In a gang, this pod waits for
/// the other pods. With prepared nodes, no pod waits.
pub(super) fn exclusive_placement(jobset: &JobSet, groups: &[Group<'_>]) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> = Vec::new();
    for group in groups.iter().filter(|group| group.is_gang()) {
        for member in group.members.iter().filter(|member| member.replicated_job.replicas > 0) {
            let pods = pods_of_template(member.replicated_job.template.spec.as_ref());
            if group.min_count().unwrap_or(pods).min(pods) <= 1 {
                continue;
            }
            let Some((field, topology)) = leader_topology(jobset, member) else { continue };
            if errors.iter().any(|error| error.field() == field) {
                continue;
            }
            errors.push(FieldError::invalid_text(
                field,
                topology,
                format!(
                    "cannot be set when spec.scheduling places the pods of replicatedJob {} as a gang: the pods \
                     wait until the pod of index 0 has a node, and this pod waits for the gang; use \
                     schedulingConstraints.topology in spec.scheduling instead, or also set the annotation {}",
                    quote(&member.replicated_job.name),
                    labels::NODE_SELECTOR_STRATEGY
                ),
            ));
        }
    }
    errors
}

/// The annotation by which pods follow the pod of index 0: its field and value.
fn leader_topology<'a>(jobset: &'a JobSet, member: &Member<'a>) -> Option<(String, &'a str)> {
    let template = &member.replicated_job.template;
    let of_pod = template.spec.as_ref().and_then(|job| job.template.metadata.as_ref());
    let mut annotations = of_pod.and_then(|metadata| metadata.annotations.clone()).unwrap_or_default();
    annotations.extend(placement::annotations(jobset, member.replicated_job));
    if !placement::follows_leader(&annotations) {
        return None;
    }
    let path = format!("spec.replicatedJobs[{}].template", member.index);
    // In the order of precedence.
    let levels = [
        (format!("{path}.metadata"), template.metadata.as_ref()),
        ("metadata".to_owned(), Some(&jobset.metadata)),
        (format!("{path}.spec.template.metadata"), of_pod),
    ];
    levels.into_iter().find_map(|(path, metadata)| {
        let topology = metadata?.annotations.as_ref()?.get(labels::EXCLUSIVE_TOPOLOGY)?;
        Some((format!("{path}.annotations[{}]", labels::EXCLUSIVE_TOPOLOGY), topology.as_str()))
    })
}

/// With `dependsOn` or the startup policy `InOrder`, the Jobs of a ReplicatedJob are created after the pods of another
/// run. In a gang of both, these pods wait for those of the first.
pub(super) fn startup_order(jobset: &JobSet, groups: &[Group<'_>]) -> Vec<FieldError> {
    let policy = jobset.spec.startup_policy.as_ref();
    let is_in_order = policy.is_some_and(|policy| policy.startup_policy_order == StartupPolicyOrder::InOrder);
    let gangs: Vec<Gang<'_>> = groups.iter().filter_map(Gang::of).collect();
    let order = Order::of(jobset, &gangs);
    let why = if is_in_order { "startupPolicy InOrder" } else { "dependsOn" };
    let error = |gang: &Gang<'_>| {
        let awaited = if is_in_order { gang.first() } else { order.awaited_member(gang) }?;
        Some(FieldError::invalid_text(
            format!("{}.targetReplicatedJobs[{}]", entry_path(gang.entry), awaited.target),
            &awaited.replicated_job.name,
            format!(
                "must run before other replicatedJobs of the same PodGroup are created ({why}), and its pods wait for \
                 the whole PodGroup; put it into an entry of its own, or set schedulingPolicy basic"
            ),
        ))
    };
    gangs.iter().filter_map(error).collect()
}

/// A gang of several ReplicatedJobs, without those that have no Jobs. The schema checks gangs of all ReplicatedJobs.
struct Gang<'a> {
    entry: usize,
    members: Vec<&'a Member<'a>>,
}

impl<'a> Gang<'a> {
    fn of(group: &'a Group<'a>) -> Option<Self> {
        let Scope::Targets(entry, _) = group.scope else { return None };
        let has_jobs = |member: &&Member<'_>| member.replicated_job.replicas > 0;
        let members: Vec<_> = group.members.iter().filter(has_jobs).collect();
        (group.is_gang() && members.len() > 1).then_some(Self { entry, members })
    }

    /// The member that starts first with `InOrder`.
    fn first(&self) -> Option<&'a Member<'a>> {
        self.members.iter().min_by_key(|member| member.index).copied()
    }

    fn dependencies(&self) -> impl Iterator<Item = &'a str> {
        self.members.iter().flat_map(|member| direct_dependencies(member.replicated_job))
    }
}

/// What each ReplicatedJob waits for.
struct Order<'a> {
    dependencies: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Order<'a> {
    /// The pods of a gang run after the dependencies of all its members.
    fn of(jobset: &'a JobSet, gangs: &[Gang<'a>]) -> Self {
        let has_jobs = |replicated_job: &&ReplicatedJob| replicated_job.replicas > 0;
        let mut dependencies: BTreeMap<&str, BTreeSet<&str>> = jobset
            .spec
            .replicated_jobs
            .iter()
            .filter(has_jobs)
            .map(|replicated_job| (replicated_job.name.as_str(), direct_dependencies(replicated_job)))
            .collect();
        for gang in gangs {
            let of_all: BTreeSet<&str> = gang.dependencies().collect();
            for member in &gang.members {
                dependencies.insert(&member.replicated_job.name, of_all.clone());
            }
        }
        Self { dependencies }
    }

    /// A member of the gang that must run before another member is created.
    fn awaited_member(&self, gang: &Gang<'a>) -> Option<&'a Member<'a>> {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&str> = gang.dependencies().collect();
        while let Some(name) = next.pop() {
            if let Some(dependencies) = self.dependencies.get(name)
                && seen.insert(name)
            {
                next.extend(dependencies);
            }
        }
        gang.members.iter().find(|member| seen.contains(member.replicated_job.name.as_str())).copied()
    }
}

/// The ReplicatedJobs that a ReplicatedJob names in `dependsOn`. It can name itself, which is only a warning.
fn direct_dependencies(replicated_job: &ReplicatedJob) -> BTreeSet<&str> {
    let names = replicated_job.depends_on.iter().flatten().map(|dependency| dependency.name.as_str());
    names.filter(|name| *name != replicated_job.name).collect()
}
