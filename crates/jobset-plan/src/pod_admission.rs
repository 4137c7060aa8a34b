//! Exclusive placement: the part that admission decides when a pod is created. One Job has one topology domain
//! exclusively.
//!
//! ```text
//! leader    the pod of index 0     affinity to its own Job, anti-affinity to other Jobs of its priority
//! follower  every other pod        node selector of the leader's domain; denied until the domain is known
//! ```
//!
//! The creation of a follower waits for the node of its leader, for a few seconds. Then admission denies the pod, and the
//! Job controller creates it again.

use jobset_api::labels;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde_json::{Value, json};
use std::time::Duration;

/// The longest wait for what another watch has already delivered: a leader that exists, or a node.
const WATCH_LAG: Duration = Duration::from_secs(1);
/// The longest wait for the node of a leader that the scheduler has not tried yet. Until then, the request occupies a
/// worker of the Job controller.
const SCHEDULING_TIME: Duration = Duration::from_secs(4);

/// The leader pod of a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderPod {
    /// Its name.
    pub name: String,
    /// UID of the Job that controls it.
    pub owner_uid: Option<String>,
    /// Its node. Empty until the pod is scheduled.
    pub node: String,
    /// Whether the scheduler has reported that it cannot schedule the pod now.
    pub unschedulable: bool,
}

/// The topology domain of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Domain {
    /// The node does not exist.
    NoNode,
    /// The node has no label with the topology key.
    NoLabel,
    /// The value of the label.
    Value(String),
    /// The nodes have not been listed with this label.
    Unknown,
}

/// The cluster state that decisions about pods use.
pub trait PlacementView {
    /// The leaders whose name without the random suffix is `base`, and that have neither ended nor are being deleted.
    fn leaders(&self, namespace: &str, base: &str) -> Vec<LeaderPod>;
    /// The domain of a node, by the label `topology_key`.
    fn domain(&self, node: &str, topology_key: &str) -> Domain;
}

/// Why a pod is denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The pod must not be created now, or not in this form.
    Forbidden(String),
    /// The node of its leader does not exist any more.
    NodeNotFound(String),
}

/// The changes to a new pod, as JSON patch operations (RFC 6902).
pub fn mutate(pod: &Pod, namespace: &str, view: &dyn PlacementView) -> Result<Vec<Value>, Refusal> {
    let mut patch = Vec::new();
    if !may_be_placed(pod) {
        return Ok(patch);
    }
    // The API server rejects a pod without a spec.
    let Some(spec) = &pod.spec else { return Ok(patch) };
    if let Some(priority) = spec.priority {
        let exists = pod.metadata.labels.is_some();
        put_in_map(&mut patch, "/metadata/labels", exists, labels::PRIORITY, &priority_label(priority));
    }
    let Some(topology_key) = topology_key(pod) else { return Ok(patch) };
    if is_leader(pod) {
        patch.extend(affinity(pod, topology_key));
        return Ok(patch);
    }
    // Without a scheduled leader the pod stays unchanged, and `validate` denies it.
    let Ok(leader) = leader_of(pod, namespace, view) else { return Ok(patch) };
    if leader.node.is_empty() {
        return Ok(patch);
    }
    match view.domain(&leader.node, topology_key) {
        Domain::NoNode => Err(Refusal::NodeNotFound(leader.node)),
        Domain::NoLabel => {
            Err(Refusal::Forbidden(format!("node does not have topology label: {topology_key}")))
        }
        Domain::Unknown => Err(Refusal::Forbidden(format!(
            "label {topology_key} of node {} not yet read, not creating follower pod. this is an expected, transient \
             error",
            leader.node
        ))),
        Domain::Value(domain) => {
            let exists = spec.node_selector.is_some();
            put_in_map(&mut patch, "/spec/nodeSelector", exists, topology_key, &domain);
            Ok(patch)
        }
    }
}

