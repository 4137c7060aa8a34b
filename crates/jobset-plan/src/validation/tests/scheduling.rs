//! `spec.scheduling` of a new JobSet.

mod never_starts;

use super::*;
use jobset_api::jobset::ReplicatedJob;
pub(super) use never_starts::{exclusive, must_run_first, waits_for_leader};

const SCHEDULING: &str = "/spec/scheduling";
const DRIVER: &str = "/spec/replicatedJobs/0/template/spec";
const WORKER: &str = "/spec/replicatedJobs/1/template/spec";

pub(super) fn on() -> Gates {
    Gates { workload_aware_scheduling: true, ..Gates::default() }
}

fn scheduling(value: Value) -> (&'static str, Value) {
    (SCHEDULING, value)
}

fn gang() -> (&'static str, Value) {
    scheduling(json!({"schedulingPolicy": {"gang": {}}}))
}

fn basic() -> (&'static str, Value) {
    scheduling(json!({"schedulingPolicy": {"basic": {}}}))
}

/// One entry for both ReplicatedJobs.
fn shared() -> (&'static str, Value) {
    scheduling(json!({"replicatedJobs": [{"targetReplicatedJobs": ["worker", "driver"]}]}))
}

fn shared_basic() -> (&'static str, Value) {
    scheduling(json!({"replicatedJobs": [
        {"targetReplicatedJobs": ["worker", "driver"], "schedulingPolicy": {"basic": {}}},
    ]}))
}

/// An entry for each ReplicatedJob.
fn separate() -> (&'static str, Value) {
    scheduling(
        json!({"replicatedJobs": [{"targetReplicatedJobs": ["driver"]}, {"targetReplicatedJobs": ["worker"]}]}),
    )
}

/// A group for each Job of `worker`, with this minCount.
pub(super) fn each_job(min_count: i32) -> Value {
    let job = json!({"schedulingPolicy": {"gang": {"minCount": min_count}}});
    json!({"replicatedJobs": [
        {"targetReplicatedJobs": ["driver"]},
        {"targetReplicatedJobs": ["worker"], "job": job},
    ]})
}

fn of_worker(field: &str, value: Value) -> (String, Value) {
    (format!("{WORKER}/{field}"), value)
}

type Creation<'a> = (&'a str, Vec<(&'a str, Value)>, Vec<&'a str>);

/// Checks a table of creations with the feature gate on: description, edits to [`valid`], expected errors.
fn check(rows: Vec<Creation<'_>>) {
    for (what, edits, expected) in rows {
        let errors = texts(&validate_create(&edited(&edits), &ExistingClaims::new(), &on()));
        assert_eq!(errors, expected, "{what}");
    }
}

#[test]
fn valid_scheduling_is_accepted() {
    for valid in [gang(), basic(), shared(), shared_basic(), separate()] {
        check(vec![("valid", vec![valid], vec![])]);
    }
    check(vec![
        ("no policy: a gang", vec![scheduling(json!({}))], vec![]),
        ("minCount as parallelism", vec![scheduling(each_job(3))], vec![]),
        ("absent", vec![], vec![]),
    ]);
}

#[test]
fn the_feature_gate_is_required() {
    let forbidden = "spec.scheduling: Forbidden: cannot be set when JobSetWorkloadAwareSchedulingAPI feature gate \
                     is disabled";
    assert_eq!(created(&[gang()]), [forbidden]);
    let ghost = scheduling(json!({"replicatedJobs": [{"targetReplicatedJobs": ["ghost"]}]}));
    assert_eq!(created(&[ghost]), [forbidden], "no other rule applies");
}

#[test]
fn the_controller_sets_the_scheduling_fields_of_jobs_and_pods() {
    let job = of_worker("scheduling", json!({}));
    let pod = of_worker("template/spec/schedulingGroup", json!({"podGroupName": "mine"}));
    let (job, pod) = ((job.0.as_str(), job.1), (pod.0.as_str(), pod.1));
    let of_job = "spec.replicatedJobs[1].template.spec.scheduling: Forbidden: cannot be set when spec.scheduling is \
                  configured; use spec.scheduling instead";
    let of_pod = "spec.replicatedJobs[1].template.spec.template.spec.schedulingGroup: Forbidden: cannot be set \
                  directly when spec.scheduling is configured; the JobSet controller manages this field";
    check(vec![
        ("of the Job", vec![gang(), job.clone()], vec![of_job]),
        ("of the pod", vec![gang(), pod.clone()], vec![of_pod]),
        ("without spec.scheduling", vec![job, pod], vec![]),
    ]);
}

