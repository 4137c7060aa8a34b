use super::*;

const WORKER: &str = "/spec/replicatedJobs/1/template/spec";
const POD: &str = "/spec/replicatedJobs/1/template/spec/template";

/// The errors of an update from [`valid`] with `old` edits to [`valid`] with `new` edits.
fn updated(gates: &Gates, old: &[(&str, Value)], new: &[(&str, Value)]) -> Vec<String> {
    texts(&validate_update(&edited(old), &edited(new), gates))
}

fn is_immutable(errors: &[String]) -> bool {
    matches!(errors, [error] if error.starts_with("spec.replicatedJobs: Invalid value: [{\"name\":")
        && error.ends_with("]: field is immutable"))
}

#[test]
fn mutable_fields_can_change() {
    for (what, pointer, value) in [
        ("labels", "/metadata/labels", json!({"a": "b"})),
        ("suspend", "/spec/suspend", json!(true)),
        ("ttl", "/spec/ttlSecondsAfterFinished", json!(5)),
        ("coordinator, even an invalid one", "/spec/coordinator", json!({"replicatedJob": "absent"})),
        ("network, removed", "/spec/network", Value::Null),
        ("success policy, removed", "/spec/successPolicy", Value::Null),
        (
            "failure policy, added",
            "/spec/failurePolicy",
            json!({"rules": [{"name": "1", "action": "FailJobSet"}]}),
        ),
        ("startup policy, removed", "/spec/startupPolicy", Value::Null),
        ("claims, added", "/spec/volumeClaimPolicies", json!([{"templates": [{}]}])),
    ] {
        assert!(updated(&Gates::default(), &[], &[(pointer, value.clone())]).is_empty(), "{what}");
        assert!(updated(&Gates::default(), &[(pointer, value)], &[]).is_empty(), "{what}, reverted");
    }
}

#[test]
fn managed_by_is_immutable() {
    let me = ("/spec/managedBy", json!("a.io/me"));
    let you = ("/spec/managedBy", json!("a.io/you"));
    for (old, new, value) in [
        (vec![me.clone()], vec![you], "\"a.io/you\""),
        (vec![me.clone()], vec![], "null"),
        (vec![], vec![me], "\"a.io/me\""),
    ] {
        let expected = format!("spec.managedBy: Invalid value: {value}: field is immutable");
        assert_eq!(updated(&Gates::default(), &old, &new), [expected]);
    }
}

/// Defaulting does not set `managedBy`, so an explicit value for the built-in controller is a change.
#[test]
fn managed_by_can_be_neither_added_nor_removed() {
    let built_in = ("/spec/managedBy", json!("jobset.sigs.k8s.io/jobset-controller"));
    assert_eq!(updated(&Gates::default(), &[], std::slice::from_ref(&built_in)).len(), 1);
    assert_eq!(updated(&Gates::default(), std::slice::from_ref(&built_in), &[]).len(), 1);
    assert_eq!(
        updated(&Gates::default(), std::slice::from_ref(&built_in), std::slice::from_ref(&built_in)).len(),
        0
    );
}

/// A JobSet that was created while no webhook ran has no defaults. Old, new or both can lack them.
#[test]
fn defaults_are_no_change() {
    let lacking = [
        ("/spec/replicatedJobs/0/template/spec/completionMode", Value::Null),
        ("/spec/replicatedJobs/1/template/spec/completionMode", Value::Null),
        ("/spec/replicatedJobs/0/template/spec/template/spec/restartPolicy", Value::Null),
        ("/spec/replicatedJobs/1/template/spec/template/spec/restartPolicy", json!("")),
    ];
    let suspended = [&lacking[..], &[("/spec/suspend", json!(true))]].concat();
    let grown = [&lacking[..], &[("/spec/replicatedJobs/1/template/spec/parallelism", json!(5))]].concat();
    for gates in [Gates::default(), Gates { elastic_jobset: true, ..Gates::default() }] {
        assert!(updated(&gates, &lacking, &lacking).is_empty());
        assert!(updated(&gates, &lacking, &suspended).is_empty());
        assert!(updated(&gates, &lacking, &[]).is_empty());
        assert!(updated(&gates, &[], &lacking).is_empty());
        assert_eq!(updated(&gates, &lacking, &grown).len(), 1, "another change counts");
    }
    for (field, other) in
        [("completionMode", json!("NonIndexed")), ("template/spec/restartPolicy", json!("Never"))]
    {
        let other = [(format!("{WORKER}/{field}"), other)];
        let other = [(other[0].0.as_str(), other[0].1.clone())];
        assert!(is_immutable(&updated(&Gates::default(), &other, &lacking)), "{field}");
        assert!(is_immutable(&updated(&Gates::default(), &lacking, &other)), "{field}");
    }
}

