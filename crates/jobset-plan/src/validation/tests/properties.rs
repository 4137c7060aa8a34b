//! Properties that every JobSet has.

use super::set;
use crate::{
    Gates, defaulting,
    validation::{
        ExistingClaim, ExistingClaims, aggregate, claims_to_read, validate_create, validate_update, warnings,
    },
};
use jobset_api::JobSet;
use proptest::{prelude::*, sample::select};
use serde_json::{Map, Value, json};

/// Valid and invalid names. There are few, so that they collide.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => select(vec!["a", "b", "driver", "worker-1"]).prop_map(str::to_owned),
        1 => select(vec!["", "A", "1", "-", "ä", "x y"]).prop_map(str::to_owned),
        1 => "[a-z]{50,70}",
        1 => any::<String>(),
    ]
}

/// Typical numbers and the extremes.
fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => (0..5_i32).prop_map(Value::from),
        1 => select(vec![i32::MIN, -1, 1024, 1025, i32::MAX]).prop_map(Value::from),
    ]
}

fn words(known: &'static [&'static str]) -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => select(known).prop_map(Value::from),
        1 => any::<String>().prop_map(Value::from),
        1 => Just(Value::Null),
    ]
}

fn text_map() -> impl Strategy<Value = Value> {
    prop::collection::btree_map(
        prop_oneof![
            Just("kueue.x-k8s.io/queue-name".to_owned()),
            Just("alpha.jobset.sigs.k8s.io/exclusive-topology".to_owned()),
            name(),
        ],
        name(),
        0..3,
    )
    .prop_map(|map| json!(map))
}

/// An object of some of these fields.
fn some_of(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let fields: Vec<_> =
        fields.into_iter().map(|(key, value)| (Just(key), prop::option::of(value))).collect();
    fields
        .prop_map(|fields| {
            let fields = fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
            Value::Object(fields.collect::<Map<_, _>>())
        })
        .boxed()
}

fn list(item: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    prop::collection::vec(item, 0..4).prop_map(Value::from).boxed()
}

fn names() -> BoxedStrategy<Value> {
    list(name().prop_map(Value::from))
}

fn metadata() -> BoxedStrategy<Value> {
    some_of(vec![
        ("name", name().prop_map(Value::from).boxed()),
        ("generateName", name().prop_map(Value::from).boxed()),
        ("labels", text_map().boxed()),
        ("annotations", text_map().boxed()),
    ])
}

fn quantities() -> BoxedStrategy<Value> {
    let quantity = prop_oneof![
        select(vec!["0", "1", "1000m", "1Gi", "1e3", ".", "-1"]).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
    ];
    prop::collection::btree_map(name(), quantity, 0..3).prop_map(|map| json!(map)).boxed()
}

fn pod_template() -> BoxedStrategy<Value> {
    let mount = name().prop_map(|name| json!({"name": name, "mountPath": "/"}));
    let container = some_of(vec![
        ("name", name().prop_map(Value::from).boxed()),
        ("resources", some_of(vec![("limits", quantities()), ("requests", quantities())])),
        ("volumeMounts", list(mount)),
        ("env", list(name().prop_map(|name| json!({"name": name, "value": ""})))),
        ("tty", any::<bool>().prop_map(Value::from).boxed()),
    ]);
    let volume =
        (name(), name()).prop_map(|(name, size)| json!({"name": name, "emptyDir": {"sizeLimit": size}}));
    let toleration =
        some_of(vec![("key", name().prop_map(Value::from).boxed()), ("tolerationSeconds", number().boxed())]);
    let spec = some_of(vec![
        ("containers", list(container.clone())),
        ("initContainers", list(container)),
        ("volumes", list(volume)),
        ("nodeSelector", text_map().boxed()),
        ("tolerations", list(toleration)),
        ("priorityClassName", name().prop_map(Value::from).boxed()),
        ("hostNetwork", any::<bool>().prop_map(Value::from).boxed()),
        ("securityContext", Just(json!({})).boxed()),
    ]);
    some_of(vec![("metadata", metadata()), ("spec", spec)])
}

fn replicated_job() -> BoxedStrategy<Value> {
    let job = some_of(vec![
        ("completionMode", words(&["Indexed", "NonIndexed"]).boxed()),
        ("completions", number().boxed()),
        ("parallelism", number().boxed()),
        ("backoffLimit", number().boxed()),
        ("podReplacementPolicy", words(&["Failed", "TerminatingOrFailed"]).boxed()),
        ("template", pod_template()),
    ]);
    let depends_on = (name(), words(&["Ready", "Complete"]).prop_filter("a text", Value::is_string))
        .prop_map(|(name, status)| json!({"name": name, "status": status}));
    some_of(vec![
        ("name", name().prop_map(Value::from).boxed()),
        ("groupName", name().prop_map(Value::from).boxed()),
        ("replicas", number().boxed()),
        ("dependsOn", list(depends_on)),
        ("template", some_of(vec![("metadata", metadata()), ("spec", job)])),
    ])
}

