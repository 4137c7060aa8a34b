//! The steps of a plan: what the operator applies, deletes and waits for.

use super::*;

#[test]
fn the_management_state_selects_the_mode() {
    for (spec, mode) in [
        (json!({}), Mode::Managed),
        (json!({"managementState": "Managed"}), Mode::Managed),
        (json!({"managementState": "Force"}), Mode::Managed),
        (json!({"managementState": "Unmanaged"}), Mode::Unmanaged),
        (json!({"managementState": "Removed"}), Mode::Removed),
        (json!({"managementState": "Sideways"}), Mode::Unmanaged),
    ] {
        assert_eq!(Mode::of(Some(&operator(spec.clone()))), mode, "{spec}");
    }
    assert_eq!(Mode::of(None), Mode::Absent);
    let mut deleted = operator(json!({"managementState": "Managed"}));
    deleted.metadata.deletion_timestamp = Some(Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH));
    assert_eq!(Mode::of(Some(&deleted)), Mode::Absent, "the garbage collector deletes the operand");
}

#[test]
fn an_unmanaged_operand_has_an_empty_plan() {
    let plan = decide(&installed(json!({"managementState": "Unmanaged"})));
    assert_eq!(plan.mode, Mode::Unmanaged);
    assert!(plan.apply.is_empty() && plan.delete.is_empty() && plan.issue.is_empty());
    assert!(!plan.delete_unused_api && plan.detach_injector.is_empty());
}

#[test]
fn without_a_required_cert_manager_only_independent_objects_are_applied() {
    let mut observed = ready_to_install(json!({"certificates": {"provider": "CertManager"}}));
    observed.apis.clear();
    observed.secrets.clear();
    let plan = decide(&observed);
    assert_eq!(reasons(&plan), ["MissingDependency"]);
    assert_eq!(plan.problems[0].message, "please make sure that cert-manager is installed on your cluster");
    assert_eq!(plan.waiting, Vec::<String>::new());
    assert!(applies(&plan, "ClusterRole") && applies(&plan, "Service") && applies(&plan, "ConfigMap"));
    for kind in ["Issuer", "Certificate", "Deployment", VALIDATING, CRD] {
        assert!(!applies(&plan, kind), "{kind}");
    }
}

#[test]
fn a_running_operand_stays_when_cert_manager_is_removed() {
    let mut observed = installed(json!({"certificates": {"provider": "CertManager"}}));
    observed.apis.clear();
    let plan = decide(&observed);
    assert_eq!(reasons(&plan), ["MissingDependency"]);
    assert!(applies(&plan, "Deployment") && applies(&plan, VALIDATING));
}

#[test]
fn the_operand_waits_for_its_certificates_and_each_missing_one_is_reported() {
    let mut observed = ready_to_install(json!({}));
    observed.secrets.clear();
    let not_ready = |name: &str, message: &str| {
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": {"name": name},
            "status": {"conditions": [
                {"type": "Issuing", "status": "True"},
                {"type": "Ready", "status": "False", "reason": "DoesNotExist", "message": message},
            ]},
        }))
        .unwrap();
        (ObjectKey::of(&object), applied(object))
    };
    observed.objects.extend([
        not_ready(names::METRICS_CERTIFICATE, "no metrics secret"),
        not_ready(names::CA_CERTIFICATE, "no root secret"),
    ]);
    let plan = decide(&observed);
    assert!(applies(&plan, "Certificate") && !applies(&plan, "Deployment") && !applies(&plan, CRD));
    assert_eq!(
        plan.waiting,
        [
            "Secret webhook-server-cert is not complete; Certificate jobset-serving-cert: waits for Certificate \
             jobset-root-ca: DoesNotExist: no root secret",
            "Secret metrics-server-cert is not complete; Certificate jobset-metrics-cert: DoesNotExist: no metrics \
             secret; Certificate jobset-root-ca: DoesNotExist: no root secret",
        ]
    );
    observed.secrets.insert(names::WEBHOOK_SECRET.into(), complete("hash-1", &AUTHORITIES[0]));
    let plan = decide(&observed);
    assert_eq!(plan.waiting.len(), 1, "{:?}", plan.waiting);
    assert!(!applies(&plan, "Deployment"));
}

#[test]
fn without_its_certificate_the_deployment_stays_and_other_objects_are_repaired() {
    let mut observed = installed(json!({}));
    observed.secrets.remove(names::WEBHOOK_SECRET);
    let plan = decide(&observed);
    assert!(!applies(&plan, "Deployment"), "the pods still serve with the old certificate");
    assert!(applies(&plan, VALIDATING) && applies(&plan, CRD) && applies(&plan, "Service"));
    observed.objects.remove(&ObjectKey::new(VALIDATING, names::VALIDATING_WEBHOOKS));
    assert!(!applies(&decide(&observed), VALIDATING), "webhooks without a serving pod would reject requests");
}

#[test]
fn a_missing_operand_image_is_reported_at_once() {
    let settings = Settings { operand_image: None, ..settings() };
    let plan = plan(&settings, &ready_to_install(json!({})), now()).unwrap();
    assert_eq!(reasons(&plan), ["MissingOperandImage"]);
    assert!(plan.problems[0].message.contains("OPERAND_IMAGE"));
    assert!(applies(&plan, "Certificate") && !applies(&plan, "Deployment") && !applies(&plan, CRD));
}

#[test]
fn webhooks_need_the_deployment_and_the_deployment_needs_the_crd() {
    let plan = decide(&ready_to_install(json!({})));
    let needs = |kind: &str| {
        let step = plan.apply.iter().find(|step| step.key.kind == kind).unwrap();
        step.needs.as_ref().map(ToString::to_string)
    };
    assert_eq!(needs(VALIDATING).unwrap(), "Deployment/jobset-controller-manager");
    assert_eq!(needs("Deployment").unwrap(), "CustomResourceDefinition/jobsets.jobset.x-k8s.io");
    assert_eq!(needs("ClusterRole"), None);
}

