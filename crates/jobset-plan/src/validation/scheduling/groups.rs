//! The groups of pods that `spec.scheduling` describes, and the ReplicatedJobs in each.

use crate::gang_scheduling::names;
use jobset_api::{
    JobSet,
    jobset::ReplicatedJob,
    scheduling::{JobScheduling, ReplicatedJobScheduling, Scheduling},
};
use std::collections::BTreeMap;

/// A group of pods, or with [`Scope::Job`] one group for each Job.
#[derive(Debug)]
pub(super) struct Group<'a> {
    /// The pods in the group.
    pub(super) scope: Scope<'a>,
    /// Its ReplicatedJobs, in the order of `targetReplicatedJobs`, or else of the spec.
    pub(super) members: Vec<Member<'a>>,
}

/// Which pods are in a group.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scope<'a> {
    /// All pods of the JobSet.
    JobSet(&'a Scheduling),
    /// The pods of the targets of an entry. The number is the index of the entry.
    Targets(usize, &'a ReplicatedJobScheduling),
    /// The pods of one Job. The number is the index of the entry.
    Job(usize, &'a JobScheduling),
}

/// A ReplicatedJob in a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'a> {
    /// Its index in `spec.replicatedJobs`.
    pub(super) index: usize,
    /// Its index in `targetReplicatedJobs`.
    pub(super) target: usize,
    /// The ReplicatedJob.
    pub(super) replicated_job: &'a ReplicatedJob,
}

/// The groups, in the order of the spec. A target that does not exist is no member.
pub(super) fn groups<'a>(jobset: &'a JobSet, scheduling: &'a Scheduling) -> Vec<Group<'a>> {
    let all = || jobset.spec.replicated_jobs.iter().enumerate();
    if scheduling.replicated_jobs.is_empty() {
        let members = all().map(|(index, replicated_job)| Member { index, target: index, replicated_job });
        return vec![Group { scope: Scope::JobSet(scheduling), members: members.collect() }];
    }
    let by_name: BTreeMap<&str, (usize, &ReplicatedJob)> = all()
        .map(|(index, replicated_job)| (replicated_job.name.as_str(), (index, replicated_job)))
        .collect();
    let members = |entry: &ReplicatedJobScheduling| {
        let targets = entry.target_replicated_jobs.iter().enumerate();
        let found = targets.filter_map(|(target, name)| {
            let (index, replicated_job) = *by_name.get(name.as_str())?;
            Some(Member { index, target, replicated_job })
        });
        found.collect()
    };
    let scope = |(index, entry): (usize, &'a ReplicatedJobScheduling)| match &entry.job {
        Some(job) => Scope::Job(index, job),
        None => Scope::Targets(index, entry),
    };
    scheduling
        .replicated_jobs
        .iter()
        .enumerate()
        .map(|entry| Group { scope: scope(entry), members: members(entry.1) })
        .collect()
}

impl Group<'_> {
    /// Whether the pods start together. Without a policy, they do.
    pub(super) fn is_gang(&self) -> bool {
        match self.scope {
            Scope::JobSet(scheduling) => scheduling.is_gang(),
            Scope::Targets(_, entry) => entry.is_gang(),
            Scope::Job(_, job) => job.is_gang(),
        }
    }

    /// The number of pods that must fit at the same time, if the user sets it.
    pub(super) fn min_count(&self) -> Option<i32> {
        match self.scope {
            Scope::Job(_, job) => job.min_count(),
            Scope::JobSet(_) | Scope::Targets(..) => None,
        }
    }

    /// The number of templates in the Workload.
    pub(super) fn template_count(&self) -> i64 {
        match self.scope {
            Scope::Job(..) => self.members.iter().map(|member| replicas(member.replicated_job)).sum(),
            Scope::JobSet(_) | Scope::Targets(..) => 1,
        }
    }

    /// The names of the templates in the Workload.
    pub(super) fn template_names(&self, namespace: &str, jobset: &str) -> Vec<String> {
        match self.scope {
            Scope::JobSet(_) => vec![names::workload(namespace, jobset)],
            Scope::Targets(_, entry) => {
                vec![names::shared_template(namespace, jobset, &entry.target_replicated_jobs)]
            }
            Scope::Job(..) => {
                let jobs = self.members.iter().flat_map(|member| {
                    let ReplicatedJob { name, replicas, .. } = member.replicated_job;
                    (0..*replicas).map(move |index| names::job_template(namespace, jobset, name, index))
                });
                jobs.collect()
            }
        }
    }
}

