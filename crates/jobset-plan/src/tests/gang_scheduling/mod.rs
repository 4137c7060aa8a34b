//! Gang scheduling (feature gate JobSetWorkloadAwareSchedulingAPI).
//!
//! Lines omit the hashes of names: `train` is the Workload, `worker` a template, `train-worker` its PodGroup.

mod behaviour;
mod condition;
mod groups;
mod min_count;

use super::*;
use crate::gang_scheduling::Groups;
use k8s_openapi::api::scheduling::v1beta1::{PodGroupSchedulingPolicy, PodGroupTemplate};

/// One group for `driver` and `worker` together.
const WHOLE: &str = "scheduling: {schedulingPolicy: {gang: {}}}";
/// `driver` one by one, `worker` in one gang.
const TWO_ENTRIES: &str = "scheduling: {replicatedJobs: [{targetReplicatedJobs: [driver], schedulingPolicy: {basic: {}}}, \
     {targetReplicatedJobs: [worker]}]}";
/// One gang for each Job of `worker`.
const EACH_JOB: &str = "scheduling: {replicatedJobs: [{targetReplicatedJobs: [driver]}, \
     {targetReplicatedJobs: [worker], job: {}}]}";

/// A scene with the gate, in a cluster that serves the API. JobSet `train` has one Job of `driver` and two of `worker`.
fn gang(spec: &str) -> Scene {
    let replicated_jobs = "replicatedJobs: [{name: driver}, {name: worker, replicas: 2}]\n";
    let default = if spec.contains("replicatedJobs: [{name:") { "" } else { replicated_jobs };
    let mut scene = jobset(&format!("{default}{spec}")).gates("JobSetWorkloadAwareSchedulingAPI");
    scene.scheduling = Some(SchedulingRecord::default());
    scene
}

impl Scene {
    fn record(&mut self) -> &mut SchedulingRecord {
        self.scheduling.as_mut().unwrap()
    }

    /// Replaces the Jobs. Each is in the group of the spec, unless its words name another.
    fn grouped(mut self, jobs: &str) -> Self {
        self = self.jobs(jobs);
        let groups = Groups::of(&self.jobset, &self.gates).unwrap();
        for job in &mut self.jobs {
            let LabelValue::Number(index) = job.job_index else { continue };
            let job = Arc::make_mut(job);
            let Some(group) = groups.of_job(job.replicated_job.as_ref().unwrap(), index) else { continue };
            let is_none = |name: &String| name == "none";
            let template = job.group_template.get_or_insert(group.template_name().to_owned()).clone();
            let pod_group = job.pod_group.get_or_insert(group.name.clone()).clone();
            job.group_template = Some(template).filter(|name| !is_none(name));
            job.pod_group = Some(pod_group).filter(|name| !is_none(name));
        }
        self
    }

    /// The scene after the requests about Workloads and PodGroups. A deleted PodGroup waits for its pods.
    fn executed(mut self) -> Self {
        let actions = self.plan().actions;
        let mut uid_of = |name: &Option<String>| {
            self.created += 1;
            (name.clone().unwrap(), format!("{}-of-{}", self.created, name.as_ref().unwrap()))
        };
        let SchedulingRecord { workloads, pod_groups } = self.scheduling.as_mut().unwrap();
        for action in actions {
            let Action::Scheduling(action) = action else { continue };
            match action {
                SchedulingAction::CreateWorkload(workload) => {
                    let (name, uid) = uid_of(&workload.metadata.name);
                    workloads.push(WorkloadRecord { name, uid, spec: workload.spec, deleting: false });
                }
                SchedulingAction::CreatePodGroup(pod_group) => {
                    let (name, uid) = uid_of(&pod_group.metadata.name);
                    let spec = pod_group.spec;
                    let created_at = Some(Timestamp::from_second(NOW).unwrap());
                    pod_groups.push(PodGroupRecord { name, uid, spec, created_at, ..Default::default() });
                }
                SchedulingAction::ScaleWorkload { uid, templates, .. } => {
                    let workload = workloads.iter_mut().find(|it| it.uid == uid).unwrap();
                    let all = workload.spec.pod_group_templates.as_mut().unwrap();
                    for ScaledTemplate { index, name, min_count } in templates {
                        assert_eq!(all[index].name, name);
                        all[index].scheduling_policy.gang.as_mut().unwrap().min_count = min_count;
                    }
                }
                SchedulingAction::ScalePodGroup { uid, min_count, .. } => {
                    let pod_group = pod_groups.iter_mut().find(|it| it.uid == uid).unwrap();
                    pod_group.spec.scheduling_policy.gang.as_mut().unwrap().min_count = min_count;
                }
                SchedulingAction::DeleteWorkload { uid, .. } => workloads.retain(|it| it.uid != uid),
                SchedulingAction::DeletePodGroup { uid, .. } => {
                    let pod_group = pod_groups.iter_mut().find(|it| it.uid == uid).unwrap();
                    pod_group.deleting_since = Some(Timestamp::from_second(NOW).unwrap());
                }
            }
        }
        self
    }

