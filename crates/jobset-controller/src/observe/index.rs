//! What the controller knows of the cluster: JobSets whole, their children as short records.
//!
//! Children are found by the UID of their owner, so that a JobSet that was deleted and created again under the
//! same name never meets the children of its ancestor. The index itself neither waits nor asks: every change
//! returns the UIDs of the JobSets that need a look.

use super::{
    child_job::ChildJob,
    named::{Key, Named},
    versioned::{Source, Versioned},
};
use jobset_api::JobSet;
use jobset_plan::{JobRecord, ServiceRecord, claim_names, subdomain};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A JobSet and its children, as known at one moment.
pub(crate) struct Family {
    pub(crate) jobset: Arc<JobSet>,
    pub(crate) jobs: Vec<JobRecord>,
    pub(crate) service: Option<ServiceRecord>,
    pub(crate) claims: BTreeSet<String>,
}

/// What is known of a Job beside its record.
#[derive(Debug)]
struct OwnedJob {
    owner: String,
    namespace: String,
    record: JobRecord,
}

#[derive(Default)]
struct State {
    jobsets: Versioned<Arc<JobSet>>,
    jobs: Versioned<OwnedJob>,
    /// By owner: UIDs of Jobs by name.
    jobs_of: HashMap<String, BTreeMap<String, String>>,
    services: Named<ServiceRecord>,
    claims: Named<()>,
}

/// See the module. Clones share the state.
#[derive(Clone, Default)]
pub(crate) struct Index(Arc<Mutex<State>>);

