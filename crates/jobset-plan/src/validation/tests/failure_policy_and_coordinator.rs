use super::*;

fn plain(text: &str) -> String {
    format!("<nil>: Internal error: {text}")
}

/// The errors of a failure policy with these rules.
fn rules(gates: &Gates, rules: &Value) -> Vec<String> {
    let jobset = edited(&[("/spec/failurePolicy", json!({"maxRestarts": 3, "rules": rules}))]);
    texts(&validate_create(&jobset, &ExistingClaims::new(), gates))
}

fn rule(name: &str) -> Value {
    json!({"name": name, "action": "RestartJobSet"})
}

#[test]
fn actions_on_single_jobs() {
    let on = Gates { restart_job: true, ..Gates::default() };
    for action in ["RestartJob", "RestartJobAndIgnoreMaxRestarts"] {
        let policy = json!([{"name": "1 broken", "action": action}]);
        assert_eq!(
            rules(&Gates::default(), &policy),
            [plain(
                "RestartJob and RestartJobAndIgnoreMaxRestarts failure policy actions are not allowed when RestartJob \
                 feature gate is disabled"
            )],
            "without the gate, the rest of the policy is not validated"
        );
        assert!(rules(&on, &json!([{"name": "a", "action": action}])).is_empty());
        let with_replicas = |replicas: i32| {
            let jobset = edited(&[
                ("/spec/failurePolicy", json!({"rules": [{"name": "a", "action": action}]})),
                ("/spec/replicatedJobs/0/replicas", json!(replicas)),
                ("/spec/replicatedJobs/1/replicas", json!(replicas)),
            ]);
            texts(&validate_create(&jobset, &ExistingClaims::new(), &on))
        };
        assert!(with_replicas(1024).is_empty());
        assert_eq!(
            with_replicas(1025),
            [plain(
                "JobSet cannot have a failure policy rule with RestartJob or RestartJobAndIgnoreMaxRestarts action \
                 and a replicated job with replicas > 1024"
            )],
            "one error for both ReplicatedJobs"
        );
    }
}

#[test]
fn rule_names() {
    let off = Gates::default();
    let length = |length: usize| {
        plain(&format!(
            "invalid failure policy rule name of length {length}, the rule name must be at least 1 characters long \
             and at most 128 characters long"
        ))
    };
    let form = |name: &str| {
        plain(&format!(
            "invalid failure policy rule name '{name}', a failure policy rule name must start with an alphabetic \
             character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an \
             alphanumeric character or '_'"
        ))
    };
    for good in ["a", "a_", "failurePolicyRule0", "A,b:c_9", &"a".repeat(128)] {
        assert!(rules(&off, &json!([rule(good)])).is_empty(), "{good}");
    }
    for bad in ["1", "_a", "a,", "a:", "a-b", "a b", "ä"] {
        assert_eq!(rules(&off, &json!([rule(bad)])), [form(bad)]);
    }
    assert_eq!(rules(&off, &json!([rule("")])), [length(0), form("")]);
    assert_eq!(rules(&off, &json!([rule(&"a".repeat(129))])), [length(129)]);

    let named = ["x", "y", "x", "y", "x", "z"].map(rule);
    assert_eq!(
        rules(&off, &json!(named)),
        [
            plain("rule names are not unique, rules with indices [0 2 4] all have the same name 'x'"),
            plain("rule names are not unique, rules with indices [1 3] all have the same name 'y'"),
        ]
    );
}

#[test]
fn targets_and_reasons_of_rules() {
    let known = [
        "BackoffLimitExceeded",
        "DeadlineExceeded",
        "FailedIndexes",
        "MaxFailedIndexesExceeded",
        "PodFailurePolicy",
    ];
    let with = |reasons: &[&str], targets: &[&str]| {
        let mut rule = rule("a");
        rule["onJobFailureReasons"] = json!(reasons);
        rule["targetReplicatedJobs"] = json!(targets);
        rules(&Gates::default(), &json!([rule]))
    };
    assert!(with(&known, &["driver", "worker"]).is_empty());
    assert_eq!(
        with(&["Bored", ""], &["absent"]),
        [
            plain(
                "invalid replicatedJob name 'absent' in failure policy does not appear in .spec.ReplicatedJobs"
            ),
            plain(
                "invalid job failure reason 'Bored' in failure policy is not a recognized job failure reason"
            ),
            plain("invalid job failure reason '' in failure policy is not a recognized job failure reason"),
        ]
    );
}

