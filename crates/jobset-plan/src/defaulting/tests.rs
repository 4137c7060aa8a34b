use super::*;

fn on() -> Gates {
    Gates { workload_aware_scheduling: true, ..Gates::default() }
}

fn paths(jobset: &Value) -> Vec<(String, Value)> {
    defaults(jobset, &Gates::default()).into_iter().map(|default| (default.path, default.value)).collect()
}

#[test]
fn an_empty_spec_gets_all_policies() {
    assert_eq!(
        paths(&json!({"spec": {}})),
        [
            ("/spec/successPolicy".into(), json!({"operator": "All"})),
            ("/spec/startupPolicy".into(), json!({"startupPolicyOrder": "AnyOrder"})),
            ("/spec/network".into(), json!({"enableDNSHostnames": true, "publishNotReadyAddresses": true})),
        ]
    );
    assert_eq!(paths(&json!({})).len(), 1, "also without a spec");
}

#[test]
fn each_list_item_is_defaulted() {
    let jobset = json!({"spec": {
        "successPolicy": {"operator": "Any"},
        "startupPolicy": {"startupPolicyOrder": "InOrder"},
        "network": {"publishNotReadyAddresses": false},
        "replicatedJobs": [
            {"name": "driver", "template": {"spec": {
                "completionMode": "NonIndexed", "template": {"spec": {"restartPolicy": "Never"}}}}},
            {"name": "worker", "template": {"spec": {"template": {"spec": {"restartPolicy": ""}}}}},
            {"name": "plain", "template": {"spec": {"completionMode": "Indexed", "template": {"spec": {}}}}},
            {"name": "shapeless", "template": 7},
        ],
        "failurePolicy": {"rules": [{"name": "kept"}, {"action": "FailJobSet"}, {"name": ""}]},
        "volumeClaimPolicies": [{"retentionPolicy": {"whenDeleted": "Retain"}}, {"templates": []}],
    }});
    assert_eq!(
        paths(&jobset),
        [
            ("/spec/replicatedJobs/1/template/spec/completionMode".into(), json!("Indexed")),
            ("/spec/replicatedJobs/1/template/spec/template/spec/restartPolicy".into(), json!("OnFailure")),
            ("/spec/replicatedJobs/2/template/spec/template/spec/restartPolicy".into(), json!("OnFailure")),
            ("/spec/network/enableDNSHostnames".into(), json!(true)),
            ("/spec/failurePolicy/rules/1/name".into(), json!("failurePolicyRule1")),
            ("/spec/failurePolicy/rules/2/name".into(), json!("failurePolicyRule2")),
            ("/spec/volumeClaimPolicies/1/retentionPolicy".into(), json!({"whenDeleted": "Delete"})),
        ]
    );
}

/// Kubernetes treats null as absent, but not an empty object.
#[test]
fn null_is_defaulted_and_an_empty_object_is_not() {
    let policies =
        |value: &Value| json!({"spec": {"successPolicy": value, "startupPolicy": value, "network": value}});
    assert_eq!(paths(&policies(&Value::Null)), paths(&json!({"spec": {}})));
    assert_eq!(paths(&json!({"spec": null})), paths(&json!({})));
    assert_eq!(
        paths(&policies(&json!({}))),
        [
            ("/spec/network/enableDNSHostnames".into(), json!(true)),
            ("/spec/network/publishNotReadyAddresses".into(), json!(true)),
        ]
    );
}

#[test]
fn values_of_a_wrong_type_get_no_defaults() {
    for jobset in [json!(null), json!(7), json!({"spec": 7}), json!({"spec": {"network": 7}})] {
        let set = defaults(&jobset, &on());
        assert!(jobset.is_object() || set.is_empty(), "{jobset}: {set:?}");
        assert!(set.iter().all(|default| default.path != "/spec/network"), "{jobset}: {set:?}");
    }
}

/// The JobSet after the patch that admission sends.
fn patched(jobset: &Value, patch: Vec<Default>) -> Value {
    let mut jobset = jobset.clone();
    for Default { path, value } in patch {
        let (parent, field) = path.rsplit_once('/').unwrap();
        let parent = jobset.pointer_mut(parent).unwrap();
        parent.as_object_mut().unwrap().insert(field.to_owned(), value);
    }
    jobset
}

fn created(jobset: &Value) -> Value {
    patched(jobset, defaults(jobset, &on()))
}

fn updated(old: &Value, new: &Value) -> Value {
    patched(new, defaults_on_update(old, new, &on()))
}