/// Go shows an omitted list as null.
#[test]
fn removing_all_replicated_jobs_shows_null() {
    assert_eq!(
        updated(&Gates::default(), &[], &[("/spec/replicatedJobs", json!([]))]),
        ["spec.replicatedJobs: Invalid value: null: field is immutable"]
    );
}

#[test]
fn replicated_jobs_are_immutable() {
    let mut reversed = valid()["spec"]["replicatedJobs"].as_array().unwrap().clone();
    reversed.reverse();
    for (what, pointer, value) in [
        ("replicas", "/spec/replicatedJobs/1/replicas".to_owned(), json!(3)),
        ("group", "/spec/replicatedJobs/1/groupName".to_owned(), json!("g")),
        ("name", "/spec/replicatedJobs/1/name".to_owned(), json!("renamed")),
        ("order", "/spec/replicatedJobs".to_owned(), json!(reversed)),
        ("one removed", "/spec/replicatedJobs".to_owned(), json!([valid()["spec"]["replicatedJobs"][0]])),
        (
            "one added",
            "/spec/replicatedJobs/2".to_owned(),
            json!({"name": "third", "template": {"spec": {"template": {}}}}),
        ),
        (
            "dependsOn",
            "/spec/replicatedJobs/1/dependsOn".to_owned(),
            json!([{"name": "driver", "status": "Ready"}]),
        ),
        ("parallelism", format!("{WORKER}/parallelism"), json!(1)),
        ("image", format!("{POD}/spec/containers/0/image"), json!("other")),
        ("labels of Jobs", "/spec/replicatedJobs/1/template/metadata/labels".to_owned(), json!({"a": "b"})),
        ("affinity", format!("{POD}/spec/affinity"), json!({"podAffinity": {}})),
        ("resources", format!("{POD}/spec/containers/0/resources/limits/cpu"), json!("1")),
        // Mutable only while suspended:
        ("labels of pods", format!("{POD}/metadata/labels"), json!({"a": "b"})),
        ("node selector", format!("{POD}/spec/nodeSelector"), json!({"a": "b"})),
    ] {
        let errors = updated(&Gates::default(), &[], &[(&pointer, value.clone())]);
        assert!(is_immutable(&errors), "{what}: {errors:?}");
        if !what.contains("pods") && !what.contains("selector") {
            let suspended = ("/spec/suspend", json!(true));
            let new = [suspended.clone(), (pointer.as_str(), value)];
            let errors = updated(&Gates::default(), &[suspended], &new);
            assert!(is_immutable(&errors), "{what}, suspended: {errors:?}");
        }
    }
}

