use super::*;
use crate::validation::aggregate;

const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with \
     an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used \
     for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_1123: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
     '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
     validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

fn in_place() -> Gates {
    Gates { in_place_restart: true, ..Gates::default() }
}

#[test]
fn a_valid_jobset_has_no_errors() {
    assert!(created(&[]).is_empty());
    assert!(created(&[("/spec/replicatedJobs", json!([]))]).is_empty(), "no replicatedJobs");
    assert!(created(&[("/spec/successPolicy", Value::Null)]).is_empty(), "no success policy means All");
}

#[test]
fn rows_1_and_2() {
    check_created(
        &Gates::default(),
        &[
            (
                "1: in-place restart without its gate",
                &[("/spec/failurePolicy", json!({"restartStrategy": "InPlaceRestart"}))],
                &[
                    "<nil>: Internal error: InPlaceRestart restart strategy cannot be set when InPlaceRestart feature \
                   gate is disabled",
                ],
            ),
            (
                "1: other strategies need no gate",
                &[("/spec/failurePolicy", json!({"restartStrategy": "BlockingRecreate"}))],
                &[],
            ),
            (
                "2: the first ReplicatedJob has no earlier ReplicatedJob; its name counts as seen",
                &[("/spec/replicatedJobs/0/dependsOn", json!([{"name": "driver", "status": "Ready"}]))],
                &["<nil>: Internal error: DependsOn can't be set for the first ReplicatedJob"],
            ),
            (
                "2: not even by an empty list",
                &[("/spec/replicatedJobs/0/dependsOn", json!([]))],
                &["<nil>: Internal error: DependsOn can't be set for the first ReplicatedJob"],
            ),
            ("2: null is none", &[("/spec/replicatedJobs/0/dependsOn", Value::Null)], &[]),
            ("2: later ones may have an empty list", &[("/spec/replicatedJobs/1/dependsOn", json!([]))], &[]),
        ],
    );
}

#[test]
fn rows_3_and_4_subdomain() {
    let long = "a".repeat(64);
    let longer = "a".repeat(254);
    let too_long = ".spec.network.subdomain is too long, must be less than 63 characters";
    let error =
        |value: &str, detail: &str| format!("spec.network.subdomain: Invalid value: {value:?}: {detail}");
    for (what, subdomain, expected) in [
        ("empty means none", "", vec![]),
        ("a label", "svc-1", vec![]),
        ("a subdomain, not a label", "a.b", vec![error("a.b", LABEL_1035)]),
        ("starts with a digit", "1a", vec![error("1a", LABEL_1035)]),
        ("neither", "A_b", vec![error("A_b", SUBDOMAIN_1123), error("A_b", LABEL_1035)]),
        ("too long for a label", &long, vec![error(&long, too_long)]),
        (
            "too long for both",
            &longer,
            vec![error(&longer, "must be no more than 253 characters"), error(&longer, too_long)],
        ),
    ] {
        assert_eq!(created(&[("/spec/network/subdomain", json!(subdomain))]), expected, "{what}");
    }
}

#[test]
fn rows_5_and_6_managed_by() {
    let long = format!("a.io/{}", "b".repeat(59));
    check_created(
        &Gates::default(),
        &[
            ("5: a path after a domain", &[("/spec/managedBy", json!("kueue.x-k8s.io/multikueue"))], &[]),
            ("5: empty", &[("/spec/managedBy", json!(""))], &["spec.managedBy: Required value"]),
            (
                "5: no path",
                &[("/spec/managedBy", json!("me"))],
                &[
                    r#"spec.managedBy: Invalid value: "me": must be a domain-prefixed path (such as "acme.io/foo")"#,
                ],
            ),
            ("6: 63 bytes", &[("/spec/managedBy", json!(long[..63]))], &[]),
            (
                "6: 64 bytes",
                &[("/spec/managedBy", json!(long))],
                &["spec.managedBy: Too long: may not be more than 63 bytes"],
            ),
        ],
    );
    let both = created(&[("/spec/managedBy", json!("x".repeat(64)))]);
    assert_eq!(both.len(), 2, "5 and 6 at once: {both:?}");
}