/// A JobSet without any default, and with a rule whose name is empty.
fn sparse() -> Value {
    let job = json!({"name": "worker", "template": {"spec": {"template": {"spec": {"containers": []}}}}});
    json!({"spec": {
        "replicatedJobs": [job],
        "failurePolicy": {"rules": [{"action": "FailJobSet"}, {"action": "RestartJobSet", "name": ""}]},
        "network": {"subdomain": "net"},
        "volumeClaimPolicies": [{"templates": []}],
        "scheduling": {},
    }})
}

#[test]
fn an_unchanged_file_changes_nothing() {
    let explicit = created(&sparse());
    for stored in [explicit.clone(), sparse(), json!({"spec": {}}), created(&json!({})), json!({})] {
        for sent in [&explicit, &sparse(), &created(&json!({})), &json!({"spec": {}}), &json!({"spec": null})]
        {
            if created(sent) == created(&stored) {
                let got = updated(&stored, sent);
                // An implicit default may become explicit.
                let kept = IMMUTABLE.map(|field| stored["spec"].get(field).or(sent["spec"].get(field)));
                assert_eq!(IMMUTABLE.map(|field| got["spec"].get(field)), kept, "{stored} <- {sent}");
                let typed = |jobset: &Value| -> Vec<ReplicatedJob> {
                    let jobs = jobset["spec"].get("replicatedJobs").cloned();
                    let mut jobs: Vec<ReplicatedJob> =
                        serde_json::from_value(jobs.unwrap_or(json!([]))).unwrap();
                    jobs.iter_mut().for_each(fill_in);
                    jobs
                };
                assert_eq!(typed(&got), typed(&stored), "{stored} <- {sent}");
            }
        }
        assert_eq!(updated(&stored, &stored), stored, "an update that changes nothing");
    }
    assert_eq!(updated(&explicit, &sparse()), explicit, "no default is lost");
}

#[test]
fn an_update_keeps_real_changes() {
    let with = |field: &str, value: &Value| json!({"spec": {field: value}});
    for (what, field, old, new, stored) in [
        ("removed", "successPolicy", json!({"operator": "Any"}), json!(null), json!(null)),
        ("removed", "network", json!({"subdomain": "net"}), json!(null), json!(null)),
        ("removed", "failurePolicy", json!({"maxRestarts": 1}), json!(null), json!(null)),
        (
            "removed, was the default",
            "startupPolicy",
            json!({"startupPolicyOrder": "AnyOrder"}),
            json!(null),
            json!({"startupPolicyOrder": "AnyOrder"}),
        ),
        (
            "added",
            "failurePolicy",
            json!(null),
            json!({"rules": [{"action": "FailJobSet"}]}),
            json!({"rules": [{"action": "FailJobSet", "name": "failurePolicyRule0"}]}),
        ),
        (
            "added",
            "network",
            json!(null),
            json!({"subdomain": "net"}),
            json!({"subdomain": "net", "enableDNSHostnames": true, "publishNotReadyAddresses": true}),
        ),
        (
            "changed",
            "successPolicy",
            json!({"operator": "Any"}),
            json!({"operator": "All"}),
            json!({"operator": "All"}),
        ),
        (
            "changed",
            "network",
            json!({"enableDNSHostnames": false, "publishNotReadyAddresses": true}),
            json!({}),
            json!({"enableDNSHostnames": true, "publishNotReadyAddresses": true}),
        ),
    ] {
        let got = updated(&with(field, &old), &with(field, &new));
        assert_eq!(got["spec"].get(field).unwrap_or(&Value::Null), &stored, "{field} {what}");
    }
}

#[test]
fn an_update_defaults_a_job_that_was_defaulted_before() {
    let (stored, path) = (created(&sparse()), "/spec/replicatedJobs/0/template/spec/completionMode");
    assert_eq!(updated(&stored, &sparse()).pointer(path), Some(&json!("Indexed")));
    assert_eq!(updated(&sparse(), &sparse()).pointer(path), None, "created while no webhook ran");
    let mut other = stored.clone();
    *other.pointer_mut(path).unwrap() = json!("NonIndexed");
    assert_eq!(updated(&other, &sparse()).pointer(path), Some(&json!("Indexed")), "validation rejects it");
}