/// Checks whether a new pod, after its changes, may be created.
pub fn validate(pod: &Pod, namespace: &str, view: &dyn PlacementView) -> Result<(), Refusal> {
    let Some(topology_key) = topology_key(pod) else { return Ok(()) };
    if is_leader(pod) {
        return Ok(());
    }
    let deny = |text: String| Err(Refusal::Forbidden(text));
    // A follower without a scheduled leader has no node selector either, so the leader is checked first.
    match leader_of(pod, namespace, view) {
        Err(why) => return deny(why),
        Ok(leader) if leader.node.is_empty() => {
            return deny(
                "leader pod not yet scheduled, not creating follower pod. this is an expected, transient error"
                    .to_owned(),
            );
        }
        Ok(_) => {}
    }
    match pod.spec.as_ref().and_then(|spec| spec.node_selector.as_ref()) {
        None => deny("follower pod node selector not set".to_owned()),
        Some(selector) if selector.contains_key(topology_key) => Ok(()),
        Some(_) => deny(format!(
            "follower pod node selector for topology domain not found. missing selector: {topology_key}"
        )),
    }
}

/// The topology key of a pod that the controller places.
pub fn topology_key(pod: &Pod) -> Option<&str> {
    annotation(pod, labels::EXCLUSIVE_TOPOLOGY).filter(|_| may_be_placed(pod))
}

/// Whether the pod belongs to a JobSet and does not run on prepared nodes.
fn may_be_placed(pod: &Pod) -> bool {
    has(pod, labels::JOBSET_NAME) && !has(pod, labels::NODE_SELECTOR_STRATEGY)
}

/// How long the creation of a pod may wait for the node of its leader. None if it must not wait: the pod is no follower,
/// the domain of its leader is known, or the leader will not get a node soon.
pub fn longest_wait_for_leader(pod: &Pod, namespace: &str, view: &dyn PlacementView) -> Option<Duration> {
    let topology_key = topology_key(pod).filter(|_| !is_leader(pod))?;
    match leader_of(pod, namespace, view) {
        Ok(leader) if !leader.node.is_empty() => {
            let domain = view.domain(&leader.node, topology_key);
            matches!(domain, Domain::Unknown | Domain::NoNode).then_some(WATCH_LAG)
        }
        Ok(leader) => (!leader.unschedulable).then_some(SCHEDULING_TIME),
        Err(_) => Some(WATCH_LAG),
    }
}

/// Whether the node selector of a follower names a domain: a replica whose watch has delivered the node of the leader
/// has changed the pod.
pub fn has_domain(pod: &Pod) -> bool {
    let selector = pod.spec.as_ref().and_then(|spec| spec.node_selector.as_ref());
    topology_key(pod).is_some_and(|key| selector.is_some_and(|selector| selector.contains_key(key)))
}

fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

fn has(pod: &Pod, key: &str) -> bool {
    annotation(pod, key).is_some()
}

/// The value of label [`labels::PRIORITY`]. A label value cannot begin with a minus sign (Kubernetes), so that of
/// priority -5 is `n5`.
fn priority_label(priority: i32) -> String {
    if priority < 0 { format!("n{}", priority.unsigned_abs()) } else { priority.to_string() }
}

/// Whether a pod is the leader of its Job. Pods of a Job that is not Indexed have no index, so none of them is.
pub fn is_leader(pod: &Pod) -> bool {
    annotation(pod, labels::JOB_COMPLETION_INDEX) == Some("0")
}

/// UID of the controller of an object.
pub fn controller_uid(metadata: &ObjectMeta) -> Option<&str> {
    let mut controllers =
        metadata.owner_references.iter().flatten().filter(|owner| owner.controller == Some(true));
    controllers.next().map(|owner| owner.uid.as_str())
}

fn leader_of(pod: &Pod, namespace: &str, view: &dyn PlacementView) -> Result<LeaderPod, String> {
    let label = |key: &str| {
        let labels = pod.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(key)).ok_or_else(|| format!("pod missing label: {key}"))
    };
    let base = format!(
        "{}-{}-{}-0",
        label(labels::JOBSET_NAME)?,
        label(labels::REPLICATED_JOB_NAME)?,
        label(labels::JOB_INDEX)?
    );
    let leaders = view.leaders(namespace, &base);
    let [leader] = leaders.as_slice() else {
        let count = leaders.len();
        return Err(format!(
            "expected 1 leader pod ({base}), but got {count}. this is an expected, transient error"
        ));
    };
    let own = controller_uid(&pod.metadata).ok_or("follower pod has no owner reference")?;
    match &leader.owner_uid {
        None => Err(format!("leader pod {:?} has no owner reference", leader.name)),
        Some(owner) if owner != own => {
            Err(format!("follower pod owner UID ({own}) != leader pod owner UID ({owner})"))
        }
        Some(_) => Ok(leader.clone()),
    }
}