#[test]
fn scheduling_fields_can_change_while_suspended() {
    let fields = [
        ("metadata/annotations", json!({"a": "b"})),
        ("metadata/labels", json!({"a": "b"})),
        ("spec/nodeSelector", json!({"zone": "z"})),
        ("spec/tolerations", json!([{"key": "spot", "operator": "Exists"}])),
        ("spec/schedulingGates", json!([{"name": "gate"}])),
    ];
    let yes = ("/spec/suspend", json!(true));
    let no = ("/spec/suspend", json!(false));
    for (field, value) in fields {
        let pointer = format!("{POD}/{field}");
        let change = (pointer.as_str(), value);
        for (what, old, new, allowed) in [
            ("while suspended", vec![yes.clone()], vec![yes.clone(), change.clone()], true),
            ("while suspended, removed", vec![yes.clone(), change.clone()], vec![yes.clone()], true),
            ("with the resuming update", vec![yes.clone()], vec![no.clone(), change.clone()], true),
            ("with the suspending update", vec![no.clone(), change.clone()], vec![yes.clone()], true),
            ("while running", vec![no.clone()], vec![no.clone(), change.clone()], false),
            ("while running, suspend unset", vec![], vec![change.clone()], false),
        ] {
            let errors = updated(&Gates::default(), &old, &new);
            assert!(
                if allowed { errors.is_empty() } else { is_immutable(&errors) },
                "{what}: {field}: {errors:?}"
            );
        }
    }
    let both = [
        yes.clone(),
        ("/spec/replicatedJobs/1/template/spec/template/spec/nodeSelector", json!({"a": "b"})),
        ("/spec/replicatedJobs/1/replicas", json!(9)),
    ];
    assert!(is_immutable(&updated(&Gates::default(), &[yes], &both)), "other fields stay immutable");
}

/// Rows: the change of a pod template, and whether the gate allows it while the JobSet is suspended.
#[test]
fn requests_and_limits_can_change_while_suspended_with_the_gate() {
    let on = Gates { mutable_pod_resources: true, ..Gates::default() };
    let yes = ("/spec/suspend", json!(true));
    let no = ("/spec/suspend", json!(false));
    let main = |resources: Value| json!([{"name": "main", "image": "i", "resources": resources}]);
    let init = |resources: Value| json!([{"name": "prepare", "resources": resources}]);
    let before = [
        (
            format!("{POD}/spec/containers"),
            main(json!({"limits": {"cpu": "1"}, "claims": [{"name": "gpu"}]})),
        ),
        (format!("{POD}/spec/initContainers"), init(json!({}))),
    ];
    for (what, field, value, allowed) in [
        (
            "requests and limits",
            "containers",
            main(json!({"limits": {"cpu": "2"}, "requests": {"gpu": "1"}, "claims": [{"name": "gpu"}]})),
            true,
        ),
        ("limits removed", "containers", main(json!({"claims": [{"name": "gpu"}]})), true),
        ("of an init container", "initContainers", init(json!({"requests": {"cpu": "1"}})), true),
        ("claims", "containers", main(json!({"limits": {"cpu": "1"}, "claims": [{"name": "other"}]})), false),
        (
            "another container",
            "containers",
            json!([before[0].1[0], {"name": "more", "resources": {"limits": {"cpu": "1"}}}]),
            false,
        ),
        (
            "another name",
            "containers",
            json!([{"name": "renamed", "image": "i", "resources": before[0].1[0]["resources"]}]),
            false,
        ),
        (
            "image",
            "containers",
            json!([{"name": "main", "image": "j", "resources": before[0].1[0]["resources"]}]),
            false,
        ),
        ("no init container", "initContainers", json!([]), false),
    ] {
        let changed = (format!("{POD}/spec/{field}"), value);
        let edits = |suspend: &(&'static str, Value), change: bool| {
            let mut edits = vec![(suspend.0.to_owned(), suspend.1.clone())];
            edits.extend(before.clone());
            edits.extend(change.then(|| changed.clone()));
            edits
        };
        for (when, old, new, suspended) in [
            ("while suspended", edits(&yes, false), edits(&yes, true), true),
            ("with the resuming update", edits(&yes, false), edits(&no, true), true),
            ("with the suspending update", edits(&no, false), edits(&yes, true), true),
            ("reverted", edits(&yes, true), edits(&yes, false), true),
            ("while running", edits(&no, false), edits(&no, true), false),
        ] {
            let (old, new): (Vec<_>, Vec<_>) = (
                old.iter().map(|(pointer, value)| (pointer.as_str(), value.clone())).collect(),
                new.iter().map(|(pointer, value)| (pointer.as_str(), value.clone())).collect(),
            );
            let errors = updated(&on, &old, &new);
            if allowed && suspended {
                assert!(errors.is_empty(), "{what}, {when}: {errors:?}");
            } else {
                assert!(is_immutable(&errors), "{what}, {when}: {errors:?}");
            }
            let errors = updated(&Gates::default(), &old, &new);
            assert!(is_immutable(&errors), "{what}, {when}, gate off: {errors:?}");
        }
    }
}

