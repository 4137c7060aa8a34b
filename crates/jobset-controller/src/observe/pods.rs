//! The index of pods: short records, by UID, by Job, by JobSet, and leaders by name.
//!
//! The index keeps only the pods that decisions need: those that exclusive placement places, or every pod of a JobSet
//! after [`Pods::keep_all`]. A record and its share of the maps take less than 300 bytes.

use super::{
    in_place::{InPlaceCounts, report},
    pod::ObservedPod,
    shared_texts::SharedTexts,
    versioned::Source,
};
use jobset_plan::{InPlacePods, JobRecord, PodAttempt, PodGroup, PodRecord, Uid, pod_admission::LeaderPod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::{
    borrow::Borrow,
    collections::{HashMap, HashSet},
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A record in a set of UIDs. The UID is stored once, in the record.
#[derive(Clone, Debug)]
struct ByUid(Arc<PodRecord>);

impl Borrow<Uid> for ByUid {
    fn borrow(&self) -> &Uid {
        &self.0.uid
    }
}

impl Hash for ByUid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.uid.hash(state);
    }
}

impl PartialEq for ByUid {
    fn eq(&self, other: &Self) -> bool {
        self.0.uid == other.0.uid
    }
}

impl Eq for ByUid {}

/// A change of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodChange {
    /// The record before. None for a new pod.
    pub(crate) before: Option<Arc<PodRecord>>,
    /// The record now. None for a deleted pod.
    pub(crate) now: Option<Arc<PodRecord>>,
}

/// The pods of a group.
#[derive(Default)]
struct Members {
    pods: HashSet<ByUid>,
    /// The active leader. If there are several, one of them.
    leader: Option<Arc<PodRecord>>,
}

impl PodChange {
    /// The JobSets of the pod, by label.
    pub(crate) fn jobsets(&self) -> impl Iterator<Item = &Uid> {
        let [before, now] =
            [&self.before, &self.now].map(|pod| pod.as_ref().and_then(|pod| pod.group.jobset_uid.as_ref()));
        now.into_iter().chain(before.filter(|before| Some(*before) != now))
    }

    /// Whether the pod reports something else about in-place restarts.
    pub(crate) fn changes_report(&self) -> bool {
        report(self.before.as_deref()) != report(self.now.as_deref())
    }

    /// Whether requests that wait for a leader can be decided.
    pub(crate) fn ends_waits(&self) -> bool {
        let unschedulable = |pod: &Option<Arc<PodRecord>>| {
            pod.as_ref().is_some_and(|pod| pod.is_leader() && pod.is_active() && pod.unschedulable)
        };
        self.moves_leader() || unschedulable(&self.now) && !unschedulable(&self.before)
    }

    /// Whether a leader got a node, or no longer has it.
    pub(crate) fn moves_leader(&self) -> bool {
        let has_node = |pod: &Option<Arc<PodRecord>>| pod.as_deref().is_some_and(is_placed_leader);
        has_node(&self.before) != has_node(&self.now)
    }
}

/// Whether the pod is a leader of exclusive placement that has a node, and that runs or will run.
fn is_placed_leader(pod: &PodRecord) -> bool {
    pod.is_leader() && pod.group.topology.is_some() && pod.is_active() && pod.node.is_some()
}

/// Namespace and name.
type JobSetKey = (Box<str>, Box<str>);

#[derive(Default)]
struct State {
    keeps_all: bool,
    pods: HashSet<ByUid>,
    by_group: HashMap<Arc<PodGroup>, Members>,
    /// By namespace and label: the groups of a JobSet.
    by_jobset: HashMap<JobSetKey, HashSet<Arc<PodGroup>>>,
    /// By `<namespace>/<name without the random suffix>`: the leaders of Jobs.
    leaders: HashMap<Box<str>, Vec<Arc<PodRecord>>>,
    /// By UID of the JobSet: what its pods report about in-place restarts. Not by name, so that a JobSet does not count
    /// the pods of a predecessor.
    in_place: HashMap<Uid, InPlaceCounts>,
    texts: SharedTexts,
    /// While the watch reads a list: the UIDs in it.
    listed: Option<HashSet<Uid>>,
}

