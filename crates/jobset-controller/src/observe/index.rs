//! What the controller knows of the cluster: JobSets whole, their children as short records.
//!
//! Children are found by the UID of their owner, so that a JobSet that was deleted and created again under the
//! same name never meets the children of its ancestor. The index itself neither waits nor asks: every change
//! returns the UIDs of the JobSets that need a look.

use super::{
    child_job::ChildJob,
    subdomains::Subdomains,
    versioned::{Source, Versioned},
};
use jobset_api::JobSet;
use jobset_plan::{JobRecord, claim_names, subdomain};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A JobSet and its children, as known at one moment.
pub(crate) struct Family {
    pub(crate) jobset: Arc<JobSet>,
    pub(crate) jobs: Vec<JobRecord>,
    pub(crate) service_exists: bool,
    pub(crate) claims: BTreeSet<String>,
}

/// What is known of a Job beside its record.
#[derive(Debug)]
struct OwnedJob {
    owner: String,
    namespace: String,
    record: JobRecord,
}

/// Name of a namespaced object, and its namespace first.
type Key = (String, String);

#[derive(Default)]
struct State {
    jobsets: Versioned<Arc<JobSet>>,
    subdomains: Subdomains,
    jobs: Versioned<OwnedJob>,
    /// By owner: UIDs of Jobs by name.
    jobs_of: HashMap<String, BTreeMap<String, String>>,
    services: Named,
    claims: Named,
}

/// Objects of which only the name matters.
#[derive(Default)]
struct Named {
    objects: Versioned<Key>,
    /// Their UIDs.
    by_name: HashMap<Key, String>,
}

impl Named {
    fn apply(&mut self, metadata: &ObjectMeta, source: Source) {
        let Some((uid, version)) = identity(metadata) else { return };
        let key = (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default());
        let news = self.objects.apply(&uid, &version, source, key.clone()).is_ok();
        // The watch may come to tell of a predecessor after an answer told of this name's present holder.
        if news && self.objects.succeeds(self.by_name.get(&key), &uid) {
            self.by_name.insert(key, uid);
        }
    }

    fn end(&mut self, uid: &str) -> Option<Key> {
        let key = self.objects.end(uid)?;
        self.forget_name(&key, uid);
        Some(key)
    }

    /// Only an answer told of it, and a list did not hold it. Were it taken for gone, it could never be seen again.
    fn doubt(&mut self, uid: &str) -> Option<Key> {
        let key = self.objects.forget(uid)?;
        self.forget_name(&key, uid);
        Some(key)
    }

    fn forget_name(&mut self, key: &Key, uid: &str) {
        // The name may belong to a successor already.
        if self.by_name.get(key).is_some_and(|known| known == uid) {
            self.by_name.remove(key);
        }
    }
}