/// Adds the terms that place the leader with its own Job and apart from other Jobs of its priority.
fn affinity(pod: &Pod, topology_key: &str) -> Vec<Value> {
    let labels_of = pod.metadata.labels.as_ref();
    let label = |key: &str| labels_of.and_then(|labels| labels.get(key)).cloned().unwrap_or_default();
    let own = label(labels::JOB_KEY);
    let priority = pod.spec.as_ref().and_then(|spec| spec.priority);
    let priority = priority.map_or_else(|| label(labels::PRIORITY), priority_label);
    let term = |expressions: Value| {
        json!({
            "labelSelector": {"matchExpressions": expressions},
            "topologyKey": topology_key,
            "namespaceSelector": {},
        })
    };
    let with_own = term(json!([{"key": labels::JOB_KEY, "operator": "In", "values": [own]}]));
    let from_others = term(json!([
        {"key": labels::JOB_KEY, "operator": "Exists"},
        {"key": labels::JOB_KEY, "operator": "NotIn", "values": [own]},
        {"key": labels::PRIORITY, "operator": "In", "values": [priority]},
    ]));
    let now = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
    let mut patch = Vec::new();
    if now.is_none() {
        patch.push(json!({"op": "add", "path": "/spec/affinity", "value": {}}));
    }
    let to_pods = now.and_then(|affinity| affinity.pod_affinity.as_ref());
    let apart = now.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
    for (field, exists, has_terms, term) in [
        (
            "podAffinity",
            to_pods.is_some(),
            to_pods.is_some_and(|a| a.required_during_scheduling_ignored_during_execution.is_some()),
            with_own,
        ),
        (
            "podAntiAffinity",
            apart.is_some(),
            apart.is_some_and(|a| a.required_during_scheduling_ignored_during_execution.is_some()),
            from_others,
        ),
    ] {
        let parent = format!("/spec/affinity/{field}");
        let terms = format!("{parent}/requiredDuringSchedulingIgnoredDuringExecution");
        patch.push(match (exists, has_terms) {
            (false, _) => json!({"op": "add", "path": parent,
                "value": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}),
            (true, false) => json!({"op": "add", "path": terms, "value": [term]}),
            (true, true) => json!({"op": "add", "path": format!("{terms}/-"), "value": term}),
        });
    }
    patch
}