/// The index. Clones share the state.
#[derive(Clone, Default)]
pub(crate) struct Pods(Arc<Mutex<State>>);

impl Pods {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From the next list on, keeps every pod of a JobSet, and not only those that exclusive placement places.
    pub(crate) fn keep_all(&self) {
        self.state().keeps_all = true;
    }

    /// The number of pods.
    pub(crate) fn len(&self) -> usize {
        self.state().pods.len()
    }

    /// Stores a version of a pod. Returns the change, or None if the index holds the same or a newer version, or does
    /// not keep the pod. A response only updates a known pod: it can come after the deletion of the pod.
    pub(crate) fn apply(&self, pod: &ObservedPod, source: Source) -> Option<PodChange> {
        let (uid, name) = (Uid::from(pod.metadata.uid.as_deref()?), pod.metadata.name.as_deref()?);
        // Kubernetes orders the resource versions of one resource as numbers. A version that is not a number counts as
        // new.
        let version = pod.metadata.resource_version.as_deref()?.parse().unwrap_or(u64::MAX);
        let mut state = self.state();
        if let (Source::Watch, Some(listed)) = (source, &mut state.listed) {
            listed.insert(uid.clone());
        }
        let before = state.pods.get(&uid).map(|known| known.0.clone());
        match &before {
            None if source == Source::Answer => return None,
            Some(before) if version <= before.version && version != u64::MAX => return None,
            _ => {}
        }
        if !state.keeps_all && pod.topology().is_none() {
            return state.remove(&uid);
        }
        let group = state.group(pod);
        let record = Arc::new(PodRecord {
            uid,
            name: name.into(),
            node: pod.node().map(Into::into),
            selected: pod.selected().map(|domain| state.texts.share(domain)),
            version,
            created: pod.created(),
            index: pod.index(),
            attempt: pod.attempt(),
            restarts: pod.restarts(),
            phase: pod.phase(),
            deleting: pod.deleting(),
            disruption_target: pod.disruption_target(),
            unschedulable: pod.unschedulable(),
            group,
        });
        if let Some(before) = &before {
            state.unlink(before);
        }
        state.link(&record);
        if let (PodAttempt::Malformed, Some(jobset)) = (record.attempt, &record.group.jobset_uid)
            && let Some(counts) = state.in_place.get_mut(jobset)
        {
            counts.set_malformed(&record.uid, pod.attempt_text());
        }
        state.pods.replace(ByUid(record.clone()));
        Some(PodChange { before, now: Some(record) })
    }

    /// Marks a pod as being deleted: the controller deleted it, and the watch has not delivered the deletion.
    pub(crate) fn deletion_began(&self, uid: &Uid) {
        let mut state = self.state();
        let Some(known) = state.pods.get(uid).map(|known| known.0.clone()) else { return };
        let record = Arc::new(PodRecord { deleting: true, ..PodRecord::clone(&known) });
        state.unlink(&known);
        state.link(&record);
        state.pods.replace(ByUid(record));
    }

    /// Removes a deleted pod.
    pub(crate) fn end(&self, uid: &str) -> Option<PodChange> {
        self.state().remove(&Uid::from(uid))
    }

    /// Begins a list.
    pub(crate) fn begin_list(&self) {
        self.state().listed = Some(HashSet::new());
    }

    /// Completes a list: removes the pods that it does not contain.
    pub(crate) fn finish_list(&self) -> Vec<PodChange> {
        let mut state = self.state();
        let listed = state.listed.take().unwrap_or_default();
        let gone: Vec<_> =
            state.pods.iter().map(|pod| pod.0.clone()).filter(|pod| !listed.contains(&pod.uid)).collect();
        gone.iter().filter_map(|pod| state.remove(&pod.uid)).collect()
    }