/// See the module. Clones share the state.
#[derive(Clone, Default)]
pub struct Index(Arc<Mutex<State>>);

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
        let service_exists = state.services.by_name.contains_key(&service);
        let asked = claim_names(&jobset).map(|name| (namespace.clone(), name));
        let exist = asked.filter(|key| state.claims.by_name.contains_key(key));
        let claims = exist.map(|(_, name)| name).collect();
        Some(Family { jobset, jobs, service_exists, claims })
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
            ("Service", state.services.objects.len()),
            ("PersistentVolumeClaim", state.claims.objects.len()),
        ]
    }

    /// A JobSet was seen.
    pub(crate) fn apply_jobset(&self, mut jobset: JobSet, source: Source) -> Option<String> {
        // Nobody here reads them, and they can be larger than the rest.
        jobset.metadata.managed_fields = None;
        let (uid, version) = identity(&jobset.metadata)?;
        let jobset = Arc::new(jobset);
        let mut state = self.state();
        let before = state.jobsets.apply(&uid, &version, source, jobset.clone()).ok()?;
        if let Some(before) = before {
            state.subdomains.remove(&uid, &before);
        }
        state.subdomains.add(&uid, &jobset);
        Some(uid)
    }

    /// Name of another JobSet whose pods have host names of the same headless Service as this one's.
    pub(crate) fn shares_subdomain(&self, jobset: &JobSet) -> Option<String> {
        let state = self.state();
        let others = state.subdomains.users(jobset).filter_map(|uid| state.jobsets.get(uid));
        let mut names = others.filter_map(|other| other.metadata.name.as_deref());
        names.find(|name| jobset.metadata.name.as_deref() != Some(name)).map(str::to_owned)
    }

    /// A JobSet cannot be read: it is left alone until it can.
    pub(crate) fn unreadable_jobset(&self, uid: &str) {
        let mut state = self.state();
        state.jobsets.seen(uid);
        let before = state.jobsets.forget(uid);
        before.inspect(|before| state.subdomains.remove(uid, before));
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
        let mut state = self.state();
        let before = state.jobsets.end(uid);
        before.inspect(|before| state.subdomains.remove(uid, before));
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

    /// A Service or a claim was seen.
    pub(crate) fn apply_named(&self, kind: Kind, metadata: &ObjectMeta, source: Source) {
        if let Some(named) = self.state().named(kind) {
            named.apply(metadata, source);
        }
    }

    /// A Service or a claim is gone. Returns the JobSets that it was there for.
    pub(crate) fn end_named(&self, kind: Kind, uid: &str) -> Vec<String> {
        let mut state = self.state();
        let ended = state.named(kind).and_then(|named| named.end(uid));
        ended.map(|key| state.users_of(kind, &key)).unwrap_or_default()
    }

    /// A list did not hold a Service or a claim that we made. Returns the JobSets that it was there for.
    fn doubt_named(&self, kind: Kind, uid: &str) -> Vec<String> {
        let mut state = self.state();
        let doubtful = state.named(kind).and_then(|named| named.doubt(uid));
        doubtful.map(|key| state.users_of(kind, &key)).unwrap_or_default()
    }

    /// A list of a kind begins.
    pub(crate) fn begin_list(&self, kind: Kind) {
        let mut state = self.state();
        match kind {
            Kind::JobSets => state.jobsets.begin_list(),
            Kind::Jobs => state.jobs.begin_list(),
            Kind::Services => state.services.objects.begin_list(),
            Kind::Claims => state.claims.objects.begin_list(),
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
                Kind::Services => state.services.objects.finish_list(),
                Kind::Claims => state.claims.objects.finish_list(),
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
                let doubted = doubtful.iter().flat_map(|uid| self.doubt_named(kind, uid));
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
    fn named(&mut self, kind: Kind) -> Option<&mut Named> {
        match kind {
            Kind::Services => Some(&mut self.services),
            Kind::Claims => Some(&mut self.claims),
            Kind::JobSets | Kind::Jobs => None,
        }
    }

    /// The JobSets that a Service or a claim of this name is there for.
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

    fn service(uid: &str) -> ObjectMeta {
        service_at(uid, 5)
    }

    fn service_at(uid: &str, version: u32) -> ObjectMeta {
        let version = version.to_string();
        serde_json::from_value(
            json!({"name": "net", "namespace": "team", "uid": uid, "resourceVersion": version}),
        )
        .unwrap()
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

        index.apply_named(Kind::Services, &service_at("new", 4), Answer);
        index.apply_named(Kind::Services, &service_at("old", 2), Watch);
        index.end_named(Kind::Services, "old");
        index.apply_named(Kind::Services, &service_at("new", 4), Watch);
        assert!(index.family("set").unwrap().service_exists);
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
        assert!(!index.family("set").unwrap().service_exists);
        index.apply_named(Kind::Services, &service("svc"), Watch);
        assert!(index.family("set").unwrap().service_exists);
        assert_eq!(index.end_named(Kind::Services, "svc"), ["set"]);
        assert!(!index.family("set").unwrap().service_exists);
    }

    #[test]
    fn a_service_that_a_list_was_too_old_to_hold_is_found_again() {
        let index = Index::default();
        index.apply_jobset(jobset("set", 1), Watch);
        index.begin_list(Kind::Services);
        index.apply_named(Kind::Services, &service("svc"), Answer);
        assert_eq!(index.finish_list(Kind::Services), (vec!["set".to_owned()], vec![]));
        assert!(!index.family("set").unwrap().service_exists);
        index.apply_named(Kind::Services, &service("svc"), Watch);
        assert!(index.family("set").unwrap().service_exists);
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

    #[test]
    fn jobsets_that_share_a_subdomain_are_found() {
        let index = Index::default();
        let at = |namespace: &str, name: &str, uid: &str, version: u32, subdomain: &str| -> JobSet {
            let meta = json!({"name": name, "namespace": namespace, "uid": uid, "resourceVersion": version.to_string()});
            serde_json::from_value(json!({"metadata": meta, "spec": {"network": {"subdomain": subdomain}}}))
                .unwrap()
        };
        let shares =
            |name: &str, subdomain: &str| index.shares_subdomain(&at("team", name, "", 0, subdomain));
        index.apply_jobset(at("team", "first", "1", 1, "net"), Watch);
        index.apply_jobset(at("elsewhere", "third", "3", 1, "far"), Watch);
        assert_eq!(shares("second", "net"), Some("first".into()));
        assert_eq!(shares("first", "net"), None, "recreated");
        assert_eq!(shares("net", ""), Some("first".into()), "by its name");
        assert_eq!((shares("second", ""), shares("second", "far")), (None, None));

        index.apply_jobset(at("team", "first", "1", 2, "other"), Watch);
        assert_eq!((shares("second", "net"), shares("second", "other")), (None, Some("first".into())));
        index.apply_jobset(at("team", "first", "2", 4, "other"), Watch);
        index.end_jobset("1");
        assert_eq!(shares("second", "other"), Some("first".into()), "a successor of the same name");
        index.unreadable_jobset("2");
        assert_eq!(shares("second", "other"), None);
        index.apply_jobset(at("team", "first", "2", 5, "other"), Watch);
        index.begin_list(Kind::JobSets);
        index.finish_list(Kind::JobSets);
        assert_eq!(shares("second", "other"), None, "not listed any more");
    }
}
