//! The Workloads and PodGroups of JobSets, and whether the API server serves them.

use super::{
    owned::{Owned, Record},
    owner::controlling_jobset,
    versioned::Source,
};
use jobset_plan::{PodGroupRecord, ScheduledCondition, SchedulingApi, SchedulingRecord, WorkloadRecord};
use k8s_openapi::api::scheduling::v1beta1::{PodGroup, Workload};
use std::fmt;

/// The kinds of API group `scheduling.k8s.io`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SchedulingKind {
    Workloads,
    PodGroups,
}

impl fmt::Display for SchedulingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Workloads => "workload",
            Self::PodGroups => "podgroup",
        })
    }
}

/// What the controller knows about the Workloads and PodGroups of one JobSet; see [`SchedulingApi`].
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum ObservedScheduling {
    #[default]
    Unknown,
    NotServed,
    Forbidden(String),
    Served(SchedulingRecord),
}

impl ObservedScheduling {
    /// The input of a plan.
    pub(crate) fn api(&self) -> SchedulingApi<'_> {
        match self {
            Self::Unknown => SchedulingApi::Unknown,
            Self::NotServed => SchedulingApi::NotServed,
            Self::Forbidden(message) => SchedulingApi::Forbidden(message),
            Self::Served(record) => SchedulingApi::Served(record),
        }
    }
}

/// The objects.
#[derive(Debug, Default)]
pub(crate) struct SchedulingObjects {
    workloads: Owned<WorkloadRecord>,
    pod_groups: Owned<PodGroupRecord>,
    /// Whether the API server serves both kinds. None before the first discovery.
    served: Option<bool>,
    /// Why the controller cannot list the objects.
    forbidden: Option<String>,
    workloads_listed: bool,
    pod_groups_listed: bool,
}

impl SchedulingObjects {
    /// The objects of a JobSet.
    pub(crate) fn of(&self, jobset_uid: &str) -> ObservedScheduling {
        match self.served {
            Some(false) => ObservedScheduling::NotServed,
            Some(true) if self.workloads_listed && self.pod_groups_listed => {
                let workloads = self.workloads.of(jobset_uid);
                let pod_groups = self.pod_groups.of(jobset_uid);
                ObservedScheduling::Served(SchedulingRecord {
                    workloads: workloads.iter().map(|record| WorkloadRecord::clone(record)).collect(),
                    pod_groups: pod_groups.iter().map(|record| PodGroupRecord::clone(record)).collect(),
                })
            }
            Some(true) | None => {
                self.forbidden.clone().map_or(ObservedScheduling::Unknown, ObservedScheduling::Forbidden)
            }
        }
    }

    /// The number of objects of each kind.
    pub(crate) fn sizes(&self) -> [(&'static str, usize); 2] {
        [("Workload", self.workloads.len()), ("PodGroup", self.pod_groups.len())]
    }

    /// Stores whether the API server serves both kinds. Returns whether that is new.
    pub(crate) fn set_served(&mut self, served: bool) -> bool {
        let is_new = self.served != Some(served);
        if is_new {
            // The next watch begins with a list.
            self.served = Some(served);
            self.forbidden = None;
            (self.workloads_listed, self.pod_groups_listed) = (false, false);
        }
        is_new
    }

    /// Stores that the API server forbids a list. Returns whether that is new.
    pub(crate) fn set_forbidden(&mut self, message: String) -> bool {
        let is_new = self.forbidden.is_none();
        self.forbidden.get_or_insert(message);
        is_new
    }

    /// Stores a Workload. Returns the JobSet that it concerns.
    pub(crate) fn apply_workload(&mut self, workload: Workload, source: Source) -> Option<String> {
        let Workload { metadata, spec } = workload;
        let owner = controlling_jobset(&metadata).map(|owner| owner.uid.as_str());
        self.workloads.apply(&metadata, owner, source, || WorkloadRecord {
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            spec,
            deleting: metadata.deletion_timestamp.is_some(),
        })
    }

    /// Stores a PodGroup. Returns the JobSet that it concerns.
    pub(crate) fn apply_pod_group(&mut self, pod_group: PodGroup, source: Source) -> Option<String> {
        let PodGroup { metadata, spec, status } = pod_group;
        let owner = controlling_jobset(&metadata).map(|owner| owner.uid.as_str());
        let mut conditions = status.into_iter().filter_map(|status| status.conditions).flatten();
        self.pod_groups.apply(&metadata, owner, source, || PodGroupRecord {
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            spec,
            created_at: metadata.creation_timestamp.as_ref().map(|time| time.0),
            deleting_since: metadata.deletion_timestamp.as_ref().map(|time| time.0),
            scheduled: conditions.find(|condition| condition.type_ == INITIALLY_SCHEDULED).map(|condition| {
                let status = condition.status == "True";
                ScheduledCondition { status, reason: condition.reason, message: condition.message }
            }),
        })
    }

    /// Marks an undecodable object as existing.
    pub(crate) fn unreadable(&mut self, kind: SchedulingKind, uid: &str) {
        match kind {
            SchedulingKind::Workloads => self.workloads.mark_listed(uid),
            SchedulingKind::PodGroups => self.pod_groups.mark_listed(uid),
        }
    }

    /// Removes a deleted object. Returns the JobSet that controlled it.
    pub(crate) fn end(&mut self, kind: SchedulingKind, uid: &str) -> Option<String> {
        match kind {
            SchedulingKind::Workloads => self.workloads.end(uid),
            SchedulingKind::PodGroups => self.pod_groups.end(uid),
        }
    }

    /// Begins a list of a kind.
    pub(crate) fn begin_list(&mut self, kind: SchedulingKind) {
        match kind {
            SchedulingKind::Workloads => self.workloads.begin_list(),
            SchedulingKind::PodGroups => self.pod_groups.begin_list(),
        }
    }

    /// Completes a list of a kind. Returns the JobSets that controlled the objects that it does not contain. If such an
    /// object exists after all, the controller tries to create it again, and then finds it. Returns also whether this
    /// list completes the first lists of both kinds.
    pub(crate) fn finish_list(&mut self, kind: SchedulingKind) -> (Vec<String>, bool) {
        let complete = self.workloads_listed && self.pod_groups_listed;
        let requeue = match kind {
            SchedulingKind::Workloads => {
                self.workloads_listed = true;
                without_missing(&mut self.workloads)
            }
            SchedulingKind::PodGroups => {
                self.pod_groups_listed = true;
                without_missing(&mut self.pod_groups)
            }
        };
        (requeue, !complete && self.workloads_listed && self.pod_groups_listed)
    }
}

/// The condition that the scheduler sets when it has placed the pods of a PodGroup once (Kubernetes:
/// scheduling.k8s.io/v1beta1).
const INITIALLY_SCHEDULED: &str = "PodGroupInitiallyScheduled";

fn without_missing<R: Record>(objects: &mut Owned<R>) -> Vec<String> {
    let (mut requeue, unconfirmed) = objects.finish_list();
    requeue.extend(unconfirmed.iter().filter_map(|uid| objects.forget(uid)));
    requeue
}

impl Record for WorkloadRecord {
    fn name(&self) -> &str {
        &self.name
    }