    /// The scene after the last pod of deleted PodGroups.
    fn pods_gone(mut self) -> Self {
        self.record().pod_groups.retain(|pod_group| pod_group.deleting_since.is_none());
        self
    }

    /// The scheduler's word about the PodGroup whose name without hashes is `name`: `True`, or a reason and a message.
    fn scheduled(mut self, name: &str, word: &str) -> Self {
        let (reason, message) = word.split_once(": ").unwrap_or(("Scheduled", ""));
        let scheduled =
            ScheduledCondition { status: word == "True", reason: reason.into(), message: message.into() };
        let pod_groups = &mut self.record().pod_groups;
        pod_groups.iter_mut().find(|it| without_hashes(&it.name) == name).unwrap().scheduled =
            Some(scheduled);
        self
    }

    /// A running JobSet whose groups exist and were scheduled, with its status stored.
    fn settled(self) -> Self {
        let mut scene = self.executed();
        for pod_group in &mut scene.record().pod_groups {
            pod_group.scheduled = Some(ScheduledCondition { status: true, ..Default::default() });
        }
        scene.stored()
    }

    /// The lines of the actions, without hashes.
    fn action_lines(&self) -> Vec<String> {
        actions(&self.plan()).iter().map(|line| without_hashes(line)).collect()
    }

    #[track_caller]
    fn expect_actions(&self, lines: &[&str]) {
        assert_eq!(self.action_lines(), lines, "jobs: {:#?}\n{:#?}", self.jobs, self.scheduling);
    }

    #[track_caller]
    fn expect_lines(&self, lines: &[&str]) {
        let all: Vec<String> = self.outcome_lines().iter().map(|line| without_hashes(line)).collect();
        assert_eq!(all, lines, "jobs: {:#?}\n{:#?}", self.jobs, self.scheduling);
    }
}

/// The text without the hashes of names.
fn without_hashes(text: &str) -> String {
    let is_hash = |word: &&str| word.len() == 10 && word.bytes().all(|it| it.is_ascii_hexdigit());
    let word = |word: &str| {
        let parts: Vec<&str> = word.split('-').filter(|part| !is_hash(part)).collect();
        parts.join("-")
    };
    text.split_inclusive([' ', ':', ',', '=']).fold(String::new(), |text, part| {
        let (name, end) = part.split_at(part.trim_end_matches([' ', ':', ',', '=']).len());
        text + &word(name) + end
    })
}

fn policy(policy: &PodGroupSchedulingPolicy) -> String {
    match (&policy.gang, &policy.basic) {
        (Some(gang), None) => format!("gang of {}", gang.min_count),
        (None, Some(_)) => "basic".to_owned(),
        other => panic!("{other:?}"),
    }
}

fn templates(templates: &[PodGroupTemplate]) -> String {
    let line = |it: &PodGroupTemplate| format!("{}: {}", it.name, policy(&it.scheduling_policy));
    templates.iter().map(line).collect::<Vec<_>>().join(", ")
}

pub(super) fn line(action: &SchedulingAction) -> String {
    let name = |name: &Option<String>| name.clone().unwrap();
    match action {
        SchedulingAction::CreateWorkload(workload) => {
            let of = templates(workload.spec.pod_group_templates.as_deref().unwrap());
            format!("create Workload {} with {of}", name(&workload.metadata.name))
        }
        SchedulingAction::CreatePodGroup(pod_group) => {
            let policy = policy(&pod_group.spec.scheduling_policy);
            format!("create PodGroup {}, {policy}", name(&pod_group.metadata.name))
        }
        SchedulingAction::ScaleWorkload { name, uid, templates } => {
            assert_is_uid(uid, name);
            let line = |it: &ScaledTemplate| format!("{} to {}", it.name, it.min_count);
            let templates: Vec<_> = templates.iter().map(line).collect();
            format!("scale Workload {name}: {}", templates.join(", "))
        }
        SchedulingAction::ScalePodGroup { name, uid, min_count } => {
            assert_is_uid(uid, name);
            format!("scale PodGroup {name} to {min_count}")
        }
        SchedulingAction::DeleteWorkload { name, uid } => {
            assert_is_uid(uid, name);
            format!("delete Workload {name}")
        }
        SchedulingAction::DeletePodGroup { name, uid } => {
            assert_is_uid(uid, name);
            format!("delete PodGroup {name}")
        }
    }
}

/// Checks that the UID is one of an object with this name; see [`Scene::executed`].
fn assert_is_uid(uid: &str, name: &str) {
    let (number, of) = uid.split_once("-of-").unwrap();
    assert!(number.parse::<u32>().is_ok() && of == name, "{uid} is not the UID of {name}");
}
