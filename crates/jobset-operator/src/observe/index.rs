//! The index: the latest observed state of all watched objects.

use super::kinds::{IndexPart, Selection, Watch};
use super::pods::{self, PodTrouble};
use super::served_apis::is_served;
use super::unsynced::{Unsynced, WatchError};
use super::{CertificateSecret, ClusterFacts, Live, ObjectKey, Observed};
use crate::names;
use jobset_api::JobSetOperator;
use kube::ResourceExt;
use kube::api::DynamicObject;
use manager_runtime::metrics::Metrics;
use manager_runtime::queue::WorkQueue;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tracing::warn;

/// The index. Each change by a watch adds the key to [`Index::queue`].
#[derive(Default)]
pub struct Index {
    state: Mutex<State>,
    /// The work queue. It has one key, because there is one JobSetOperator.
    pub queue: Arc<WorkQueue<()>>,
}

impl Index {
    /// Creates an index whose queue has metrics.
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
    facts: ClusterFacts,
    pods: BTreeMap<String, Pod>,
    endpoints: Option<BTreeMap<String, usize>>,
    other_namespaces: BTreeSet<String>,
    dashboard_namespace: bool,
    unsynced: BTreeMap<String, Unsynced>,
}

/// A pod of the operand.
struct Pod {
    trouble: Option<PodTrouble>,
    is_ending: bool,
}

/// An object or its absence, with a resource version. The versions order watch events and responses to the operator's
/// writes, which arrive independently.
struct Record {
    version: u64,
    live: Option<Live>,
}

impl Index {
    /// A snapshot of the index, and the watches that have not synced.
    pub fn snapshot(&self) -> (Observed, Vec<Unsynced>) {
        let state = self.state();
        let live = |(key, record): (&ObjectKey, &Record)| Some((key.clone(), record.live.clone()?));
        let observed = Observed {
            operator: state.operator.clone(),
            objects: state.objects.iter().filter_map(live).collect(),
            secrets: state.secrets.clone(),
            apis: state.apis.clone(),
            facts: state.facts.clone(),
            pods: state
                .pods
                .iter()
                .filter_map(|(name, pod)| Some((name.clone(), pod.trouble.clone()?)))
                .collect(),
            running_pods: state.pods.values().filter(|pod| !pod.is_ending).count(),
            ending_pods: state.pods.values().filter(|pod| pod.is_ending).count(),
            ready_endpoints: state.endpoints.as_ref().map(|slices| slices.values().sum()),
            other_namespaces: state.other_namespaces.clone(),
            dashboard_namespace: state.dashboard_namespace,
        };
        (observed, state.unsynced.values().cloned().collect())
    }

    /// Stores the response to a write of the operator.
    pub fn written(&self, object: DynamicObject) {
        let mut state = self.state();
        if ObjectKey::of(&object).kind == "Secret" {
            state.put_secret(object);
        } else {
            state.put(object);
        }
    }

    /// Stores the response to a status update.
    pub fn status_written(&self, operator: JobSetOperator) {
        let mut state = self.state();
        let newer = |known: &Arc<JobSetOperator>| {
            known.uid() == operator.uid() && version(&**known) < version(&operator)
        };
        // If the JobSetOperator was deleted or recreated meanwhile, the watch reports the current one.
        if state.operator.as_ref().is_some_and(newer) {
            state.operator = Some(Arc::new(operator));
        }
    }

    /// Records the start of a watch.
    pub(super) fn starting(&self, watch: &Watch) {
        let unsynced = Unsynced { title: watch.title(), error: None, optional: watch.is_optional() };
        self.state().unsynced.insert(watch.title(), unsynced);
    }

    /// Records the failure of a watch, which retries. The error matters only before the initial list. Afterwards, the
    /// index keeps what it observed last.
    pub(super) fn failed(&self, watch: &Watch, error: WatchError) {
        let changed = match self.state().unsynced.get_mut(&watch.title()) {
            Some(unsynced) => unsynced.error.replace(error.clone()) != Some(error),
            None => false,
        };
        if changed {
            self.queue.add(());
        }
    }

    /// Replaces the objects of a watch with its list.
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

    /// Stores a new or changed object.
    pub(super) fn apply(&self, watch: &Watch, object: DynamicObject) {
        // Any user may change such a Deployment at any rate. Only its existence counts.
        let is_known = |namespace| self.state().other_namespaces.contains(&namespace);
        let is_irrelevant =
            watch.part == IndexPart::OtherDeployments && object.namespace().is_some_and(is_known);
        if !is_irrelevant {
            self.state().apply(watch, object);
            self.queue.add(());
        }
    }

