//! The index: the latest known state of everything that the operator watches.

use super::kinds::{Feeds, Watch};
use super::{CertificateSecret, Live, ObjectKey, Observed};
use crate::desired::content_hash;
use crate::names;
use jobset_api::JobSetOperator;
use kube::ResourceExt;
use kube::api::DynamicObject;
use manager_runtime::metrics::Metrics;
use manager_runtime::queue::WorkQueue;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A watch that has not told its first state yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsynced {
    /// What it watches.
    pub title: String,
    /// Why it could not start, if it could not.
    pub error: Option<String>,
}

/// The index. Whoever changes it wakes [`Index::queue`].
#[derive(Default)]
pub struct Index {
    state: Mutex<State>,
    /// The operator's work: one key, for there is one JobSetOperator.
    pub queue: Arc<WorkQueue<()>>,
}

impl Index {
    /// An index whose queue is measured.
    pub fn measured(metrics: &Metrics) -> Self {
        Self { queue: WorkQueue::measured(metrics, names::CONTROLLER), ..Self::default() }
    }
}

#[derive(Default)]
struct State {
    operator: Option<Arc<JobSetOperator>>,
    objects: BTreeMap<ObjectKey, Record>,
    secrets: BTreeMap<String, CertificateSecret>,
    apis: BTreeSet<String>,
    unsynced: BTreeMap<String, Option<String>>,
}

/// A version of an object, or of its absence. Versions order the events of the watch and the answers to our own
/// writes, which reach us by different ways.
struct Record {
    version: u64,
    live: Option<Live>,
}

impl Index {
    /// What is known, and what is not known yet.
    pub fn snapshot(&self) -> (Observed, Vec<Unsynced>) {
        let state = self.state();
        let live = |(key, record): (&ObjectKey, &Record)| Some((key.clone(), record.live.clone()?));
        let observed = Observed {
            operator: state.operator.clone(),
            objects: state.objects.iter().filter_map(live).collect(),
            secrets: state.secrets.clone(),
            apis: state.apis.clone(),
        };
        let unsynced = state.unsynced.iter();
        let unsynced = unsynced.map(|(title, error)| Unsynced { title: title.clone(), error: error.clone() });
        (observed, unsynced.collect())
    }

    /// Takes in the answer to a write of ours.
    pub fn written(&self, object: DynamicObject) {
        self.state().put(object);
    }

    /// Takes in the answer to a write of the status.
    pub fn status_written(&self, operator: JobSetOperator) {
        let mut state = self.state();
        let newer = |known: &Arc<JobSetOperator>| {
            known.uid() == operator.uid() && version(&**known) < version(&operator)
        };
        // Gone meanwhile, or made anew: the watch knows better.
        if state.operator.as_ref().is_some_and(newer) {
            state.operator = Some(Arc::new(operator));
        }
    }

    /// A watch was started and has told nothing yet.
    pub(super) fn starting(&self, watch: &Watch) {
        self.state().unsynced.insert(watch.title(), None);
    }

    /// A watch failed. It tries again by itself; as long as it has told nothing, its error is worth a word.
    pub(super) fn failed(&self, watch: &Watch, error: String) {
        let changed = match self.state().unsynced.get_mut(&watch.title()) {
            Some(last) => last.replace(error.clone()) != Some(error),
            None => false,
        };
        if changed {
            self.queue.add(());
        }
    }

    /// A watch told its whole state.
    pub(super) fn replace(&self, watch: &Watch, objects: Vec<DynamicObject>) {
        {
            let mut state = self.state();
            let keys: BTreeSet<ObjectKey> = objects.iter().map(ObjectKey::of).collect();
            state.retain(watch, &keys);
            for object in objects {
                state.apply(watch, object);
            }
            state.unsynced.remove(&watch.title());
        }
        self.queue.add(());
    }

    /// A watch told that an object is new or changed.
    pub(super) fn apply(&self, watch: &Watch, object: DynamicObject) {
        self.state().apply(watch, object);
        self.queue.add(());
    }

    /// A watch told that an object is gone.
    pub(super) fn delete(&self, watch: &Watch, object: &DynamicObject) {
        self.state().delete(watch, object);
        self.queue.add(());
    }