    /// The leaders in this namespace whose name without the random suffix is `base`, and that have neither ended nor
    /// are being deleted.
    pub(crate) fn active_leaders(&self, namespace: &str, base: &str) -> Vec<LeaderPod> {
        let state = self.state();
        let leaders = state.leaders.get(&*leader_key(namespace, base)).into_iter().flatten();
        let leader = |pod: &Arc<PodRecord>| LeaderPod {
            name: pod.name.to_string(),
            owner_uid: pod.group.job.as_ref().map(ToString::to_string),
            node: pod.node.as_deref().unwrap_or("").to_owned(),
            unschedulable: pod.unschedulable,
        };
        leaders.filter(|pod| pod.is_active()).map(leader).collect()
    }

    /// What the pods of a JobSet report about in-place restarts.
    pub(crate) fn in_place(&self, jobset_uid: &str) -> InPlacePods {
        self.state().in_place.get(&Uid::from(jobset_uid)).map(InPlaceCounts::pods).unwrap_or_default()
    }

    /// Of the Jobs that started with their leader: the UIDs of those whose leader has a node.
    pub(crate) fn placed_leaders(&self, namespace: &str, jobs: &[Arc<JobRecord>]) -> HashSet<String> {
        let mut started = jobs.iter().filter(|job| job.leader_first).peekable();
        if started.peek().is_none() {
            return HashSet::new();
        }
        let state = self.state();
        let is_placed = |job: &&Arc<JobRecord>| {
            // The Job controller names the pod of index 0 `<job>-0-<random>`.
            let leaders = state.leaders.get(&*leader_key(namespace, &format!("{}-0", job.name)));
            let uid = Uid::from(job.uid.as_str());
            leaders
                .into_iter()
                .flatten()
                .any(|pod| pod.group.job.as_ref() == Some(&uid) && is_placed_leader(pod))
        };
        started.filter(is_placed).map(|job| job.uid.clone()).collect()
    }

    /// Removes the pods of a JobSet that does not restart in place, except for those that exclusive placement places.
    pub(crate) fn release(&self, jobset: &ObjectMeta) {
        let (Some(namespace), Some(name), Some(uid)) = (&jobset.namespace, &jobset.name, &jobset.uid) else {
            return;
        };
        let mut state = self.state();
        if !state.keeps_all {
            return;
        }
        let uid = Uid::from(uid.as_str());
        let key = (namespace.as_str().into(), name.as_str().into());
        let groups = state.by_jobset.get(&key).into_iter().flatten();
        let is_released =
            |group: &&Arc<PodGroup>| group.topology.is_none() && group.jobset_uid.as_ref() == Some(&uid);
        let pods = groups.filter(is_released).filter_map(|group| state.by_group.get(group));
        let pods = pods.flat_map(|members| &members.pods);
        for pod in pods.map(|pod| pod.0.uid.clone()).collect::<Vec<_>>() {
            state.remove(&pod);
        }
    }

    /// The pods of a group, that is of one Job.
    pub(crate) fn of_group(&self, group: &PodGroup) -> Vec<Arc<PodRecord>> {
        let state = self.state();
        state.by_group.get(group).into_iter().flat_map(|group| &group.pods).map(|pod| pod.0.clone()).collect()
    }

    /// The pods of a JobSet, by its namespace and name.
    #[cfg(test)]
    pub(crate) fn of_jobset(&self, namespace: &str, name: &str) -> Vec<Arc<PodRecord>> {
        let state = self.state();
        state.groups_of(namespace, name).flat_map(|group| &group.pods).map(|pod| pod.0.clone()).collect()
    }

    /// The active leader of a Job.
    pub(crate) fn leader_of(&self, group: &PodGroup) -> Option<Arc<PodRecord>> {
        self.state().by_group.get(group)?.leader.clone()
    }

    /// The active leaders of a JobSet, by its namespace and name.
    pub(crate) fn leaders_of_jobset(&self, namespace: &str, name: &str) -> Vec<Arc<PodRecord>> {
        self.state().groups_of(namespace, name).filter_map(|group| group.leader.clone()).collect()
    }