#[test]
fn objects_of_an_older_version_are_pruned_and_those_of_other_clients_are_not() {
    let mut observed = installed(json!({}));
    let extra = |name: &str, label: &str, owner: &str| {
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": name, "labels": {names::MANAGED_BY_LABEL: label},
                "ownerReferences": [
                    {"apiVersion": "operator.openshift.io/v1", "kind": owner, "name": "cluster", "uid": "u"}
                ],
            },
        }))
        .unwrap();
        (ObjectKey::of(&object), Live::new(object))
    };
    observed.objects.extend([
        extra("of-an-older-version", "jobset-operator", "JobSetOperator"),
        extra("with-a-copied-label", "jobset-operator", "SomethingElse"),
        extra("with-a-copied-owner", "another-client", "JobSetOperator"),
    ]);
    assert_eq!(decide(&observed).delete, [ObjectKey::new("ConfigMap", "of-an-older-version")]);
}

fn secret(name: &str, adopted: bool) -> (ObjectKey, Live) {
    let mut object: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "uid": format!("uid-of-{name}")},
    }))
    .unwrap();
    if adopted {
        let owner = json!([
            {"apiVersion": "operator.openshift.io/v1", "kind": "JobSetOperator", "name": "cluster", "uid": "u"}
        ]);
        object.metadata.owner_references = Some(serde_json::from_value(owner).unwrap());
        object.metadata.labels =
            Some([(names::MANAGED_BY_LABEL.to_owned(), "jobset-operator".to_owned())].into_iter().collect());
    }
    (ObjectKey::of(&object), Live::new(object))
}

#[test]
fn existing_secrets_are_adopted_and_not_pruned() {
    let mut observed = installed(json!({}));
    assert!(!applies(&decide(&observed), "Secret"));
    observed.objects.extend([secret(names::CA_SECRET, true), secret(names::WEBHOOK_SECRET, false)]);
    let plan = decide(&observed);
    let adopted: Vec<_> = plan.apply.iter().filter(|step| step.key.kind == "Secret").collect();
    assert_eq!(adopted.len(), 2);
    assert_eq!(adopted[1].object.metadata.uid.as_deref(), Some("uid-of-webhook-server-cert"));
    assert_eq!(adopted[1].object.metadata.owner_references.as_ref().unwrap()[0].uid, "uid-of-cluster");
    assert_eq!(adopted[1].object.data, Value::Null, "cert-manager owns the data");
    assert_eq!(plan.delete, []);
}

#[test]
fn secrets_are_deleted_after_their_certificates() {
    let mut observed = installed(json!({}));
    observed.operator = Some(Arc::new(operator(json!({"managementState": "Removed"}))));
    observed.objects.extend([secret(names::CA_SECRET, true)]);
    let deleted = delete_all(observed);
    let last = |kind: &str| deleted.iter().rposition(|key| key.kind == kind).unwrap();
    assert!(last("Certificate") < last("Secret"));
    assert_eq!(deleted[last("Secret")].name, names::CA_SECRET);
}

#[test]
fn removed_deletes_webhooks_first_and_keeps_the_crd() {
    let mut observed = installed(json!({"managementState": "Managed"}));
    observed.operator = Some(Arc::new(operator(json!({"managementState": "Removed"}))));
    let plan = decide(&observed);
    let kinds: Vec<&str> = plan.delete.iter().map(|key| key.kind.as_str()).collect();
    assert_eq!(
        kinds,
        ["MutatingWebhookConfiguration", VALIDATING],
        "the operand runs while its webhooks exist"
    );
    assert!(!plan.delete_unused_api, "the operand still runs");
    assert!(plan.apply.is_empty());
    let deleted = delete_all(observed.clone());
    assert_eq!(deleted[2].kind, "Deployment");
    assert_eq!(deleted.len() + 1, observed.objects.len(), "all objects except the CRD");
    assert!(deleted.iter().all(|key| key.kind != CRD));
}

/// For example, the takeover of an orphaned operand did not reach its webhooks.
#[test]
fn removed_keeps_the_operand_while_webhooks_of_another_client_call_it() {
    let mut observed = installed(json!({}));
    observed.operator = Some(Arc::new(operator(json!({"managementState": "Removed"}))));
    let key = ObjectKey::new(VALIDATING, names::VALIDATING_WEBHOOKS);
    let live = observed.objects.get_mut(&key).unwrap();
    let mut object = (*live.object).clone();
    object.metadata.owner_references = None;
    object.metadata.labels = None;
    *live = Live::new(object);
    assert_eq!(
        delete_all(observed.clone()),
        [ObjectKey::new("MutatingWebhookConfiguration", names::MUTATING_WEBHOOKS)]
    );
    let message = decide(&observed).foreign_operand.unwrap();
    assert!(
        message.ends_with(
            "run `kubectl delete validatingwebhookconfiguration/jobset-validating-webhook-configuration`"
        ),
        "{message}"
    );

    let live = observed.objects.get_mut(&key).unwrap();
    let mut object = (*live.object).clone();
    for webhook in object.data["webhooks"].as_array_mut().unwrap() {
        webhook["clientConfig"]["service"]["namespace"] = json!("jobset-system");
    }
    *live = Live::new(object);
    assert_eq!(decide(&observed).foreign_operand, None, "they call another installation");
    assert_eq!(
        delete_all(observed.clone()).len() + 2,
        observed.objects.len(),
        "all except these and the CRD"
    );
}