/// The Go controller and clients with Go's types write empty objects that a manifest omits, and omit its zeros.
#[test]
fn the_stored_form_of_an_equal_value_is_kept() {
    let manifest = json!({"spec": {
        "replicatedJobs": [{"name": "w", "template": {"spec": {"template": {"spec": {"containers": [{"name": "c"}]}}}}}],
        "failurePolicy": {"maxRestarts": 0},
        "successPolicy": {"operator": "All", "targetReplicatedJobs": []},
    }});
    let typed = json!({"spec": {
        "replicatedJobs": [{"name": "w", "template": {"metadata": {}, "spec": {"template": {
            "metadata": {}, "spec": {"containers": [{"name": "c", "resources": {}}]}}}}}],
        "failurePolicy": {},
        "successPolicy": {"operator": "All"},
    }});
    let [manifest, typed] = [created(&manifest), created(&typed)];
    assert_ne!(manifest, typed);
    assert_eq!(updated(&manifest, &typed), manifest);
    assert_eq!(updated(&typed, &manifest), typed);
    let mut changed = typed.clone();
    changed["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["containers"][0]["image"] =
        json!("b");
    assert_eq!(updated(&manifest, &changed)["spec"]["replicatedJobs"], changed["spec"]["replicatedJobs"]);
}

#[test]
fn scheduling_without_groups_is_a_gang() {
    let gang = json!({"schedulingPolicy": {"gang": {}}});
    let with_gang = |field: &str, value: Value| json!({"schedulingPolicy": {"gang": {}}, field: value});
    let (constraints, mode) = (json!({"topology": [{"key": "rack"}]}), json!({"all": {}}));
    let entries = json!({"replicatedJobs": [{"targetReplicatedJobs": ["w"]}]});
    for (sent, stored) in [
        (json!({}), gang.clone()),
        (json!({"schedulingPolicy": null}), gang.clone()),
        (json!({"replicatedJobs": []}), with_gang("replicatedJobs", json!([]))),
        (
            json!({"schedulingConstraints": constraints}),
            with_gang("schedulingConstraints", constraints.clone()),
        ),
        (json!({"disruptionMode": mode}), with_gang("disruptionMode", mode.clone())),
        (gang.clone(), gang.clone()),
        (json!({"schedulingPolicy": {"basic": {}}}), json!({"schedulingPolicy": {"basic": {}}})),
        (entries.clone(), entries),
        (json!({"replicatedJobs": "w"}), json!({"replicatedJobs": "w"})),
        (json!(7), json!(7)),
        (json!(null), json!(null)),
    ] {
        let jobset = json!({"spec": {"scheduling": sent}});
        assert_eq!(created(&jobset)["spec"]["scheduling"], stored, "{sent}");
        let off = patched(&jobset, defaults(&jobset, &Gates::default()));
        assert_eq!(off["spec"]["scheduling"], sent, "the feature gate is off: {sent}");
    }
}

#[test]
fn an_update_keeps_the_stored_scheduling_policy() {
    let gang = || json!({"schedulingPolicy": {"gang": {}}});
    let basic = || json!({"schedulingPolicy": {"basic": {}}});
    let entries = || json!({"replicatedJobs": [{"targetReplicatedJobs": ["w"]}]});
    // The default restores the stored form without the feature gate, too.
    for (old, new, stored, stored_off) in [
        (gang(), json!({}), gang(), gang()),
        (json!({}), json!({}), json!({}), json!({})),
        (json!({}), gang(), json!({}), json!({})),
        (json!(null), json!({}), gang(), json!({})),
        (entries(), json!({}), gang(), json!({})),
        (basic(), json!({}), gang(), json!({})),
        (gang(), basic(), basic(), basic()),
        (gang(), entries(), entries(), entries()),
        (gang(), json!(null), json!(null), json!(null)),
        (entries(), entries(), entries(), entries()),
    ] {
        let [before, after] = [&old, &new].map(|scheduling| {
            let mut jobset = created(&json!({"spec": {}}));
            jobset["spec"]["scheduling"] = scheduling.clone();
            jobset
        });
        for (gates, expected) in [(on(), stored), (Gates::default(), stored_off)] {
            let got = patched(&after, defaults_on_update(&before, &after, &gates));
            assert_eq!(got["spec"]["scheduling"], expected, "{old} <- {new}, {gates:?}");
        }
    }
}

#[test]
fn updates_of_a_wrong_type_get_no_defaults() {
    for odd in
        [json!(null), json!(7), json!({"spec": 7}), json!({"spec": {"network": 7, "failurePolicy": []}})]
    {
        for other in [json!(null), sparse(), created(&sparse()), json!({"spec": []})] {
            defaults_on_update(&odd, &other, &on());
            for default in defaults_on_update(&other, &odd, &on()) {
                let is_whole = odd.is_object() && default.path == "/spec";
                assert!(odd["spec"].is_object() || is_whole, "{odd}: {default:?}");
            }
        }
    }
}
