//! Workloads and PodGroups: the API server's part, the finalizer of PodGroups, and the scheduler's condition.

use crate::{
    api_server::{Answer, ApiServer, Change, OTHER_UID, Refusal, Watched},
    observe::{ObservedScheduling, SchedulingKind, SchedulingObjects, Source},
    request::SchedulingRequest,
    schedule::ScheduledEvent,
    world::{Millis, NAMESPACE, World, timestamp, whole_seconds},
};
use k8s_openapi::{
    api::scheduling::v1beta1::{PodGroup, PodGroupStatus, Workload},
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time},
};
use serde_json::Value;
use std::sync::Arc;

/// The condition of a PodGroup whose pods were placed once.
const INITIALLY_SCHEDULED: &str = "PodGroupInitiallyScheduled";

impl ApiServer {
    /// Handles a request about a Workload or a PodGroup.
    pub(crate) fn handle_scheduling(
        &mut self,
        request: &SchedulingRequest,
        now: Millis,
    ) -> Result<Answer, Refusal> {
        use SchedulingKind::{PodGroups, Workloads};
        match request {
            SchedulingRequest::CreateWorkload(workload) => {
                let name = workload.metadata.name.clone().unwrap_or_default();
                if self.workloads.contains_key(&name) {
                    return Err(Refusal::AlreadyExists);
                }
                if workload.spec.pod_group_templates.as_ref().is_none_or(Vec::is_empty) {
                    return Err(Refusal::Invalid("spec.podGroupTemplates: Required value"));
                }
                let metadata = self.new_metadata(&workload.metadata);
                Ok(self.put_workload(Workload { metadata, ..Workload::clone(workload) }))
            }
            SchedulingRequest::CreatePodGroup(pod_group) => {
                let name = pod_group.metadata.name.clone().unwrap_or_default();
                if self.pod_groups.contains_key(&name) {
                    return Err(Refusal::AlreadyExists);
                }
                let metadata = self.new_metadata(&pod_group.metadata);
                self.put_pod_group(PodGroup { metadata, ..PodGroup::clone(pod_group) })
            }
            SchedulingRequest::Get { kind: Workloads, name } => {
                self.workloads.get(name).cloned().map(Answer::Workload).ok_or(Refusal::NotFound)
            }
            SchedulingRequest::Get { kind: PodGroups, name } => {
                self.pod_groups.get(name).cloned().map(Answer::PodGroup).ok_or(Refusal::NotFound)
            }
            SchedulingRequest::PatchWorkload { name, patch } => {
                let stored = self.workloads.get(name).ok_or(Refusal::NotFound)?;
                let mut patched = serde_json::to_value(&**stored).unwrap();
                if json_patch::patch(&mut patched, patch).is_err() {
                    return Err(Refusal::Invalid(
                        "the server rejected our request due to an error in our request",
                    ));
                }
                let mut patched: Workload = serde_json::from_value(patched).unwrap();
                if patched.metadata.uid != stored.metadata.uid {
                    return Err(OTHER_UID);
                }
                // Only minCount can change.
                let names = |workload: &Workload| -> Vec<String> {
                    let templates = workload.spec.pod_group_templates.iter().flatten();
                    templates.map(|template| template.name.clone()).collect()
                };
                if names(&patched) != names(stored) {
                    return Err(Refusal::Invalid("spec.podGroupTemplates: field is immutable"));
                }
                patched.metadata = self.next_version(&patched.metadata);
                Ok(self.put_workload(patched))
            }
            SchedulingRequest::PatchPodGroup { name, patch } => {
                let stored = self.pod_groups.get(name).ok_or(Refusal::NotFound)?;
                let patched = merged(&**stored, patch)?;
                self.update_pod_group(patched)
            }
            SchedulingRequest::Delete { kind: Workloads, name, uid } => {
                let stored = self.workloads.get(name).ok_or(Refusal::NotFound)?;
                if stored.metadata.uid.as_ref() != Some(uid) {
                    return Err(Refusal::Conflict);
                }
                self.end_scheduling(Workloads, name);
                Ok(Answer::Gone)
            }
            SchedulingRequest::Delete { kind: PodGroups, name, uid } => {
                let stored = self.pod_groups.get(name).ok_or(Refusal::NotFound)?;
                if stored.metadata.uid.as_ref() != Some(uid) {
                    return Err(Refusal::Conflict);
                }
                let mut deleting = PodGroup::clone(stored);
                deleting.metadata.deletion_timestamp.get_or_insert(Time(timestamp(now)));
                self.update_pod_group(deleting)
            }
        }
    }

    fn new_metadata(&mut self, metadata: &ObjectMeta) -> ObjectMeta {
        let (uid, version) = self.identity();
        ObjectMeta {
            uid: Some(uid),
            resource_version: Some(version.to_string()),
            namespace: Some(NAMESPACE.to_owned()),
            ..metadata.clone()
        }
    }

    fn put_workload(&mut self, workload: Workload) -> Answer {
        let workload = Arc::new(workload);
        self.workloads.insert(workload.metadata.name.clone().unwrap_or_default(), workload.clone());
        self.append(Watched::Scheduling(SchedulingKind::Workloads), Change::Workload(workload.clone()));
        Answer::Workload(workload)
    }

    /// Stores a changed PodGroup. A change without effect is not stored.
    pub(crate) fn update_pod_group(&mut self, mut pod_group: PodGroup) -> Result<Answer, Refusal> {
        let name = pod_group.metadata.name.clone().unwrap_or_default();
        if let Some(stored) = self.pod_groups.get(&name).filter(|stored| pod_group == ***stored) {
            return Ok(Answer::PodGroup(stored.clone()));
        }
        pod_group.metadata = self.next_version(&pod_group.metadata);
        self.put_pod_group(pod_group)
    }

