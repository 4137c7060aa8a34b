//! When the operator deletes the JobSet CRD.

use super::*;

/// A cluster with the JobSet CRD, and without the operand.
fn leftover(spec: Option<Value>) -> Observed {
    let mut observed = installed(json!({}));
    observed.objects.retain(|key, _| key.kind == CRD);
    observed.operator = spec.map(|spec| Arc::new(operator(spec)));
    observed
}

#[test]
fn the_crd_is_deleted_without_a_jobset_operator_or_with_removed() {
    assert!(decide(&leftover(None)).delete_unused_api);
    assert!(decide(&leftover(Some(json!({"managementState": "Removed"})))).delete_unused_api);
}

#[test]
fn the_crd_stays_with_a_managed_or_unmanaged_operand() {
    for spec in [json!({}), json!({"managementState": "Force"}), json!({"managementState": "Unmanaged"})] {
        assert!(!decide(&leftover(Some(spec.clone()))).delete_unused_api, "{spec}");
    }
}

#[test]
fn the_crd_stays_until_the_operand_is_deleted() {
    let mut observed = installed(json!({}));
    observed.operator = None;
    assert!(!decide(&observed).delete_unused_api);
}

#[test]
fn a_crd_of_another_client_or_in_deletion_stays() {
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