    /// Removes a deleted object.
    pub(super) fn delete(&self, watch: &Watch, object: &DynamicObject) {
        self.state().delete(watch, object);
        self.queue.add(());
    }

    /// Removes the objects of a watch that ended, because its API is no longer served.
    pub(super) fn ended(&self, watch: &Watch) {
        {
            let mut state = self.state();
            state.retain(watch, &BTreeSet::new());
            state.unsynced.remove(&watch.title());
        }
        self.queue.add(());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics with the lock. After a panic, the state would still be consistent.
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
        match watch.part {
            IndexPart::Objects => self.put(object),
            IndexPart::Operator => self.apply_operator(object),
            IndexPart::Secrets => self.put_secret(object),
            IndexPart::Apis => {
                let name = object.name_any();
                if is_served(&object, self.apis.contains(&name)) {
                    self.apis.insert(name);
                } else {
                    self.apis.remove(&name);
                }
            }
            IndexPart::Facts => self.facts.update(watch.kind, Some(&object)),
            IndexPart::Pods => {
                let is_ending = object.metadata.deletion_timestamp.is_some();
                self.pods.insert(object.name_any(), Pod { trouble: pods::trouble(&object), is_ending });
            }
            IndexPart::Endpoints => {
                let slices = self.endpoints.get_or_insert_default();
                slices.insert(object.name_any(), ready_endpoints(&object));
            }
            IndexPart::OtherDeployments => {
                self.other_namespaces.extend(object.namespace());
            }
            // In a namespace that is being deleted, no object can be created.
            IndexPart::DashboardNamespace => {
                self.dashboard_namespace = object.metadata.deletion_timestamp.is_none();
            }
        }
    }

    fn apply_operator(&mut self, object: DynamicObject) {
        // The CRD's schema prevents this error. Should it occur, the operator keeps the last valid JobSetOperator,
        // because an absent one would mean that the operand is no longer needed.
        let new: JobSetOperator = match object.try_parse() {
            Ok(new) => new,
            Err(error) => {
                warn!(%error, "cannot parse the JobSetOperator, using its last valid version");
                return;
            }
        };
        let is_older =
            |known: &Arc<JobSetOperator>| known.uid() == new.uid() && version(&**known) > version(&new);
        if !self.operator.as_ref().is_some_and(is_older) {
            self.operator = Some(Arc::new(new));
        }
    }

    fn put_secret(&mut self, object: DynamicObject) {
        let name = object.name_any();
        let newest = self.objects.get(&ObjectKey::of(&object)).map_or(0, |record| record.version);
        if newest > version(&object) {
            return;
        }
        self.secrets.insert(name.clone(), CertificateSecret::of(&object));
        // The operator does not need the data of other Secrets, so the index does not contain it.
        let issued_by_us =
            [names::BUILT_IN_WEBHOOK_SECRET, names::BUILT_IN_METRICS_SECRET, names::OPERATOR_METRICS_SECRET];
        if issued_by_us.contains(&name.as_str()) {
            self.put(object);
        } else {
            self.put(DynamicObject { data: Value::Null, ..object });
        }
    }

    fn delete(&mut self, watch: &Watch, object: &DynamicObject) {
        match watch.part {
            IndexPart::Objects => self.absent(object),
            IndexPart::Operator => self.operator = None,
            IndexPart::Secrets => {
                self.secrets.remove(&object.name_any());
                self.absent(object);
            }
            IndexPart::Apis => {
                self.apis.remove(&object.name_any());
            }
            IndexPart::Facts => self.facts.update(watch.kind, None),
            IndexPart::Pods => {
                self.pods.remove(&object.name_any());
            }
            IndexPart::Endpoints => {
                self.endpoints.get_or_insert_default().remove(&object.name_any());
            }
            IndexPart::OtherDeployments => {
                self.other_namespaces.remove(&object.namespace().unwrap_or_default());
            }
            IndexPart::DashboardNamespace => self.dashboard_namespace = false,
        }
    }

    /// Removes all objects of the watch except `keys`.
    fn retain(&mut self, watch: &Watch, keys: &BTreeSet<ObjectKey>) {
        let is_removed = |name: &str| {
            let covered = match watch.selection {
                Selection::Name(watched) => watched == name,
                Selection::Installation | Selection::Labels(_) => true,
            };
            covered && !keys.contains(&ObjectKey::new(watch.kind, name))
        };
        if matches!(watch.part, IndexPart::Objects | IndexPart::Secrets) {
            for (key, record) in &mut self.objects {
                if key.kind == watch.kind && is_removed(&key.name) {
                    record.live = None;
                }
            }
        }
        match watch.part {
            IndexPart::Objects => {}
            IndexPart::Operator => {
                if keys.is_empty() {
                    self.operator = None;
                }
            }
            IndexPart::Secrets => self.secrets.retain(|name, _| !is_removed(name)),
            IndexPart::Apis => self.apis.retain(|name| !is_removed(name)),
            IndexPart::Facts => {
                if keys.is_empty() {
                    self.facts.update(watch.kind, None);
                }
            }
            // The caller adds the current objects afterwards.
            IndexPart::Pods => self.pods.clear(),
            IndexPart::Endpoints => self.endpoints = Some(BTreeMap::new()),
            IndexPart::OtherDeployments => self.other_namespaces.clear(),
            IndexPart::DashboardNamespace => self.dashboard_namespace = false,
        }
    }
}