    fn put_pod_group(&mut self, pod_group: PodGroup) -> Result<Answer, Refusal> {
        if pod_group.spec.scheduling_policy.gang.as_ref().is_some_and(|gang| gang.min_count < 1) {
            return Err(Refusal::Invalid("spec.schedulingPolicy.gang.minCount: must be greater than 0"));
        }
        let pod_group = Arc::new(pod_group);
        self.pod_groups.insert(pod_group.metadata.name.clone().unwrap_or_default(), pod_group.clone());
        self.append(Watched::Scheduling(SchedulingKind::PodGroups), Change::PodGroup(pod_group.clone()));
        Ok(Answer::PodGroup(pod_group))
    }

    /// Deletes a Workload or a PodGroup.
    pub(crate) fn end_scheduling(&mut self, kind: SchedulingKind, name: &str) {
        let metadata = match kind {
            SchedulingKind::Workloads => self.workloads.remove(name).map(|it| it.metadata.clone()),
            SchedulingKind::PodGroups => self.pod_groups.remove(name).map(|it| it.metadata.clone()),
        };
        if let Some(metadata) = metadata {
            let uid = self.next_version(&metadata).uid.unwrap_or_default();
            self.append(Watched::Scheduling(kind), Change::Gone(uid));
        }
    }

    /// The minCount of a PodGroup: 0 for a group without gang.
    pub(crate) fn min_count(&self, pod_group: &str) -> Option<i32> {
        let policy = &self.pod_groups.get(pod_group)?.spec.scheduling_policy;
        Some(policy.gang.as_ref().map_or(0, |gang| gang.min_count))
    }

    /// The metadata of all Workloads and PodGroups.
    pub(crate) fn scheduling_metadata(&self) -> Vec<(SchedulingKind, ObjectMeta)> {
        let workloads = self.workloads.values().map(|it| (SchedulingKind::Workloads, it.metadata.clone()));
        let pod_groups = self.pod_groups.values().map(|it| (SchedulingKind::PodGroups, it.metadata.clone()));
        workloads.chain(pod_groups).collect()
    }

    /// The stored Workloads and PodGroups of a JobSet, as an index without delays holds them.
    pub(crate) fn scheduling_of(&self, jobset_uid: &str) -> ObservedScheduling {
        let mut objects = SchedulingObjects::default();
        objects.set_served(true);
        for kind in [SchedulingKind::Workloads, SchedulingKind::PodGroups] {
            objects.begin_list(kind);
            for workload in self.workloads.values() {
                objects.apply_workload(Workload::clone(workload), Source::Watch);
            }
            for pod_group in self.pod_groups.values() {
                objects.apply_pod_group(PodGroup::clone(pod_group), Source::Watch);
            }
            objects.finish_list(kind);
        }
        objects.of(jobset_uid)
    }
}

/// The object after a merge patch, with its UID as a precondition.
fn merged<T: serde::Serialize + serde::de::DeserializeOwned>(
    object: &T,
    patch: &Value,
) -> Result<T, Refusal> {
    let mut value = serde_json::to_value(object).unwrap();
    if patch.pointer("/metadata/uid") != value.pointer("/metadata/uid") {
        return Err(OTHER_UID);
    }
    json_patch::merge(&mut value, patch);
    Ok(serde_json::from_value(value).unwrap())
}

impl World {
    /// Stores what the scheduler decided about a PodGroup. True is final.
    pub(crate) fn set_scheduled(&mut self, pod_group: &str, is_scheduled: bool) {
        let Some(stored) = self.server.pod_groups.get(pod_group) else { return };
        let (status, reason, message) = if is_scheduled {
            ("True", "Scheduled", "")
        } else {
            ("False", "Unschedulable", "the nodes have no room for minCount pods")
        };
        let mut changed = PodGroup::clone(stored);
        let conditions =
            changed.status.get_or_insert_with(PodGroupStatus::default).conditions.get_or_insert_default();
        if conditions.iter().any(|old| old.status == status || old.status == "True") {
            return;
        }
        *conditions = vec![Condition {
            type_: INITIALLY_SCHEDULED.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            last_transition_time: Time(whole_seconds(self.now)),
            observed_generation: None,
        }];
        self.checker.count(if is_scheduled { "gang placed" } else { "gang does not fit" });
        self.note("scheduler", || format!("PodGroup {pod_group}: {reason}"));
        let _ = self.server.update_pod_group(changed);
    }

    /// Names of the PodGroups in deletion without pods.
    fn unused_pod_groups(&self) -> Vec<String> {
        let all = self.server.pod_groups.iter();
        let unused = all.filter(|(name, pod_group)| {
            pod_group.metadata.deletion_timestamp.is_some() && self.scheduler.pods_of(name) == 0
        });
        unused.map(|(name, _)| name.clone()).collect()
    }

    /// Schedules the removal of finalizers, if a PodGroup in deletion has no pods.
    pub(crate) fn protect_pod_groups(&mut self) {
        if !self.unused_pod_groups().is_empty() && !std::mem::replace(&mut self.protecting, true) {
            let lag = self.rng.u64(5..500);
            self.after(lag, ScheduledEvent::ReleasePodGroups);
        }
    }

    /// Removes the finalizers of PodGroups without pods.
    pub(crate) fn release_pod_groups(&mut self) {
        self.protecting = false;
        for name in self.unused_pod_groups() {
            self.note("protection", || format!("PodGroup {name} is deleted"));
            self.server.end_scheduling(SchedulingKind::PodGroups, &name);
        }
    }
}
