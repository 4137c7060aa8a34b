use super::{
    Source::{Answer, Watch},
    *,
};
use jobset_api::labels;
use serde_json::{Value, json};

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
    let metadata = json!({"name": "net", "namespace": "team", "uid": uid, "resourceVersion": version});
    let spec = json!({"clusterIP": "None", "selector": {selector: ""}});
    let service = serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap();
    let changed = index.apply_service(&service, source);
    changed.map(|key| index.users_of(Kind::Services, &key)).unwrap_or_default()
}

/// The selector of the Service that the JobSet `set` uses.
fn selected(index: &Index) -> Option<String> {
    index.observe("set").unwrap().service.and_then(|service| service.selector.into_keys().next())
}

fn named_job(name: &str, version: u32) -> ChildJob {
    let mut job = job(&format!("uid-of-{name}"), "set", version);
    job.metadata.name = Some(name.to_owned());
    job
}

/// An index that contains a JobSet with this many Jobs.
fn large(jobs: u32) -> Index {
    let index = Index::default();
    index.apply_jobset(&jobset("set", 1), Watch);
    for number in 0..jobs {
        index.apply_job(&named_job(&format!("job-{number:05}"), 2), Watch);
    }
    index
}

fn jobs(index: &Index, uid: &str) -> Vec<String> {
    index.observe(uid).unwrap().jobs.iter().map(|job| job.uid.clone()).collect()
}

#[test]
fn a_recreated_jobset_does_not_get_old_children() {
    let index = Index::default();
    index.apply_jobset(&jobset("old", 1), Watch);
    index.apply_job(&job("job-of-old", "old", 2), Watch);
    index.end_jobset("old");
    assert_eq!(index.apply_jobset(&jobset("new", 3), Watch), Some("new".into()));
    assert!(jobs(&index, "new").is_empty());
    assert!(index.observe("old").is_none());
}

#[test]
fn a_successor_keeps_the_name_when_the_deletion_of_the_old_job_comes_late() {
    let index = Index::default();
    index.apply_jobset(&jobset("set", 1), Watch);
    index.apply_job(&job("first", "set", 2), Watch);
    index.apply_job(&job("second", "set", 4), Answer);
    assert_eq!(index.end_job("first"), Some("set".into()));
    assert_eq!(jobs(&index, "set"), ["second"]);
}