#[test]
fn the_size_of_elastic_jobs_can_change() {
    let on = Gates { elastic_jobset: true, ..Gates::default() };
    let parallelism = format!("{WORKER}/parallelism");
    let completions = format!("{WORKER}/completions");
    let path = "spec.replicatedJobs[1].template.spec";
    let size = |p: Value, c: Value| vec![(parallelism.as_str(), p), (completions.as_str(), c)];
    for (what, change, expected) in [
        ("grown", size(json!(5), json!(5)), vec![]),
        ("shrunk", size(json!(1), json!(1)), vec![]),
        (
            "unequal",
            size(json!(3), json!(4)),
            vec![format!(
                "{path}.completions: Invalid value: 4: completions must be equal to parallelism for Elastic Indexed Jobs"
            )],
        ),
        (
            "none",
            size(json!(0), json!(0)),
            vec![
                format!("{path}.parallelism: Invalid value: 0: parallelism must be >= 1"),
                format!("{path}.completions: Invalid value: 0: completions must be >= 1"),
            ],
        ),
        (
            "negative and unequal",
            size(json!(3), json!(-1)),
            vec![
                format!("{path}.completions: Invalid value: -1: completions must be >= 1"),
                format!(
                    "{path}.completions: Invalid value: -1: completions must be equal to parallelism for Elastic Indexed Jobs"
                ),
            ],
        ),
        ("one unset", size(Value::Null, json!(3)), vec![]),
        ("both unset", size(Value::Null, Value::Null), vec![]),
    ] {
        assert_eq!(updated(&on, &[], &change), expected, "{what}");
    }
    let grown = size(json!(5), json!(5));
    assert!(is_immutable(&updated(&Gates::default(), &[], &grown)), "gate off");

    let non_indexed = (format!("{WORKER}/completionMode"), json!("NonIndexed"));
    let non_indexed = (non_indexed.0.as_str(), non_indexed.1);
    let mut change = grown.clone();
    change.push(non_indexed.clone());
    assert!(is_immutable(&updated(&on, &[non_indexed], &change)), "not Indexed");

    let mut more = grown.clone();
    more.push(("/spec/replicatedJobs/1/replicas", json!(7)));
    assert!(is_immutable(&updated(&on, &[], &more)), "other fields stay immutable");

    for condition in ["Completed", "Failed"] {
        let status = |status: &str| {
            json!([{"type": condition, "status": status, "reason": "R", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}])
        };
        let forbidden = format!(
            "{path}: Forbidden: Cannot mutate parallelism or completions when JobSet is in a terminal state \
             (Completed or Failed)"
        );
        let ended = |value: &str| [("/status", json!({"restarts": 0, "conditions": status(value)}))];
        assert_eq!(updated(&on, &ended("True"), &grown), [forbidden], "{condition}");
        assert!(updated(&on, &ended("False"), &grown).is_empty());
        assert!(updated(&on, &ended("True"), &[]).is_empty(), "no change of size");
    }
    let index_of_new = updated(
        &on,
        &[],
        &[("/spec/replicatedJobs/0/name", json!("new")), (&parallelism, json!(0)), (&completions, json!(0))],
    );
    assert_eq!(index_of_new.len(), 3, "size errors first, then immutability: {index_of_new:?}");
    assert!(is_immutable(&index_of_new[2..]));
}

