use super::*;
use jobset_plan::{ScaledTemplate, SchedulingAction};

fn workload(metadata: &Value) -> Response {
    Ok(Answer::Workload(serde_json::from_value(json!({"metadata": metadata, "spec": {}})).unwrap()))
}

fn pod_group(metadata: &Value) -> Response {
    let spec = json!({"schedulingPolicy": {"basic": {}}});
    Ok(Answer::PodGroup(serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()))
}

fn own() -> Value {
    controlled("u", "train", "set-uid")
}

fn create_workload() -> Action {
    let workload = json!({"metadata": {"name": "train-98"}, "spec": {}});
    Action::Scheduling(SchedulingAction::CreateWorkload(serde_json::from_value(workload).unwrap()))
}

fn create_pod_group() -> Action {
    let group =
        json!({"metadata": {"name": "train-w-31"}, "spec": {"schedulingPolicy": {"gang": {"minCount": 4}}}});
    Action::Scheduling(SchedulingAction::CreatePodGroup(serde_json::from_value(group).unwrap()))
}

#[test]
fn create_identifies_an_object_that_exists() {
    let deleted = || json!({"name": "n", "uid": "old", "deletionTimestamp": "2026-03-01T09:00:00Z"});
    let own_deleted = || {
        let mut own = own();
        own["deletionTimestamp"] = json!("2026-03-01T09:00:00Z");
        own
    };
    for (kind, name, action, object) in [
        ("workload", "train-98", create_workload as fn() -> Action, workload as fn(&Value) -> Response),
        ("podgroup", "train-w-31", create_pod_group, pod_group),
    ] {
        let get = format!("get {kind} {name}");
        let failed = format!("creating {kind} \"{name}\": None");
        let held = format!(
            "expected: {kind} \"{name}\" cannot be created yet: its predecessor is still being deleted"
        );
        let foreign = format!(
            "{kind} team/{name} already exists and is not controlled by JobSet team/train; delete it, or rename the JobSet"
        );
        let observed = format!("> {kind} u");
        for (responses, expected) in [
            (vec![object(&own())], vec![&observed]),
            (vec![UNAVAILABLE], vec![&failed]),
            // The response to an earlier create was lost.
            (vec![EXISTS, object(&own())], vec![&get, &observed]),
            (vec![EXISTS, object(&controlled("old", "train", "predecessor"))], vec![&get, &held]),
            (vec![EXISTS, object(&deleted())], vec![&get, &held]),
            // Its own object is being deleted, and the index did not know it.
            (vec![EXISTS, object(&own_deleted())], vec![&get, &held]),
            (vec![EXISTS, NOT_FOUND], vec![&get, &held]),
            (vec![EXISTS, object(&controlled("old", "other", "other-uid"))], vec![&get, &foreign]),
            (vec![EXISTS, object(&json!({"name": name, "uid": "foreign"}))], vec![&get, &foreign]),
            (vec![EXISTS, UNAVAILABLE], vec![&get, &failed]),
        ] {
            let create = format!("create {kind}");
            let all: Vec<_> = [&create].into_iter().chain(expected).collect();
            assert_eq!(act(action(), responses).iter().collect::<Vec<_>>(), all);
        }
    }
}

/// Only the finalizer of a PodGroup can take long.
#[test]
fn a_podgroup_that_never_goes_is_reported_after_a_minute() {
    let metadata = json!({"name": "n", "uid": "old", "deletionTimestamp": "2026-03-01T09:00:00Z"});
    for (action, found, is_reported) in
        [(create_workload(), workload(&metadata), false), (create_pod_group(), pod_group(&metadata), true)]
    {
        let identify = Operation::new(&jobset(), action).answered(EXISTS).next.unwrap().unwrap();
        let error = identify.answered(found).next.unwrap_err();
        let at = |time: &str| error.clone().at(time.parse().unwrap());
        assert!(at("2026-03-01T09:01:00Z").is_expected());
        let late = at("2026-03-01T09:01:01Z");
        assert_eq!((late.is_expected(), late.event_reason().is_some()), (!is_reported, is_reported));
    }
}

