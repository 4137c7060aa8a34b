//! The groups of `spec.scheduling`, each with its template and its PodGroup.

use super::names;
use crate::feature_gates::Gates;
use jobset_api::{
    JobSet,
    jobset::ReplicatedJob,
    scheduling::{
        DisruptionMode, Empty, JobScheduling, ReplicatedJobScheduling, ResourceClaim, Scheduling,
        SchedulingConstraints,
    },
};
use k8s_openapi::api::scheduling::v1beta1::{
    AllDisruptionMode, BasicSchedulingPolicy, DisruptionMode as GroupDisruptionMode, GangSchedulingPolicy,
    PodGroupResourceClaim, PodGroupSchedulingConstraints, PodGroupSchedulingPolicy, PodGroupTemplate,
    SingleDisruptionMode, TopologyConstraint,
};
use serde_json::json;

/// The maximum number of templates in a Workload (Kubernetes).
pub(crate) const TEMPLATES_MAX: usize = 8;

/// The groups of a JobSet. Those beyond one more than [`TEMPLATES_MAX`] are omitted.
pub(crate) struct Groups {
    /// Name of the Workload.
    pub(crate) workload: String,
    /// The groups, in the order of the spec.
    pub(crate) all: Vec<Group>,
}

/// Some pods of the JobSet: a template in the Workload, and a PodGroup.
pub(crate) struct Group {
    /// Name of the PodGroup.
    pub(crate) name: String,
    /// The minCount of the spec.
    pub(crate) explicit: Option<i32>,
    /// The template. The minCount of a gang is not counted yet.
    template: PodGroupTemplate,
    members: Members,
}

/// The Jobs whose pods are in a group.
enum Members {
    All,
    ReplicatedJobs(Vec<String>),
    Job { replicated_job: String, index: i32 },
}

impl Groups {
    /// The groups of the JobSet. None without `spec.scheduling`, and while the feature gate is off.
    pub(crate) fn of(jobset: &JobSet, gates: &Gates) -> Option<Self> {
        let scheduling = jobset.spec.scheduling.as_ref().filter(|_| gates.workload_aware_scheduling)?;
        let metadata = &jobset.metadata;
        let (namespace, name) =
            (metadata.namespace.as_deref().unwrap_or(""), metadata.name.as_deref().unwrap_or(""));
        let workload = names::workload(namespace, name);
        let mut all = Vec::new();
        if scheduling.replicated_jobs.is_empty() {
            let template = template(workload.clone(), Fields::of_jobset(scheduling));
            all.push(Group { name: workload.clone(), explicit: None, template, members: Members::All });
        }
        for entry in &scheduling.replicated_jobs {
            let targets = &entry.target_replicated_jobs;
            let Some(job) = &entry.job else {
                let name_of_template = names::shared_template(namespace, name, targets);
                all.push(Group {
                    name: names::pod_group(name, &name_of_template),
                    explicit: None,
                    template: template(name_of_template, Fields::of_entry(entry)),
                    members: Members::ReplicatedJobs(targets.clone()),
                });
                continue;
            };
            for replicated_job in jobset.spec.replicated_jobs.iter().filter(|rj| targets.contains(&rj.name)) {
                // Without admission, the number of replicas has no limit.
                all.extend((0..replicated_job.replicas).take(TEMPLATES_MAX + 1).map(|index| {
                    let replicated_job = replicated_job.name.clone();
                    let name_of_template = names::job_template(namespace, name, &replicated_job, index);
                    Group {
                        name: names::pod_group(name, &name_of_template),
                        explicit: job.min_count(),
                        template: template(name_of_template, Fields::of_job(job)),
                        members: Members::Job { replicated_job, index },
                    }
                }));
            }
        }
        all.truncate(TEMPLATES_MAX + 1);
        for group in &mut all {
            group.template.priority_class_name = group.priority_class_name(jobset);
        }
        Some(Self { workload, all })
    }

    /// The group of the pods of a Job.
    pub(crate) fn of_job(&self, replicated_job: &str, index: i32) -> Option<&Group> {
        self.all.iter().find(|group| group.contains(replicated_job, index))
    }
}

impl Group {
    /// Name of its template.
    pub(crate) fn template_name(&self) -> &str {
        &self.template.name
    }

    /// Its template, with the minCount of a gang.
    pub(crate) fn template(&self, min_count: i32) -> PodGroupTemplate {
        let mut template = self.template.clone();
        if let Some(gang) = &mut template.scheduling_policy.gang {
            gang.min_count = min_count;
        }
        template
    }