#[test]
fn row_7_size() {
    let job = "/spec/replicatedJobs/0/template/spec";
    let parallelism = format!("{job}/parallelism");
    let error = "<nil>: Internal error: the product of replicas and parallelism must not exceed 2147483647 for \
                 replicatedJob 'driver'";
    for (what, parallelism_value, replicas, expected) in [
        ("the maximum", json!(2_147_483_647), 1, vec![]),
        ("one more than 32 bits hold", json!(1_073_741_824), 2, vec![error]),
        ("the largest numbers", json!(i32::MAX), i32::MAX, vec![error]),
        ("parallelism defaults to 1", Value::Null, i32::MAX, vec![]),
    ] {
        let errors = created(&[
            (&parallelism, parallelism_value),
            ("/spec/replicatedJobs/0/replicas", json!(replicas)),
        ]);
        assert_eq!(errors, expected, "{what}");
    }
}

#[test]
fn row_8_group_name() {
    let long = "g".repeat(64);
    for (what, group, detail) in [
        ("empty", "", LABEL_1035),
        ("upper case", "Group", LABEL_1035),
        (
            "64 characters",
            &long,
            ".spec.replicatedJob[].groupName is too long, must be less than 63 characters",
        ),
    ] {
        let expected = format!("spec.replicatedJobs[1].groupName: Invalid value: {group:?}: {detail}");
        assert_eq!(created(&[("/spec/replicatedJobs/1/groupName", json!(group))]), [expected], "{what}");
    }
}