#[test]
fn a_successor_keeps_the_name_when_every_event_of_the_old_one_comes_late() {
    let index = Index::default();
    index.apply_jobset(&jobset("set", 1), Watch);
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
fn a_response_is_stored_before_the_watch_delivers_the_object() {
    let index = Index::default();
    index.apply_jobset(&jobset("set", 1), Watch);
    assert_eq!(index.apply_job(&job("j", "set", 9), Answer), Some("set".into()));
    assert_eq!(jobs(&index, "set"), ["j"]);
    assert_eq!(index.apply_job(&job("j", "set", 9), Watch), None, "no change");
}

#[test]
fn an_object_that_cannot_be_decoded_still_exists() {
    let index = Index::default();
    index.apply_jobset(&jobset("set", 1), Watch);
    index.apply_job(&job("j", "set", 2), Watch);
    for kind in [Kind::JobSets, Kind::Jobs] {
        index.begin_list(kind);
    }
    index.unreadable_jobset("set");
    index.unreadable_job("j");
    for kind in [Kind::JobSets, Kind::Jobs] {
        assert_eq!(index.finish_list(kind), (vec![], vec![]));
    }
    assert!(index.observe("set").is_none(), "ignored until it changes");
    assert_eq!(index.apply_jobset(&jobset("set", 3), Watch), Some("set".into()));
    assert_eq!(jobs(&index, "set"), ["j"]);
}

#[test]
fn a_job_without_owner_is_not_a_child() {
    let index = Index::default();
    index.apply_jobset(&jobset("set", 1), Watch);
    index.apply_job(&job("j", "set", 5), Watch);
    let mut orphan = job("j", "set", 4);
    orphan.metadata.owner_references = None;
    assert_eq!(index.apply_job(&orphan, Watch), None, "older than the stored version");
    orphan.metadata.resource_version = Some("6".into());
    assert_eq!(index.apply_job(&orphan, Watch), Some("set".into()));
    assert!(jobs(&index, "set").is_empty());
    assert_eq!(
        index.apply_job(&job("j", "set", 7), Watch),
        Some("set".into()),
        "its owner reference is back"
    );
}

#[test]
fn a_service_belongs_to_the_jobsets_that_name_it() {
    let index = Index::default();
    index.apply_jobset(&jobset("set", 1), Watch);
    assert_eq!(selected(&index), None);
    assert_eq!(apply_service(&index, "svc", 5, "app", Watch), ["set"]);
    assert_eq!(selected(&index), Some("app".into()));
    assert_eq!(index.end_named(Kind::Services, "svc"), ["set"]);
    assert_eq!(selected(&index), None);
}

#[test]
fn a_changed_service_requeues_the_jobsets_that_use_it() {
    let index = Index::default();
    index.apply_jobset(&jobset("set", 1), Watch);
    assert_eq!(apply_service(&index, "svc", 5, "app", Answer), ["set"]);
    assert_eq!(apply_service(&index, "svc", 5, "app", Watch), [""; 0], "unchanged");
    assert_eq!(apply_service(&index, "svc", 6, "app", Watch), [""; 0], "only its metadata or status changed");
    assert_eq!(apply_service(&index, "svc", 7, "tier", Watch), ["set"]);
    assert_eq!(apply_service(&index, "svc", 6, "app", Watch), [""; 0], "old");
    assert_eq!(selected(&index), Some("tier".into()));
    assert_eq!(apply_service(&index, "next", 9, "tier", Watch), ["set"], "a successor");
}

#[test]
fn the_service_of_a_deleted_jobset_will_be_deleted() {
    let index = Index::default();
    index.apply_jobset(&jobset("set", 1), Watch);
    let apply = |version: u32, owner: Option<Value>, deleted: Option<&str>| {
        let service = json!({"spec": {"clusterIP": "None"}, "metadata": {
            "name": "net", "namespace": "team", "uid": "svc", "resourceVersion": version.to_string(),
            "ownerReferences": owner.into_iter().collect::<Vec<_>>(), "deletionTimestamp": deleted}});
        index.apply_service(&serde_json::from_value(service).unwrap(), Watch);
        index.observe("set").unwrap().service.unwrap().will_be_deleted
    };
    let owned_by = |kind: &str, uid: &str| {
        Some(json!({"apiVersion": "x/v1", "kind": kind, "name": "o", "uid": uid, "controller": true}))
    };
    assert!(!apply(1, None, None), "a user's own");
    assert!(apply(2, None, Some("2026-11-27T00:00:00Z")));
    assert!(!apply(3, owned_by("JobSet", "set"), None));
    assert!(apply(4, owned_by("JobSet", "gone"), None));
    assert!(!apply(5, owned_by("StatefulSet", "unknown"), None));
    let mut other = jobset("other", 6);
    index.apply_jobset(&other.clone(), Watch);
    assert!(!apply(7, owned_by("JobSet", "other"), None));
    other.metadata.resource_version = Some("8".to_owned());
    other.metadata.deletion_timestamp = serde_json::from_value(json!("2026-11-27T00:00:00Z")).unwrap();
    index.apply_jobset(&other, Watch);
    assert!(apply(9, owned_by("JobSet", "other"), None));
}

#[test]
fn a_service_that_is_newer_than_the_list_is_found_again() {
    let index = Index::default();
    index.apply_jobset(&jobset("set", 1), Watch);
    index.begin_list(Kind::Services);
    apply_service(&index, "svc", 5, "app", Answer);
    assert_eq!(index.finish_list(Kind::Services), (vec!["set".to_owned()], vec![]));
    assert_eq!(selected(&index), None);
    apply_service(&index, "svc", 5, "app", Watch);
    assert_eq!(selected(&index), Some("app".into()));
}

#[test]
fn a_new_list_removes_watched_jobs_and_returns_unconfirmed_jobs() {
    let index = Index::default();
    index.apply_jobset(&jobset("set", 1), Watch);
    index.apply_job(&job("watched", "set", 2), Watch);
    index.begin_list(Kind::Jobs);
    assert_eq!(index.finish_list(Kind::Jobs), (vec!["set".to_owned()], vec![]));
    index.apply_job(&job("ours", "set", 3), Answer);
    index.begin_list(Kind::Jobs);
    let unconfirmed = UnconfirmedJob {
        namespace: "team".to_owned(),
        name: "train-worker-0".to_owned(),
        uid: "ours".to_owned(),
    };
    assert_eq!(index.finish_list(Kind::Jobs), (vec![], vec![unconfirmed]));
}

#[test]
fn reconciles_share_the_records() {
    let index = large(500);
    let (first, second) = (index.observe("set").unwrap(), index.observe("set").unwrap());
    assert!(Arc::ptr_eq(&first.jobs, &second.jobs), "a snapshot copies no record");

    index.apply_job(&named_job("job-00042", 3), Watch);
    let third = index.observe("set").unwrap();
    let shared = first.jobs.iter().zip(third.jobs.iter()).filter(|(old, new)| Arc::ptr_eq(old, new));
    assert_eq!((shared.count(), third.jobs.len()), (499, 500), "one record is new, the others are shared");
    assert!(Arc::ptr_eq(&first.jobs, &second.jobs), "the snapshot of a reconcile does not change");
}

#[test]
fn a_reconcile_causes_at_most_one_copy_of_the_list() {
    let index = large(500);
    let list = || Arc::as_ptr(&index.state().jobs.by_owner["set"]);
    let held = index.observe("set").unwrap();
    let before = list();
    index.apply_job(&named_job("job-00000", 3), Watch);
    let copied = list();
    assert_ne!(before, copied, "the reconcile keeps its own list");
    for number in 1..500 {
        index.apply_job(&named_job(&format!("job-{number:05}"), 3), Watch);
    }
    index.end_job("uid-of-job-00007");
    index.apply_job(&named_job("job-99999", 4), Watch);
    assert_eq!(list(), copied, "the index changes its list in place");
    assert_eq!(held.jobs.len(), 500);
    assert!(held.jobs.iter().any(|job| job.name == "job-00007"));
}

#[test]
fn jobs_are_sorted_by_name_in_any_order_of_events() {
    let index = Index::default();
    index.apply_jobset(&jobset("set", 1), Watch);
    for name in ["c", "a", "d", "b"] {
        index.apply_job(&named_job(name, 2), Watch);
    }
    index.end_job("uid-of-c");
    assert_eq!(jobs(&index, "set"), ["uid-of-a", "uid-of-b", "uid-of-d"]);
    for name in ["a", "b", "d"] {
        index.end_job(&format!("uid-of-{name}"));
    }
    assert!(jobs(&index, "set").is_empty());
    assert!(index.state().jobs.by_owner.is_empty(), "no list outlives its Jobs");
}

#[test]
fn jobsets_that_share_a_subdomain_are_found() {
    let index = Index::default();
    let at = |namespace: &str, name: &str, uid: &str, version: u32, subdomain: &str| -> JobSet {
        let meta =
            json!({"name": name, "namespace": namespace, "uid": uid, "resourceVersion": version.to_string()});
        serde_json::from_value(json!({"metadata": meta, "spec": {"network": {"subdomain": subdomain}}}))
            .unwrap()
    };
    let shares = |name: &str, subdomain: &str| index.shares_subdomain(&at("team", name, "", 0, subdomain));
    index.apply_jobset(&at("team", "first", "1", 1, "net"), Watch);
    index.apply_jobset(&at("elsewhere", "third", "3", 1, "far"), Watch);
    assert_eq!(shares("second", "net"), Some("first".into()));
    assert_eq!(shares("first", "net"), None, "recreated");
    apply_service(&index, "svc", 1, "app", Watch);
    assert_eq!(shares("second", "net"), None, "a user's Service can serve both");
    index.end_named(Kind::Services, "svc");
    assert_eq!(shares("net", ""), Some("first".into()), "by its name");
    assert_eq!((shares("second", ""), shares("second", "far")), (None, None));

    index.apply_jobset(&at("team", "first", "1", 2, "other"), Watch);
    assert_eq!((shares("second", "net"), shares("second", "other")), (None, Some("first".into())));
    index.apply_jobset(&at("team", "first", "2", 4, "other"), Watch);
    index.end_jobset("1");
    assert_eq!(shares("second", "other"), Some("first".into()), "a successor of the same name");
    index.unreadable_jobset("2");
    assert_eq!(shares("second", "other"), None);
    index.apply_jobset(&at("team", "first", "2", 5, "other"), Watch);
    index.begin_list(Kind::JobSets);
    index.finish_list(Kind::JobSets);
    assert_eq!(shares("second", "other"), None, "no longer in the list");
}

/// The texts and the structs of a Job, without the overhead of the allocator.
#[test]
fn a_job_takes_at_most_900_bytes() {
    let (index, count) = (Index::default(), 10_000);
    for number in 0..count {
        let name = format!("llama-pretraining-worker-{number}");
        let owner = json!({"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "name": "llama-pretraining",
            "uid": "7d4f0a8e-2f0e-4c1c-9a43-0d6f3c1be111", "controller": true});
        let metadata = json!({
            "name": name, "namespace": "team-llama", "uid": format!("3a0b2c5e-1f0e-4c1c-9a43-{number:012}"),
            "resourceVersion": number.to_string(), "ownerReferences": [owner],
            "labels": {labels::REPLICATED_JOB_NAME: "worker", labels::JOB_INDEX: number.to_string()},
            "managedFields": [{"manager": "kube-controller-manager", "fieldsV1": {"f:status": {}}}],
        });
        let spec =
            json!({"template": {"spec": {"containers": [{"name": "c", "image": "registry.example/llama"}]}}});
        let job: ChildJob = serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap();
        index.apply_job(&job, Watch);
    }
    let bytes = index.state().jobs.bytes(|job| {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let texts = text(&job.replicated_job) + text(&job.group_template) + text(&job.pod_group);
        size_of::<JobRecord>() + job.name.len() + job.uid.len() + texts
    });
    println!("{} bytes for each Job", bytes / count);
    assert!((300..=900).contains(&(bytes / count)), "{} bytes for each Job", bytes / count);
}