    fn uid(&self) -> &str {
        &self.uid
    }
}

impl Record for PodGroupRecord {
    fn name(&self) -> &str {
        &self.name
    }

    fn uid(&self) -> &str {
        &self.uid
    }
}

#[cfg(test)]
mod tests {
    use super::{SchedulingKind::*, Source::*, *};

    const OWNED: &str = "ownerReferences: [{apiVersion: jobset.x-k8s.io/v1alpha2, kind: JobSet, name: train, uid: set, controller: true}]";

    fn workload(uid: &str, version: u64, rest: &str) -> Workload {
        let metadata = format!("name: train-98, uid: {uid}, resourceVersion: '{version}', {rest}");
        let spec = "podGroupTemplates: [{name: t, schedulingPolicy: {gang: {minCount: 4}}}]";
        serde_yaml::from_str(&format!("{{metadata: {{{metadata}}}, spec: {{{spec}}}}}")).unwrap()
    }

    fn pod_group(name: &str, version: u64, rest: &str) -> PodGroup {
        let metadata = format!("name: {name}, uid: uid-of-{name}, resourceVersion: '{version}', {OWNED}");
        let spec = "spec: {schedulingPolicy: {gang: {minCount: 4}}}";
        serde_yaml::from_str(&format!("{{metadata: {{{metadata}}}, {spec}, {rest}}}")).unwrap()
    }

    fn listed() -> SchedulingObjects {
        let mut objects = SchedulingObjects::default();
        objects.set_served(true);
        for kind in [Workloads, PodGroups] {
            objects.begin_list(kind);
            objects.finish_list(kind);
        }
        objects
    }

    fn record(objects: &SchedulingObjects) -> SchedulingRecord {
        match objects.of("set") {
            ObservedScheduling::Served(record) => record,
            other => panic!("{other:?}"),
        }
    }

    /// UIDs.
    fn known(objects: &SchedulingObjects) -> Vec<String> {
        let SchedulingRecord { workloads, pod_groups } = record(objects);
        let groups = pod_groups.into_iter().map(|record| record.uid);
        workloads.into_iter().map(|record| record.uid).chain(groups).collect()
    }