#[test]
fn entries_have_valid_targets() {
    let at = |path: &str| format!("spec.scheduling.replicatedJobs[{path}]");
    let entries = |entries: Value| scheduling(json!({"replicatedJobs": entries}));
    let untargeted = |index: usize, name: &str| {
        format!(
            "spec.replicatedJobs[{index}].name: Invalid value: \"{name}\": must be targeted by a replicatedJobs entry \
             when spec.scheduling does not set a top-level schedulingPolicy, schedulingConstraints, or disruptionMode"
        )
    };
    let rows = [
        (
            "without ReplicatedJobs",
            vec![gang(), ("/spec/replicatedJobs", json!([]))],
            vec![
                "spec.replicatedJobs: Invalid value: null: must contain at least one replicatedJob when scheduling is \
                 configured"
                    .to_owned(),
            ],
        ),
        (
            "untargeted",
            vec![entries(json!([{"targetReplicatedJobs": ["driver"]}]))],
            vec![untargeted(1, "worker")],
        ),
        (
            "unknown",
            vec![entries(json!([{"targetReplicatedJobs": ["driver", "worker", "ghost"]}]))],
            vec![format!(
                "{}.targetReplicatedJobs[2]: Invalid value: \"ghost\": does not reference a valid replicatedJob name",
                at("0")
            )],
        ),
        (
            "twice",
            vec![entries(
                json!([{"targetReplicatedJobs": ["driver"]}, {"targetReplicatedJobs": ["worker", "driver"]}]),
            )],
            vec![format!(
                "{}.targetReplicatedJobs[1]: Invalid value: \"driver\": is targeted by more than one replicatedJobs \
                 entry",
                at("1")
            )],
        ),
        (
            "job with several targets",
            vec![entries(json!([{"targetReplicatedJobs": ["driver", "worker"], "job": {}}]))],
            vec![format!(
                "{}.targetReplicatedJobs: Invalid value: [\"driver\",\"worker\"]: must target exactly one \
                 replicatedJob when job is set",
                at("0")
            )],
        ),
    ];
    for (what, edits, expected) in rows {
        check(vec![(what, edits, expected.iter().map(String::as_str).collect())]);
    }
    for (field, value) in [
        ("schedulingPolicy", json!({"gang": {}})),
        ("schedulingConstraints", json!({"topology": [{"key": "rack"}]})),
        ("disruptionMode", json!({"all": {}})),
    ] {
        let edits = vec![
            entries(
                json!([{"targetReplicatedJobs": ["driver"]}, {"targetReplicatedJobs": ["worker"], "job": {}}]),
            ),
            (
                match field {
                    "schedulingPolicy" => "/spec/scheduling/replicatedJobs/1/schedulingPolicy",
                    "schedulingConstraints" => "/spec/scheduling/replicatedJobs/1/schedulingConstraints",
                    _ => "/spec/scheduling/replicatedJobs/1/disruptionMode",
                },
                value,
            ),
        ];
        let expected = format!(
            "{}.job: Invalid value: {{}}: cannot be set together with schedulingPolicy, schedulingConstraints, or \
             disruptionMode on the same replicatedJobs entry; job replaces the single shared PodGroup those fields \
             configure with one PodGroup per Job",
            at("1")
        );
        check(vec![(field, edits, vec![&expected])]);
    }
}