/// Kinds of object that the index keeps.
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

    /// The JobSet of this UID with its children, Jobs in the order of their names.
    pub(crate) fn family(&self, uid: &str) -> Option<Family> {
        let state = self.state();
        let jobset = state.jobsets.get(uid)?.clone();
        let names = state.jobs_of.get(uid).into_iter().flatten();
        let jobs = names.filter_map(|(_, job)| Some(state.jobs.get(job)?.record.clone())).collect();
        let namespace = jobset.metadata.namespace.clone().unwrap_or_default();
        let service = (namespace.clone(), subdomain(&jobset).to_owned());
        let service = state.services.get(&service).cloned();
        let asked = claim_names(&jobset).map(|name| (namespace.clone(), name));
        let exist = asked.filter(|key| state.claims.get(key).is_some());
        let claims = exist.map(|(_, name)| name).collect();
        Some(Family { jobset, jobs, service, claims })
    }

    /// Whether there is a JobSet of this UID.
    pub(crate) fn has_jobset(&self, uid: &str) -> bool {
        self.state().jobsets.get(uid).is_some()
    }

    /// How many objects of each kind are known.
    pub(crate) fn sizes(&self) -> [(&'static str, usize); 4] {
        let state = self.state();
        [
            ("JobSet", state.jobsets.len()),
            ("Job", state.jobs.len()),
            ("Service", state.services.len()),
            ("PersistentVolumeClaim", state.claims.len()),
        ]
    }

    /// A JobSet was seen.
    pub(crate) fn apply_jobset(&self, mut jobset: JobSet, source: Source) -> Option<String> {
        // Nobody here reads them, and they can be larger than the rest.
        jobset.metadata.managed_fields = None;
        let (uid, version) = identity(&jobset.metadata)?;
        let news = self.state().jobsets.apply(&uid, &version, source, Arc::new(jobset)).is_ok();
        news.then_some(uid)
    }

    /// A JobSet cannot be read: it is left alone until it can.
    pub(crate) fn unreadable_jobset(&self, uid: &str) {
        let mut state = self.state();
        state.jobsets.seen(uid);
        state.jobsets.forget(uid);
    }

    /// A Job cannot be read: what was known of it holds until it can.
    pub(crate) fn unreadable_job(&self, uid: &str) {
        self.state().jobs.seen(uid);
    }

    /// UIDs of all JobSets.
    pub(crate) fn jobsets(&self) -> Vec<String> {
        self.state().jobsets.values().filter_map(|jobset| jobset.metadata.uid.clone()).collect()
    }

    /// A JobSet is gone.
    pub(crate) fn end_jobset(&self, uid: &str) {
        self.state().jobsets.end(uid);
    }

    /// A Job was seen. Returns the JobSet that it belongs to, or belonged to until now.
    pub(crate) fn apply_job(&self, job: &ChildJob, source: Source) -> Option<String> {
        let (uid, version) = identity(&job.metadata)?;
        let record = job.record();
        let Some(owner) = job.owner().map(str::to_owned) else {
            // Somebody may have taken it away from its JobSet.
            let mut state = self.state();
            let before = state.jobs.dismiss(&uid, &version)?;
            state.forget_job_name(&before.owner, &record.name, &uid);
            return Some(before.owner);
        };
        let namespace = job.metadata.namespace.clone().unwrap_or_default();
        let name = record.name.clone();
        let mut state = self.state();
        if source == Source::Answer && state.jobs.is_bygone(&uid, &version) {
            return None;
        }
        let known = OwnedJob { owner: owner.clone(), namespace, record };
        let before = state.jobs.apply(&uid, &version, source, known).ok()?;
        if let Some(before) = before.filter(|before| before.owner != owner) {
            state.forget_job_name(&before.owner, &name, &uid);
        }
        let State { jobs, jobs_of, .. } = &mut *state;
        let names = jobs_of.entry(owner.clone()).or_default();
        // The watch may come to tell of a predecessor after an answer told of this name's present holder.
        if jobs.succeeds(names.get(&name), &uid) {
            names.insert(name, uid);
        }
        Some(owner)
    }

    /// A Job is gone. Returns the JobSet that it belonged to.
    pub(crate) fn end_job(&self, uid: &str) -> Option<String> {
        let mut state = self.state();
        let job = state.jobs.end(uid)?;
        state.forget_job_name(&job.owner, &job.record.name, uid);
        Some(job.owner)
    }

    /// A Service was seen. Returns its key if it is new or changed; see [`Self::users_of`].
    pub(crate) fn apply_service(
        &self,
        metadata: &ObjectMeta,
        record: ServiceRecord,
        source: Source,
    ) -> Option<Key> {
        self.state().services.apply(metadata, source, record)
    }

    /// A claim was seen.
    pub(crate) fn apply_claim(&self, metadata: &ObjectMeta, source: Source) {
        self.state().claims.apply(metadata, source, ());
    }

    /// The JobSets that use the Service or the claim of this name. Goes through all JobSets.
    pub(crate) fn users_of(&self, kind: Kind, key: &Key) -> Vec<String> {
        self.state().users_of(kind, key)
    }

    /// A Service or a claim is gone. Returns the JobSets that use it.
    pub(crate) fn end_named(&self, kind: Kind, uid: &str) -> Vec<String> {
        let mut state = self.state();
        let ended = match kind {
            Kind::Services => state.services.end(uid),
            Kind::Claims => state.claims.end(uid),
            Kind::JobSets | Kind::Jobs => None,
        };
        ended.map(|key| state.users_of(kind, &key)).unwrap_or_default()
    }

    /// A list did not contain a Service or a claim that the controller created. Returns the JobSets that use it.
    fn forget_named(&self, kind: Kind, uid: &str) -> Vec<String> {
        let mut state = self.state();
        let forgotten = match kind {
            Kind::Services => state.services.forget(uid),
            Kind::Claims => state.claims.forget(uid),
            Kind::JobSets | Kind::Jobs => None,
        };
        forgotten.map(|key| state.users_of(kind, &key)).unwrap_or_default()
    }

    /// A list of a kind begins.
    pub(crate) fn begin_list(&self, kind: Kind) {
        let mut state = self.state();
        match kind {
            Kind::JobSets => state.jobsets.begin_list(),
            Kind::Jobs => state.jobs.begin_list(),
            Kind::Services => state.services.begin_list(),
            Kind::Claims => state.claims.begin_list(),
        }
    }

    /// A list is complete. Returns the JobSets that need a look, and the Jobs (namespace, name, UID) that only
    /// our own writes told of: somebody has to ask whether they exist.
    pub(crate) fn finish_list(&self, kind: Kind) -> (Vec<String>, Vec<(String, String, String)>) {
        let (gone, doubtful) = {
            let mut state = self.state();
            match kind {
                Kind::JobSets => state.jobsets.finish_list(),
                Kind::Jobs => state.jobs.finish_list(),
                Kind::Services => state.services.finish_list(),
                Kind::Claims => state.claims.finish_list(),
            }
        };
        let look = match kind {
            Kind::JobSets => {
                for uid in &gone {
                    self.end_jobset(uid);
                }
                gone
            }
            Kind::Jobs => gone.iter().filter_map(|uid| self.end_job(uid)).collect(),
            // One that we made and that is not listed yet will be created again at worst, and then found.
            Kind::Services | Kind::Claims => {
                let ended = gone.iter().flat_map(|uid| self.end_named(kind, uid));
                let doubted = doubtful.iter().flat_map(|uid| self.forget_named(kind, uid));
                ended.chain(doubted).collect()
            }
        };
        let state = self.state();
        let name_of = |uid: String| {
            let job = state.jobs.get(&uid)?;
            Some((job.namespace.clone(), job.record.name.clone(), uid))
        };
        let doubtful =
            if kind == Kind::Jobs { doubtful.into_iter().filter_map(name_of).collect() } else { Vec::new() };
        (look, doubtful)
    }
}