    /// A watch ended because its API is gone, and all objects with it.
    pub(super) fn ended(&self, watch: &Watch) {
        {
            let mut state = self.state();
            state.retain(watch, &BTreeSet::new());
            state.unsynced.remove(&watch.title());
        }
        self.queue.add(());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; were it so, the state would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, object: DynamicObject) {
        let (key, version) = (ObjectKey::of(&object), version(&object));
        if self.objects.get(&key).is_none_or(|record| record.version <= version) {
            self.objects.insert(key, Record { version, live: Some(Live::new(object)) });
        }
    }

    fn absent(&mut self, object: &DynamicObject) {
        let (key, version) = (ObjectKey::of(object), version(object));
        if self.objects.get(&key).is_none_or(|record| record.version <= version) {
            self.objects.insert(key, Record { version, live: None });
        }
    }

    fn apply(&mut self, watch: &Watch, object: DynamicObject) {
        match watch.feeds {
            Feeds::Objects => self.put(object),
            Feeds::Operator => {
                // The CRD's schema lets nothing else in; an object that slips through all the same is no order.
                let told: Option<JobSetOperator> = object.try_parse().ok();
                let newer = |known: &Arc<JobSetOperator>, told: &JobSetOperator| {
                    known.uid() == told.uid() && version(&**known) > version(told)
                };
                if !matches!((&self.operator, &told), (Some(known), Some(told)) if newer(known, told)) {
                    self.operator = told.map(Arc::new);
                }
            }
            Feeds::Secrets => {
                self.secrets.insert(object.name_any(), certificate(&object));
                // Nothing else needs their content, so that it is not kept.
                self.put(DynamicObject { data: serde_json::Value::Null, ..object });
            }
            Feeds::Apis => {
                if is_served(&object) {
                    self.apis.insert(object.name_any());
                }
            }
        }
    }

    fn delete(&mut self, watch: &Watch, object: &DynamicObject) {
        match watch.feeds {
            Feeds::Objects => self.absent(object),
            Feeds::Operator => self.operator = None,
            Feeds::Secrets => {
                self.secrets.remove(&object.name_any());
                self.absent(object);
            }
            Feeds::Apis => {
                self.apis.remove(&object.name_any());
            }
        }
    }

    /// Forgets what the watch feeds, but for `keys`.
    fn retain(&mut self, watch: &Watch, keys: &BTreeSet<ObjectKey>) {
        let gone = |name: &str| match watch.selection {
            super::kinds::Selection::Name(watched) => {
                watched == name && !keys.contains(&ObjectKey::new(watch.kind, name))
            }
            super::kinds::Selection::OurLabel => !keys.contains(&ObjectKey::new(watch.kind, name)),
        };
        if matches!(watch.feeds, Feeds::Objects | Feeds::Secrets) {
            for (key, record) in &mut self.objects {
                if key.kind == watch.kind && gone(&key.name) {
                    record.live = None;
                }
            }
        }
        match watch.feeds {
            Feeds::Objects => {}
            Feeds::Operator => {
                if keys.is_empty() {
                    self.operator = None;
                }
            }
            Feeds::Secrets => self.secrets.retain(|name, _| !gone(name)),
            Feeds::Apis => self.apis.retain(|name| !gone(name)),
        }
    }
}

/// Kubernetes: versions of objects of one kind are numbers that grow.
fn version(object: &impl ResourceExt) -> u64 {
    object.resource_version().and_then(|version| version.parse().ok()).unwrap_or_default()
}

/// Whether the API server serves what a CRD describes.
pub(super) fn is_served(crd: &DynamicObject) -> bool {
    let conditions = crd.data.pointer("/status/conditions").and_then(serde_json::Value::as_array);
    crd.metadata.deletion_timestamp.is_none()
        && conditions.is_some_and(|all| {
            all.iter().any(|condition| condition["type"] == "Established" && condition["status"] == "True")
        })
}

