//! The controller's view of the cluster: JobSets as text, and their children as short records.
//!
//! The index finds children by the UID of their owner. A JobSet that a user deletes and creates again under the same
//! name never gets the children of its predecessor. The index does no I/O: every change returns the UIDs of the JobSets
//! that need a reconcile.
//!
//! A reconcile takes an [`ObservedJobSet`], which shares the records of children with the index. Its cost does not depend
//! on the number of Jobs. The first change of a Job while a reconcile holds one copies the list of pointers, but no record.

use super::{
    child_job::ChildJob,
    jobset_record::JobSetRecord,
    named::{Key, Named},
    owned::{Item, Owned, Record},
    scheduling::{ObservedScheduling, SchedulingKind, SchedulingObjects},
    service::ObservedService,
    subdomains::Subdomains,
    versioned::{Source, Versioned},
};
use jobset_api::JobSet;
use jobset_plan::{Controller, JobRecord, ServiceRecord, validation::headless_service};
use k8s_openapi::{
    api::scheduling::v1beta1::{PodGroup, Workload},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A JobSet and its children, as the index holds them.
#[derive(Clone)]
pub(crate) struct ObservedJobSet {
    pub(crate) jobset: JobSet,
    /// Sorted by name.
    pub(crate) jobs: Arc<Vec<Arc<JobRecord>>>,
    pub(crate) service: Option<ServiceRecord>,
    pub(crate) claims: BTreeSet<String>,
    pub(crate) scheduling: ObservedScheduling,
}

/// A Job that only the response to a write contained, and that a list does not contain: either it is newer than the
/// list, or it is already deleted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct UnconfirmedJob {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// The content of the response to a request of the controller.
#[derive(Debug)]
pub(crate) enum Observation {
    JobSet(Box<JobSet>),
    Job(Box<ChildJob>),
    Service(Box<ObservedService>),
    Claim(Box<ObjectMeta>),
    /// The JobSet with this UID does not exist.
    JobSetGone(String),
    /// The Job with this UID does not exist.
    JobGone(String),
    Workload(Box<Workload>),
    PodGroup(Box<PodGroup>),
    /// The Workload or PodGroup with this UID does not exist.
    SchedulingGone(SchedulingKind, String),
}

#[derive(Default)]
struct State {
    jobsets: Versioned<JobSetRecord>,
    subdomains: Subdomains,
    jobs: Owned<JobRecord>,
    scheduling: SchedulingObjects,
    services: Named<ServiceRecord>,
    claims: Named<()>,
}

/// The index. Clones share the state.
#[derive(Clone, Default)]
pub struct Index(Arc<Mutex<State>>);

/// Kinds of objects in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    JobSets,
    Jobs,
    Services,
    Claims,
}

impl Index {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The JobSet with this UID, and its children.
    pub(crate) fn observe(&self, uid: &str) -> Option<ObservedJobSet> {
        let state = self.state();
        let record = state.jobsets.get(uid)?;
        let text = record.text();
        let jobs = state.jobs.of(uid);
        let scheduling = state.scheduling.of(uid);
        let key = |name: &str| (record.namespace.to_string(), name.to_owned());
        let service = state.services.get(&key(&record.subdomain)).map(|service| state.with_owner(service));
        let claims = record.claims.iter().map(|name| key(name));
        let existing = claims.filter(|key| state.claims.get(key).is_some());
        let claims = existing.map(|(_, name)| name).collect();
        drop(state);
        // It was decoded before.
        let jobset = text.decode().ok()?;
        Some(ObservedJobSet { jobset, jobs, service, claims, scheduling })
    }

    /// Whether the index contains a JobSet with this UID.
    pub(crate) fn has_jobset(&self, uid: &str) -> bool {
        self.state().jobsets.get(uid).is_some()
    }

    /// Whether the JobSet with this UID restarts in place. None for an unknown JobSet.
    pub(crate) fn restarts_in_place(&self, uid: &str) -> Option<bool> {
        self.state().jobsets.get(uid).map(|jobset| jobset.restarts_in_place)
    }

