//! `spec.scheduling` in an update.

use super::{
    scheduling::{each_job, exclusive, must_run_first, on, waits_for_leader},
    *,
};

const SCHEDULING: &str = "/spec/scheduling";
const IMMUTABLE: &str = "spec.scheduling: Invalid value: \"\": field is immutable";
const REMOVED: &str = "spec.scheduling: Forbidden: cannot be removed once set";

type Edits = Vec<(&'static str, Value)>;

fn updated(gates: &Gates, old: &Edits, new: &Edits) -> Vec<String> {
    texts(&validate_update(&edited(old), &edited(new), gates))
}

fn gang() -> Value {
    json!({"schedulingPolicy": {"gang": {}}})
}

fn suspend(value: bool) -> (&'static str, Value) {
    ("/spec/suspend", json!(value))
}

fn observed(status: &str) -> (&'static str, Value) {
    let condition = json!({"type": "Suspended", "status": status, "reason": "R", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    ("/status", json!({"restarts": 0, "conditions": [condition]}))
}

#[test]
fn scheduling_changes_only_while_the_jobset_is_stopped() {
    let stopped = || vec![suspend(true), observed("True")];
    for (what, old, new, changes) in [
        ("running", vec![], vec![], false),
        ("suspended, not observed", vec![suspend(true)], vec![suspend(true)], false),
        ("resumed, not observed", vec![suspend(false), observed("True")], vec![suspend(true)], false),
        ("suspended again", vec![suspend(true), observed("False")], vec![suspend(true)], false),
        ("stopped", stopped(), vec![suspend(true)], true),
        ("with the resuming update", stopped(), vec![suspend(false)], false),
        ("with the resuming update, removed", stopped(), vec![], false),
    ] {
        for (before, after) in [(Value::Null, gang()), (json!({"schedulingPolicy": {"basic": {}}}), gang())] {
            let [mut old, mut new] = [old.clone(), new.clone()];
            old.push((SCHEDULING, before.clone()));
            new.push((SCHEDULING, after));
            let expected = if changes { vec![] } else { vec![IMMUTABLE] };
            assert_eq!(updated(&on(), &old, &new), expected, "{what}, {before}");
            old.pop();
            old.push((SCHEDULING, gang()));
            assert!(updated(&on(), &old, &new).is_empty(), "{what}, unchanged");
            new.pop();
            assert_eq!(updated(&on(), &old, &new), [REMOVED], "{what}, removed");
        }
    }
}

#[test]
fn the_default_is_no_change() {
    for (old, new) in [(json!({}), gang()), (gang(), json!({})), (gang(), json!({"replicatedJobs": []}))] {
        for gates in [on(), Gates::default()] {
            let errors = updated(&gates, &vec![(SCHEDULING, old.clone())], &vec![(SCHEDULING, new.clone())]);
            assert!(errors.is_empty(), "{old} {new} {errors:?}");
        }
    }
}

#[test]
fn a_change_is_validated_as_a_new_jobset() {
    let stopped = |scheduling: Value| vec![suspend(true), observed("True"), (SCHEDULING, scheduling)];
    let invalid = json!({"replicatedJobs": [{"targetReplicatedJobs": ["driver", "worker", "ghost"]}]});
    let update = |gates: &Gates| updated(gates, &stopped(gang()), &stopped(invalid.clone()));
    assert_eq!(
        update(&on()),
        [
            "spec.scheduling.replicatedJobs[0].targetReplicatedJobs[2]: Invalid value: \"ghost\": does not reference a \
          valid replicatedJob name"
        ]
    );
    assert_eq!(
        update(&Gates::default()),
        [
            "spec.scheduling: Forbidden: cannot be set when JobSetWorkloadAwareSchedulingAPI feature gate is disabled"
        ]
    );
    let unchanged = updated(&on(), &stopped(invalid.clone()), &stopped(invalid));
    assert!(unchanged.is_empty(), "created while no webhook ran: {unchanged:?}");
}

#[test]
fn without_the_feature_gate_a_stored_field_stays() {
    let off = Gates { elastic_jobset: true, ..Gates::default() };
    let stored = || vec![(SCHEDULING, each_job(3))];
    let mut other = stored();
    other.extend([
        suspend(true),
        ("/spec/replicatedJobs/1/template/spec/parallelism", json!(2)),
        ("/spec/replicatedJobs/1/template/spec/completions", json!(2)),
        ("/metadata/annotations", json!({"alpha.jobset.sigs.k8s.io/exclusive-topology": "rack"})),
    ]);
    assert!(updated(&off, &stored(), &stored()).is_empty());
    assert!(updated(&off, &stored(), &other).is_empty());
    assert_eq!(updated(&off, &stored(), &vec![]), [REMOVED]);
    assert_eq!(updated(&off, &stored(), &vec![(SCHEDULING, gang())]), [IMMUTABLE]);
    assert_eq!(updated(&off, &vec![], &stored()), [IMMUTABLE]);
}

#[test]
fn an_elastic_job_keeps_min_count() {
    let elastic = Gates { elastic_jobset: true, ..on() };
    let size = |size: i32| {
        vec![
            (SCHEDULING, each_job(3)),
            ("/spec/replicatedJobs/1/template/spec/parallelism", json!(size)),
            ("/spec/replicatedJobs/1/template/spec/completions", json!(size)),
        ]
    };
    let error = |size: i32| {
        format!(
            "spec.scheduling.replicatedJobs[1].job.schedulingPolicy.gang.minCount: Invalid value: 3: cannot exceed the \
             per-Job pod count (parallelism) of replicatedJob \"worker\" ({size})"
        )
    };
    assert!(updated(&elastic, &size(5), &size(3)).is_empty());
    assert_eq!(updated(&elastic, &size(5), &size(2)), [error(2)]);
    assert_eq!(updated(&elastic, &size(2), &size(1)), [error(1)]);
    assert!(updated(&elastic, &size(2), &size(2)).is_empty(), "created while no webhook ran");
    assert!(updated(&elastic, &size(2), &size(4)).is_empty());
}

/// Annotations and the startup policy can change while `spec.scheduling` does not.
#[test]
fn a_change_of_another_field_cannot_block_a_gang() {
    let with_gang = |edits: &[(String, Value)]| {
        let mut jobset = valid();
        set(&mut jobset, SCHEDULING, gang());
        for (pointer, value) in edits {
            set(&mut jobset, pointer, value.clone());
        }
        serde_json::from_value(jobset).unwrap()
    };
    let update = |old: &JobSet, new: &JobSet| texts(&validate_update(old, new, &on()));
    let (plain, exclusive) = (with_gang(&[]), with_gang(&exclusive(&[("/metadata", false)])));
    assert_eq!(update(&plain, &exclusive), [waits_for_leader("metadata", "driver")]);
    assert!(update(&exclusive, &exclusive).is_empty(), "created while no webhook ran");
    assert!(update(&exclusive, &plain).is_empty());

    let shared = json!({"replicatedJobs": [{"targetReplicatedJobs": ["driver", "worker"]}]});
    let order = |policy: Value| {
        with_gang(&[(SCHEDULING.to_owned(), shared.clone()), ("/spec/startupPolicy".to_owned(), policy)])
    };
    let (none, in_order) = (order(Value::Null), order(json!({"startupPolicyOrder": "InOrder"})));
    assert_eq!(update(&none, &in_order), [must_run_first(0, 0, "driver", "startupPolicy InOrder")]);
    assert!(update(&in_order, &in_order).is_empty(), "created while no webhook ran");
}