fn certificate(secret: &DynamicObject) -> CertificateSecret {
    let value = |key: &str| secret.data.pointer(&format!("/data/{key}")).and_then(serde_json::Value::as_str);
    let (certificate, key, ca) = (value("tls.crt"), value("tls.key"), value("ca.crt"));
    let hash = match (certificate, key) {
        (Some(certificate), Some(key)) if !certificate.is_empty() && !key.is_empty() => {
            Some(content_hash([certificate.as_bytes(), key.as_bytes(), ca.unwrap_or_default().as_bytes()]))
        }
        _ => None,
    };
    CertificateSecret { hash }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::kinds;
    use serde_json::json;

    fn object(kind: &str, name: &str, version: u64, data: serde_json::Value) -> DynamicObject {
        let mut object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": kind, "metadata": {"name": name, "resourceVersion": version.to_string()}
        }))
        .unwrap();
        object.data = data;
        object
    }

    fn service(name: &str, version: u64) -> DynamicObject {
        object("Service", name, version, json!({}))
    }

    fn services() -> &'static Watch {
        kinds::of_kind("Service").unwrap()
    }

    fn names(index: &Index) -> Vec<String> {
        index.snapshot().0.objects.into_keys().map(|key| key.name).collect()
    }

    #[test]
    fn an_older_event_never_overwrites_a_newer_answer() {
        let index = Index::default();
        index.written(service("red", 7));
        index.delete(services(), &service("red", 5));
        assert_eq!(names(&index), ["red"], "the deletion came before our write");
        index.delete(services(), &service("red", 9));
        index.written(service("red", 8));
        assert_eq!(names(&index), [""; 0], "our write came before the deletion");
        index.apply(services(), service("red", 10));
        assert_eq!(names(&index), ["red"]);
    }

    #[test]
    fn a_whole_state_replaces_only_what_its_watch_covers() {
        let index = Index::default();
        index.written(service("red", 1));
        index.written(object("ConfigMap", "blue", 1, json!({})));
        index.replace(services(), vec![service("green", 2)]);
        assert_eq!(names(&index), ["blue", "green"]);
    }

    #[test]
    fn a_watch_is_unsynced_until_it_has_told_its_state() {
        let index = Index::default();
        index.starting(services());
        index.failed(services(), "forbidden".into());
        let unsynced = |index: &Index| index.snapshot().1;
        assert_eq!(
            unsynced(&index),
            [Unsynced { title: "services".into(), error: Some("forbidden".into()) }]
        );
        index.replace(services(), vec![]);
        index.failed(services(), "a passing fault".into());
        assert_eq!(unsynced(&index), []);
    }

    #[test]
    fn a_certificate_is_complete_with_certificate_and_key() {
        let hash =
            |data: serde_json::Value| certificate(&object("Secret", "s", 1, json!({ "data": data }))).hash;
        assert_eq!(hash(json!({"tls.crt": "YQ==", "tls.key": ""})), None);
        assert_eq!(hash(json!({"tls.crt": "YQ=="})), None);
        let complete = hash(json!({"tls.crt": "YQ==", "tls.key": "Yg=="}));
        assert!(complete.is_some());
        assert_ne!(complete, hash(json!({"tls.crt": "YQ==", "tls.key": "Yg==", "ca.crt": "Yw=="})));
    }

    #[test]
    fn the_content_of_a_secret_is_not_kept() {
        let watch = kinds::of_kind("Secret").unwrap();
        let index = Index::default();
        let name = crate::names::CA_SECRET;
        index.replace(watch, vec![object("Secret", name, 1, json!({"data": {"tls.key": "c2VjcmV0"}}))]);
        let (observed, _) = index.snapshot();
        assert!(observed.get("Secret", name).is_some());
        assert!(!format!("{observed:?}").contains("c2VjcmV0"));
        index.replace(watch, vec![]);
        let (observed, _) = index.snapshot();
        assert!(observed.get("Secret", name).is_none() && observed.secrets.is_empty());
    }

    #[test]
    fn an_api_counts_once_it_is_served() {
        let watch = kinds::WATCHES.iter().find(|watch| watch.feeds == Feeds::Apis).unwrap();
        let index = Index::default();
        let crd = |status: &str| {
            let status = json!({"status": {"conditions": [{"type": "Established", "status": status}]}});
            object("CustomResourceDefinition", kinds::ISSUER_CRD, 1, status)
        };
        index.apply(watch, crd("False"));
        assert!(index.snapshot().0.apis.is_empty());
        index.apply(watch, crd("True"));
        assert!(index.snapshot().0.apis.contains(kinds::ISSUER_CRD));
        index.delete(watch, &crd("True"));
        assert!(index.snapshot().0.apis.is_empty());
    }
}