#[test]
fn the_first_problem_of_a_coordinator_is_an_error() {
    let with = |replicated_job: &str, job_index: i64, pod_index: i64| {
        created(&[(
            "/spec/coordinator",
            json!({"replicatedJob": replicated_job, "jobIndex": job_index, "podIndex": pod_index}),
        )])
    };
    assert!(with("worker", 1, 2).is_empty());
    for (what, errors, expected) in [
        ("1", with("absent", -1, -1), "coordinator replicatedJob absent does not exist"),
        ("2: too high", with("worker", 2, 9), "coordinator job index 2 is invalid for replicatedJob worker"),
        (
            "4: too high",
            with("worker", 1, 3),
            "coordinator pod index 3 is invalid for replicatedJob worker job index 1",
        ),
    ] {
        assert_eq!(errors, [plain(expected)], "{what}");
    }
    // Their label values are invalid, too.
    for (what, errors, expected) in [
        (
            "2: negative",
            with("worker", -1, 0),
            "coordinator job index -1 is invalid for replicatedJob worker",
        ),
        (
            "4: negative",
            with("worker", 0, -1),
            "coordinator pod index -1 is invalid for replicatedJob worker job index 0",
        ),
    ] {
        assert_eq!(errors, [plain(expected)], "{what}");
    }
    for (what, key, value) in [
        ("3: not indexed", "completionMode", json!("NonIndexed")),
        ("3: mode not set", "completionMode", Value::Null),
        ("3: no completions", "completions", Value::Null),
    ] {
        let pointer = format!("/spec/replicatedJobs/0/template/spec/{key}");
        let errors = created(&[(&pointer, value), ("/spec/coordinator", json!({"replicatedJob": "driver"}))]);
        let expected =
            "job for coordinator pod must be indexed completion mode, and completions number must be set";
        assert_eq!(errors, [plain(expected)], "{what}");
    }
}

#[test]
fn the_host_name_of_a_coordinator_must_be_a_label_value() {
    let coordinator = ("/spec/coordinator", json!({"replicatedJob": "driver"}));
    let fault = |value: &str, details: &str| {
        plain(&format!(
            "spec will lead to invalid label value \"{value}\" for coordinator label \
             \"jobset.sigs.k8s.io/coordinator\" (long JobSet / ReplicatedJob / SubDomain name?): {details}"
        ))
    };
    let subdomain = |length: usize| ("/spec/network/subdomain", json!("s".repeat(length)));
    assert!(created(&[coordinator.clone(), subdomain(49)]).is_empty(), "js-driver-0-0.sss... of 63 bytes");
    assert_eq!(
        created(&[coordinator.clone(), subdomain(50)]),
        [fault(&format!("js-driver-0-0.{}", "s".repeat(50)), "must be no more than 63 bytes")]
    );
    let name = "n".repeat(40);
    assert_eq!(
        created(&[coordinator.clone(), ("/metadata/name", json!(name))]),
        [fault(&format!("{name}-driver-0-0.{name}"), "must be no more than 63 bytes")],
        "the subdomain is by default the JobSet's name"
    );
    let generated = created(&[
        coordinator.clone(),
        ("/metadata/name", Value::Null),
        ("/metadata/generateName", json!("n".repeat(22))),
    ]);
    assert_eq!(generated.len(), 1, "22 + 5 + 1 + 11 + 22 + 5 is 66: {generated:?}");
    let missing = created(&[("/spec/coordinator", json!({"replicatedJob": "no job"}))]);
    assert_eq!(missing[0], plain("coordinator replicatedJob no job does not exist"));
    assert!(missing[1].contains("\"js-no job-0-0.js\""), "both errors: {missing:?}");
}