    /// The number of objects of each kind.
    pub(crate) fn sizes(&self) -> [(&'static str, usize); 6] {
        let state = self.state();
        let [workloads, pod_groups] = state.scheduling.sizes();
        [
            ("JobSet", state.jobsets.len()),
            ("Job", state.jobs.len()),
            ("Service", state.services.len()),
            ("PersistentVolumeClaim", state.claims.len()),
            workloads,
            pod_groups,
        ]
    }

    /// Stores the content of a response, so that no later plan is older than the controller's own writes. Returns the
    /// JobSet that needs a reconcile if a Job or a JobSet changed.
    pub(crate) fn store(&self, observation: Observation) -> Option<String> {
        match observation {
            Observation::JobSet(jobset) => self.apply_jobset(&jobset, Source::Answer),
            Observation::Job(job) => self.apply_job(&job, Source::Answer),
            Observation::Service(service) => {
                self.apply_service(&service, Source::Answer);
                None
            }
            Observation::Claim(metadata) => {
                self.apply_claim(&metadata, Source::Answer);
                None
            }
            Observation::JobSetGone(uid) => {
                self.end_jobset(&uid);
                None
            }
            Observation::JobGone(uid) => self.end_job(&uid),
            Observation::Workload(workload) => {
                self.scheduling(|objects| objects.apply_workload(*workload, Source::Answer))
            }
            Observation::PodGroup(pod_group) => {
                self.scheduling(|objects| objects.apply_pod_group(*pod_group, Source::Answer))
            }
            Observation::SchedulingGone(kind, uid) => self.scheduling(|objects| objects.end(kind, &uid)),
        }
    }

    /// Stores a JobSet. Returns its UID, or None if the index holds the same or a newer version.
    pub(crate) fn apply_jobset(&self, jobset: &JobSet, source: Source) -> Option<String> {
        let (uid, version) = identity(&jobset.metadata)?;
        // It was decoded from text.
        let record = JobSetRecord::new(jobset).ok()?;
        let service = record.headless_service_key();
        let mut state = self.state();
        let before = state.jobsets.apply(&uid, &version, source, record).ok()?;
        if let Some(before) = before {
            state.subdomains.remove(&uid, before.headless_service_key());
        }
        state.subdomains.add(&uid, service);
        Some(uid)
    }

    /// The name of another JobSet whose pods get their host names from the same headless Service.
    pub(crate) fn shares_subdomain(&self, jobset: &JobSet) -> Option<String> {
        let state = self.state();
        let service = headless_service(jobset)?.to_owned();
        let key = (jobset.metadata.namespace.clone().unwrap_or_default(), service);
        // A user's own Service can select the pods of both.
        if state.services.get(&key).is_some_and(|service| service.controller.is_none()) {
            return None;
        }
        let others = state.subdomains.users(&key).filter_map(|uid| state.jobsets.get(uid));
        let mut names = others.filter(|other| !other.is_deleting).map(|other| &*other.name);
        names.find(|name| jobset.metadata.name.as_deref() != Some(name)).map(str::to_owned)
    }

    /// The topology keys of exclusive placement that JobSets name. Iterates over all JobSets.
    pub(crate) fn topology_keys(&self) -> BTreeSet<String> {
        let state = self.state();
        state.jobsets.values().flat_map(|jobset| &jobset.topology_keys).map(ToString::to_string).collect()
    }

    /// Removes a JobSet that the controller cannot decode. The controller ignores it until it changes.
    pub(crate) fn unreadable_jobset(&self, uid: &str) {
        let mut state = self.state();
        state.jobsets.mark_listed(uid);
        let before = state.jobsets.forget(uid);
        before.inspect(|before| state.subdomains.remove(uid, before.headless_service_key()));
    }

    /// Marks an undecodable Job as existing. Its last record stays valid.
    pub(crate) fn unreadable_job(&self, uid: &str) {
        self.state().jobs.mark_listed(uid);
    }

    /// UIDs of all JobSets.
    pub(crate) fn jobsets(&self) -> Vec<String> {
        self.state().jobsets.iter().map(|(uid, _)| uid.to_owned()).collect()
    }

    /// Removes a deleted JobSet.
    pub(crate) fn end_jobset(&self, uid: &str) {
        let mut state = self.state();
        let before = state.jobsets.end(uid);
        before.inspect(|before| state.subdomains.remove(uid, before.headless_service_key()));
    }

    /// Stores a Job. Returns its owner, or its previous owner if a user removed the owner reference.
    pub(crate) fn apply_job(&self, job: &ChildJob, source: Source) -> Option<String> {
        let record = job.record();
        self.state().jobs.apply(&job.metadata, job.owner(), source, || record)
    }

    /// Removes a deleted Job. Returns the JobSet that owned it.
    pub(crate) fn end_job(&self, uid: &str) -> Option<String> {
        self.state().jobs.end(uid)
    }

    /// Gives access to the Workloads and PodGroups.
    pub(crate) fn scheduling<T>(&self, use_them: impl FnOnce(&mut SchedulingObjects) -> T) -> T {
        use_them(&mut self.state().scheduling)
    }

    /// UIDs of the JobSets that use `spec.scheduling`. Iterates over all JobSets.
    pub(crate) fn jobsets_with_scheduling(&self) -> Vec<String> {
        let state = self.state();
        let users = state.jobsets.iter().filter(|(_, jobset)| jobset.uses_scheduling);
        users.map(|(uid, _)| uid.to_owned()).collect()
    }

    /// Stores a Service. Returns its key if it is new or changed; see [`Self::users_of`].
    pub(crate) fn apply_service(&self, service: &ObservedService, source: Source) -> Option<Key> {
        self.state().services.apply(&service.metadata, source, service.record())
    }

    /// Stores a claim.
    pub(crate) fn apply_claim(&self, metadata: &ObjectMeta, source: Source) {
        self.state().claims.apply(metadata, source, ());
    }

    /// The JobSets that use the Service or the claim with this name. Iterates over all JobSets.
    pub(crate) fn users_of(&self, kind: Kind, key: &Key) -> Vec<String> {
        self.state().users_of(kind, key)
    }

    /// Removes a deleted Service or claim. Returns the JobSets that use it.
    pub(crate) fn end_named(&self, kind: Kind, uid: &str) -> Vec<String> {
        let mut state = self.state();
        let ended = match kind {
            Kind::Services => state.services.end(uid),
            Kind::Claims => state.claims.end(uid),
            Kind::JobSets | Kind::Jobs => None,
        };
        ended.map(|key| state.users_of(kind, &key)).unwrap_or_default()
    }

    /// Removes a Service or a claim that the controller created and a list does not contain. Returns the JobSets that
    /// use it.
    fn forget_unconfirmed(&self, kind: Kind, uid: &str) -> Vec<String> {
        let mut state = self.state();
        let forgotten = match kind {
            Kind::Services => state.services.forget_unconfirmed(uid),
            Kind::Claims => state.claims.forget_unconfirmed(uid),
            Kind::JobSets | Kind::Jobs => None,
        };
        forgotten.map(|key| state.users_of(kind, &key)).unwrap_or_default()
    }

    /// Begins a list of a kind.
    pub(crate) fn begin_list(&self, kind: Kind) {
        let mut state = self.state();
        match kind {
            Kind::JobSets => state.jobsets.begin_list(),
            Kind::Jobs => state.jobs.begin_list(),
            Kind::Services => state.services.begin_list(),
            Kind::Claims => state.claims.begin_list(),
        }
    }

    /// Completes a list of a kind. Returns the JobSets that need a reconcile, and the Jobs whose existence the caller
    /// must verify.
    pub(crate) fn finish_list(&self, kind: Kind) -> (Vec<String>, Vec<UnconfirmedJob>) {
        let (gone, unconfirmed) = {
            let mut state = self.state();
            match kind {
                Kind::JobSets => state.jobsets.finish_list(),
                Kind::Jobs => {
                    let (requeue, unconfirmed) = state.jobs.finish_list();
                    let to_verify = |uid: String| {
                        let Item { namespace, record, .. } = state.jobs.get(&uid)?;
                        Some(UnconfirmedJob { namespace: namespace.clone(), name: record.name.clone(), uid })
                    };
                    return (requeue, unconfirmed.into_iter().filter_map(to_verify).collect());
                }
                Kind::Services => state.services.finish_list(),
                Kind::Claims => state.claims.finish_list(),
            }
        };
        if kind == Kind::JobSets {
            for uid in &gone {
                self.end_jobset(uid);
            }
            return (gone, Vec::new());
        }
        // If the object exists after all, the controller tries to create it again, and then finds it.
        let ended = gone.iter().flat_map(|uid| self.end_named(kind, uid));
        let forgotten = unconfirmed.iter().flat_map(|uid| self.forget_unconfirmed(kind, uid));
        (ended.chain(forgotten).collect(), Vec::new())
    }
}

impl State {
    /// The JobSets that use the Service or the claim with this name.
    fn users_of(&self, kind: Kind, key: &Key) -> Vec<String> {
        // The controller watches every Service of the cluster: a scan of all JobSets for each would be expensive.
        if kind == Kind::Services {
            return self.subdomains.users(key).map(str::to_owned).collect();
        }
        let (namespace, name) = key;
        let uses = |jobset: &JobSetRecord| {
            *jobset.namespace == **namespace && jobset.claims.iter().any(|claim| **claim == **name)
        };
        self.jobsets.iter().filter(|(_, jobset)| uses(jobset)).map(|(uid, _)| uid.to_owned()).collect()
    }

    /// The record of a Service, with the state of the JobSet that controls it.
    fn with_owner(&self, service: &ServiceRecord) -> ServiceRecord {
        let is_gone = |owner: &Controller| {
            owner.kind == jobset_api::jobset::KIND
                && self.jobsets.get(&owner.uid).is_none_or(|jobset| jobset.is_deleting)
        };
        let will_be_deleted = service.will_be_deleted || service.controller.as_ref().is_some_and(is_gone);
        ServiceRecord { will_be_deleted, ..service.clone() }
    }
}

impl Record for JobRecord {
    fn name(&self) -> &str {
        &self.name
    }

    fn uid(&self) -> &str {
        &self.uid
    }
}

/// UID and resource version.
fn identity(metadata: &ObjectMeta) -> Option<(String, String)> {
    Some((metadata.uid.clone()?, metadata.resource_version.clone()?))
}

#[cfg(test)]
#[path = "index_test.rs"]
mod tests;