/// The resource version as a number. In Kubernetes, the resource versions of one kind increase.
fn version(object: &impl ResourceExt) -> u64 {
    object.resource_version().and_then(|version| version.parse().ok()).unwrap_or_default()
}

/// The number of ready endpoints. In Kubernetes, an endpoint without the condition is ready.
fn ready_endpoints(slice: &DynamicObject) -> usize {
    let endpoints = slice.data.get("endpoints").and_then(Value::as_array).into_iter().flatten();
    endpoints.filter(|endpoint| endpoint.pointer("/conditions/ready") != Some(&Value::Bool(false))).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::kinds;
    use futures::FutureExt;
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

    fn error(message: &str) -> WatchError {
        WatchError { message: message.into(), forbidden: false }
    }

    fn services() -> &'static Watch {
        kinds::watch_of(&ObjectKey::new("Service", "any")).unwrap()
    }

    fn names(index: &Index) -> Vec<String> {
        index.snapshot().0.objects.into_keys().map(|key| key.name).collect()
    }

    #[test]
    fn an_older_event_never_overwrites_a_newer_response() {
        let index = Index::default();
        index.written(service("red", 7));
        index.delete(services(), &service("red", 5));
        assert_eq!(names(&index), ["red"], "the deletion is older than the write");
        index.delete(services(), &service("red", 9));
        index.written(service("red", 8));
        assert_eq!(names(&index), [""; 0], "the write is older than the deletion");
        index.apply(services(), service("red", 10));
        assert_eq!(names(&index), ["red"]);
    }

    #[test]
    fn a_list_replaces_only_the_objects_of_its_watch() {
        let index = Index::default();
        index.written(service("red", 1));
        index.written(object("ConfigMap", "blue", 1, json!({})));
        index.replace(services(), vec![service("green", 2)]);
        assert_eq!(names(&index), ["blue", "green"]);
    }

    #[test]
    fn a_watch_is_unsynced_until_its_initial_list() {
        let index = Index::default();
        index.starting(services());
        index.failed(services(), error("forbidden"));
        let unsynced = |index: &Index| index.snapshot().1;
        assert_eq!(
            unsynced(&index),
            [Unsynced { title: "services".into(), error: Some(error("forbidden")), optional: false }]
        );
        index.replace(services(), vec![]);
        index.failed(services(), error("transient error"));
        assert_eq!(unsynced(&index), []);
    }

    fn watch(part: IndexPart) -> &'static Watch {
        kinds::WATCHES.iter().find(|watch| watch.part == part).unwrap()
    }

    #[test]
    fn facts_are_set_and_reset() {
        let watch = kinds::WATCHES.iter().find(|watch| watch.kind == "Infrastructure").unwrap();
        let status = json!({"status": {"infrastructureTopology": "HighlyAvailable"}});
        let index = Index::default();
        index.replace(watch, vec![object("Infrastructure", "cluster", 1, status)]);
        assert!(index.snapshot().0.facts.highly_available);
        index.ended(watch);
        assert!(!index.snapshot().0.facts.highly_available);
    }

    #[test]
    fn deployments_in_other_namespaces_are_recorded_by_namespace() {
        let mut foreign = object("Deployment", names::OPERAND, 1, json!({}));
        foreign.metadata.namespace = Some("jobset-system".into());
        let index = Index::default();
        index.replace(watch(IndexPart::OtherDeployments), vec![foreign.clone()]);
        let (observed, _) = index.snapshot();
        assert_eq!(observed.other_namespaces, BTreeSet::from(["jobset-system".to_owned()]));
        assert!(observed.objects.is_empty(), "it is not a managed object");
        index.delete(watch(IndexPart::OtherDeployments), &foreign);
        assert!(index.snapshot().0.other_namespaces.is_empty());
    }

    #[test]
    fn a_namespace_that_is_being_deleted_gets_no_dashboard() {
        let watch = watch(IndexPart::DashboardNamespace);
        let index = Index::default();
        let exists = || index.snapshot().0.dashboard_namespace;
        let mut namespace = object("Namespace", names::DASHBOARD_NAMESPACE, 1, json!({}));
        assert!(!exists());
        index.replace(watch, vec![namespace.clone()]);
        assert!(exists());
        namespace.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2030-01-01T00:00:00Z")).unwrap());
        index.apply(watch, namespace.clone());
        assert!(!exists());
        namespace.metadata.deletion_timestamp = None;
        index.apply(watch, namespace.clone());
        assert!(exists());
        index.replace(watch, vec![]);
        assert!(!exists());
    }

    #[test]
    fn changes_of_a_deployment_in_another_namespace_do_not_requeue() {
        let watch = watch(IndexPart::OtherDeployments);
        let mut foreign = object("Deployment", names::OPERAND, 1, json!({}));
        foreign.metadata.namespace = Some("jobset-system".into());
        let index = Index::default();
        let is_queued = |index: &Index| {
            let queued = index.queue.next().now_or_never().is_some();
            index.queue.done(&());
            queued
        };
        index.apply(watch, foreign.clone());
        assert!(is_queued(&index));
        index.apply(watch, foreign.clone());
        assert!(!is_queued(&index), "only its existence counts");
        index.delete(watch, &foreign);
        assert!(is_queued(&index));
        index.apply(watch, foreign);
        assert!(is_queued(&index));
    }

    #[test]
    fn endpoints_are_counted_over_all_slices() {
        let endpoints =
            json!({"endpoints": [{"conditions": {"ready": false}}, {"conditions": {"ready": true}}, {}]});
        let index = Index::default();
        index.apply(watch(IndexPart::Endpoints), object("EndpointSlice", "a", 1, endpoints.clone()));
        index.apply(watch(IndexPart::Endpoints), object("EndpointSlice", "b", 2, endpoints));
        assert_eq!(index.snapshot().0.ready_endpoints, Some(4));
    }

    #[test]
    fn an_invalid_jobset_operator_does_not_replace_the_valid_one() {
        let index = Index::default();
        let operator = |version, spec| object("JobSetOperator", "cluster", version, json!({ "spec": spec }));
        index.apply(watch(IndexPart::Operator), operator(1, json!({"managementState": "Managed"})));
        index.apply(watch(IndexPart::Operator), operator(2, json!({"managementState": 7})));
        assert!(index.snapshot().0.operator.is_some());
    }

    #[test]
    fn the_index_contains_data_only_of_secrets_that_the_operator_issues() {
        let index = Index::default();
        let data = json!({"data": {"tls.key": "c2VjcmV0"}});
        for name in [names::WEBHOOK_SECRET, names::BUILT_IN_WEBHOOK_SECRET] {
            index.written(object("Secret", name, 1, data.clone()));
        }
        let (observed, _) = index.snapshot();
        assert_eq!(observed.get("Secret", names::WEBHOOK_SECRET).unwrap().object.data, Value::Null);
        assert_eq!(observed.get("Secret", names::BUILT_IN_WEBHOOK_SECRET).unwrap().object.data, data);
    }

    #[test]
    fn the_index_contains_no_private_key_of_other_secrets() {
        let watch = kinds::watch_of(&ObjectKey::new("Secret", crate::names::CA_SECRET)).unwrap();
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
    fn facts_survive_a_failed_watch_and_a_crd_that_is_not_established_for_a_moment() {
        let crds = watch(IndexPart::Apis);
        let facts = kinds::WATCHES.iter().find(|watch| watch.kind == "Infrastructure").unwrap();
        let crd = |established: &str| {
            object(
                "CustomResourceDefinition",
                kinds::INFRASTRUCTURE_CRD,
                1,
                json!({
                    "spec": {"versions": [{"name": "v1", "served": true}]},
                    "status": {"conditions": [{"type": "Established", "status": established}]},
                }),
            )
        };
        let index = Index::default();
        index.apply(crds, crd("True"));
        index.starting(facts);
        index.failed(facts, error("the server could not find the requested resource"));
        assert!(index.snapshot().1.iter().any(|unsynced| !unsynced.optional), "decisions wait for the list");
        let status = json!({"status": {"infrastructureTopology": "HighlyAvailable"}});
        index.replace(facts, vec![object("Infrastructure", "cluster", 1, status)]);
        index.apply(crds, crd("False"));
        index.failed(facts, error("the server could not find the requested resource"));
        let (observed, unsynced) = index.snapshot();
        assert!(observed.facts.highly_available && observed.apis.contains(kinds::INFRASTRUCTURE_CRD));
        assert_eq!(unsynced, []);
        index.delete(crds, &crd("False"));
        assert!(index.snapshot().0.apis.is_empty());
    }
}