#[test]
fn rewrites_by_typed_clients_are_no_change() {
    for (what, pointer, one, other) in [
        ("empty struct", "spec/containers/0/resources", Value::Null, json!({})),
        ("empty struct", "metadata", Value::Null, json!({})),
        ("empty struct in a struct", "metadata", Value::Null, json!({"labels": {}, "annotations": null})),
        ("empty list", "spec/volumes", Value::Null, json!([])),
        ("empty map", "spec/nodeSelector", Value::Null, json!({})),
        ("false", "spec/hostNetwork", Value::Null, json!(false)),
        ("zero", "spec/containers/0/livenessProbe/initialDelaySeconds", Value::Null, json!(0)),
        ("empty text", "spec/containers/0/env", json!([{"name": "A"}]), json!([{"name": "A", "value": ""}])),
        ("quantity", "spec/containers/0/resources/limits", json!({"cpu": "1000m"}), json!({"cpu": "1"})),
        (
            "quantity as a number",
            "spec/containers/0/resources/limits",
            json!({"cpu": 1}),
            json!({"cpu": "1"}),
        ),
        (
            "quantity of a volume",
            "spec/volumes",
            json!([{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}]),
            json!([{"name": "v", "emptyDir": {"sizeLimit": "1024Mi"}}]),
        ),
        (
            "quantity that is zero",
            "spec/containers/0/env",
            json!([{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}]),
            json!([{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "0"}}}]),
        ),
        ("creationTimestamp", "metadata", Value::Null, json!({"creationTimestamp": null})),
    ] {
        let pointer = format!("{POD}/{pointer}");
        let (one, other) = ([(pointer.as_str(), one)], [(pointer.as_str(), other)]);
        for (old, new) in [(&one, &other), (&other, &one)] {
            let errors = updated(&Gates::default(), old, new);
            assert!(errors.is_empty(), "{what}: {pointer}: {errors:?}");
        }
    }
}

#[test]
fn similar_values_with_another_meaning_are_a_change() {
    for (what, pointer, one, other) in [
        ("pointer to an empty struct", "spec/securityContext", Value::Null, json!({})),
        ("a volume's source", "spec/volumes", json!([{"name": "v"}]), json!([{"name": "v", "emptyDir": {}}])),
        (
            "a selector of everything",
            "spec/topologySpreadConstraints",
            json!([{"maxSkew": 1, "topologyKey": "k", "whenUnsatisfiable": "x"}]),
            json!([{"maxSkew": 1, "topologyKey": "k", "whenUnsatisfiable": "x", "labelSelector": {}}]),
        ),
        ("pointer to false", "spec/automountServiceAccountToken", Value::Null, json!(false)),
        ("pointer to zero", "spec/terminationGracePeriodSeconds", Value::Null, json!(0)),
        ("pointer to an empty text", "spec/runtimeClassName", Value::Null, json!("")),
        ("an empty item", "spec/tolerations", Value::Null, json!([{}])),
        ("a map's empty text", "metadata/labels", Value::Null, json!({"a": ""})),
        (
            "a label named like a quantity",
            "metadata/labels",
            json!({"limits": "1"}),
            json!({"limits": "1000m"}),
        ),
        ("a resource of zero", "spec/containers/0/resources/limits", Value::Null, json!({"gpu": "0"})),
        ("quantities", "spec/containers/0/resources/limits", json!({"cpu": "1"}), json!({"cpu": "1m"})),
        ("order", "spec/containers/0/args", json!(["a", "b"]), json!(["b", "a"])),
        (
            "the same name in another field",
            "spec/volumes",
            json!([{"name": "v", "hostPath": {"path": "/"}}]),
            json!([{"name": "v", "hostPath": {"path": "/", "type": ""}}]),
        ),
        (
            "an option's empty value",
            "spec/dnsConfig/options",
            json!([{"name": "o"}]),
            json!([{"name": "o", "value": ""}]),
        ),
    ] {
        let pointer = format!("{POD}/{pointer}");
        let (one, other) = ([(pointer.as_str(), one)], [(pointer.as_str(), other)]);
        for (old, new) in [(&one, &other), (&other, &one)] {
            let errors = updated(&Gates::default(), old, new);
            assert!(is_immutable(&errors), "{what}: {pointer}: {errors:?}");
        }
    }
    for (field, zero) in
        [("backoffLimit", json!(0)), ("suspend", json!(false)), ("completionMode", json!(""))]
    {
        let errors = updated(&Gates::default(), &[], &[(&format!("{WORKER}/{field}"), zero)]);
        assert!(is_immutable(&errors), "{field}: {errors:?}");
    }
}
