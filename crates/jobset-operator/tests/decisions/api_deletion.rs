//! When the operator deletes the JobSet CRD.

use super::*;
use kube::ResourceExt;

/// A cluster with the JobSet CRD, and without the operand.
fn leftover(spec: Option<Value>) -> Observed {
    let mut observed = installed(json!({}));
    observed.objects.retain(|key, _| key.kind == CRD);
    observed.operator = spec.map(|spec| Arc::new(operator(spec)));
    observed
}

/// Changes an object in the index.
fn change(observed: &mut Observed, kind: &str, name: &str, change: impl FnOnce(&mut DynamicObject)) {
    let live = observed.objects.get_mut(&ObjectKey::new(kind, name)).unwrap();
    let mut object = (*live.object).clone();
    change(&mut object);
    live.object = Arc::new(object);
}

/// The reason for which the CRD stays, or None if it may be deleted.
fn stays(observed: &Observed) -> Option<String> {
    let plan = decide(observed);
    assert_ne!(plan.delete_unused_api, plan.api_stays.is_some(), "one of both");
    plan.api_stays
}

#[test]
fn the_crd_is_deleted_without_a_jobset_operator_or_with_removed() {
    assert_eq!(stays(&leftover(None)), None);
    assert_eq!(stays(&leftover(Some(json!({"managementState": "Removed"})))), None);
}

#[test]
fn the_crd_stays_with_a_managed_or_unmanaged_operand() {
    for spec in [json!({}), json!({"managementState": "Force"}), json!({"managementState": "Unmanaged"})] {
        let plan = decide(&leftover(Some(spec.clone())));
        assert!(!plan.delete_unused_api && plan.api_stays.is_none(), "{spec}");
    }
}

#[test]
fn the_crd_waits_until_the_operand_is_deleted() {
    let mut observed = installed(json!({}));
    for spec in [None, Some(json!({"managementState": "Removed"}))] {
        observed.operator = spec.map(|spec| Arc::new(operator(spec)));
        let plan = decide(&observed);
        assert!(!plan.delete_unused_api && plan.api_stays.is_none());
    }
}

/// `kubectl delete jobsetoperator cluster --cascade=orphan` removes the owner references.
#[test]
fn the_crd_stays_while_an_orphaned_operand_serves_it() {
    let mut observed = installed(json!({}));
    observed.operator = None;
    let keys: Vec<ObjectKey> = observed.objects.keys().cloned().collect();
    for key in &keys {
        change(&mut observed, &key.kind, &key.name, |object| object.metadata.owner_references = None);
    }
    let mutating = "MutatingWebhookConfiguration";
    for (kind, name) in [
        (mutating, names::MUTATING_WEBHOOKS),
        (VALIDATING, names::VALIDATING_WEBHOOKS),
        ("Deployment", names::OPERAND),
    ] {
        assert_eq!(stays(&observed).unwrap(), format!("{kind}/{name} still serves it"));
        observed.objects.remove(&ObjectKey::new(kind, name));
    }
    assert!(observed.objects.len() > 10, "the other objects do not serve the API");
    assert_eq!(stays(&observed), None);
}

#[test]
fn the_crd_stays_for_a_controller_in_another_namespace() {
    let mut observed = leftover(None);
    observed.other_namespaces = ["jobset-system".to_owned(), "ns-of-operand".to_owned()].into();
    assert_eq!(
        stays(&observed).unwrap(),
        "Deployment jobset-controller-manager in namespace jobset-system may serve it"
    );
}

#[test]
fn the_crd_of_another_client_stays() {
    let mut observed = leftover(None);
    let mark = |observed: &Observed| {
        observed.get(CRD, names::JOBSET_CRD).unwrap().object.annotations().get(names::CREATED_BY).cloned()
    };
    assert_eq!(mark(&observed).as_deref(), Some("jobset-operator"), "this operator created it");
    change(&mut observed, CRD, names::JOBSET_CRD, |object| object.metadata.annotations = None);
    assert_eq!(stays(&observed), None, "the operator is the only field manager");

    let live = |observed: &mut Observed, edit: fn(&mut Live)| {
        edit(observed.objects.get_mut(&ObjectKey::new(CRD, names::JOBSET_CRD)).unwrap());
    };
    let other_creator: fn(&mut Live) =
        |live| live.set_otherwise.push(json!({"f:spec": {"f:group": {}, "f:names": {}, "f:scope": {}}}));
    let edits: [fn(&mut Live); 3] = [
        other_creator,
        |live| live.applied_by_us = false,
        |live| {
            let mut object = (*live.object).clone();
            object.metadata.labels = None;
            live.object = Arc::new(object);
        },
    ];
    for edit in edits {
        let mut observed = observed.clone();
        live(&mut observed, edit);
        assert_eq!(stays(&observed).unwrap(), "another client created it");
        // A forced apply does not mark it.
        observed.operator = Some(Arc::new(operator(json!({}))));
        let plan = decide(&observed);
        assert!(step(&plan, CRD, names::JOBSET_CRD).unwrap().annotations().get(names::CREATED_BY).is_none());
    }
}

#[test]
fn a_marked_crd_keeps_its_mark_when_other_clients_change_it() {
    let mut observed = installed(json!({}));
    let key = ObjectKey::new(CRD, names::JOBSET_CRD);
    observed.objects.get_mut(&key).unwrap().set_otherwise.push(json!({"f:spec": {"f:conversion": {}}}));
    let plan = decide(&observed);
    let annotations = step(&plan, CRD, names::JOBSET_CRD).unwrap().annotations();
    assert_eq!(annotations[names::CREATED_BY], "jobset-operator");
}

#[test]
fn a_crd_in_deletion_is_not_deleted_again() {
    let mut observed = leftover(None);
    change(&mut observed, CRD, names::JOBSET_CRD, |object| {
        object.metadata.deletion_timestamp = Some(Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH));
    });
    let plan = decide(&observed);
    assert!(!plan.delete_unused_api && plan.api_stays.is_none());
}