impl State {
    /// The JobSets that use the Service or the claim of this name.
    fn users_of(&self, kind: Kind, (namespace, name): &Key) -> Vec<String> {
        let wants = |jobset: &JobSet| match kind {
            Kind::Claims => claim_names(jobset).any(|wanted| wanted == *name),
            _ => subdomain(jobset) == name,
        };
        let of_namespace = |jobset: &&Arc<JobSet>| jobset.metadata.namespace.as_deref() == Some(namespace);
        let users = self.jobsets.values().filter(of_namespace).filter(|jobset| wants(jobset));
        users.filter_map(|jobset| jobset.metadata.uid.clone()).collect()
    }

    fn forget_job_name(&mut self, owner: &str, name: &str, uid: &str) {
        if let Some(names) = self.jobs_of.get_mut(owner) {
            // The name may belong to a successor already.
            if names.get(name).is_some_and(|known| known == uid) {
                names.remove(name);
            }
            if names.is_empty() {
                self.jobs_of.remove(owner);
            }
        }
    }
}

/// UID and resource version.
fn identity(metadata: &ObjectMeta) -> Option<(String, String)> {
    Some((metadata.uid.clone()?, metadata.resource_version.clone()?))
}

#[cfg(test)]
mod tests {
    use super::{
        Source::{Answer, Watch},
        *,
    };
    use serde_json::json;

    fn jobset(uid: &str, version: u32) -> JobSet {
        let meta =
            json!({"name": "train", "namespace": "team", "uid": uid, "resourceVersion": version.to_string()});
        serde_json::from_value(json!({"metadata": meta, "spec": {"network": {"subdomain": "net"}}})).unwrap()
    }