    /// The Jobs whose pods exclusive placement places.
    pub(crate) fn placed_groups(&self) -> Vec<Arc<PodGroup>> {
        self.state().by_group.keys().filter(|group| group.topology.is_some()).cloned().collect()
    }
}

impl State {
    fn groups_of(&self, namespace: &str, name: &str) -> impl Iterator<Item = &Members> {
        let groups = self.by_jobset.get(&(namespace.into(), name.into())).into_iter().flatten();
        groups.filter_map(|group| self.by_group.get(group))
    }

    /// The group of a pod, shared with the other pods of the group.
    fn group(&self, pod: &ObservedPod) -> Arc<PodGroup> {
        let group = PodGroup {
            namespace: pod.metadata.namespace.as_deref().unwrap_or("").into(),
            jobset: pod.jobset().into(),
            jobset_uid: pod.jobset_uid().map(Uid::from),
            job: pod.job().map(Uid::from),
            topology: pod.topology().map(Into::into),
        };
        self.by_group.get_key_value(&group).map_or_else(|| Arc::new(group), |(known, _)| known.clone())
    }

    fn remove(&mut self, uid: &Uid) -> Option<PodChange> {
        let before = self.pods.take(uid)?.0;
        self.unlink(&before);
        Some(PodChange { before: Some(before), now: None })
    }

    /// Adds a record to the maps other than `pods`.
    fn link(&mut self, record: &Arc<PodRecord>) {
        let group = &record.group;
        let siblings = self.by_group.entry(group.clone()).or_default();
        if siblings.pods.is_empty() {
            let jobset = (group.namespace.clone(), group.jobset.clone());
            self.by_jobset.entry(jobset).or_default().insert(group.clone());
        }
        siblings.pods.insert(ByUid(record.clone()));
        if record.is_leader() && record.is_active() {
            siblings.leader = Some(record.clone());
        }
        if let Some(jobset) = group.jobset_uid.as_ref().filter(|_| report(Some(record)) != report(None)) {
            self.in_place.entry(jobset.clone()).or_default().add(record);
        }
        if let Some(key) = leader_key_of(record) {
            self.leaders.entry(key).or_insert_with(|| Vec::with_capacity(1)).push(record.clone());
        }
    }

    /// Removes a record from the maps other than `pods`.
    fn unlink(&mut self, record: &PodRecord) {
        let group = &record.group;
        if let Some(siblings) = self.by_group.get_mut(group) {
            siblings.pods.remove(&record.uid);
            siblings.leader.take_if(|leader| leader.uid == record.uid);
            if siblings.pods.is_empty() {
                self.by_group.remove(group);
                let jobset = (group.namespace.clone(), group.jobset.clone());
                if let Some(groups) = self.by_jobset.get_mut(&jobset) {
                    groups.remove(group);
                    if groups.is_empty() {
                        self.by_jobset.remove(&jobset);
                    }
                }
            }
        }
        if let Some(jobset) = &group.jobset_uid
            && let Some(counts) = self.in_place.get_mut(jobset)
        {
            counts.remove(record);
            if counts.is_empty() {
                self.in_place.remove(jobset);
            }
        }
        if let Some(key) = leader_key_of(record)
            && let Some(leaders) = self.leaders.get_mut(&key)
        {
            leaders.retain(|leader| leader.uid != record.uid);
            if leaders.is_empty() {
                self.leaders.remove(&key);
            }
        }
    }
}

/// The key of a leader that exclusive placement places. The Job controller names pods `<job>-<index>-<random>`.
fn leader_key_of(record: &PodRecord) -> Option<Box<str>> {
    let (base, _) = record.name.rsplit_once('-')?;
    let leads = record.is_leader() && record.group.topology.is_some();
    leads.then(|| leader_key(&record.group.namespace, base))
}

fn leader_key(namespace: &str, base: &str) -> Box<str> {
    format!("{namespace}/{base}").into()
}

#[cfg(test)]
#[path = "pods_test.rs"]
mod tests;