fn replicas(replicated_job: &ReplicatedJob) -> i64 {
    i64::from(replicated_job.replicas.max(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn jobset(scheduling: &Value) -> JobSet {
        let jobset = json!({"metadata": {"name": "train", "namespace": "default"}, "spec": {
            "replicatedJobs": [{"name": "driver"}, {"name": "workers", "replicas": 2}, {"name": "spare", "replicas": 0}],
            "scheduling": scheduling,
        }});
        serde_json::from_value(jobset).unwrap()
    }

    /// The groups as text: members, gang or basic, names of the templates.
    fn shown(scheduling: &Value) -> Vec<String> {
        let jobset = jobset(scheduling);
        let groups = groups(&jobset, jobset.spec.scheduling.as_ref().unwrap());
        let text = |group: &Group<'_>| {
            let names = group.template_names("default", "train");
            assert_eq!(i64::try_from(names.len()), Ok(group.template_count()));
            let members: Vec<_> =
                group.members.iter().map(|member| member.replicated_job.name.as_str()).collect();
            let policy = if group.is_gang() { "gang" } else { "basic" };
            let min_count = group.min_count().map(|count| format!(" {count}")).unwrap_or_default();
            format!("{} {policy}{min_count}: {}", members.join("+"), names.join(", "))
        };
        groups.iter().map(text).collect()
    }

    #[test]
    fn scheduling_describes_groups() {
        let of_workers = |entry: Value| {
            let mut entry = entry;
            entry["targetReplicatedJobs"] = json!(["workers"]);
            json!({"replicatedJobs": [entry]})
        };
        for (what, scheduling, groups) in [
            ("no policy", json!({}), vec!["driver+workers+spare gang: train-9820341ee6"]),
            (
                "gang",
                json!({"schedulingPolicy": {"gang": {}}}),
                vec!["driver+workers+spare gang: train-9820341ee6"],
            ),
            (
                "basic",
                json!({"schedulingPolicy": {"basic": {}}}),
                vec!["driver+workers+spare basic: train-9820341ee6"],
            ),
            ("an entry", of_workers(json!({})), vec!["workers gang: workers-31ce2aca7c"]),
            (
                "a basic entry",
                of_workers(json!({"schedulingPolicy": {"basic": {}}})),
                vec!["workers basic: workers-31ce2aca7c"],
            ),
            (
                "each Job",
                of_workers(json!({"job": {}})),
                vec!["workers gang: workers-0-7098129e3a, workers-1-51657d3535"],
            ),
            (
                "each Job, basic",
                of_workers(json!({"job": {"schedulingPolicy": {"basic": {}}}})),
                vec!["workers basic: workers-0-7098129e3a, workers-1-51657d3535"],
            ),
            (
                "each Job, minCount",
                of_workers(json!({"job": {"schedulingPolicy": {"gang": {"minCount": 3}}}})),
                vec!["workers gang 3: workers-0-7098129e3a, workers-1-51657d3535"],
            ),
            (
                "several entries",
                json!({"replicatedJobs": [
                    {"targetReplicatedJobs": ["spare"], "job": {}},
                    {"targetReplicatedJobs": ["driver", "ghost", "workers"]},
                ]}),
                vec!["spare gang: ", "driver+workers gang: driver-ghost-workers-eb96a8aae3"],
            ),
        ] {
            assert_eq!(shown(&scheduling), groups, "{what}");
        }
    }

    #[test]
    fn a_member_has_its_index_and_its_target() {
        let jobset =
            jobset(&json!({"replicatedJobs": [{"targetReplicatedJobs": ["ghost", "workers", "driver"]}]}));
        let groups = groups(&jobset, jobset.spec.scheduling.as_ref().unwrap());
        let members: Vec<_> = groups[0].members.iter().map(|member| (member.index, member.target)).collect();
        assert_eq!(members, [(1, 1), (0, 2)]);
    }
}