fn scheduling() -> BoxedStrategy<Value> {
    let policy = || select(vec![json!({"gang": {}}), json!({"basic": {}}), json!({})]).boxed();
    let job = number().prop_map(|count| json!({"schedulingPolicy": {"gang": {"minCount": count}}}));
    let entry = some_of(vec![
        ("targetReplicatedJobs", names()),
        ("schedulingPolicy", policy()),
        ("job", prop_oneof![Just(json!({})), job].boxed()),
    ]);
    some_of(vec![
        ("schedulingPolicy", policy()),
        ("disruptionMode", Just(json!({"all": {}})).boxed()),
        ("replicatedJobs", list(entry)),
    ])
}

/// JSON that usually decodes into a JobSet, which is usually invalid.
fn json_of_jobset() -> BoxedStrategy<Value> {
    let rule = some_of(vec![
        ("name", name().prop_map(Value::from).boxed()),
        ("action", words(&["FailJobSet", "RestartJob"]).prop_filter("a text", Value::is_string).boxed()),
        ("onJobFailureReasons", names()),
        ("onJobFailureMessagePatterns", names()),
        ("targetReplicatedJobs", names()),
    ]);
    let failure_policy = some_of(vec![
        ("maxRestarts", number().boxed()),
        ("restartStrategy", select(vec!["InPlaceRestart", "Recreate", "?"]).prop_map(Value::from).boxed()),
        ("rules", list(rule)),
    ]);
    let coordinator = some_of(vec![
        ("replicatedJob", name().prop_map(Value::from).boxed()),
        ("jobIndex", any::<i64>().prop_map(Value::from).boxed()),
        ("podIndex", number().boxed()),
    ]);
    let claim = some_of(vec![
        ("metadata", metadata()),
        ("spec", some_of(vec![("storageClassName", words(&["fast", ""]).boxed())])),
    ]);
    let policy = some_of(vec![
        ("templates", list(claim)),
        (
            "retentionPolicy",
            select(vec!["Delete", "Retain"]).prop_map(|text| json!({"whenDeleted": text})).boxed(),
        ),
    ]);
    let spec = some_of(vec![
        ("replicatedJobs", list(replicated_job())),
        ("network", name().prop_map(|name| json!({"subdomain": name})).boxed()),
        (
            "successPolicy",
            names().prop_map(|names| json!({"operator": "Any", "targetReplicatedJobs": names})).boxed(),
        ),
        ("failurePolicy", failure_policy),
        ("suspend", any::<bool>().prop_map(Value::from).boxed()),
        ("coordinator", coordinator),
        ("managedBy", name().prop_map(Value::from).boxed()),
        ("volumeClaimPolicies", list(policy)),
        ("scheduling", scheduling()),
    ]);
    some_of(vec![("metadata", metadata()), ("spec", spec)])
}

fn jobset() -> BoxedStrategy<JobSet> {
    json_of_jobset()
        .prop_filter_map("decodes into a JobSet", |json| serde_json::from_value(json).ok())
        .boxed()
}

fn gates() -> impl Strategy<Value = Gates> {
    any::<[bool; 5]>().prop_map(
        |[
            restart_job,
            in_place_restart,
            elastic_jobset,
            restart_on_failure_target,
            workload_aware_scheduling,
        ]| Gates {
            restart_job,
            in_place_restart,
            elastic_jobset,
            restart_on_failure_target,
            workload_aware_scheduling,
            ..Gates::default()
        },
    )
}

/// Values of any type, as replacements for a field.
fn wild() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(json!({})),
        Just(json!([])),
        Just(json!([null])),
        Just(json!([{}])),
    ]
}

fn replace(value: &mut Value, path: &[prop::sample::Index], with: Value) {
    let below = match value {
        Value::Object(fields) if !fields.is_empty() => path.first().map(|index| {
            let key = fields.keys().nth(index.index(fields.len())).unwrap().clone();
            &mut fields[&key]
        }),
        Value::Array(items) if !items.is_empty() => path.first().map(|index| {
            let index = index.index(items.len());
            &mut items[index]
        }),
        _ => None,
    };
    match below {
        Some(below) => replace(below, &path[1..], with),
        None => *value = with,
    }
}