#[test]
fn rows_9_and_10_names_of_jobs_and_pods() {
    let job_too_long =
        "JobSet name is too long, job names generated for this JobSet will exceed 63 characters";
    let pod_too_long =
        "JobSet name is too long, pod names generated for this JobSet will exceed 63 characters";
    let error = |index: usize, job: &str, detail: &str| {
        format!("spec.replicatedJobs[{index}].name: Invalid value: {job:?}: {detail}")
    };
    let name = |length: usize| "n".repeat(length);

    // The longest are `<name>-worker-1` and `<name>-worker-1-2-abcde`.
    let no_completions = [
        ("/spec/replicatedJobs/0/template/spec/completions", Value::Null),
        ("/spec/replicatedJobs/1/template/spec/completions", Value::Null),
    ];
    let with_name = |edits: &[(&'static str, Value)], length: usize| {
        let mut edits = edits.to_vec();
        edits.push(("/metadata/name", json!(name(length))));
        edits.push(("/spec/replicatedJobs/0/name", json!("d")));
        created(&edits)
    };
    assert!(with_name(&no_completions, 54).is_empty(), "9: 63 characters");
    let jobs = [54, 55].map(|length| format!("{}-worker-1", name(length)));
    assert_eq!(with_name(&no_completions, 55), [error(1, &jobs[1], job_too_long)], "9: 64 characters");

    assert!(with_name(&[], 46).is_empty(), "10: 63 characters");
    let job = format!("{}-worker-1", name(47));
    assert_eq!(with_name(&[], 47), [error(1, &job, pod_too_long)], "10: the value shown is the Job's name");
    let pods =
        |number: i32| with_name(&[("/spec/replicatedJobs/1/template/spec/completions", json!(number))], 46);
    assert!(pods(10).is_empty(), "10: indices start at 0");
    assert_eq!(pods(11).len(), 1, "10: the last index is 10");
    assert_eq!(
        with_name(&[], 55)[1..], // the first is of `d`
        [error(1, &jobs[1], job_too_long), error(1, &jobs[1], pod_too_long)],
        "9 and 10"
    );
    let non_indexed = [("/spec/replicatedJobs/1/template/spec/completionMode", json!("NonIndexed"))];
    assert!(with_name(&non_indexed, 47).is_empty(), "10: pods without an index have other names");

    for (what, edits, expected) in [
        ("9: no replicas, `js-worker--1` is legal", ("/spec/replicatedJobs/1/replicas", json!(0)), vec![]),
        (
            "9: not lower case",
            ("/spec/replicatedJobs/1/name", json!("W")),
            vec![error(1, "js-W-1", LABEL_1035), error(1, "js-W-1", LABEL_1035)],
        ),
        (
            "9: a JobSet name that may start with a digit may not here",
            ("/metadata/name", json!("1js")),
            vec![
                error(0, "1js-driver-0", LABEL_1035),
                error(0, "1js-driver-0", LABEL_1035),
                error(1, "1js-worker-1", LABEL_1035),
                error(1, "1js-worker-1", LABEL_1035),
            ],
        ),
        (
            "9: no name at all",
            ("/metadata/name", Value::Null),
            vec![
                error(0, "-driver-0", LABEL_1035),
                error(0, "-driver-0", LABEL_1035),
                error(1, "-worker-1", LABEL_1035),
                error(1, "-worker-1", LABEL_1035),
            ],
        ),
    ] {
        assert_eq!(created(&[edits]), expected, "{what}");
    }
}

#[test]
fn the_length_of_a_generated_name_includes_its_suffix() {
    let with = |base: usize| {
        created(&[
            ("/metadata/name", Value::Null),
            ("/metadata/generateName", json!("n".repeat(base))),
            ("/spec/replicatedJobs/0/name", json!("w")),
            ("/spec/replicatedJobs/1/name", json!("v")),
        ])
    };
    assert!(with(46).is_empty(), "46 + 5 + `-v-1-2-abcde` is 63");
    assert_eq!(with(47).len(), 2, "one more character is too long for both");
    assert_eq!(with(200), with(58), "the base is truncated to 58 characters");
}

#[test]
fn row_11_depends_on() {
    let depends_on = |names: &[&str]| {
        let items: Vec<Value> =
            names.iter().map(|name| json!({"name": name, "status": "Complete"})).collect();
        created(&[("/spec/replicatedJobs/1/dependsOn", json!(items))])
    };
    let error = |name: &str| {
        format!("<nil>: Internal error: replicatedJob: worker cannot depend on replicatedJob: {name}")
    };
    assert!(depends_on(&["driver"]).is_empty(), "an earlier ReplicatedJob");
    assert!(depends_on(&["worker"]).is_empty(), "a dependency on itself is valid, with a warning");
    assert_eq!(depends_on(&["absent", "driver", ""]), [error("absent"), error("")]);
    assert_eq!(
        created(&[
            ("/spec/replicatedJobs/2", valid()["spec"]["replicatedJobs"][1].clone()),
            ("/spec/replicatedJobs/2/name", json!("last")),
            ("/spec/replicatedJobs/1/dependsOn", json!([{"name": "last", "status": "Ready"}])),
        ]),
        [error("last")],
        "a later ReplicatedJob"
    );
}

#[test]
fn rows_12_to_14_in_place_restart() {
    let strategy = ("/spec/failurePolicy", json!({"restartStrategy": "InPlaceRestart"}));
    let base = "spec.replicatedJobs[0].template.spec";
    let with = |job: Value| {
        let mut edits = vec![strategy.clone()];
        let keys = ["backoffLimit", "podReplacementPolicy", "completions", "parallelism"];
        let pointers = keys.map(|key| format!("/spec/replicatedJobs/0/template/spec/{key}"));
        edits.extend(pointers.iter().zip(keys).map(|(pointer, key)| (pointer.as_str(), job[key].clone())));
        let mut jobset = edited(&edits);
        jobset.spec.replicated_jobs.truncate(1);
        texts(&validate_create(&jobset, &ExistingClaims::new(), &in_place()))
    };
    let backoff = |value: &str| {
        format!(
            "{base}.backoffLimit: Invalid value: {value}: replicatedJob driver: must be set to 2147483647 \
             (MaxInt32) when in-place restart is enabled"
        )
    };
    let replacement = |value: &str| {
        format!(
            "{base}.podReplacementPolicy: Invalid value: {value}: replicatedJob driver: must be set to Failed when \
             in-place restart is enabled"
        )
    };
    let completions = |value: &str| {
        format!(
            "{base}.completions: Invalid value: {value}: replicatedJob driver: completions and parallelism must be \
             set and equal to each other when in-place restart is enabled"
        )
    };
    let good = json!({
        "backoffLimit": i32::MAX, "podReplacementPolicy": "Failed", "completions": 2, "parallelism": 2,
    });
    assert!(with(good.clone()).is_empty());
    assert_eq!(with(json!({})), [backoff("null"), replacement("null"), completions("null")], "all unset");
    for (what, key, value, expected) in [
        ("12", "backoffLimit", json!(6), backoff("6")),
        ("13", "podReplacementPolicy", json!("TerminatingOrFailed"), replacement("\"TerminatingOrFailed\"")),
        ("14: unequal", "completions", json!(3), completions("3")),
        ("14: no parallelism", "parallelism", Value::Null, completions("2")),
    ] {
        let mut job = good.clone();
        job[key] = value;
        assert_eq!(with(job), [expected], "{what}");
    }
}

#[test]
fn row_15_success_policy() {
    let errors = created(&[("/spec/successPolicy/targetReplicatedJobs", json!(["worker", "x", "y"]))]);
    let error = |name: &str| {
        format!(
            "<nil>: Internal error: invalid replicatedJob name '{name}' does not appear in .spec.ReplicatedJobs"
        )
    };
    assert_eq!(errors, [error("x"), error("y")]);
}

#[test]
fn all_errors_are_returned_in_the_order_of_the_rows() {
    let jobset = edited(&[
        ("/spec/replicatedJobs/0/dependsOn", json!([{"name": "worker", "status": "Ready"}])),
        ("/spec/replicatedJobs/0/groupName", json!("")),
        ("/spec/network/subdomain", json!("1")),
        ("/spec/managedBy", json!("")),
        ("/spec/successPolicy/targetReplicatedJobs", json!(["x"])),
        (
            "/spec/failurePolicy",
            json!({"rules": [{"name": "a", "action": "FailJobSet",
            "targetReplicatedJobs": ["y"]}]}),
        ),
        ("/spec/coordinator", json!({"replicatedJob": "z"})),
        ("/spec/volumeClaimPolicies", json!([{"templates": [{"metadata": {"name": "v"}}]}])),
    ]);
    let errors = validate_create(&jobset, &ExistingClaims::new(), &Gates::default());
    let beginnings = [
        "<nil>: Internal error: DependsOn can't be set",
        "spec.network.subdomain: Invalid value: \"1\"",
        "spec.managedBy: Required value",
        "spec.replicatedJobs[0].groupName: Invalid value: \"\"",
        "<nil>: Internal error: replicatedJob: driver cannot depend on replicatedJob: worker",
        "<nil>: Internal error: invalid replicatedJob name 'x' does not",
        "<nil>: Internal error: invalid replicatedJob name 'y' in failure policy",
        "<nil>: Internal error: coordinator replicatedJob z does not exist",
        "spec.replicatedJobs: Invalid value: [{",
    ];
    assert_eq!(errors.len(), beginnings.len(), "{errors:#?}");
    for (error, beginning) in errors.iter().zip(beginnings) {
        assert!(error.to_string().starts_with(beginning), "{error}\n{beginning}");
    }
    assert!(aggregate(&errors).starts_with("[<nil>: Internal error: DependsOn can't be set for the first"));
}