    #[test]
    fn the_objects_are_unknown_until_both_lists_are_complete() {
        let mut objects = SchedulingObjects::default();
        assert_eq!(objects.of("set"), ObservedScheduling::Unknown);
        assert!(objects.set_served(false) && !objects.set_served(false));
        assert_eq!(objects.of("set"), ObservedScheduling::NotServed);
        assert!(objects.set_served(true));
        assert_eq!(objects.of("set"), ObservedScheduling::Unknown);
        objects.begin_list(PodGroups);
        assert_eq!(objects.finish_list(PodGroups), (vec![], false));
        assert_eq!(objects.of("set"), ObservedScheduling::Unknown);
        objects.begin_list(Workloads);
        assert_eq!(objects.finish_list(Workloads), (vec![], true));
        assert_eq!(objects.of("set"), ObservedScheduling::Served(SchedulingRecord::default()));
        assert_eq!(objects.finish_list(Workloads), (vec![], false), "not the first list");
        objects.set_served(false);
        objects.set_served(true);
        assert_eq!(objects.of("set"), ObservedScheduling::Unknown, "the objects must be listed again");
        assert!(objects.set_forbidden("no".to_owned()) && !objects.set_forbidden("no".to_owned()));
        assert_eq!(objects.of("set"), ObservedScheduling::Forbidden("no".to_owned()));
        for kind in [Workloads, PodGroups] {
            objects.begin_list(kind);
            objects.finish_list(kind);
        }
        assert_eq!(objects.of("set"), ObservedScheduling::Served(SchedulingRecord::default()));
    }

    #[test]
    fn objects_are_recorded_by_owner() {
        let mut objects = listed();
        assert_eq!(objects.apply_workload(workload("w", 5, OWNED), Watch), Some("set".to_owned()));
        let unschedulable = "status: {conditions: [{type: Other, status: 'True', reason: r, message: m, lastTransitionTime: '2026-03-01T09:00:00Z'}, {type: PodGroupInitiallyScheduled, status: 'False', reason: Unschedulable, message: 3 nodes, lastTransitionTime: '2026-03-01T09:00:00Z'}]}";
        objects.apply_pod_group(pod_group("b", 6, unschedulable), Watch);
        objects.apply_pod_group(pod_group("a", 7, ""), Watch);
        let SchedulingRecord { workloads, pod_groups } = record(&objects);
        assert_eq!((workloads[0].name.as_str(), workloads[0].deleting), ("train-98", false));
        assert_eq!(workloads[0].spec, workload("w", 5, OWNED).spec);
        let names: Vec<_> = pod_groups.iter().map(|group| group.name.as_str()).collect();
        assert_eq!(names, ["a", "b"], "sorted by name");
        assert_eq!((&pod_groups[0].scheduled, pod_groups[0].deleting_since), (&None, None));
        let (reason, message) = ("Unschedulable".to_owned(), "3 nodes".to_owned());
        let scheduled = Some(ScheduledCondition { status: false, reason, message });
        assert_eq!(
            (&pod_groups[1].scheduled, &pod_groups[1].spec),
            (&scheduled, &pod_group("b", 6, "").spec)
        );
        assert_eq!(objects.of("other"), ObservedScheduling::Served(SchedulingRecord::default()));
        assert_eq!(objects.end(PodGroups, "uid-of-b"), Some("set".to_owned()));
        assert_eq!(known(&objects), ["w", "uid-of-a"]);
    }

    #[test]
    fn objects_of_other_owners_are_not_kept() {
        let mut objects = listed();
        for owner in
            ["", "ownerReferences: [{apiVersion: batch/v1, kind: Job, name: j, uid: j, controller: true}]"]
        {
            for number in 0..1000 {
                assert_eq!(objects.apply_workload(workload(&format!("w{number}"), 5, owner), Watch), None);
            }
        }
        assert_eq!(objects.sizes(), [("Workload", 0), ("PodGroup", 0)]);
        objects.apply_workload(workload("w", 6, OWNED), Watch);
        assert_eq!(objects.apply_workload(workload("w", 7, ""), Watch), Some("set".to_owned()));
        assert!(known(&objects).is_empty(), "a user removed the owner reference");
    }

    #[test]
    fn an_older_watch_event_does_not_replace_a_response() {
        let mut objects = listed();
        let deleting = "deletionTimestamp: '2026-03-01T09:00:00Z', ";
        objects.apply_workload(workload("w", 5, OWNED), Watch);
        let deleted = workload("w", 9, &format!("{deleting}{OWNED}"));
        assert_eq!(objects.apply_workload(deleted, Answer), Some("set".to_owned()));
        assert_eq!(objects.apply_workload(workload("w", 7, OWNED), Watch), None);
        assert!(record(&objects).workloads[0].deleting);
        objects.end(Workloads, "w");
        assert_eq!(objects.apply_workload(workload("w", 9, OWNED), Answer), None, "a late response");
        assert!(known(&objects).is_empty());
    }

    #[test]
    fn a_list_removes_the_objects_that_it_does_not_contain() {
        let mut objects = listed();
        objects.apply_pod_group(pod_group("gone", 5, ""), Watch);
        objects.apply_pod_group(pod_group("kept", 6, ""), Watch);
        objects.apply_pod_group(pod_group("created", 9, ""), Answer);
        objects.begin_list(PodGroups);
        objects.apply_pod_group(pod_group("kept", 6, ""), Watch);
        let set = "set".to_owned();
        assert_eq!(objects.finish_list(PodGroups), (vec![set.clone(), set.clone()], false));
        assert_eq!(known(&objects), ["uid-of-kept"]);
        let created = objects.apply_pod_group(pod_group("created", 9, ""), Watch);
        assert_eq!(created, Some(set), "it was newer than the list");
    }
}