/// JSON of a JobSet that is valid after defaulting.
fn json_of_valid_jobset() -> impl Strategy<Value = Value> {
    let size =
        prop_oneof![Just(json!({})), (1..100_i32).prop_map(|n| json!({"completions": n, "parallelism": n}))];
    let job = (size, 0..1000_i32, any::<bool>()).prop_map(|(mut job, replicas, explicit)| {
        job["template"] = json!({"spec": {"containers": [
            {"name": "main", "image": "busybox", "volumeMounts": [{"name": "data", "mountPath": "/data"}]},
        ]}});
        if explicit {
            job["completionMode"] = json!("NonIndexed");
        }
        json!({"replicas": replicas, "template": {"spec": job}})
    });
    let jobs = prop::collection::btree_map("[a-z][a-z0-9-]{0,15}", job, 0..5).prop_map(|jobs| {
        let mut list: Vec<Value> = Vec::new();
        for (name, mut job) in jobs {
            if let Some(before) = list.last() {
                job["dependsOn"] = json!([{"name": before["name"], "status": "Complete"}]);
            }
            job["name"] = json!(name);
            list.push(job);
        }
        list
    });
    let rule = select(vec!["FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"])
        .prop_map(|action| json!({"action": action}));
    let name = prop_oneof![
        "[a-z][a-z0-9]{0,19}".prop_map(|name| json!({"name": name})),
        "[a-z][a-z0-9-]{0,14}".prop_map(|name| json!({"generateName": name})),
    ];
    (name, jobs, list(rule), any::<bool>()).prop_map(|(metadata, jobs, rules, claims)| {
        let mut jobset = json!({
            "metadata": metadata,
            "spec": {"replicatedJobs": jobs, "failurePolicy": {"rules": rules}},
        });
        if claims && !jobs.is_empty() {
            jobset["spec"]["volumeClaimPolicies"] = json!([{"templates": [{"metadata": {"name": "data"}}]}]);
        }
        jobset
    })
}

/// The JobSet after the mutating webhook.
fn defaulted(mut json: Value) -> Value {
    let gates = Gates { workload_aware_scheduling: true, ..Gates::default() };
    for default in defaulting::defaults(&json, &gates) {
        set(&mut json, &default.path, default.value);
    }
    json
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_valid_jobset_is_accepted_after_defaulting(json in json_of_valid_jobset()) {
        let jobset: JobSet = serde_json::from_value(defaulted(json)).unwrap();
        let errors = validate_create(&jobset, &ExistingClaims::new(), &Gates::default());
        prop_assert!(errors.is_empty(), "{}", aggregate(&errors));
    }

    #[test]
    fn defaulting_is_idempotent(json in json_of_jobset()) {
        let gates = Gates { workload_aware_scheduling: true, ..Gates::default() };
        prop_assert_eq!(defaulting::defaults(&defaulted(json), &gates), vec![]);
    }

    #[test]
    fn a_jobset_may_be_updated_to_itself(jobset in jobset(), gates in gates()) {
        prop_assert_eq!(validate_update(&jobset, &jobset, &gates), vec![]);
    }

    #[test]
    fn an_allowed_change_can_be_reverted(
        old in json_of_jobset(),
        path in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        wild in wild(),
        gates in gates(),
    ) {
        // Except for the size of elastic Jobs, which has a lower bound, and for a gang that never starts.
        let gates = Gates { elastic_jobset: false, workload_aware_scheduling: false, ..gates };
        let mut new = old.clone();
        replace(&mut new, &path, wild);
        if let (Ok(old), Ok(new)) = (serde_json::from_value(old), serde_json::from_value(new)) {
            let there = validate_update(&old, &new, &gates);
            let back = validate_update(&new, &old, &gates);
            prop_assert_eq!(there.is_empty(), back.is_empty(), "{:?} {:?}", there, back);
        }
    }

    #[test]
    fn validation_never_panics(
        mut json in json_of_jobset(),
        path in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        wild in wild(),
        other in jobset(),
        gates in gates(),
    ) {
        replace(&mut json, &path, wild);
        let Ok(jobset) = serde_json::from_value::<JobSet>(json) else { return Ok(()) };
        let claims: ExistingClaims = claims_to_read(&jobset)
            .into_iter()
            .map(|name| (name, ExistingClaim::Present(Box::default())))
            .collect();
        let errors = validate_create(&jobset, &claims, &gates);
        prop_assert_eq!(errors.is_empty(), aggregate(&errors) == "[]");
        validate_update(&jobset, &other, &gates);
        validate_update(&other, &jobset, &gates);
        for warning in warnings(&jobset) {
            prop_assert!(warning.chars().count() <= 256);
        }
    }
}