/// Sets one entry of a map of strings, and creates the map if it does not exist.
fn put_in_map(patch: &mut Vec<Value>, map: &str, exists: bool, key: &str, value: &str) {
    patch.push(if exists {
        let key = key.replace('~', "~0").replace('/', "~1");
        json!({"op": "add", "path": format!("{map}/{key}"), "value": value})
    } else {
        json!({"op": "add", "path": map, "value": {key: value}})
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    struct View {
        leaders: Vec<LeaderPod>,
        racks: BTreeMap<&'static str, Domain>,
    }

    impl PlacementView for View {
        fn leaders(&self, namespace: &str, base: &str) -> Vec<LeaderPod> {
            assert_eq!((namespace, base), ("team", "train-worker-1-0"));
            self.leaders.clone()
        }
        fn domain(&self, node: &str, topology_key: &str) -> Domain {
            assert_eq!(topology_key, "rack");
            self.racks.get(node).cloned().unwrap_or(Domain::NoNode)
        }
    }

    fn view(leaders: &[(&str, &str)]) -> View {
        let leader = |(owner, node): &(&str, &str)| LeaderPod {
            name: "train-worker-1-0-abcde".into(),
            owner_uid: (!owner.is_empty()).then(|| (*owner).to_owned()),
            node: (*node).into(),
            unschedulable: false,
        };
        let racks =
            [("labelled", Domain::Value("r7".into())), ("bare", Domain::NoLabel), ("new", Domain::Unknown)];
        View { leaders: leaders.iter().map(leader).collect(), racks: racks.into() }
    }

    fn pod(index: &str) -> Value {
        json!({
            "metadata": {
                "labels": {
                    "jobset.sigs.k8s.io/jobset-name": "train",
                    "jobset.sigs.k8s.io/replicatedjob-name": "worker",
                    "jobset.sigs.k8s.io/job-index": "1",
                    "jobset.sigs.k8s.io/job-key": "key-of-job",
                },
                "annotations": {
                    "jobset.sigs.k8s.io/jobset-name": "train",
                    "alpha.jobset.sigs.k8s.io/exclusive-topology": "rack",
                    "batch.kubernetes.io/job-completion-index": index,
                },
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "job-uid", "controller": true}],
            },
            "spec": {"containers": [{"name": "c"}], "priority": 0},
        })
    }

    fn typed(pod: &Value) -> Pod {
        serde_json::from_value(pod.clone()).unwrap()
    }

    const PRIORITY_LABEL: &str = "/metadata/labels/jobset.sigs.k8s.io~1priority";

    #[test]
    fn pods_without_exclusive_placement_get_no_placement() {
        let mut plain = pod("1");
        plain["metadata"]["annotations"].as_object_mut().unwrap().remove("jobset.sigs.k8s.io/jobset-name");
        let mut prepared = pod("1");
        prepared["metadata"]["annotations"]["alpha.jobset.sigs.k8s.io/node-selector"] = "true".into();
        for pod in [plain, prepared] {
            assert_eq!(mutate(&typed(&pod), "team", &view(&[])), Ok(vec![]));
            assert_eq!(validate(&typed(&pod), "team", &view(&[])), Ok(()));
        }
        let mut shared = pod("1");
        shared["metadata"]["annotations"]
            .as_object_mut()
            .unwrap()
            .remove("alpha.jobset.sigs.k8s.io/exclusive-topology");
        let patch = mutate(&typed(&shared), "team", &view(&[])).unwrap();
        assert_eq!(patch, [json!({"op": "add", "path": PRIORITY_LABEL, "value": "0"})]);
        assert_eq!(validate(&typed(&shared), "team", &view(&[])), Ok(()));
    }

    #[test]
    fn a_leader_has_affinity_to_its_job_and_anti_affinity_to_others() {
        let own = json!({
            "labelSelector": {"matchExpressions": [{"key": "jobset.sigs.k8s.io/job-key", "operator": "In", "values": ["key-of-job"]}]},
            "topologyKey": "rack", "namespaceSelector": {},
        });
        let others = json!({
            "labelSelector": {"matchExpressions": [
                {"key": "jobset.sigs.k8s.io/job-key", "operator": "Exists"},
                {"key": "jobset.sigs.k8s.io/job-key", "operator": "NotIn", "values": ["key-of-job"]},
                {"key": "jobset.sigs.k8s.io/priority", "operator": "In", "values": ["0"]},
            ]},
            "topologyKey": "rack", "namespaceSelector": {},
        });
        let required = |term: &Value| json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]});
        let patch = mutate(&typed(&pod("0")), "team", &view(&[])).unwrap();
        assert_eq!(
            patch,
            [
                json!({"op": "add", "path": PRIORITY_LABEL, "value": "0"}),
                json!({"op": "add", "path": "/spec/affinity", "value": {}}),
                json!({"op": "add", "path": "/spec/affinity/podAffinity", "value": required(&own)}),
                json!({"op": "add", "path": "/spec/affinity/podAntiAffinity", "value": required(&others)}),
            ]
        );
        assert_eq!(validate(&typed(&pod("0")), "team", &view(&[])), Ok(()));

        let mut with_affinity = pod("0");
        with_affinity["spec"]["affinity"] =
            json!({"podAffinity": required(&json!({"topologyKey": "zone"})), "podAntiAffinity": {}});
        let patch = mutate(&typed(&with_affinity), "team", &view(&[])).unwrap();
        let terms = "requiredDuringSchedulingIgnoredDuringExecution";
        assert_eq!(
            patch[1..],
            [
                json!({"op": "add", "path": format!("/spec/affinity/podAffinity/{terms}/-"), "value": own}),
                json!({"op": "add", "path": format!("/spec/affinity/podAntiAffinity/{terms}"), "value": [others]}),
            ],
            "existing terms stay"
        );

        let mut without_priority = pod("0");
        without_priority["spec"].as_object_mut().unwrap().remove("priority");
        for labelled in ["", "7"] {
            if !labelled.is_empty() {
                without_priority["metadata"]["labels"]["jobset.sigs.k8s.io/priority"] = labelled.into();
            }
            let patch = mutate(&typed(&without_priority), "team", &view(&[])).unwrap();
            let [_, _, apart] = &patch[..] else { panic!("no label without a priority: {patch:?}") };
            let level = &apart["value"][terms][0]["labelSelector"]["matchExpressions"][2]["values"];
            assert_eq!(*level, json!([labelled]));
        }
    }

    #[test]
    fn a_negative_priority_is_a_valid_label_value() {
        let mut low = pod("0");
        low["spec"]["priority"] = (-5).into();
        let patch = mutate(&typed(&low), "team", &view(&[])).unwrap();
        assert_eq!(patch[0], json!({"op": "add", "path": PRIORITY_LABEL, "value": "n5"}));
        let terms =
            "/value/requiredDuringSchedulingIgnoredDuringExecution/0/labelSelector/matchExpressions/2/values";
        assert_eq!(patch[3].pointer(terms), Some(&json!(["n5"])));
    }

    #[test]
    fn a_follower_gets_the_domain_of_its_leader() {
        let placed = view(&[("job-uid", "labelled")]);
        let selector = |patch: Vec<Value>| patch.last().cloned().unwrap();
        assert_eq!(
            selector(mutate(&typed(&pod("3")), "team", &placed).unwrap()),
            json!({"op": "add", "path": "/spec/nodeSelector", "value": {"rack": "r7"}})
        );
        let mut with_selector = pod("3");
        with_selector["spec"]["nodeSelector"] = json!({"disk": "fast"});
        assert_eq!(
            selector(mutate(&typed(&with_selector), "team", &placed).unwrap()),
            json!({"op": "add", "path": "/spec/nodeSelector/rack", "value": "r7"})
        );
    }

    #[test]
    fn a_follower_waits_for_its_leader() {
        for (leaders, expected) in [
            (
                &[][..],
                "expected 1 leader pod (train-worker-1-0), but got 0. this is an expected, transient error",
            ),
            (
                &[("job-uid", "labelled"), ("job-uid", "bare")],
                "expected 1 leader pod (train-worker-1-0), but got 2. this is an expected, transient error",
            ),
            (&[("", "labelled")], "leader pod \"train-worker-1-0-abcde\" has no owner reference"),
            (&[("old", "labelled")], "follower pod owner UID (job-uid) != leader pod owner UID (old)"),
            (
                &[("job-uid", "")],
                "leader pod not yet scheduled, not creating follower pod. this is an expected, transient error",
            ),
        ] {
            let view = view(leaders);
            let unchanged = mutate(&typed(&pod("2")), "team", &view).unwrap();
            assert_eq!(unchanged.len(), 1, "only the priority: {unchanged:?}");
            let refused = |pod: &Value| validate(&typed(pod), "team", &view).unwrap_err();
            let forbidden = |text: &str| Refusal::Forbidden(text.to_owned());
            // #1187: the missing leader is the cause of the missing selector.
            for selector in [json!(null), json!({"disk": "fast"}), json!({"rack": "r7"})] {
                let mut pod = pod("2");
                pod["spec"]["nodeSelector"] = selector;
                assert_eq!(refused(&pod), forbidden(expected));
            }
        }
    }

    #[test]
    fn a_follower_of_a_scheduled_leader_needs_its_selector() {
        let view = view(&[("job-uid", "labelled")]);
        let forbidden = |text: &str| Err(Refusal::Forbidden(text.to_owned()));
        let missing = "follower pod node selector for topology domain not found. missing selector: rack";
        for (selector, expected) in [
            (json!(null), forbidden("follower pod node selector not set")),
            (json!({"disk": "fast"}), forbidden(missing)),
            (json!({"rack": "r7"}), Ok(())),
        ] {
            let mut pod = pod("2");
            pod["spec"]["nodeSelector"] = selector;
            assert_eq!(validate(&typed(&pod), "team", &view), expected);
        }
    }

    #[test]
    fn only_the_controller_among_the_owners_of_a_follower_counts() {
        let owner = |uid: &str, controller: bool| json!({"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": uid, "controller": controller});
        let no_owner = Err(Refusal::Forbidden("follower pod has no owner reference".to_owned()));
        for (owners, expected) in [
            (json!([owner("job-uid", true)]), Ok(())),
            (json!([owner("other", false), owner("job-uid", true)]), Ok(())),
            (json!([owner("job-uid", false)]), no_owner.clone()),
            (json!([]), no_owner),
        ] {
            let mut pod = pod("2");
            pod["spec"]["nodeSelector"] = json!({"rack": "r7"});
            pod["metadata"]["ownerReferences"] = owners.clone();
            assert_eq!(
                validate(&typed(&pod), "team", &view(&[("job-uid", "labelled")])),
                expected,
                "{owners}"
            );
        }
    }

    #[test]
    fn a_follower_is_denied_if_its_leaders_node_has_no_domain() {
        let mutated = |node| mutate(&typed(&pod("2")), "team", &view(&[("job-uid", node)])).unwrap_err();
        assert_eq!(mutated("bare"), Refusal::Forbidden("node does not have topology label: rack".into()));
        assert_eq!(mutated("gone"), Refusal::NodeNotFound("gone".into()));
        let unread = "label rack of node new not yet read, not creating follower pod. this is an expected, transient error";
        assert_eq!(mutated("new"), Refusal::Forbidden(unread.into()));
    }

    #[test]
    fn a_follower_waits_for_its_leader_while_that_can_help() {
        let wait = |pod: &Value, view: &View| longest_wait_for_leader(&typed(pod), "team", view);
        let unschedulable = |is| {
            let mut view = view(&[("job-uid", "")]);
            view.leaders[0].unschedulable = is;
            view
        };
        for (view, expected) in [
            (view(&[]), Some(WATCH_LAG)),
            (view(&[("old", "labelled")]), Some(WATCH_LAG)),
            (unschedulable(false), Some(SCHEDULING_TIME)),
            (unschedulable(true), None),
            (view(&[("job-uid", "gone")]), Some(WATCH_LAG)),
            (view(&[("job-uid", "new")]), Some(WATCH_LAG)),
            (view(&[("job-uid", "bare")]), None),
            (view(&[("job-uid", "labelled")]), None),
        ] {
            assert_eq!(wait(&pod("1"), &view), expected, "{:?}", view.leaders);
            assert_eq!(wait(&pod("0"), &view), None, "the leader itself");
        }
        let mut shared = pod("1");
        shared["metadata"]["annotations"]
            .as_object_mut()
            .unwrap()
            .remove("alpha.jobset.sigs.k8s.io/exclusive-topology");
        assert_eq!(wait(&shared, &view(&[])), None);
    }

    #[test]
    fn the_node_selector_names_the_domain() {
        for (selector, expected) in
            [(json!(null), false), (json!({"zone": "z"}), false), (json!({"rack": "r7"}), true)]
        {
            let mut pod = pod("1");
            pod["spec"]["nodeSelector"] = selector.clone();
            assert_eq!(has_domain(&typed(&pod)), expected, "{selector}");
        }
    }

    #[test]
    fn the_error_names_a_missing_label() {
        let mut pod = pod("2");
        pod["spec"]["nodeSelector"] = json!({"rack": "r7"});
        pod["metadata"]["labels"].as_object_mut().unwrap().remove("jobset.sigs.k8s.io/job-index");
        let refusal = validate(&typed(&pod), "team", &view(&[])).unwrap_err();
        assert_eq!(refusal, Refusal::Forbidden("pod missing label: jobset.sigs.k8s.io/job-index".into()));
    }
}