#[test]
fn scale_patches_the_object_of_the_plan() {
    let (name, uid) = ("train-98".to_owned(), "u".to_owned());
    let templates = vec![ScaledTemplate { index: 1, name: "t".to_owned(), min_count: 3 }];
    let action = SchedulingAction::ScaleWorkload { name: name.clone(), uid: uid.clone(), templates };
    let patch = concat!(
        r#"patch workload train-98 [{"op":"replace","path":"/metadata/uid","value":"u"},"#,
        r#"{"op":"test","path":"/spec/podGroupTemplates/1/name","value":"t"},"#,
        r#"{"op":"replace","path":"/spec/podGroupTemplates/1/schedulingPolicy/gang/minCount","value":3}]"#
    );
    let of_workload = (action, patch, workload(&own()), "> workload u", "> workload u gone", "workload");
    let action = SchedulingAction::ScalePodGroup { name, uid, min_count: 3 };
    let patch = r#"patch podgroup train-98 {"metadata":{"uid":"u"},"spec":{"schedulingPolicy":{"gang":{"minCount":3}}}}"#;
    let of_group = (action, patch, pod_group(&own()), "> podgroup u", "> podgroup u gone", "podgroup");
    for (action, patch, changed, observed, gone, kind) in [of_workload, of_group] {
        let act = |response| act(Action::Scheduling(action.clone()), vec![response]);
        assert_eq!(act(changed), [patch, observed]);
        assert_eq!(act(NOT_FOUND), [patch, gone]);
        assert_eq!(act(UNAVAILABLE), [patch, &format!("changing {kind} \"train-98\": None")]);
    }
}

#[test]
fn delete_confirms_a_conflict() {
    let (name, uid) = ("n".to_owned(), "u".to_owned());
    let of_workload = SchedulingAction::DeleteWorkload { name: name.clone(), uid: uid.clone() };
    let of_group = SchedulingAction::DeletePodGroup { name, uid };
    for (kind, action, object) in
        [("workload", of_workload, workload as fn(&Value) -> Response), ("podgroup", of_group, pod_group)]
    {
        let (get, gone, remains) =
            (format!("get {kind} n"), format!("> {kind} u gone"), format!("> {kind} u"));
        let failed = |why: &str| format!("deleting {kind} \"n\": {why}");
        let (unavailable, denied) = (failed("None"), failed("Some(Conflict)"));
        let successor = || object(&controlled("successor", "train", "set-uid"));
        for (responses, expected) in [
            // It waits for its finalizers.
            (vec![object(&own())], vec![&remains]),
            (vec![GONE], vec![&gone]),
            (vec![NOT_FOUND], vec![&gone]),
            (vec![UNAVAILABLE], vec![&unavailable]),
            // A conflict: a successor has the name, no object has it, or an admission webhook denied the request.
            (vec![CONFLICT, successor()], vec![&get, &gone]),
            (vec![CONFLICT, NOT_FOUND], vec![&get, &gone]),
            (vec![CONFLICT, object(&own())], vec![&get, &denied]),
            (vec![CONFLICT, UNAVAILABLE], vec![&get, &unavailable]),
        ] {
            let delete = format!("delete {kind} n u");
            let all: Vec<_> = [&delete].into_iter().chain(expected).collect();
            let lines = act(Action::Scheduling(action.clone()), responses);
            assert_eq!(lines.iter().collect::<Vec<_>>(), all);
        }
    }
}

#[test]
fn every_unexpected_error_has_the_event_of_scheduling() {
    let reason = |action: Action, response| {
        let error = Operation::new(&jobset(), action).answered(response).next.unwrap_err();
        error.event_reason()
    };
    let (name, uid) = ("n".to_owned(), "u".to_owned());
    let scale = SchedulingAction::ScalePodGroup { name: name.clone(), uid: uid.clone(), min_count: 3 };
    let delete = SchedulingAction::DeletePodGroup { name, uid };
    for action in [create_workload(), Action::Scheduling(scale), Action::Scheduling(delete)] {
        assert_eq!(reason(action, UNAVAILABLE), Some("SchedulingObjectsReconcileFailed"));
    }
}
