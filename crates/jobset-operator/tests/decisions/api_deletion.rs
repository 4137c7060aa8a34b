//! When the JobSet API may be deleted.

use super::*;

/// Only the JobSet API is left.
fn leftover(spec: Option<Value>) -> Observed {
    let mut observed = installed(json!({}));
    observed.objects.retain(|key, _| key.kind == CRD);
    observed.operator = spec.map(|spec| Arc::new(operator(spec)));
    observed
}

#[test]
fn it_goes_when_nobody_wants_it() {
    assert!(decide(&leftover(None)).delete_unused_api);
    assert!(decide(&leftover(Some(json!({"managementState": "Removed"})))).delete_unused_api);
}

#[test]
fn it_stays_while_somebody_wants_it() {
    for spec in [json!({}), json!({"managementState": "Force"}), json!({"managementState": "Unmanaged"})] {
        assert!(!decide(&leftover(Some(spec.clone()))).delete_unused_api, "{spec}");
    }
}

#[test]
fn it_stays_until_the_garbage_collector_has_taken_the_operand() {
    let mut observed = installed(json!({}));
    observed.operator = None;
    assert!(!decide(&observed).delete_unused_api);
}

#[test]
fn it_stays_when_somebody_else_made_it_or_it_is_going_already() {
    let key = ObjectKey::new(CRD, names::JOBSET_CRD);
    let changed = |change: fn(&mut DynamicObject, &mut bool)| {
        let mut observed = leftover(None);
        let live = observed.objects.get_mut(&key).unwrap();
        let mut object = (*live.object).clone();
        change(&mut object, &mut live.applied_by_us);
        live.object = Arc::new(object);
        decide(&observed).delete_unused_api
    };
    assert!(!changed(|_, applied_by_us| *applied_by_us = false));
    assert!(!changed(|object, _| object.metadata.labels = None));
    assert!(!changed(|object, _| {
        object.metadata.deletion_timestamp = Some(Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH));
    }));
    assert!(changed(|_, _| {}));
}