    /// The indices of the Jobs of this ReplicatedJob that are in the group.
    pub(crate) fn indices(&self, of: &ReplicatedJob) -> std::ops::Range<i32> {
        match &self.members {
            Members::All => 0..of.replicas,
            Members::ReplicatedJobs(targets) if targets.contains(&of.name) => 0..of.replicas,
            Members::Job { replicated_job, index } if *replicated_job == of.name => *index..index + 1,
            Members::ReplicatedJobs(_) | Members::Job { .. } => 0..0,
        }
    }

    fn contains(&self, replicated_job: &str, of_index: i32) -> bool {
        match &self.members {
            Members::All => true,
            Members::ReplicatedJobs(targets) => targets.iter().any(|target| target == replicated_job),
            Members::Job { replicated_job: name, index } => name == replicated_job && *index == of_index,
        }
    }

    /// The priority class of the first member. Admission requires that all members have the same.
    fn priority_class_name(&self, jobset: &JobSet) -> Option<String> {
        let mut replicated_jobs = jobset.spec.replicated_jobs.iter();
        let first = match &self.members {
            Members::All => replicated_jobs.next(),
            Members::ReplicatedJobs(targets) => {
                targets.first().and_then(|first| replicated_jobs.find(|rj| rj.name == *first))
            }
            Members::Job { replicated_job, .. } => replicated_jobs.find(|rj| rj.name == *replicated_job),
        };
        let pod = first?.template.spec.as_ref()?.template.spec.as_ref()?;
        pod.priority_class_name.clone().filter(|name| !name.is_empty())
    }
}

/// The fields of a group in the spec.
#[derive(Clone, Copy)]
struct Fields<'a> {
    is_gang: bool,
    constraints: Option<&'a SchedulingConstraints>,
    disruption_mode: Option<&'a DisruptionMode>,
    resource_claims: &'a [ResourceClaim],
}

impl<'a> Fields<'a> {
    fn of_jobset(scheduling: &'a Scheduling) -> Self {
        Self {
            is_gang: scheduling.is_gang(),
            constraints: scheduling.scheduling_constraints.as_ref(),
            disruption_mode: scheduling.disruption_mode.as_ref(),
            resource_claims: &[],
        }
    }

    fn of_entry(entry: &'a ReplicatedJobScheduling) -> Self {
        Self {
            is_gang: entry.is_gang(),
            constraints: entry.scheduling_constraints.as_ref(),
            disruption_mode: entry.disruption_mode.as_ref(),
            resource_claims: &[],
        }
    }

    fn of_job(job: &'a JobScheduling) -> Self {
        Self {
            is_gang: job.is_gang(),
            constraints: job.scheduling_constraints.as_ref(),
            disruption_mode: job.disruption_mode.as_ref(),
            resource_claims: &job.resource_claims,
        }
    }
}

fn template(name: String, fields: Fields<'_>) -> PodGroupTemplate {
    let Fields { is_gang, constraints, disruption_mode, resource_claims } = fields;
    let policy = PodGroupSchedulingPolicy {
        basic: (!is_gang).then(|| BasicSchedulingPolicy(json!({}))),
        gang: is_gang.then_some(GangSchedulingPolicy { min_count: 1 }),
    };
    let topology = constraints.map_or(&[][..], |constraints| &constraints.topology);
    let topology: Vec<_> = topology.iter().map(|it| TopologyConstraint { key: it.key.clone() }).collect();
    let claims: Vec<_> = resource_claims.iter().map(claim).collect();
    PodGroupTemplate {
        name,
        scheduling_policy: policy,
        scheduling_constraints: (!topology.is_empty())
            .then_some(PodGroupSchedulingConstraints { topology: Some(topology) }),
        disruption_mode: disruption_mode.map(mode),
        resource_claims: (!claims.is_empty()).then_some(claims),
        ..Default::default()
    }
}

fn mode(DisruptionMode { single, all }: &DisruptionMode) -> GroupDisruptionMode {
    GroupDisruptionMode {
        single: single.map(|Empty {}| SingleDisruptionMode(json!({}))),
        all: all.map(|Empty {}| AllDisruptionMode(json!({}))),
    }
}

fn claim(claim: &ResourceClaim) -> PodGroupResourceClaim {
    let ResourceClaim { name, resource_claim_name, resource_claim_template_name } = claim.clone();
    PodGroupResourceClaim { name, resource_claim_name, resource_claim_template_name }
}