    fn job(uid: &str, owner: &str, version: u32) -> ChildJob {
        let owner = json!({"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "name": "train", "uid": owner, "controller": true});
        serde_json::from_value(json!({"metadata": {
            "name": "train-worker-0", "namespace": "team", "uid": uid, "resourceVersion": version.to_string(),
            "ownerReferences": [owner],
        }}))
        .unwrap()
    }

    /// Applies the Service `net` with a selector of this key. Returns the JobSets to reconcile.
    fn apply_service(index: &Index, uid: &str, version: u32, selector: &str, source: Source) -> Vec<String> {
        let version = version.to_string();
        let metadata = serde_json::from_value(
            json!({"name": "net", "namespace": "team", "uid": uid, "resourceVersion": version}),
        );
        let selector = [(selector.to_owned(), String::new())].into();
        let record = ServiceRecord { uid: uid.to_owned(), selector, ..ServiceRecord::default() };
        let changed = index.apply_service(&metadata.unwrap(), record, source);
        changed.map(|key| index.users_of(Kind::Services, &key)).unwrap_or_default()
    }

    /// The selector of the Service that the JobSet `set` uses.
    fn selected(index: &Index) -> Option<String> {
        index.family("set").unwrap().service.and_then(|service| service.selector.into_keys().next())
    }

    fn jobs(index: &Index, uid: &str) -> Vec<String> {
        index.family(uid).unwrap().jobs.into_iter().map(|job| job.uid).collect()
    }

    #[test]
    fn a_recreated_jobset_does_not_meet_old_children() {
        let index = Index::default();
        index.apply_jobset(jobset("old", 1), Watch);
        index.apply_job(&job("job-of-old", "old", 2), Watch);
        index.end_jobset("old");
        assert_eq!(index.apply_jobset(jobset("new", 3), Watch), Some("new".into()));
        assert!(jobs(&index, "new").is_empty());
        assert!(index.family("old").is_none());
    }

    #[test]
    fn a_successor_keeps_the_name_when_the_end_of_the_old_job_comes_late() {
        let index = Index::default();
        index.apply_jobset(jobset("set", 1), Watch);
        index.apply_job(&job("first", "set", 2), Watch);
        index.apply_job(&job("second", "set", 4), Answer);
        assert_eq!(index.end_job("first"), Some("set".into()));
        assert_eq!(jobs(&index, "set"), ["second"]);
    }

    #[test]
    fn a_successor_keeps_the_name_when_everything_of_the_old_one_comes_late() {
        let index = Index::default();
        index.apply_jobset(jobset("set", 1), Watch);
        index.apply_job(&job("second", "set", 4), Answer);
        index.apply_job(&job("first", "set", 2), Watch);
        assert_eq!(jobs(&index, "set"), ["second"]);
        index.end_job("first");
        assert_eq!(index.apply_job(&job("second", "set", 4), Watch), None);
        assert_eq!(jobs(&index, "set"), ["second"]);

        apply_service(&index, "new", 4, "app", Answer);
        apply_service(&index, "old", 2, "app", Watch);
        index.end_named(Kind::Services, "old");
        apply_service(&index, "new", 4, "app", Watch);
        assert_eq!(selected(&index), Some("app".into()));
    }

    #[test]
    fn an_answer_is_known_before_the_watch_tells_of_it() {
        let index = Index::default();
        index.apply_jobset(jobset("set", 1), Watch);
        assert_eq!(index.apply_job(&job("j", "set", 9), Answer), Some("set".into()));
        assert_eq!(jobs(&index, "set"), ["j"]);
        assert_eq!(index.apply_job(&job("j", "set", 9), Watch), None, "no news");
    }

    #[test]
    fn what_cannot_be_read_is_there_all_the_same() {
        let index = Index::default();
        index.apply_jobset(jobset("set", 1), Watch);
        index.apply_job(&job("j", "set", 2), Watch);
        for kind in [Kind::JobSets, Kind::Jobs] {
            index.begin_list(kind);
        }
        index.unreadable_jobset("set");
        index.unreadable_job("j");
        for kind in [Kind::JobSets, Kind::Jobs] {
            assert_eq!(index.finish_list(kind), (vec![], vec![]));
        }
        assert!(index.family("set").is_none(), "left alone");
        assert_eq!(index.apply_jobset(jobset("set", 3), Watch), Some("set".into()));
        assert_eq!(jobs(&index, "set"), ["j"]);
    }

    #[test]
    fn a_job_that_lost_its_owner_is_no_child_any_more() {
        let index = Index::default();
        index.apply_jobset(jobset("set", 1), Watch);
        index.apply_job(&job("j", "set", 5), Watch);
        let mut orphan = job("j", "set", 4);
        orphan.metadata.owner_references = None;
        assert_eq!(index.apply_job(&orphan, Watch), None, "older than what is known");
        orphan.metadata.resource_version = Some("6".into());
        assert_eq!(index.apply_job(&orphan, Watch), Some("set".into()));
        assert!(jobs(&index, "set").is_empty());
        assert_eq!(index.apply_job(&job("j", "set", 7), Watch), Some("set".into()), "and it may come back");
    }

    #[test]
    fn a_service_serves_whoever_names_it() {
        let index = Index::default();
        index.apply_jobset(jobset("set", 1), Watch);
        assert_eq!(selected(&index), None);
        assert_eq!(apply_service(&index, "svc", 5, "app", Watch), ["set"]);
        assert_eq!(selected(&index), Some("app".into()));
        assert_eq!(index.end_named(Kind::Services, "svc"), ["set"]);
        assert_eq!(selected(&index), None);
    }

    #[test]
    fn a_changed_service_is_news_to_the_jobsets_that_use_it() {
        let index = Index::default();
        index.apply_jobset(jobset("set", 1), Watch);
        assert_eq!(apply_service(&index, "svc", 5, "app", Answer), ["set"]);
        assert_eq!(apply_service(&index, "svc", 5, "app", Watch), [""; 0], "known");
        assert_eq!(
            apply_service(&index, "svc", 6, "app", Watch),
            [""; 0],
            "only its metadata or status changed"
        );
        assert_eq!(apply_service(&index, "svc", 7, "tier", Watch), ["set"]);
        assert_eq!(apply_service(&index, "svc", 6, "app", Watch), [""; 0], "old");
        assert_eq!(selected(&index), Some("tier".into()));
        assert_eq!(apply_service(&index, "next", 9, "tier", Watch), ["set"], "a successor");
    }

    #[test]
    fn a_service_that_a_list_was_too_old_to_hold_is_found_again() {
        let index = Index::default();
        index.apply_jobset(jobset("set", 1), Watch);
        index.begin_list(Kind::Services);
        apply_service(&index, "svc", 5, "app", Answer);
        assert_eq!(index.finish_list(Kind::Services), (vec!["set".to_owned()], vec![]));
        assert_eq!(selected(&index), None);
        apply_service(&index, "svc", 5, "app", Watch);
        assert_eq!(selected(&index), Some("app".into()));
    }

    #[test]
    fn a_new_list_ends_jobs_and_doubts_only_what_we_made() {
        let index = Index::default();
        index.apply_jobset(jobset("set", 1), Watch);
        index.apply_job(&job("watched", "set", 2), Watch);
        index.begin_list(Kind::Jobs);
        assert_eq!(index.finish_list(Kind::Jobs), (vec!["set".to_owned()], vec![]));
        index.apply_job(&job("ours", "set", 3), Answer);
        index.begin_list(Kind::Jobs);
        let doubtful = ("team".to_owned(), "train-worker-0".to_owned(), "ours".to_owned());
        assert_eq!(index.finish_list(Kind::Jobs), (vec![], vec![doubtful]));
    }
}