#[test]
fn min_count_is_at_most_the_number_of_pods_of_a_job() {
    let field = "spec.scheduling.replicatedJobs[1].job.schedulingPolicy.gang.minCount";
    let parallelism = |min_count: i32, parallelism: i32| {
        format!(
            "{field}: Invalid value: {min_count}: cannot exceed the per-Job pod count (parallelism) of replicatedJob \
             \"worker\" ({parallelism})"
        )
    };
    let completions = format!(
        "{field}: Invalid value: 3: cannot exceed completions of replicatedJob \"worker\" (2), because its Jobs never \
         have more pods; decrease minCount, or increase completions"
    );
    let size = |field: &str, value: Value| of_worker(field, value);
    let (none, fewer) = (size("parallelism", Value::Null), size("completions", json!(2)));
    let unlimited = size("completions", Value::Null);
    for (what, min_count, edit, expected) in [
        ("more than parallelism", 4, None, vec![parallelism(4, 3)]),
        ("parallelism is not set", 2, Some(&none), vec![parallelism(2, 1)]),
        ("more than completions", 3, Some(&fewer), vec![completions]),
        ("as completions", 2, Some(&fewer), vec![]),
        ("more than both: one error", 4, Some(&fewer), vec![parallelism(4, 3)]),
        ("completions are not set", 3, Some(&unlimited), vec![]),
    ] {
        let mut edits = vec![scheduling(each_job(min_count))];
        edits.extend(edit.map(|(pointer, value)| (pointer.as_str(), value.clone())));
        check(vec![(what, edits, expected.iter().map(String::as_str).collect())]);
    }
}

#[test]
fn a_workload_has_at_most_eight_templates() {
    let replicas = "/spec/replicatedJobs/1/replicas";
    check(vec![
        ("eight", vec![scheduling(each_job(3)), (replicas, json!(7))], vec![]),
        (
            "nine",
            vec![scheduling(each_job(3)), (replicas, json!(8))],
            vec!["spec.scheduling: Too many: 9: must have at most 8 items"],
        ),
        (
            "many",
            vec![scheduling(each_job(1)), (replicas, json!(715_827_882))],
            vec!["spec.scheduling: Too many: 715827883: must have at most 8 items"],
        ),
    ]);
}

#[test]
fn the_names_of_templates_differ() {
    let mut names = ["a", "b-c", "a-b", "c"].map(|name| {
        let mut replicated_job = valid()["spec"]["replicatedJobs"][0].clone();
        replicated_job["name"] = json!(name);
        replicated_job
    });
    let entries = json!([{"targetReplicatedJobs": ["a", "b-c"]}, {"targetReplicatedJobs": ["a-b", "c"]}]);
    let edits = |names: &[Value]| {
        vec![("/spec/replicatedJobs", json!(names)), scheduling(json!({"replicatedJobs": entries}))]
    };
    let same = "spec.scheduling.replicatedJobs: Invalid value: \"a-b-c-aab2c1df46\": generated scheduling group name \
                \"a-b-c-aab2c1df46\" is not unique: rename the colliding ReplicatedJob or replicatedJobs \
                targetReplicatedJobs grouping so generated PodGroupTemplate names don't collide";
    check(vec![("equal", edits(&names), vec![same])]);
    names.reverse();
    check(vec![("equal, in another order", edits(&names), vec![same])]);
}

#[test]
fn the_number_of_pods_of_a_gang_has_32_bits() {
    let large = |scheduling: (&'static str, Value)| {
        vec![scheduling, ("/spec/replicatedJobs/1/replicas", json!(715_827_882))]
    };
    let whole = "spec.replicatedJobs: Invalid value: 2147483649: the total represented pod count across all \
                 replicatedJobs must not exceed 2147483647 when top-level gang scheduling is used";
    let of_entry = "spec.scheduling.replicatedJobs[0].targetReplicatedJobs: Invalid value: [\"worker\",\"driver\"]: \
                    the number of pods in their PodGroup is 2147483649 and must not exceed 2147483647; put the \
                    replicatedJobs into separate entries";
    check(vec![
        ("gang", large(gang()), vec![whole]),
        ("no policy", large(scheduling(json!({}))), vec![whole]),
        ("basic", large(basic()), vec![]),
        ("an entry", large(shared()), vec![of_entry]),
        ("a basic entry", large(shared_basic()), vec![]),
        ("separate entries", large(separate()), vec![]),
    ]);
    // Not even 64 bits can hold the sum.
    let mut jobset = edited(&[scheduling(json!({}))]);
    let mut huge = jobset.spec.replicated_jobs[1].clone();
    huge.replicas = i32::MAX;
    huge.template.spec.as_mut().unwrap().parallelism = Some(i32::MAX);
    let names = ["a", "b", "c"].map(|name| ReplicatedJob { name: name.into(), ..huge.clone() });
    jobset.spec.replicated_jobs.extend(names);
    let errors = texts(&validate_create(&jobset, &ExistingClaims::new(), &on()));
    assert!(errors.iter().any(|error| error.contains("9223372036854775807: the total")), "{errors:?}");
}

/// The JobSet API compares the ReplicatedJobs of a group, and this project those of different groups.
#[test]
fn a_jobset_has_one_priority() {
    let class =
        |value: Value| ("/spec/replicatedJobs/1/template/spec/template/spec/priorityClassName", value);
    let driver = ("/spec/replicatedJobs/0/template/spec/template/spec/priorityClassName", json!("low"));
    let field = "spec.replicatedJobs[1].template.spec.template.spec.priorityClassName: Invalid value: \"high\": must \
                 match";
    let whole = format!("{field} \"low\" when top-level gang scheduling is used");
    let of_entry = "spec.scheduling.replicatedJobs[0].targetReplicatedJobs[1]: Invalid value: \"driver\": \
                    priorityClassName \"low\" must match \"high\" of the other ReplicatedJobs sharing this PodGroup";
    let across = |class: &str| {
        format!(
            "{field} \"{class}\" of replicatedJob \"driver\", because all pods of a JobSet with spec.scheduling have \
             one priority; set the same class, or create separate JobSets"
        )
    };
    let high = || class(json!("high"));
    let none = || ("/spec/replicatedJobs/1/replicas", json!(0));
    check(vec![
        ("gang", vec![gang(), driver.clone(), high()], vec![&whole]),
        ("basic", vec![basic(), driver.clone(), high()], vec![&across("low")]),
        ("an entry", vec![shared(), driver.clone(), high()], vec![of_entry]),
        ("separate entries", vec![separate(), driver.clone(), high()], vec![&across("low")]),
        ("only one has a class", vec![separate(), high()], vec![&across("")]),
        ("each Job", vec![scheduling(each_job(3)), high()], vec![&across("")]),
        ("without Jobs", vec![scheduling(each_job(3)), high(), none()], vec![]),
        ("equal", vec![separate(), driver.clone(), class(json!("low"))], vec![]),
        ("without spec.scheduling", vec![driver, high()], vec![]),
    ]);
}

#[test]
fn a_group_has_one_scheduler_and_one_preemption_policy() {
    let mismatch = |field: &str, value: &str, wanted: &str, of: &str, index: usize| {
        format!(
            "spec.replicatedJobs[{index}].template.spec.template.spec.{field}: Invalid value: \"{value}\": must match \
             \"{wanted}\" of replicatedJob \"{of}\", because the scheduler places the pods of both as one PodGroup; \
             set the same value, or put them into separate entries of spec.scheduling.replicatedJobs"
        )
    };
    for (field, driver, worker, whole) in [
        (
            "schedulerName",
            Value::Null,
            json!("mine"),
            Some(mismatch("schedulerName", "mine", "default-scheduler", "driver", 1)),
        ),
        (
            "schedulerName",
            json!("mine"),
            json!(""),
            Some(mismatch("schedulerName", "default-scheduler", "mine", "driver", 1)),
        ),
        ("schedulerName", json!("mine"), json!("mine"), None),
        ("schedulerName", Value::Null, json!("default-scheduler"), None),
        (
            "preemptionPolicy",
            json!("Never"),
            json!("PreemptLowerPriority"),
            Some(mismatch("preemptionPolicy", "PreemptLowerPriority", "Never", "driver", 1)),
        ),
        ("preemptionPolicy", json!("Never"), json!("Never"), None),
        // The priority class can have the same policy.
        ("preemptionPolicy", json!("Never"), Value::Null, None),
        ("preemptionPolicy", Value::Null, json!("Never"), None),
    ] {
        let pointers = [DRIVER, WORKER].map(|job| format!("{job}/template/spec/{field}"));
        let edits = |scheduling: (&'static str, Value)| {
            vec![scheduling, (pointers[0].as_str(), driver.clone()), (pointers[1].as_str(), worker.clone())]
        };
        let expected: Vec<&str> = whole.as_deref().into_iter().collect();
        check(vec![
            ("gang", edits(gang()), expected.clone()),
            ("basic", edits(basic()), expected.clone()),
            ("separate entries", edits(separate()), vec![]),
        ]);
        let errors = texts(&validate_create(&edited(&edits(shared())), &ExistingClaims::new(), &on()));
        assert_eq!(errors.len(), expected.len(), "an entry: {errors:?}");
        assert!(errors.iter().all(|error| error.starts_with("spec.replicatedJobs[0].")), "{errors:?}");
    }
}
